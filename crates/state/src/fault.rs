//! What stops the member: the machine failed, or what is on the disk is not what this release wrote. Never an answer.

use crate::tables::TablesError;
use model::LogIndex;
use mvcc::AccountDepth;
use std::fmt;
use stdx::codec::DecodeError;

pub type Result<T> = std::result::Result<T, Fault>;

#[derive(Debug)]
pub enum Fault {
    /// The disk, or a damaged record on it.
    Keys(mvcc::Fault),
    /// The record of a stored pair cannot be read, or is damaged, and a command needs it. Nothing was changed.
    Unreadable { key: bytes::Bytes, revision: model::Revision, fault: Box<mvcc::Fault> },
    /// The checkpoint's tables cannot be read.
    Tables(TablesError),
    /// A stored pair that passed its checksum and is not one.
    Record(model::KeyValueError),
    /// A log entry that passed its checksum and is not a command.
    Entry { index: LogIndex, error: DecodeError },
    /// A read that was checked before was refused: keys and checks disagree.
    Disagreement { doing: &'static str, rejection: model::Rejection },
    /// A budget in the log that was accepted with deeper accounts than this start has.
    BudgetTooDeep { prefix: bytes::Bytes },
}

impl Fault {
    /// The disk is full: the same may succeed later.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Fault::Keys(fault) if fault.is_no_space())
    }

    /// Something that may be there again later: space, descriptors, memory. The same may succeed then.
    pub fn may_pass(&self) -> bool {
        matches!(self, Fault::Keys(fault) if fault.may_pass())
    }

    /// What was done may be done again, with other files: none that count are in doubt.
    pub fn may_be_repeated(&self) -> bool {
        matches!(self, Fault::Keys(fault) if fault.may_be_repeated())
    }

    /// The file system takes no writes at all.
    pub fn is_read_only(&self) -> bool {
        matches!(self, Fault::Keys(fault) if fault.is_read_only())
    }

    /// The machine failed, for whatever reason.
    pub fn is_io(&self) -> bool {
        matches!(self, Fault::Keys(fault) if fault.is_io())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Keys(fault) => fault.fmt(f),
            Fault::Unreadable { key, revision, fault } => {
                write!(f, "the value of {} at revision {revision} is needed: {fault}", key.escape_ascii())
            }
            Fault::Tables(error) => {
                write!(
                    f,
                    "{error}; the checkpoint is damaged or of a newer release: restore the data directory from a backup"
                )
            }
            Fault::Record(error) => write!(f, "{error}; restore the data directory from a backup"),
            Fault::Entry { index, error } => {
                write!(f, "apply log entry {index}: {error}; it is damaged or of a newer release")
            }
            Fault::BudgetTooDeep { prefix } => {
                write!(f, "keep the budget of {}: accounts are less deep than it is; ", prefix.escape_ascii())?;
                match AccountDepth::needed_by(prefix) {
                    Some(depth) => write!(f, "start with --space-account-depth={} or more", depth.components()),
                    None => f.write_str("no depth is enough, this is a bug, please report it"),
                }
            }
            Fault::Disagreement { doing, rejection } => {
                write!(f, "{doing}: refused after it was checked: {rejection}; this is a bug, please report it")
            }
        }
    }
}

impl std::error::Error for Fault {}

impl From<mvcc::Fault> for Fault {
    fn from(fault: mvcc::Fault) -> Fault {
        Fault::Keys(fault)
    }
}

impl From<TablesError> for Fault {
    fn from(error: TablesError) -> Fault {
        Fault::Tables(error)
    }
}
