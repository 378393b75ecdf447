//! From an accepted socket to a protocol: TLS or not, HTTP/2 or HTTP/1, within a deadline.
//!
//! Invariants: a client that has not got as far as its first HTTP/2 settings or HTTP/1 headers within
//! `HANDSHAKE_TIMEOUT` is dropped; until then it is silent, and goes first when another one wants its place.

use super::acceptor::AcceptedSocket;
use super::connections::{Connections, HANDSHAKE_TIMEOUT};
use super::header_filter::PREFACE;
use super::places::Place;
use super::socket::{Raw, Rewind, Stream};
use super::{http1, http2};
use crate::call::{Peer, Remote, Rim};
use crate::dispatch::Services;
use crate::listen::Serves;
use bytes::BytesMut;
use rustix::net::sockopt;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_rustls::TlsAcceptor;

/// An idle connection is probed by TCP after this long, so that clients that vanished go; etcd's figure.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// First byte of a TLS connection: the type of a handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

/// A connection on its way from the accept thread to a rim.
pub(crate) struct Accepted {
    pub(crate) socket: AcceptedSocket,
    pub(crate) remote: Remote,
    pub(crate) plain: bool,
    pub(crate) tls: bool,
    pub(crate) serves: Serves,
    pub(crate) place: Place,
}

enum Protocol {
    Http1,
    Http2,
}

/// Serves one connection to its end, or until it has to go for another.
pub(crate) async fn serve(services: Rc<Services>, connections: Rc<Connections>, accepted: Accepted) {
    let Accepted { socket, remote, plain, tls, serves, place } = accepted;
    let opened = tokio::select! {
        biased;
        opened = tokio::time::timeout(HANDSHAKE_TIMEOUT, open(&services.rim, socket, plain, tls)) => opened,
        () = place.asked_to_leave() => return,
    };
    let (stream, protocol) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => return log_rejected(&connections, remote, &error.to_string()),
        Err(_) => return log_rejected(&connections, remote, "handshake took too long"),
    };
    let peer = Peer { remote, is_tls: matches!(stream, Stream::Tls(_)), serves };
    match protocol {
        Protocol::Http2 => http2::serve(services, &connections, peer, stream, &place).await,
        Protocol::Http1 => http1::serve(services.rim.clone(), peer, stream, &place).await,
    }
}

fn log_rejected(connections: &Connections, remote: Remote, error: &str) {
    if let Some(left_out) = connections.rejections.pass(Instant::now()) {
        tracing::warn!("remote-addr" = %remote, error, "left-out" = left_out, "rejected connection on client endpoint");
    }
}

async fn open(rim: &Rim, socket: AcceptedSocket, plain: bool, tls: bool) -> io::Result<(Stream, Protocol)> {
    let mut raw = match socket {
        AcceptedSocket::Tcp(socket) => {
            let socket = tokio::net::TcpStream::from_std(socket)?;
            socket.set_nodelay(true)?;
            sockopt::set_socket_keepalive(&socket, true)?;
            sockopt::set_tcp_keepidle(&socket, TCP_KEEPALIVE)?;
            sockopt::set_tcp_keepintvl(&socket, TCP_KEEPALIVE)?;
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
