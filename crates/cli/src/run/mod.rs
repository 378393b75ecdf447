//! Start, wait, stop: the life of a member as the process sees it. The order is written here and nowhere else.
//!
//! Start: the limits of the process are checked and listeners are bound first, so that too low a limit, a taken port or
//! a bad certificate is found before the data is touched; then the node; then our name and URLs are made known, which
//! needs a leader; then clients are served; then whoever waits for us is told. Stop is the reverse: clients first, so
//! that everything that was answered is finished, then the node.
//!
//! Not here: what a member does when it fails while running; it calls back, and the process ends at once.

mod descriptors;
mod reread;
mod signals;
mod translate;

use crate::config::{ClusterState, Config};
use crate::flags::Settings;
use crate::log;
use crate::notify::notify;
use signals::Signals;
use std::sync::Arc;

pub use signals::End;

/// How often a member that was halted at its start tries to make its name known.
const HALTED_RETRY_INTERVAL: std::time::Duration = std::time::Duration::from_secs(5);

/// Returns when the member has stopped, with the signal that asked for it; an error says why it could not start.
/// `settings` are what `config` was made of.
pub fn run(config: &Config, settings: Settings) -> Result<End, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("start the main thread's runtime: {error}"))?;
    runtime.block_on(live(config, settings))
}

async fn live(config: &Config, mut settings: Settings) -> Result<End, String> {
    let mut signals = Signals::listen()?;
    check_can_join(config)?;
    log_start(config);
    // Dropped in the reverse order, and so is what was made for them.
    let for_clients = translate::generate(config.client_tls.as_ref())?;
    let for_peers = translate::generate(config.peer_tls.as_ref())?;
    let clients = translate::clients(config)?;
    let descriptors = Some(descriptors::check(config, &clients, descriptors::raise())?);
    let clients = api::bind(api::Config { descriptors, ..clients }).map_err(|error| error.to_string())?;
    // Nobody calls the only member; its peer addresses are kept, so that nobody else takes them.
    let peers = api::bind(translate::peers(config)?).and_then(api::Bound::refuse);
    let _peers = peers.map_err(|error| error.to_string())?;
    let node = tokio::select! {
        node = start(translate::node(config, fail)) => node?,
        // What a start has done so far is as good as after a power loss.
        end = signals.stop() => return Ok(end),
    };
    [for_clients, for_peers].into_iter().flatten().for_each(api::SelfSigned::keep);
    log_identity(node.handle());
    let end = tokio::select! {
        () = publish(config, node.handle()) => None,
        end = signals.stop() => Some(end),
    };
    let end = match end {
        Some(end) => end,
        None => {
            let server = clients.serve(node.handle().clone()).map_err(|error| error.to_string())?;
            tracing::info!("ready to serve client requests");
            tell("READY=1");
            let end = loop {
                match signals.stop_or_reread().await {
                    Some(end) => break end,
                    None => reread::reread(&mut settings, node.handle()),
                }
            };
            tell("STOPPING=1");
            server.stop();
            end
        }
    };
    node.stop();
    tracing::info!("stopped");
    Ok(end)
}

/// On a thread of its own: reading a long log takes its time, and signals must not wait for it.
async fn start(config: node::Config) -> Result<node::Node, String> {
    let (started, node) = tokio::sync::oneshot::channel();
    let start = move || {
        let node = node::Node::start(config, Arc::new(io::OsDisk), Arc::new(io::OsClock::default()), &mut io::OsRng);
        // Nobody waits any more if a signal has asked for the end.
        let _ = started.send(node.map_err(|error| error.to_string()));
    };
    let thread = std::thread::Builder::new().name("start".to_owned()).spawn(start);
    thread.map_err(|error| format!("start thread: {error}"))?;
    node.await.map_err(|_| "the thread that starts the member has ended".to_owned())?
}

/// Until it works: without it nobody could find us. Each try waits for a leader, and gives up after the request
/// timeout. A member that has stopped by itself ends the process, so nothing is waited for then.
async fn publish(config: &Config, handle: &node::Handle) {
    let client_urls = translate::texts(&config.cluster.client_urls);
    loop {
        match handle.publish(&config.name, &client_urls).await {
            Ok(()) => break,
            Err(node::Refused::Stopped) => return std::future::pending().await,
            // What is applied is served. The rest comes when the record is there again, if it ever is.
            Err(node::Refused::Halted) => {
                tracing::error!("serving reads only: the log cannot be applied to its end");
                tokio::spawn(publish_later(config.name.clone(), client_urls, handle.clone()));
                return;
            }
            Err(refused) => tracing::warn!(error = %refused, "publish name and client URLs: trying again"),
        }
        tokio::task::yield_now().await;
    }
    tracing::info!("local-member-id" = %id(handle.member().0), "published local member to cluster through raft");
}

/// Until a member that was halted at its start goes on.
async fn publish_later(name: String, client_urls: Vec<String>, handle: node::Handle) {
    loop {
        tokio::time::sleep(HALTED_RETRY_INTERVAL).await;
        match handle.publish(&name, &client_urls).await {
            Ok(()) | Err(node::Refused::Stopped) => return,
            Err(refused) => tracing::debug!(error = %refused, "publish name and client URLs: trying again"),
        }
    }
}

/// Joining needs members to join, which a single one never has; what the directory holds goes on whatever the flag
/// says.
fn check_can_join(config: &Config) -> Result<(), String> {
    let is_fresh = !config.data_dir.join("member").exists();
    if config.cluster.state == ClusterState::Existing && is_fresh {
        return Err(format!(
            "--initial-cluster-state=existing: joining a cluster is not there yet, and {} holds no member; \
             use 'new' to found a cluster",
            config.data_dir.display()
        ));
    }
    Ok(())
}

fn log_start(config: &Config) {
    tracing::info!(
        "etcd-version" = model::ETCD_VERSION,
        version = env!("CARGO_PKG_VERSION"),
        name = %config.name,
        "data-dir" = %config.data_dir.display(),
        "wal-dir" = %config.wal_dir.as_deref().unwrap_or(std::path::Path::new("")).display(),
        "heartbeat-interval" = ?config.timing.tick,
        "election-ticks" = config.timing.election_ticks,
        "snapshot-count" = config.limits.checkpoint_entries,
        "snapshot-catchup-entries" = config.limits.catch_up_entries,
        "initial-advertise-peer-urls" = %crate::flags::url::join(&config.cluster.peer_urls),
        "advertise-client-urls" = %crate::flags::url::join(&config.cluster.client_urls),
        "listen-client-urls" = %crate::flags::url::join(&config.listen.client_urls),
        "initial-cluster-token" = %config.cluster.token,
        // The only value that etcd still has, whatever the flag says; its tests look for it.
        "v2-deprecation" = "write-only",
        "quota-backend-bytes" = config.limits.quota_bytes.unwrap_or(0),
        "starting a member"
    );
    if let Some(threshold_mb) = config.limits.defrag_threshold_mb {
        let threshold_bytes = threshold_mb.saturating_mul(1 << 20);
        tracing::info!("bootstrap-defrag-threshold-bytes" = threshold_bytes, "Skipping defragmentation");
    }
    if config.cluster.force_new {
        tracing::warn!("forcing a new cluster changes nothing: this member is the only one already");
    }
}

fn log_identity(handle: &node::Handle) {
    let (member, cluster) = (id(handle.member().0), id(handle.cluster().0));
    tracing::info!("local-member-id" = %member, "cluster-id" = %cluster, "starting local member");
}

/// As etcd prints ids: hexadecimal without leading zeros.
fn id(number: u64) -> String {
    format!("{number:x}")
}

/// The member cannot go on, and what it says last must reach the log.
fn fail(error: String) {
    log::record(log::Level::Fatal, "the member cannot go on", &[("error", &error)]);
    log::flush();
    std::process::exit(i32::from(crate::FAILED));
}

/// A service manager that cannot be told will find out by itself.
fn tell(state: &str) {
    match notify(state) {
        Ok(told) => tracing::debug!(state, told, "service manager"),
        Err(error) => tracing::warn!(state, %error, "tell the service manager"),
    }
}
