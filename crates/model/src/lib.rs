//! Domain values that cross layers: what a request means once it has left the wire, what the raft log holds, and how a
//! request can be refused. Everything here is plain data: no I/O, no clock, no locks.
//!
//! Not here: answers of applied commands (`state::Outcome`, since they point into the store) and protobuf messages
//! (only `api` and `client` know those).
#![forbid(unsafe_code)]

mod budget;
mod command;
mod command_codec;
mod id;
mod key_range;
mod key_value;
mod rejection;

pub use budget::{Budget, BudgetFigure, Limits, OverBudget};
pub use command::{
    Alarm, AlarmAction, AlarmKind, Command, Compact, Compare, CompareResult, CompareTarget, DeleteRange, Entry,
    LeaseCheckpoint, LeaseGrant, MemberPublish, Operation, Put, PutLease, PutValue, QuotaSet, Range, RevisionBounds,
    Sort, SortOrder, SortTarget, SpaceSettle, Txn,
};
pub use command_codec::{
    TXN_DEPTH_MAX, budget as decode_budget, decode_entry, encode_entry, put_budget as encode_budget,
    put_quota as encode_quota, quota as decode_quota,
};
pub use id::{ClusterId, LeaseId, LogIndex, MemberId, RequestId, Revision, Term, VersionedRevision};
pub use key_range::{KeyRange, RangeEnd, prefix_end};
pub use key_value::{KeyValue, KeyValueError, REVISION_KEY_BYTES, revision_key};
pub use rejection::Rejection;

/// The etcd release whose behaviour we claim, in every place that says a version.
pub const ETCD_VERSION: &str = "3.7.3";
/// The cluster and storage version that goes with it, as etcd writes them.
pub const ETCD_CLUSTER_VERSION: &str = "3.7.0";
