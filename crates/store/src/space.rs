//! Bytes of the directory that no checkpoint names: the reserve, and files being written on other threads.
//!
//! The reserve is a file that holds nothing. Giving space back takes space first (copies of what is still live, and a
//! checkpoint), so on a full disk the reserve is removed for that, and only for that: while it is away no space is
//! allocated for new records. It is made again once there is space.

use crate::fault::{Fault, Result};
use io::{Disk, Open};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[derive(Debug)]
pub(crate) struct Space {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    reserve_bytes: u64,
    is_reserved: AtomicBool,
    /// Of files being written.
    unnamed_bytes: AtomicU64,
}

impl Space {
    pub(crate) fn new(disk: Arc<dyn Disk>, directory: &Path, reserve_bytes: u64) -> Arc<Space> {
        let path = directory.join("reserve");
        Arc::new(Space {
            disk,
            path,
            reserve_bytes,
            is_reserved: AtomicBool::new(false),
            unnamed_bytes: AtomicU64::new(0),
        })
    }

    pub(crate) fn reserve_bytes(&self) -> u64 {
        self.reserve_bytes
    }

    /// True if nothing has to be put aside before new records are taken.
    pub(crate) fn is_reserved(&self) -> bool {
        self.reserve_bytes == 0 || self.is_reserved.load(Ordering::Acquire)
    }

    /// Puts the reserve aside unless it is. Only while nobody is at work who might give it up.
    pub(crate) fn reserve(&self) -> Result<()> {
        if self.is_reserved() {
            return Ok(());
        }
        let file = self.disk.open(&self.path, Open::CREATE).map_err(Fault::io("make", &self.path))?;
        if let Err(error) = file.allocate(0, self.reserve_bytes) {
            // What it took of the space goes back; if not now, the next attempt allocates over it.
            let _ = self.disk.remove(&self.path);
            return Err(Fault::io("allocate space for", &self.path)(error));
        }
        self.is_reserved.store(true, Ordering::Release);
        Ok(())
    }

    /// Removes the reserve. False if there was none to give up.
    pub(crate) fn give_up(&self) -> bool {
        self.reserve_bytes > 0 && self.is_reserved.swap(false, Ordering::AcqRel) && self.disk.remove(&self.path).is_ok()
    }

    pub(crate) fn add_unnamed(&self, bytes: u64) {
        self.unnamed_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn take_unnamed(&self, bytes: u64) {
        let before = self.unnamed_bytes.fetch_sub(bytes, Ordering::Relaxed);
        assert!(before >= bytes, "of {before} bytes in files that no checkpoint names, {bytes} are taken off");
    }

    /// Bytes of all files that are counted here.
    pub(crate) fn bytes(&self) -> u64 {
        let reserve = if self.is_reserved.load(Ordering::Relaxed) { self.reserve_bytes } else { 0 };
        reserve + self.unnamed_bytes.load(Ordering::Relaxed)
    }
}
