//! One history of writes, and what a source shows of it: the same, whatever server took it and however it is looked at.
//!
//! The history has what is easily seen wrongly: several changes in one revision, deleted and born again keys, leases
//! that came and went, values larger than a page, bytes that are no text, and a compaction in the middle.
#![forbid(unsafe_code)]

use client::pb::PutRequest;
use client::{Bytes, Change, Client, LeaseOfPut, To};
use doctor::source::{Entry, Lease, Live, Source, Version, open_live};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PODS: usize = 90;
const LARGE_BYTES: usize = 10_000;
/// Sleep for nobody: a lease that ends during the test would be seen by one source only.
const LEASE_S: i64 = 86_400;

pub fn open(endpoint: &str) -> Live {
    let endpoints = vec![endpoint.to_owned()];
    let options = client::Options { endpoints, timeout: Duration::from_secs(30), ..client::Options::default() };
    open_live(&options).expect("the server answers")
}

/// Writes the history into an empty server. Its last revision.
pub async fn write(client: &Client) -> client::Result<i64> {
    for (id, ttl) in [(77, LEASE_S), (i64::MAX, LEASE_S + 1), (78, LEASE_S)] {
        client.lease_grant(ttl, id).await?;
    }
    for pod in 0..PODS {
        put(client, &format!("/registry/pods/default/p{pod:03}"), &[b'a' + (pod % 26) as u8; 120], 0).await?;
    }
    for pod in (0..PODS).step_by(9) {
        put(client, &format!("/registry/pods/default/p{pod:03}"), b"k8s\0again", 0).await?;
    }
    // Several changes in one revision, a creation and a deletion among them.
    let (first, second) = ("/registry/pods/default/p001", "/registry/pods/default/p002");
    let (one, two) = (revision_of(client, first).await?, revision_of(client, second).await?);
    client
        .change(vec![
            Change { key: first.into(), mod_revision: one, to: To::Delete },
            Change { key: "/registry/minions/n1".into(), mod_revision: 0, to: value(b"node", 77) },
            Change { key: second.into(), mod_revision: two, to: value(b"with a lease", i64::MAX) },
        ])
        .await?;
    let compacted = put(client, "/registry/leases/kube-system/holder", b"1", 77).await?;
    client
        .delete_if("/registry/pods/default/p003".into(), revision_of(client, "/registry/pods/default/p003").await?)
        .await?;
    client.compact(compacted, true).await?;
    // Leases that a later put took away or kept.
    put(client, "/registry/leases/kube-system/holder", b"2", 0).await?;
    let node = revision_of(client, "/registry/minions/n1").await?;
    client.put_if("/registry/minions/n1".into(), node, "changed".into(), LeaseOfPut::Keep).await?;
    // Born again, deleted again, large, empty, and no text.
    put(client, first, b"second life", 0).await?;
    put(client, "/registry/secrets/kube-system/large", &[0xff; LARGE_BYTES], 0).await?;
    put(client, "\0\u{7f}\u{80}odd", b"", 0).await?;
    put(client, "/registry/events/default/gone", b"soon", 78).await?;
    client.lease_revoke(78).await?;
    put(client, "compact_rev_key", b"1", 0).await
}

fn value(value: &'static [u8], lease: i64) -> To {
    To::Put { value: value.into(), lease: LeaseOfPut::Attach(lease) }
}

async fn put(client: &Client, key: &str, value: &[u8], lease: i64) -> client::Result<i64> {
    let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value));
    let put = PutRequest { key, value, lease, ..PutRequest::default() };
    Ok(client.put(put).await?.header.map_or(0, |header| header.revision))
}

async fn revision_of(client: &Client, key: &str) -> client::Result<i64> {
    Ok(client.get(key.as_bytes()).await?.map_or(0, |kv| kv.mod_revision))
}

/// All that a source shows of what was written; what differs from run to run is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub entries: Vec<Entry>,
    /// Of keys only.
    pub keys: Vec<Entry>,
    pub pods: usize,
    /// None if the source has none; else (key, revision, bytes, is deletion).
    pub history: Option<BTreeSet<(Bytes, i64, u64, bool)>>,
    /// Id, granted seconds, keys.
    pub leases: BTreeSet<(i64, i64, Vec<Bytes>)>,
    pub revision: i64,
    pub compact_revision: Option<i64>,
}

impl Seen {
    /// What a running server shows of the same.
    pub fn without_history(&self) -> Seen {
        Seen { history: None, ..self.clone() }
    }
}

pub fn look(source: &mut dyn Source) -> doctor::source::Result<Seen> {
    let (mut entries, mut keys, mut pods) = (Vec::new(), Vec::new(), 0);
    source.range(b"", &mut |entry| push(&mut entries, entry))?;
    source.keys(b"", &mut |entry| push(&mut keys, entry))?;
    source.range(b"/registry/pods/", &mut |_| {
        pods += 1;
        ControlFlow::Continue(())
    })?;
    let (mut leases, mut history) = (BTreeSet::new(), BTreeSet::new());
    source.leases(&mut |Lease { id, granted, keys, .. }| {
        leases.insert((*id, *granted, keys.clone()));
        ControlFlow::Continue(())
    })?;
    let has_history = source.history(&mut |Version { key, revision, bytes, is_delete }| {
        history.insert((key.clone(), *revision, *bytes, *is_delete));
        ControlFlow::Continue(())
    })?;
    let status = source.status()?;
    let history = has_history.then_some(history);
    let (revision, compact_revision) = (status.revision, status.compact_revision);
    Ok(Seen { entries, keys, pods, history, leases, revision, compact_revision })
}

/// Every file below a directory with its content, to see that nobody changed one.
pub fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => files.extend(self::files(&path)),
            path => drop(files.insert(path.clone(), std::fs::read(path).expect("it can be read"))),
        }
    }
    files
}

fn push(entries: &mut Vec<Entry>, entry: &Entry) -> ControlFlow<()> {
    entries.push(entry.clone());
    ControlFlow::Continue(())
}
