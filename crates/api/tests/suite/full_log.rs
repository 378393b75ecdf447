//! A disk on which one directory, the raft log's, can be full while the rest is not: what a log on a disk of its own
//! meets.

use io::Disk;
use simdisk::{FileOperation, HookedDisk, SimDisk};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The directory that can be full.
pub const LOG: &str = "/log";

#[derive(Clone)]
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

    pub fn disk(&self) -> Arc<dyn Disk> {
        let is_full = self.is_full.clone();
        let hook = move |operation, path: &Path| {
            let writes = matches!(operation, FileOperation::Write | FileOperation::Allocate);
            let refused = writes && path.starts_with(LOG) && is_full.load(Ordering::SeqCst);
            if refused { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
        };
        Arc::new(HookedDisk::new(Arc::new(self.disk.clone()), hook))
    }
}
