//! Making the key index from the runs of a checkpoint: a merge of sorted runs, the compaction rule, and a bulk load.

use crate::accounts::{AccountId, Accounts};
use crate::checkpoint::CheckpointMeta;
use crate::compaction::retained;
use crate::entry::{ENTRY_BYTES_MAX, KeySummary, pack_entry};
use crate::fault::{Fault, Result};
use crate::history::HistoryLoader;
use crate::index::Index;
use crate::run::RunReader;
use crate::superseded::Superseded;
use crate::tree::Loader;
use crate::version::Version;
use bytes::Bytes;
use model::Revision;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use store::{Run, Store};

/// What the owner starts with.
pub(crate) struct Loaded {
    pub(crate) index: Index,
    pub(crate) revision: Revision,
    pub(crate) compacted: Revision,
    pub(crate) retained: u64,
    pub(crate) superseded: Superseded,
    pub(crate) accounts: Accounts,
}

impl Loaded {
    pub(crate) fn empty(revision: Revision, compacted: Revision, accounts: Accounts) -> Loaded {
        let (index, superseded) = (Index::default(), Superseded::default());
        Loaded { index, revision, compacted, retained: 0, superseded, accounts }
    }
}

/// Loads `runs`, oldest first, and tells the store which records count.
pub(crate) fn load(store: &mut Store, meta: &Bytes, runs: Vec<Run>, accounts: Accounts) -> Result<Loaded> {
    let CheckpointMeta { revision, compacted } = CheckpointMeta::decode(meta)?;
    let mut merge = Merge::new(runs.into_iter().map(RunReader::new).collect())?;
    let mut load = Load { revision, compacted, accounts, ..Load::default() };
    let mut versions = Vec::new();
    let mut key = Vec::new();
    while merge.next(&mut key, &mut versions)? {
        load.add(store, &key, &mut versions)?;
    }
    let index = Index { keys: load.keys.finish(), history: load.history.finish() };
    let Load { retained, accounts, .. } = load;
    let superseded = Superseded::from_shares(load.superseded);
    Ok(Loaded { index, revision, compacted, retained, superseded, accounts })
}

/// Several runs as one, key by key.
pub(crate) struct Merge {
    runs: Vec<RunReader<Run>>,
    /// Versions at each run's current key.
    versions: Vec<Vec<Version>>,
    /// The runs that are not at their end, by key; equal keys oldest run first.
    heads: BinaryHeap<Reverse<(Vec<u8>, usize)>>,
}

impl Merge {
    pub(crate) fn new(mut runs: Vec<RunReader<Run>>) -> Result<Merge> {
        let mut versions = vec![Vec::new(); runs.len()];
        let mut heads = BinaryHeap::new();
        for (at, (run, versions)) in runs.iter_mut().zip(&mut versions).enumerate() {
            if run.next_versions(versions)? {
                heads.push(Reverse((run.key().to_vec(), at)));
            }
        }
        Ok(Merge { runs, versions, heads })
    }

    /// Answers the next key and its versions from all runs, newest first, each once: the latest run's.
    pub(crate) fn next(&mut self, key: &mut Vec<u8>, out: &mut Vec<Version>) -> Result<bool> {
        out.clear();
        let mut sources = 0;
        while let Some(mut head) = self.heads.peek_mut() {
            let Reverse((next, run)) = &mut *head;
            if sources == 0 {
                key.clone_from(next);
            } else if next != key {
                break;
            }
            sources += 1;
            let (reader, versions) = (&mut self.runs[*run], &mut self.versions[*run]);
            // Later runs come last: of equal versions the last one counts, and the sort below keeps their order.
            out.append(versions);
            if reader.next_versions(versions)? {
                next.clear();
                next.extend_from_slice(reader.key());
            } else {
                std::collections::binary_heap::PeekMut::pop(head);
            }
        }
        if sources > 1 {
            out.reverse();
            out.sort_by_key(|version| Reverse(version.at));
            out.dedup_by_key(|version| version.at);
        }
        assert!(out.is_sorted_by(|newer, older| newer.at > older.at), "a key's versions come newest first, each once");
        Ok(sources > 0)
    }
}

#[derive(Default)]
struct Load {
    revision: Revision,
    compacted: Revision,
    keys: Loader<KeySummary>,
    history: HistoryLoader,
    retained: u64,
    superseded: Vec<(Revision, AccountId, u64)>,
    accounts: Accounts,
    packed: Vec<u8>,
}

impl Load {
    fn add(&mut self, store: &mut Store, key: &[u8], versions: &mut Vec<Version>) -> Result<()> {
        versions.truncate(retained(versions, self.compacted));
        let Some(newest) = versions.first() else { return Ok(()) };
        if newest.at.main > self.revision || versions.iter().any(|version| version.at.main.0 < 1) {
            return Err(Fault::Checkpoint("a version has a revision that the store did not reach"));
        }
        for version in &*versions {
            let Some(put) = &version.put else { continue };
            if put.version < 1 || put.create_revision.0 < 1 || put.create_revision > version.at.main {
                return Err(Fault::Checkpoint("a version counts from before its key was made"));
            }
            if !store.holds(put.location) {
                return Err(Fault::Checkpoint("a version's record lies outside of the segments"));
            }
            if !store.mark_live(put.location) {
                return Err(Fault::Checkpoint("versions have more records than their segment"));
            }
        }
        self.account(key, versions);
        self.push(key, versions);
        Ok(())
    }

    /// As the owner would have while the versions were written.
    fn account(&mut self, key: &[u8], versions: &[Version]) {
        let account = self.accounts.of(key);
        let mut newer: Option<Revision> = None;
        for version in versions {
            let bytes = version.retained_bytes(key.len());
            self.retained += bytes;
            let next = Revision(version.at.main.0.saturating_add(1));
            let until = match newer {
                Some(newer) if version.is_tombstone() => Some(newer.min(next)),
                Some(newer) => Some(newer),
                None => version.is_tombstone().then_some(next),
            };
            match until {
                Some(until) => {
                    self.superseded.push((until, account, bytes));
                    self.accounts.change(account, |stat| stat.history_bytes += bytes);
                }
                None => self.accounts.change(account, |stat| {
                    stat.keys += 1;
                    stat.live_bytes += bytes;
                }),
            }
            newer = Some(version.at.main);
        }
    }

    /// Into the entry, or, if that would be too large, the newest alone and the others as deep history.
    fn push(&mut self, key: &[u8], versions: &[Version]) {
        self.packed.clear();
        pack_entry(versions, false, &mut self.packed);
        if self.packed.len() > ENTRY_BYTES_MAX && versions.len() > 1 {
            let (newest, older) = versions.split_at(1);
            self.push_deep(key, older);
            self.packed.clear();
            pack_entry(newest, true, &mut self.packed);
        }
        self.keys.push(key, &self.packed);
    }

    fn push_deep(&mut self, key: &[u8], versions: &[Version]) {
        let mut chunk_start = 0;
        let mut bytes = 0;
        for (at, version) in versions.iter().enumerate() {
            self.packed.clear();
            version.pack(&mut self.packed);
            if bytes + self.packed.len() > ENTRY_BYTES_MAX && at > chunk_start {
                self.history.push(key, &versions[chunk_start..at]);
                (chunk_start, bytes) = (at, 0);
            }
            bytes += self.packed.len();
        }
        self.history.push(key, &versions[chunk_start..]);
    }
}
