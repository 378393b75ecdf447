//! The rim: one thread per core, each with a runtime of its own that its connections never leave.
//!
//! ```text
//! accept thread ──deals connections in turn──▶ rim 0: connections, calls, watch hub, mailbox ──▶ node
//!      │ reloads TLS files                      rim 1: …
//! ```
//!
//! Invariants: what belongs to a rim is touched by its thread only (`Rc`, `Cell`), and shared state by none of them while it
//! awaits. A rim ends when its connections have ended, or at the deadline of the stop.

use crate::config::Config;
use crate::connection::{self, Accepted};
use crate::grpc::ResponseHeads;
use crate::http2::Control;
use crate::metrics::{HttpMetrics, RimMetrics};
use crate::tls::Reloading;
use crate::watch_hub::WatchHub;
use crate::wire::{Identity, Stamp};
use model::{LeaseId, MemberId, Revision};
use node::{Handle, Mailbox};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::spawn_local;

/// What all rims share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) tls: Option<Reloading>,
    pub(crate) node: Handle,
    pub(crate) identity: Identity,
    pub(crate) rims: Vec<Arc<RimMetrics>>,
    pub(crate) http: HttpMetrics,
    pub(crate) half_open: Arc<AtomicUsize>,
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
            half_open: Arc::new(AtomicUsize::new(0)),
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

/// Two bytes of the member, then the time of the start in ms, then a byte's worth of ids for each ms gone by: members do not
/// meet each other's ids, nor those from before a restart.
fn first_lease_id(member: MemberId, started_at: SystemTime) -> u64 {
    let since_1970 = started_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let ms = u64::try_from(since_1970.as_millis()).unwrap_or_default() & ((1 << 40) - 1);
    (member.0 << 48) | (ms << 8) | 1
}

/// What a rim is told.
pub(crate) enum RimMessage {
    Connection(Accepted),
    /// Finish what is running until then, and end.
    Stop {
        until: Instant,
    },
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
    pub(crate) watch: WatchHub,
    /// The cluster has agreed on a version; until then it serves nobody.
    is_capable: Cell<bool>,
    signal: watch::Sender<StreamSignal>,
    connections: RefCell<HashMap<u64, Rc<Control>>>,
    next_connection: Cell<u64>,
    /// Connections of any protocol that are open.
    open: Cell<usize>,
    closed: Notify,
}

impl Rim {
    pub(crate) fn config(&self) -> &Config {
        &self.shared.config
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.shared.identity
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

    /// Lists an HTTP/2 connection among those that are pinged and stopped, until the guard is dropped.
    pub(crate) fn register(self: &Rc<Self>, control: Rc<Control>) -> Registered {
        let id = self.next_connection.get();
        self.next_connection.set(id + 1);
        if self.signal.borrow().is_stopping {
            control.stop();
        }
        self.connections.borrow_mut().insert(id, control);
        Registered { rim: self.clone(), id }
    }
}

pub(crate) struct Registered {
    rim: Rc<Rim>,
    id: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.rim.connections.borrow_mut().remove(&self.id);
    }
}

/// How often silent connections are looked for.
const ALIVE_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Checks without a leader, an election timeout apart, before streams that require one are ended.
const NO_LEADER_CHECKS: u32 = 3;

/// Runs rim number `index` until it is told to stop.
pub(crate) fn run(shared: Arc<Shared>, index: usize, messages: mpsc::UnboundedReceiver<RimMessage>) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let runtime = runtime.expect("a runtime needs a file descriptor or two, and the listeners already have theirs");
    runtime.block_on(async move {
        let mailbox = Mailbox::new();
        spawn_local(mailbox.deliver());
        let rim = Rc::new(Rim::new(shared, index, &mailbox));
        spawn_local(crate::watch_hub::pump(rim.clone()));
        spawn_local(check_alive(rim.clone()));
        spawn_local(check_leader(rim.clone()));
        accept(rim, messages).await;
    });
}

impl Rim {
    fn new(shared: Arc<Shared>, index: usize, mailbox: &Arc<Mailbox>) -> Rim {
        let node = shared.node.with_mailbox(mailbox.clone());
        let metrics = shared.rims.get(index).expect("one for each rim").clone();
        Rim {
            watch: WatchHub::new(&node, metrics.clone()),
            node,
            metrics,
            shared,
            heads: ResponseHeads::new(),
            is_capable: Cell::new(false),
            signal: watch::Sender::new(StreamSignal::default()),
            connections: RefCell::new(HashMap::new()),
            next_connection: Cell::new(0),
            open: Cell::new(0),
            closed: Notify::new(),
        }
    }
}

async fn accept(rim: Rc<Rim>, mut messages: mpsc::UnboundedReceiver<RimMessage>) {
    while let Some(message) = messages.recv().await {
        match message {
            RimMessage::Connection(accepted) => {
                let rim = rim.clone();
                rim.open.set(rim.open.get() + 1);
                spawn_local(async move {
                    connection::serve(rim.clone(), accepted).await;
                    rim.open.set(rim.open.get() - 1);
                    rim.closed.notify_one();
                });
            }
            RimMessage::Stop { until } => return stop(&rim, until).await,
        }
    }
}

/// How long a stop waits for clients without calls to close their connections.
const IDLE_GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);

async fn stop(rim: &Rim, until: Instant) {
    rim.signal.send_modify(|signal| signal.is_stopping = true);
    for control in rim.connections.borrow().values() {
        control.stop();
    }
    let all_closed = async {
        while rim.open.get() > 0 {
            rim.closed.notified().await;
        }
    };
    let mut all_closed = pin!(all_closed);
    // A client that has no call open has nothing to wait for, whether it answers the goodbye or not.
    let idle_until = until.min(Instant::now() + IDLE_GOODBYE_TIMEOUT);
    if tokio::time::timeout_at(idle_until.into(), all_closed.as_mut()).await.is_ok() {
        return;
    }
    for control in rim.connections.borrow().values() {
        control.close_if_idle();
    }
    if tokio::time::timeout_at(until.into(), all_closed).await.is_err() {
        tracing::warn!(connections = rim.open.get(), "stop: connections are still open and are cut off");
    }
}

async fn check_alive(rim: Rc<Rim>) {
    let (interval, timeout) = (rim.config().keepalive_interval, rim.config().keepalive_timeout);
    if interval.is_zero() {
        return;
    }
    let mut ticks = tokio::time::interval(ALIVE_CHECK_INTERVAL.min(timeout).max(Duration::from_millis(100)));
    loop {
        let now = ticks.tick().await.into_std();
        for control in rim.connections.borrow().values() {
            control.check_alive(now, interval, timeout);
        }
    }
}

/// Looks once per election timeout at what streams and metrics want to know.
async fn check_leader(rim: Rc<Rim>) {
    let mut ticks = tokio::time::interval(rim.config().election_timeout.max(Duration::from_millis(10)));
    let mut leaderless = Leaderless::default();
    loop {
        ticks.tick().await;
        let is_lost = leaderless.check(rim.node.status().leader.is_some());
        rim.signal.send_if_modified(|signal| std::mem::replace(&mut signal.leader_is_lost, is_lost) != is_lost);
        rim.watch.count_slow();
    }
}

/// Checks in a row that found no leader.
#[derive(Debug, Default)]
struct Leaderless(u32);

impl Leaderless {
    /// True once there have been too many.
    fn check(&mut self, has_leader: bool) -> bool {
        self.0 = if has_leader { 0 } else { (self.0 + 1).min(NO_LEADER_CHECKS) };
        self.0 == NO_LEADER_CHECKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_is_lost_after_three_checks_in_a_row() {
        let mut leaderless = Leaderless::default();
        let seen = [false, false, true, false, false, false, false, true, false];
        let lost = [false, false, false, false, false, true, true, false, false];
        assert_eq!(seen.map(|has_leader| leaderless.check(has_leader)), lost);
    }
}
