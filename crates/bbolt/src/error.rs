//! Why a file cannot be read.

use std::fmt;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug)]
pub enum Error {
    /// The machine failed.
    Read { offset: u64, error: std::io::Error },
    /// Neither meta page is one.
    NotBbolt(&'static str),
    /// The file is not what its format allows, at this page.
    Damaged { page: u64, what: String },
    /// What etcd put into a bucket is not what etcd puts there.
    Content { bucket: &'static str, what: String },
}

impl Error {
    pub(crate) fn damaged(page: u64, what: impl Into<String>) -> Error {
        Error::Damaged { page, what: what.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Read { offset, error } => write!(f, "read at byte {offset}: {error}"),
            Error::NotBbolt(why) => write!(f, "not a bbolt file: {why}"),
            Error::Damaged { page, what } => write!(f, "page {page}: {what}"),
            Error::Content { bucket, what } => write!(f, "bucket {bucket}: {what}"),
        }
    }
}

impl std::error::Error for Error {}

/// The beginning of a key as text: a hostile one can be as long as the file.
pub(crate) fn shown(bytes: &[u8]) -> String {
    const SHOWN_BYTES: usize = 64;
    let rest = if bytes.len() > SHOWN_BYTES { "…" } else { "" };
    format!("{}{rest}", bytes[..bytes.len().min(SHOWN_BYTES)].escape_ascii())
}
