//! Tells the service manager how far we are: one datagram to the socket that `NOTIFY_SOCKET` names, a path or, with `@`
//! in front, an abstract name. Without the variable nothing happens.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sends for example `READY=1` or `STOPPING=1`. Returns whether anybody wanted to know.
pub fn notify(state: &str) -> io::Result<bool> {
    match std::env::var_os("NOTIFY_SOCKET") {
        None => Ok(false),
        Some(socket) => send(&socket, state).map(|()| true),
    }
}

fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let sender = UnixDatagram::unbound()?;
    // A full socket of the manager must not hold the member up.
    sender.set_nonblocking(true)?;
    sender.send_to_addr(state.as_bytes(), &address).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_receives_the_state() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("notify.sock");
        let manager = UnixDatagram::bind(&path).expect("a free path");
        send(path.as_os_str(), "READY=1").expect("somebody listens");
        let mut buffer = [0; 16];
        let length = manager.recv(&mut buffer).expect("a datagram");
        assert_eq!(&buffer[..length], b"READY=1");
    }

    #[test]
    fn nobody_listening_is_an_error_not_a_panic() {
        assert!(send(OsStr::new("/nonexistent/notify.sock"), "READY=1").is_err());
        assert!(send(OsStr::new("@"), "READY=1").is_err());
    }
}
