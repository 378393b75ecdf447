//! Bytes of the directory that no checkpoint names: the reserve, and files being written on other threads.
//!
//! The reserve is a file that holds nothing. Giving space back takes space first (copies of what is still live, and a
//! checkpoint), and so does what must be taken although the disk is full (records of what is committed already, of
//! rewrites that do not grow). So on a full disk the reserve is given up for those, and only for those:
//!
//! ```text
//! reserve   ├── copies and checkpoints: all of it, at once ──────────────┤
//!           ├────────────────────────────┼── records: this share, piece ──┤
//!                                           by piece
//! ```
//! While it is not whole no space is allocated ahead of records. It is made again, as far as there is space for it,
//! whenever somebody looks after it; a part is better than none.

use crate::fault::{Fault, Result};
use io::{Disk, Open};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Records may take so many eighths of the reserve.
const RECORDS_EIGHTHS: u64 = 4;

/// A smaller part of a reserve is not worth a file.
const PART_BYTES_MIN: u64 = if cfg!(test) { 4 << 10 } else { 256 << 10 };

#[derive(Debug)]
pub(crate) struct Space {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    reserve_bytes: u64,
    /// How much of it is put aside.
    reserved_bytes: AtomicU64,
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
            reserved_bytes: AtomicU64::new(0),
            unnamed_bytes: AtomicU64::new(0),
        })
    }

    /// Bytes that one job of copies may take, so that what they empty can still be given back.
    pub(crate) fn copy_bytes_max(&self) -> u64 {
        (self.reserve_bytes - self.records_share()) / 2
    }

    fn records_share(&self) -> u64 {
        self.reserve_bytes / 8 * RECORDS_EIGHTHS
    }

    fn reserved_bytes(&self) -> u64 {
        self.reserved_bytes.load(Ordering::Acquire)
    }

    /// True if nothing has to be put aside before space is allocated ahead of records.
    pub(crate) fn is_reserved(&self) -> bool {
        self.reserved_bytes() == self.reserve_bytes
    }

    /// What records may still take of the reserve.
    pub(crate) fn record_bytes_left(&self) -> u64 {
        self.reserved_bytes().saturating_sub(self.reserve_bytes - self.records_share())
    }

    /// Puts the reserve aside unless it is; a part of it if there is no space for more, which is a lack of space. Only
    /// while nobody is at work who might give it up.
    pub(crate) fn reserve(&self) -> Result<()> {
        if self.is_reserved() {
            return Ok(());
        }
        let file = self.disk.open(&self.path, Open::CREATE).map_err(Fault::io("make", &self.path))?;
        let Err(error) = file.allocate(0, self.reserve_bytes) else {
            self.reserved_bytes.store(self.reserve_bytes, Ordering::Release);
            return Ok(());
        };
        let fault = Fault::io("allocate space for", &self.path)(error);
        let mut part = self.reserve_bytes / 2;
        while fault.is_no_space() && part >= PART_BYTES_MIN && part > self.reserved_bytes() {
            if file.allocate(0, part).is_ok() {
                // What the attempt for more has left of itself.
                let _ = file.set_len(part);
                self.reserved_bytes.store(part, Ordering::Release);
                return Err(fault);
            }
            part /= 2;
        }
        // What it took of the space goes back; if not now, the next attempt allocates over it.
        if self.reserved_bytes() > 0 {
            let _ = file.set_len(self.reserved_bytes());
        } else {
            let _ = self.disk.remove(&self.path);
        }
        Err(fault)
    }

    /// Removes the reserve. False if there was none to give up.
    pub(crate) fn give_up(&self) -> bool {
        self.reserved_bytes.swap(0, Ordering::AcqRel) > 0 && self.disk.remove(&self.path).is_ok()
    }

    /// Gives up so much of it for records, and a little more so that this is not asked for often. False if that is more
    /// than they may take. Only while nobody is at work who might give it up.
    pub(crate) fn give_up_for_records(&self, bytes: u64) -> bool {
        let left = self.record_bytes_left();
        if bytes > left {
            return false;
        }
        let piece = bytes.max(PART_BYTES_MIN).min(left);
        let rest = self.reserved_bytes() - piece;
        let shortened = self.disk.open(&self.path, Open::READ_WRITE).and_then(|file| file.set_len(rest));
        if shortened.is_ok() {
            self.reserved_bytes.store(rest, Ordering::Release);
        }
        shortened.is_ok()
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
        self.reserved_bytes.load(Ordering::Relaxed) + self.unnamed_bytes.load(Ordering::Relaxed)
    }
}
