//! What can go wrong: the machine, or the request.

use model::Rejection;
use std::fmt;

pub type Result<T> = std::result::Result<T, Fault>;

/// The machine failed, or what it kept is damaged. Never an answer to a request.
#[derive(Debug)]
pub enum Fault {
    Store(store::Fault),
    /// A checkpoint whose bytes pass their checksums and yet are not what this release writes.
    Checkpoint(&'static str),
    /// A record passes its checksum and yet is not an encoded `KeyValue`.
    NotAPair,
}

impl Fault {
    /// The disk is full: the same may succeed later.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Fault::Store(fault) if fault.is_no_space())
    }

    /// Something that may be there again later: space, descriptors, memory. The same may succeed then.
    pub fn may_pass(&self) -> bool {
        matches!(self, Fault::Store(fault) if fault.may_pass())
    }

    /// What was done may be done again, with other files: none that count are in doubt.
    pub fn may_be_repeated(&self) -> bool {
        matches!(self, Fault::Store(fault) if fault.may_be_repeated())
    }

    /// The file system takes no writes at all.
    pub fn is_read_only(&self) -> bool {
        matches!(self, Fault::Store(fault) if fault.is_read_only())
    }

    /// The machine failed, for whatever reason.
    pub fn is_io(&self) -> bool {
        matches!(self, Fault::Store(fault) if fault.is_io())
    }
}

impl From<store::Fault> for Fault {
    fn from(fault: store::Fault) -> Fault {
        Fault::Store(fault)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Store(fault) => fault.fmt(f),
            Fault::Checkpoint(what) => {
                write!(
                    f,
                    "load the key index: {what}; the checkpoint is damaged: restore the data directory from a backup"
                )
            }
            Fault::NotAPair => {
                f.write_str("read a key's value: the record is not a key-value pair; restore from a backup")
            }
        }
    }
}

impl std::error::Error for Fault {}

/// Why a read failed: the request's fault or the machine's.
#[derive(Debug)]
pub enum ReadError {
    Rejected(Rejection),
    Fault(Fault),
}

impl From<Rejection> for ReadError {
    fn from(rejection: Rejection) -> ReadError {
        ReadError::Rejected(rejection)
    }
}

impl From<Fault> for ReadError {
    fn from(fault: Fault) -> ReadError {
        ReadError::Fault(fault)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Rejected(rejection) => rejection.fmt(f),
            ReadError::Fault(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {}
