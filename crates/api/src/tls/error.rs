//! Why no TLS configuration could be made: every failure names the file and the reason.

use super::suites::SuiteError;
use super::version::TlsVersion;
use std::fmt;
use std::path::PathBuf;

/// Why no TLS configuration could be made.
#[derive(Debug)]
pub enum TlsError {
    Read {
        what: &'static str,
        path: PathBuf,
        error: std::io::Error,
    },
    /// The file holds no such thing in the encoding expected.
    Missing {
        what: &'static str,
        path: PathBuf,
        expected: &'static str,
    },
    Invalid {
        what: &'static str,
        path: PathBuf,
        reason: String,
    },
    KeyMismatch {
        cert: PathBuf,
        key: PathBuf,
    },
    NoTrustedCa,
    CipherSuites(SuiteError),
    Versions {
        min: TlsVersion,
        max: TlsVersion,
    },
    Configuration(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Read { what, path, error } => write!(f, "read {what} {}: {error}", path.display()),
            TlsError::Missing { what, path, expected } => {
                write!(f, "load {what} {}: the file holds no {expected}", path.display())
            }
            TlsError::Invalid { what, path, reason } => write!(f, "load {what} {}: {reason}", path.display()),
            TlsError::KeyMismatch { cert, key } => write!(
                f,
                "load TLS key {}: it does not belong to the certificate {}; give the pair that was issued together",
                key.display(),
                cert.display()
            ),
            TlsError::NoTrustedCa => {
                f.write_str("client certificates are required but no authority is trusted; set --trusted-ca-file")
            }
            TlsError::CipherSuites(error) => error.fmt(f),
            TlsError::Versions { min, max } => {
                write!(f, "TLS versions: the oldest allowed ({min:?}) is newer than the newest allowed ({max:?})")
            }
            TlsError::Configuration(error) => write!(f, "configure TLS: {error}"),
        }
    }
}

impl std::error::Error for TlsError {}
