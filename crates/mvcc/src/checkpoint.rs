//! Checkpoints of the key index: what changed since the last one as a sorted run, or all of it.
//!
//! A checkpoint needs no list of what was written: the tree knows which subtrees have newer versions than the last checkpoint,
//! and a view of it stays as it is while the job walks it. What a view does not show are deletions that compaction dropped since;
//! they are noted as they go (see `compaction::hiding`).

use crate::entry::{Entry, KeySummary};
use crate::fault::{Fault, Result};
use crate::index::Index;
use crate::run::BlockWriter;
use crate::tree::Iter;
use crate::version::Version;
use bytes::Bytes;
use model::Revision;
use std::cmp::Reverse;
use std::fmt;
use std::iter::Peekable;
use stdx::codec::{DecodeError, Reader, put_varint};
use store::{CheckpointWriter, Mode, Run};

const FORMAT: u8 = 1;
/// Delta runs are folded into a full one when they are longer than the full one, or than this.
const DELTA_BYTES_MIN: u64 = 4 << 20;
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
        if meta.revision.0 < 1 || meta.revision.0 == i64::MAX || meta.compacted.0 < -1 || meta.compacted > meta.revision
        {
            return Err(Fault::Checkpoint("its revisions are out of bounds"));
        }
        Ok(meta)
    }
}

/// What the owner knows of its durable checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints {
    /// Its revision; 0 if there is none.
    durable: Revision,
    full_bytes: u64,
    delta_bytes: u64,
    runs: usize,
    /// Hiding deletions dropped since the last checkpoint that may be missing from the durable runs.
    hiding: Vec<(Box<[u8]>, Version)>,
}

impl Checkpoints {
    pub(crate) fn continued(meta: &Bytes, runs: &[Run]) -> Result<Checkpoints> {
        let durable = CheckpointMeta::decode(meta)?.revision;
        let mut bytes = runs.iter().map(Run::file_bytes);
        let full_bytes = bytes.next().unwrap_or(0);
        Ok(Checkpoints { durable, full_bytes, delta_bytes: bytes.sum(), runs: runs.len(), hiding: Vec::new() })
    }

    pub(crate) fn note_hiding(&mut self, key: &[u8], version: &Version) {
        if version.at.main > self.durable {
            self.hiding.push((key.into(), *version));
        }
    }

    pub(crate) fn take(
        &mut self,
        writer: CheckpointWriter,
        index: Index,
        revision: Revision,
        compacted: Revision,
    ) -> CheckpointJob {
        let full = self.runs == 0 || self.runs >= RUNS_MAX || self.delta_bytes > self.full_bytes.max(DELTA_BYTES_MIN);
        let (mode, since, mut hiding) = if full {
            // What a full run holds hides nothing older.
            (Mode::Full, Revision(0), Vec::new())
        } else {
            (Mode::Delta, self.durable, self.hiding.clone())
        };
        hiding.sort_unstable_by(|(a, one), (b, other)| a.cmp(b).then(other.at.cmp(&one.at)));
        CheckpointJob { writer, index, meta: CheckpointMeta { revision, compacted }, mode, since, hiding }
    }

    /// Takes note, and hands back the store's part.
    pub(crate) fn finish(&mut self, done: CheckpointDone) -> store::Done {
        let CheckpointDone { store, revision, mode, bytes } = done;
        self.durable = revision;
        self.hiding.retain(|(_, version)| version.at.main > revision);
        match mode {
            Mode::Full => (self.full_bytes, self.delta_bytes, self.runs) = (bytes, 0, 1),
            Mode::Delta => {
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
    hiding: Vec<(Box<[u8]>, Version)>,
}

/// A durable checkpoint, for `Mvcc::finish_checkpoint`.
#[derive(Debug)]
pub struct CheckpointDone {
    store: store::Done,
    revision: Revision,
    mode: Mode,
    bytes: u64,
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

    /// Writes and syncs everything; `meta` is the checkpoint's whole meta, into which the caller has put the key index's part.
    /// May be called again after a fault that is a lack of space.
    pub fn write(&mut self, meta: &[u8]) -> Result<CheckpointDone> {
        let mut blocks = RunBlocks::new(&self.index, self.since, &self.hiding);
        let store = self.writer.commit(meta, &mut blocks, self.mode)?;
        Ok(CheckpointDone { store, revision: self.meta.revision, mode: self.mode, bytes: blocks.bytes })
    }
}

impl fmt::Debug for CheckpointJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckpointJob {:?} of revision {} since {}", self.mode, self.meta.revision, self.since)
    }
}

/// The blocks of a run: versions above `since`, merged with the hiding deletions.
struct RunBlocks<'a> {
    index: &'a Index,
    since: Revision,
    entries: Iter<'a, KeySummary>,
    /// The entry that comes next, read ahead.
    next: Option<(Vec<u8>, &'a [u8])>,
    hiding: Peekable<std::slice::Iter<'a, (Box<[u8]>, Version)>>,
    writer: BlockWriter,
    ready: std::vec::IntoIter<Vec<u8>>,
    bytes: u64,
    versions: Vec<Version>,
}

impl<'a> RunBlocks<'a> {
    fn new(index: &'a Index, since: Revision, hiding: &'a [(Box<[u8]>, Version)]) -> RunBlocks<'a> {
        let mut blocks = RunBlocks {
            index,
            since,
            entries: index.keys.iter(),
            next: None,
            hiding: hiding.iter().peekable(),
            writer: BlockWriter::default(),
            ready: Vec::new().into_iter(),
            bytes: 0,
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
        let key = match (&self.next, self.hiding.peek()) {
            (None, None) => return false,
            (Some((key, _)), None) => key.clone(),
            (None, Some((hidden, _))) => hidden.to_vec(),
            (Some((key, _)), Some((hidden, _))) => key.as_slice().min(hidden).to_vec(),
        };
        self.versions.clear();
        if let Some((_, packed)) = self.next.take_if(|(next, _)| *next == key) {
            let versions = self.index.versions(key.as_slice().into(), Entry(packed));
            let since = self.since;
            self.versions.extend(versions.take_while(|version| version.at.main > since));
            self.read_ahead();
        }
        let from_index = self.versions.len();
        while let Some((_, version)) = self.hiding.next_if(|(hidden, _)| **hidden == *key) {
            self.versions.push(*version);
        }
        if from_index < self.versions.len() {
            self.versions.sort_by_key(|version| Reverse(version.at));
            self.versions.dedup_by_key(|version| version.at);
        }
        self.writer.add(&key, &self.versions);
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
