//! One HTTP/1 connection, served by hyper.

use super::half_open::HANDSHAKE_TIMEOUT;
use super::socket::Stream;
use crate::call::{Peer, Rim, StreamSignal};
use crate::http::{self, Head};
use crate::listen::Serves;
use ::http::Request;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;

/// Longest head of an HTTP/1 request.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Serves an HTTP/1 connection to its end.
pub(crate) async fn serve(rim: Rc<Rim>, peer: Peer, stream: Stream) {
    // A listener for gRPC only does not speak HTTP/1.
    if peer.serves == Serves::Grpc {
        return;
    }
    let mut signal = rim.stream_signal();
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let (rim, head) = (rim.clone(), Head::of(&request));
        async move { Ok::<_, Infallible>(http::respond(&rim, peer, head).await.map(Full::new)) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE_TIMEOUT)
        .max_headers(100)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // What the client did wrong is its own affair.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = signal.wait_for(|signal: &StreamSignal| signal.is_stopping) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
