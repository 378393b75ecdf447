//! URLs as etcd's flags take them: a scheme and an address, or a scheme and the path of a socket. Nothing of what else
//! a URL may hold (user, query, fragment) is allowed.

use std::fmt;

/// `http://host:port`, `https://host:port`, `unix://path` or `unixs://path`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Url {
    text: String,
    scheme: Scheme,
    address: Address,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Scheme {
    Http,
    Https,
    Unix,
    Unixs,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Address {
    Host { host: String, port: u16 },
    Socket,
}

impl Url {
    /// Fails with etcd's words.
    pub fn parse(text: &str) -> Result<Url, String> {
        let text = text.trim();
        let scheme_unknown = || format!("URL scheme must be http, https, unix, or unixs: {text}");
        let (scheme, rest) = text.split_once("://").ok_or_else(scheme_unknown)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "unix" => Scheme::Unix,
            "unixs" => Scheme::Unixs,
            _ => return Err(scheme_unknown()),
        };
        if rest.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(format!("invalid character in URL: {text:?}"));
        }
        let address = match scheme {
            Scheme::Unix | Scheme::Unixs if rest.is_empty() => return Err(format!("URL names no socket: {text}")),
            Scheme::Unix | Scheme::Unixs => Address::Socket,
            Scheme::Http | Scheme::Https => parse_host_port(text, rest)?,
        };
        Ok(Url { text: text.to_owned(), scheme, address })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn is_tls(&self) -> bool {
        matches!(self.scheme, Scheme::Https | Scheme::Unixs)
    }

    /// Without the brackets of an IPv6 address; `None` for a socket. May be empty: then it names every address.
    pub fn host(&self) -> Option<&str> {
        match &self.address {
            Address::Host { host, .. } => Some(host),
            Address::Socket => None,
        }
    }

    pub fn port(&self) -> Option<u16> {
        match &self.address {
            Address::Host { port, .. } => Some(*port),
            Address::Socket => None,
        }
    }

    /// The same with another host.
    pub fn with_host(&self, host: &str) -> Url {
        let Address::Host { port, .. } = self.address else { return self.clone() };
        let scheme = if self.is_tls() { "https" } else { "http" };
        let text = match host.contains(':') {
            true => format!("{scheme}://[{host}]:{port}"),
            false => format!("{scheme}://{host}:{port}"),
        };
        Url { text, scheme: self.scheme, address: Address::Host { host: host.to_owned(), port } }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn parse_host_port(text: &str, rest: &str) -> Result<Address, String> {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let not_host_port = || format!("URL address does not have the form \"host:port\": {text}");
    let (host, port) = authority.rsplit_once(':').ok_or_else(not_host_port)?;
    let host = match host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(inner) => inner,
        None if host.contains([':', '[', ']', '@']) => return Err(not_host_port()),
        None => host,
    };
    let port = port.parse().map_err(|_| format!("port of the URL is not a number from 0 to 65535: {text}"))?;
    if authority.len() != rest.len() {
        return Err(format!("URL must not contain a path: {text}"));
    }
    Ok(Address::Host { host: host.to_owned(), port })
}

/// Comma-separated URLs, each once, in ascending order: cluster and member ids are made from them in that order. The
/// empty text is the empty list.
pub fn parse_list(text: &str) -> Result<Vec<Url>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut urls = text.split(',').map(Url::parse).collect::<Result<Vec<Url>, String>>()?;
    urls.sort();
    urls.dedup();
    Ok(urls)
}

/// The texts joined by commas.
pub fn join(urls: &[Url]) -> String {
    urls.iter().map(Url::as_str).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let url = Url::parse("https://10.0.0.1:2379").expect("valid");
        assert_eq!((url.host(), url.port(), url.is_tls()), (Some("10.0.0.1"), Some(2379), true));
        let url = Url::parse("http://[::1]:0").expect("valid");
        assert_eq!((url.host(), url.port(), url.is_tls()), (Some("::1"), Some(0), false));
        let url = Url::parse("unix:///run/b.sock").expect("valid");
        assert_eq!((url.host(), url.port(), url.is_tls()), (None, None, false));
        let url = Url::parse("unixs://localhost:m10").expect("valid");
        assert_eq!((url.host(), url.port(), url.is_tls()), (None, None, true));
    }

    #[test]
    fn complaints_are_etcds() {
        for (text, complaint) in [
            ("foo", "URL scheme must be http, https, unix, or unixs: foo"),
            ("ftp://127.0.0.1:1", "URL scheme must be http, https, unix, or unixs: ftp://127.0.0.1:1"),
            ("http://127.0.0.1", "URL address does not have the form \"host:port\": http://127.0.0.1"),
            ("http://127.0.0.1:1/x", "URL must not contain a path: http://127.0.0.1:1/x"),
        ] {
            assert_eq!(Url::parse(text), Err(complaint.to_owned()));
        }
        for text in ["http://::1:80", "http://a:99999", "http://u@a:1", "http://a:-1", "unix://", "http://a b:1", ""] {
            assert!(Url::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn lists_are_sorted_and_have_no_double() {
        let urls = parse_list("http://b:1, http://a:1,http://b:1").expect("valid");
        assert_eq!(join(&urls), "http://a:1,http://b:1");
        assert_eq!(parse_list(""), Ok(vec![]));
        assert!(parse_list("http://a:1,").is_err());
    }

    #[test]
    fn hosts_can_be_replaced() {
        let url = Url::parse("http://localhost:2379").expect("valid");
        assert_eq!(url.with_host("10.1.2.3").as_str(), "http://10.1.2.3:2379");
        assert_eq!(url.with_host("fd00::1").as_str(), "http://[fd00::1]:2379");
    }
}
