//! How the log can fail.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub type Result<T> = std::result::Result<T, Fault>;

#[derive(Debug)]
pub enum Fault {
    /// The machine refused `doing` to `path`.
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    /// What was durable has changed, or a segment is missing. `proof` is a later record that shows it was durable.
    Damaged { path: PathBuf, offset: u64, what: &'static str, proof: Option<(PathBuf, u64)> },
    /// Written by a newer release.
    Newer { path: PathBuf, version: u32, supported: u32 },
    /// The files are whole, and not to be used as they are; the text says why and what to do.
    Refused { doing: &'static str, path: PathBuf, why: String },
    /// An earlier write or sync failed, and `fail_over` has not succeeded since.
    Failed,
}

impl Fault {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Fault {
        move |source| Fault::Io { doing, path: path.to_path_buf(), source }
    }

    pub(crate) fn refused(doing: &'static str, path: &Path, why: impl Into<String>) -> Fault {
        Fault::Refused { doing, path: path.to_path_buf(), why: why.into() }
    }

    /// The disk or a quota is full, or the process at its limit of a file's size. Nothing was written; the same call
    /// may succeed later.
    pub fn is_no_space(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        matches!(self, Fault::Io { source, .. }
            if matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge))
    }

    /// The file system takes no writes at all.
    pub fn is_read_only(&self) -> bool {
        matches!(self, Fault::Io { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem)
    }

    /// Something that may be there again later: space, descriptors, memory. The log is as it was, and the same call may
    /// succeed then.
    pub fn may_pass(&self) -> bool {
        self.is_no_space() || matches!(self, Fault::Io { source, .. } if ::io::is_shortage(source))
    }

    /// Whether bytes on the disk are wrong, rather than the disk failing to answer.
    pub fn is_damage(&self) -> bool {
        matches!(self, Fault::Damaged { .. })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Io { doing, path, source } => write!(f, "raft log: {doing} {}: {source}", path.display()),
            Fault::Damaged { path, offset, what, proof } => {
                write!(f, "raft log: {} is damaged at byte {offset}: {what}", path.display())?;
                if let Some((path, offset)) = proof {
                    write!(f, "; the record at byte {offset} of {} shows that it was durable", path.display())?;
                }
                f.write_str("; restore the file, or remove this member and add it again")
            }
            Fault::Newer { path, version, supported } => write!(
                f,
                "raft log: {} has format {version}, this release reads up to {supported}; start the newer release",
                path.display()
            ),
            Fault::Refused { doing, path, why } => write!(f, "raft log: {doing} {}: {why}", path.display()),
            Fault::Failed => {
                f.write_str("raft log: an earlier write or sync failed, and no other file was begun since")
            }
        }
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Fault::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
