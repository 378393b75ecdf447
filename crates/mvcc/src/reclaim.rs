//! When space is given back, and of what: keeps the store's files within a factor of the retained bytes and a constant.
//!
//! ```text
//! garbage is made ─▶ begin_reclaim: live records of the worst segments are copied ─▶ relocation_step: the key index follows
//!                 ─▶ wants_checkpoint: once it is durable, the segments without a live record go
//! ```
//! Nothing happens below the target. Above it segments are emptied, those with the most garbage first, until what remains when
//! the empty ones are gone is below it; the distance from the target to the bound is what copies, new garbage and runs may
//! take while that is under way. On a full disk the target is the retained bytes themselves.

use crate::checkpoint::Room;
use crate::fault::Result;
use crate::owner::Mvcc;
use crate::relocation::{Move, ReclaimJob, Relocated};
use std::collections::{BTreeSet, VecDeque};
use store::SegmentStat;

/// The target: 1.2 times the retained bytes and this.
const SLACK_BYTES: u64 = if cfg!(test) { 1 << 10 } else { 24 << 20 };
/// Above 1.25 times the retained bytes and this, writers wait for reclaim. What lies between here and the bound of 1.3 times the
/// retained bytes and 64 MiB is for the copies and runs that are written meanwhile.
const HOLD_BYTES: u64 = 40 << 20;
/// Copied by one job, unless there is much to give back or little space.
const COPY_BYTES_MAX: u64 = if cfg!(test) { 4 << 10 } else { 16 << 20 };
/// Reclaiming less at a time is not worth a checkpoint.
const GARBAGE_BYTES_MIN: u64 = if cfg!(test) { 512 } else { 2 << 20 };
/// A segment with a smaller share of garbage than one part in so many is left alone.
const GARBAGE_SHARE: u64 = 12;

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
    running: bool,
    moves: VecDeque<Move>,
    damaged: BTreeSet<u32>,
    stats: ReclaimStats,
}

/// How long files may be before writers wait for reclaim.
pub(crate) fn hold_bytes(retained: u64) -> u64 {
    retained.saturating_add(retained / 4).saturating_add(HOLD_BYTES)
}

/// How much must be retained for files so long to make nobody wait: the inverse of `hold_bytes`.
pub(crate) fn retained_needed(physical: u64) -> u64 {
    physical.saturating_sub(HOLD_BYTES).div_ceil(5) * 4
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

    /// What may be written now: more would make the files longer than reclaim can bring back in time. O(1).
    pub fn growth_room(&self) -> u64 {
        hold_bytes(self.retained).saturating_sub(self.physical_bytes())
    }

    fn target_bytes(&self) -> u64 {
        if self.store.is_short_of_space() { self.retained } else { self.retained + self.retained / 5 + SLACK_BYTES }
    }

    fn garbage(&self) -> Garbage {
        let mut garbage = Garbage { empty_bytes: 0, worthwhile: Vec::new() };
        for stat in self.store.segments().filter(|stat| stat.is_sealed) {
            if stat.live_bytes == 0 {
                garbage.empty_bytes += stat.total_bytes;
            } else if stat.garbage_bytes() * GARBAGE_SHARE >= stat.total_bytes
                && !self.reclaim.damaged.contains(&stat.id)
            {
                garbage.worthwhile.push(stat);
            }
        }
        let share = |stat: &SegmentStat| stat.garbage_bytes() as f64 / stat.total_bytes as f64;
        garbage.worthwhile.sort_by(|one, other| share(other).total_cmp(&share(one)));
        garbage
    }

    /// A job that empties segments, if some must be and none is under way; the rest is the job's, on another thread. It is to
    /// be answered with `finish_reclaim` or `abandon_reclaim`. O(1) below the target.
    pub fn begin_reclaim(&mut self) -> Result<Option<ReclaimJob>> {
        // What a compaction dropped and its steps did not release yet would be copied for nothing.
        if self.reclaim.is_busy() || self.has_compaction_to_do() || !self.is_over_target() {
            return Ok(None);
        }
        let mut garbage = self.garbage();
        let remaining = self.physical_bytes().saturating_sub(garbage.empty_bytes);
        let excess = remaining.saturating_sub(self.target_bytes());
        // Where much is to be given back, much at a time: each time costs a checkpoint. But copies come before what they empty
        // goes, and must find room below the bound.
        let room = hold_bytes(self.retained_bytes()).saturating_sub(self.physical_bytes());
        let at_a_time = COPY_BYTES_MAX.max(room.min(excess / 4));
        if excess == 0 || garbage.empty_bytes >= at_a_time.max(self.retained / 20) {
            return Ok(None);
        }
        let copied_max = self.store.cold_bytes_max().unwrap_or(at_a_time);
        if self.seals_for(excess, &garbage) {
            self.store.seal()?;
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
        self.reclaim.running = true;
        let writer = self.store.begin_cold_segment();
        Ok(Some(ReclaimJob::new(scans, self.index.clone(), writer, copied_max)))
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
    pub fn finish_reclaim(&mut self, relocated: Relocated) {
        let Relocated { cold, moves, damaged } = relocated;
        let Reclaim { running, moves: waiting, damaged: known, stats } = &mut self.reclaim;
        *running = false;
        known.extend(damaged.iter().map(|(segment, _)| *segment));
        stats.segments_damaged = known.len() as u64;
        waiting.extend(moves);
        if let Some(cold) = cold {
            self.store.adopt(cold);
        }
    }

    /// The job failed and was dropped.
    pub fn abandon_reclaim(&mut self) {
        self.reclaim.running = false;
    }

    /// Makes the key index follow up to `budget` of the copied records; to be called between batches until it answers false.
    /// A hundred take less than half a millisecond.
    pub fn relocation_step(&mut self, budget: usize) -> bool {
        let Mvcc { reclaim, store, index, checkpoints, packed, .. } = self;
        let count = budget.min(reclaim.moves.len());
        for moved in reclaim.moves.drain(..count) {
            if index.relocate(&moved, packed) {
                store.release(moved.from);
                reclaim.stats.relocated_records += 1;
                reclaim.stats.relocated_bytes += moved.to.record_bytes();
                checkpoints.note_moved(moved.key, moved.at);
            } else {
                store.release(moved.to);
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
        empty_bytes >= enough || self.checkpoints.fold_frees(&self.room()) >= GARBAGE_BYTES_MIN.max(enough)
    }

    pub(crate) fn room(&self) -> Room {
        Room {
            is_over: self.is_over_target(),
            live_bytes: self.store.live_bytes(),
            bytes_max: self.store.cold_bytes_max(),
        }
    }

    pub fn reclaim_stats(&self) -> ReclaimStats {
        ReclaimStats { segments_removed: self.store.removed_segments(), ..self.reclaim.stats }
    }
}

impl Reclaim {
    fn is_busy(&self) -> bool {
        self.running || !self.moves.is_empty()
    }
}
