//! Cleaning: copying live records out of segments that are mostly garbage, on any thread.
//!
//! A record's payload names its key and revision, so that an image of the key index says whether it is still live.
//! Copies go into a cold segment of their own; what was cold stays together.
//!
//! Invariant: a job changes nothing until `Mvcc::finish_clean` takes its copies in. A live record that cannot be read
//! stays where it is, and so does its segment. What is behind it is copied, unless it cannot be told where that begins.
//! Not here: which segments are cleaned and when (`reclaim`), and how the key index follows (`relocation`).

use super::limits::{COPY_RECORDS_MAX, COPY_STEP_BYTES};
use super::relocation::Move;
use crate::fault::{Fault, Result};
use crate::index::Index;
use bytes::Bytes;
use model::{KeyValue, Revision};
use std::collections::VecDeque;
use std::fmt;
use store::{ColdSegment, ColdWriter, Location, RECORD_OVERHEAD_BYTES, Scan};

/// Copying what is live of some segments, on any thread. Dropping it changes nothing.
pub struct CleanJob {
    segments: VecDeque<Scan>,
    index: Index,
    writer: ColdWriter,
    bytes_max: u64,
    moves: Vec<Move>,
    damaged: Vec<DamagedRecord>,
    /// Looks over the whole index, for the owner of a record.
    owners_looked_for: usize,
}

/// With more damage than this a segment is left as it is: each record costs a look over the whole index.
const OWNERS_LOOKED_FOR_MAX: usize = 16;

/// Why a segment cannot be emptied.
#[derive(Debug)]
pub struct DamagedRecord {
    pub segment: u32,
    /// Whose the record is, and its revision; none if nothing behind it can be read either.
    pub owner: Option<(Bytes, Revision)>,
    pub fault: Fault,
}

/// Copies that are written, for `Mvcc::finish_clean`.
pub struct Cleaned {
    pub(super) cold: Option<ColdSegment>,
    pub(super) moves: Vec<Move>,
    pub(super) damaged: Vec<DamagedRecord>,
}

impl CleanJob {
    /// Copies at most `bytes_max` and one record.
    pub(crate) fn new(segments: VecDeque<Scan>, index: Index, writer: ColdWriter, bytes_max: u64) -> CleanJob {
        CleanJob { segments, index, writer, bytes_max, moves: Vec::new(), damaged: Vec::new(), owners_looked_for: 0 }
    }

    /// Goes over about a megabyte; false when all is done. After a fault the job is to be dropped; one that is a lack
    /// of space may be gone when another is begun.
    pub fn step(&mut self) -> Result<bool> {
        let mut left = COPY_STEP_BYTES;
        while left > 0 {
            if self.writer.record_bytes() >= self.bytes_max || self.moves.len() >= COPY_RECORDS_MAX {
                return Ok(false);
            }
            let Some(segment) = self.segments.front_mut() else { return Ok(false) };
            match segment.next_record() {
                Ok(Some((location, payload))) => {
                    left = left.saturating_sub(RECORD_OVERHEAD_BYTES + payload.len() as u64);
                    match KeyValue::decode(&payload) {
                        Ok(kv) => self.copy_if_live(location, &kv, &payload)?,
                        Err(_) => self.pass_damage(Fault::NotAPair, Some(location.offset)),
                    }
                }
                Ok(None) => {
                    self.segments.pop_front();
                }
                Err(fault) if fault.may_pass() => return Err(fault.into()),
                Err(fault) => {
                    let offset = fault.offset().and_then(|offset| u32::try_from(offset).ok());
                    self.pass_damage(fault.into(), offset);
                }
            }
        }
        Ok(true)
    }

    /// A record that cannot be read: garbage, if nobody owns it. A scan that cannot go behind it has ended.
    fn pass_damage(&mut self, fault: Fault, offset: Option<u32>) {
        let Some(scan) = self.segments.front_mut() else { return };
        let segment = scan.segment();
        let is_passed = matches!(fault, Fault::NotAPair) || scan.skip();
        self.owners_looked_for += 1;
        let goes_on = is_passed && self.owners_looked_for <= OWNERS_LOOKED_FOR_MAX;
        if !goes_on {
            self.segments.pop_front();
        }
        let owner = offset.and_then(|offset| self.index.around(segment, offset).owner);
        if owner.is_some() || !goes_on {
            let owner = owner.map(|owner| (owner.key, owner.revision));
            self.damaged.push(DamagedRecord { segment, owner, fault });
        }
    }

    fn copy_if_live(&mut self, from: Location, kv: &KeyValue, payload: &Bytes) -> Result<()> {
        let Some(at) = self.index.place_of(&kv.key, kv.mod_revision, from) else { return Ok(()) };
        let to = self.writer.append(payload)?;
        assert_eq!(to.length, from.length, "a copy is as long as its record");
        assert_ne!(to.segment, from.segment, "a copy lies in another segment");
        // Not a slice of the payload, which would keep all that was read in memory.
        let key = Bytes::copy_from_slice(&kv.key);
        self.moves.push(Move { key, at, from, to });
        Ok(())
    }

    /// Completes the copies.
    pub fn finish(mut self) -> Result<Cleaned> {
        // In order, neighbours in the key index are changed one after the other.
        self.moves.sort_unstable_by(|one, other| one.key.cmp(&other.key).then(one.at.cmp(&other.at)));
        let in_order = |one: &Move, other: &Move| (&one.key, one.at) < (&other.key, other.at);
        assert!(self.moves.is_sorted_by(in_order), "a version is copied once");
        Ok(Cleaned { cold: self.writer.finish()?, moves: self.moves, damaged: self.damaged })
    }
}

impl Cleaned {
    /// Why some segments cannot be emptied.
    pub fn damaged(&self) -> &[DamagedRecord] {
        &self.damaged
    }
}

impl fmt::Debug for CleanJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CleanJob, {} segments to go over, {} records copied", self.segments.len(), self.moves.len())
    }
}

impl fmt::Debug for Cleaned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cleaned, {} records copied, {} damaged", self.moves.len(), self.damaged.len())
    }
}
