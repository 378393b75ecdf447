//! Threads that accept connections: how one is started, what can go wrong, and a listening socket that gives way when
//! the machine is short of something.
//!
//! Not here: who gets a connection (`server`), and who gets none (`refuse`).

use super::log_limit::LogLimit;
use crate::call::Remote;
use crate::listen::{Address, Listen, ListenError, Socket};
use crate::tls::TlsError;
use std::fmt;
use std::io;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Pause after an accept that failed for want of something that others may give back.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Why the listeners could not be set up.
#[derive(Debug)]
pub enum ServeError {
    Listen(ListenError),
    Tls(TlsError),
    /// A listener speaks TLS, and no certificate is given.
    NoCertificate(Address),
    Thread(io::Error),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::Listen(error) => error.fmt(f),
            ServeError::Tls(error) => error.fmt(f),
            ServeError::NoCertificate(address) => {
                write!(f, "listen on {address} with TLS: no certificate is given; set --cert-file and --key-file")
            }
            ServeError::Thread(error) => write!(f, "start thread: {error}"),
        }
    }
}

impl std::error::Error for ServeError {}

pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, ServeError> {
    std::thread::Builder::new().name(name.to_string()).spawn(run).map_err(ServeError::Thread)
}

pub(crate) enum AcceptedSocket {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// A listening socket, and what it says about failures.
pub(super) struct Acceptor {
    socket: AcceptorSocket,
    failures: LogLimit,
}

enum AcceptorSocket {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

/// There was no descriptor, or no memory, for a connection.
pub(super) struct Lacking;

impl Acceptor {
    pub(super) fn new(socket: Socket) -> io::Result<Acceptor> {
        let socket = match socket {
            Socket::Tcp(listener) => AcceptorSocket::Tcp(tokio::net::TcpListener::from_std(listener)?),
            Socket::Unix(listener) => AcceptorSocket::Unix(tokio::net::UnixListener::from_std(listener)?),
        };
        Ok(Acceptor { socket, failures: LogLimit::default() })
    }

    /// The next connection. Whatever fails is followed by a pause, so that it cannot keep the thread busy.
    pub(super) async fn accept(&mut self, listen: &Listen) -> Result<(AcceptedSocket, Remote), Lacking> {
        loop {
            let accepted = match &self.socket {
                AcceptorSocket::Tcp(listener) => {
                    let accepted = listener.accept().await.and_then(|(socket, from)| Ok((socket.into_std()?, from)));
                    accepted.map(|(socket, from)| (AcceptedSocket::Tcp(socket), Remote::Tcp(from)))
                }
                AcceptorSocket::Unix(listener) => {
                    let accepted = listener.accept().await.and_then(|(socket, _)| socket.into_std());
                    accepted.map(|socket| (AcceptedSocket::Unix(socket), Remote::Unix))
                }
            };
            match accepted {
                Ok(accepted) => return Ok(accepted),
                // A client that went away while it waited is no matter.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => tokio::task::yield_now().await,
                Err(error) => {
                    if let Some(left_out) = self.failures.pass(Instant::now()) {
                        let address = &listen.address;
                        tracing::warn!(%address, %error, "left-out" = left_out, "accept connection: tried again shortly");
                    }
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    return Err(Lacking);
                }
            }
        }
    }
}
