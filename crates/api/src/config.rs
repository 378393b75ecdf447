//! What the command line decides about the rim.

use crate::listen::Listen;
use crate::tls::TlsFiles;
use std::time::Duration;

/// Settings of all listeners. `Default` is etcd's defaults, without any listener.
#[derive(Debug, Clone)]
pub struct Config {
    pub listen: Vec<Listen>,
    /// Files for listeners that speak TLS.
    pub tls: Option<TlsFiles>,
    /// Rim threads; 0 means one per core.
    pub rims: usize,
    /// What bounds the number of connections; `None` for no bound.
    pub descriptors: Option<Descriptors>,
    /// Largest proposal, in bytes; a message may be 512 KiB longer.
    pub request_bytes_max: usize,
    /// Operations per list of a txn.
    pub txn_ops_max: usize,
    /// Streams that one connection may have open.
    pub concurrent_streams_max: u32,
    /// Bytes that requests and answers may hold in memory; a quarter of it for one connection.
    pub in_flight_bytes_max: usize,
    /// Time for the body of a request to come.
    pub body_timeout: Duration,
    /// How long a request may take, and how long a graceful stop waits for open ones.
    pub request_timeout: Duration,
    /// Three of these without a leader end the streams that require one.
    pub election_timeout: Duration,
    /// Pings from a client that come faster than this are counted against it.
    pub keepalive_min_time: Duration,
    /// A connection without traffic for this long is pinged; zero switches it off.
    pub keepalive_interval: Duration,
    /// A ping unanswered for this long ends the connection.
    pub keepalive_timeout: Duration,
    /// Time between progress notifications of a watch that asked for them; at least 100 ms.
    pub watch_progress_interval: Duration,
    /// A unary request that takes longer is logged with where its time went.
    pub slow_request: Duration,
    /// Adds the histograms of `--metrics=extensive`.
    pub extensive_metrics: bool,
    /// Origins that browsers may call from; `*` is every one.
    pub cors: Vec<String>,
    /// Hosts that plain HTTP requests may name; `*` is every one.
    pub host_whitelist: Vec<String>,
    /// Feature gates as the metric shows them: name, stage, enabled.
    pub feature_gates: Vec<(String, String, bool)>,
    /// Set SO_REUSEPORT on TCP listeners.
    pub socket_reuse_port: bool,
}

/// What a message may be longer than a proposal: space for the rest of a request (etcd's figure).
pub(crate) const MESSAGE_OVERHEAD_BYTES: usize = 512 << 10;

/// File descriptors of the process, for the bound on connections.
#[derive(Debug, Clone, Copy)]
pub struct Descriptors {
    /// How many the process may have.
    pub limit: usize,
    /// How many files the member has open.
    pub files_open: fn() -> usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: Vec::new(),
            tls: None,
            rims: 0,
            descriptors: None,
            request_bytes_max: 1536 << 10,
            txn_ops_max: 128,
            concurrent_streams_max: u32::MAX,
            in_flight_bytes_max: 256 << 20,
            body_timeout: Duration::from_secs(20),
            request_timeout: Duration::from_secs(7),
            election_timeout: Duration::from_secs(1),
            keepalive_min_time: Duration::from_secs(5),
            keepalive_interval: Duration::from_secs(2 * 3600),
            keepalive_timeout: Duration::from_secs(20),
            watch_progress_interval: Duration::from_secs(600),
            slow_request: Duration::from_millis(100),
            extensive_metrics: false,
            cors: vec!["*".to_string()],
            host_whitelist: vec!["*".to_string()],
            feature_gates: Vec::new(),
            socket_reuse_port: false,
        }
    }
}

impl Config {
    pub(crate) fn rim_count(&self) -> usize {
        match self.rims {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            rims => rims,
        }
    }

    /// Largest message taken in, in bytes.
    pub(crate) fn message_bytes_max(&self) -> usize {
        self.request_bytes_max.saturating_add(MESSAGE_OVERHEAD_BYTES)
    }
}
