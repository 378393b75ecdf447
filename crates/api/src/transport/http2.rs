//! One HTTP/2 connection: h2 driven directly, one task per connection.
//!
//! A turn takes every request that has arrived, then begins them all, then lets h2 write everything that they answered
//! with one system call. Requests that can be answered from memory are, without a task of their own; all others get
//! one.
//!
//! Not here: what a request means (`dispatch`, `http`).

use super::coalesce::{Coalesce, Flusher};
use super::connections::{Connections, Control, HANDSHAKE_TIMEOUT};
use super::ping_guard::PingGuard;
use super::places::Place;
use super::socket::Stream;
use crate::call::Peer;
use crate::dispatch::{self, Services};
use crate::grpc::Respond;
use crate::in_flight::{Account, Piece};
use h2::server::Connection;
use h2::{Ping, PingPong, Reason, RecvStream};
use http::Request;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

/// Longest list of headers taken in, in bytes.
const HEADER_LIST_BYTES_MAX: u32 = 16 << 10;
/// What a client may send before it is read, per stream and per connection, in bytes.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 2 << 20;
/// What small frames that nobody has taken yet may cost together: 256 bytes each, less what they carry. A turn of the
/// connection reads fewer, and calls take or collect theirs between two turns (`body`).
const SMALL_FRAMES_BYTES: usize = 2 << 20;
/// Unsent bytes that one stream may hold in h2 before it has to wait.
const SEND_BUFFER_BYTES: usize = 512 << 10;

/// Requests begun while the socket takes no more of what was answered, before no more are read.
const BLOCKED_REQUESTS_MAX: usize = 1024;

type Incoming = (Request<RecvStream>, Respond);

pub(crate) async fn serve(
    services: Rc<Services>,
    connections: &Rc<Connections>,
    peer: Peer,
    stream: Stream,
    place: &Place,
) {
    let config = services.rim.config();
    let control = Rc::new(Control::default());
    let (stream, flusher) = Coalesce::new(stream);
    let guard = PingGuard::new(stream, config.keepalive_min_time, control.traffic.clone());
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(config.concurrent_streams_max)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .data_frame_budget(SMALL_FRAMES_BYTES);
    let handshake = tokio::select! {
        biased;
        handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, builder.handshake::<_, Piece>(guard)) => handshake,
        () = place.asked_to_leave() => return,
    };
    let Ok(Ok(mut connection)) = handshake else { return };
    place.heard();
    let _registered = connections.register(control.clone());
    let ping_pong = connection.ping_pong();
    flusher.defer();
    let account = Account::new(&services.rim.shared.in_flight);
    let incoming = Vec::new();
    let (begun, is_stopping) = (0, false);
    let mut task = Task {
        services,
        peer,
        account,
        connection,
        flusher,
        connections,
        control,
        ping_pong,
        place,
        incoming,
        begun,
        is_stopping,
    };
    loop {
        tokio::select! {
            biased;
            () = poll_fn(|context| task.poll(context)) => return,
            () = place.asked_to_leave() => {}
        }
        if task.connection.has_streams() {
            place.stay();
        } else {
            // The client is told, if it takes that now, so that it knows which calls it can repeat.
            task.control.close.set(true);
            return poll_fn(|context| {
                let _ = task.poll(context);
                Poll::Ready(())
            })
            .await;
        }
    }
}

struct Task<'a> {
    services: Rc<Services>,
    peer: Peer,
    account: Rc<Account>,
    connection: Connection<PingGuard, Piece>,
    flusher: Flusher,
    connections: &'a Connections,
    control: Rc<Control>,
    ping_pong: Option<PingPong>,
    place: &'a Place,
    /// Requests of this turn; empty between turns.
    incoming: Vec<Incoming>,
    /// Requests begun since the socket took everything.
    begun: usize,
    is_stopping: bool,
}

impl Task<'_> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.control.traffic.begin_turn();
        let turn = self.poll_turn(context);
        if turn.is_pending() && self.control.traffic.has_more() {
            // Behind the tasks that this turn woke.
            context.waker().wake_by_ref();
        }
        turn
    }

    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.obey(context);
        if self.is_blocked() {
            match self.flusher.poll_flush(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => self.begun = 0,
            }
        }
        loop {
            match self.connection.poll_accept(context) {
                Poll::Ready(Some(Ok(incoming))) => self.incoming.push(incoming),
                // Errors of the connection end it; errors of a stream do not come here.
                Poll::Ready(Some(Err(error))) => {
                    self.log_cut_off(&error);
                    return Poll::Ready(());
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending if self.incoming.is_empty() => {
                    let has_calls = self.connection.has_streams();
                    self.control.traffic.has_calls.set(has_calls);
                    self.place.set_busy(has_calls);
                    return match self.flusher.poll_flush(context) {
                        Poll::Ready(Err(_)) => Poll::Ready(()),
                        Poll::Ready(Ok(())) => {
                            self.begun = 0;
                            Poll::Pending
                        }
                        Poll::Pending => Poll::Pending,
                    };
                }
                Poll::Pending => {
                    self.begun += self.incoming.len();
                    for (request, respond) in self.incoming.drain(..) {
                        dispatch::begin(&self.services, self.peer, &self.account, request, respond, context);
                    }
                }
            }
        }
    }

    /// Tells of a connection that this side ended because the client asked too much of it.
    fn log_cut_off(&self, error: &h2::Error) {
        if !error.is_library() || error.reason() != Some(Reason::ENHANCE_YOUR_CALM) {
            return;
        }
        self.services.rim.shared.connections.cut_off.increment();
        if let Some(left_out) = self.connections.cuts.pass(Instant::now()) {
            let remote = self.peer.remote;
            tracing::warn!(
                "remote-addr" = %remote, %error, "left-out" = left_out, "ended a connection that asked too much of it"
            );
        }
    }

    /// A client that sends requests and does not read the answers: what it has is for it to read first.
    fn is_blocked(&self) -> bool {
        self.begun > BLOCKED_REQUESTS_MAX || (self.begun > 0 && self.account.is_over())
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
