//! From an accepted socket to a protocol: TLS or not, HTTP/2 or HTTP/1, within a deadline.
//!
//! Invariants: a client that has not got as far as its first HTTP/2 settings or HTTP/1 headers within `HANDSHAKE_TIMEOUT` is
//! dropped; until then it counts against the cap on half-open connections.

use crate::http;
use crate::http2;
use crate::listen::Serves;
use crate::ping_guard::PREFACE;
use crate::rim::Rim;
use crate::socket::{Raw, Rewind, Stream};
use bytes::BytesMut;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_rustls::TlsAcceptor;

/// Time for a client to say what it speaks.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that may be in that state at once; more are dropped as they come.
pub(crate) const HALF_OPEN_MAX: usize = 4096;
/// First byte of a TLS connection: the type of a handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

/// A connection on its way from the accept thread to a rim.
pub(crate) struct Accepted {
    pub(crate) socket: AcceptedSocket,
    pub(crate) remote: Remote,
    pub(crate) plain: bool,
    pub(crate) tls: bool,
    pub(crate) serves: Serves,
    pub(crate) half_open: HalfOpen,
}

pub(crate) enum AcceptedSocket {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remote {
    Tcp(SocketAddr),
    Unix,
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remote::Tcp(address) => address.fmt(f),
            Remote::Unix => f.write_str("@"),
        }
    }
}

/// A place among the half-open connections, given back when dropped.
pub(crate) struct HalfOpen(Arc<AtomicUsize>);

impl HalfOpen {
    /// `None` if there are too many.
    pub(crate) fn enter(count: &Arc<AtomicUsize>) -> Option<HalfOpen> {
        if count.fetch_add(1, Ordering::Relaxed) >= HALF_OPEN_MAX {
            count.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(HalfOpen(count.clone()))
    }
}

impl Drop for HalfOpen {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What all requests of one connection have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) remote: Remote,
    pub(crate) is_tls: bool,
    pub(crate) serves: Serves,
}

enum Protocol {
    Http1,
    Http2,
}

/// Serves one connection to its end.
pub(crate) async fn serve(rim: Rc<Rim>, accepted: Accepted) {
    let Accepted { socket, remote, plain, tls, serves, half_open } = accepted;
    let opened = tokio::time::timeout(HANDSHAKE_TIMEOUT, open(&rim, socket, plain, tls)).await;
    let (stream, protocol) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => return log_rejected(remote, &error.to_string()),
        Err(_) => return log_rejected(remote, "handshake took too long"),
    };
    let peer = Peer { remote, is_tls: matches!(stream, Stream::Tls(_)), serves };
    match protocol {
        Protocol::Http2 => http2::serve(rim, peer, stream, half_open).await,
        Protocol::Http1 => {
            drop(half_open);
            http::serve(rim, peer, stream).await;
        }
    }
}

fn log_rejected(remote: Remote, error: &str) {
    tracing::warn!("remote-addr" = %remote, error, "rejected connection on client endpoint");
}

async fn open(rim: &Rim, socket: AcceptedSocket, plain: bool, tls: bool) -> io::Result<(Stream, Protocol)> {
    let mut raw = match socket {
        AcceptedSocket::Tcp(socket) => {
            let socket = tokio::net::TcpStream::from_std(socket)?;
            socket.set_nodelay(true)?;
            Raw::Tcp(socket)
        }
        AcceptedSocket::Unix(socket) => Raw::Unix(tokio::net::UnixStream::from_std(socket)?),
    };
    let mut front = BytesMut::with_capacity(PREFACE.len());
    let is_tls = tls && (!plain || read_at_least(&mut raw, &mut front, 1).await?.first() == Some(&TLS_HANDSHAKE));
    if !is_tls {
        let protocol = sniff(&mut raw, &mut front).await?;
        return Ok((Stream::Plain(Rewind::new(front.freeze(), raw)), protocol));
    }
    let config = rim.shared.tls.as_ref().ok_or_else(|| io::Error::other("no TLS files are configured"))?.current();
    let mut stream = TlsAcceptor::from(config).accept(Rewind::new(front.freeze(), raw)).await?;
    let mut front = BytesMut::new();
    let protocol = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        _ => sniff(&mut stream, &mut front).await?,
    };
    Ok((Stream::Tls(Box::new(Rewind::new(front.freeze(), stream))), protocol))
}

/// Tells HTTP/2, which begins with a fixed text, from everything else.
async fn sniff(stream: &mut (impl AsyncRead + Unpin), front: &mut BytesMut) -> io::Result<Protocol> {
    while front.len() < PREFACE.len() {
        if !PREFACE.starts_with(front) {
            return Ok(Protocol::Http1);
        }
        let wanted = front.len() + 1;
        read_at_least(stream, front, wanted).await?;
    }
    Ok(if front.starts_with(PREFACE) { Protocol::Http2 } else { Protocol::Http1 })
}

async fn read_at_least<'a>(
    stream: &mut (impl AsyncRead + Unpin),
    front: &'a mut BytesMut,
    bytes: usize,
) -> io::Result<&'a [u8]> {
    while front.len() < bytes {
        if stream.read_buf(front).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(front)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_open_connections_are_bounded_and_their_places_given_back() {
        let count = Arc::new(AtomicUsize::new(HALF_OPEN_MAX - 1));
        let last = HalfOpen::enter(&count).expect("one place is left");
        assert!(HalfOpen::enter(&count).is_none());
        drop(last);
        assert!(HalfOpen::enter(&count).is_some());
    }
}
