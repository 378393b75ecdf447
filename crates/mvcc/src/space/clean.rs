//! Cleaning: copying live records out of segments that are mostly garbage, on any thread.
//!
//! A record's payload names its key and revision, so that an image of the key index says whether it is still live.
//! Copies go into a cold segment of their own; what was cold stays together.
//!
//! Invariant: a job changes nothing until `Mvcc::finish_clean` takes its copies in. A segment in which a record is
//! damaged keeps what is behind it, and its space.
//! Not here: which segments are cleaned and when (`reclaim`), and how the key index follows (`relocation`).

use super::limits::{COPY_RECORDS_MAX, COPY_STEP_BYTES};
use super::relocation::Move;
use crate::fault::{Fault, Result};
use crate::index::Index;
use bytes::Bytes;
use model::KeyValue;
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
    damaged: Vec<(u32, Fault)>,
}

/// Copies that are written, for `Mvcc::finish_clean`.
pub struct Cleaned {
    pub(super) cold: Option<ColdSegment>,
    pub(super) moves: Vec<Move>,
    pub(super) damaged: Vec<(u32, Fault)>,
}

impl CleanJob {
    /// Copies at most `bytes_max` and one record.
    pub(crate) fn new(segments: VecDeque<Scan>, index: Index, writer: ColdWriter, bytes_max: u64) -> CleanJob {
        CleanJob { segments, index, writer, bytes_max, moves: Vec::new(), damaged: Vec::new() }
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
                        Err(_) => self.give_up(Fault::NotAPair),
                    }
                }
                Ok(None) => {
                    self.segments.pop_front();
                }
                Err(fault) if fault.is_damage() => self.give_up(fault.into()),
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(true)
    }

    /// What is left of the segment stays where it is, and so does the segment.
    fn give_up(&mut self, fault: Fault) {
        if let Some(segment) = self.segments.pop_front() {
            self.damaged.push((segment.segment(), fault));
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
    /// Segments that cannot be cleaned because a record in them is damaged, and why.
    pub fn damaged(&self) -> &[(u32, Fault)] {
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
        write!(f, "Cleaned, {} records copied, {} segments damaged", self.moves.len(), self.damaged.len())
    }
}
