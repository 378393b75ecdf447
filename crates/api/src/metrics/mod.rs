//! What the rim measures.
//!
//! Each rim counts for itself (`RimMetrics`); the exporter adds them up. What the node measures it holds itself.
//! Not here: the text of `/metrics` (`http::metrics`).

mod local;
mod scrape;

pub(crate) use local::{HistogramSum, LocalCounter, LocalGauge, LocalHistogram};
pub(crate) use scrape::Scrapes;

use crate::config::Config;
use crate::method::Method;
use crate::status::Code;
use local::doubling;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use stdx::metrics::{Counter, Gauge};

/// Kinds of requests whose duration is measured; the names are the metric's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestType {
    Range,
    ReadonlyTxn,
    Put,
    DeleteRange,
    Txn,
    Compaction,
    LeaseGrant,
    LeaseRevoke,
    Alarm,
}

impl RequestType {
    pub(crate) const NAMES: [&'static str; 9] =
        ["Range", "ReadonlyTxn", "Put", "DeleteRange", "Txn", "Compaction", "LeaseGrant", "LeaseRevoke", "Alarm"];

    /// Answered from a view, without a place in the log.
    pub(crate) fn is_read(self) -> bool {
        matches!(self, RequestType::Range | RequestType::ReadonlyTxn)
    }
}

/// One thing that `/livez` or `/readyz` look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    LiveSerializableRead,
    ReadyDataCorruption,
    ReadySerializableRead,
    ReadyLinearizableRead,
    ReadyNonLearner,
}

impl Check {
    pub(crate) const COUNT: usize = 5;
    pub(crate) const ALL: [Check; Check::COUNT] = [
        Check::LiveSerializableRead,
        Check::ReadyDataCorruption,
        Check::ReadySerializableRead,
        Check::ReadyLinearizableRead,
        Check::ReadyNonLearner,
    ];

    /// Name of the endpoint, as in paths and metrics.
    pub(crate) fn endpoint(self) -> &'static str {
        if self == Check::LiveSerializableRead { "livez" } else { "readyz" }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Check::LiveSerializableRead | Check::ReadySerializableRead => "serializable_read",
            Check::ReadyDataCorruption => "data_corruption",
            Check::ReadyLinearizableRead => "linearizable_read",
            Check::ReadyNonLearner => "non_learner",
        }
    }
}

/// Streams that fail other than by the client's wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamApi {
    Watch,
    LeaseKeepAlive,
}

static REQUEST_BOUNDS_NS: [u64; 14] = doubling(1_000_000);
static RANGE_BOUNDS_NS: [u64; 20] = doubling(100_000);
static LEASE_BOUNDS_NS: [u64; 24] = doubling(1_000_000_000);
/// Prometheus' default buckets.
static HANDLING_BOUNDS_NS: [u64; 11] = [
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Distinct client versions counted by name; the text is the client's, so it is bounded.
const CLIENT_VERSIONS_MAX: usize = 32;
/// What versions beyond that count as.
const OTHER_CLIENT_VERSIONS: &str = "other";

#[derive(Debug)]
pub(crate) struct MethodMetrics {
    pub(crate) started: LocalCounter,
    pub(crate) received: LocalCounter,
    pub(crate) sent: LocalCounter,
    pub(crate) handled: [LocalCounter; Code::COUNT],
    /// With extensive metrics only.
    pub(crate) seconds: Option<LocalHistogram>,
}

/// Counted by one rim.
#[derive(Debug)]
pub(crate) struct RimMetrics {
    pub(crate) methods: Vec<MethodMetrics>,
    /// By type, failed and succeeded.
    pub(crate) requests: Vec<[LocalHistogram; 2]>,
    /// Failed and succeeded.
    pub(crate) ranges: [LocalHistogram; 2],
    pub(crate) received_bytes: LocalCounter,
    pub(crate) sent_bytes: LocalCounter,
    pub(crate) lease_ttl: LocalHistogram,
    pub(crate) watch_streams: LocalGauge,
    pub(crate) watchers: LocalGauge,
    pub(crate) slow_watchers: LocalGauge,
    /// Events handed to streams and not sent yet.
    pub(crate) pending_events: LocalGauge,
    pub(crate) watch_events: LocalCounter,
    pub(crate) watch_failures: [LocalCounter; 2],
    pub(crate) keep_alive_failures: [LocalCounter; 2],
    pub(crate) client_versions: Mutex<Vec<ClientVersion>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientVersion {
    pub(crate) version: String,
    pub(crate) is_stream: bool,
    pub(crate) requests: u64,
}

impl RimMetrics {
    pub(crate) fn new(config: &Config) -> RimMetrics {
        let method = |_: &Method| MethodMetrics {
            started: LocalCounter::default(),
            received: LocalCounter::default(),
            sent: LocalCounter::default(),
            handled: Default::default(),
            seconds: config.extensive_metrics.then(|| LocalHistogram::new(&HANDLING_BOUNDS_NS)),
        };
        let pair = |bounds| [LocalHistogram::new(bounds), LocalHistogram::new(bounds)];
        RimMetrics {
            methods: Method::ALL.iter().map(method).collect(),
            requests: RequestType::NAMES.iter().map(|_| pair(&REQUEST_BOUNDS_NS)).collect(),
            ranges: pair(&RANGE_BOUNDS_NS),
            received_bytes: LocalCounter::default(),
            sent_bytes: LocalCounter::default(),
            lease_ttl: LocalHistogram::new(&LEASE_BOUNDS_NS),
            watch_streams: LocalGauge::default(),
            watchers: LocalGauge::default(),
            slow_watchers: LocalGauge::default(),
            pending_events: LocalGauge::default(),
            watch_events: LocalCounter::default(),
            watch_failures: Default::default(),
            keep_alive_failures: Default::default(),
            client_versions: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn method(&self, method: Method) -> &MethodMetrics {
        self.methods.get(method as usize).expect("one for each method")
    }

    pub(crate) fn request(&self, kind: RequestType, succeeded: bool, took: Duration) {
        if let Some(pair) = self.requests.get(kind as usize) {
            pair[usize::from(succeeded)].observe(took);
        }
    }

    pub(crate) fn range(&self, succeeded: bool, took: Duration) {
        self.ranges[usize::from(succeeded)].observe(took);
    }

    pub(crate) fn stream_failed(&self, api: StreamApi, sending: bool) {
        let failures = match api {
            StreamApi::Watch => &self.watch_failures,
            StreamApi::LeaseKeepAlive => &self.keep_alive_failures,
        };
        failures[usize::from(sending)].increment();
    }

    /// Counts a request of a client that says it speaks this version of the API.
    pub(crate) fn client_request(&self, version: &str, is_stream: bool) {
        // Only the exporter ever holds this lock beside the rim.
        let mut versions = self.client_versions.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |v: &&mut ClientVersion| v.is_stream == is_stream && v.version == version;
        if let Some(known) = versions.iter_mut().find(known) {
            known.requests += 1;
            return;
        }
        let is_full = versions.len() >= CLIENT_VERSIONS_MAX;
        let version = if is_full { OTHER_CLIENT_VERSIONS } else { version };
        if let Some(known) = versions.iter_mut().find(|v| v.is_stream == is_stream && v.version == version) {
            known.requests += 1;
        } else {
            versions.push(ClientVersion { version: version.to_string(), is_stream, requests: 1 });
        }
    }
}

/// Counted by the HTTP endpoints of all rims: rare enough to share.
#[derive(Debug, Default)]
pub(crate) struct HttpMetrics {
    pub(crate) health_succeeded: Counter,
    pub(crate) health_failed: Counter,
    pub(crate) checks: [CheckMetrics; Check::COUNT],
    pub(crate) scrapes: Counter,
    pub(crate) scrapes_in_flight: Gauge,
}

/// Connections of all listeners.
#[derive(Debug, Default)]
pub(crate) struct ConnectionMetrics {
    pub(crate) open: Gauge,
    /// Closed for a newcomer: before they had said anything, and without a call.
    pub(crate) evicted_silent: Counter,
    pub(crate) evicted_resting: Counter,
    /// Newcomers that found no place.
    pub(crate) refused: Counter,
    /// Ended because they asked too much: too many small frames, resets or headers.
    pub(crate) cut_off: Counter,
}

/// Results of one check of `/livez` or `/readyz`.
#[derive(Debug, Default)]
pub(crate) struct CheckMetrics {
    pub(crate) succeeded: Counter,
    pub(crate) failed: Counter,
    /// The last result.
    pub(crate) is_ok: Gauge,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_numbered_by_position() {
        assert!(Check::ALL.iter().enumerate().all(|(position, check)| *check as usize == position));
    }

    #[test]
    fn client_versions_are_counted_by_name_up_to_a_bound() {
        let metrics = RimMetrics::new(&Config::default());
        metrics.client_request("3.7", false);
        metrics.client_request("3.7", false);
        metrics.client_request("3.7", true);
        for version in 0..100 {
            metrics.client_request(&format!("made up {version}"), false);
        }
        let versions = metrics.client_versions.lock().expect("not poisoned");
        let count = |version: &str, is_stream| {
            versions.iter().find(|v| v.version == version && v.is_stream == is_stream).map_or(0, |v| v.requests)
        };
        assert_eq!((count("3.7", false), count("3.7", true)), (2, 1));
        assert_eq!(count("other", false), 100 - (CLIENT_VERSIONS_MAX as u64 - 2));
        assert!(versions.len() <= CLIENT_VERSIONS_MAX + 2);
    }
}
