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
//! at the same applied index. So apply decides, and every member decides alike; it requires that all members have the
//! same quota.

use model::{Put, PutValue};

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
}
