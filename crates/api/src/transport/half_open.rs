//! Connections that have not said yet what they speak: how long they may take, and how many there may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Time for a client to say what it speaks.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that may be in that state at once; more are dropped as they come.
pub(crate) const HALF_OPEN_MAX: usize = 4096;

/// A place among the half-open connections, given back when dropped.
pub(crate) struct HalfOpen(Arc<AtomicUsize>);

impl HalfOpen {
    /// `None` if there are too many.
    pub(crate) fn enter(count: &Arc<AtomicUsize>) -> Option<HalfOpen> {
        if count.fetch_add(1, Ordering::Relaxed) >= HALF_OPEN_MAX {
            count.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(HalfOpen(count.clone()))
    }
}

impl Drop for HalfOpen {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_open_connections_are_bounded_and_their_places_given_back() {
        let count = Arc::new(AtomicUsize::new(HALF_OPEN_MAX - 1));
        let last = HalfOpen::enter(&count).expect("one place is left");
        assert!(HalfOpen::enter(&count).is_none());
        drop(last);
        assert!(HalfOpen::enter(&count).is_some());
    }
}
