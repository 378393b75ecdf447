//! A plain model of the store: a list of all changes. Every question is answered by going through the list.

use crate::version::tombstone_payload;
use bytes::Bytes;
use model::{KeyRange, KeyValue, LeaseId, Revision, VersionedRevision, revision_key};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Changed {
    pub(crate) at: VersionedRevision,
    pub(crate) key: Bytes,
    /// `None` for a deletion.
    pub(crate) kv: Option<KeyValue>,
}

#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
    /// In order; without what compactions dropped.
    pub(crate) changes: Vec<Changed>,
    sub: u32,
    /// Hashes at compactions, as etcd's cache has them: (revision, compact revision, hash).
    pub(crate) hashes: Vec<(i64, i64, u32)>,
}

impl Default for Model {
    fn default() -> Model {
        Model { revision: 1, compacted: -1, changes: Vec::new(), sub: 0, hashes: Vec::new() }
    }
}

impl Model {
    fn push(&mut self, key: Bytes, kv: Option<KeyValue>) {
        let at = VersionedRevision { main: Revision(self.revision + 1), sub: self.sub };
        self.sub += 1;
        self.changes.push(Changed { at, key, kv });
    }

    pub(crate) fn put(&mut self, key: Bytes, value: Bytes, lease: LeaseId) -> Option<KeyValue> {
        let prev = self.get(&key, i64::MAX);
        let mod_revision = Revision(self.revision + 1);
        let create_revision = prev.as_ref().map_or(mod_revision, |prev| prev.create_revision);
        let version = prev.as_ref().map_or(1, |prev| prev.version + 1);
        self.push(key.clone(), Some(KeyValue { key, create_revision, mod_revision, version, value, lease }));
        prev
    }

    pub(crate) fn delete(&mut self, range: &KeyRange) -> Vec<Bytes> {
        let keys: Vec<Bytes> = self.live(range, i64::MAX).into_iter().map(|kv| kv.key).collect();
        keys.iter().for_each(|key| self.push(key.clone(), None));
        keys
    }

    /// Answers whether a revision was used.
    pub(crate) fn commit(&mut self) -> bool {
        let wrote = self.sub > 0;
        self.revision += i64::from(wrote);
        self.sub = 0;
        wrote
    }

    pub(crate) fn get(&self, key: &[u8], at: i64) -> Option<KeyValue> {
        self.live(&KeyRange::single(Bytes::copy_from_slice(key)), at).pop()
    }

    /// The pairs at a revision, by key.
    pub(crate) fn live(&self, range: &KeyRange, at: i64) -> Vec<KeyValue> {
        let mut found = BTreeMap::new();
        for change in self.changes.iter().filter(|change| change.at.main.0 <= at && range.contains(&change.key)) {
            found.insert(change.key.clone(), change.kv.clone());
        }
        found.into_values().flatten().collect()
    }

    fn by_key(&self) -> BTreeMap<Bytes, Vec<&Changed>> {
        let mut keys: BTreeMap<Bytes, Vec<&Changed>> = BTreeMap::new();
        self.changes.iter().for_each(|change| keys.entry(change.key.clone()).or_default().push(change));
        keys
    }

    pub(crate) fn compact(&mut self, at: i64) {
        let mut available = self.keep(at, false);
        let hash = self.fold(at, self.compacted, &available);
        self.hashes.push((at, self.compacted, hash));
        self.compacted = at;
        available.extend(self.changes.iter().map(|change| change.at).filter(|change| change.main.0 > at));
        self.changes.retain(|change| available.contains(&change.at));
    }

    /// etcd's `keyIndex.keep` (with `for_hash`) or `compact`, by generations.
    fn keep(&self, at: i64, for_hash: bool) -> BTreeSet<VersionedRevision> {
        let mut keep = BTreeSet::new();
        for changes in self.by_key().into_values() {
            let mut generations: Vec<Vec<&Changed>> = vec![Vec::new()];
            for change in changes {
                generations.last_mut().unwrap().push(change);
                if change.kv.is_none() {
                    generations.push(Vec::new());
                }
            }
            let last = generations.len() - 1;
            let chosen = (0..last).find(|&g| generations[g].last().unwrap().at.main.0 >= at).unwrap_or(last);
            let Some(found) = generations[chosen].iter().rev().find(|change| change.at.main.0 <= at) else { continue };
            if !(for_hash && found.kv.is_none()) {
                keep.insert(found.at);
            }
        }
        keep
    }

    fn fold(&self, at: i64, compacted: i64, keep: &BTreeSet<VersionedRevision>) -> u32 {
        let mut bytes = b"key".to_vec();
        for Changed { at: change, key, kv } in &self.changes {
            let main = change.main.0;
            let skipped = main > at
                || (main <= compacted && !keep.is_empty() && !keep.contains(change))
                || (main == compacted && kv.is_none());
            if skipped {
                continue;
            }
            bytes.extend_from_slice(&revision_key(*change));
            match kv {
                Some(kv) => kv.encode(&mut bytes),
                None => {
                    bytes.push(b't');
                    bytes.extend_from_slice(&tombstone_payload(key));
                }
            }
        }
        crc32c::crc32c(&bytes)
    }

    /// HashKV without the cache.
    pub(crate) fn hash(&self, at: i64) -> u32 {
        self.fold(at, self.compacted, &self.keep(at, true))
    }

    /// Retained bytes: nine for each record, and its payload, or the key of a deletion.
    pub(crate) fn retained(&self) -> u64 {
        let bytes = |change: &Changed| change.kv.as_ref().map_or(change.key.len(), KeyValue::encoded_len);
        self.changes.iter().map(|change| 9 + bytes(change) as u64).sum()
    }

    /// Keys, live bytes and history bytes by directory, by going over everything.
    pub(crate) fn accounts(&self) -> BTreeMap<String, (u64, u64, u64)> {
        let mut accounts: BTreeMap<String, (u64, u64, u64)> = BTreeMap::new();
        for (key, changes) in self.by_key() {
            let key = String::from_utf8(key.to_vec()).expect("test keys are text");
            let components: Vec<&str> = key.split('/').collect();
            let depth = if components.get(1).is_some_and(|second| second.contains('.')) { 3 } else { 2 };
            let directory = components[..(components.len() - 1).min(depth)].join("/");
            let (keys, live, history) = accounts.entry(directory).or_default();
            for (at, change) in changes.iter().enumerate() {
                let bytes = 9 + change.kv.as_ref().map_or(change.key.len(), KeyValue::encoded_len) as u64;
                if change.kv.is_some() && at + 1 == changes.len() {
                    *keys += 1;
                    *live += bytes;
                } else {
                    *history += bytes;
                }
            }
        }
        accounts
    }

    /// Changes with revisions `from` to `to`, with the pair before each where it is readable.
    pub(crate) fn events(&self, range: &KeyRange, from: i64, to: i64) -> Vec<(Changed, Option<KeyValue>)> {
        let wanted = |change: &&Changed| (from..=to).contains(&change.at.main.0) && range.contains(&change.key);
        let found = self.changes.iter().filter(wanted).map(|change| {
            let before = self.changes.iter().filter(|other| other.key == change.key && other.at.main < change.at.main);
            let prev = before.max_by_key(|other| other.at).and_then(|other| other.kv.clone());
            (change.clone(), prev.filter(|_| change.at.main.0 > self.compacted))
        });
        found.collect()
    }
}
