//! Lines of the log that many requests may want at once: so many a second, and then how many were left out.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::spawn_local;

/// Lines of one kind in a second.
const LINES_MAX: u64 = 10;
const WINDOW: Duration = Duration::from_secs(1);

/// See the file's head.
#[derive(Debug, Clone, Default)]
pub(crate) struct LineLimit {
    window: Arc<Mutex<Option<Window>>>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    began: Instant,
    lines: u64,
}

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Write,
    LeaveOut,
    /// Left out as the first of its second: whoever gets this says at the end how many there were, see `left_out`.
    LeaveOutFirst(Duration),
}

impl LineLimit {
    /// Writes a line unless there are many; then how many were left out, once. For threads of rims.
    pub(crate) fn limited(&self, about: &'static str, write: impl FnOnce()) {
        match self.admit(Instant::now()) {
            Line::Write => write(),
            Line::LeaveOut => {}
            Line::LeaveOutFirst(wait) => {
                let limit = self.clone();
                spawn_local(async move {
                    tokio::time::sleep(wait).await;
                    let count = limit.left_out();
                    tracing::warn!(about, count, "lines were left out: there were too many of them");
                });
            }
        }
    }

    fn admit(&self, now: Instant) -> Line {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let current = match &mut *window {
            // What a window left out is told before the next one begins.
            Some(current) if current.lines > LINES_MAX || now < current.began + WINDOW => current,
            window => window.insert(Window { began: now, lines: 0 }),
        };
        current.lines += 1;
        match current.lines {
            lines if lines <= LINES_MAX => Line::Write,
            lines if lines == LINES_MAX + 1 => {
                Line::LeaveOutFirst((current.began + WINDOW).saturating_duration_since(now))
            }
            _ => Line::LeaveOut,
        }
    }

    /// How many lines were left out; begins anew.
    fn left_out(&self) -> u64 {
        let window = self.window.lock().unwrap_or_else(PoisonError::into_inner).take();
        window.map_or(0, |window| window.lines.saturating_sub(LINES_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_lines_and_the_rest_is_counted() {
        let (limit, start) = (LineLimit::default(), Instant::now());
        for _ in 0..LINES_MAX {
            assert_eq!(limit.admit(start), Line::Write);
        }
        let at = start + Duration::from_millis(400);
        assert_eq!(limit.admit(at), Line::LeaveOutFirst(Duration::from_millis(600)));
        // Until that was told, nothing is written.
        for at in [at, start + 2 * WINDOW] {
            assert_eq!(limit.admit(at), Line::LeaveOut);
        }
        assert_eq!(limit.left_out(), 3);
        assert_eq!(limit.admit(start + 2 * WINDOW), Line::Write);
        assert_eq!(limit.admit(start + 4 * WINDOW), Line::Write);
        assert_eq!(limit.left_out(), 0);
    }
}
