//! Where clients come in: listen URLs to sockets.
//!
//! URLs that name the same address are one listener that serves both plain and TLS connections and tells them apart by
//! their first byte, as etcd does.

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => path.display().fmt(f),
        }
    }
}

/// What a listener answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    /// gRPC and every HTTP endpoint.
    Everything,
    /// gRPC only: HTTP has listeners of its own.
    Grpc,
    /// HTTP endpoints only.
    Http,
    /// `/metrics` and the health endpoints.
    Metrics,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    pub address: Address,
    pub plain: bool,
    pub tls: bool,
    pub serves: Serves,
}

/// Why a listener could not be made.
#[derive(Debug)]
pub enum ListenError {
    Url { url: String, reason: &'static str },
    Resolve { url: String, error: io::Error },
    Bind { address: Address, error: io::Error },
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenError::Url { url, reason } => write!(f, "listen url {url:?}: {reason}"),
            ListenError::Resolve { url, error } => write!(f, "listen url {url:?}: resolve host: {error}"),
            ListenError::Bind { address, error } => write!(f, "listen on {address}: {error}"),
        }
    }
}

impl std::error::Error for ListenError {}

impl Listen {
    /// The listeners for these URLs; those of the same address become one.
    pub fn from_urls(urls: &[String], serves: Serves) -> Result<Vec<Listen>, ListenError> {
        let mut listeners: Vec<Listen> = Vec::new();
        for url in urls {
            let (address, tls) = parse(url)?;
            match listeners.iter_mut().find(|listener| listener.address == address) {
                Some(known) => {
                    known.tls |= tls;
                    known.plain |= !tls;
                }
                None => listeners.push(Listen { address, plain: !tls, tls, serves }),
            }
        }
        Ok(listeners)
    }

    pub(crate) fn bind(&self, reuse_port: bool) -> Result<Socket, ListenError> {
        let bound = match &self.address {
            Address::Tcp(address) => bind_tcp(*address, reuse_port).map(Socket::Tcp),
            Address::Unix(path) => bind_unix(path).map(Socket::Unix),
        };
        bound.map_err(|error| ListenError::Bind { address: self.address.clone(), error })
    }
}

/// A bound socket that does not block.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Socket {
    /// The address really listened on, with the port that the system chose for port 0.
    pub(crate) fn address(&self, asked: &Address) -> Address {
        match self {
            Socket::Tcp(listener) => listener.local_addr().map_or_else(|_| asked.clone(), Address::Tcp),
            Socket::Unix(_) => asked.clone(),
        }
    }
}

fn bind_tcp(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket: OwnedFd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if reuse_port {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    if address.ip().is_unspecified() && address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// A socket file left over by a process that is gone is in the way and removed.
fn bind_unix(path: &PathBuf) -> io::Result<UnixListener> {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Address of a URL, and whether it speaks TLS.
fn parse(url: &str) -> Result<(Address, bool), ListenError> {
    let refuse = |reason| ListenError::Url { url: url.to_string(), reason };
    let (scheme, rest) = url.split_once("://").ok_or_else(|| refuse("a url like http://127.0.0.1:2379 is needed"))?;
    let tls = matches!(scheme, "https" | "unixs");
    match scheme {
        "http" | "https" => {
            let host = rest.strip_suffix('/').unwrap_or(rest);
            if host.contains(['/', '?', '#']) {
                return Err(refuse("it must not have a path"));
            }
            if host.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
                return Err(refuse("it needs a host and a port"));
            }
            Ok((Address::Tcp(resolve(url, host)?), tls))
        }
        "unix" | "unixs" if rest.is_empty() => Err(refuse("it needs a path")),
        "unix" | "unixs" => Ok((Address::Unix(PathBuf::from(rest)), tls)),
        _ => Err(refuse("its scheme must be http, https, unix or unixs")),
    }
}

/// The first IPv4 address of the host, or else its first one.
fn resolve(url: &str, host: &str) -> Result<SocketAddr, ListenError> {
    // As in Go, no host means every address.
    let host = if host.starts_with(':') { format!("[::]{host}") } else { host.to_string() };
    let addresses = host.to_socket_addrs().map_err(|error| ListenError::Resolve { url: url.to_string(), error })?;
    let addresses: Vec<SocketAddr> = addresses.collect();
    let first = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first()).copied();
    first.ok_or_else(|| ListenError::Url { url: url.to_string(), reason: "its host has no address" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(urls: &[&str]) -> Result<Vec<Listen>, ListenError> {
        let urls: Vec<String> = urls.iter().map(|url| url.to_string()).collect();
        Listen::from_urls(&urls, Serves::Everything)
    }

    #[test]
    fn one_address_with_two_schemes_is_one_listener() {
        let listeners = from(&["http://127.0.0.1:1", "https://127.0.0.1:1", "unix:///tmp/s", "https://127.0.0.1:2"]);
        let listeners = listeners.expect("valid");
        let seen: Vec<_> = listeners.iter().map(|l| (l.address.to_string(), l.plain, l.tls)).collect();
        let expected = [("127.0.0.1:1", true, true), ("/tmp/s", true, false), ("127.0.0.1:2", false, true)];
        assert_eq!(seen, expected.map(|(address, plain, tls)| (address.to_string(), plain, tls)));
    }

    #[test]
    fn wrong_urls_are_refused_with_the_reason() {
        for (url, reason) in [
            ("127.0.0.1:2379", "a url like http://127.0.0.1:2379 is needed"),
            ("http://127.0.0.1", "it needs a host and a port"),
            ("http://127.0.0.1:99999", "it needs a host and a port"),
            ("http://127.0.0.1:1/path", "it must not have a path"),
            ("ftp://127.0.0.1:1", "its scheme must be http, https, unix or unixs"),
            ("unix://", "it needs a path"),
        ] {
            let error = from(&[url]).expect_err("refused").to_string();
            assert_eq!(error, format!("listen url {url:?}: {reason}"));
        }
    }

    #[test]
    fn a_taken_port_is_an_error_that_names_it() {
        let listener = from(&["http://127.0.0.1:0"]).expect("valid").remove(0);
        let bound = listener.bind(false).expect("a free port");
        let address = bound.address(&listener.address);
        let again = Listen { address: address.clone(), ..listener }.bind(false).expect_err("taken").to_string();
        assert!(again.starts_with(&format!("listen on {address}: ")), "{again}");
    }

    #[test]
    fn a_left_over_socket_file_is_replaced() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let url = format!("unix://{}", dir.path().join("socket").display());
        let listener = from(&[&url]).expect("valid").remove(0);
        drop(listener.bind(false).expect("bound"));
        assert!(listener.bind(false).is_ok());
    }
}
