//! A disk on which one directory, the raft log's, can be full while the rest is not: what a log on a disk of its own
//! meets.

use io::{Disk, File, LockGuard, Open};
use simdisk::SimDisk;
use std::io::{ErrorKind, Result};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The directory that can be full.
pub const LOG: &str = "/log";

#[derive(Debug, Clone)]
pub struct FullLog {
    pub disk: SimDisk,
    is_full: Arc<AtomicBool>,
}

impl FullLog {
    pub fn new() -> FullLog {
        FullLog { disk: SimDisk::new(), is_full: Arc::default() }
    }

    /// Whether nothing can be written to the log from now on, not even where space was allocated before.
    pub fn set_full(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::SeqCst);
    }
}

impl Disk for FullLog {
    fn open(&self, path: &Path, how: Open) -> Result<Arc<dyn File>> {
        let file = self.disk.open(path, how)?;
        if path.starts_with(LOG) { Ok(Arc::new(LogFile { file, is_full: self.is_full.clone() })) } else { Ok(file) }
    }

    fn create_dir(&self, path: &Path) -> Result<()> {
        self.disk.create_dir(path)
    }

    fn list(&self, directory: &Path) -> Result<Vec<String>> {
        self.disk.list(directory)
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        self.disk.exists(path)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.disk.remove(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.disk.rename(from, to)
    }

    fn sync_dir(&self, directory: &Path) -> Result<()> {
        self.disk.sync_dir(directory)
    }

    fn lock(&self, path: &Path) -> Result<LockGuard> {
        self.disk.lock(path)
    }

    fn free_space(&self, directory: &Path) -> Result<u64> {
        self.disk.free_space(directory)
    }

    fn mode(&self, path: &Path) -> Result<u32> {
        self.disk.mode(path)
    }
}

#[derive(Debug)]
struct LogFile {
    file: Arc<dyn File>,
    is_full: Arc<AtomicBool>,
}

impl LogFile {
    fn check(&self) -> Result<()> {
        if self.is_full.load(Ordering::SeqCst) { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl File for LogFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.check()?;
        self.file.write_at(data, offset)
    }

    fn start_write_back(&self, offset: u64, length: u64) {
        self.file.start_write_back(offset, length);
    }

    fn sync_data(&self) -> Result<()> {
        self.file.sync_data()
    }

    fn sync_all(&self) -> Result<()> {
        self.file.sync_all()
    }

    fn allocate(&self, offset: u64, length: u64) -> Result<()> {
        self.check()?;
        self.file.allocate(offset, length)
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.file.set_len(length)
    }

    fn len(&self) -> Result<u64> {
        self.file.len()
    }
}
