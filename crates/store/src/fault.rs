//! What can go wrong with the machine: which file, where, what was being done, and why.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub type Result<T> = std::result::Result<T, Fault>;

#[derive(Debug)]
pub struct Fault {
    doing: &'static str,
    path: PathBuf,
    offset: Option<u64>,
    cause: Cause,
    /// Trying again would not repair it, whatever the cause.
    for_good: bool,
}

#[derive(Debug)]
pub enum Cause {
    Io(io::Error),
    /// Bytes that are not what was written: named, never served.
    Damaged(&'static str),
    /// The files are whole, and not ours to use; the text says why and what to do.
    Refused(String),
}

impl Fault {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Fault {
        move |error| Fault { doing, path: path.to_owned(), offset: None, cause: Cause::Io(error), for_good: false }
    }

    /// What must not be tried again: after a failed sync the data is lost and the next sync says nothing about it.
    pub(crate) fn io_for_good(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Fault {
        move |error| Fault { for_good: true, ..Fault::io(doing, path)(error) }
    }

    pub(crate) fn damaged(doing: &'static str, path: &Path, offset: u64, what: &'static str) -> Fault {
        Fault { doing, path: path.to_owned(), offset: Some(offset), cause: Cause::Damaged(what), for_good: true }
    }

    pub(crate) fn refused(doing: &'static str, path: &Path, why: impl Into<String>) -> Fault {
        Fault { doing, path: path.to_owned(), offset: None, cause: Cause::Refused(why.into()), for_good: true }
    }

    pub(crate) fn at(mut self, offset: u64) -> Fault {
        self.offset = Some(offset);
        self
    }

    pub fn cause(&self) -> &Cause {
        &self.cause
    }

    /// The disk is full (or over a quota of its own): the same may succeed later. Not so if a sync told it, because
    /// what it did not sync is lost.
    pub fn is_no_space(&self) -> bool {
        let Cause::Io(error) = &self.cause else { return false };
        !self.for_good && says_no_space(error)
    }

    /// Something that may be there again later: space, descriptors, memory. The same may succeed then.
    pub fn may_pass(&self) -> bool {
        let Cause::Io(error) = &self.cause else { return false };
        !self.for_good && (says_no_space(error) || ::io::is_shortage(error))
    }

    /// The machine failed, for whatever reason.
    pub fn is_io(&self) -> bool {
        matches!(self.cause, Cause::Io(_))
    }

    pub fn is_damage(&self) -> bool {
        matches!(self.cause, Cause::Damaged(_))
    }
}

pub(crate) fn says_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.doing, self.path.display())?;
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        match &self.cause {
            Cause::Io(error) => write!(f, ": {error}"),
            Cause::Damaged(what) => {
                write!(f, ": {what}; the file is damaged: restore the data directory from a backup")
            }
            Cause::Refused(why) => write!(f, ": {why}"),
        }
    }
}

impl std::error::Error for Fault {}
