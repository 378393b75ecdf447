//! Rules on hosts in URLs, and what stands in for `localhost` when a member listens on every address.

use crate::flags::url::Url;
use std::net::{IpAddr, SocketAddr, UdpSocket};

/// A name would be resolved once and then be forgotten, so only addresses can be listened on.
pub fn check_bindable(url: &Url) -> Result<(), String> {
    match url.host() {
        None | Some("localhost") => Ok(()),
        Some(host) if host.parse::<IpAddr>().is_ok() => Ok(()),
        Some(_) => Err(format!("expected IP in URL for binding ({url})")),
    }
}

/// Others cannot call an URL without a host.
pub fn check_advertised(name: &str, urls: &[Url]) -> Result<(), String> {
    match urls.iter().find(|url| url.host() == Some("")) {
        None => Ok(()),
        Some(url) => Err(format!(
            "--{name} \"{}\" must be in the format \"host:port\", \"unix:/path/to/socket\" or \"unixs:/path/to/socket\" \
             (unexpected empty host ({url}))",
            crate::flags::url::join(urls)
        )),
    }
}

pub fn is_every_address(url: &Url) -> bool {
    url.host().and_then(|host| host.parse::<IpAddr>().ok()).is_some_and(|address| address.is_unspecified())
}

/// The address that the default route leaves from, if there is one. Nothing is sent: connecting a datagram socket only
/// asks the system which of its addresses it would use.
pub fn default_host() -> Option<String> {
    // Documentation addresses (RFC 5737, RFC 3849): they are nobody's, and lie behind the default route.
    let probes = [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")];
    probes.into_iter().find_map(|(local, remote)| {
        let socket = UdpSocket::bind(local.parse::<SocketAddr>().ok()?).ok()?;
        socket.connect(remote.parse::<SocketAddr>().ok()?).ok()?;
        let address = socket.local_addr().ok()?.ip();
        (!address.is_loopback() && !address.is_unspecified()).then(|| address.to_string())
    })
}
