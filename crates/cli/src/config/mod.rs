//! What a member is started with, after everything was checked: plain values, no text left to parse, no contradiction
//! left to find. Made from `flags::Settings` by `Config::from_settings`, handed to `run`.
//!
//! Invariants: whatever a flag of status `NotYet` says is its default; there is exactly one member; every https URL has
//! a certificate and a key configured (whether the files are any good is found when they are loaded).
//!
//! Not here: the shape of node's and api's own configurations. `run` translates, so that a change there stays there.

mod addresses;
mod cluster;
pub mod durations;
pub mod gates;
mod space;
mod tls;
mod unfinished;

use crate::flags::table::{CHECKPOINT_ENTRIES_MAX, REQUEST_BYTES_MAX};
use crate::flags::url::Url;
use crate::flags::{Settings, Warning};
use crate::log;
use std::path::PathBuf;
use std::time::Duration;

pub use cluster::ClusterState;
pub use space::Space;
pub use tls::{Pair, Tls, TlsVersion};

/// etcd's quota when the flag says 0.
const QUOTA_BYTES_DEFAULT: u64 = 2 << 30;
/// Above this etcd warns, and so do we.
const QUOTA_BYTES_ADVISED: u64 = 8 << 30;
const REQUEST_BYTES_ADVISED: i128 = 10 << 20;
/// etcd's number when the flag says 0.
const CHECKPOINT_ENTRIES_DEFAULT: u64 = 10_000;
const PROGRESS_INTERVAL_DEFAULT: Duration = Duration::from_secs(600);
const PROGRESS_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// What a request may take beside its election timeouts.
const REQUEST_TIMEOUT_BASE: Duration = Duration::from_secs(5);

/// One member, ready to be started.
#[derive(Debug, Clone)]
pub struct Config {
    pub name: String,
    /// Made with mode 0700 if it is not there.
    pub data_dir: PathBuf,
    /// Where the raft log lives if not inside `data_dir`.
    pub wal_dir: Option<PathBuf>,
    pub listen: Listen,
    pub cluster: Cluster,
    pub timing: Timing,
    pub limits: Limits,
    pub space: Space,
    pub keepalive: Keepalive,
    /// For https and unixs URLs of clients and of metrics; set if one of them is listened on.
    pub client_tls: Option<Tls>,
    /// For https peer URLs; set if one is listened on.
    pub peer_tls: Option<Tls>,
    pub http: Http,
    /// Every feature gate of etcd and whether it is on.
    pub gates: Vec<(&'static gates::Gate, bool)>,
    /// Latency histograms of every gRPC method too.
    pub metrics_extensive: bool,
    /// Never wait for the disk.
    pub unsafe_no_sync: bool,
}

/// Where to listen. Hosts are IP addresses or `localhost`.
#[derive(Debug, Clone)]
pub struct Listen {
    pub peer_urls: Vec<Url>,
    /// gRPC, and HTTP too unless `client_http_urls` has any.
    pub client_urls: Vec<Url>,
    pub client_http_urls: Vec<Url>,
    pub metrics_urls: Vec<Url>,
    pub reuse_port: bool,
}

/// Who may talk HTTP to us; `*` is everybody.
#[derive(Debug, Clone)]
pub struct Http {
    /// Origins that browsers may call from.
    pub cors: Vec<String>,
    /// Hosts that requests without TLS may name.
    pub host_whitelist: Vec<String>,
}

/// Who this member is to others. URL lists are in ascending order and hold no double.
#[derive(Debug, Clone)]
pub struct Cluster {
    pub token: String,
    pub peer_urls: Vec<Url>,
    pub client_urls: Vec<Url>,
    pub state: ClusterState,
    /// Asked to drop every other member; with one member there is none.
    pub force_new: bool,
}

#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// One tick of consensus: the heartbeat interval.
    pub tick: Duration,
    /// At least 5.
    pub election_ticks: u32,
    /// 5 s and two election timeouts, as in etcd.
    pub request_timeout: Duration,
    /// At least 100 ms.
    pub watch_progress_interval: Duration,
    pub warning_apply: Duration,
    pub warning_unary: Duration,
}

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// On retained bytes; `None` is no limit.
    pub quota_bytes: Option<u64>,
    pub txn_operations_max: u32,
    pub request_bytes_max: u32,
    /// Of requests and answers, in memory.
    pub in_flight_bytes_max: u64,
    /// Per connection.
    pub concurrent_streams_max: u32,
    /// Applied entries between two checkpoints.
    pub checkpoint_entries: u64,
    /// 0: what is stored is not read over.
    pub scrub_bytes_per_s: u64,
    /// For the log alone: what etcd's tests look for.
    pub catch_up_entries: u64,
    /// For the log alone: there is nothing to defragment.
    pub defrag_threshold_mb: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
pub struct Keepalive {
    /// A client that pings more often is sent away.
    pub client_ping_interval_min: Duration,
    /// Idle time before the server pings; `None` for never.
    pub interval: Option<Duration>,
    /// `None`: the connection is given up at once.
    pub timeout: Option<Duration>,
}

impl Config {
    /// Checks everything. The warnings are to be logged once logging runs. Errors are one sentence, in etcd's words
    /// where it has a check like it.
    pub fn from_settings(settings: &Settings) -> Result<(Config, Vec<Warning>), String> {
        let mut warnings = Vec::new();
        check_bounds(settings)?;
        cluster::check_one_way_to_start(settings)?;
        unfinished::check(settings, &mut warnings)?;
        gates::check(&settings.gates())?;
        let listen = Listen::from_settings(settings)?;
        let cluster = cluster::read(settings)?;
        let timing = durations::timing(settings)?;
        let config = Config {
            name: settings.text("name").to_owned(),
            data_dir: data_dir(settings),
            wal_dir: Some(settings.text("wal-dir")).filter(|path| !path.is_empty()).map(PathBuf::from),
            limits: Limits::from_settings(settings, &mut warnings),
            space: space::read(settings)?,
            keepalive: durations::keepalive(settings),
            client_tls: tls::client(settings, &data_dir(settings), &listen, &mut warnings)?,
            peer_tls: tls::peer(settings, &data_dir(settings), &listen, &mut warnings)?,
            http: Http::from_settings(settings),
            gates: gates::states(&settings.gates()),
            metrics_extensive: metrics_extensive(settings)?,
            unsafe_no_sync: settings.bool("unsafe-no-fsync"),
            listen,
            cluster,
            timing,
        };
        if config.unsafe_no_sync {
            let message = "fsync is off: a power loss or a crash of the system will lose acknowledged writes";
            warnings.push(Warning { message, field: ("flag", "unsafe-no-fsync".to_owned()) });
        }
        Ok((config, warnings))
    }
}

impl Listen {
    fn from_settings(settings: &Settings) -> Result<Listen, String> {
        let urls = |name| settings.urls(name).to_vec();
        let listen = Listen {
            peer_urls: urls("listen-peer-urls"),
            client_urls: urls("listen-client-urls"),
            client_http_urls: urls("listen-client-http-urls"),
            metrics_urls: urls("listen-metrics-urls"),
            reuse_port: settings.bool("socket-reuse-port"),
        };
        let lists = [&listen.peer_urls, &listen.client_urls, &listen.client_http_urls, &listen.metrics_urls];
        lists.into_iter().flatten().try_for_each(addresses::check_bindable)?;
        Ok(listen)
    }
}

impl Http {
    fn from_settings(settings: &Settings) -> Http {
        let or_everybody = |words: Vec<String>| if words.is_empty() { vec!["*".to_owned()] } else { words };
        let origins = settings.text("cors").split(',').map(|origin| origin.trim().to_owned());
        Http {
            cors: or_everybody(origins.filter(|origin| !origin.is_empty()).collect()),
            host_whitelist: or_everybody(settings.list("host-whitelist").to_vec()),
        }
    }
}

impl Limits {
    fn from_settings(settings: &Settings, warnings: &mut Vec<Warning>) -> Limits {
        let quota_bytes = match settings.number("quota-backend-bytes") {
            0 => Some(QUOTA_BYTES_DEFAULT),
            negative if negative < 0 => None,
            bytes => Some(bounded(bytes)),
        };
        let request_bytes = settings.number("max-request-bytes");
        let checkpoint_entries = settings.number("snapshot-count");
        if let Some(bytes) = quota_bytes.filter(|bytes| *bytes > QUOTA_BYTES_ADVISED) {
            let message = "quota exceeds the advised maximum of 8 GiB";
            warnings.push(Warning { message, field: ("quota-size-bytes", bytes.to_string()) });
        }
        if request_bytes > REQUEST_BYTES_ADVISED {
            let message = "exceeded recommended request limit of 10 MiB";
            warnings.push(Warning { message, field: ("max-request-bytes", request_bytes.to_string()) });
        }
        if request_bytes > REQUEST_BYTES_MAX {
            let message = "requests of more than 33554432 bytes are refused all the same: the log takes no larger ones";
            warnings.push(Warning { message, field: ("max-request-bytes", request_bytes.to_string()) });
        }
        if checkpoint_entries > CHECKPOINT_ENTRIES_MAX {
            let message = "a checkpoint is taken after 10000000 entries all the same";
            warnings.push(Warning { message, field: ("snapshot-count", checkpoint_entries.to_string()) });
        }
        Limits {
            quota_bytes,
            txn_operations_max: bounded(settings.number("max-txn-ops")),
            request_bytes_max: bounded(request_bytes.min(REQUEST_BYTES_MAX)),
            in_flight_bytes_max: bounded::<u64>(settings.number("memory-in-flight-mib")) << 20,
            scrub_bytes_per_s: bounded::<u64>(settings.number("scrub-mib-per-s")) << 20,
            concurrent_streams_max: match settings.number("max-concurrent-streams") {
                0 => u32::MAX,
                streams => bounded(streams),
            },
            checkpoint_entries: match checkpoint_entries {
                0 => CHECKPOINT_ENTRIES_DEFAULT,
                entries => bounded(entries.min(CHECKPOINT_ENTRIES_MAX)),
            },
            catch_up_entries: bounded(settings.number("snapshot-catchup-entries")),
            defrag_threshold_mb: Some(bounded(settings.number("bootstrap-defrag-threshold-megabytes")))
                .filter(|mb| *mb > 0),
        }
    }
}

/// Settings of the logger, read before everything else so that complaints go where the operator looks.
pub fn log_options(settings: &Settings) -> Result<log::Options, String> {
    if settings.text("logger") != "zap" {
        return Err(format!("unknown logger option {:?}", settings.text("logger")));
    }
    Ok(log::Options {
        level: log::Level::parse(settings.text("log-level"))?,
        format: log::Format::parse(settings.text("log-format"))?,
        outputs: log::Output::parse_list(settings.list("log-outputs"))?,
    })
}

/// A number after the bounds of its flag were checked.
fn bounded<T: TryFrom<i128>>(number: i128) -> T {
    T::try_from(number).ok().expect("the bounds of the flag are within the type; a test takes every flag to both ends")
}

fn check_bounds(settings: &Settings) -> Result<(), String> {
    for (flag, value, _) in settings.iter() {
        if let Some(number) = value.number()
            && !flag.bounds.contain(number)
        {
            return Err(complain_bounds(flag.name, flag.unit, flag.bounds, number));
        }
    }
    Ok(())
}

fn complain_bounds(name: &str, unit: &str, bounds: crate::flags::Bounds, number: i128) -> String {
    let unit = if unit.is_empty() { "" } else { &format!(" {unit}") };
    match name {
        "heartbeat-interval" | "election-timeout" if number == 0 => format!("--{name} must be >0 (set to {number}ms)"),
        "compact-hash-check-time" => format!("--{name} must be >0 (set to {})", durations::text(number)),
        "election-timeout" if number > bounds.max => {
            format!("--{name}[{number}ms] is too long, and should be set less than {}ms", bounds.max)
        }
        _ => format!("--{name}={number} is out of range: it must be from {} to {}{unit}", bounds.min, bounds.max),
    }
}

/// etcd's default: the name with `.etcd` behind it, in the working directory.
fn data_dir(settings: &Settings) -> PathBuf {
    match settings.text("data-dir") {
        "" => PathBuf::from(format!("{}.etcd", settings.text("name"))),
        path => PathBuf::from(path),
    }
}

fn metrics_extensive(settings: &Settings) -> Result<bool, String> {
    match settings.text("metrics") {
        "basic" | "" => Ok(false),
        "extensive" => Ok(true),
        other => Err(format!("unknown --metrics level {other:?}, supported values basic, extensive")),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
