//! Dropped bytes that are counted still: a compaction that drops much lowers the retained bytes as the files follow.
//!
//! ```text
//!              compaction
//! counted    ──────┬──────────╲ release ╲ release ╲_________________
//! can be read      └────────────────────────────────────────────────   readers, accounts and budgets see it at once
//! files      ─────────────╲_________╲_________╲_____________________
//! ```
//! A reader may not see a dropped version any more, but its bytes are on the disk until copies, a checkpoint and the removal of
//! segments are done: a second for a gigabyte. Whoever was given that room in the quota at once could fill it before the files
//! are gone, and the disk would hold both. So what is more than `UNRELEASED_BYTES_MIN` goes on counting, until the leader, whose files
//! have followed, says in the log how much is left.
//!
//! Invariant: replicated. The bytes follow from compactions and releases alone, never from this member's own files.

use crate::owner::Mvcc;
use crate::reclaim::retained_needed;
use model::SpaceRelease;

/// Less is released at once: there is room for it between what files may take before writers wait and their bound.
const UNRELEASED_BYTES_MIN: u64 = 16 << 20;
/// Releasing less is worth a log entry only if nothing remains.
const RELEASE_BYTES_MIN: u64 = 4 << 20;

/// Bytes that compactions dropped and that are counted still.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Unreleased(u64);

impl Unreleased {
    pub(crate) fn bytes(self) -> u64 {
        self.0
    }

    /// A compaction dropped so many bytes.
    pub(crate) fn add(&mut self, dropped: u64) {
        let bytes = self.0.saturating_add(dropped);
        self.0 = if bytes > UNRELEASED_BYTES_MIN { bytes } else { 0 };
    }
}

impl Mvcc {
    /// Of the retained bytes, what compactions dropped and no release took off yet.
    pub fn unreleased_bytes(&self) -> u64 {
        self.unreleased.bytes()
    }

    /// As they were in the checkpoint that this was opened from.
    pub fn restore_unreleased(&mut self, bytes: u64) {
        self.unreleased = Unreleased(bytes);
    }

    /// Does nothing if the release was meant for another compaction, or would count more than now.
    pub fn release_space(&mut self, release: &SpaceRelease) {
        if release.compacted == self.compacted {
            self.unreleased = Unreleased(self.unreleased.bytes().min(release.unreleased_bytes));
        }
    }

    /// The release that this member's files allow, if it is worth a log entry: after it they are no longer than where writers
    /// wait. O(1). Without anything under way that `gives_back` space all is released: waiting would not help.
    pub fn releasable(&self, gives_back: bool) -> Option<SpaceRelease> {
        let unreleased = self.unreleased.bytes();
        let counted = if gives_back { retained_needed(self.physical_bytes()) } else { 0 };
        let needed = counted.saturating_sub(self.retained);
        let worthwhile = needed == 0 || unreleased.saturating_sub(needed) >= RELEASE_BYTES_MIN;
        (unreleased > 0 && worthwhile).then_some(SpaceRelease { compacted: self.compacted, unreleased_bytes: needed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reclaim::hold_bytes;

    #[test]
    fn what_is_little_in_sum_is_released_at_once() {
        let mut unreleased = Unreleased::default();
        unreleased.add(UNRELEASED_BYTES_MIN);
        assert_eq!(unreleased.bytes(), 0);
        unreleased.add(UNRELEASED_BYTES_MIN + 1);
        unreleased.add(2);
        assert_eq!(unreleased.bytes(), UNRELEASED_BYTES_MIN + 3);
        unreleased = Unreleased(UNRELEASED_BYTES_MIN - 2);
        unreleased.add(2);
        assert_eq!(unreleased.bytes(), 0);
        unreleased.add(u64::MAX);
        unreleased.add(u64::MAX);
        assert_eq!(unreleased.bytes(), u64::MAX);
    }

    #[test]
    fn after_a_release_files_are_not_where_writers_wait() {
        for physical in (0..1000).chain((1 << 40)..(1 << 40) + 1000) {
            let retained = retained_needed(physical);
            assert!(hold_bytes(retained) >= physical, "{physical}");
            assert!(retained == 0 || hold_bytes(retained - 4) < physical, "{physical}");
        }
    }
}
