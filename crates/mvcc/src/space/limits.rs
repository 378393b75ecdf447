//! The limits of space: every constant that says how long the store's files may be, and how they make the bound.
//!
//! ```text
//!   files     0 ── retained ──┬── TARGET ──────┬── WAIT ────────┬── BOUND
//!                             │ nothing to do  │ clean          │ clean; writers have no window
//!   share of retained         1                1.2              1.25            1.3
//!   and                                        24 MiB           40 MiB          64 MiB
//! ```
//! The bound (P4): at every moment the files are at most 1.3 times the retained bytes and 64 MiB. Writers stop at
//! `WAIT`. Three things still move files and mark against each other, and the asserts below add up what each may take:
//!
//! - *A compaction settles at once.* The retained bytes fall by `SETTLED_AT_ONCE_BYTES_MAX` at most, and `WAIT` by a
//!   quarter more than that; the files fall later. What a compaction drops beyond it goes on counting until the files
//!   have followed (`settle`).
//! - *A job copies.* The copies come before what they empty goes: `COPY_BYTES_MAX` beyond `WAIT`, more only below it.
//! - *Nothing gives space back.* Then waiting would not help, and writers get `WRITE_WINDOW_BYTES_MIN` at a time. A job
//!   or a compaction under way takes the window away.
//!
//! What the asserts do not show: a compaction that settles at once while a job copies takes both, which fits between
//! `WAIT` and `BOUND` only from `BOTH_FIT_RETAINED_BYTES` on, because the shares differ by a twentieth. Index runs are
//! written in the same twentieth. Proposals that are too small to be kept waiting (`node`) are not counted at all. The
//! workloads of `docs/performance.md` measure these.
//!
//! Tests of this crate run with segments of some kilobytes and the smaller constants that go with them; the asserts
//! hold for both.

use store::{ALLOCATE_BYTES, RECORD_OVERHEAD_BYTES, RESERVE_BYTES, SEGMENT_BYTES_MIN};

const MIB: u64 = 1 << 20;

/// How long files may be for so many retained bytes: these, a share of them, and a constant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watermark {
    /// Of `denominator`: the share of the retained bytes that is allowed beyond them.
    numerator: u64,
    denominator: u64,
    bytes: u64,
}

impl Watermark {
    /// Bytes of files at this mark.
    pub(crate) const fn file_bytes(self, retained_bytes: u64) -> u64 {
        retained_bytes.saturating_add(retained_bytes / self.denominator * self.numerator).saturating_add(self.bytes)
    }

    /// Bytes that must be retained for the mark to be no lower than files so long: the inverse of `file_bytes`.
    pub(crate) const fn retained_bytes_min(self, file_bytes: u64) -> u64 {
        file_bytes.saturating_sub(self.bytes).div_ceil(self.denominator + self.numerator) * self.denominator
    }

    /// True if the mark is nowhere above the other.
    const fn is_below(self, other: Watermark) -> bool {
        self.numerator * other.denominator <= other.numerator * self.denominator && self.bytes <= other.bytes
    }

    /// How far the mark falls, at most, when so many retained bytes are dropped.
    const fn falls_by(self, dropped_bytes: u64) -> u64 {
        dropped_bytes + (dropped_bytes * self.numerator).div_ceil(self.denominator)
    }
}

/// Above it segments are cleaned. On a full disk the target is the retained bytes themselves.
pub(crate) const TARGET: Watermark =
    Watermark { numerator: 1, denominator: 5, bytes: if cfg!(test) { 1 << 10 } else { 24 * MIB } };

/// Above it writers have no window: they wait for what is under way to give space back.
pub(crate) const WAIT: Watermark = Watermark { numerator: 1, denominator: 4, bytes: 40 * MIB };

/// The promise: files are never longer.
pub(crate) const BOUND: Watermark = Watermark { numerator: 3, denominator: 10, bytes: 64 * MIB };

/// Bytes that writers may write when the files are at `WAIT` or above and nothing is under way that gives space back: a
/// store that has nothing to give must not stop.
pub const WRITE_WINDOW_BYTES_MIN: u64 = 8 * MIB;

/// Bytes dropped by compactions that stop counting at once, in sum; more goes on counting until the files have
/// followed.
pub(crate) const SETTLED_AT_ONCE_BYTES_MAX: u64 = 16 * MIB;

/// Bytes that are worth a log entry to settle, unless nothing remains to be settled after it.
pub(crate) const SETTLE_BYTES_MIN: u64 = 4 * MIB;

/// Bytes copied by one job, unless there is much to give back and the copies end below `WAIT`; on a full disk a quarter
/// of the reserve.
pub(crate) const COPY_BYTES_MAX: u64 = if cfg!(test) { 4 << 10 } else { 16 * MIB };

/// Records copied by one job: bounds the memory that their list takes.
pub(crate) const COPY_RECORDS_MAX: usize = 1 << 16;

/// Bytes of segments that one step of a job goes over.
pub(crate) const COPY_STEP_BYTES: u64 = if cfg!(test) { 512 } else { MIB };

/// Bytes of garbage that are worth a job and the checkpoint after it.
pub(crate) const GARBAGE_BYTES_MIN: u64 = if cfg!(test) { 512 } else { 2 * MIB };

/// A segment is worth cleaning if one byte in so many is garbage.
pub(crate) const GARBAGE_SHARE_DIVISOR: u64 = 12;

/// Index runs are folded into a full one when they are longer than two full ones and so many bytes; above `TARGET`,
/// than one and a quarter and a quarter of this.
pub(crate) const DELTA_BYTES_MIN: u64 = 4 * MIB;

/// From so many retained bytes on, a compaction that settles at once and a job's copies fit between `WAIT` and `BOUND`
/// together.
const BOTH_FIT_RETAINED_BYTES: u64 = 240 * MIB;

// The marks are in order: cleaning begins before writers wait, and writers wait before the bound.
const _: () = assert!(TARGET.is_below(WAIT) && WAIT.is_below(BOUND));
// The bound is P4's.
const _: () = assert!(BOUND.numerator * 10 == BOUND.denominator * 3 && BOUND.bytes == 64 * MIB);

// Files at `WAIT` stay within the bound when a compaction settles at once, and so does what a window lets through
// beside it.
const _: () = assert!(WAIT.bytes + WAIT.falls_by(SETTLED_AT_ONCE_BYTES_MAX) <= BOUND.bytes);
const _: () = assert!(WAIT.bytes + SETTLED_AT_ONCE_BYTES_MAX + WRITE_WINDOW_BYTES_MIN <= BOUND.bytes);
// They stay within it while a job copies, and the window that was open when it began is used up.
const _: () = assert!(WAIT.bytes + COPY_BYTES_MAX + WRITE_WINDOW_BYTES_MIN <= BOUND.bytes);
// Both at once.
const _: () = assert!(
    WAIT.file_bytes(BOTH_FIT_RETAINED_BYTES) + WAIT.falls_by(SETTLED_AT_ONCE_BYTES_MAX) + COPY_BYTES_MAX
        <= BOUND.file_bytes(BOTH_FIT_RETAINED_BYTES)
);

// Cleaning reaches the target: segments that are not worth it are longer than what is live in them by a smaller share.
const _: () = assert!(
    GARBAGE_SHARE_DIVISOR * TARGET.denominator < (GARBAGE_SHARE_DIVISOR - 1) * (TARGET.denominator + TARGET.numerator)
);
// A store without garbage has nothing to do: the reserve, the segment that is appended to, what is allocated ahead of
// it and the deltas of a small index are below the target. (Tests of this crate open the store with other options.)
const _: () =
    assert!(cfg!(test) || RESERVE_BYTES + SEGMENT_BYTES_MIN + ALLOCATE_BYTES + DELTA_BYTES_MIN < TARGET.bytes);
// Cleaning begins before writers wait by more than one job takes, so that writers seldom wait at all.
const _: () = assert!(TARGET.bytes + COPY_BYTES_MAX <= WAIT.bytes);

// What is worth a job fits into one, on a full disk too, where a job may copy a quarter of the reserve.
const _: () = assert!(GARBAGE_BYTES_MIN <= COPY_BYTES_MAX && GARBAGE_BYTES_MIN <= RESERVE_BYTES / 4);
const _: () = assert!(COPY_STEP_BYTES <= COPY_BYTES_MAX && COPY_STEP_BYTES > RECORD_OVERHEAD_BYTES);
// What goes on counting is worth an entry when it has all gone, and before.
const _: () = assert!(SETTLE_BYTES_MIN <= SETTLED_AT_ONCE_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retained_bytes_min_is_the_inverse_of_file_bytes() {
        for file_bytes in (0..1000).chain((1 << 40)..(1 << 40) + 1000) {
            let retained = WAIT.retained_bytes_min(file_bytes);
            assert!(WAIT.file_bytes(retained) >= file_bytes, "{file_bytes}");
            assert!(retained == 0 || WAIT.file_bytes(retained - 4) < file_bytes, "{file_bytes}");
        }
    }

    #[test]
    fn dropped_bytes_lower_a_mark_by_no_more_than_it_says() {
        for retained in (0..100).chain((1 << 30)..(1 << 30) + 100) {
            for dropped in 0..=retained.min(50) {
                let fell = WAIT.file_bytes(retained) - WAIT.file_bytes(retained - dropped);
                assert!(fell <= WAIT.falls_by(dropped), "{dropped} of {retained}");
            }
        }
    }
}
