//! What a command would add to the store, and whether the quota admits it. etcd's figures: a put costs its key, its
//! value and 256 bytes; a txn the dearer of its branches, nested txns included (`footprint`); a lease 64 bytes.
//!
//! ```text
//!              95 %                    100 %                        105 %
//! ──── all ─────┼──── all until the ────┼── nothing that grows ────────┼── only what removes ────▶ retained bytes
//!               │     quota is met      │   (rewrites, leases, and     │
//!               ◀── the alarm clears ───┤    what removes)             │
//! ```
//! A full store can be dug out: while the alarm is up, whatever does not grow is served out of a reserve, for what it
//! leaves behind as history: graceful deletion, removal of finalizers, status and lease updates, kube-apiserver's own
//! compaction. What removes (deletion, compaction, a lease's end) is always served. With `strict_latch` all is as in
//! etcd: whatever puts is refused until the alarm is disarmed.
//!
//! The measure is retained bytes (live values and history not yet compacted), which is the same number on every member
//! at the same applied index. The quota is replicated, too: flags only say what the member in office proposes. So apply
//! decides, every member decides alike, and so does a member that applies its log again.

use model::{Put, PutValue, QuotaSet};

/// Bytes that a put costs beside its key and value.
const PUT_OVERHEAD_BYTES: u64 = 256;

/// The reserve is this part of the quota, above it; and so far below it the alarm clears: 5 %.
const RESERVE_DIVISOR: u64 = 20;

const _: () = assert!(RESERVE_DIVISOR > 1, "the reserve is a part of the quota, and so is what clears the alarm");

/// A rewrite may be so much larger than what it replaces and not count as growth. A graceful deletion adds two fields
/// of metadata, a status update a condition, and any of them the entry of a further field manager, which is the
/// largest: a few hundred bytes. That nobody grows the store in such steps is seen to by the reserve.
const REWRITE_GROWTH_BYTES_MAX: u64 = 1024;

/// Bytes that a lease costs.
pub(crate) const LEASE_BYTES: u64 = 64;

/// Upper bound of retained bytes; `None` means no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota(pub Option<u64>);

impl Quota {
    /// True if a command of this cost may be carried out while `retained_bytes` are in use. What costs nothing always
    /// may.
    pub(crate) fn admits(self, retained_bytes: u64, cost: u64) -> bool {
        cost == 0 || self.0.is_none_or(|limit| retained_bytes.saturating_add(cost) < limit)
    }

    /// True if the reserve admits so many bytes of records.
    pub(crate) fn reserve_admits(self, retained_bytes: u64, record_bytes: u64) -> bool {
        self.0.is_none_or(|limit| {
            retained_bytes.saturating_add(record_bytes) <= limit.saturating_add(limit / RESERVE_DIVISOR)
        })
    }

    /// True if an alarm that the quota raised is over.
    pub(crate) fn is_relieved(self, retained_bytes: u64) -> bool {
        self.0.is_none_or(|limit| retained_bytes < limit - limit / RESERVE_DIVISOR)
    }
}

/// What apply goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QuotaInForce {
    pub(crate) quota: Quota,
    pub(crate) strict_latch: bool,
    /// False in state that an older release left, until the first `QuotaSet`: then it is what the flags say.
    is_replicated: bool,
}

impl QuotaInForce {
    pub(crate) fn replicated(QuotaSet { bytes, strict_latch }: QuotaSet) -> QuotaInForce {
        QuotaInForce { quota: Quota(bytes), strict_latch, is_replicated: true }
    }

    /// For state that holds no quota.
    pub(crate) fn of_flags(quota: Quota, strict_latch: bool) -> QuotaInForce {
        QuotaInForce { quota, strict_latch, is_replicated: false }
    }

    /// What state holds, if it holds one.
    pub(crate) fn set(self) -> Option<QuotaSet> {
        self.is_replicated.then_some(QuotaSet { bytes: self.quota.0, strict_latch: self.strict_latch })
    }
}

/// What a command's puts would do, when the quota is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct QuotaDemand {
    /// A key is created, or one grows by more than `REWRITE_GROWTH_BYTES_MAX`.
    pub(crate) grows: bool,
    /// Of all new records; those they replace become history of the same size.
    pub(crate) record_bytes: u64,
}

impl QuotaDemand {
    /// Adds a put whose record takes `new` bytes and replaces one of `current` bytes, if the key exists.
    pub(crate) fn add(&mut self, current: Option<u64>, new: u64) {
        self.grows |= grows(current, new);
        self.record_bytes = self.record_bytes.saturating_add(new);
    }
}

/// True if a record of `new` bytes in the place of one of `current` bytes, if there is one, is growth.
pub(crate) fn grows(current: Option<u64>, new: u64) -> bool {
    current.is_none_or(|current| new > current.saturating_add(REWRITE_GROWTH_BYTES_MAX))
}

/// Cost of one put.
pub(crate) fn put_cost(put: &Put) -> u64 {
    let value_bytes = match &put.value {
        PutValue::Set(value) => value.len() as u64,
        PutValue::Keep => 0,
    };
    PUT_OVERHEAD_BYTES + put.key.len() as u64 + value_bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MeasuredEntry, Membership, Options, State};
    use model::{Command, Entry, LogIndex, RequestId, Term, encode_entry};
    use simdisk::SimDisk;
    use std::path::Path;
    use std::sync::Arc;
    use store::Store;

    #[test]
    fn the_quota_admits_what_stays_below_it() {
        let quota = Quota(Some(100));
        assert!(quota.admits(90, 9));
        assert!(!quota.admits(90, 10));
        assert!(quota.admits(1000, 0));
        assert!(Quota(None).admits(u64::MAX, u64::MAX));
    }

    #[test]
    fn the_reserve_is_above_the_quota_and_relief_below() {
        let quota = Quota(Some(1000));
        assert!(quota.reserve_admits(1000, 50));
        assert!(!quota.reserve_admits(1000, 51));
        assert!(!quota.is_relieved(950));
        assert!(quota.is_relieved(949));
        assert!(Quota(None).reserve_admits(u64::MAX, u64::MAX) && Quota(None).is_relieved(u64::MAX));
        assert!(Quota(Some(u64::MAX)).reserve_admits(u64::MAX, u64::MAX));
    }

    #[test]
    fn rewrites_do_not_grow_unless_by_more_than_metadata() {
        let demand = |puts: &[(Option<u64>, u64)]| {
            let mut demand = QuotaDemand::default();
            puts.iter().for_each(|(current, new)| demand.add(*current, *new));
            demand
        };
        assert_eq!(demand(&[(Some(10), 10), (Some(10), 1034)]), QuotaDemand { grows: false, record_bytes: 1044 });
        assert!(demand(&[(Some(10), 1035)]).grows);
        assert!(demand(&[(Some(10), 10), (None, 1)]).grows);
        assert!(!demand(&[]).grows);
    }

    fn open(disk: &SimDisk, quota: Quota) -> State {
        let disk = Arc::new(disk.clone());
        let (store, checkpoint) = Store::open(disk, Path::new("/data"), Default::default()).expect("the disk works");
        let options = Options { quota, ..Options::default() };
        let members = [("one".to_owned(), vec!["http://localhost:2380".to_owned()])];
        match checkpoint {
            Some(checkpoint) => State::open(store, checkpoint, options),
            None => State::bootstrap(store, Membership::bootstrap("cluster", members).expect("valid"), options),
        }
        .expect("the disk works")
    }

    fn checkpoint(state: &mut State) {
        let done = state.begin_checkpoint().and_then(|mut job| job.write()).expect("the disk works");
        state.finish_checkpoint(done).remove().expect("the disk works");
    }

    /// State of an older release goes by the flags of each start, until a quota is set.
    #[test]
    fn the_flags_say_the_quota_where_state_has_none_and_nowhere_else() {
        let disk = SimDisk::new();
        let mut state = open(&disk, Quota(Some(1)));
        assert_eq!(state.quota_set(), Some(QuotaSet { bytes: Some(1), strict_latch: false }));
        state.quota = QuotaInForce::of_flags(Quota(Some(1)), false);
        checkpoint(&mut state);
        for bytes in [Some(2), None] {
            let state = open(&disk, Quota(bytes));
            assert_eq!((state.quota_bytes(), state.quota_set()), (bytes, None));
        }
        let mut state = open(&disk, Quota(None));
        let set = QuotaSet { bytes: Some(3), strict_latch: true };
        let entry = Entry { request: RequestId(1), leader_time_ms: 0, command: Command::QuotaSet(set) };
        let entry = MeasuredEntry::decode(LogIndex(1), encode_entry(&entry).into()).expect("what was encoded");
        state.apply(LogIndex(1), Term(1), &entry).expect("the disk works").answer.expect("it is set");
        checkpoint(&mut state);
        for state in [state, open(&disk, Quota(Some(4)))] {
            assert_eq!((state.quota_bytes(), state.quota_set()), (Some(3), Some(set)));
            assert_eq!(state.view().quota_set(), Some(set));
        }
    }
}
