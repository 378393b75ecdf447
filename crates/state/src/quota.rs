//! What a command would add to the store, and whether the quota has room for it. etcd's figures: a put costs its key, its
//! value and 256 bytes; a txn the dearer of its branches, nested txns included; a lease 64 bytes.
//!
//! The measure is retained bytes (live values and history not yet compacted), which is the same number on every member at the
//! same applied index. So apply decides, and every member decides alike; it requires that all members have the same quota.

use model::{Operation, Put, PutValue, Txn};

/// Bytes that a put costs beside its key and value.
const PUT_OVERHEAD_BYTES: u64 = 256;

/// Bytes that a lease costs.
pub(crate) const LEASE_BYTES: u64 = 64;

/// Upper bound of retained bytes; `None` means no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota(pub Option<u64>);

impl Quota {
    /// True if a command of this cost may be carried out while `retained_bytes` are in use. What costs nothing always may.
    pub(crate) fn has_room(self, retained_bytes: u64, cost: u64) -> bool {
        cost == 0 || self.0.is_none_or(|limit| retained_bytes.saturating_add(cost) < limit)
    }
}

/// Cost of one put.
pub(crate) fn put_cost(put: &Put) -> u64 {
    let value_bytes = match &put.value {
        PutValue::Set(value) => value.len() as u64,
        PutValue::Keep => 0,
    };
    PUT_OVERHEAD_BYTES + put.key.len() as u64 + value_bytes
}

/// Cost of the branch that costs more; 0 if the txn puts nothing.
pub(crate) fn txn_cost(txn: &Txn) -> u64 {
    let branch = |operations: &[Operation]| operations.iter().map(operation_cost).fold(0, u64::saturating_add);
    branch(&txn.success).max(branch(&txn.failure))
}

fn operation_cost(operation: &Operation) -> u64 {
    match operation {
        Operation::Put(put) => put_cost(put),
        Operation::Txn(txn) => txn_cost(txn),
        Operation::Range(_) | Operation::DeleteRange(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{KeyRange, LeaseId, PutLease, Range};

    fn put(key: &'static str, value: &'static str) -> Operation {
        Operation::Put(Put {
            key: key.into(),
            value: PutValue::Set(value.into()),
            lease: PutLease::Set(LeaseId::NONE),
            prev_kv: false,
        })
    }

    #[test]
    fn a_txn_costs_its_dearer_branch_with_nested_txns() {
        let nested = Txn { compares: vec![], success: vec![put("k", "12345")], failure: vec![] };
        let txn = Txn {
            compares: vec![],
            success: vec![put("k", "v"), Operation::Range(Range::new(KeyRange::all()))],
            failure: vec![Operation::Txn(nested), put("long", "")],
        };
        assert_eq!(txn_cost(&txn), 256 + 1 + 5 + 256 + 4);
        assert_eq!(txn_cost(&Txn::default()), 0);
    }

    #[test]
    fn room_ends_below_the_quota() {
        let quota = Quota(Some(100));
        assert!(quota.has_room(90, 9));
        assert!(!quota.has_room(90, 10));
        assert!(quota.has_room(1000, 0));
        assert!(Quota(None).has_room(u64::MAX, u64::MAX));
    }
}
