//! What fills a store, as plain facts. Bounded: by the number of resources, and of namespaces and owners that are
//! named.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpaceFacts {
    pub prefix: String,
    /// By group and plural: `events`, `reports.kyverno.io/ephemeralreports`. What is no object counts as `(other)`.
    pub resources: BTreeMap<String, ResourceStat>,
    pub keys: u64,
    /// Of newest versions: keys and values.
    pub live_bytes: u64,
    /// Of the versions before them; absent if the source does not show them.
    pub history_bytes: Option<u64>,
    pub leases: u64,
    pub leases_without_keys: u64,
    /// What hangs on all of them, and on the one with the most: its id, and its keys.
    pub leased_keys: u64,
    pub largest_lease: Option<(i64, u64)>,
    pub members: Vec<MemberFacts>,
    pub no_space_alarms: u64,
    pub corrupt_alarms: u64,
    pub revision: i64,
    pub compact_revision: Option<i64>,
    /// Of containers in Deployments, as `kyverno:v1.12.0`, without the registry.
    pub images: Vec<String>,
    /// The server gives space back by itself.
    pub is_bowline: bool,
    /// False: there were too many objects to look for owners that are gone.
    pub orphans_counted: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceStat {
    pub keys: u64,
    pub live_bytes: u64,
    /// Versions that are kept beside the newest ones, and their bytes.
    pub history_versions: u64,
    pub history_bytes: u64,
    /// Bytes of the largest one, and its key.
    pub largest_bytes: u64,
    pub largest_key: String,
    pub with_lease: u64,
    /// Objects all of whose owners are gone, and their bytes.
    pub orphans: u64,
    pub orphan_bytes: u64,
    /// Values that were not readable.
    pub unreadable: u64,
    pub ages: Ages,
    /// Bytes by namespace, the largest ones.
    pub namespaces: BTreeMap<String, u64>,
    /// Keys by kind of the first owner.
    pub owners: BTreeMap<String, u64>,
}

/// How many objects are how old.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ages {
    pub minutes_10: u64,
    pub hour: u64,
    pub day: u64,
    pub week: u64,
    pub older: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemberFacts {
    pub name: String,
    pub endpoint: String,
    pub version: String,
    pub db_bytes: u64,
    pub db_bytes_in_use: u64,
    pub quota_bytes: Option<u64>,
    pub hash: Option<(i64, i64, u32)>,
    pub unreachable: Option<String>,
}
