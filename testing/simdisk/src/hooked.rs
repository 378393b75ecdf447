//! A disk on which a test is asked before everything that happens to a file: to count, to refuse, or to keep the caller
//! waiting.
//!
//! Not here: what happens to directories, and opening, which go below unasked.

use io::{Disk, File, LockGuard, Open};
use std::fmt;
use std::io::Result;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is about to happen to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileOperation {
    Read,
    Write,
    Sync,
    Allocate,
    SetLength,
    Remove,
    /// Of the file that takes the new name.
    Rename,
}

/// An error is returned in the place of the operation.
type Hook = dyn Fn(FileOperation, &Path) -> Result<()> + Send + Sync;

/// See the file's head. Clones ask the same hook.
#[derive(Clone)]
pub struct HookedDisk {
    below: Arc<dyn Disk>,
    hook: Arc<Hook>,
}

struct HookedFile {
    below: Arc<dyn File>,
    path: PathBuf,
    hook: Arc<Hook>,
}

impl HookedDisk {
    pub fn new(
        below: Arc<dyn Disk>,
        hook: impl Fn(FileOperation, &Path) -> Result<()> + Send + Sync + 'static,
    ) -> HookedDisk {
        HookedDisk { below, hook: Arc::new(hook) }
    }
}

impl HookedFile {
    fn ask(&self, operation: FileOperation) -> Result<()> {
        (self.hook)(operation, &self.path)
    }
}

impl Disk for HookedDisk {
    fn open(&self, path: &Path, how: Open) -> Result<Arc<dyn File>> {
        let below = self.below.open(path, how)?;
        Ok(Arc::new(HookedFile { below, path: path.to_owned(), hook: self.hook.clone() }))
    }

    fn create_dir(&self, path: &Path) -> Result<()> {
        self.below.create_dir(path)
    }

    fn list(&self, directory: &Path) -> Result<Vec<String>> {
        self.below.list(directory)
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        self.below.exists(path)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        (self.hook)(FileOperation::Remove, path)?;
        self.below.remove(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        (self.hook)(FileOperation::Rename, from)?;
        self.below.rename(from, to)
    }

    fn sync_dir(&self, directory: &Path) -> Result<()> {
        self.below.sync_dir(directory)
    }

    fn lock(&self, path: &Path) -> Result<LockGuard> {
        self.below.lock(path)
    }

    fn lock_directory(&self, path: &Path) -> Result<LockGuard> {
        self.below.lock_directory(path)
    }

    fn resolve(&self, path: &Path) -> Result<PathBuf> {
        self.below.resolve(path)
    }

    fn free_space(&self, directory: &Path) -> Result<u64> {
        self.below.free_space(directory)
    }

    fn mode(&self, path: &Path) -> Result<u32> {
        self.below.mode(path)
    }
}

/// A durable write is a write and a sync here, as `io::File` has it where a disk has nothing better.
impl File for HookedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.ask(FileOperation::Read)?;
        self.below.read_at(buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.ask(FileOperation::Write)?;
        self.below.write_at(data, offset)
    }

    fn start_write_back(&self, offset: u64, length: u64) {
        self.below.start_write_back(offset, length);
    }

    fn sync_data(&self) -> Result<()> {
        self.ask(FileOperation::Sync)?;
        self.below.sync_data()
    }

    fn sync_all(&self) -> Result<()> {
        self.ask(FileOperation::Sync)?;
        self.below.sync_all()
    }

    fn allocate(&self, offset: u64, length: u64) -> Result<()> {
        self.ask(FileOperation::Allocate)?;
        self.below.allocate(offset, length)
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.ask(FileOperation::SetLength)?;
        self.below.set_len(length)
    }

    fn len(&self) -> Result<u64> {
        self.below.len()
    }
}

impl fmt::Debug for HookedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HookedDisk above {:?}", self.below)
    }
}

impl fmt::Debug for HookedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HookedFile {}", self.path.display())
    }
}
