//! Names that etcd no longer knows. Those that 3.6 mapped to new ones still work here, with a warning, so that old
//! manifests start; the others are refused with the reason next to Go's complaint.

/// What became of a removed name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Legacy {
    /// Another flag of the table.
    Renamed(&'static str),
    /// A feature gate.
    Gate(&'static str),
    /// Long without meaning; etcd takes it with any value and does nothing.
    Ignored,
    /// Nothing; says what to do instead.
    Gone(&'static str),
}

/// Flags whose `experimental-` prefix was dropped.
const GRADUATED: &[&str] = &[
    "compact-hash-check-time",
    "corrupt-check-time",
    "compaction-batch-limit",
    "compaction-sleep-interval",
    "watch-progress-notify-interval",
    "warning-apply-duration",
    "warning-unary-request-duration",
    "bootstrap-defrag-threshold-megabytes",
    "memory-mlock",
    "snapshot-catchup-entries",
    "downgrade-check-time",
    "peer-skip-client-san-verification",
    "enable-distributed-tracing",
    "distributed-tracing-address",
    "distributed-tracing-service-name",
    "distributed-tracing-instance-id",
    "distributed-tracing-sampling-rate",
];

const BECAME_GATES: &[(&str, &str)] = &[
    ("experimental-initial-corrupt-check", "InitialCorruptCheck"),
    ("experimental-compact-hash-check-enabled", "CompactHashCheck"),
    ("experimental-enable-lease-checkpoint", "LeaseCheckpoint"),
    ("experimental-enable-lease-checkpoint-persist", "LeaseCheckpointPersist"),
    ("experimental-txn-mode-write-with-shared-buffer", "TxnModeWriteWithSharedBuffer"),
    ("experimental-stop-grpc-service-on-defrag", "StopGRPCServiceOnDefrag"),
];

const IGNORED: &[&str] = &[
    "cluster-active-size",
    "cluster-remove-delay",
    "cluster-sync-interval",
    "config",
    "force",
    "max-result-buffer",
    "max-retry-attempts",
    "peer-heartbeat-interval",
    "peer-election-timeout",
    "retry-interval",
    "snapshot",
    "v",
    "vv",
];

const V2_GONE: &str = "etcd removed its v2 API in 3.6; drop the flag";

const GONE: &[(&str, &str)] = &[
    ("enable-v2", V2_GONE),
    ("experimental-enable-v2v3", V2_GONE),
    ("proxy", V2_GONE),
    ("proxy-failure-wait", V2_GONE),
    ("proxy-refresh-interval", V2_GONE),
    ("proxy-dial-timeout", V2_GONE),
    ("proxy-write-timeout", V2_GONE),
    ("proxy-read-timeout", V2_GONE),
    ("discovery", "etcd removed v2 discovery in 3.7; name the members in --initial-cluster"),
    ("discovery-proxy", "etcd removed v2 discovery in 3.7; drop the flag"),
    ("debug", "etcd removed it in 3.5; use --log-level=debug"),
];

/// Looks a name up that the table does not have.
pub fn find(name: &str) -> Option<Legacy> {
    if let Some(new) = name.strip_prefix("experimental-") {
        // The config file spelled this one differently.
        let new = if new == "snapshot-catch-up-entries" { "snapshot-catchup-entries" } else { new };
        if let Some(new) = GRADUATED.iter().find(|graduated| **graduated == new) {
            return Some(Legacy::Renamed(new));
        }
    }
    let in_pairs = |pairs: &[(&str, &'static str)]| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1);
    if let Some(gate) = in_pairs(BECAME_GATES) {
        return Some(Legacy::Gate(gate));
    }
    if IGNORED.contains(&name) {
        return Some(Legacy::Ignored);
    }
    in_pairs(GONE).map(Legacy::Gone)
}

/// The removed names that still have an effect, with what they became, for the reference page and for the config file.
pub fn mapped() -> impl Iterator<Item = (String, Legacy)> {
    let graduated = GRADUATED.iter().map(|name| (format!("experimental-{name}"), Legacy::Renamed(name)));
    graduated
        .chain([("experimental-snapshot-catch-up-entries".to_owned(), Legacy::Renamed("snapshot-catchup-entries"))])
        .chain(BECAME_GATES.iter().map(|(old, gate)| ((*old).to_owned(), Legacy::Gate(gate))))
}

/// The removed names that are taken and do nothing.
pub fn ignored() -> &'static [&'static str] {
    IGNORED
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::gates::GATES;
    use crate::flags::position;

    #[test]
    fn every_target_exists_and_no_name_is_alive() {
        for (name, legacy) in mapped() {
            assert_eq!(position(&name), None, "{name} is both removed and known");
            match legacy {
                Legacy::Renamed(new) => assert!(position(new).is_some(), "{new}"),
                Legacy::Gate(gate) => assert!(GATES.iter().any(|known| known.name == gate), "{gate}"),
                other => panic!("{name} maps to {other:?}"),
            }
            assert_eq!(find(&name), Some(legacy));
        }
        for name in IGNORED.iter().chain(GONE.iter().map(|(name, _)| name)) {
            assert_eq!(position(name), None, "{name} is both removed and known");
        }
    }
}
