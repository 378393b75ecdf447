//! A model of the store: every version of every key, by revision. Plain maps, no compaction, no files.

use crate::reading::{Change, Found};
use bytes::Bytes;
use model::{
    Command, Compare, CompareResult, CompareTarget, DeleteRange, KeyRange, KeyValue, LeaseId, Operation, Put, PutLease,
    PutValue, Range, Revision, Txn,
};
use std::collections::BTreeMap;

/// A key from one revision on; `None`: it does not exist.
#[derive(Debug)]
struct Version {
    revision: Revision,
    pair: Option<KeyValue>,
}

/// See the file's head.
#[derive(Debug)]
pub struct History {
    keys: BTreeMap<Bytes, Vec<Version>>,
    revision: Revision,
}

/// What a command does to a state.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effect {
    pub changes: Vec<Change>,
    /// Which branch a txn takes.
    pub succeeded: bool,
}

impl Default for History {
    fn default() -> History {
        History { keys: BTreeMap::new(), revision: Revision(1) }
    }
}

impl History {
    /// Of the newest change.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    pub fn get(&self, key: &[u8], at: Revision) -> Option<&KeyValue> {
        let versions = self.keys.get(key)?;
        versions.iter().rev().find(|version| version.revision <= at)?.pair.as_ref()
    }

    pub fn now(&self, key: &[u8]) -> Option<&KeyValue> {
        self.get(key, self.revision)
    }

    fn live<'a>(&'a self, range: &'a KeyRange, at: Revision) -> impl Iterator<Item = &'a KeyValue> + 'a {
        self.keys.keys().filter(|key| range.contains(key)).filter_map(move |key| self.get(key, at))
    }

    /// The keys that a lease holds.
    pub fn held_by(&self, lease: LeaseId, at: Revision) -> Vec<Bytes> {
        let all = KeyRange::all();
        self.live(&all, at).filter(|pair| pair.lease == lease).map(|pair| pair.key.clone()).collect()
    }

    /// What a range read must find. The request has neither bounds nor an order of its own.
    pub fn range(&self, request: &Range, at: Revision) -> Found {
        let all: Vec<KeyValue> = self.live(&request.range, at).cloned().collect();
        let count = all.len() as u64;
        let limit = if request.limit == 0 { usize::MAX } else { request.limit as usize };
        let pairs: Vec<KeyValue> = all.into_iter().take(limit).collect();
        Found { more: count > pairs.len() as u64, count, pairs }
    }

    /// Takes in what happened at the next revision. Fails with what does not fit.
    pub fn push(&mut self, revision: Revision, changes: &[Change]) -> Result<(), String> {
        if revision.0 != self.revision.0 + 1 {
            return Err(format!("revision {revision} was seen after {}", self.revision));
        }
        for Change { key, pair } in changes {
            let before = self.now(key);
            match pair {
                Some(pair) => {
                    let expected = successor(before, pair.clone(), revision);
                    if *pair != expected {
                        return Err(format!("event {pair:?}, expected {expected:?}"));
                    }
                }
                None if before.is_none() => {
                    return Err(format!("{key:?} was deleted at {revision}, and did not exist"));
                }
                None => {}
            }
        }
        for Change { key, pair } in changes {
            self.keys.entry(key.clone()).or_default().push(Version { revision, pair: pair.clone() });
        }
        self.revision = revision;
        Ok(())
    }

    /// What the command does to the state as of `at`.
    pub fn effect(&self, command: &Command, at: Revision) -> Effect {
        let mut effect = Effect { changes: Vec::new(), succeeded: true };
        match command {
            Command::Put(put) => self.put(put, at, &mut effect.changes),
            Command::DeleteRange(delete) => self.delete(delete, at, &mut effect.changes),
            Command::Txn(txn) => self.txn(txn, at, &mut effect),
            _ => {}
        }
        effect
    }

    fn txn(&self, txn: &Txn, at: Revision, effect: &mut Effect) {
        effect.succeeded = txn.compares.iter().all(|compare| self.holds(compare, at));
        for operation in if effect.succeeded { &txn.success } else { &txn.failure } {
            match operation {
                Operation::Put(put) => self.put(put, at, &mut effect.changes),
                Operation::DeleteRange(delete) => self.delete(delete, at, &mut effect.changes),
                Operation::Range(_) | Operation::Txn(_) => {}
            }
        }
    }

    fn put(&self, put: &Put, at: Revision, changes: &mut Vec<Change>) {
        let before = self.get(&put.key, at);
        let value = match &put.value {
            PutValue::Set(value) => value.clone(),
            PutValue::Keep => before.map(|pair| pair.value.clone()).unwrap_or_default(),
        };
        let lease = match put.lease {
            PutLease::Set(lease) => lease,
            PutLease::Keep => before.map_or(LeaseId::NONE, |pair| pair.lease),
        };
        let pair = KeyValue { key: put.key.clone(), value, lease, ..KeyValue::default() };
        let pair = successor(before, pair, Revision(at.0 + 1));
        changes.push(Change { key: put.key.clone(), pair: Some(pair) });
    }

    fn delete(&self, delete: &DeleteRange, at: Revision, changes: &mut Vec<Change>) {
        changes.extend(self.live(&delete.range, at).map(|pair| Change { key: pair.key.clone(), pair: None }));
    }

    /// The client compares single keys by the revision of their last change.
    fn holds(&self, compare: &Compare, at: Revision) -> bool {
        let CompareTarget::Mod(expected) = compare.target else { return false };
        let found = self.get(&compare.range.start, at).map_or(Revision(0), |pair| pair.mod_revision);
        compare.result == CompareResult::Equal && found == expected
    }
}

/// `pair` as it must be stored after `before`.
fn successor(before: Option<&KeyValue>, pair: KeyValue, revision: Revision) -> KeyValue {
    KeyValue {
        create_revision: before.map_or(revision, |before| before.create_revision),
        mod_revision: revision,
        version: before.map_or(1, |before| before.version + 1),
        ..pair
    }
}
