//! Who this member is: the URLs that it advertises and its entry in the initial cluster.

use super::Cluster;
use super::addresses::{check_advertised, default_host, is_every_address};
use crate::flags::url::{self, Url};
use crate::flags::{Settings, Source};
use std::net::ToSocketAddrs;

/// What `--initial-cluster-state` says. It counts only as long as the data directory is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterState {
    New,
    /// Join a cluster: refused on an empty data directory, since there is no joining yet.
    Existing,
}

pub fn read(settings: &Settings) -> Result<Cluster, String> {
    let peer_urls = advertised(settings, "initial-advertise-peer-urls", "listen-peer-urls")?;
    let client_urls = advertised(settings, "advertise-client-urls", "listen-client-urls")?;
    let name = settings.text("name");
    if name.is_empty() {
        return Err("--name is empty; give the member a name".to_owned());
    }
    check_initial_cluster(name, settings.text("initial-cluster"), settings.is_set("initial-cluster"), &peer_urls)?;
    Ok(Cluster {
        token: settings.text("initial-cluster-token").to_owned(),
        peer_urls,
        client_urls,
        state: match settings.text("initial-cluster-state") {
            "existing" => ClusterState::Existing,
            _ => ClusterState::New,
        },
        force_new: settings.bool("force-new-cluster"),
    })
}

pub fn check_one_way_to_start(settings: &Settings) -> Result<(), String> {
    let ways = ["initial-cluster", "discovery-endpoints", "discovery-srv"];
    if ways.into_iter().filter(|name| settings.is_set(name)).count() > 1 {
        let complaint = "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \
                         \"discovery-endpoints\" or \"discovery-srv\"";
        return Err(complaint.to_owned());
    }
    Ok(())
}

/// The URLs that flag `name` advertises. Without any, where the listener listens on every address, the default route's
/// host stands in for `localhost`. For clients etcd does not guess behind a listener set by flag or variable: then they
/// are asked for.
fn advertised(settings: &Settings, name: &str, listener: &str) -> Result<Vec<Url>, String> {
    let urls = settings.urls(name);
    if settings.is_set(name) && !urls.is_empty() {
        check_advertised(name, urls)?;
        return Ok(urls.to_vec());
    }
    let listened = settings.urls(listener);
    let from_line = matches!(settings.source(listener), Source::Flag | Source::Environment);
    if from_line && listener == "listen-client-urls" {
        return Err(format!("--{name} is required when --{listener} is set explicitly"));
    }
    match (listened.first(), default_host()) {
        (Some(first), Some(host)) if is_every_address(first) => Ok(vec![first.with_host(&host)]),
        _ => Ok(default_urls(name)),
    }
}

/// Not what the settings hold: they may hold an empty list.
fn default_urls(name: &str) -> Vec<Url> {
    let defaults = Settings::defaults();
    defaults.urls(name).to_vec()
}

fn check_initial_cluster(name: &str, text: &str, is_set: bool, peer_urls: &[Url]) -> Result<(), String> {
    if !is_set {
        return Ok(());
    }
    let entries = parse_initial_cluster(text)?;
    let mut own: Vec<Url> = entries.iter().filter(|entry| entry.0 == name).map(|entry| entry.1.clone()).collect();
    if own.is_empty() {
        return Err(format!("couldn't find local name {name:?} in the initial cluster configuration"));
    }
    own.sort();
    own.dedup();
    check_same_urls(name, &own, peer_urls)?;
    match entries.iter().find(|entry| entry.0 != name) {
        None => Ok(()),
        Some((other, _)) => Err(format!(
            "--initial-cluster names another member, {other:?}: clusters of several members are not there yet, \
             start with {name:?} alone"
        )),
    }
}

/// `name=url,name=url`: a name may come several times.
fn parse_initial_cluster(text: &str) -> Result<Vec<(String, Url)>, String> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let parsed = entries.map(|entry| {
        let (name, url) = entry.split_once('=').unwrap_or((entry, ""));
        Url::parse(url).map(|url| (name.to_owned(), url))
    });
    parsed.collect::<Result<_, _>>().map_err(|error| format!("error setting up initial cluster: {error}"))
}

/// The lists must name the same addresses; names are looked up only if the texts differ.
fn check_same_urls(name: &str, initial: &[Url], advertised: &[Url]) -> Result<(), String> {
    if initial == advertised {
        return Ok(());
    }
    let complain = |detail: String| {
        let entries: Vec<String> = initial.iter().map(|url| format!("{name}={url}")).collect();
        Err(format!(
            "--initial-cluster has {} but --initial-advertise-peer-urls={} ({detail})",
            entries.join(","),
            url::join(advertised)
        ))
    };
    if initial.len() != advertised.len() {
        return complain(format!("{} URLs against {}", initial.len(), advertised.len()));
    }
    let resolve_all = |urls: &[Url]| {
        let mut resolved = urls.iter().map(resolve).collect::<Result<Vec<_>, String>>()?;
        resolved.sort();
        Ok::<_, String>(resolved)
    };
    match (resolve_all(initial), resolve_all(advertised)) {
        (Ok(left), Ok(right)) if left == right => Ok(()),
        (Ok(_), Ok(_)) => complain("they resolve to different addresses".to_owned()),
        (Err(error), _) | (_, Err(error)) => complain(error),
    }
}

/// Scheme and sorted addresses of an URL, as text to compare.
fn resolve(url: &Url) -> Result<String, String> {
    let (Some(host), Some(port)) = (url.host(), url.port()) else { return Ok(url.as_str().to_owned()) };
    let addresses = (host, port).to_socket_addrs().map_err(|error| format!("failed to resolve {url}: {error}"))?;
    // One address is enough, as in etcd; IPv4 first, since a name often has an IPv6 address that is not meant.
    let mut addresses: Vec<_> = addresses.collect();
    addresses.sort();
    match addresses.first() {
        Some(address) => Ok(format!("{} {address}", url.is_tls())),
        None => Err(format!("failed to resolve {url}: it has no address")),
    }
}
