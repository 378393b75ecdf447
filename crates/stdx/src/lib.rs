//! What we wish std had: byte codecs. No domain words live here, and nothing here does I/O.
#![forbid(unsafe_code)]

pub mod codec;
pub mod metrics;
