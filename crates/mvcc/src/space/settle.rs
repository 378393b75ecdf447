//! Unsettled bytes: a compaction that drops much lowers the retained bytes as the files follow.
//!
//! ```text
//!              compaction
//! counted    ──────┬──────────╲ settle ╲ settle ╲_________________
//! can be read      └──────────────────────────────────────────────   readers, accounts and budgets see it at once
//! files      ─────────────╲________╲________╲_____________________
//! ```
//! A reader may not see a dropped version any more, but its bytes are on the disk until copies, a checkpoint and the
//! removal of segments are done: a second for a gigabyte. If the quota gave those bytes away at once, they could be
//! written again before the files are gone, and the disk would hold both. So what is more than
//! `SETTLED_AT_ONCE_BYTES_MAX` goes on counting, until the leader, whose files have followed, says in the log how much
//! is left.
//!
//! Invariant: replicated. The bytes follow from compactions and `SpaceSettle` alone, never from this member's own
//! files.

use super::limits::{SETTLE_BYTES_MIN, SETTLED_AT_ONCE_BYTES_MAX, WAIT};
use crate::owner::Mvcc;
use model::SpaceSettle;

/// Bytes that compactions dropped and that are counted still.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Unsettled(u64);

impl Unsettled {
    pub(crate) fn bytes(self) -> u64 {
        self.0
    }

    /// A compaction dropped so many bytes.
    pub(crate) fn add(&mut self, dropped: u64) {
        let bytes = self.0.saturating_add(dropped);
        self.0 = if bytes > SETTLED_AT_ONCE_BYTES_MAX { bytes } else { 0 };
    }
}

impl Mvcc {
    /// Of the retained bytes, what compactions dropped and what is not settled yet.
    pub fn unsettled_bytes(&self) -> u64 {
        self.unsettled.bytes()
    }

    /// As they were in the checkpoint that this was opened from.
    pub fn restore_unsettled(&mut self, bytes: u64) {
        self.unsettled = Unsettled(bytes);
    }

    /// Does nothing if it was meant for another compaction, or would count more than now.
    pub fn settle_space(&mut self, settle: &SpaceSettle) {
        if settle.compacted == self.compacted {
            self.unsettled = Unsettled(self.unsettled.bytes().min(settle.unsettled_bytes));
        }
    }

    /// What this member's files allow to be settled, if it is worth a log entry: after it they are no longer than where
    /// writers wait. O(1). Without anything under way that `gives_back` space all is settled: waiting would not help.
    pub fn settleable(&self, gives_back: bool) -> Option<SpaceSettle> {
        let unsettled = self.unsettled.bytes();
        let counted = if gives_back { WAIT.retained_bytes_min(self.physical_bytes()) } else { 0 };
        let needed = counted.saturating_sub(self.retained);
        let worthwhile = needed == 0 || unsettled.saturating_sub(needed) >= SETTLE_BYTES_MIN;
        (unsettled > 0 && worthwhile).then_some(SpaceSettle { compacted: self.compacted, unsettled_bytes: needed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_little_in_sum_is_settled_at_once() {
        let mut unsettled = Unsettled::default();
        unsettled.add(SETTLED_AT_ONCE_BYTES_MAX);
        assert_eq!(unsettled.bytes(), 0);
        unsettled.add(SETTLED_AT_ONCE_BYTES_MAX + 1);
        unsettled.add(2);
        assert_eq!(unsettled.bytes(), SETTLED_AT_ONCE_BYTES_MAX + 3);
        unsettled = Unsettled(SETTLED_AT_ONCE_BYTES_MAX - 2);
        unsettled.add(2);
        assert_eq!(unsettled.bytes(), 0);
        unsettled.add(u64::MAX);
        unsettled.add(u64::MAX);
        assert_eq!(unsettled.bytes(), u64::MAX);
    }
}
