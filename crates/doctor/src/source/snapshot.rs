//! A file in etcd's format: a snapshot, or the database of a member that is stopped.
//!
//! Etcd orders its file by revision, so opening reads it once and remembers where the newest change of each key lies;
//! values are read where they are. A file whose hash does not match, or that a running etcd holds, is refused.

use super::{
    AlarmKind, Entry, Lease, Member, Result, Source, SourceError, SourceInfo, SourceKind, Status, Version, Visit,
};
use bbolt::{Database, Position, TrailingHash, etcd};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::ops::{Bound, ControlFlow};
use std::path::{Path, PathBuf};

/// Where a data directory of etcd has its database.
const DATABASE_IN_DATA_DIRECTORY: [&str; 2] = ["member/snap/db", "snap/db"];

/// An opened file.
#[derive(Debug)]
pub struct Snapshot {
    database: Database<File>,
    path: PathBuf,
    newest: BTreeMap<Bytes, Newest>,
    meta: etcd::Meta,
    revision: i64,
    blind: Vec<String>,
}

/// Where the newest put of a key lies.
#[derive(Debug, Clone, Copy)]
struct Newest {
    position: Position,
    lease: i64,
}

/// Opens a snapshot, a database file, or the one in a data directory of etcd, and reads it once.
pub fn open_snapshot(path: &Path) -> Result<Snapshot> {
    let (path, is_data_directory) = find(path)?;
    let failed = |error: &dyn std::fmt::Display| SourceError(format!("open {}: {error}", path.display()));
    let file = File::open(&path).map_err(|error| failed(&error))?;
    // Etcd holds it as long as it runs. While we have it shared, no etcd starts and writes under us.
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {
            return Err(failed(&"a running etcd has it; ask that through its endpoint, or stop it first"));
        }
        // Some file systems have no locks; then nobody else has one either.
        Ok(()) | Err(TryLockError::Error(_)) => {}
    }
    if TrailingHash::verify(&file).map_err(|error| failed(&error))? == TrailingHash::Differs {
        return Err(failed(&"its SHA-256 does not match: the file was changed or cut; take another copy"));
    }
    let database = Database::open(file).map_err(|error| failed(&error))?;
    let mut blind = vec!["a file shows no running members, only who they were".to_owned()];
    if is_data_directory {
        blind.push("what the member had not yet moved from its log into its database is not seen".to_owned());
    }
    let meta = etcd::meta(&database).map_err(|error| failed(&error))?;
    let (newest, last) = index(&database).map_err(|error| failed(&error))?;
    let revision = last.max(meta.compacted_revision).max(meta.scheduled_revision).max(1);
    Ok(Snapshot { database, path, newest, meta, revision, blind })
}

fn find(path: &Path) -> Result<(PathBuf, bool)> {
    if !path.is_dir() {
        return Ok((path.to_owned(), false));
    }
    let inside = DATABASE_IN_DATA_DIRECTORY.map(|inside| path.join(inside));
    let found = inside.into_iter().find(|file| file.is_file());
    let none = || SourceError(format!("open {}: a directory without member/snap/db is none of etcd's", path.display()));
    found.map(|file| (file, true)).ok_or_else(none)
}

/// The newest put of every key that is there, and the revision of the last change.
fn index(database: &Database<File>) -> bbolt::Result<(BTreeMap<Bytes, Newest>, i64)> {
    let (mut newest, mut last) = (BTreeMap::new(), 0);
    let mut changes = etcd::changes(database)?;
    while let Some((position, change)) = changes.next_change()? {
        last = change.revision.main;
        let key = &change.kv.key;
        match (change.is_delete, key.is_empty()) {
            // A restore's mark: it only raises the revision.
            (false, true) => {}
            (true, _) => drop(newest.remove(key)),
            (false, false) => {
                let found = Newest { position, lease: change.kv.lease };
                match newest.get_mut(key) {
                    Some(known) => *known = found,
                    // A copy: the key is a part of its page and would keep all of that.
                    None => drop(newest.insert(Bytes::copy_from_slice(key), found)),
                }
            }
        }
    }
    Ok((newest, last))
}

impl Snapshot {
    fn failed(&self, error: &bbolt::Error) -> SourceError {
        SourceError(format!("read {}: {error}", self.path.display()))
    }

    fn keys_of_leases(&self) -> BTreeMap<i64, Vec<Bytes>> {
        let mut keys: BTreeMap<i64, Vec<Bytes>> = BTreeMap::new();
        for (key, newest) in self.newest.iter().filter(|(_, newest)| newest.lease != 0) {
            keys.entry(newest.lease).or_default().push(key.clone());
        }
        keys
    }
}

impl Source for Snapshot {
    fn info(&self) -> SourceInfo {
        SourceInfo {
            kind: SourceKind::Snapshot,
            place: self.path.display().to_string(),
            version: self.meta.storage_version.clone().or(self.meta.cluster_version.clone()),
            blind: self.blind.clone(),
        }
    }

    fn range(&mut self, prefix: &[u8], visit: Visit<'_, Entry>) -> Result<()> {
        let changes = etcd::changes(&self.database).map_err(|error| self.failed(&error))?;
        for (key, newest) in self.newest.range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded)) {
            if !key.starts_with(prefix) {
                break;
            }
            let kv = changes.at(newest.position).map_err(|error| self.failed(&error))?.kv;
            let etcd::KeyValue { create_revision, mod_revision, version, value, lease, .. } = kv;
            let entry = Entry { key: key.clone(), value, create_revision, mod_revision, version, lease };
            if visit(&entry) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn keys(&mut self, prefix: &[u8], visit: Visit<'_, Entry>) -> Result<()> {
        // Revisions lie beside the value, so reading them is reading it.
        self.range(prefix, &mut |entry| visit(&Entry { value: Bytes::new(), lease: 0, ..entry.clone() }))
    }

    fn history(&mut self, visit: Visit<'_, Version>) -> Result<bool> {
        let mut changes = etcd::changes(&self.database).map_err(|error| self.failed(&error))?;
        while let Some((_, change)) = changes.next_change().map_err(|error| self.failed(&error))? {
            let etcd::KeyValue { key, value, .. } = change.kv;
            if key.is_empty() {
                continue;
            }
            let bytes = key.len() as u64 + value.len() as u64;
            let version = Version { key, revision: change.revision.main, bytes, is_delete: change.is_delete };
            if visit(&version) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(true)
    }

    fn leases(&mut self, visit: Visit<'_, Lease>) -> Result<()> {
        let mut keys = self.keys_of_leases();
        let mut leases = Vec::new();
        etcd::leases(&self.database, |lease| leases.push(lease)).map_err(|error| self.failed(&error))?;
        for lease in leases {
            let keys = keys.remove(&lease.id).unwrap_or_default();
            if visit(&Lease { id: lease.id, granted: lease.ttl, left: None, keys }) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    /// Checks the whole file on the way; what is wrong with it is an error of every member.
    fn status(&mut self) -> Result<Status> {
        let failed = |error| self.failed(&error);
        let check = self.database.check().map_err(failed)?;
        let members = etcd::members(&self.database).map_err(failed)?;
        let alarms = etcd::alarms(&self.database).map_err(failed)?;
        let page_size = u64::from(self.database.meta().page_size);
        let of_file = Member {
            version: self.info().version.unwrap_or_default(),
            db_bytes: self.database.bytes(),
            db_bytes_in_use: check.pages_in_use.saturating_mul(page_size),
            raft_term: self.meta.term,
            raft_index: self.meta.consistent_index,
            applied_index: self.meta.consistent_index,
            errors: check.problems,
            ..Member::default()
        };
        let members = members.into_iter().map(|member| Member {
            id: member.id,
            name: member.name,
            endpoint: member.client_urls.into_iter().next().unwrap_or_default(),
            is_learner: member.is_learner,
            ..of_file.clone()
        });
        let kinds = alarms.into_iter().filter_map(|alarm| match alarm.kind {
            1 => Some((alarm.member, AlarmKind::NoSpace)),
            2 => Some((alarm.member, AlarmKind::Corrupt)),
            _ => None,
        });
        Ok(Status {
            members: members.collect(),
            alarms: kinds.collect(),
            revision: self.revision,
            compact_revision: Some(self.meta.compacted_revision),
        })
    }
}
