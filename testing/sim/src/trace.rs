//! Every event of a run as one line. Two runs of one seed are the same if their lines are.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// Lines that a failing run shows.
const LAST_LINES: usize = 40;

/// Which lines are kept beside the hash of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The last ones, for whoever looks at a violation.
    Last,
    All,
}

#[derive(Debug)]
pub struct Trace {
    keep: Keep,
    lines: VecDeque<String>,
    hash: u64,
}

impl Trace {
    pub fn new(keep: Keep) -> Trace {
        Trace { keep, lines: VecDeque::new(), hash: 0xcbf2_9ce4_8422_2325 }
    }

    pub fn say(&mut self, now: Duration, event: fmt::Arguments<'_>) {
        let line = format!("{:>12.6} {event}", now.as_secs_f64());
        // FNV-1a.
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        if self.keep == Keep::Last && self.lines.len() == LAST_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}
