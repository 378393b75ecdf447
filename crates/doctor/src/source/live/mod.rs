//! A server that runs, Bowline or etcd, over its client port.
//!
//! Everything is read at the revision of the first page, from the member that answered it. Without a leader a member
//! still tells what it has itself; that is said. A source has a runtime of its own and waits for each answer, so it
//! must not be used from within another one.

mod members;
mod pages;

use super::{Entry, Lease, Result, Source, SourceError, SourceInfo, SourceKind, Status, Version, Visit};
use client::{Client, ErrorKind, Options};
use pages::Pages;
use proto::bowline::TopRequest;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Leases that are asked for at once.
const LEASES_AT_ONCE: usize = 64;

/// A connection to a running server as a source.
#[derive(Debug)]
pub struct Live {
    runtime: Runtime,
    client: Client,
    kind: SourceKind,
    version: Option<String>,
    pages: Pages,
    blind: BTreeSet<String>,
}

/// Connects and asks what kind of server it is.
pub fn open_live(options: &Options) -> Result<Live> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| SourceError(format!("start: {error}")))?;
    let client = runtime.block_on(Client::connect(options))?;
    let (kind, version) = runtime.block_on(identify(&client))?;
    let blind = BTreeSet::from(["a server does not show old versions, only the newest of each key".to_owned()]);
    Ok(Live { runtime, client, kind, version, pages: Pages::default(), blind })
}

impl Live {
    /// For what only a running server can do: guarded changes, disarming, defragmentation. It works on the runtime that
    /// [`Live::block_on`] drives.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Waits for a call of [`Live::client`].
    pub fn block_on<T>(&self, call: impl Future<Output = T>) -> T {
        self.runtime.block_on(call)
    }
}

/// Only Bowline has a service of its own; whatever it answers but that it is not there, it is there.
async fn identify(client: &Client) -> Result<(SourceKind, Option<String>)> {
    let top = client.top(TopRequest { limit: 1, ..TopRequest::default() }).await;
    let kind = match top.map_err(|error| (error.kind(), error)) {
        Err((ErrorKind::Unimplemented, _)) => SourceKind::Etcd,
        Err((ErrorKind::Unreachable | ErrorKind::Deadline, error)) => return Err(error.into()),
        _ => SourceKind::Bowline,
    };
    // Who may read keys need not be allowed to ask for this.
    let version = client.status().await.ok().map(|status| status.version);
    Ok((kind, version))
}

impl From<client::Error> for SourceError {
    fn from(error: client::Error) -> SourceError {
        SourceError(error.to_string())
    }
}

impl Source for Live {
    fn info(&self) -> SourceInfo {
        SourceInfo {
            kind: self.kind,
            place: self.client.endpoint().to_owned(),
            version: self.version.clone(),
            blind: self.blind.iter().cloned().collect(),
        }
    }

    fn range(&mut self, prefix: &[u8], visit: Visit<'_, Entry>) -> Result<()> {
        self.runtime.block_on(self.pages.read(&self.client, prefix, false, &mut self.blind, visit))
    }

    fn keys(&mut self, prefix: &[u8], visit: Visit<'_, Entry>) -> Result<()> {
        self.runtime.block_on(self.pages.read(&self.client, prefix, true, &mut self.blind, visit))
    }

    fn history(&mut self, _: Visit<'_, Version>) -> Result<bool> {
        Ok(false)
    }

    fn leases(&mut self, visit: Visit<'_, Lease>) -> Result<()> {
        self.runtime.block_on(leases(&self.client, visit))
    }

    fn status(&mut self) -> Result<Status> {
        self.runtime.block_on(members::status(&self.client, &mut self.blind))
    }
}

/// A lease that ends meanwhile is left out.
async fn leases(client: &Client, visit: Visit<'_, Lease>) -> Result<()> {
    let ids = client.lease_leases().await?;
    for batch in ids.chunks(LEASES_AT_ONCE) {
        let mut asked = JoinSet::new();
        for &id in batch {
            let client = client.clone();
            asked.spawn(async move { client.lease_time_to_live(id, true).await });
        }
        let mut answers = Vec::new();
        while let Some(answer) = asked.join_next().await {
            match answer.map_err(|error| SourceError(format!("look at a lease: {error}")))? {
                Ok(lease) if lease.ttl >= 0 => answers.push(lease),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        answers.sort_by_key(|lease| batch.iter().position(|&id| id == lease.id));
        for lease in answers {
            let mut keys = lease.keys;
            keys.sort();
            let lease = Lease { id: lease.id, granted: lease.granted_ttl, left: Some(lease.ttl), keys };
            if visit(&lease) == ControlFlow::Break(()) {
                return Ok(());
            }
        }
    }
    Ok(())
}
