//! The open connections of a rim: how their tasks are told to stop and to ping, and when all have ended.

use super::log_limit::LogLimit;
use super::ping_guard::Traffic;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Time for a client to say what it speaks.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What others ask of a connection's task.
#[derive(Debug, Default)]
pub(crate) struct Control {
    pub(crate) traffic: Rc<Traffic>,
    pub(super) stop: Cell<bool>,
    pub(super) ping: Cell<bool>,
    pub(super) close: Cell<bool>,
    last_received: Cell<Option<Instant>>,
    pinged_at: Cell<Option<Instant>>,
    pub(super) waker: RefCell<Option<Waker>>,
}

impl Control {
    /// Ends the connection once its calls are done.
    pub(crate) fn stop(&self) {
        self.stop.set(true);
        self.wake();
    }

    /// Ends the connection now if it has no calls.
    pub(crate) fn close_if_idle(&self) {
        if !self.traffic.has_calls.get() {
            self.close.set(true);
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Called every now and then: asks for a ping on a connection that is silent, and for the end of one that does not
    /// answer it.
    pub(crate) fn check_alive(&self, now: Instant, interval: Duration, timeout: Duration) {
        let received = self.traffic.received.take();
        if received || self.last_received.get().is_none() {
            self.last_received.set(Some(now));
            self.pinged_at.set(None);
            return;
        }
        match self.pinged_at.get() {
            Some(pinged_at) if now >= pinged_at + timeout => {
                self.close.set(true);
                self.wake();
            }
            Some(_) => {}
            None if self.last_received.get().is_some_and(|last| now >= last + interval) => {
                self.pinged_at.set(Some(now));
                self.ping.set(true);
                self.wake();
            }
            None => {}
        }
    }
}

/// See the file's head.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    /// Those that speak HTTP/2.
    controls: RefCell<HashMap<u64, Rc<Control>>>,
    next: Cell<u64>,
    is_stopping: Cell<bool>,
    /// Connections of any protocol that are open.
    open: Cell<usize>,
    closed: Notify,
    /// Lines about those that did not get as far as a protocol, and about those that were cut off.
    pub(super) rejections: LogLimit,
    pub(super) cuts: LogLimit,
}

impl Connections {
    /// Lists an HTTP/2 connection among those that are pinged and stopped, until the guard is dropped.
    pub(crate) fn register(self: &Rc<Self>, control: Rc<Control>) -> Registered {
        let id = self.next.get();
        self.next.set(id + 1);
        if self.is_stopping.get() {
            control.stop();
        }
        self.controls.borrow_mut().insert(id, control);
        Registered { connections: self.clone(), id }
    }

    pub(crate) fn opened(&self) {
        self.open.set(self.open.get() + 1);
    }

    pub(crate) fn closed(&self) {
        self.open.set(self.open.get() - 1);
        self.closed.notify_one();
    }

    pub(crate) fn open(&self) -> usize {
        self.open.get()
    }

    /// Resolves when no connection is open.
    pub(crate) async fn all_closed(&self) {
        while self.open.get() > 0 {
            self.closed.notified().await;
        }
    }

    /// Ends the connections once their calls are done, those that are still to come too.
    pub(crate) fn stop(&self) {
        self.is_stopping.set(true);
        self.controls.borrow().values().for_each(|control| control.stop());
    }

    /// Ends those that have no calls.
    pub(crate) fn close_idle(&self) {
        self.controls.borrow().values().for_each(|control| control.close_if_idle());
    }

    /// Called every now and then, see `Control::check_alive`.
    pub(crate) fn check_alive(&self, now: Instant, interval: Duration, timeout: Duration) {
        self.controls.borrow().values().for_each(|control| control.check_alive(now, interval, timeout));
    }
}

/// A connection's place in the list.
pub(crate) struct Registered {
    connections: Rc<Connections>,
    id: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.connections.controls.borrow_mut().remove(&self.id);
    }
}
