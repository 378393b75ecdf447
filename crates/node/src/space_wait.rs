//! A full disk under the store: the thread that needs space waits here, everybody else is told.
//!
//! Apply cannot answer "no space": the entry is committed. So it is kept until there is room for its records, while reads go on,
//! space is reclaimed and new proposals are refused. Where the need was not seen before, apply waits inside the store. The
//! log is refused by itself, see `driver`.

use crate::limits::DISK_RETRY_INTERVAL;
use crate::reply::lock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};

#[derive(Default)]
pub(crate) struct SpaceWait {
    waiting: AtomicBool,
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl SpaceWait {
    /// There is no room. Told once, until `done`.
    pub(crate) fn begin(&self, fault: &dyn std::fmt::Display) {
        if !self.waiting.swap(true, Ordering::Relaxed) {
            tracing::error!(error = %fault, "disk full: writes are refused until there is room again, reads go on");
        }
    }

    /// Waits a while; true to try again, false once the member stops.
    pub(crate) fn wait(&self, fault: &store::Fault) -> bool {
        self.begin(fault);
        let stopped = lock(&self.stopped);
        let waited = self.changed.wait_timeout_while(stopped, DISK_RETRY_INTERVAL, |stopped| !*stopped);
        !waited.map_or_else(|poisoned| *poisoned.into_inner().0, |(stopped, _)| *stopped)
    }

    /// What was waited for succeeded.
    pub(crate) fn done(&self) {
        if self.waiting.swap(false, Ordering::Relaxed) {
            tracing::warn!("there is room on the disk again, writes go on");
        }
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(crate) fn stop(&self) {
        *lock(&self.stopped) = true;
        self.changed.notify_all();
    }
}
