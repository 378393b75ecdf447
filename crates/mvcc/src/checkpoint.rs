//! Checkpoints of the key index: what changed since the last one as a sorted run, or all of it.
//!
//! A checkpoint needs no list of what was written: the tree knows which subtrees have newer versions than the last
//! checkpoint, and a view of it stays as it is while the job walks it. What it does not know are deletions that
//! compaction dropped since, and older versions whose record was moved; they are noted as they go (see
//! `compaction::hiding` and `relocation`).

use crate::entry::{Entry, KeySummary};
use crate::fault::{Fault, Result};
use crate::index::Index;
use crate::run::BlockWriter;
use crate::space::limits::DELTA_BYTES_MIN;
use crate::tree::Iter;
use crate::version::Version;
use bytes::Bytes;
use model::{Revision, VersionedRevision};
use std::cmp::Reverse;
use std::fmt;
use std::iter::Peekable;
use std::sync::Arc;
use stdx::codec::{DecodeError, Reader, put_varint};
use store::{CheckpointWriter, Mode, Run};

const FORMAT: u8 = 1;
/// The most runs that a start merges.
const RUNS_MAX: usize = if cfg!(test) { 4 } else { 128 };

/// The key index's part of a checkpoint's meta. Format: `docs/formats/index-run.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CheckpointMeta {
    pub(crate) revision: Revision,
    pub(crate) compacted: Revision,
}

impl CheckpointMeta {
    fn encode(self) -> Vec<u8> {
        assert!(self.is_sensible(), "what is written can be read");
        let mut out = vec![FORMAT];
        put_varint(&mut out, self.revision.0 as u64);
        put_varint(&mut out, (self.compacted.0 + 1) as u64);
        out
    }

    pub(crate) fn decode(meta: &Bytes) -> Result<CheckpointMeta> {
        let read = || -> std::result::Result<CheckpointMeta, DecodeError> {
            let mut reader = Reader::new(meta.clone());
            match reader.u8()? {
                FORMAT => {}
                tag => return Err(DecodeError::UnknownTag { what: "key index", tag: tag.into() }),
            }
            let revision = Revision(reader.varint()? as i64);
            let compacted = Revision((reader.varint()? as i64).wrapping_sub(1));
            reader.finish("key index")?;
            Ok(CheckpointMeta { revision, compacted })
        };
        let meta = read().map_err(|_| Fault::Checkpoint("its meta is not what this release writes"))?;
        if meta.is_sensible() { Ok(meta) } else { Err(Fault::Checkpoint("its revisions are out of bounds")) }
    }

    fn is_sensible(self) -> bool {
        let CheckpointMeta { revision, compacted } = self;
        (1..i64::MAX).contains(&revision.0) && (-1..=revision.0).contains(&compacted.0)
    }
}

/// What the owner knows of its durable checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints {
    /// Its revision; 0 if there is none.
    durable: Revision,
    /// That of the newest one taken.
    captured: Revision,
    full_bytes: u64,
    /// Live bytes in the store when the full run was written, or at the start.
    full_live_bytes: u64,
    delta_bytes: u64,
    runs: usize,
    /// Hiding deletions dropped since the last checkpoint that may be missing from the durable runs.
    hiding: Noted<HidingDeletion>,
    /// Versions that were moved since the last checkpoint and that it holds where they lay before.
    moved: Noted<MovedVersion>,
}

/// A key and its deletion that hides what older runs hold.
type HidingDeletion = (Box<[u8]>, Version);
/// A key and the version of it that was moved.
type MovedVersion = (Bytes, VersionedRevision);

/// What the next checkpoint is to know. Lists go over to a job as a whole, however long they are.
#[derive(Debug)]
struct Noted<T> {
    fresh: Vec<T>,
    /// By jobs that are not durable.
    taken: Vec<Arc<Vec<T>>>,
}

impl<T> Default for Noted<T> {
    fn default() -> Noted<T> {
        Noted { fresh: Vec::new(), taken: Vec::new() }
    }
}

impl<T> Noted<T> {
    fn take(&mut self) -> Vec<Arc<Vec<T>>> {
        if !self.fresh.is_empty() {
            self.taken.push(Arc::new(std::mem::take(&mut self.fresh)));
        }
        self.taken.clone()
    }
}

/// How the store's space stands when a checkpoint is taken.
pub(crate) struct Occupancy {
    /// The files are longer than they should be.
    pub(crate) is_over_target: bool,
    pub(crate) live_bytes: u64,
    /// A run may not be longer, on a full disk.
    pub(crate) run_bytes_max: Option<u64>,
}

impl Checkpoints {
    pub(crate) fn continued(meta: &Bytes, runs: &[Run]) -> Result<Checkpoints> {
        let durable = CheckpointMeta::decode(meta)?.revision;
        let mut bytes = runs.iter().map(Run::file_bytes);
        let full_bytes = bytes.next().unwrap_or(0);
        let delta_bytes = bytes.sum();
        Ok(Checkpoints {
            durable,
            captured: durable,
            full_bytes,
            delta_bytes,
            runs: runs.len(),
            ..Checkpoints::default()
        })
    }

    /// The runs were loaded: so many bytes are live.
    pub(crate) fn loaded(&mut self, live_bytes: u64) {
        self.full_live_bytes = live_bytes;
    }

    /// What a full run would take now, from what it took last.
    fn full_bytes_expected(&self, live_bytes: u64) -> u64 {
        let expected = u128::from(self.full_bytes) * u128::from(live_bytes) / u128::from(self.full_live_bytes.max(1));
        if self.full_live_bytes == 0 { self.full_bytes } else { expected as u64 }
    }

    /// What the next checkpoint would give back by folding the runs; 0 if it would not fold them.
    pub(crate) fn fold_frees(&self, occupancy: &Occupancy) -> u64 {
        if self.folds(occupancy) { self.excess_bytes(occupancy.live_bytes) } else { 0 }
    }

    fn excess_bytes(&self, live_bytes: u64) -> u64 {
        let expected = self.full_bytes_expected(live_bytes);
        (self.full_bytes + self.delta_bytes).saturating_sub(expected + expected / 4 + DELTA_BYTES_MIN / 4)
    }

    fn folds(&self, occupancy: &Occupancy) -> bool {
        let expected = self.full_bytes_expected(occupancy.live_bytes);
        let too_long = self.full_bytes + self.delta_bytes > 2 * expected + DELTA_BYTES_MIN;
        let due = self.runs >= RUNS_MAX
            || too_long
            || (occupancy.is_over_target && self.excess_bytes(occupancy.live_bytes) > 0);
        self.runs == 0 || (due && occupancy.run_bytes_max.is_none_or(|run_bytes_max| expected <= run_bytes_max))
    }

    pub(crate) fn note_hiding(&mut self, key: &[u8], version: &Version) {
        if version.at.main > self.durable {
            self.hiding.fresh.push((key.into(), *version));
        }
    }

    /// A version's record was moved. What is newer than every checkpoint taken is in the next one anyway.
    pub(crate) fn note_moved(&mut self, key: Bytes, at: VersionedRevision) {
        if at.main <= self.captured {
            self.moved.fresh.push((key, at));
        }
    }

    pub(crate) fn take(
        &mut self,
        writer: CheckpointWriter,
        index: Index,
        revision: Revision,
        compacted: Revision,
        occupancy: Occupancy,
    ) -> CheckpointJob {
        assert!(revision >= self.captured, "a checkpoint holds no less than the one taken before");
        assert!(compacted <= revision, "a compaction is of a revision that was reached");
        self.captured = revision;
        let (hiding, moved) = (self.hiding.take(), self.moved.take());
        let meta = CheckpointMeta { revision, compacted };
        let live_bytes = occupancy.live_bytes;
        let (mode, since, notes) = if self.folds(&occupancy) {
            // What a full run holds hides nothing older, and is where it lies now.
            (Mode::Full, Revision(0), Notes::default())
        } else {
            (Mode::Delta, self.durable, Notes { hiding, moved })
        };
        CheckpointJob { writer, index, meta, mode, since, notes, live_bytes }
    }

    /// Takes note, and hands back the store's part.
    pub(crate) fn finish(&mut self, done: CheckpointDone) -> store::Done {
        let CheckpointDone { store, revision, mode, bytes, live_bytes } = done;
        assert!(revision >= self.durable, "a checkpoint holds no less than the one before");
        assert!(revision <= self.captured, "a checkpoint was taken before it is durable");
        self.durable = revision;
        self.hiding.taken.clear();
        self.moved.taken.clear();
        self.hiding.fresh.retain(|(_, version)| version.at.main > revision);
        match mode {
            Mode::Full => {
                (self.full_bytes, self.delta_bytes, self.runs) = (bytes, 0, 1);
                self.full_live_bytes = live_bytes;
            }
            Mode::Delta => {
                assert!(self.runs > 0, "a delta is one to a run before it");
                self.delta_bytes += bytes;
                self.runs += 1;
            }
        }
        store
    }
}

/// A checkpoint to be written, on any thread. Dropping it leaves the one before in force.
pub struct CheckpointJob {
    writer: CheckpointWriter,
    index: Index,
    meta: CheckpointMeta,
    mode: Mode,
    since: Revision,
    notes: Notes,
    live_bytes: u64,
}

/// What a delta run holds beside the versions that are new.
#[derive(Default)]
struct Notes {
    hiding: Vec<Arc<Vec<HidingDeletion>>>,
    moved: Vec<Arc<Vec<MovedVersion>>>,
}

/// A durable checkpoint, for `Mvcc::finish_checkpoint`.
#[derive(Debug)]
pub struct CheckpointDone {
    store: store::Done,
    revision: Revision,
    mode: Mode,
    bytes: u64,
    live_bytes: u64,
}

impl CheckpointJob {
    /// The key index's part of the meta, which `Mvcc::open` wants back.
    pub fn meta(&self) -> Vec<u8> {
        self.meta.encode()
    }

    /// The revision that the checkpoint holds.
    pub fn revision(&self) -> Revision {
        self.meta.revision
    }

    /// Writes and syncs everything; `meta` is the checkpoint's whole meta, into which the caller has put the key
    /// index's part. May be called again after a fault that is a lack of space.
    pub fn write(&mut self, meta: &[u8]) -> Result<CheckpointDone> {
        match self.write_once(meta) {
            Err(fault) if fault.is_no_space() && self.writer.give_up_reserve() => self.write_once(meta),
            written => written,
        }
    }

    fn write_once(&mut self, meta: &[u8]) -> Result<CheckpointDone> {
        let mut hiding: Vec<&HidingDeletion> = self.notes.hiding.iter().flat_map(|list| list.iter()).collect();
        hiding.sort_unstable_by(|(a, one), (b, other)| a.cmp(b).then(other.at.cmp(&one.at)));
        let mut moved: Vec<&MovedVersion> = self.notes.moved.iter().flat_map(|list| list.iter()).collect();
        moved.sort_unstable();
        let mut blocks = RunBlocks::new(&self.index, self.since, &hiding, &moved);
        let store = self.writer.commit(meta, &mut blocks, self.mode)?;
        if self.mode == Mode::Full {
            assert_eq!(blocks.keys, self.index.keys.len(), "a full run holds every key that was captured");
        }
        assert!(blocks.hiding.next().is_none(), "a run tells of every deletion that was noted");
        assert!(blocks.moved.is_empty(), "a run tells of every version that was moved");
        let (revision, mode, live_bytes) = (self.meta.revision, self.mode, self.live_bytes);
        Ok(CheckpointDone { store, revision, mode, bytes: blocks.bytes, live_bytes })
    }
}

impl fmt::Debug for CheckpointJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckpointJob {:?} of revision {} since {}", self.mode, self.meta.revision, self.since)
    }
}

/// The blocks of a run: versions above `since` and the moved ones, merged with the hiding deletions.
struct RunBlocks<'a> {
    index: &'a Index,
    since: Revision,
    entries: Iter<'a, KeySummary>,
    /// The entry that comes next, read ahead.
    next: Option<(Vec<u8>, &'a [u8])>,
    hiding: Peekable<std::slice::Iter<'a, &'a HidingDeletion>>,
    /// In ascending order.
    moved: &'a [&'a MovedVersion],
    writer: BlockWriter,
    ready: std::vec::IntoIter<Vec<u8>>,
    bytes: u64,
    /// Added so far.
    keys: usize,
    versions: Vec<Version>,
}

impl<'a> RunBlocks<'a> {
    fn new(
        index: &'a Index,
        since: Revision,
        hiding: &'a [&'a HidingDeletion],
        moved: &'a [&'a MovedVersion],
    ) -> RunBlocks<'a> {
        let mut blocks = RunBlocks {
            index,
            since,
            entries: index.keys.iter(),
            next: None,
            hiding: hiding.iter().peekable(),
            moved,
            writer: BlockWriter::default(),
            ready: Vec::new().into_iter(),
            bytes: 0,
            keys: 0,
            versions: Vec::new(),
        };
        blocks.read_ahead();
        blocks
    }

    fn read_ahead(&mut self) {
        let since = self.since;
        loop {
            let entry = self.entries.next_wanted(|summary| summary.newest > since);
            let newer = |packed: &[u8]| Entry(packed).newest() > since;
            match entry {
                Some((_, packed)) if !newer(packed) => {}
                entry => {
                    self.next = entry.map(|(key, packed)| (key.to_vec(), packed));
                    return;
                }
            }
        }
    }

    /// Adds one key to the blocks; false if there is none left.
    fn add_key(&mut self) -> bool {
        let newer = self.next.as_ref().map(|(key, _)| key.as_slice());
        let hidden = self.hiding.peek().map(|(key, _)| key.as_ref());
        let moved = self.moved.first().map(|(key, _)| key.as_ref());
        let Some(key) = [newer, hidden, moved].into_iter().flatten().min().map(<[u8]>::to_vec) else { return false };
        self.versions.clear();
        let count = self.moved.partition_point(|(moved, _)| *moved <= *key);
        let (moved, rest) = self.moved.split_at(count);
        self.moved = rest;
        let packed = match self.next.take_if(|(next, _)| *next == key) {
            Some((_, packed)) => {
                self.read_ahead();
                Some(packed)
            }
            // What was moved may have been dropped since.
            None => self.index.keys.get(&key).filter(|_| !moved.is_empty()),
        };
        if let Some(packed) = packed {
            let since = self.since;
            let oldest = moved.first().map(|(_, at)| *at);
            let wanted =
                |version: &Version| version.at.main > since || oldest.is_some_and(|oldest| version.at >= oldest);
            let counts = |version: &Version| {
                version.at.main > since || moved.binary_search_by(|(_, at)| at.cmp(&version.at)).is_ok()
            };
            let versions = self.index.versions(key.as_slice().into(), Entry(packed));
            self.versions.extend(versions.take_while(wanted).filter(counts));
        }
        let from_index = self.versions.len();
        while let Some((_, version)) = self.hiding.next_if(|(hidden, _)| **hidden == *key) {
            self.versions.push(*version);
        }
        if from_index < self.versions.len() {
            self.versions.sort_by_key(|version| Reverse(version.at));
            self.versions.dedup_by_key(|version| version.at);
        }
        if !self.versions.is_empty() {
            self.keys += 1;
            self.writer.add(&key, &self.versions);
        }
        true
    }
}

impl Iterator for RunBlocks<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(block) = self.ready.next() {
                self.bytes += block.len() as u64;
                return Some(block);
            }
            let more = self.add_key();
            self.ready = self.writer.take(!more).into_iter();
            if !more && self.ready.len() == 0 {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn meta_is_read_back(revision in 1..i64::MAX, compacted in -1..i64::MAX) {
            let meta = CheckpointMeta { revision: Revision(revision), compacted: Revision(compacted.min(revision)) };
            prop_assert_eq!(CheckpointMeta::decode(&meta.encode().into()).expect("own bytes"), meta);
        }

        #[test]
        fn arbitrary_meta_never_panics(mut bytes: Vec<u8>, ours: bool) {
            if let Some(format) = bytes.first_mut().filter(|_| ours) {
                *format = FORMAT;
            }
            if let Ok(meta) = CheckpointMeta::decode(&bytes.into()) {
                prop_assert!(meta.revision.0 >= 1 && meta.compacted <= meta.revision);
            }
        }
    }
}
