//! What the raft log holds: every change of replicated state is one `Command`, and apply is a `match` over it.
//!
//! Invariants: a command says all that its effect depends on (no clock, no identity of the applying member), and ranges
//! are normalised. Requests that only read share the nested types but never enter the log.

use crate::{Budget, KeyRange, LeaseId, MemberId, RequestId, Revision};
use bytes::Bytes;

/// One entry of the raft log as state sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which proposal this is: unique per member and run. Nobody reads it as long as the member that proposes an entry
    /// is the one that took the request; one that forwards requests to the leader finds its own among the entries it
    /// applies by this.
    pub request: RequestId,
    /// The proposing leader's clock: milliseconds of leadership time since the cluster was born. It never runs
    /// backwards (apply keeps the maximum) and does not run while no member leads. Lease deadlines are in it.
    pub leader_time_ms: u64,
    pub command: Command,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Put(Put),
    DeleteRange(DeleteRange),
    Txn(Txn),
    Compact(Compact),
    /// As `Compact`, by the member itself because space is short: nobody asked for it.
    SpaceCompact(Revision),
    LeaseGrant(LeaseGrant),
    LeaseRevoke(LeaseId),
    LeaseCheckpoint(LeaseCheckpoint),
    Alarm(Alarm),
    MemberPublish(MemberPublish),
    ClusterVersionSet(String),
    /// In place of the one that its prefix has.
    BudgetSet(Budget),
    /// The prefix of the one to go.
    BudgetRemove(Bytes),
    SpaceSettle(SpaceSettle),
    /// In place of the one before.
    QuotaSet(QuotaSet),
}

impl From<Put> for Command {
    fn from(put: Put) -> Command {
        Command::Put(put)
    }
}

impl From<DeleteRange> for Command {
    fn from(delete: DeleteRange) -> Command {
        Command::DeleteRange(delete)
    }
}

impl From<Txn> for Command {
    fn from(txn: Txn) -> Command {
        Command::Txn(txn)
    }
}

impl From<LeaseGrant> for Command {
    fn from(grant: LeaseGrant) -> Command {
        Command::LeaseGrant(grant)
    }
}

impl From<Alarm> for Command {
    fn from(alarm: Alarm) -> Command {
        Command::Alarm(alarm)
    }
}

/// Reads keys. `limit` 0 means all; `revision` 0 means the current one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    pub range: KeyRange,
    pub revision: Revision,
    pub limit: u64,
    pub sort: Option<Sort>,
    pub keys_only: bool,
    pub count_only: bool,
    pub mod_bounds: RevisionBounds,
    pub create_bounds: RevisionBounds,
}

impl Range {
    /// Everything in `range` now, in key order.
    pub fn new(range: KeyRange) -> Range {
        Range {
            range,
            revision: Revision(0),
            limit: 0,
            sort: None,
            keys_only: false,
            count_only: false,
            mod_bounds: RevisionBounds::default(),
            create_bounds: RevisionBounds::default(),
        }
    }
}

/// Inclusive bounds on a revision of a key; 0 means no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RevisionBounds {
    pub min: Revision,
    pub max: Revision,
}

impl RevisionBounds {
    pub fn is_unset(self) -> bool {
        self == RevisionBounds::default()
    }

    pub fn contains(self, revision: Revision) -> bool {
        (self.min.0 == 0 || revision >= self.min) && (self.max.0 == 0 || revision <= self.max)
    }
}

/// An order other than ascending by key, which is how results come anyway (`sort: None`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sort {
    pub target: SortTarget,
    pub order: SortOrder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortTarget {
    Key,
    Version,
    Create,
    Mod,
    Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortOrder {
    Ascend,
    Descend,
    /// A target and no order, as etcd reads it: the first `limit` + 1 keys in key order are taken and come in ascending
    /// order of the target, cut to `limit`. Without a limit, or with bounds, it is `Ascend`.
    Unspecified,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    pub key: Bytes,
    pub value: PutValue,
    pub lease: PutLease,
    /// The answer carries the pair that was there before.
    pub prev_kv: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutValue {
    Set(Bytes),
    /// Keep the current value; the key must exist.
    Keep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutLease {
    /// Attach to this lease; `LeaseId::NONE` detaches.
    Set(LeaseId),
    /// Keep the current lease; the key must exist.
    Keep,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteRange {
    pub range: KeyRange,
    /// The answer carries the pairs that were deleted.
    pub prev_kv: bool,
}

/// All compares hold: `success`, else `failure`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Txn {
    pub compares: Vec<Compare>,
    pub success: Vec<Operation>,
    pub failure: Vec<Operation>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    Range(Range),
    Put(Put),
    DeleteRange(DeleteRange),
    Txn(Txn),
}

/// Holds if `key's target` `result` `the target's value` is true for every key of `range`; see `state` for what absence
/// compares as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compare {
    pub range: KeyRange,
    pub result: CompareResult,
    pub target: CompareTarget,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompareResult {
    Equal,
    Greater,
    Less,
    NotEqual,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompareTarget {
    Version(i64),
    Create(Revision),
    Mod(Revision),
    Value(Bytes),
    Lease(LeaseId),
}

/// Drops history below `revision`. `physical` asks that the answer waits until the bytes are settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compact {
    pub revision: Revision,
    pub physical: bool,
}

/// Bytes that compactions dropped stop being counted, because the leader's files have followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpaceSettle {
    /// The compacted revision that the leader knew: after a later compaction this does nothing.
    pub compacted: Revision,
    /// At most so many dropped bytes are counted from now on.
    pub unsettled_bytes: u64,
}

/// What apply holds the store's size against from here on. It is in the log because answers follow from it: whoever
/// applies the log again goes by the quota that was in force then, whatever its flags say now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaSet {
    /// Upper bound of retained bytes; `None` for no bound.
    pub bytes: Option<u64>,
    /// NOSPACE as in etcd: up until it is disarmed, and while it is, whatever puts is refused.
    pub strict_latch: bool,
}

/// `id` was chosen by the client or by the proposing member; `ttl_s` is the effective time to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseGrant {
    pub id: LeaseId,
    pub ttl_s: i64,
}

/// Remaining times of leases renewed since the last checkpoint, as the leader's lease clock saw them, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeaseCheckpoint {
    pub remaining: Vec<(LeaseId, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alarm {
    pub action: AlarmAction,
    pub member: MemberId,
    pub kind: AlarmKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlarmAction {
    Activate,
    Deactivate,
}

/// `None` takes part in requests only: it activates nothing and matches no alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlarmKind {
    None,
    NoSpace,
    Corrupt,
}

/// A member tells the cluster its name and where clients reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberPublish {
    pub member: MemberId,
    pub name: String,
    pub client_urls: Vec<String>,
}
