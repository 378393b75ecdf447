//! What etcd puts into the buckets of its file.
//!
//! | bucket | key | value |
//! |---|---|---|
//! | `key` | main revision u64, `_`, sub revision u64, `t` if it deletes; big-endian | KeyValue, or its key alone |
//! | `meta` | `consistent_index`, `term`, `finishedCompactRev`, … | numbers big-endian, revisions as above |
//! | `lease` | id i64 big-endian | Lease |
//! | `alarm` | AlarmMember | empty |
//! | `members` | id in hex | JSON |
//! | `cluster` | `clusterVersion` | text |
//!
//! A bucket that is missing is empty: etcd makes those it lacks.

use crate::bucket::{Bucket, Cursor, Item, Position};
use crate::error::shown;
use crate::read_at::ReadAt;
use crate::wire::{self, Value};
use crate::{Database, Error, Result};
use bytes::Bytes;
use serde::Deserialize;

const REVISION_BYTES: usize = 17;
const SEPARATOR: u8 = b'_';
const DELETES: u8 = b't';

/// When a change was made: the revision of its transaction, and its place in that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision {
    pub main: i64,
    pub sub: i64,
}

/// A key as it was put.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyValue {
    pub key: Bytes,
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
    pub value: Bytes,
    pub lease: i64,
}

/// An entry of the bucket `key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub revision: Revision,
    /// Of a deletion only the key is set. A mark that a restore leaves to raise the revision has no key.
    pub kv: KeyValue,
    pub is_delete: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    pub id: i64,
    /// As granted, in seconds.
    pub ttl: i64,
    /// 0: none was noted.
    pub remaining_ttl: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alarm {
    pub member: u64,
    /// As in the protocol: 1 no space, 2 corrupt.
    pub kind: u64,
}

/// As etcd writes it, in JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Member {
    pub id: u64,
    pub name: String,
    #[serde(rename = "peerURLs")]
    pub peer_urls: Vec<String>,
    #[serde(rename = "clientURLs")]
    pub client_urls: Vec<String>,
    #[serde(rename = "isLearner")]
    pub is_learner: bool,
}

/// What the file says of itself as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// Of the raft log, applied last.
    pub consistent_index: u64,
    pub term: u64,
    /// 0: nothing was ever compacted.
    pub compacted_revision: i64,
    /// To which a compaction was begun; not finished if larger than `compacted_revision`.
    pub scheduled_revision: i64,
    pub storage_version: Option<String>,
    pub cluster_version: Option<String>,
}

/// Walks through the bucket `key`, in the order of revisions.
pub struct Changes<'a, R> {
    cursor: Option<Cursor<'a, R>>,
    bucket: Option<Bucket>,
    database: &'a Database<R>,
}

/// Every change that the file still has.
pub fn changes<R: ReadAt>(database: &Database<R>) -> Result<Changes<'_, R>> {
    let bucket = database.bucket("key")?;
    Ok(Changes { cursor: bucket.as_ref().map(|bucket| Cursor::new(database, bucket)), bucket, database })
}

impl<R: ReadAt> Changes<'_, R> {
    /// The next one, and where it lies.
    pub fn next_change(&mut self) -> Result<Option<(Position, Change)>> {
        let Some(cursor) = &mut self.cursor else { return Ok(None) };
        let Some((position, key, item)) = cursor.next_item()? else { return Ok(None) };
        Ok(Some((position, change(&key, item)?)))
    }

    /// The change at a position that `next_change` gave, also of an earlier walk.
    pub fn at(&self, position: Position) -> Result<Change> {
        let bucket = self.bucket.as_ref().ok_or_else(|| content("key", "it is gone"))?;
        let (key, item) = bucket.item(self.database, position)?;
        change(&key, item)
    }
}

pub fn meta<R: ReadAt>(database: &Database<R>) -> Result<Meta> {
    let mut meta = Meta::default();
    each(database, "meta", |key, value| {
        match key {
            b"consistent_index" => meta.consistent_index = number("meta", value)?,
            b"term" => meta.term = number("meta", value)?,
            b"finishedCompactRev" => meta.compacted_revision = revision("meta", value)?.0.main,
            b"scheduledCompactRev" => meta.scheduled_revision = revision("meta", value)?.0.main,
            b"storageVersion" => meta.storage_version = Some(text("meta", value)?),
            _ => {}
        }
        Ok(())
    })?;
    each(database, "cluster", |key, value| {
        if key == b"clusterVersion" {
            meta.cluster_version = Some(text("cluster", value)?);
        }
        Ok(())
    })?;
    Ok(meta)
}

/// In ascending order of ids.
pub fn leases<R: ReadAt>(database: &Database<R>, mut visit: impl FnMut(Lease)) -> Result<()> {
    each(database, "lease", |_, value| {
        let mut lease = Lease { id: 0, ttl: 0, remaining_ttl: 0 };
        message("lease", value.clone(), |field| match field {
            (1, Value::Number(id)) => lease.id = id.cast_signed(),
            (2, Value::Number(ttl)) => lease.ttl = ttl.cast_signed(),
            (3, Value::Number(ttl)) => lease.remaining_ttl = ttl.cast_signed(),
            _ => {}
        })?;
        visit(lease);
        Ok(())
    })
}

pub fn alarms<R: ReadAt>(database: &Database<R>) -> Result<Vec<Alarm>> {
    let mut alarms = Vec::new();
    each(database, "alarm", |key, _| {
        let mut alarm = Alarm { member: 0, kind: 0 };
        message("alarm", Bytes::copy_from_slice(key), |field| match field {
            (1, Value::Number(member)) => alarm.member = member,
            (2, Value::Number(kind)) => alarm.kind = kind,
            _ => {}
        })?;
        alarms.push(alarm);
        Ok(())
    })?;
    Ok(alarms)
}

pub fn members<R: ReadAt>(database: &Database<R>) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    each(database, "members", |key, value| {
        let member = serde_json::from_slice(value);
        members.push(member.map_err(|error| content("members", format!("{}: {error}", shown(key))))?);
        Ok(())
    })?;
    Ok(members)
}

fn each<R: ReadAt>(
    database: &Database<R>,
    name: &'static str,
    mut visit: impl FnMut(&[u8], &Bytes) -> Result<()>,
) -> Result<()> {
    let Some(bucket) = database.bucket(name)? else { return Ok(()) };
    let mut cursor = Cursor::new(database, &bucket);
    while let Some((_, key, item)) = cursor.next_item()? {
        match item {
            Item::Value(value) => visit(&key, &value)?,
            Item::Bucket(_) => return Err(content(name, format!("{} is a bucket", shown(&key)))),
        }
    }
    Ok(())
}

fn change(key: &Bytes, item: Item) -> Result<Change> {
    let (revision, is_delete) = revision("key", key)?;
    let Item::Value(value) = item else { return Err(content("key", "a revision is a bucket")) };
    let mut kv = KeyValue::default();
    message("key", value, |field| match field {
        (1, Value::Bytes(key)) => kv.key = key,
        (2, Value::Number(number)) => kv.create_revision = number.cast_signed(),
        (3, Value::Number(number)) => kv.mod_revision = number.cast_signed(),
        (4, Value::Number(number)) => kv.version = number.cast_signed(),
        (5, Value::Bytes(value)) => kv.value = value,
        (6, Value::Number(number)) => kv.lease = number.cast_signed(),
        _ => {}
    })?;
    Ok(Change { revision, kv, is_delete })
}

fn revision(bucket: &'static str, bytes: &[u8]) -> Result<(Revision, bool)> {
    let wrong = || content(bucket, format!("{} is no revision", shown(bytes)));
    let (number, mark) = bytes.split_at_checked(REVISION_BYTES).ok_or_else(wrong)?;
    let half = |at: usize| Some(i64::from_be_bytes(number.get(at..at + 8)?.try_into().ok()?));
    match (half(0), number.get(8), half(9), mark) {
        (Some(main), Some(&SEPARATOR), Some(sub), []) => Ok((Revision { main, sub }, false)),
        (Some(main), Some(&SEPARATOR), Some(sub), [DELETES]) => Ok((Revision { main, sub }, true)),
        _ => Err(wrong()),
    }
}

fn message(bucket: &'static str, mut bytes: Bytes, mut visit: impl FnMut((u64, Value))) -> Result<()> {
    while let Some(field) = wire::field(&mut bytes).map_err(|why| content(bucket, why))? {
        visit(field);
    }
    Ok(())
}

fn number(bucket: &'static str, bytes: &[u8]) -> Result<u64> {
    let bytes = bytes.try_into().map_err(|_| content(bucket, "a number does not have 8 bytes"))?;
    Ok(u64::from_be_bytes(bytes))
}

fn text(bucket: &'static str, bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| content(bucket, "a version is no text"))
}

fn content(bucket: &'static str, what: impl Into<String>) -> Error {
    Error::Content { bucket, what: what.into() }
}
