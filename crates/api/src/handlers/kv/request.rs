//! KV requests: etcd's checks in etcd's order, then the domain values of `model`.
//!
//! Invariants: what passes here cannot be refused by the state machine for its shape; nesting is bounded; the checks
//! cost no more than the request is long (times a logarithm).
//! Not here: checks that need the store (leases, revisions, existing keys) and the limit on a request's size.

use super::interval_set::IntervalSet;
use crate::status::{self, Status};
use bytes::Bytes;
use model::{
    Compact, Compare, CompareResult, CompareTarget, DeleteRange, KeyRange, LeaseId, Operation, Put, PutLease, PutValue,
    Range, Revision, RevisionBounds, Sort, SortOrder, SortTarget, Txn,
};
use proto::etcdserverpb as pb;
use std::collections::HashSet;

type Checked<T> = Result<T, Status>;

pub(crate) fn range(request: pb::RangeRequest) -> Checked<Range> {
    if request.key.is_empty() {
        return Err(status::EMPTY_KEY);
    }
    let sort = sort(request.sort_order, request.sort_target)?;
    let bounds = |min, max| RevisionBounds { min: Revision(min), max: Revision(max) };
    Ok(Range {
        range: KeyRange::from_wire(request.key, request.range_end),
        revision: Revision(request.revision),
        limit: u64::try_from(request.limit).unwrap_or(0),
        sort,
        keys_only: request.keys_only,
        count_only: request.count_only,
        mod_bounds: bounds(request.min_mod_revision, request.max_mod_revision),
        create_bounds: bounds(request.min_create_revision, request.max_create_revision),
    })
}

fn sort(order: i32, target: i32) -> Checked<Option<Sort>> {
    use pb::range_request::{SortOrder as Order, SortTarget as Target};
    let order = Order::try_from(order).map_err(|_| status::INVALID_SORT_OPTION)?;
    let target = match Target::try_from(target).map_err(|_| status::INVALID_SORT_OPTION)? {
        Target::Key => SortTarget::Key,
        Target::Version => SortTarget::Version,
        Target::Create => SortTarget::Create,
        Target::Mod => SortTarget::Mod,
        Target::Value => SortTarget::Value,
    };
    Ok(match (order, target) {
        (Order::None | Order::Ascend, SortTarget::Key) => None,
        (Order::Descend, _) => Some(Sort { target, order: SortOrder::Descend }),
        (Order::Ascend, _) => Some(Sort { target, order: SortOrder::Ascend }),
        (Order::None, _) => Some(Sort { target, order: SortOrder::Unspecified }),
    })
}

/// A range whose answer is streamed: not filtered by revision, and sorted only as a target without an order sorts each
/// page.
pub(crate) fn range_stream(request: pb::RangeRequest) -> Checked<Range> {
    let default_order = request.sort_order == pb::range_request::SortOrder::None as i32;
    let range = range(request)?;
    if range.sort.is_some() && !default_order {
        return Err(status::STREAM_SORT);
    }
    if !range.mod_bounds.is_unset() || !range.create_bounds.is_unset() {
        return Err(status::STREAM_FILTER);
    }
    Ok(range)
}

pub(crate) fn put(request: pb::PutRequest) -> Checked<Put> {
    if request.key.is_empty() {
        return Err(status::EMPTY_KEY);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(status::VALUE_PROVIDED);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(status::LEASE_PROVIDED);
    }
    Ok(Put {
        key: request.key,
        value: if request.ignore_value { PutValue::Keep } else { PutValue::Set(request.value) },
        lease: if request.ignore_lease { PutLease::Keep } else { PutLease::Set(LeaseId(request.lease)) },
        prev_kv: request.prev_kv,
    })
}

pub(crate) fn delete_range(request: pb::DeleteRangeRequest) -> Checked<DeleteRange> {
    if request.key.is_empty() {
        return Err(status::EMPTY_KEY);
    }
    Ok(DeleteRange { range: KeyRange::from_wire(request.key, request.range_end), prev_kv: request.prev_kv })
}

pub(crate) fn compact(request: pb::CompactionRequest) -> Compact {
    Compact { revision: Revision(request.revision), physical: request.physical }
}

/// A txn and whether it can be answered from a view: it consists of range operations only.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CheckedTxn {
    pub(crate) txn: Txn,
    pub(crate) read_only: bool,
    /// Read-only, and every range asks for local state.
    pub(crate) serializable: bool,
}

/// `ops_max` counts operations per list, nested lists having what the outer ones leave.
pub(crate) fn txn(request: pb::TxnRequest, ops_max: usize) -> Checked<CheckedTxn> {
    check_txn(&request, ops_max, 0)?;
    check_overlaps(&request.success)?;
    check_overlaps(&request.failure)?;
    let read_only = request.success.iter().chain(&request.failure).all(is_range);
    let serializable = read_only && request.success.iter().chain(&request.failure).all(is_serializable);
    Ok(CheckedTxn { txn: txn_of(request)?, read_only, serializable })
}

/// What `--max-txn-ops` counts: the longest list, and in it the nested txn that has most.
pub(super) fn operations(request: &pb::TxnRequest) -> u64 {
    let most = request.compare.len().max(request.success.len()).max(request.failure.len()) as u64;
    let nested = request.success.iter().chain(&request.failure).filter_map(|op| match &op.request {
        Some(pb::request_op::Request::RequestTxn(txn)) => Some(operations(txn)),
        _ => None,
    });
    most + nested.max().unwrap_or_default()
}

fn is_range(op: &pb::RequestOp) -> bool {
    matches!(op.request, Some(pb::request_op::Request::RequestRange(_)))
}

fn is_serializable(op: &pb::RequestOp) -> bool {
    matches!(&op.request, Some(pb::request_op::Request::RequestRange(range)) if range.serializable)
}

fn check_txn(request: &pb::TxnRequest, ops_max: usize, depth: usize) -> Checked<()> {
    let ops = request.compare.len().max(request.success.len()).max(request.failure.len());
    // An empty txn costs nothing of the budget, so that the depth needs a bound of its own.
    if ops > ops_max || depth >= model::TXN_DEPTH_MAX {
        return Err(status::TOO_MANY_OPS);
    }
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(status::EMPTY_KEY);
    }
    request.success.iter().chain(&request.failure).try_for_each(|op| check_op(op, ops_max - ops, depth + 1))
}

fn check_op(op: &pb::RequestOp, ops_max: usize, depth: usize) -> Checked<()> {
    use pb::request_op::Request;
    match &op.request {
        Some(Request::RequestRange(range)) => {
            if range.key.is_empty() {
                return Err(status::EMPTY_KEY);
            }
            sort(range.sort_order, range.sort_target).map(|_| ())
        }
        Some(Request::RequestPut(put)) => {
            if put.key.is_empty() {
                return Err(status::EMPTY_KEY);
            }
            if put.ignore_value && !put.value.is_empty() {
                return Err(status::VALUE_PROVIDED);
            }
            if put.ignore_lease && put.lease != 0 { Err(status::LEASE_PROVIDED) } else { Ok(()) }
        }
        Some(Request::RequestDeleteRange(delete)) => {
            if delete.key.is_empty() {
                Err(status::EMPTY_KEY)
            } else {
                Ok(())
            }
        }
        Some(Request::RequestTxn(txn)) => check_txn(txn, ops_max, depth),
        None => Err(status::KEY_NOT_FOUND),
    }
}

/// Keys put and ranges deleted by one list of operations, nested ones included.
#[derive(Default)]
struct Footprint<'a> {
    puts: HashSet<&'a Bytes>,
    deletes: IntervalSet,
}

/// Refuses a key that is put twice, or put and deleted, in one branch. The order of the steps is etcd's, which makes it
/// miss a nested put whose delete stands in a later nested txn, and deletes of "every key from here on", whose end it
/// reads as a literal zero byte.
fn check_overlaps(ops: &[pb::RequestOp]) -> Checked<Footprint<'_>> {
    use pb::request_op::Request;
    let mut footprint = Footprint::default();
    for op in ops {
        if let Some(Request::RequestDeleteRange(delete)) = &op.request {
            footprint.deletes.insert(&delete.key, &delete.range_end);
        }
    }
    for op in ops {
        if let Some(Request::RequestTxn(txn)) = &op.request {
            check_nested_overlaps(&mut footprint, txn)?;
        }
    }
    for op in ops {
        if let Some(Request::RequestPut(put)) = &op.request
            && (footprint.deletes.contains(&put.key) || !footprint.puts.insert(&put.key))
        {
            return Err(status::DUPLICATE_KEY);
        }
    }
    Ok(footprint)
}

fn check_nested_overlaps<'a>(footprint: &mut Footprint<'a>, txn: &'a pb::TxnRequest) -> Checked<()> {
    let success = check_overlaps(&txn.success)?;
    let failure = check_overlaps(&txn.failure)?;
    for &key in &success.puts {
        if footprint.deletes.contains(key) || !footprint.puts.insert(key) {
            return Err(status::DUPLICATE_KEY);
        }
    }
    for &key in &failure.puts {
        // Only one of the branches is executed, so the other one may put the same key.
        let put_before = footprint.puts.contains(key) && !success.puts.contains(key);
        if put_before || footprint.deletes.contains(key) {
            return Err(status::DUPLICATE_KEY);
        }
        footprint.puts.insert(key);
    }
    footprint.deletes.union(success.deletes);
    footprint.deletes.union(failure.deletes);
    Ok(())
}

fn txn_of(request: pb::TxnRequest) -> Checked<Txn> {
    Ok(Txn {
        compares: request.compare.into_iter().filter_map(compare).collect(),
        success: request.success.into_iter().map(operation).collect::<Checked<_>>()?,
        failure: request.failure.into_iter().map(operation).collect::<Checked<_>>()?,
    })
}

fn operation(op: pb::RequestOp) -> Checked<Operation> {
    use pb::request_op::Request;
    Ok(match op.request {
        Some(Request::RequestRange(request)) => Operation::Range(range(request)?),
        Some(Request::RequestPut(request)) => Operation::Put(put(request)?),
        Some(Request::RequestDeleteRange(request)) => Operation::DeleteRange(delete_range(request)?),
        Some(Request::RequestTxn(request)) => Operation::Txn(txn_of(request)?),
        None => return Err(status::KEY_NOT_FOUND),
    })
}

/// `None` for a compare that always holds: one whose result is outside of the enum. A target outside of it compares as
/// equal, a value of another type than the target's as zero or empty.
fn compare(request: pb::Compare) -> Option<Compare> {
    use pb::compare::{CompareResult as Wanted, CompareTarget as Target, TargetUnion};
    let range = KeyRange::from_wire(request.key, request.range_end);
    let value = request.target_union;
    let target = match Target::try_from(request.target) {
        Ok(Target::Version) => {
            CompareTarget::Version(if let Some(TargetUnion::Version(version)) = value { version } else { 0 })
        }
        Ok(Target::Create) => {
            CompareTarget::Create(Revision(if let Some(TargetUnion::CreateRevision(rev)) = value { rev } else { 0 }))
        }
        Ok(Target::Mod) => {
            CompareTarget::Mod(Revision(if let Some(TargetUnion::ModRevision(rev)) = value { rev } else { 0 }))
        }
        Ok(Target::Value) => {
            CompareTarget::Value(if let Some(TargetUnion::Value(bytes)) = value { bytes } else { Bytes::new() })
        }
        Ok(Target::Lease) => {
            CompareTarget::Lease(LeaseId(if let Some(TargetUnion::Lease(lease)) = value { lease } else { 0 }))
        }
        Err(_) => return compare_as_equal(range, request.result),
    };
    let result = match Wanted::try_from(request.result) {
        Ok(Wanted::Equal) => CompareResult::Equal,
        Ok(Wanted::Greater) => CompareResult::Greater,
        Ok(Wanted::Less) => CompareResult::Less,
        Ok(Wanted::NotEqual) => CompareResult::NotEqual,
        // A value of an absent key never compares, whatever is wanted.
        Err(_) if matches!(target, CompareTarget::Value(_)) => {
            let target = CompareTarget::Version(0);
            return Some(Compare { range, result: CompareResult::NotEqual, target });
        }
        Err(_) => return None,
    };
    Some(Compare { range, result, target })
}

fn compare_as_equal(range: KeyRange, result: i32) -> Option<Compare> {
    use pb::compare::CompareResult as Wanted;
    match Wanted::try_from(result) {
        // No version is below the least number: this compare never holds.
        Ok(Wanted::Greater | Wanted::Less | Wanted::NotEqual) => {
            Some(Compare { range, result: CompareResult::Less, target: CompareTarget::Version(i64::MIN) })
        }
        Ok(Wanted::Equal) | Err(_) => None,
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
