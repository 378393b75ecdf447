//! The data directory of a Bowline member that is stopped.
//!
//! It is opened by the code that a member starts with, on a disk whose writes stay in memory; then the log is applied
//! as far as the member would. So what was acknowledged is there, and not a byte of the directory changes. A member
//! that runs has the lock, and is not disturbed.

use super::{
    AlarmKind, Entry, Lease, Member, Result, Source, SourceError, SourceInfo, SourceKind, Status, Version, Visit,
};
use bytes::Bytes;
use io::{Disk, OsDisk, Overlay};
use model::{KeyRange, KeyValue, LogIndex, Range, Revision, Term};
use mvcc::{Event, RangeItem, RangeResult};
use state::{LeaseReader, MeasuredEntry, Quota, State, StateView};
use std::fmt::Display;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{DataDir, Identity, Location, Store};

/// What a member takes if its flags name none.
const QUOTA_BYTES_DEFAULT: u64 = 2 << 30;
/// Values loaded at a time.
const LOAD_MAX: usize = 256;
/// Revisions gathered at a time; each page of history goes over the index once.
const HISTORY_REVISIONS: usize = 100_000;
/// Entries applied between two writes of their records.
const FLUSH_ENTRIES: usize = 1_000;

/// An opened directory.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    view: StateView,
    leases: LeaseReader,
    /// The lock, which keeps a member from starting meanwhile.
    _held: DataDir,
    raft_index: u64,
    blind: Vec<String>,
}

/// Opens the directory as its member would, and applies what its log has. Memory holds the key index and what the log
/// adds.
pub fn open_data_directory(path: &Path) -> Result<DataDirectory> {
    let failed = |error: &dyn Display| SourceError(format!("open data directory {}: {error}", path.display()));
    if !path.join("member/identity").is_file() {
        return Err(failed(&"it is none of Bowline's: member/identity is missing"));
    }
    let disk: Arc<dyn Disk> = Arc::new(Overlay::new(Arc::new(OsDisk)));
    let held = hold(&*disk, path).map_err(|fault| failed(&fault))?;
    let (store, checkpoint) =
        Store::open(disk.clone(), &held.store_dir(), store::Options::default()).map_err(|fault| failed(&fault))?;
    let checkpoint = checkpoint.ok_or_else(|| failed(&"its first start never ended: there is nothing in it"))?;
    let options = state::Options { quota: Quota(Some(QUOTA_BYTES_DEFAULT)), ..state::Options::default() };
    let mut state = State::open(store, checkpoint, options).map_err(|fault| failed(&fault))?;
    let mut blind = vec!["a directory shows no running members, only who they were".to_owned()];
    let raft_index = replay(&disk, &held, &mut state, &mut blind)?;
    Ok(DataDirectory {
        path: path.to_owned(),
        view: state.view(),
        leases: state.live().leases().clone(),
        _held: held,
        raft_index,
        blind,
    })
}

fn hold(disk: &dyn Disk, path: &Path) -> store::Result<DataDir> {
    // Of a directory that is there, the identity in it counts.
    DataDir::look(disk, path, Identity { cluster: 0, member: 0 })
}

/// Applies the entries behind the checkpoint. The index of the last one that the log has.
fn replay(disk: &Arc<dyn Disk>, held: &DataDir, state: &mut State, blind: &mut Vec<String>) -> Result<u64> {
    let directory = &held.wal_dir();
    let failed = |error: &dyn Display| SourceError(format!("apply the log in {}: {error}", directory.display()));
    if !disk.exists(directory).map_err(|error| failed(&error))? {
        blind.push(format!(
            "there is no log in {}: what came after the last checkpoint is not seen",
            directory.display()
        ));
        return Ok(state.applied().index.0);
    }
    let log = wal::read(&**disk, directory).map_err(|fault| failed(&fault))?;
    if let Err(fault) = wal::look(disk.clone(), directory, Some(&held.mark_path())) {
        blind.push(format!("{fault}"));
    }
    let last = log.entries.last().map_or(log.trimmed_to.index, |entry| entry.index);
    let begins = log.trimmed_to.index.saturating_add(1);
    let applied = state.applied().index.0;
    if begins > applied.saturating_add(1) {
        return Err(failed(&format!("it begins with entry {begins}, and the checkpoint ends with {applied}")));
    }
    // A member that is alone commits whatever its log has; others may have decided otherwise.
    let committed = if state.membership().members().len() == 1 { last } else { log.hard_state.commit };
    if committed < last {
        blind.push(format!("entries {committed} to {last} of the log are not known to be committed and are not seen"));
    }
    let mut guessed_quota = false;
    let wanted = log.entries.iter().filter(|entry| entry.index > applied && entry.index <= committed);
    for (count, entry) in wanted.enumerate() {
        guessed_quota |= apply(state, entry.index, entry.term, &entry.data).map_err(|fault| failed(&fault))?;
        if count % FLUSH_ENTRIES == 0 {
            state.flush().map_err(|fault| failed(&fault))?;
        }
    }
    state.flush().map_err(|fault| failed(&fault))?;
    if guessed_quota {
        blind.push(format!(
            "the directory was written by a release that kept no quota in it, and {QUOTA_BYTES_DEFAULT} bytes were taken \
             for it: if the member had another, what it refused or took since its last checkpoint may differ"
        ));
    }
    Ok(last)
}

/// True if a quota decided something that state does not hold.
fn apply(state: &mut State, index: u64, term: u64, data: &Bytes) -> state::Result<bool> {
    let (index, term) = (LogIndex(index), Term(term));
    if data.is_empty() {
        state.apply_empty(index, term);
        return Ok(false);
    }
    let entry = MeasuredEntry::decode(index, data.clone())?;
    let met_quota = state.apply(index, term, &entry)?.no_space.is_some();
    Ok(met_quota && state.quota_set().is_none())
}

impl DataDirectory {
    fn failed(&self, error: &dyn Display) -> SourceError {
        SourceError(format!("read data directory {}: {error}", self.path.display()))
    }

    /// Pairs at a revision, piece by piece; 0: the current one.
    fn pairs(&self, range: KeyRange, at: Revision, visit: &mut dyn FnMut(KeyValue) -> ControlFlow<()>) -> Result<()> {
        let request = Range { revision: at, ..Range::new(range) };
        let RangeResult { items, .. } =
            self.view.kv().range(&request).map_err(|error| self.failed(&format!("{error:?}")))?;
        for piece in items.chunks(LOAD_MAX) {
            let stored: Vec<Location> = piece.iter().filter_map(location).collect();
            for pair in self.load(&stored)? {
                if visit(pair) == ControlFlow::Break(()) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn load(&self, locations: &[Location]) -> Result<Vec<KeyValue>> {
        let mut payloads = Vec::with_capacity(locations.len());
        self.view.kv().load(locations, &mut payloads).map_err(|fault| self.failed(&fault))?;
        let pairs: std::result::Result<_, _> = payloads.iter().map(KeyValue::decode).collect();
        pairs.map_err(|error| self.failed(&error))
    }

    /// The puts and deletions of some events, in their order.
    fn versions(&self, events: &[Event]) -> Result<Vec<Version>> {
        let puts: Vec<Location> = events.iter().filter_map(|event| event.kv).collect();
        let mut puts = self.load(&puts)?.into_iter();
        let versions = events.iter().map(|event| {
            let value = event.kv.and_then(|_| puts.next()).map_or(0, |pair| pair.value.len());
            let bytes = event.key.len() as u64 + value as u64;
            Version { key: event.key.clone(), revision: event.at.main.0, bytes, is_delete: event.kv.is_none() }
        });
        Ok(versions.collect())
    }
}

fn location(item: &RangeItem) -> Option<Location> {
    match item {
        RangeItem::Stored(location) => Some(*location),
        // Only of keys without values, which nobody asks for here.
        RangeItem::Encoded(_) => None,
    }
}

impl Source for DataDirectory {
    fn info(&self) -> SourceInfo {
        SourceInfo {
            kind: SourceKind::DataDirectory,
            place: self.path.display().to_string(),
            version: self.view.membership().cluster_version().map(str::to_owned),
            blind: self.blind.clone(),
        }
    }

    fn range(&mut self, prefix: &[u8], visit: Visit<'_, Entry>) -> Result<()> {
        let range = KeyRange::prefix(Bytes::copy_from_slice(prefix));
        self.pairs(range, Revision(0), &mut |pair| {
            let KeyValue { key, create_revision, mod_revision, version, value, lease } = pair;
            let (create_revision, mod_revision) = (create_revision.0, mod_revision.0);
            visit(&Entry { key, value, create_revision, mod_revision, version, lease: lease.0 })
        })
    }

    fn keys(&mut self, prefix: &[u8], visit: Visit<'_, Entry>) -> Result<()> {
        let range = KeyRange::prefix(Bytes::copy_from_slice(prefix));
        for (key, meta) in self.view.kv().live(&range) {
            let entry = Entry {
                key: key.to_vec().into(),
                value: Bytes::new(),
                create_revision: meta.create_revision.0,
                mod_revision: meta.mod_revision().0,
                version: meta.version,
                lease: 0,
            };
            if visit(&entry) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    /// What was there at the compacted revision, and every change since.
    fn history(&mut self, visit: Visit<'_, Version>) -> Result<bool> {
        let compacted = self.view.compacted_revision();
        let mut wants = ControlFlow::Continue(());
        if compacted.0 > 0 {
            self.pairs(KeyRange::all(), compacted, &mut |pair| {
                let bytes = pair.key.len() as u64 + pair.value.len() as u64;
                let version = Version { key: pair.key, revision: pair.mod_revision.0, bytes, is_delete: false };
                wants = visit(&version);
                wants
            })?;
        }
        let (mut from, to) = (Revision(compacted.0.max(0).saturating_add(1)), self.view.revision());
        while wants == ControlFlow::Continue(()) && from <= to {
            let page = self.view.kv().events(&KeyRange::all(), from, to, HISTORY_REVISIONS);
            let page = page.map_err(|error| self.failed(&format!("{error:?}")))?;
            for events in page.events.chunks(LOAD_MAX) {
                for version in self.versions(events)? {
                    wants = visit(&version);
                    if wants == ControlFlow::Break(()) {
                        return Ok(true);
                    }
                }
            }
            from = page.next;
        }
        Ok(true)
    }

    fn leases(&mut self, visit: Visit<'_, Lease>) -> Result<()> {
        let leases = &self.leases;
        for (id, _) in leases.all() {
            let keys = leases.keys(id).into_iter().map(|key| Bytes::from(key.into_vec())).collect();
            let granted = leases.granted_ttl_s(id).unwrap_or_default();
            if visit(&Lease { id: id.0, granted, left: None, keys }) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn status(&mut self) -> Result<Status> {
        let (view, applied) = (&self.view, self.view.applied());
        let members = view.membership().members().map(|member| Member {
            id: member.id.0,
            name: member.name.clone(),
            endpoint: member.client_urls.first().cloned().unwrap_or_default(),
            is_learner: member.is_learner,
            version: view.membership().cluster_version().unwrap_or_default().to_owned(),
            db_bytes: view.retained_bytes(),
            db_bytes_in_use: view.retained_bytes(),
            raft_term: applied.term.0,
            raft_index: self.raft_index,
            applied_index: applied.index.0,
            ..Member::default()
        });
        let alarms = view.alarms().iter().filter_map(|alarm| match alarm.kind {
            model::AlarmKind::NoSpace => Some((alarm.member.0, AlarmKind::NoSpace)),
            model::AlarmKind::Corrupt => Some((alarm.member.0, AlarmKind::Corrupt)),
            model::AlarmKind::None => None,
        });
        Ok(Status {
            members: members.collect(),
            alarms: alarms.collect(),
            revision: view.revision().0,
            compact_revision: Some(view.compacted_revision().0.max(0)),
        })
    }
}
