//! What one kube-apiserver reads while a workload writes: a watch with previous values on each resource, lists in pages
//! at one revision, consistent reads. One more watch, on everything, proves that no revision is missed: every write
//! makes the next one, so its events must name all revisions without a gap.
//!
//! They have a thread and a connection of their own, as the probe has.

use crate::client::{Client, end_of};
use crate::observe::{Observer, quantiles};
use crate::step::{EVENTS, JOBS, PODS, POLICY_REPORTS, REPORTS};
use bytes::Bytes;
use harness::Server;
use proto::etcdserverpb::watch_client::WatchClient;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};
use tonic::Streaming;
use tonic::transport::Channel;

const WATCHED: [&str; 9] = [
    EVENTS,
    JOBS,
    PODS,
    POLICY_REPORTS,
    REPORTS,
    "/registry/configmaps/",
    "/registry/replicasets/",
    "/registry/minions/",
    "/registry/leases/",
];
const LISTED: [&str; 2] = [PODS, POLICY_REPORTS];
const LIST_INTERVAL: Duration = Duration::from_secs(5);
const PAGE: i64 = 500;
const READ_INTERVAL: Duration = Duration::from_millis(100);
/// For what was written last to arrive.
const PATIENCE: Duration = Duration::from_secs(30);
/// The last revision of the load, before it is over.
const UNKNOWN: i64 = i64::MAX;

/// What the readers saw.
#[derive(Debug, Default, Serialize)]
pub struct Seen {
    /// Delivered to the watches on resources.
    pub events: u64,
    /// Revisions that the watch on everything was told of, and those it was not.
    pub revisions: u64,
    pub missed: u64,
    /// Watches that the server ended.
    pub canceled: u64,
    pub pages: u64,
    pub page_p50_ms: f64,
    pub page_p99_ms: f64,
    /// Lists whose revision was compacted before their end: given up, the next one is at a revision of its own.
    pub lists_expired: u64,
    pub reads: u64,
    pub read_p50_ms: f64,
    pub read_p99_ms: f64,
    pub failed: u64,
    /// What the first failure said.
    pub failure: Option<String>,
    #[serde(skip)]
    pages_ms: Vec<f64>,
    #[serde(skip)]
    reads_ms: Vec<f64>,
}

impl Seen {
    fn fail(&mut self, failure: impl std::fmt::Display) {
        self.failed += 1;
        self.failure.get_or_insert_with(|| failure.to_string());
    }

    fn merge(&mut self, mut other: Seen) {
        self.events += other.events;
        self.revisions += other.revisions;
        self.missed += other.missed;
        self.canceled += other.canceled;
        self.pages += other.pages;
        self.lists_expired += other.lists_expired;
        self.reads += other.reads;
        self.failed += other.failed;
        self.failure = self.failure.take().or(other.failure);
        self.pages_ms.append(&mut other.pages_ms);
        self.reads_ms.append(&mut other.reads_ms);
    }
}

/// Starts them at the store's current revision.
pub fn readers(server: &Server) -> Observer<Seen> {
    let endpoint = server.endpoint();
    Observer::start(move |stop| async move {
        let channel = endpoint.connect().await.expect("the server accepts connections");
        let mut client = Client::new(channel.clone());
        let from = client.revision().await.expect("the server answers") + 1;
        let end = Arc::new(AtomicI64::new(UNKNOWN));
        let creates = WATCHED.into_iter().map(|prefix| resource(prefix, from)).chain([everything(from)]);
        let tasks: Vec<_> = creates.map(|create| tokio::spawn(follow(channel.clone(), create, end.clone()))).collect();
        let lists = tokio::spawn(list_until(client.clone(), stop.clone()));
        let mut seen = read_until(&mut client, &stop).await;
        seen.merge(lists.await.expect("a reader does not panic"));
        // Without an answer there is nothing to wait for.
        let last = client.revision().await.unwrap_or_else(|refusal| {
            seen.fail(format!("{refusal:?}"));
            0
        });
        end.store(last, Ordering::Relaxed);
        for task in tasks {
            seen.merge(task.await.expect("a reader does not panic"));
        }
        [seen.page_p50_ms, seen.page_p99_ms, _] = quantiles(&mut seen.pages_ms);
        [seen.read_p50_ms, seen.read_p99_ms, _] = quantiles(&mut seen.reads_ms);
        seen
    })
}

async fn watch(channel: Channel, create: WatchCreateRequest) -> Result<Streaming<WatchResponse>, tonic::Status> {
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    // The stream of requests stays open behind the first: its end would end the watch.
    let requests = tokio_stream::StreamExt::chain(tokio_stream::once(request), tokio_stream::pending());
    let mut client = WatchClient::new(channel).max_decoding_message_size(usize::MAX);
    Ok(client.watch(requests).await?.into_inner())
}

/// Everything there is, to see that no revision is missing.
fn everything(from: i64) -> WatchCreateRequest {
    let all = Bytes::from_static(b"\0");
    WatchCreateRequest { key: all.clone(), range_end: all, start_revision: from, ..WatchCreateRequest::default() }
}

/// As the API server's cache: previous values, and progress, by which it knows that it has seen everything.
fn resource(prefix: &'static str, from: i64) -> WatchCreateRequest {
    WatchCreateRequest {
        key: prefix.into(),
        range_end: end_of(prefix.as_bytes()),
        start_revision: from,
        prev_kv: true,
        progress_notify: true,
        ..WatchCreateRequest::default()
    }
}

/// Reads a watch until `end` is known; the one on everything until it has arrived, or nothing came for `PATIENCE`.
async fn follow(channel: Channel, create: WatchCreateRequest, end: Arc<AtomicI64>) -> Seen {
    let mut seen = Seen::default();
    let (counts_revisions, mut last) = (create == everything(create.start_revision), create.start_revision - 1);
    let mut waited = Duration::ZERO;
    let mut stream = match watch(channel, create).await {
        Ok(stream) => stream,
        Err(status) => {
            seen.fail(status);
            return seen;
        }
    };
    loop {
        let end = end.load(Ordering::Relaxed);
        if end != UNKNOWN && (!counts_revisions || last >= end || waited >= PATIENCE) {
            break;
        }
        match tokio::time::timeout(READ_INTERVAL, stream.message()).await {
            Ok(Ok(Some(message))) if !message.canceled => {
                waited = Duration::ZERO;
                if !counts_revisions {
                    seen.events += message.events.len() as u64;
                    continue;
                }
                for revision in message.events.into_iter().filter_map(|event| Some(event.kv?.mod_revision)) {
                    seen.missed += (revision - last - 1).max(0).unsigned_abs();
                    seen.revisions += u64::from(revision > last);
                    last = last.max(revision);
                }
            }
            Ok(Ok(_)) => {
                seen.canceled += 1;
                break;
            }
            Ok(Err(status)) => {
                seen.fail(status);
                break;
            }
            Err(_) if end != UNKNOWN => waited += READ_INTERVAL,
            Err(_) => {}
        }
    }
    let end = end.load(Ordering::Relaxed);
    if counts_revisions && end != UNKNOWN {
        seen.missed += (end - last).max(0).unsigned_abs();
    }
    seen
}

async fn list_until(mut client: Client, stop: Arc<AtomicBool>) -> Seen {
    let mut seen = Seen::default();
    let mut due = Instant::now();
    let mut ticks = tokio::time::interval(READ_INTERVAL);
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        if Instant::now() >= due {
            due = Instant::now() + LIST_INTERVAL;
            for prefix in LISTED {
                list(&mut client, prefix, &mut seen).await;
            }
        }
    }
    seen
}

async fn list(client: &mut Client, prefix: &str, seen: &mut Seen) {
    let (mut from, mut revision) = (Bytes::copy_from_slice(prefix.as_bytes()), 0);
    loop {
        let began = Instant::now();
        match client.page(from, end_of(prefix.as_bytes()), revision, PAGE).await {
            Ok(Some(page)) => {
                seen.pages += 1;
                seen.pages_ms.push(began.elapsed().as_secs_f64() * 1e3);
                let Some(next) = page.next else { return };
                (from, revision) = (next, page.revision);
            }
            Ok(None) => {
                seen.lists_expired += 1;
                return;
            }
            Err(refusal) => return seen.fail(format!("{refusal:?}")),
        }
    }
}

async fn read_until(client: &mut Client, stop: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let mut ticks = tokio::time::interval(READ_INTERVAL);
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let began = Instant::now();
        match client.get(PODS.into()).await {
            Ok(_) => {
                seen.reads += 1;
                seen.reads_ms.push(began.elapsed().as_secs_f64() * 1e3);
            }
            Err(refusal) => seen.fail(format!("{refusal:?}")),
        }
    }
    seen
}
