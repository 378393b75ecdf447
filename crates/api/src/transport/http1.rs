//! One HTTP/1 connection, served by hyper.
//!
//! Between requests a connection may rest for as long as it likes, as with etcd; it is at rest then, and goes when
//! another one wants its place. A request that has begun has to show its whole head in time.

use super::connections::HANDSHAKE_TIMEOUT;
use super::places::Place;
use super::socket::Stream;
use crate::call::{Peer, Rim, StreamSignal};
use crate::http::{self, Head};
use crate::listen::Serves;
use ::http::Request;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Longest head of an HTTP/1 request.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Serves an HTTP/1 connection to its end, or until it has to go for another.
pub(crate) async fn serve(rim: Rc<Rim>, peer: Peer, stream: Stream, place: &Place) {
    // A listener for gRPC only does not speak HTTP/1.
    if peer.serves == Serves::Grpc {
        return;
    }
    let mut signal = rim.stream_signal();
    let heads = Rc::new(Heads::default());
    heads.began();
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let (rim, head, heads) = (rim.clone(), Head::of(&request), heads.clone());
        heads.is_whole();
        place.heard();
        place.set_busy(true);
        async move {
            let response = http::respond(&rim, peer, head).await.map(Full::new);
            heads.is_answering.set(false);
            place.set_busy(false);
            Ok::<_, Infallible>(response)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .max_headers(100)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(Watched { stream, heads: heads.clone() }), service);
    let mut connection = pin!(connection);
    let mut late = pin!(heads.one_is_late());
    loop {
        // What the client did wrong is its own affair.
        tokio::select! {
            biased;
            _ = connection.as_mut() => return,
            () = place.asked_to_leave() => if heads.is_answering.get() { place.stay() } else { return },
            () = late.as_mut() => return,
            _ = signal.wait_for(|signal: &StreamSignal| signal.is_stopping) => break,
        }
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// When the head that is being read began.
#[derive(Default)]
struct Heads {
    since: Cell<Option<Instant>>,
    /// What is read belongs to a request that has its head already.
    is_answering: Cell<bool>,
    begun: Notify,
}

impl Heads {
    fn began(&self) {
        self.since.set(Some(Instant::now()));
        self.begun.notify_one();
    }

    fn is_whole(&self) {
        self.since.set(None);
        self.is_answering.set(true);
    }

    /// Resolves when a head is not whole `HANDSHAKE_TIMEOUT` after it began.
    async fn one_is_late(&self) {
        loop {
            match self.since.get() {
                None => self.begun.notified().await,
                Some(since) => {
                    tokio::time::sleep_until(since + HANDSHAKE_TIMEOUT).await;
                    if self.since.get() == Some(since) {
                        return;
                    }
                }
            }
        }
    }
}

/// A stream whose first bytes after a rest begin a head.
struct Watched {
    stream: Stream,
    heads: Rc<Heads>,
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let Heads { since, is_answering, .. } = &*self.heads;
        if buf.filled().len() > before && since.get().is_none() && !is_answering.get() {
            self.heads.began();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
