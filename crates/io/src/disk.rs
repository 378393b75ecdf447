//! Files and directories as the log and the store use them.
//!
//! What each operation promises about power loss is said here once, and the simulated disk takes it literally: what is
//! not promised is lost, torn or kept at random.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file that is opened `direct` is read and written in whole blocks of this: memory, offset and length are multiples
/// of it. No disk in use has larger ones.
pub const BLOCK_BYTES: usize = 4096;

/// How to open a file. `read` and `write` may both be set; `create_new` fails if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Open {
    pub read: bool,
    pub write: bool,
    pub create: bool,
    pub create_new: bool,
    /// Past the page cache, where the file system can do that safely; elsewhere through it. Either way in whole blocks.
    pub direct: bool,
}

impl Open {
    pub const READ: Open = Open { read: true, write: false, create: false, create_new: false, direct: false };
    pub const READ_WRITE: Open = Open { write: true, ..Open::READ };
    pub const CREATE: Open = Open { create: true, ..Open::READ_WRITE };
    pub const CREATE_NEW: Open = Open { create_new: true, ..Open::READ_WRITE };
}

pub trait Disk: Send + Sync + Debug {
    /// A created file gets mode 0600. Its directory entry is durable only after `sync_dir`.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>>;

    /// Makes a directory with mode 0700 if there is none, and its parents.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Names in a directory, unordered.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Durable only after `sync_dir`; a crash before it may bring the file back.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Renames within one directory. Durable only after `sync_dir`. Only for files whose content may be lost; what
    /// replaces something that counts goes through `replace`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Puts the file `from` in the place of `to`, atomically and durably: the content must be synced before (or the
    /// name may survive a power loss without it), and the directory is synced after (or the old name may come back). A
    /// lack of descriptors shows before anything has changed.
    fn replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.open(from, Open::READ_WRITE)?.sync_all()?;
        self.rename(from, to)?;
        self.sync_dir(to.parent().unwrap_or(Path::new(".")))
    }

    /// Makes created, removed and renamed entries of a directory durable.
    fn sync_dir(&self, directory: &Path) -> io::Result<()>;

    /// Makes a directory as `create_dir` does, and it and its parents durable. A process that was killed may have made
    /// some of them and synced none, so all of them are synced, up to the root. Those above that may not be opened were
    /// not made by this process.
    fn create_dir_durably(&self, path: &Path) -> io::Result<()> {
        self.create_dir(path)?;
        for directory in self.resolve(path)?.ancestors().skip(1) {
            use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem};
            match self.sync_dir(directory) {
                Err(error) if matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem | InvalidInput) => break,
                synced => synced?,
            }
        }
        Ok(())
    }

    /// The path without links and dots, so that two names of one place are seen to be the same. What does not exist of
    /// it stays as it is.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf>;

    /// Holds an exclusive lock on the file, which is created if missing. Fails with `WouldBlock` if another process has
    /// it.
    fn lock(&self, path: &Path) -> io::Result<LockGuard>;

    /// Holds an exclusive lock on the directory itself, whatever happens to the files in it. Fails as `lock` does, with
    /// `NotFound` if there is no such directory, and with `Unsupported` where only files can be locked.
    fn lock_directory(&self, path: &Path) -> io::Result<LockGuard>;

    /// Bytes that an unprivileged process may still write below this directory.
    fn free_space(&self, directory: &Path) -> io::Result<u64>;

    /// Permission bits of a file or directory.
    fn mode(&self, path: &Path) -> io::Result<u32>;
}

pub trait File: Send + Sync + Debug {
    /// Reads up to `buffer.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `data`. Not durable before a sync; after an error any part of it may be written.
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()>;

    /// Writes all of `data` and makes it durable. Promises nothing about other bytes of the file, written before or
    /// not. After an error any part of it may be written, and as after a failed sync the file must not be relied on for
    /// it.
    fn write_durably(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.write_at(data, offset)?;
        self.sync_data()
    }

    /// Whether writes go past the page cache. It may turn out with the first write that they cannot.
    fn is_direct(&self) -> bool {
        false
    }

    /// Starts to bring what was written there to the device, so that a later sync finds less to do. The page that the
    /// range ends in may be left out. A hint: it promises nothing about durability, and if the write fails, the next
    /// sync of this handle says so. May wait for the device to accept the bytes.
    fn start_write_back(&self, offset: u64, length: u64);

    /// Makes written data durable. After an error nothing may be assumed about data written since the last success, and
    /// a later success says nothing about it either.
    fn sync_data(&self) -> io::Result<()>;

    /// As `sync_data`, with the file's length and other metadata.
    fn sync_all(&self) -> io::Result<()>;

    /// Reserves space so that writing there does not fail for lack of it; the file grows to at least `offset + length`,
    /// and what was not written reads as zeros.
    fn allocate(&self, offset: u64, length: u64) -> io::Result<()>;

    fn set_len(&self, length: u64) -> io::Result<()>;

    fn len(&self) -> io::Result<u64>;

    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `buffer` or fails with `UnexpectedEof`.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self.read_at(buffer, offset)? {
            read if read == buffer.len() => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Holds a lock until it is dropped.
#[derive(Debug)]
pub struct LockGuard {
    // The lock lives as long as whatever the disk needs to hold it.
    _held: Box<dyn Held>,
}

/// Whatever an implementation must keep alive to hold a lock.
trait Held: Debug + Send + Sync {}
impl<T: Debug + Send + Sync> Held for T {}

impl LockGuard {
    pub fn new(held: impl Debug + Send + Sync + 'static) -> LockGuard {
        LockGuard { _held: Box::new(held) }
    }
}
