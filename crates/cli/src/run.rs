//! Start, wait, stop: the life of a member as the process sees it.
//!
//! Order: the sockets are bound first, so that a port in use is found before anything is written; clients are served once the
//! member leads and has published itself; stop goes the other way.

use crate::config::{Config, Tls, TlsVersion};
use crate::flags::url::Url;
use crate::notify::notify;
use node::{Handle, Node};
use std::net::TcpListener;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// Returns when the member has stopped; an error says why it could not start or go on.
pub fn run(config: &Config) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("start the main thread's runtime: {error}"))?;
    runtime.block_on(live(config))
}

async fn live(config: &Config) -> Result<(), String> {
    let mut stop = StopSignals::listen()?;
    let bound = api::bind(api_config(config)?).map_err(|error| error.to_string())?;
    let _peers = bind_peers(config)?;
    let (faults, mut fault) = mpsc::unbounded_channel();
    let disk = Arc::new(io::OsDisk);
    let clock = Arc::new(io::OsClock::default());
    let node =
        Node::start(node_config(config, faults), disk, clock, &mut io::OsRng).map_err(|error| error.to_string())?;
    log_identity(config, node.handle());
    tokio::select! {
        published = publish(config, node.handle()) => published?,
        Some(fault) = fault.recv() => return Err(fault),
        name = stop.received() => {
            tracing::info!(signal = name, "received signal; shutting down");
            node.stop();
            return Ok(());
        }
    }
    let server = bound.serve(node.handle().clone()).map_err(|error| error.to_string())?;
    tracing::info!("ready to serve client requests");
    notify_or_warn("READY=1");
    let ended = tokio::select! {
        Some(fault) = fault.recv() => Err(fault),
        name = stop.received() => {
            tracing::info!(signal = name, "received signal; shutting down");
            Ok(())
        }
    };
    notify_or_warn("STOPPING=1");
    // After a fault the threads are in no state to stop in order: what counts is in the log.
    ended?;
    server.stop();
    node.stop();
    tracing::info!("the member has stopped");
    Ok(())
}

fn notify_or_warn(state: &str) {
    if let Err(error) = notify(state) {
        tracing::warn!(%error, state, "tell the service manager");
    }
}

struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    fn listen() -> Result<StopSignals, String> {
        let listen = |kind| signal(kind).map_err(|error| format!("listen for signals: {error}"));
        Ok(StopSignals { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// The name of the next signal that asks to stop.
    async fn received(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "interrupt",
            _ = self.terminate.recv() => "terminated",
        }
    }
}

/// Peers have nothing to say to a single member; the ports are taken so that nobody else gets them.
fn bind_peers(config: &Config) -> Result<Vec<TcpListener>, String> {
    let mut listeners = Vec::new();
    for url in &config.listen.peer_urls {
        let (Some(host), Some(port)) = (url.host(), url.port()) else { continue };
        let listener = TcpListener::bind((host, port)).map_err(|error| format!("listen on peer url {url}: {error}"))?;
        listeners.push(listener);
    }
    Ok(listeners)
}

fn log_identity(config: &Config, handle: &Handle) {
    tracing::info!(
        name = config.name,
        "data-dir" = %config.data_dir.display(),
        "local-member-id" = format!("{:x}", handle.member()),
        "cluster-id" = format!("{:x}", handle.cluster()),
        "local-server-version" = model::ETCD_VERSION,
        "starting the member"
    );
}

/// Tries until the member leads; only a stop ends it.
async fn publish(config: &Config, handle: &Handle) -> Result<(), String> {
    let client_urls = texts(&config.cluster.client_urls);
    loop {
        match handle.publish(&config.name, &client_urls).await {
            Ok(()) => break,
            Err(node::Refused::Stopped) => return Err("the member stopped while it was starting".to_owned()),
            Err(refused) => tracing::warn!(error = %refused, "publish the member: trying again"),
        }
    }
    let message = "published local member to cluster through raft";
    tracing::info!("local-member-id" = format!("{:x}", handle.member()), "{message}");
    Ok(())
}

fn texts(urls: &[Url]) -> Vec<String> {
    urls.iter().map(|url| url.as_str().to_owned()).collect()
}

fn node_config(config: &Config, faults: mpsc::UnboundedSender<String>) -> node::Config {
    node::Config {
        name: config.name.clone(),
        data_dir: config.data_dir.clone(),
        wal_dir: config.wal_dir.clone(),
        peer_urls: texts(&config.cluster.peer_urls),
        client_urls: texts(&config.cluster.client_urls),
        cluster_token: config.cluster.token.clone(),
        tick: config.timing.tick,
        election_ticks: config.timing.election_ticks as usize,
        request_timeout: config.timing.request_timeout,
        checkpoint_entries: config.limits.checkpoint_entries,
        quota_bytes: config.limits.quota_bytes,
        request_bytes_max: config.limits.request_bytes_max as usize,
        warning_apply_duration: config.timing.warning_apply,
        no_sync: config.unsafe_no_sync,
        on_fault: Arc::new(move |fault| {
            tracing::error!(error = fault, "the member cannot go on");
            // The receiver is gone only when the process ends anyway.
            let _ = faults.send(fault);
        }),
    }
}

fn api_config(config: &Config) -> Result<api::Config, String> {
    use api::Serves;
    let lists = [
        (
            &config.listen.client_urls,
            if config.listen.client_http_urls.is_empty() { Serves::Everything } else { Serves::Grpc },
        ),
        (&config.listen.client_http_urls, Serves::Http),
        (&config.listen.metrics_urls, Serves::Metrics),
    ];
    let mut listen = Vec::new();
    for (urls, serves) in lists {
        listen.extend(api::Listen::from_urls(&texts(urls), serves).map_err(|error| error.to_string())?);
    }
    Ok(api::Config {
        listen,
        tls: config.client_tls.as_ref().map(tls_files),
        rims: 0,
        request_bytes_max: config.limits.request_bytes_max as usize,
        txn_ops_max: config.limits.txn_operations_max as usize,
        concurrent_streams_max: config.limits.concurrent_streams_max,
        request_timeout: config.timing.request_timeout,
        election_timeout: config.timing.tick * config.timing.election_ticks,
        keepalive_min_time: config.keepalive.client_ping_interval_min,
        keepalive_interval: config.keepalive.interval.unwrap_or_default(),
        keepalive_timeout: config.keepalive.timeout.unwrap_or_default(),
        watch_progress_interval: config.timing.watch_progress_interval,
        slow_request: config.timing.warning_unary,
        extensive_metrics: config.metrics_extensive,
        cors: config.http.cors.clone(),
        host_whitelist: config.http.host_whitelist.clone(),
        feature_gates: config
            .gates
            .iter()
            .map(|(gate, on)| (gate.name.to_owned(), gate.stage.name().to_owned(), *on))
            .collect(),
        socket_reuse_port: config.listen.reuse_port,
        quota_bytes: config.limits.quota_bytes.map_or(0, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
    })
}

fn tls_files(tls: &Tls) -> api::TlsFiles {
    api::TlsFiles {
        cert: tls.cert.clone(),
        key: tls.key.clone(),
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
