//! Txns: which branch is taken, whether it can be carried out whole, and carrying it out.
//!
//! All compares, those of nested txns included, and all checks see the state before the txn; only then is anything
//! written. So a txn is refused whole or carried out whole, and what a put in it may assume does not depend on the
//! operations before it:
//!
//! ```text
//! choose (compares → path) ──▶ check (path: leases, keys, revisions) ──▶ execute (path)
//! ```
//!
//! Reads of the executing branch see the writes before them. The edge refuses txns that put a key twice or delete what
//! they put; here such a txn is carried out in order, without surprise but without promise. Recursion is bounded:
//! neither the edge nor the log's codec lets a txn nest deeper than `model::TXN_DEPTH_MAX`.

use crate::apply::ApplyTxn;
use crate::fault::{Fault, Result};
use crate::lease::LeaseTable;
use crate::operations::{Operations, reads_before};
use crate::outcome::{OperationOutcome, TxnOutcome};
use bytes::Bytes;
use model::{
    Compare, CompareResult, CompareTarget, KeyRange, KeyValue, Operation, Put, PutLease, PutValue, Range, Rejection,
    Revision, Txn,
};
use mvcc::{Key, Meta, ReadError, View};
use std::cmp::Ordering;
use store::Location;

/// What compares, checks and reads see: the keys being changed, or a view of them.
pub(crate) trait Keys {
    fn revision(&self) -> Revision;
    /// Negative if never compacted.
    fn compacted_revision(&self) -> Revision;
    fn get(&self, key: &[u8]) -> Option<Meta>;
    /// Visits the keys of `range` that existed at `at`, which is neither compacted nor in the future, in ascending
    /// order, until `visit` returns false.
    fn each(&self, range: &KeyRange, at: Revision, visit: &mut dyn FnMut(Key<'_>, &Meta) -> bool);
    /// The record at a location, as an encoded `KeyValue`.
    fn record(&self, at: Location) -> std::result::Result<Bytes, mvcc::Fault>;
}

impl Keys for View {
    fn revision(&self) -> Revision {
        View::revision(self)
    }

    fn compacted_revision(&self) -> Revision {
        View::compacted_revision(self)
    }

    fn get(&self, key: &[u8]) -> Option<Meta> {
        View::get(self, key)
    }

    fn each(&self, range: &KeyRange, at: Revision, visit: &mut dyn FnMut(Key<'_>, &Meta) -> bool) {
        for (key, meta) in self.live_as_of(range, at) {
            if !visit(key, &meta) {
                break;
            }
        }
    }

    fn record(&self, at: Location) -> std::result::Result<Bytes, mvcc::Fault> {
        self.read(at)
    }
}

/// The branches that a txn takes: its own, and those of the nested txns of that branch in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Path {
    succeeded: bool,
    /// Compares that were looked at, without those of nested txns.
    compares: u64,
    nested: Vec<Path>,
}

impl Path {
    /// Compares that were looked at.
    pub(crate) fn compares(&self) -> u64 {
        self.compares + self.nested.iter().map(Path::compares).sum::<u64>()
    }

    fn branch<'t>(&self, txn: &'t Txn) -> &'t [Operation] {
        if self.succeeded { &txn.success } else { &txn.failure }
    }

    /// Calls `visit` for each operation on the path that is not a txn itself, in order.
    pub(crate) fn each(&self, txn: &Txn, visit: &mut impl FnMut(&Operation)) {
        let all: std::result::Result<(), Rejection> = self.try_each(txn, &mut |operation| {
            visit(operation);
            Ok(())
        });
        all.expect("nothing is refused");
    }

    /// Calls `visit` for each operation on the path that is not a txn itself, in order, until one is refused.
    fn try_each(
        &self,
        txn: &Txn,
        visit: &mut impl FnMut(&Operation) -> std::result::Result<(), Rejection>,
    ) -> std::result::Result<(), Rejection> {
        let mut nested = self.nested.iter();
        for operation in self.branch(txn) {
            match operation {
                Operation::Txn(inner) => nested.next().expect("a path for each nested txn").try_each(inner, visit)?,
                other => visit(other)?,
            }
        }
        Ok(())
    }
}

/// True if the txn can be answered from a view: it only reads, in both branches, and nests nothing (etcd's rule).
fn is_read_only(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).all(|operation| matches!(operation, Operation::Range(_)))
}

/// True if `holds` for a put of either branch, those of nested txns included.
pub(crate) fn any_put(txn: &Txn, holds: &mut impl FnMut(&Put) -> bool) -> bool {
    txn.success.iter().chain(&txn.failure).any(|operation| match operation {
        Operation::Put(put) => holds(put),
        Operation::Txn(inner) => any_put(inner, holds),
        Operation::Range(_) | Operation::DeleteRange(_) => false,
    })
}

/// The path that the compares select.
pub(crate) fn choose(keys: &impl Keys, txn: &Txn) -> Result<Path> {
    let mut path = Path { succeeded: true, compares: 0, nested: Vec::new() };
    for compare in &txn.compares {
        path.compares += 1;
        if !holds(keys, compare)? {
            path.succeeded = false;
            break;
        }
    }
    for operation in path.branch(txn) {
        if let Operation::Txn(inner) = operation {
            path.nested.push(choose(keys, inner)?);
        }
    }
    Ok(path)
}

/// True if the compare holds for every key of its range. If there is none, a value compares as unlike anything, and any
/// other target as zero.
fn holds(keys: &impl Keys, compare: &Compare) -> Result<bool> {
    if compare.range.is_single() {
        return match keys.get(&compare.range.start) {
            Some(meta) => holds_for(keys, compare, &meta),
            None => Ok(holds_without_key(compare)),
        };
    }
    let (mut any, mut all) = (false, Ok(true));
    keys.each(&compare.range, keys.revision(), &mut |_, meta| {
        any = true;
        all = holds_for(keys, compare, meta);
        matches!(all, Ok(true))
    });
    Ok(all? && (any || holds_without_key(compare)))
}

fn holds_for(keys: &impl Keys, compare: &Compare, meta: &Meta) -> Result<bool> {
    let ordering = match &compare.target {
        CompareTarget::Version(version) => meta.version.cmp(version),
        CompareTarget::Create(revision) => meta.create_revision.cmp(revision),
        CompareTarget::Mod(revision) => meta.mod_revision().cmp(revision),
        CompareTarget::Lease(lease) => meta.lease.cmp(lease),
        CompareTarget::Value(_) => compared(compare, &pair_at(keys, meta.location)?),
    };
    Ok(matches(ordering, compare.result))
}

/// How the target of a pair compares to what it is compared with.
fn compared(compare: &Compare, kv: &KeyValue) -> Ordering {
    match &compare.target {
        CompareTarget::Version(version) => kv.version.cmp(version),
        CompareTarget::Create(revision) => kv.create_revision.cmp(revision),
        CompareTarget::Mod(revision) => kv.mod_revision.cmp(revision),
        CompareTarget::Lease(lease) => kv.lease.cmp(lease),
        CompareTarget::Value(value) => kv.value.cmp(value),
    }
}

fn holds_without_key(compare: &Compare) -> bool {
    let has_value = matches!(compare.target, CompareTarget::Value(_));
    !has_value && matches(compared(compare, &KeyValue::default()), compare.result)
}

fn matches(ordering: Ordering, result: CompareResult) -> bool {
    match result {
        CompareResult::Equal => ordering.is_eq(),
        CompareResult::NotEqual => ordering.is_ne(),
        CompareResult::Greater => ordering.is_gt(),
        CompareResult::Less => ordering.is_lt(),
    }
}

/// The pair stored at a location.
pub(crate) fn pair_at(keys: &impl Keys, at: Location) -> Result<KeyValue> {
    let record = keys.record(at)?;
    KeyValue::decode(&record).map_err(Fault::Record)
}

/// Refuses a path that cannot be carried out whole; the first operation that cannot says why. A put's key is looked at
/// before its lease (etcd's order in a txn; a put alone has the other). Adds to `ranges` how often etcd reads for it.
pub(crate) fn check(
    keys: &impl Keys,
    leases: &LeaseTable,
    txn: &Txn,
    path: &Path,
    ranges: &mut u64,
) -> std::result::Result<(), Rejection> {
    path.try_each(txn, &mut |operation| match operation {
        Operation::Put(put) => {
            check_put_lease(leases, put)?;
            *ranges += u64::from(reads_before(put));
            check_put_key(keys, put)
        }
        Operation::Range(range) => check_range(keys, range),
        Operation::DeleteRange(_) | Operation::Txn(_) => Ok(()),
    })
}

/// A put that keeps value or lease needs the key.
pub(crate) fn check_put_key(keys: &impl Keys, put: &Put) -> std::result::Result<(), Rejection> {
    let keeps = put.value == PutValue::Keep || put.lease == PutLease::Keep;
    if keeps && keys.get(&put.key).is_none() { Err(Rejection::KeyNotFound) } else { Ok(()) }
}

/// A lease that is named must exist.
pub(crate) fn check_put_lease(leases: &LeaseTable, put: &Put) -> std::result::Result<(), Rejection> {
    match put.lease {
        PutLease::Set(lease) if !lease.is_none() && !leases.contains(lease) => Err(Rejection::LeaseNotFound),
        _ => Ok(()),
    }
}

fn check_range(keys: &impl Keys, range: &Range) -> std::result::Result<(), Rejection> {
    match range.revision {
        Revision(0) => Ok(()),
        asked if asked > keys.revision() => Err(Rejection::FutureRevision),
        asked if asked < keys.compacted_revision() => Err(Rejection::Compacted),
        _ => Ok(()),
    }
}

/// Carries out a path that was checked.
pub(crate) fn execute(keys: &mut ApplyTxn<'_>, txn: &Txn, path: &Path) -> Result<TxnOutcome> {
    let mut nested = path.nested.iter();
    let mut responses = Vec::with_capacity(path.branch(txn).len());
    for operation in path.branch(txn) {
        responses.push(match operation {
            Operation::Range(range) => {
                OperationOutcome::Range(keys.read(range).map_err(checked("read keys of a txn"))?)
            }
            Operation::Put(put) => {
                let prev = keys.put(put)?;
                OperationOutcome::Put { prev, revision: keys.revision() }
            }
            Operation::DeleteRange(delete) => {
                let (deleted, prev) = keys.delete_range(delete);
                OperationOutcome::DeleteRange { deleted, prev, revision: keys.revision() }
            }
            Operation::Txn(inner) => {
                OperationOutcome::Txn(execute(keys, inner, nested.next().expect("a path for each nested txn"))?)
            }
        });
    }
    Ok(TxnOutcome { succeeded: path.succeeded, responses })
}

/// Answers a txn that `is_read_only` from a view. Fails if a read asks for a revision that is compacted or in the
/// future. Adds what is counted of it.
pub(crate) fn read(
    view: &View,
    txn: &Txn,
    operations: &mut Operations,
) -> Result<std::result::Result<TxnOutcome, Rejection>> {
    let (succeeded, ranges) = match branch(view, txn, operations)? {
        Ok(branch) => branch,
        Err(rejection) => return Ok(Err(rejection)),
    };
    let responses = ranges.into_iter().map(|range| {
        let found = View::range(view, range).map_err(checked("read keys of a txn"))?;
        Ok(OperationOutcome::Range(found))
    });
    Ok(Ok(TxnOutcome { succeeded, responses: responses.collect::<Result<_>>()? }))
}

/// Whether the compares of a txn that `is_read_only` hold, and what is to be read then.
pub(crate) fn branch<'t>(
    view: &View,
    txn: &'t Txn,
    operations: &mut Operations,
) -> Result<std::result::Result<(bool, Vec<&'t Range>), Rejection>> {
    assert!(is_read_only(txn), "only txns that read are answered from a view");
    let path = choose(view, txn)?;
    let ranges = path.branch(txn).iter().filter_map(|operation| match operation {
        Operation::Range(range) => Some(range),
        _ => None,
    });
    let ranges: Vec<&Range> = ranges.collect();
    let checked_ranges = ranges.iter().try_for_each(|range| check_range(view, range));
    let executed = if checked_ranges.is_ok() { ranges.len() as u64 } else { 0 };
    *operations += Operations::of_reads(path.compares() + executed);
    if let Err(rejection) = checked_ranges {
        return Ok(Err(rejection));
    }
    Ok(Ok((path.succeeded, ranges)))
}

/// For reads whose revisions were checked: only the disk can fail them.
fn checked(doing: &'static str) -> impl Fn(ReadError) -> Fault {
    move |error| match error {
        ReadError::Rejected(rejection) => Fault::Disagreement { doing, rejection },
        ReadError::Fault(fault) => Fault::Keys(fault),
    }
}
