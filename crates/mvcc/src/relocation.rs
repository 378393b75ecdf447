//! Moving live records out of segments that are mostly garbage: the copying, on any thread, and what the owner makes of it.
//!
//! A record's payload names its key and revision, so that an image of the key index tells whether it is still live. The owner
//! exchanges a version's location only if it is still the old one; a copy of what was dropped meanwhile is released. Nothing
//! that anybody can read changes, and no number that members compare.

use crate::entry::{Entry, pack_entry};
use crate::fault::{Fault, Result};
use crate::history::History;
use crate::index::Index;
use crate::version::Version;
use bytes::Bytes;
use model::{KeyValue, Revision, VersionedRevision};
use std::collections::VecDeque;
use std::fmt;
use store::{ColdSegment, ColdWriter, Location, RECORD_OVERHEAD_BYTES, Scan};

/// Bytes of segments that one step goes over.
const STEP_BYTES: u64 = if cfg!(test) { 512 } else { 1 << 20 };
/// Records that one job copies at most: bounds the memory that their list takes.
const MOVES_MAX: usize = 1 << 16;

/// A copied record: where a version lies now, and where it is to lie.
#[derive(Debug)]
pub(crate) struct Move {
    pub(crate) key: Bytes,
    pub(crate) at: VersionedRevision,
    pub(crate) from: Location,
    pub(crate) to: Location,
}

/// Copying what is live of some segments, on any thread. Dropping it changes nothing.
pub struct ReclaimJob {
    segments: VecDeque<Scan>,
    index: Index,
    writer: ColdWriter,
    bytes_max: u64,
    moves: Vec<Move>,
    damaged: Vec<(u32, Fault)>,
}

/// Copies that are written, for `Mvcc::finish_reclaim`.
pub struct Relocated {
    pub(crate) cold: Option<ColdSegment>,
    pub(crate) moves: Vec<Move>,
    pub(crate) damaged: Vec<(u32, Fault)>,
}

impl ReclaimJob {
    /// Copies at most `bytes_max` and one record.
    pub(crate) fn new(segments: VecDeque<Scan>, index: Index, writer: ColdWriter, bytes_max: u64) -> ReclaimJob {
        ReclaimJob { segments, index, writer, bytes_max, moves: Vec::new(), damaged: Vec::new() }
    }

    /// Goes over about a megabyte; false when all is done. After a fault the job is to be dropped; one that is a lack of space
    /// may be gone when another is begun.
    pub fn step(&mut self) -> Result<bool> {
        let mut left = STEP_BYTES;
        while left > 0 {
            if self.writer.record_bytes() >= self.bytes_max || self.moves.len() >= MOVES_MAX {
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
        // Not a slice of the payload, which would keep all that was read in memory.
        let key = Bytes::copy_from_slice(&kv.key);
        self.moves.push(Move { key, at, from, to });
        Ok(())
    }

    /// Completes the copies.
    pub fn finish(mut self) -> Result<Relocated> {
        // In order, neighbours in the key index are changed one after the other.
        self.moves.sort_unstable_by(|one, other| one.key.cmp(&other.key).then(one.at.cmp(&other.at)));
        Ok(Relocated { cold: self.writer.finish()?, moves: self.moves, damaged: self.damaged })
    }
}

impl Relocated {
    /// Segments that cannot be reclaimed because a record in them is damaged, and why.
    pub fn damaged(&self) -> &[(u32, Fault)] {
        &self.damaged
    }
}

impl Index {
    /// The place in its revision of the version of `key` that lies at `location`, if one does.
    fn place_of(&self, key: &[u8], revision: Revision, location: Location) -> Option<VersionedRevision> {
        let entry = Entry(self.keys.get(key)?);
        let deep = entry.is_deep().then(|| self.history.versions_from(key, revision));
        let mut versions = entry.versions().chain(deep.into_iter().flatten());
        let found = versions.find(|version| version.at.main < revision || version.location() == Some(location))?;
        (found.location() == Some(location)).then_some(found.at)
    }

    /// Exchanges the location of a version. False, and nothing changes, if the version is gone or lies elsewhere.
    pub(crate) fn relocate(&mut self, moved: &Move, packed: &mut Vec<u8>) -> bool {
        let Index { keys, history } = self;
        let Some(entry) = keys.get(&moved.key).map(Entry) else { return false };
        let deep = entry.is_deep();
        let mut versions: Vec<Version> = entry.versions().collect();
        if !exchange(&mut versions, moved) {
            return deep && history.relocate(moved);
        }
        let Ok::<(), std::convert::Infallible>(()) = keys.upsert(&moved.key, packed, |_, out| {
            pack_entry(&versions, deep, out);
            Ok(())
        });
        true
    }
}

impl History {
    fn relocate(&mut self, moved: &Move) -> bool {
        self.change_chunk(&moved.key, moved.at, |versions| exchange(versions, moved))
    }
}

fn exchange(versions: &mut [Version], moved: &Move) -> bool {
    let wanted = |version: &&mut Version| version.at == moved.at && version.location() == Some(moved.from);
    let Some(put) = versions.iter_mut().find(wanted).and_then(|version| version.put.as_mut()) else { return false };
    put.location = moved.to;
    true
}

impl fmt::Debug for ReclaimJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReclaimJob, {} segments to go over, {} records copied", self.segments.len(), self.moves.len())
    }
}

impl fmt::Debug for Relocated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Relocated, {} records, {} segments damaged", self.moves.len(), self.damaged.len())
    }
}
