//! The watchers of a rim and the streams they belong to: the pump that takes events from the event log to the streams.
//!
//! One task per rim (`pump`) sleeps until the node has new events, a watcher has to catch up, or a stream takes events
//! again. Deliveries go straight to their stream, which sends them at once if its client takes them.

use super::notice::{Due, Rounds};
use super::stream::WatchStream;
use crate::call::Rim;
use crate::metrics::RimMetrics;
use crate::status::read_error;
use model::Revision;
use node::{EventSignal, Handle};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use watch::{CreateError, Delivery, Registry, Spec, Standing, WatcherId};

/// Pause after a failed read of history.
const READ_RETRY: Duration = Duration::from_millis(100);

/// See the file's head.
pub(crate) struct WatchHub {
    registry: RefCell<Registry>,
    /// By slot of the watcher.
    routes: RefCell<Vec<Option<Route>>>,
    signal: EventSignal,
    /// Watches that want to hear of progress.
    progress_watches: Cell<i64>,
    rounds: RefCell<Rounds>,
    /// Something changed that the pump does not hear of from the node.
    changed: Notify,
    metrics: Arc<RimMetrics>,
}

#[derive(Clone)]
struct Route {
    watcher: WatcherId,
    stream: Rc<WatchStream>,
    watch_id: i64,
}

impl WatchHub {
    pub(crate) fn new(node: &Handle, metrics: Arc<RimMetrics>) -> WatchHub {
        WatchHub {
            registry: RefCell::new(Registry::new(node.events().clone())),
            routes: RefCell::default(),
            signal: node.event_signal(),
            progress_watches: Cell::new(0),
            rounds: RefCell::default(),
            changed: Notify::new(),
            metrics,
        }
    }

    /// Adds a watcher whose events go to `stream`. `current` is the revision that the answer reports.
    pub(crate) fn create(
        &self,
        spec: Spec,
        current: Revision,
        stream: &Rc<WatchStream>,
        watch_id: i64,
    ) -> Result<WatcherId, CreateError> {
        let watcher = self.registry.borrow_mut().create(spec, current)?;
        let mut routes = self.routes.borrow_mut();
        if routes.len() <= watcher.slot() {
            routes.resize(watcher.slot() + 1, None);
        }
        if let Some(route) = routes.get_mut(watcher.slot()) {
            *route = Some(Route { watcher, stream: stream.clone(), watch_id });
        }
        drop(routes);
        self.count();
        self.changed.notify_one();
        Ok(watcher)
    }

    pub(crate) fn cancel(&self, watcher: WatcherId) {
        self.registry.borrow_mut().cancel(watcher);
        self.forget(watcher);
        self.count();
    }

    /// So many watches more want to hear of progress.
    pub(crate) fn add_progress(&self, watches: i64) {
        self.progress_watches.update(|before| before + watches);
        self.signal.want_announcements(self.progress_watches.get() > 0);
    }

    /// The watcher's stream is full: nothing is handed to it until `resume`.
    pub(crate) fn pause(&self, watchers: impl Iterator<Item = WatcherId>) {
        let mut registry = self.registry.borrow_mut();
        watchers.for_each(|watcher| registry.pause(watcher));
    }

    pub(crate) fn resume(&self, watchers: impl Iterator<Item = WatcherId>) {
        let mut registry = self.registry.borrow_mut();
        watchers.for_each(|watcher| registry.resume(watcher));
        drop(registry);
        self.changed.notify_one();
    }

    /// What paused watchers were handed from a revision on was not sent: they get it again.
    pub(crate) fn rewind(&self, forgotten: Vec<(WatcherId, Revision)>) {
        let mut registry = self.registry.borrow_mut();
        forgotten.into_iter().for_each(|(watcher, next)| registry.rewind(watcher, next));
    }

    /// Revision up to which the watcher was handed everything, if it is in step.
    pub(crate) fn progress(&self, watcher: WatcherId) -> Option<Revision> {
        self.registry.borrow().progress(watcher)
    }

    /// Hands out all events that there are.
    pub(crate) fn deliver_new(&self, rim: &Rim) {
        if self.registry.borrow().is_empty() {
            return;
        }
        let mut deliveries = Vec::new();
        loop {
            let more = self.registry.borrow_mut().advance(&mut deliveries);
            for delivery in deliveries.drain(..) {
                self.deliver(rim, delivery);
            }
            if !more {
                return;
            }
        }
    }

    fn deliver(&self, rim: &Rim, delivery: Delivery) {
        // A watcher that was cancelled while its events waited here has no route any more.
        if let Some(route) = self.route(delivery.watcher) {
            let to_pause = route.stream.deliver(rim, route.watch_id, delivery);
            if !to_pause.is_empty() {
                self.pause(to_pause.into_iter());
            }
        }
    }

    fn route(&self, watcher: WatcherId) -> Option<Route> {
        let routes = self.routes.borrow();
        routes.get(watcher.slot())?.as_ref().filter(|route| route.watcher == watcher).cloned()
    }

    fn forget(&self, watcher: WatcherId) {
        if let Some(route) = self.routes.borrow_mut().get_mut(watcher.slot())
            && route.as_ref().is_some_and(|route| route.watcher == watcher)
        {
            *route = None;
        }
    }

    /// Fetches one piece for one watcher that is behind. False if none is, or the disk failed.
    fn catch_up(&self, rim: &Rim) -> CaughtUp {
        let mut registry = self.registry.borrow_mut();
        if !registry.is_behind() {
            return CaughtUp::NobodyIsBehind;
        }
        let piece = registry.catch_up(rim.node.view().kv());
        drop(registry);
        let piece = match piece {
            Ok(Some(piece)) => piece,
            Ok(None) => return CaughtUp::NobodyIsBehind,
            Err(error) => {
                let error = read_error(error).message;
                tracing::error!(%error, "read history for a watch: tried again shortly");
                return CaughtUp::Failed;
            }
        };
        if let Some(delivery) = piece.delivery {
            self.deliver(rim, delivery);
        }
        if let Standing::Cancelled(compacted) = piece.standing
            && let Some(route) = self.route(piece.watcher)
        {
            self.forget(piece.watcher);
            route.stream.cancel_compacted(rim, route.watch_id, compacted);
        }
        self.count();
        CaughtUp::OnePiece
    }

    /// Tells some watches how far they came before a compaction that was announced.
    fn tell_progress(&self, rim: &Rim) -> Told {
        let mut rounds = self.rounds.borrow_mut();
        rounds.announce(self.signal.announced());
        let slice = match rounds.due(Instant::now(), self.routes.borrow().len()) {
            Due::Nothing => return Told::Nobody { again_at: None },
            Due::At(again_at) => return Told::Nobody { again_at: Some(again_at) },
            Due::Slice(slice) => slice,
        };
        drop(rounds);
        for slot in slice.slots.clone() {
            let route = self.routes.borrow().get(slot).cloned().flatten();
            let Some(route) = route else { continue };
            if let Some(revision) = self.progress(route.watcher) {
                route.stream.progress_before(rim, route.watch_id, slice.compaction, revision);
            }
        }
        Told::Some
    }

    fn count(&self) {
        self.metrics.watchers.set(self.registry.borrow().len() as i64);
    }

    /// Counts the watchers that are not in step. Goes over all of them: for a timer.
    pub(crate) fn count_slow(&self) {
        self.metrics.slow_watchers.set(self.registry.borrow().slow() as i64);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CaughtUp {
    OnePiece,
    NobodyIsBehind,
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Some,
    Nobody { again_at: Option<Instant> },
}

/// Runs for as long as the rim.
pub(crate) async fn pump(rim: Rc<Rim>, hub: Rc<WatchHub>) {
    loop {
        hub.deliver_new(&rim);
        let told = hub.tell_progress(&rim);
        match hub.catch_up(&rim) {
            // Others on this thread get their turn between two pieces.
            CaughtUp::OnePiece => tokio::task::yield_now().await,
            CaughtUp::Failed => tokio::time::sleep(READ_RETRY).await,
            CaughtUp::NobodyIsBehind => match told {
                Told::Some => tokio::task::yield_now().await,
                // Without watchers, events wake nobody here.
                Told::Nobody { .. } if hub.registry.borrow().is_empty() => {
                    hub.rounds.take();
                    hub.changed.notified().await;
                }
                Told::Nobody { again_at } => {
                    tokio::select! {
                        () = hub.signal.changed() => {}
                        () = hub.changed.notified() => {}
                        () = sleep_until(again_at) => {}
                    }
                }
            },
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
