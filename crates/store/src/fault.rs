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
    repeat: Repeat,
}

/// What can be done about it, if the cause passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// The same call again.
    Same,
    /// The whole again, with files of new names.
    Anew,
    /// Nothing: files that count are in doubt, or damaged.
    Never,
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
        move |error| Fault { doing, path: path.to_owned(), offset: None, cause: Cause::Io(error), repeat: Repeat::Same }
    }

    /// The disk was not asked: what space there is belongs to somebody else.
    pub(crate) fn no_space(doing: &'static str, path: &Path) -> Fault {
        Fault::io(doing, path)(io::ErrorKind::StorageFull.into())
    }

    /// What must not be tried again: after a failed sync the data is lost and the next sync says nothing about it.
    pub(crate) fn io_for_good(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Fault {
        move |error| Fault { repeat: Repeat::Never, ..Fault::io(doing, path)(error) }
    }

    /// What is to be done again with files of new names.
    pub(crate) fn io_anew(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Fault {
        move |error| Fault { repeat: Repeat::Anew, ..Fault::io(doing, path)(error) }
    }

    pub(crate) fn damaged(doing: &'static str, path: &Path, offset: u64, what: &'static str) -> Fault {
        Fault { doing, path: path.to_owned(), offset: Some(offset), cause: Cause::Damaged(what), repeat: Repeat::Never }
    }

    pub(crate) fn refused(doing: &'static str, path: &Path, why: impl Into<String>) -> Fault {
        Fault { doing, path: path.to_owned(), offset: None, cause: Cause::Refused(why.into()), repeat: Repeat::Never }
    }

    pub(crate) fn for_good(self) -> Fault {
        Fault { repeat: Repeat::Never, ..self }
    }

    pub(crate) fn at(mut self, offset: u64) -> Fault {
        self.offset = Some(offset);
        self
    }

    pub fn cause(&self) -> &Cause {
        &self.cause
    }

    /// The disk is full, or over a quota of its own, or the process at its limit of a file's size: the same may succeed
    /// later. Not so if a sync told it, because what it did not sync is lost.
    pub fn is_no_space(&self) -> bool {
        let Cause::Io(error) = &self.cause else { return false };
        self.repeat == Repeat::Same && says_no_space(error)
    }

    /// What was done may be done again, with other files: none that count are in doubt.
    pub fn may_be_repeated(&self) -> bool {
        self.repeat != Repeat::Never && matches!(self.cause, Cause::Io(_))
    }

    /// The file system takes no writes at all.
    pub fn is_read_only(&self) -> bool {
        matches!(&self.cause, Cause::Io(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem)
    }

    /// Something that may be there again later: space, descriptors, memory. The same may succeed then.
    pub fn may_pass(&self) -> bool {
        let Cause::Io(error) = &self.cause else { return false };
        self.repeat == Repeat::Same && (says_no_space(error) || ::io::is_shortage(error))
    }

    /// The machine failed, for whatever reason.
    pub fn is_io(&self) -> bool {
        matches!(self.cause, Cause::Io(_))
    }

    /// Where in the file, if that is known.
    pub fn offset(&self) -> Option<u64> {
        self.offset
    }

    pub fn is_damage(&self) -> bool {
        matches!(self.cause, Cause::Damaged(_))
    }
}

pub(crate) fn says_no_space(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
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
