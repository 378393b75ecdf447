//! Who a call comes from.

use crate::listen::Serves;
use std::fmt;
use std::net::SocketAddr;

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

/// What all requests of one connection have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) remote: Remote,
    pub(crate) is_tls: bool,
    pub(crate) serves: Serves,
}
