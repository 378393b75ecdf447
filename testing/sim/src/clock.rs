//! Simulated time. It stands still unless the world moves it.

use io::Clock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Monotonic time never goes back; the wall clock may be set to anything, which must not matter.
#[derive(Debug, Default)]
pub struct SimClock {
    monotonic_us: AtomicU64,
    wall_s: AtomicU64,
}

impl SimClock {
    pub fn advance(&self, by: Duration) {
        self.monotonic_us.fetch_add(by.as_micros() as u64, Ordering::Relaxed);
    }

    pub fn set_wall(&self, since_1970: Duration) {
        self.wall_s.store(since_1970.as_secs(), Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.monotonic_us.load(Ordering::Relaxed))
    }

    fn wall(&self) -> Duration {
        Duration::from_secs(self.wall_s.load(Ordering::Relaxed))
    }
}
