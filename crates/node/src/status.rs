//! What a member tells about itself: a status that any thread may read, and the measurements of its own threads.

use crate::disk_health::{Ailment, SickDisk};
use model::{ClusterId, Command, LogIndex, MemberId, Term};
use state::Operations;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use stdx::metrics::{Counter, Gauge, Histogram};

/// Where the member stands in the cluster and the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    pub cluster: ClusterId,
    pub member: MemberId,
    /// The leader this member knows of.
    pub leader: Option<MemberId>,
    pub term: Term,
    pub committed: LogIndex,
    pub applied: LogIndex,
    /// Disks that do not take writes, or not all: reads go on.
    pub sick_disks: [Option<SickDisk>; 2],
    /// The store's disk failed: nothing is written until the member is started again.
    pub store_failed: bool,
    /// Payloads of proposals that wait until the store's files are shorter.
    pub waiting_bytes: u64,
}

/// The parts of `Status` that change, each written by one thread.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) leader: AtomicU64,
    pub(crate) term: AtomicU64,
    pub(crate) committed: AtomicU64,
    pub(crate) applied: AtomicU64,
    /// The log's disk is full or fails.
    pub(crate) log_stalled: AtomicBool,
    /// When the driver took proposals last, in nanoseconds of the clock.
    pub(crate) taken_at_ns: AtomicU64,
    /// The log is being written or synced.
    pub(crate) log_is_busy: AtomicBool,
    /// Bytes of records that find space although the disk is full.
    pub(crate) record_room: AtomicU64,
    /// Since when apply waits for a write to the store's files, in odd milliseconds; 0 if it does not.
    pub(crate) store_write_since_ms: AtomicU64,
    /// Payloads of the proposals that the driver keeps until the store's files are shorter.
    pub(crate) waiting_bytes: AtomicU64,
}

impl Status {
    /// A disk of the member does not take all writes.
    pub fn is_sick(&self) -> bool {
        self.sick_disks.iter().any(Option::is_some)
    }

    /// A disk of the member is full.
    pub fn disk_full(&self) -> bool {
        self.sick_disks.iter().flatten().any(|sick| sick.trouble.ailment == Ailment::Full)
    }
}

impl Progress {
    pub(crate) fn apply_lag(&self) -> u64 {
        self.committed.load(Ordering::Relaxed).saturating_sub(self.applied.load(Ordering::Relaxed))
    }
}

/// What made the member turn a proposal away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overload {
    /// Committed and not applied.
    ApplyLag {
        entries: u64,
        max: u64,
    },
    /// Of proposals that wait in front of the log.
    InboxBytes {
        bytes: u64,
        max: u64,
    },
    InboxMessages {
        messages: u64,
        max: u64,
    },
}

/// What a proposal waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// To be taken by the driver, or for the store's files to be shorter.
    Queue,
    /// For the log.
    Sync,
    /// To be applied.
    Apply,
}

/// Measurements of the node's threads; `api` gives them their names.
#[derive(Debug)]
pub struct Metrics {
    pub proposals_pending: Gauge,
    pub proposals_failed: Counter,
    pub leader_changes: Counter,
    pub slow_applies: Counter,
    pub read_indexes_slow: Counter,
    pub leases_granted: Counter,
    pub leases_revoked: Counter,
    pub leases_renewed: Counter,
    pub leases_expired: Counter,
    pub puts: Counter,
    pub deletes: Counter,
    pub txns: Counter,
    pub ranges: Counter,
    pub put_bytes: Counter,
    /// Entries from their turn to their effect, by kind of command.
    pub applies: Applies,
    /// What the member proposed by itself, from its proposal to its effect.
    pub own_requests: OwnRequests,
    pub wal_sync: Histogram,
    /// One group of entries to the log's buffer and file, without its sync.
    pub wal_write: Histogram,
    pub wal_bytes: Counter,
    /// Hashes of everything, and of the history up to a revision; measured by who asks for them.
    pub hash: Histogram,
    pub hash_revision: Histogram,
    /// One sync of the store's files.
    pub backend_commit: Histogram,
    pub checkpoint: Histogram,
    /// Of removed files, what readers keep from being free.
    pub pinned_bytes: Gauge,
    /// What the scrub read and found whole, how often it went over everything, and what it found damaged.
    pub scrub_bytes: Counter,
    pub scrub_rounds: Counter,
    pub damaged_records: Gauge,
    pub compaction_keys: Counter,
    pub compaction_total: Histogram,
    /// Wall-clock seconds since 1970 of the last compaction; 0 before the first.
    pub compaction_last_s: Gauge,
    /// How often the quota was met, and how often there was room again by itself.
    pub no_space_raised: Counter,
    pub no_space_cleared: Counter,
    /// Compactions because space was short.
    pub pressure_compactions: Counter,
    /// Seconds until the quota is met at the present rate; -1 if it will not be.
    pub full_in_s: Gauge,
}

/// A histogram for each kind of command that etcd's servers ask of themselves as their clients ask it.
#[derive(Debug)]
pub struct OwnRequests([Histogram; OwnRequests::TYPES.len()]);

impl OwnRequests {
    /// etcd's names.
    const TYPES: [&str; 3] = ["Compaction", "LeaseRevoke", "LeaseCheckpoint"];

    pub(crate) fn observe(&self, command: &Command, took: Duration) {
        let kind = match command {
            Command::Compact(_) | Command::SpaceCompact(_) => 0,
            Command::LeaseRevoke(_) => 1,
            Command::LeaseCheckpoint(_) => 2,
            _ => return,
        };
        self.0[kind].observe(took);
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Histogram)> {
        OwnRequests::TYPES.into_iter().zip(&self.0)
    }
}

impl Default for OwnRequests {
    fn default() -> OwnRequests {
        OwnRequests(std::array::from_fn(|_| Histogram::new(Duration::from_millis(1), 14)))
    }
}

/// A histogram for each kind of command, and for refused and carried out.
#[derive(Debug)]
pub struct Applies([[Histogram; 2]; Applies::OPERATIONS.len()]);

impl Applies {
    /// etcd's names, and ours of what it does not have.
    const OPERATIONS: [&str; 14] = [
        "Put",
        "DeleteRange",
        "Txn",
        "Compaction",
        "LeaseGrant",
        "LeaseRevoke",
        "LeaseCheckpoint",
        "Alarm",
        "ClusterMemberAttrSet",
        "ClusterVersionSet",
        "BudgetSet",
        "BudgetRemove",
        "SpaceSettle",
        "QuotaSet",
    ];

    pub(crate) fn observe(&self, command: &Command, succeeded: bool, took: Duration) {
        let operation = match command {
            Command::Put(_) => 0,
            Command::DeleteRange(_) => 1,
            Command::Txn(_) => 2,
            Command::Compact(_) | Command::SpaceCompact(_) => 3,
            Command::LeaseGrant(_) => 4,
            Command::LeaseRevoke(_) => 5,
            Command::LeaseCheckpoint(_) => 6,
            Command::Alarm(_) => 7,
            Command::MemberPublish(_) => 8,
            Command::ClusterVersionSet(_) => 9,
            Command::BudgetSet(_) => 10,
            Command::BudgetRemove(_) => 11,
            Command::SpaceSettle(_) => 12,
            Command::QuotaSet(_) => 13,
        };
        self.0[operation][usize::from(succeeded)].observe(took);
    }

    /// Kind of command, whether it was carried out, and how long that took.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, bool, &Histogram)> {
        let named = Applies::OPERATIONS.into_iter().zip(&self.0);
        named.flat_map(|(name, [refused, succeeded])| [(name, false, refused), (name, true, succeeded)])
    }
}

impl Default for Applies {
    fn default() -> Applies {
        let histogram = || Histogram::new(Duration::from_micros(100), 20);
        Applies(std::array::from_fn(|_| [histogram(), histogram()]))
    }
}

impl Metrics {
    /// Adds what a command did to keys.
    pub(crate) fn count(&self, operations: Operations) {
        let Operations { ranges, puts, put_bytes, deletes, txns } = operations;
        let counted = [
            (&self.ranges, ranges),
            (&self.puts, puts),
            (&self.put_bytes, put_bytes),
            (&self.deletes, deletes),
            (&self.txns, txns),
        ];
        // An addition is a locked instruction, and most commands do one thing.
        counted.into_iter().filter(|(_, count)| *count > 0).for_each(|(counter, count)| counter.add(count));
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        let disk = || Histogram::new(Duration::from_millis(1), 14);
        let hashes = || Histogram::new(Duration::from_millis(10), 15);
        Metrics {
            proposals_pending: Gauge::default(),
            proposals_failed: Counter::default(),
            leader_changes: Counter::default(),
            slow_applies: Counter::default(),
            read_indexes_slow: Counter::default(),
            leases_granted: Counter::default(),
            leases_revoked: Counter::default(),
            leases_renewed: Counter::default(),
            leases_expired: Counter::default(),
            puts: Counter::default(),
            deletes: Counter::default(),
            txns: Counter::default(),
            ranges: Counter::default(),
            put_bytes: Counter::default(),
            applies: Applies::default(),
            own_requests: OwnRequests::default(),
            wal_sync: disk(),
            wal_write: disk(),
            wal_bytes: Counter::default(),
            hash: hashes(),
            hash_revision: hashes(),
            backend_commit: disk(),
            checkpoint: Histogram::new(Duration::from_millis(10), 17),
            pinned_bytes: Gauge::default(),
            scrub_bytes: Counter::default(),
            scrub_rounds: Counter::default(),
            damaged_records: Gauge::default(),
            compaction_keys: Counter::default(),
            compaction_total: Histogram::new(Duration::from_millis(100), 14),
            compaction_last_s: Gauge::default(),
            no_space_raised: Counter::default(),
            no_space_cleared: Counter::default(),
            pressure_compactions: Counter::default(),
            full_in_s: Gauge::default(),
        }
    }
}
