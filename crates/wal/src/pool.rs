//! What the log and its preparer share: spare files, and segments that are no longer needed. Locked for a few words of
//! memory, never over I/O.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// As many spares as are kept: one is taken when a segment is full, and there is time until the next is.
pub(crate) const SPARES_MAX: usize = 1;

#[derive(Debug, Default)]
pub(crate) struct Pool {
    /// Numbers of the spare files that are ready.
    pub spares: VecDeque<u64>,
    /// Segments to recycle or remove, oldest first.
    pub retired: VecDeque<u64>,
    /// The segment being written.
    pub active: u64,
    /// Full segments that the log is kept in.
    pub sealed: usize,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct SharedPool(Arc<Mutex<Pool>>);

impl SharedPool {
    pub fn lock(&self) -> MutexGuard<'_, Pool> {
        // Every critical section leaves the pool whole, so a panic elsewhere in one says nothing about it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
