//! From `Config` to what node and api take. A change there stays here.

use crate::config::{Config, Pair, Tls, TlsVersion};
use crate::flags::url::Url;
use api::{Listen, SelfSigned, Serves};
use std::sync::Arc;
use std::time::Duration;

/// `on_fault` is called from the failing thread and must not return to it.
pub fn node(config: &Config, on_fault: fn(String)) -> node::Config {
    let Config { cluster, timing, limits, space, .. } = config;
    node::Config {
        name: config.name.clone(),
        data_dir: config.data_dir.clone(),
        wal_dir: config.wal_dir.clone(),
        peer_urls: texts(&cluster.peer_urls),
        client_urls: texts(&cluster.client_urls),
        cluster_token: cluster.token.clone(),
        tick: timing.tick,
        election_ticks: size(timing.election_ticks),
        request_timeout: timing.request_timeout,
        checkpoint_entries: limits.checkpoint_entries,
        quota_bytes: limits.quota_bytes,
        strict_latch: space.strict_latch,
        account_depth: space.account_depth,
        auto_compaction: space.auto_compaction,
        pressure_retention: space.pressure_retention,
        request_bytes_max: size(limits.request_bytes_max),
        scrub_bytes_per_s: limits.scrub_bytes_per_s,
        warning_apply_duration: timing.warning_apply,
        no_sync: config.unsafe_no_sync,
        on_fault: Arc::new(on_fault),
    }
}

/// Listeners for clients and for metrics.
pub fn clients(config: &Config) -> Result<api::Config, String> {
    let listen = &config.listen;
    let grpc = if listen.client_http_urls.is_empty() { Serves::Everything } else { Serves::Grpc };
    let lists = [
        (&listen.client_urls, grpc),
        (&listen.client_http_urls, Serves::Http),
        (&listen.metrics_urls, Serves::Metrics),
    ];
    let mut listeners = Vec::new();
    for (urls, serves) in lists {
        listeners.extend(Listen::from_urls(&texts(urls), serves).map_err(|error| error.to_string())?);
    }
    let Config { timing, limits, keepalive, http, .. } = config;
    let gates = config.gates.iter().map(|(gate, on)| (gate.name.to_owned(), gate.stage.name().to_owned(), *on));
    Ok(api::Config {
        listen: listeners,
        tls: config.client_tls.as_ref().map(tls_files),
        rims: 0,
        // Known once the limit is.
        descriptors: None,
        request_bytes_max: size(limits.request_bytes_max),
        txn_ops_max: size(limits.txn_operations_max),
        concurrent_streams_max: limits.concurrent_streams_max,
        in_flight_bytes_max: usize::try_from(limits.in_flight_bytes_max).unwrap_or(usize::MAX),
        body_timeout: api::Config::default().body_timeout,
        request_timeout: timing.request_timeout,
        election_timeout: timing.tick * timing.election_ticks,
        keepalive_min_time: keepalive.client_ping_interval_min,
        keepalive_interval: keepalive.interval.unwrap_or(Duration::ZERO),
        keepalive_timeout: keepalive.timeout.unwrap_or(Duration::ZERO),
        watch_progress_interval: timing.watch_progress_interval,
        slow_request: timing.warning_unary,
        extensive_metrics: config.metrics_extensive,
        cors: http.cors.clone(),
        host_whitelist: http.host_whitelist.clone(),
        feature_gates: gates.collect(),
        socket_reuse_port: listen.reuse_port,
    })
}

/// Listeners on which every connection is refused.
pub fn peers(config: &Config) -> Result<api::Config, String> {
    let listen = Listen::from_urls(&texts(&config.listen.peer_urls), Serves::Http);
    Ok(api::Config {
        listen: listen.map_err(|error| error.to_string())?,
        tls: config.peer_tls.as_ref().map(tls_files),
        socket_reuse_port: config.listen.reuse_port,
        ..api::Config::default()
    })
}

/// The pair of the member's own making that a side asks for; to be there before its listeners are bound.
pub fn generate(tls: Option<&Tls>) -> Result<Option<SelfSigned>, String> {
    match tls.map(|tls| &tls.pair) {
        Some(Pair::Generated { directory, hosts, years }) => {
            SelfSigned::find_or_make(directory, hosts, *years).map(Some).map_err(|error| error.to_string())
        }
        Some(Pair::Files { .. }) | None => Ok(None),
    }
}

fn tls_files(tls: &Tls) -> api::TlsFiles {
    let (cert, key) = match &tls.pair {
        Pair::Files { cert, key } => (cert.clone(), key.clone()),
        Pair::Generated { directory, .. } => SelfSigned::paths(directory),
    };
    api::TlsFiles {
        cert,
        key,
        trusted_ca: tls.trusted_ca.clone(),
        client_cert_auth: tls.client_cert_auth,
        client_crl: tls.crl.clone(),
        cipher_suites: tls.cipher_suites.clone(),
        min_version: Some(tls_version(tls.min_version)),
        max_version: tls.max_version.map(tls_version),
    }
}

fn tls_version(version: TlsVersion) -> api::TlsVersion {
    match version {
        TlsVersion::V12 => api::TlsVersion::Tls12,
        TlsVersion::V13 => api::TlsVersion::Tls13,
    }
}

pub fn texts(urls: &[Url]) -> Vec<String> {
    urls.iter().map(|url| url.as_str().to_owned()).collect()
}

fn size(number: u32) -> usize {
    usize::try_from(number).expect("a machine of 64 bits, which the size of the log's segments asks for")
}
