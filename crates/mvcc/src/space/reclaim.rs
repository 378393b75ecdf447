//! Which segments are cleaned and when: keeps the store's files within a factor of the retained bytes and a constant.
//!
//! ```text
//! garbage is made ─▶ begin_clean: live records of the worst segments are copied
//!                 ─▶ relocation_step: the key index follows
//!                 ─▶ wants_checkpoint: once it is durable, the segments without a live record go
//! ```
//! Nothing happens below the target. Above it segments are cleaned, those with the most garbage first, until what
//! remains when the empty ones are gone is below it; the distance from the target to the bound is what copies, new
//! garbage and runs may take while that is under way (`limits`). On a full disk the target is the retained bytes
//! themselves.

use super::clean::{CleanJob, Cleaned};
use super::limits::{COPY_BYTES_MAX, GARBAGE_BYTES_MIN, GARBAGE_SHARE_DIVISOR, TARGET, WAIT};
use super::relocation::Move;
use crate::checkpoint::Occupancy;
use crate::fault::Result;
use crate::owner::Mvcc;
use std::collections::{BTreeSet, VecDeque};
use store::SegmentStat;

/// What reclaim did since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReclaimStats {
    pub relocated_records: u64,
    /// Of their records, headers included.
    pub relocated_bytes: u64,
    /// Segments removed, those that became empty by themselves included.
    pub segments_removed: u64,
    /// Segments that keep their space because a record in them is damaged.
    pub segments_damaged: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Reclaim {
    cleaning: bool,
    moves: VecDeque<Move>,
    damaged: BTreeSet<u32>,
    stats: ReclaimStats,
}

/// What could be given back.
struct Garbage {
    /// In segments without a live record: the next checkpoint removes them.
    empty_bytes: u64,
    /// Sealed segments that are worth copying, the most garbage first.
    worthwhile: Vec<SegmentStat>,
}

impl Mvcc {
    /// The files are longer than they should be. O(1).
    pub fn is_over_target(&self) -> bool {
        self.physical_bytes() > self.target_bytes()
    }

    /// Bytes that writers may write now: more would make the files longer than reclaim can bring back in time. O(1).
    pub fn write_window(&self) -> u64 {
        WAIT.file_bytes(self.retained).saturating_sub(self.physical_bytes())
    }

    fn target_bytes(&self) -> u64 {
        if self.store.is_short_of_space() { self.retained } else { TARGET.file_bytes(self.retained) }
    }

    fn garbage(&self) -> Garbage {
        let mut garbage = Garbage { empty_bytes: 0, worthwhile: Vec::new() };
        for stat in self.store.segments().filter(|stat| stat.is_sealed) {
            if stat.live_bytes == 0 {
                garbage.empty_bytes += stat.total_bytes;
            } else if stat.garbage_bytes() * GARBAGE_SHARE_DIVISOR >= stat.total_bytes
                && !self.reclaim.damaged.contains(&stat.id)
            {
                garbage.worthwhile.push(stat);
            }
        }
        let share = |stat: &SegmentStat| stat.garbage_bytes() as f64 / stat.total_bytes as f64;
        garbage.worthwhile.sort_by(|one, other| share(other).total_cmp(&share(one)));
        garbage
    }

    /// A job that empties segments, if some must be and none is under way; the rest is the job's, on another thread. It
    /// is to be answered with `finish_clean` or `abandon_clean`. O(1) below the target.
    pub fn begin_clean(&mut self) -> Result<Option<CleanJob>> {
        // What a compaction dropped and its steps did not take out yet would be copied for nothing.
        if self.reclaim.is_busy() || self.has_compaction_to_do() || !self.is_over_target() {
            return Ok(None);
        }
        let mut garbage = self.garbage();
        let remaining = self.physical_bytes().saturating_sub(garbage.empty_bytes);
        let excess = remaining.saturating_sub(self.target_bytes());
        // Where much is to be given back, much at a time: each time costs a checkpoint. But copies come before what
        // they empty goes, and more than `COPY_BYTES_MAX` must end below where writers wait. What is unsettled has
        // files still.
        let below_wait = WAIT.file_bytes(self.retained_bytes()).saturating_sub(self.physical_bytes());
        let at_a_time = COPY_BYTES_MAX.max(below_wait.min(excess / 4));
        if excess == 0 || garbage.empty_bytes >= at_a_time.max(self.retained / 20) {
            return Ok(None);
        }
        let copied_max = self.store.cold_bytes_max().unwrap_or(at_a_time);
        if self.seals_for(excess, &garbage) {
            match self.store.seal() {
                // What stayed in memory keeps its segment.
                Err(fault) if fault.may_pass() => {}
                sealed => sealed?,
            }
            garbage = self.garbage();
        }
        let wanted = excess.max(GARBAGE_BYTES_MIN);
        let (mut found, mut live, mut scans) = (0, 0, VecDeque::new());
        for stat in garbage.worthwhile {
            if found >= wanted || live >= copied_max {
                break;
            }
            found += stat.garbage_bytes();
            live += stat.live_bytes;
            scans.extend(self.store.scan(stat.id));
        }
        if found < GARBAGE_BYTES_MIN.min(wanted) || scans.is_empty() {
            return Ok(None);
        }
        self.reclaim.cleaning = true;
        let writer = self.store.begin_cold_segment();
        Ok(Some(CleanJob::new(scans, self.index.clone(), writer, copied_max)))
    }

    /// The segment that is appended to holds garbage that is needed back.
    fn seals_for(&self, excess: u64, garbage: &Garbage) -> bool {
        let sealed: u64 = garbage.worthwhile.iter().map(SegmentStat::garbage_bytes).sum();
        let active = self.store.segments().find(|stat| !stat.is_sealed);
        sealed < excess
            && active.is_some_and(|active| {
                let garbage = active.garbage_bytes();
                garbage >= GARBAGE_BYTES_MIN && garbage * 4 >= active.total_bytes
            })
    }

    /// Takes the copies of a job in. `relocation_step` does the rest.
    pub fn finish_clean(&mut self, cleaned: Cleaned) {
        let Cleaned { cold, moves, damaged } = cleaned;
        let Reclaim { cleaning, moves: waiting, damaged: known, stats } = &mut self.reclaim;
        assert!(moves.is_empty() || cold.is_some(), "copies lie in a segment");
        *cleaning = false;
        known.extend(damaged.iter().map(|damaged| damaged.segment));
        stats.segments_damaged = known.len() as u64;
        waiting.extend(moves);
        if let Some(cold) = cold {
            self.store.adopt(cold);
        }
    }

    /// The job failed and was dropped.
    pub fn abandon_clean(&mut self) {
        self.reclaim.cleaning = false;
    }

    /// Makes the key index follow up to `budget` of the copied records; to be called between batches until it answers
    /// false. A hundred take less than half a millisecond.
    pub fn relocation_step(&mut self, budget: usize) -> bool {
        let Mvcc { reclaim, store, index, checkpoints, packed, .. } = self;
        let count = budget.min(reclaim.moves.len());
        for moved in reclaim.moves.drain(..count) {
            assert!(store.holds(moved.to), "a copy lies in a segment that was taken in");
            if index.relocate(&moved, packed) {
                store.mark_garbage(moved.from);
                reclaim.stats.relocated_records += 1;
                reclaim.stats.relocated_bytes += moved.to.record_bytes();
                checkpoints.note_moved(moved.key, moved.at);
            } else {
                store.mark_garbage(moved.to);
            }
        }
        !reclaim.moves.is_empty()
    }

    /// A checkpoint would give back space that is needed, and nothing is under way that would let it give back more.
    pub fn wants_checkpoint(&self) -> bool {
        if self.reclaim.is_busy() || !self.is_over_target() {
            return false;
        }
        let empty_bytes = self.garbage().empty_bytes;
        let enough = if self.has_compaction_to_do() { COPY_BYTES_MAX } else { 1 };
        empty_bytes >= enough || self.checkpoints.fold_frees(&self.occupancy()) >= GARBAGE_BYTES_MIN.max(enough)
    }

    pub(crate) fn occupancy(&self) -> Occupancy {
        Occupancy {
            is_over_target: self.is_over_target(),
            live_bytes: self.store.live_bytes(),
            run_bytes_max: self.store.cold_bytes_max(),
        }
    }

    pub fn reclaim_stats(&self) -> ReclaimStats {
        ReclaimStats { segments_removed: self.store.removed_segments(), ..self.reclaim.stats }
    }
}

impl Reclaim {
    fn is_busy(&self) -> bool {
        self.cleaning || !self.moves.is_empty()
    }
}
