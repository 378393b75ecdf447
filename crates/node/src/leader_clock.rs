//! The clock that lease deadlines are counted in: milliseconds of leadership since the cluster was born.
//!
//! It is stamped into every proposal, so that state knows how far time went without asking a clock. It stands still
//! while no member leads, moves only by the driver's ticks, and by a bounded step each: a process that was stopped for
//! a minute does not expire the leases whose renewals wait in its sockets.
//!
//! Invariant: what `at_most_ms` returned at a moment, the clock has not passed when it is brought to that moment.

use crate::limits::LEADER_CLOCK_STEP_MAX;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct LeaderClock {
    now_ms: AtomicU64,
    /// Milliseconds of the machine's clock up to which time was counted. Written after `now_ms` and read before it, so
    /// that who reads between the two takes a time that is later, not earlier.
    ticked_at_ms: AtomicU64,
}

fn ms(time: Duration) -> u64 {
    time.as_millis() as u64
}

impl LeaderClock {
    /// The clock of a term that begins at `at` of the machine's clock: time goes on from what the log says.
    pub(crate) fn new(from_ms: u64, at: Duration) -> LeaderClock {
        LeaderClock { now_ms: AtomicU64::new(from_ms), ticked_at_ms: AtomicU64::new(ms(at)) }
    }

    /// As of the last tick.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    /// A time that is certainly not before `at`, for deadlines that must not come early.
    pub(crate) fn at_most_ms(&self, at: Duration) -> u64 {
        let since_ms = ms(at).saturating_sub(self.ticked_at_ms.load(Ordering::Acquire));
        self.now_ms() + since_ms.min(ms(LEADER_CLOCK_STEP_MAX)) + 1
    }

    /// Time passed while leading, up to `at`. For the driver, who alone moves the clock.
    pub(crate) fn advance(&self, at: Duration) {
        let elapsed_ms = ms(at).saturating_sub(self.ticked_at_ms.load(Ordering::Relaxed));
        self.now_ms.fetch_add(elapsed_ms.min(ms(LEADER_CLOCK_STEP_MAX)), Ordering::Relaxed);
        self.stand_still(at);
    }

    /// What passed up to `at` does not count.
    pub(crate) fn stand_still(&self, at: Duration) {
        self.ticked_at_ms.store(ms(at), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP_MAX_MS: u64 = LEADER_CLOCK_STEP_MAX.as_millis() as u64;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// etcd #15247: a leader that stalled expired the leases whose renewals it had not read yet.
    #[test]
    fn r50_a_stall_moves_the_clock_by_one_bounded_step() {
        let clock = LeaderClock::new(500, at(10_000));
        clock.advance(at(10_100));
        assert_eq!(clock.now_ms(), 600);
        clock.advance(at(3_600_000));
        assert_eq!(clock.now_ms(), 600 + STEP_MAX_MS);
        clock.stand_still(at(3_700_000));
        clock.advance(at(3_700_001));
        assert_eq!(clock.now_ms(), 601 + STEP_MAX_MS);
    }

    #[test]
    fn a_deadline_that_is_counted_from_any_moment_does_not_come_early() {
        for late_ms in [0, 1, 99, 250, 999, 1000, 1001, 5000] {
            let clock = LeaderClock::new(500, at(10_000));
            let renewed_ms = clock.at_most_ms(at(10_000 + late_ms));
            clock.advance(at(10_000 + late_ms));
            assert!(renewed_ms >= clock.now_ms(), "{late_ms} ms after the tick");
            assert!(renewed_ms <= clock.now_ms() + 1, "and not late either");
        }
    }
}
