//! TLS for client-facing listeners: files to a rustls configuration, and the same again when the files change.
//!
//! - `TlsFiles::load` turns paths and flags into a configuration or a sentence that names the file and what is wrong
//!   with it.
//! - `Reloading` keeps the newest valid configuration. New handshakes use it; a change that does not load is logged
//!   once and the old configuration stays.
//!
//! What may be used goes by Go's crypto libraries, because etcd's does: `algorithms` and `keys` add to rustls' ring
//! provider what it lacks of them, `client_certs` decides on clients, `revocation` reads lists.
//!
//! Certificates, keys, certificate authorities and revocation lists are all reloaded. Not here: identities taken from
//! client certificates, and TLS between members.

mod algorithms;
mod certificate;
mod chain;
mod client_certs;
mod error;
mod keys;
mod load;
mod reload;
mod revocation;
mod self_signed;
mod suites;
mod version;

pub use error::TlsError;
pub use load::TlsFiles;
pub(crate) use reload::Reloading;
pub use self_signed::{SelfSigned, SelfSignedError};
pub use suites::{SuiteError, lacking_suites};
pub use version::TlsVersion;

#[cfg(test)]
mod go_tests;
#[cfg(test)]
mod revocation_tests;
#[cfg(test)]
mod tests;
