//! Files and directories as the log and the store need them: positioned reads and writes, explicit syncs, space reserved
//! ahead, replacement of a whole file in one step.
//!
//! What is durable: bytes of a file after `sync_data` or `sync_all` of that file; names in a directory after `sync_dir` of
//! that directory. A new file that was synced can still vanish with a power cut until its directory is synced too.

use std::io::{Error, ErrorKind, Result};
use std::path::Path;
use std::sync::Arc;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Open {
    pub read: bool,
    pub write: bool,
    /// Makes the file (mode 0600) if there is none.
    pub create: bool,
    /// Makes the file (mode 0600) and fails with `AlreadyExists` if there is one.
    pub create_new: bool,
}

impl Open {
    /// For reading a file that exists.
    pub fn to_read() -> Open {
        Open { read: true, ..Open::default() }
    }

    /// For reading and writing a file that exists.
    pub fn to_write() -> Open {
        Open { read: true, write: true, ..Open::default() }
    }

    /// For reading and writing a file that must not exist yet.
    pub fn to_create() -> Open {
        Open { read: true, write: true, create: false, create_new: true }
    }
}

/// A file system. Paths are absolute or relative to the working directory; every call may block.
pub trait Disk: Send + Sync {
    /// Opens a file. Fails with `NotFound` unless `how` says to create it.
    fn open(&self, path: &Path, how: Open) -> Result<Arc<dyn File>>;

    /// Makes one directory with mode 0700. Fails with `AlreadyExists`, and with `NotFound` without its parent.
    fn create_dir(&self, path: &Path) -> Result<()>;

    /// Permission bits of a file or directory, such as 0o700. Fails with `NotFound`.
    fn permissions(&self, path: &Path) -> Result<u32>;

    /// Names in a directory, sorted; a name that is not UTF-8 comes with replacement characters, since none is ours.
    fn list(&self, dir: &Path) -> Result<Vec<String>>;

    /// Removes a file's name. Who has it open can go on reading; durable after `sync_dir`.
    fn remove(&self, path: &Path) -> Result<()>;

    /// Renames `new` over `target` and syncs their directory (it must be the same one): after a power cut `target` is
    /// wholly the old or wholly the new file. The caller has synced the *file* `new` before: a rename can become durable
    /// ahead of the bytes it names. The *directory* is synced after, here: until then the rename itself can be lost.
    /// If this fails, either file may be found under `target` after a power cut.
    fn replace(&self, new: &Path, target: &Path) -> Result<()>;

    /// Makes the names in `dir` durable: files made, renamed and removed in it.
    fn sync_dir(&self, dir: &Path) -> Result<()>;

    /// Takes an exclusive lock on a file, made if missing, held until the guard is dropped or the process ends.
    /// Fails with `WouldBlock` if another process has it.
    fn lock(&self, path: &Path) -> Result<LockGuard>;

    /// Bytes that an ordinary user can still write on the file system of `dir`.
    fn free_space(&self, dir: &Path) -> Result<u64>;
}

/// An open file. All calls take `&self`: positions are explicit, and threads may read while one appends.
pub trait File: Send + Sync {
    /// Reads up to `into.len()` bytes from `offset`; fewer at the end of the file, and possibly elsewhere.
    fn read_at(&self, into: &mut [u8], offset: u64) -> Result<usize>;

    /// Writes all of `bytes` at `offset`. After an error any part of them may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()>;

    /// Makes the bytes, and the length if it grew, durable.
    fn sync_data(&self) -> Result<()>;

    /// As `sync_data`, and all other metadata of the file.
    fn sync_all(&self) -> Result<()>;

    /// Reserves space for `length` bytes from `offset`, so that writing there cannot fail for want of space, and extends
    /// the file with zeros to cover them. Bytes that are there stay.
    fn allocate(&self, offset: u64, length: u64) -> Result<()>;

    /// Cuts the file to `length`, or extends it with zeros that have no space reserved.
    fn set_len(&self, length: u64) -> Result<()>;

    /// Length in bytes.
    fn len(&self) -> Result<u64>;

    /// Whether the file holds no bytes.
    fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `into` from `offset`. Fails with `UnexpectedEof` if the file ends before.
    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> Result<()> {
        let mut filled = 0;
        while filled < into.len() {
            match self.read_at(&mut into[filled..], offset + filled as u64) {
                Ok(0) => return Err(Error::from(ErrorKind::UnexpectedEof)),
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Holds a lock taken by `Disk::lock`; dropping it releases the lock.
pub struct LockGuard {
    _held: Box<dyn Send + Sync>,
}

impl LockGuard {
    /// Wraps whatever releases the lock when it is dropped.
    pub fn new(held: impl Send + Sync + 'static) -> LockGuard {
        LockGuard { _held: Box::new(held) }
    }
}

impl std::fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LockGuard")
    }
}
