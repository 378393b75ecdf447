//! Which TLS files belong to which listeners. Paths and names only: loading them is the listener's business.

use super::{Listen, bounded};
use crate::flags::url::Url;
use crate::flags::{Settings, Warning};
use std::path::{Path, PathBuf};

/// Files and rules of one side, clients or peers.
#[derive(Debug, Clone)]
pub struct Tls {
    pub pair: Pair,
    /// Verifies the other side; its presence alone already requires certificates.
    pub trusted_ca: Option<PathBuf>,
    pub client_cert_auth: bool,
    pub crl: Option<PathBuf>,
    /// IANA names; empty for the default set.
    pub cipher_suites: Vec<String>,
    pub min_version: TlsVersion,
    /// `None`: the newest there is.
    pub max_version: Option<TlsVersion>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pair {
    Files {
        cert: PathBuf,
        key: PathBuf,
    },
    /// Kept in this directory, for these hosts.
    Generated {
        directory: PathBuf,
        hosts: Vec<String>,
        years: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    V12,
    V13,
}

impl TlsVersion {
    fn parse(text: &str) -> Result<Option<TlsVersion>, String> {
        match text {
            "" => Ok(None),
            "TLS1.2" => Ok(Some(TlsVersion::V12)),
            "TLS1.3" => Ok(Some(TlsVersion::V13)),
            other => Err(format!("unexpected TLS version {other:?} (must be one of: TLS1.2, TLS1.3)")),
        }
    }
}

/// For the listeners of clients, of plain HTTP and of metrics.
pub fn client(
    settings: &Settings,
    data_dir: &Path,
    listen: &Listen,
    warnings: &mut Vec<Warning>,
) -> Result<Option<Tls>, String> {
    let versions = versions(settings)?;
    // With or without TLS, as in etcd.
    for suite in api::lacking_suites(settings.list("cipher-suites")).map_err(|error| error.to_string())? {
        let message = "cipher suite is not offered: only those with ECDHE, and AES-GCM or ChaCha20-Poly1305, are";
        warnings.push(Warning { message, field: ("cipher-suite", suite) });
    }
    let clients = [&listen.client_urls[..], &listen.client_http_urls].concat();
    let side = Side {
        prefix: "",
        crl: "client-crl-file",
        client_cert_auth: "client-cert-auth",
        what: "client url",
        directory: data_dir.join("fixtures/client"),
        given: "ignoring client auto TLS since certs given",
    };
    // Plain metrics beside certificates are usual: probes have none.
    side.read(settings, &clients, &listen.metrics_urls, versions, warnings)
}

/// For the listeners of peers. The files must be there, although no peer calls a single member.
pub fn peer(
    settings: &Settings,
    data_dir: &Path,
    listen: &Listen,
    warnings: &mut Vec<Warning>,
) -> Result<Option<Tls>, String> {
    let versions = versions(settings)?;
    let side = Side {
        prefix: "peer-",
        crl: "peer-crl-file",
        client_cert_auth: "peer-client-cert-auth",
        what: "peer url",
        directory: data_dir.join("fixtures/peer"),
        given: "ignoring peer auto TLS since certs given",
    };
    let tls = side.read(settings, &listen.peer_urls, &[], versions, warnings)?;
    for flag in ["cert-file", "key-file", "trusted-ca-file", "client-cert-file", "client-key-file", "crl-file"] {
        check_readable(&format!("peer-{flag}"), settings)?;
    }
    Ok(tls)
}

#[derive(Clone, Copy)]
struct Versions {
    min: TlsVersion,
    max: Option<TlsVersion>,
}

fn versions(settings: &Settings) -> Result<Versions, String> {
    let min = TlsVersion::parse(settings.text("tls-min-version"))?.unwrap_or(TlsVersion::V12);
    let max = TlsVersion::parse(settings.text("tls-max-version"))?;
    if max.is_some_and(|max| min > max) {
        let (min, max) = (settings.text("tls-min-version"), settings.text("tls-max-version"));
        return Err(format!("min version ({min}) is greater than max version ({max})"));
    }
    if min == TlsVersion::V13 && !settings.list("cipher-suites").is_empty() {
        return Err("cipher suites cannot be configured when only TLS1.3 is enabled".to_owned());
    }
    Ok(Versions { min, max })
}

struct Side {
    prefix: &'static str,
    crl: &'static str,
    client_cert_auth: &'static str,
    what: &'static str,
    /// Of a generated pair.
    directory: PathBuf,
    /// The warning if a pair is given and another one is to be generated.
    given: &'static str,
}

impl Side {
    /// `None` if no URL speaks TLS. Plain ones among `urls` are remarked on, those among `others` are not.
    fn read(
        &self,
        settings: &Settings,
        urls: &[Url],
        others: &[Url],
        versions: Versions,
        warnings: &mut Vec<Warning>,
    ) -> Result<Option<Tls>, String> {
        let path = |name: &str| Some(settings.text(name)).filter(|text| !text.is_empty()).map(PathBuf::from);
        let (cert_flag, key_flag) = (format!("{}cert-file", self.prefix), format!("{}key-file", self.prefix));
        let (cert, key) = (path(&cert_flag), path(&key_flag));
        let auto_flag = format!("{}auto-tls", self.prefix);
        let is_given = cert.is_some() || key.is_some();
        let is_generated = settings.bool(&auto_flag) && !is_given;
        if settings.bool(&auto_flag) && is_given {
            warnings.push(Warning { message: self.given, field: ("flag", auto_flag) });
        }
        if is_given || is_generated {
            for url in urls.iter().filter(|url| !url.is_tls()) {
                let message =
                    "scheme is http or unix while key and cert files are present; ignoring key and cert files";
                warnings.push(Warning { message, field: ("url", url.to_string()) });
            }
        }
        let Some(url) = urls.iter().chain(others).find(|url| url.is_tls()) else { return Ok(None) };
        let pair = match (cert, key) {
            (Some(cert), Some(key)) => Pair::Files { cert, key },
            _ if is_generated => self.generated(settings, urls)?,
            _ if !urls.contains(url) => {
                return Err(format!(
                    "client TLS key/cert (--{cert_flag}, --{key_flag}) must be provided for metrics secure url {url}"
                ));
            }
            _ => {
                return Err(format!(
                    "TLS key/cert (--{cert_flag}, --{key_flag}) must be provided for {} {url} with HTTPS scheme",
                    self.what
                ));
            }
        };
        let trusted_ca = path(&format!("{}trusted-ca-file", self.prefix));
        let mut client_cert_auth = settings.bool(self.client_cert_auth);
        if is_generated && client_cert_auth && trusted_ca.is_none() {
            // etcd forgets about client certificates altogether then.
            let message =
                "clients are not asked for certificates: the server's own is generated, and no authority is given";
            warnings.push(Warning { message, field: ("flag", self.client_cert_auth.to_owned()) });
            client_cert_auth = false;
        }
        Ok(Some(Tls {
            pair,
            trusted_ca,
            client_cert_auth,
            crl: path(self.crl),
            cipher_suites: settings.list("cipher-suites").to_vec(),
            min_version: versions.min,
            max_version: versions.max,
        }))
    }

    fn generated(&self, settings: &Settings, urls: &[Url]) -> Result<Pair, String> {
        let years: u32 = bounded(settings.number("self-signed-cert-validity"));
        if years == 0 {
            return Err("selfSignedCertValidity is invalid,it should be greater than 0".to_owned());
        }
        let mut hosts: Vec<String> = urls.iter().filter_map(Url::host).map(str::to_owned).collect();
        hosts.retain(|host| !host.is_empty());
        hosts.dedup();
        Ok(Pair::Generated { directory: self.directory.clone(), hosts, years })
    }
}

fn check_readable(name: &str, settings: &Settings) -> Result<(), String> {
    let text = settings.text(name);
    if text.is_empty() {
        return Ok(());
    }
    std::fs::File::open(Path::new(text)).map(|_| ()).map_err(|error| format!("--{name}: open {text}: {error}"))
}
