//! Lines of the log that clients cause: at most one a second of each kind, with the number of those left out.

use std::cell::Cell;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    last: Cell<Option<Instant>>,
    left_out: Cell<u64>,
}

impl LogLimit {
    /// If a line may be written now: how many were left out since the one before.
    pub(crate) fn pass(&self, now: Instant) -> Option<u64> {
        if self.last.get().is_some_and(|last| now < last + INTERVAL) {
            self.left_out.set(self.left_out.get() + 1);
            return None;
        }
        self.last.set(Some(now));
        Some(self.left_out.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_tells_of_those_left_out() {
        let limit = LogLimit::default();
        let start = Instant::now();
        let passed = [0, 1, 999, 1000, 1001, 5000].map(|ms| limit.pass(start + Duration::from_millis(ms)));
        assert_eq!(passed, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
