//! One HTTP/2 connection: h2 driven directly, one task per connection.
//!
//! A turn takes every request that has arrived, then begins them all, then lets h2 write everything that they answered with
//! one system call. Requests that can be answered from memory are, without a task of their own; all others get one.
//!
//! Not here: what a request means (`call`, `http`).

use crate::call;
use crate::coalesce::{Coalesce, Flusher};
use crate::connection::{HANDSHAKE_TIMEOUT, HalfOpen, Peer};
use crate::ping_guard::{PingGuard, Traffic};
use crate::rim::Rim;
use crate::socket::Stream;
use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Ping, PingPong, Reason, RecvStream};
use http::Request;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Longest list of headers taken in, in bytes.
const HEADER_LIST_BYTES_MAX: u32 = 16 << 10;
/// What a client may send before it is read, per stream and per connection, in bytes.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 2 << 20;
/// Unsent bytes that one stream may hold in h2 before it has to wait.
const SEND_BUFFER_BYTES: usize = 512 << 10;

/// What others ask of a connection's task.
#[derive(Debug, Default)]
pub(crate) struct Control {
    pub(crate) traffic: Rc<Traffic>,
    stop: Cell<bool>,
    ping: Cell<bool>,
    close: Cell<bool>,
    last_received: Cell<Option<Instant>>,
    pinged_at: Cell<Option<Instant>>,
    waker: RefCell<Option<Waker>>,
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

type Incoming = (Request<RecvStream>, SendResponse<Bytes>);

pub(crate) async fn serve(rim: Rc<Rim>, peer: Peer, stream: Stream, half_open: HalfOpen) {
    let config = &rim.shared.config;
    let control = Rc::new(Control::default());
    let (stream, flusher) = Coalesce::new(stream);
    let guard = PingGuard::new(stream, config.keepalive_min_time, control.traffic.clone());
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(config.concurrent_streams_max)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES);
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, builder.handshake::<_, Bytes>(guard));
    let Ok(Ok(mut connection)) = handshake.await else { return };
    drop(half_open);
    let _registered = rim.register(control.clone());
    let ping_pong = connection.ping_pong();
    flusher.defer();
    let incoming = Vec::new();
    let mut task = Task { rim, peer, connection, flusher, control, ping_pong, incoming, is_stopping: false };
    poll_fn(|context| task.poll(context)).await;
}

struct Task {
    rim: Rc<Rim>,
    peer: Peer,
    connection: Connection<PingGuard, Bytes>,
    flusher: Flusher,
    control: Rc<Control>,
    ping_pong: Option<PingPong>,
    /// Requests of this turn; empty between turns.
    incoming: Vec<Incoming>,
    is_stopping: bool,
}

impl Task {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.obey(context);
        loop {
            match self.connection.poll_accept(context) {
                Poll::Ready(Some(Ok(incoming))) => self.incoming.push(incoming),
                // Errors of the connection end it; errors of a stream do not come here.
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                Poll::Pending if self.incoming.is_empty() => {
                    self.control.traffic.has_calls.set(self.connection.has_streams());
                    return match self.flusher.poll_flush(context) {
                        Poll::Ready(Err(_)) => Poll::Ready(()),
                        Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
                    };
                }
                Poll::Pending => {
                    for (request, respond) in self.incoming.drain(..) {
                        call::begin(&self.rim, self.peer, request, respond, context);
                    }
                }
            }
        }
    }

    /// Does what others asked for since the last turn.
    fn obey(&mut self, context: &mut Context<'_>) {
        let mut waker = self.control.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        drop(waker);
        if self.control.stop.get() && !self.is_stopping {
            self.is_stopping = true;
            self.connection.graceful_shutdown();
        }
        if self.control.close.take() {
            self.connection.abrupt_shutdown(Reason::NO_ERROR);
        }
        if let Some(ping_pong) = &mut self.ping_pong {
            // An answer counts as something received; only the slot for the next ping matters here.
            let _ = ping_pong.poll_pong(context);
            if self.control.ping.take() {
                let _ = ping_pong.send_ping(Ping::opaque());
            }
        }
    }
}
