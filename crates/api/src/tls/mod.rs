//! TLS for client-facing listeners: files to a rustls configuration, and the same again when the files change.
//!
//! - `TlsFiles::load` turns paths and flags into a configuration or a sentence that names the file and what is wrong
//!   with it.
//! - `Reloading` keeps the newest valid configuration. New handshakes use it; a change that does not load is logged
//!   once and the old configuration stays.
//!
//! Certificates, keys, certificate authorities and revocation lists are all reloaded. Not here: identities taken from
//! client certificates, and TLS between members.

mod load;
mod reload;
mod suites;
mod validity;

pub use load::{TlsError, TlsFiles, TlsVersion};
pub(crate) use reload::Reloading;

#[cfg(test)]
mod tests;
