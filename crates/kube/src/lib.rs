//! Kubernetes objects as kube-apiserver leaves them in the store: which key, which encoding, what they say, and how to
//! change one field so that every other byte stays.
//!
//! Everything here is a pure function of bytes, and the bytes are hostile: lengths are checked before they are used,
//! nesting has a bound. Not here: what an object means to a cluster (`admission`, `doctor`), and the keys to encrypted
//! values, which are recognised and left alone.
#![forbid(unsafe_code)]

mod cbor;
pub mod edit;
pub mod key;
mod message;
mod schema;
pub mod value;
mod wire;

pub use edit::{Edit, EditError, FailurePolicy};
pub use key::ResourceKey;
pub use value::{DecodeError, Encoding, Object, decode, encoding};
