//! The rim: one thread per core, each with a runtime of its own that its connections never leave.
//!
//! ```text
//! accept thread ──deals connections in turn──▶ rim 0: connections, calls, watch hub, mailbox ──▶ node
//!      │ reloads TLS files                      rim 1: …
//! ```
//!
//! Invariants: what belongs to a rim is touched by its thread only (`Rc`, `Cell`), and shared state by none of them
//! while it awaits.
//! Not here: the thread itself and its connections (`transport`), and what handlers keep between calls (the watch hub).

use super::lane::Lane;
use crate::config::Config;
use crate::grpc::{BodyLimits, ResponseHeads};
use crate::in_flight::InFlight;
use crate::line_limit::LineLimit;
use crate::metrics::{ConnectionMetrics, HttpMetrics, RimMetrics, Scrapes};
use crate::refusals::Refusals;
use crate::status::{Code, Status};
use crate::tls::Reloading;
use crate::wire::{Identity, Stamp};
use model::{LeaseId, MemberId, Revision};
use node::{Handle, Mailbox};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;
use tokio::sync::{Semaphore, watch};

/// What all rims share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) tls: Option<Reloading>,
    pub(crate) node: Handle,
    pub(crate) identity: Identity,
    pub(crate) rims: Vec<Arc<RimMetrics>>,
    pub(crate) http: HttpMetrics,
    pub(crate) in_flight: Arc<InFlight>,
    /// Has one permit; see `Rim::long_work`.
    long_work: Arc<Semaphore>,
    pub(crate) scrapes: Arc<Scrapes>,
    pub(crate) connections: Arc<ConnectionMetrics>,
    pub(crate) refusals: Refusals,
    /// About slow requests.
    pub(crate) slow_lines: LineLimit,
    /// Of the texts that are compressed.
    pub(crate) compressed_scrapes: Arc<Scrapes>,
    pub(crate) started_at: SystemTime,
    /// The next lease id that the server picks.
    next_lease: AtomicU64,
}

impl Shared {
    pub(crate) fn new(config: Config, tls: Option<Reloading>, node: Handle, rims: usize) -> Shared {
        let started_at = SystemTime::now();
        Shared {
            identity: Identity::new(node.cluster(), node.member()),
            rims: (0..rims).map(|_| Arc::new(RimMetrics::new(&config))).collect(),
            http: HttpMetrics::default(),
            long_work: Arc::new(Semaphore::new(1)),
            scrapes: Arc::default(),
            compressed_scrapes: Arc::default(),
            refusals: Refusals::default(),
            slow_lines: LineLimit::default(),
            in_flight: InFlight::new(config.in_flight_bytes_max, config.message_bytes_max()),
            connections: Arc::default(),
            next_lease: AtomicU64::new(first_lease_id(node.member(), started_at)),
            started_at,
            config,
            tls,
            node,
        }
    }

    /// An id for a lease whose client leaves the choice to the server: positive, and not used by this member before.
    pub(crate) fn new_lease_id(&self) -> LeaseId {
        LeaseId((self.next_lease.fetch_add(1, Ordering::Relaxed) & i64::MAX as u64) as i64)
    }
}

/// Two bytes of the member, then the time of the start in ms, then a byte's worth of ids for each ms gone by: members
/// do not meet each other's ids, nor those from before a restart.
fn first_lease_id(member: MemberId, started_at: SystemTime) -> u64 {
    let since_1970 = started_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let ms = u64::try_from(since_1970.as_millis()).unwrap_or_default() & ((1 << 40) - 1);
    (member.0 << 48) | (ms << 8) | 1
}

/// Reasons for streaming calls to end that concern all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StreamSignal {
    pub(crate) is_stopping: bool,
    /// No leader has been known for longer than streams that require one wait.
    pub(crate) leader_is_lost: bool,
}

/// See the file's head.
pub(crate) struct Rim {
    pub(crate) shared: Arc<Shared>,
    pub(crate) node: Handle,
    pub(crate) metrics: Arc<RimMetrics>,
    pub(crate) heads: ResponseHeads,
    pub(crate) lane: Lane,
    /// The cluster has agreed on a version; until then it serves nobody.
    is_capable: Cell<bool>,
    signal: watch::Sender<StreamSignal>,
}

impl Rim {
    pub(crate) fn new(shared: Arc<Shared>, index: usize, mailbox: &Arc<Mailbox>) -> Rim {
        let node = shared.node.with_mailbox(mailbox.clone());
        let metrics = shared.rims.get(index).expect("one for each rim").clone();
        Rim {
            node,
            metrics,
            shared,
            heads: ResponseHeads::new(),
            lane: Lane::default(),
            is_capable: Cell::new(false),
            signal: watch::Sender::new(StreamSignal::default()),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.shared.config
    }

    pub(crate) fn body_limits(&self) -> BodyLimits {
        let config = self.config();
        BodyLimits { message_bytes_max: config.message_bytes_max(), timeout: config.body_timeout }
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    /// Runs what cannot be cut into slices on a thread of its own, one at a time for the process.
    pub(crate) async fn long_work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Status> {
        let failed = |error: &dyn std::fmt::Display| Status::new(Code::Internal, format!("work on a thread: {error}"));
        let turn = self.shared.long_work.clone().acquire_owned().await.map_err(|error| failed(&error))?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        });
        done.await.map_err(|error| failed(&error))
    }

    /// The changing part of a header for an answer as of `revision`.
    pub(crate) fn stamp(&self, revision: Revision) -> Stamp {
        Stamp { revision, term: self.node.status().term }
    }

    pub(crate) fn is_capable(&self) -> bool {
        if !self.is_capable.get() {
            self.is_capable.set(self.node.view().membership().cluster_version().is_some());
        }
        self.is_capable.get()
    }

    /// Tells streaming calls when to end.
    pub(crate) fn stream_signal(&self) -> watch::Receiver<StreamSignal> {
        self.signal.subscribe()
    }

    /// Ends all streaming calls.
    pub(crate) fn stop_streams(&self) {
        self.signal.send_modify(|signal| signal.is_stopping = true);
    }

    /// Ends the streaming calls that require a leader, while it is lost.
    pub(crate) fn set_leader_is_lost(&self, is_lost: bool) {
        self.signal.send_if_modified(|signal| std::mem::replace(&mut signal.leader_is_lost, is_lost) != is_lost);
    }
}
