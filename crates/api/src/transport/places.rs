//! Places for connections: as many as there are descriptors for, dealt out to listeners, and who has to go when
//! somebody comes and all are taken.
//!
//! ```text
//! accepted ──▶ silent ──▶ heard: at rest ⇄ busy ──▶ closed
//!                │           │
//!                └───────────┴─▶ leaving ──▶ closed
//! ```
//! Invariants:
//! - A connection holds its place until its socket is closed; at most `LEAVING_MAX` have been asked to go and are not
//!   closed yet before nobody is accepted.
//! - Silent connections, which have not said what they speak, go before those at rest, which have no call; of both the
//!   one that has been so for the longest. But a few silent ones are let speak before, or nobody would get through a
//!   crowd at rest. A busy one stays. If nobody can go, the newcomer is refused.
//! - Each listener has some places that the others cannot take, and one that is for probes and metrics cannot take most
//!   of them.

use super::descriptors::LEAVING_MAX;
use super::log_limit::LogLimit;
use crate::config::{Config, Descriptors};
use crate::listen::Serves;
use crate::metrics::ConnectionMetrics;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Silent connections of one listener, however many descriptors there are.
const SILENT_MAX: usize = 4096;
/// Places that other listeners cannot take.
const OWN_PLACES_MAX: usize = 32;
/// Silent connections that are let speak while others are at rest.
const LET_SPEAK_MAX: usize = 64;
/// How many of those at rest are remembered by one look at all connections.
const RESTING_BATCH: usize = 64;
/// Pause before all are looked at again, when all were busy.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long accepting waits for one that leaves before it looks again by itself.
const LEAVING_WAIT: Duration = Duration::from_millis(100);

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Places {
    descriptors: Option<Descriptors>,
    config: Config,
    inner: Mutex<Inner>,
    freed: Notify,
    started: Instant,
    metrics: Arc<ConnectionMetrics>,
}

#[derive(Debug)]
struct Inner {
    next: u64,
    listeners: Vec<ListenerPlaces>,
    let_speak: usize,
    /// By ascending age: the first one is the oldest.
    heard: BTreeMap<u64, Arc<Holder>>,
    /// Of those that were at rest at the last look, the ones that had been for the longest, in that order.
    resting: VecDeque<u64>,
    look_again: Option<Instant>,
    /// Asked to go, and not closed yet.
    leaving: usize,
    evictions: LogLimit,
    refusals: LogLimit,
}

#[derive(Debug)]
struct ListenerPlaces {
    own: usize,
    max: usize,
    /// Those that are not leaving.
    taken: usize,
    silent: BTreeMap<u64, Arc<Holder>>,
}

/// What a place knows of its connection.
#[derive(Debug)]
struct Holder {
    listener: usize,
    is_silent: AtomicBool,
    is_busy: AtomicBool,
    is_leaving: AtomicBool,
    /// Milliseconds since the start.
    resting_since: AtomicU64,
    asked_to_leave: Notify,
}

impl Places {
    pub(crate) fn new(config: &Config, metrics: Arc<ConnectionMetrics>) -> Arc<Places> {
        let descriptors = config.descriptors;
        let total = descriptors.map_or(usize::MAX, |descriptors| descriptors.connections_max(config));
        let own = (total / (4 * config.listen.len().max(1))).clamp(1, OWN_PLACES_MAX);
        let places = |serves| ListenerPlaces {
            own,
            max: match serves {
                Serves::Everything | Serves::Grpc => usize::MAX,
                Serves::Http | Serves::Metrics => (total / 4).max(own),
            },
            taken: 0,
            silent: BTreeMap::new(),
        };
        let inner = Inner {
            next: 0,
            let_speak: (total / 8).clamp(1, LET_SPEAK_MAX),
            listeners: config.listen.iter().map(|listen| places(listen.serves)).collect(),
            heard: BTreeMap::new(),
            resting: VecDeque::new(),
            look_again: None,
            leaving: 0,
            evictions: LogLimit::default(),
            refusals: LogLimit::default(),
        };
        let (inner, freed, config) = (Mutex::new(inner), Notify::new(), config.clone());
        Arc::new(Places { descriptors, config, inner, freed, started: Instant::now(), metrics })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn total(&self) -> usize {
        self.descriptors.map_or(usize::MAX, |descriptors| descriptors.connections_max(&self.config))
    }

    /// A place for a connection of this listener. `None` if there is none, and nobody who has it can go.
    pub(crate) fn enter(self: &Arc<Self>, listener: usize, now: Instant) -> Option<Place> {
        let total = self.total();
        let inner = &mut *self.lock();
        if inner.listeners[listener].silent.len() >= SILENT_MAX {
            inner.evict_silent(|position| position == listener, now, &self.metrics);
        }
        while !inner.has_place(listener, total) {
            if !inner.evict(listener, now, &self.metrics) {
                self.metrics.refused.increment();
                if let Some(left_out) = inner.refusals.pass(now) {
                    tracing::warn!(
                        connections = inner.staying(),
                        limit = total,
                        "left-out" = left_out,
                        "refused connection: as many are busy as there are file descriptors for"
                    );
                }
                return None;
            }
        }
        let id = inner.next;
        inner.next += 1;
        let holder = Arc::new(Holder {
            listener,
            is_silent: AtomicBool::new(true),
            is_busy: AtomicBool::new(false),
            is_leaving: AtomicBool::new(false),
            resting_since: AtomicU64::new(0),
            asked_to_leave: Notify::new(),
        });
        inner.listeners[listener].taken += 1;
        inner.listeners[listener].silent.insert(id, holder.clone());
        self.metrics.open.add(1);
        Some(Place { id, holder, places: self.clone() })
    }

    /// Asks as many to go as there are too many, because files have taken their descriptors.
    pub(crate) fn shrink(&self, now: Instant) {
        let total = self.total();
        let inner = &mut *self.lock();
        while inner.staying() > total && inner.leaving < LEAVING_MAX && inner.evict_one(|_| true, now, &self.metrics) {}
    }

    /// Asks one to go, because a descriptor could not be had.
    pub(crate) fn make_place(&self, now: Instant) {
        let inner = &mut *self.lock();
        if inner.leaving < LEAVING_MAX {
            inner.evict_one(|_| true, now, &self.metrics);
        }
    }

    /// Resolves when few enough are leaving for another one to be accepted.
    pub(crate) async fn few_are_leaving(&self) {
        while self.lock().leaving >= LEAVING_MAX {
            // Who left in between is noticed with the next look.
            let _ = tokio::time::timeout(LEAVING_WAIT, self.freed.notified()).await;
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Inner {
    fn staying(&self) -> usize {
        self.listeners.iter().map(|listener| listener.taken).sum()
    }

    fn has_place(&self, listener: usize, total: usize) -> bool {
        let kept = |(position, other): (usize, &ListenerPlaces)| {
            if position == listener { other.taken } else { other.taken.max(other.own) }
        };
        let taken: usize = self.listeners.iter().enumerate().map(kept).sum();
        let of_listener = &self.listeners[listener];
        // What is its own it has, even when there is less than there was.
        (taken < total || of_listener.taken < of_listener.own) && of_listener.taken < of_listener.max
    }

    /// Asks somebody to go in favour of a newcomer to this listener. False if nobody can.
    fn evict(&mut self, listener: usize, now: Instant, metrics: &ConnectionMetrics) -> bool {
        let is_full = self.listeners[listener].taken >= self.listeners[listener].max;
        let has_more: Vec<bool> = self.listeners.iter().map(|other| other.taken > other.own).collect();
        let is_eligible = |position: usize| position == listener || (!is_full && has_more[position]);
        self.evict_one(is_eligible, now, metrics)
    }

    /// Of these listeners.
    fn evict_one(&mut self, is_eligible: impl Fn(usize) -> bool, now: Instant, metrics: &ConnectionMetrics) -> bool {
        let listeners = self.listeners.iter().enumerate().filter(|(position, _)| is_eligible(*position));
        let silent: usize = listeners.map(|(_, listener)| listener.silent.len()).sum();
        (silent > self.let_speak && self.evict_silent(&is_eligible, now, metrics))
            || self.evict_resting(&is_eligible, now, metrics)
            || self.evict_silent(&is_eligible, now, metrics)
    }

    fn evict_silent(&mut self, is_eligible: impl Fn(usize) -> bool, now: Instant, metrics: &ConnectionMetrics) -> bool {
        let listeners = self.listeners.iter_mut().enumerate().filter(|(position, _)| is_eligible(*position));
        let oldest =
            listeners.filter_map(|(_, listener)| listener.silent.first_entry()).min_by_key(|entry| *entry.key());
        let Some(holder) = oldest.map(|entry| entry.remove()) else { return false };
        metrics.evicted_silent.increment();
        self.ask_to_leave(&holder, now);
        true
    }

    fn evict_resting(
        &mut self,
        is_eligible: impl Fn(usize) -> bool,
        now: Instant,
        metrics: &ConnectionMetrics,
    ) -> bool {
        let rests = |holder: &Holder| is_eligible(holder.listener) && !holder.is_busy.load(Ordering::Relaxed);
        if self.look_again.is_some_and(|look_again| now < look_again) {
            return false;
        }
        loop {
            let looked = self.resting.is_empty();
            if looked {
                let of_all = self.heard.iter().filter(|(_, holder)| rests(holder));
                let mut of_all: Vec<(u64, u64)> =
                    of_all.map(|(id, holder)| (holder.resting_since.load(Ordering::Relaxed), *id)).collect();
                of_all.sort_unstable();
                self.resting.extend(of_all.into_iter().take(RESTING_BATCH).map(|(_, id)| id));
            }
            while let Some(id) = self.resting.pop_front() {
                if self.heard.get(&id).is_some_and(|holder| rests(holder))
                    && let Some(holder) = self.heard.remove(&id)
                {
                    self.look_again = None;
                    metrics.evicted_resting.increment();
                    self.ask_to_leave(&holder, now);
                    return true;
                }
            }
            if looked {
                self.look_again = Some(now + LOOK_AGAIN);
                return false;
            }
        }
    }

    fn ask_to_leave(&mut self, holder: &Holder, now: Instant) {
        self.listeners[holder.listener].taken -= 1;
        self.leaving += 1;
        holder.is_leaving.store(true, Ordering::Relaxed);
        holder.asked_to_leave.notify_one();
        if let Some(left_out) = self.evictions.pass(now) {
            tracing::warn!(
                connections = self.staying(),
                "left-out" = left_out,
                "closed a connection that said nothing for the longest, for a newcomer"
            );
        }
    }
}

/// A connection's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    id: u64,
    holder: Arc<Holder>,
    places: Arc<Places>,
}

impl Place {
    /// The connection has said what it speaks.
    pub(crate) fn heard(&self) {
        if !self.holder.is_silent.swap(false, Ordering::Relaxed) {
            return;
        }
        self.holder.resting_since.store(self.places.now_ms(), Ordering::Relaxed);
        let inner = &mut *self.places.lock();
        // One that is leaving is in no list any more.
        if let Some(holder) = inner.listeners[self.holder.listener].silent.remove(&self.id) {
            inner.heard.insert(self.id, holder);
        }
    }

    /// Whether the connection has calls.
    pub(crate) fn set_busy(&self, is_busy: bool) {
        if self.holder.is_busy.load(Ordering::Relaxed) == is_busy {
            return;
        }
        if !is_busy {
            self.holder.resting_since.store(self.places.now_ms(), Ordering::Relaxed);
        }
        self.holder.is_busy.store(is_busy, Ordering::Relaxed);
    }

    /// Resolves when the connection has to go; again if it stayed.
    pub(crate) async fn asked_to_leave(&self) {
        self.holder.asked_to_leave.notified().await;
    }

    /// The connection had become busy before it was asked to leave, and keeps its place.
    pub(crate) fn stay(&self) {
        let inner = &mut *self.places.lock();
        if self.holder.is_leaving.swap(false, Ordering::Relaxed) {
            inner.leaving -= 1;
            inner.listeners[self.holder.listener].taken += 1;
            inner.heard.insert(self.id, self.holder.clone());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let inner = &mut *self.places.lock();
        self.places.metrics.open.add(-1);
        if self.holder.is_leaving.load(Ordering::Relaxed) {
            inner.leaving -= 1;
            self.places.freed.notify_waiters();
            return;
        }
        let listener = &mut inner.listeners[self.holder.listener];
        listener.taken -= 1;
        if listener.silent.remove(&self.id).is_none() {
            inner.heard.remove(&self.id);
        }
    }
}

#[cfg(test)]
#[path = "places_tests.rs"]
mod tests;
