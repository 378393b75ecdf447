//! One transaction: reads that see its own writes, and writes that share one main revision.
//!
//! A write takes effect in the key index at once, and nowhere else: views were taken before, and the next one is taken
//! after the commit. There is no rollback: whoever writes has validated the whole command before, so that a commit
//! cannot be refused. A transaction that wrote and is dropped without commit (the disk failed in the middle) leaves an
//! owner that refuses to go on.

use crate::events::{Change, Event, event};
use crate::fault::{Fault, ReadError, Result};
use crate::owner::Mvcc;
use crate::range::{RangeResult, Source, live_at, read_revision};
use crate::tree::Key;
use crate::version::{Meta, Put, Version, tombstone_retained_bytes};
use bytes::Bytes;
use model::{KeyRange, KeyValue, LeaseId, Range, Rejection, Revision, VersionedRevision};
use std::collections::BTreeMap;
use store::Location;

/// See the file's head.
#[derive(Debug)]
pub struct Txn<'a> {
    mvcc: &'a mut Mvcc,
    /// Not read from the disk again.
    ahead: &'a Records,
    events: Vec<Event>,
}

/// Payloads of records that were read and verified ahead of a transaction, by where they lie.
pub type Records = BTreeMap<Location, Bytes>;

/// What a transaction has that reads nothing ahead.
pub(crate) static NOTHING_AHEAD: Records = Records::new();

/// What a put did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutResult {
    pub meta: Meta,
    /// The version before, if the key existed.
    pub prev: Option<Meta>,
}

impl<'a> Txn<'a> {
    pub(crate) fn new(mvcc: &'a mut Mvcc, ahead: &'a Records) -> Txn<'a> {
        assert!(!mvcc.broken, "a transaction was given up after it wrote; the state must be loaded again");
        Txn { mvcc, ahead, events: Vec::new() }
    }

    /// The current revision as this transaction sees it: one more once it wrote.
    pub fn revision(&self) -> Revision {
        Revision(self.mvcc.revision.0 + i64::from(!self.events.is_empty()))
    }

    pub fn compacted_revision(&self) -> Revision {
        self.mvcc.compacted
    }

    /// The key's current version, own writes included.
    pub fn get(&self, key: &[u8]) -> Option<Meta> {
        self.mvcc.index.newest(key)?.meta()
    }

    /// The keys of `range` that exist now, in ascending order, own writes included.
    pub fn live<'b>(&'b self, range: &'b KeyRange) -> impl Iterator<Item = (Key<'b>, Meta)> + 'b {
        live_at(&self.mvcc.index, range, self.revision())
    }

    /// The keys of `range` that existed at `at`, as `View::live_as_of`; own writes count as of the next revision.
    pub fn live_as_of<'b>(&'b self, range: &'b KeyRange, at: Revision) -> impl Iterator<Item = (Key<'b>, Meta)> + 'b {
        live_at(&self.mvcc.index, range, at)
    }

    /// As `View::range`, own writes included.
    pub fn range(&self, request: &Range) -> std::result::Result<RangeResult, ReadError> {
        let load = |locations: &[Location], out: &mut Vec<Bytes>| {
            for location in locations {
                out.push(self.read(*location)?);
            }
            Ok(())
        };
        let revision = self.revision();
        let source = Source { index: &self.mvcc.index, revision, compacted: self.mvcc.compacted, load: &load };
        source.range(request)
    }

    /// Number of keys in `range` at `revision` (0: now), own writes included.
    pub fn count(&self, range: &KeyRange, revision: Revision) -> std::result::Result<u64, Rejection> {
        Ok(self.mvcc.index.count(range, read_revision(revision, self.revision(), self.mvcc.compacted)?))
    }

    /// The payload of a record (an encoded `KeyValue`), also of one written just now.
    pub fn read(&self, location: Location) -> Result<Bytes> {
        match self.ahead.get(&location) {
            Some(payload) => Ok(payload.clone()),
            None => Ok(self.mvcc.store.read(location)?),
        }
    }

    /// Writes a new version of `key`. If the disk is full nothing happened and the put may be tried again.
    pub fn put(&mut self, key: Bytes, value: Bytes, lease: LeaseId) -> Result<PutResult> {
        let at = self.next_place();
        let Mvcc { index, store, packed, record, .. } = &mut *self.mvcc;
        let (newest, version) = index.push(&key, packed, |newest| {
            let prev = newest.and_then(|version| version.meta());
            assert!(prev.is_none_or(|prev| prev.version >= 1), "a key that exists was put");
            assert!(prev.is_none_or(|prev| prev.create_revision <= at.main), "a key was made before it changes");
            let kv = KeyValue {
                key: key.clone(),
                create_revision: prev.map_or(at.main, |prev| prev.create_revision),
                mod_revision: at.main,
                version: prev.map_or(1, |prev| prev.version + 1),
                value,
                lease,
            };
            record.clear();
            kv.encode(record);
            let location = store.append(&[record]).map_err(Fault::from)?;
            let put = Put { create_revision: kv.create_revision, version: kv.version, lease, location };
            Ok::<_, Fault>(Version::of_put(at, put, record))
        })?;
        self.mvcc.account(&key, newest.as_ref(), &version);
        let prev = newest.and_then(|version| version.meta());
        let before = self.before(&key, newest.as_ref());
        self.events.push(event(key, &version, before));
        let meta = version.meta().expect("a put is not a deletion");
        Ok(PutResult { meta, prev })
    }

    /// Deletes the keys of `range` that exist, in ascending order; answers them with the version deleted.
    pub fn delete_range(&mut self, range: &KeyRange) -> Vec<(Bytes, Meta)> {
        let deleted: Vec<(Bytes, Meta)> = self.live(range).map(|(key, meta)| (key.to_vec().into(), meta)).collect();
        for (key, _) in &deleted {
            self.delete(key.clone());
        }
        deleted
    }

    fn delete(&mut self, key: Bytes) {
        let version = Version::of_delete(self.next_place(), &key);
        let Mvcc { index, packed, .. } = &mut *self.mvcc;
        let Ok((newest, _)) = index.push(&key, packed, |_| Ok::<_, std::convert::Infallible>(version));
        assert!(newest.is_some_and(|newest| !newest.is_tombstone()), "a key that is deleted exists");
        self.mvcc.account(&key, newest.as_ref(), &version);
        let before = self.before(&key, newest.as_ref());
        self.events.push(event(key, &version, before));
    }

    /// The pair that an event's `prev_kv` shows: the one of the revision before, also if this transaction changed the
    /// key more than once.
    fn before(&self, key: &Bytes, newest: Option<&Version>) -> Option<Location> {
        let newest = newest?;
        if newest.at.main <= self.mvcc.revision {
            return newest.location();
        }
        self.events.iter().find(|event| event.key == *key).and_then(|event| event.prev)
    }

    fn next_place(&self) -> VersionedRevision {
        let sub = u32::try_from(self.events.len()).expect("a transaction makes less than 2^32 changes");
        VersionedRevision { main: Revision(self.mvcc.revision.0 + 1), sub }
    }

    /// Ends the transaction. What it wrote has one new revision; without writes no revision is used.
    pub fn commit(mut self) -> Option<Change> {
        let events = std::mem::take(&mut self.events);
        if events.is_empty() {
            return None;
        }
        self.mvcc.revision.0 += 1;
        assert_eq!(self.mvcc.index.keys.summary().newest, self.mvcc.revision, "the index holds what was committed");
        assert!(events.last().is_some_and(|event| event.at.main == self.mvcc.revision), "a change has its revision");
        Some(Change { revision: self.mvcc.revision, events })
    }
}

impl Drop for Txn<'_> {
    fn drop(&mut self) {
        self.mvcc.broken |= !self.events.is_empty();
    }
}

impl Mvcc {
    /// Keeps the retained bytes and the key's account: `version` is new, and replaces `newest`.
    fn account(&mut self, key: &[u8], newest: Option<&Version>, version: &Version) {
        let at = version.at.main;
        let bytes = version.retained_bytes(key.len());
        self.retained += bytes;
        let Mvcc { accounts, superseded, .. } = self;
        let mut accounts = accounts.lock();
        let id = accounts.of(key);
        accounts.change(id, |stat| {
            match newest {
                Some(newest) if !newest.is_tombstone() => {
                    let bytes = newest.retained_bytes(key.len());
                    superseded.replaced(at, id, bytes);
                    assert!(stat.keys >= 1, "a key that exists is counted");
                    assert!(stat.live_bytes >= bytes, "a version that exists is counted");
                    stat.keys -= 1;
                    stat.live_bytes -= bytes;
                    stat.history_bytes += bytes;
                }
                // A deletion stops counting with the revision after it, or with its own if that puts the key again.
                Some(newest) if newest.at.main == at => {
                    superseded.undeleted(at, id, tombstone_retained_bytes(key.len()));
                }
                _ => {}
            }
            if version.is_tombstone() {
                superseded.deleted(at, id, bytes);
                stat.history_bytes += bytes;
                stat.deletes += 1;
            } else {
                stat.keys += 1;
                stat.live_bytes += bytes;
                stat.writes += 1;
            }
        });
    }
}
