//! The clock that lease deadlines are counted in: milliseconds of leadership since the cluster was born.
//!
//! It is stamped into every proposal, so that state knows how far time went without asking a clock. It stands still
//! while no member leads, moves only by the driver's ticks, and by a bounded step each: a process that was stopped for
//! a minute does not expire the leases whose renewals wait in its sockets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::limits::{LEADER_CLOCK_LAG_MS, LEADER_CLOCK_STEP_MAX};

#[derive(Debug)]
pub(crate) struct LeaderClock {
    now_ms: AtomicU64,
}

impl LeaderClock {
    /// The clock of a term: time goes on from what the log says.
    pub(crate) fn new(from_ms: u64) -> LeaderClock {
        LeaderClock { now_ms: AtomicU64::new(from_ms) }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    /// A time that is certainly not before now, for deadlines that must not come early: the clock shows its last tick.
    pub(crate) fn at_most_ms(&self) -> u64 {
        self.now_ms() + LEADER_CLOCK_LAG_MS
    }

    /// Time passed while leading.
    pub(crate) fn advance(&self, elapsed: Duration) {
        let step_ms = elapsed.min(LEADER_CLOCK_STEP_MAX).as_millis() as u64;
        self.now_ms.fetch_add(step_ms, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// etcd #15247: a leader that stalled expired the leases whose renewals it had not read yet.
    #[test]
    fn r50_a_stall_moves_the_clock_by_one_bounded_step() {
        let clock = LeaderClock::new(500);
        clock.advance(Duration::from_millis(100));
        assert_eq!(clock.now_ms(), 600);
        clock.advance(Duration::from_secs(3600));
        assert_eq!(clock.now_ms(), 600 + LEADER_CLOCK_STEP_MAX.as_millis() as u64);
    }
}
