//! Time, as two clocks that must not be mixed: one that only moves forward, one that people read.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where time comes from. Deadlines use `monotonic`, timestamps use `wall`.
pub trait Clock: Send + Sync {
    /// Time since an arbitrary start of this process; never steps back.
    fn monotonic(&self) -> Duration;

    /// Time since the Unix epoch as the machine believes it; may jump either way.
    fn wall(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug, Clone)]
pub struct OsClock {
    started: Instant,
}

impl OsClock {
    pub fn new() -> OsClock {
        OsClock { started: Instant::now() }
    }
}

impl Default for OsClock {
    fn default() -> OsClock {
        OsClock::new()
    }
}

impl Clock for OsClock {
    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    fn wall(&self) -> Duration {
        // A machine whose clock says 1969 gets the epoch itself.
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_never_steps_back_and_wall_is_this_century() {
        let clock = OsClock::new();
        let first = clock.monotonic();
        assert!(clock.monotonic() >= first);
        assert!(clock.wall() > Duration::from_secs(946_684_800));
    }
}
