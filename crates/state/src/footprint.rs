//! The footprint of a command: what it costs, how long its records may get, and whether it needs stored values, when it
//! is decoded.
//!
//! ```text
//! propose ──▶ does it write records? ──▶ decode ──▶ is it small and bounded? ──▶ apply: quota
//!             writes_records                        bounded_record_bytes         cost_bytes
//! ```
//! Figures of a txn are those of its dearer branch, nested txns included, each figure by itself: which branch is
//! carried out is known in apply.
//!
//! Invariant: a pure function of the command, so that a cost is the same on every member.
//! Not here: what the keys are now. A put that keeps its value is as long as that is, so it is not bounded; what puts
//! would do exactly is `demand`.

use crate::fault::{Fault, Result};
use crate::quota::{LEASE_BYTES, put_cost};
use bytes::Bytes;
use model::{Command, Compare, CompareTarget, Entry, LogIndex, Operation, Put, PutValue, Range, SortTarget, Txn};
use store::RECORD_OVERHEAD_BYTES;

/// Bytes that a record takes beside the key and value of its put, at most.
const RECORD_OVERHEAD_BYTES_MAX: u64 = 128;

/// Bytes of an encoded pair beside its key and value: six tags, two lengths, four numbers.
const PAIR_OVERHEAD_BYTES_MAX: u64 = 6 + 2 * 5 + 4 * 10;

const _: () = assert!(RECORD_OVERHEAD_BYTES + PAIR_OVERHEAD_BYTES_MAX <= RECORD_OVERHEAD_BYTES_MAX);

/// See the file's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Footprint {
    cost_bytes: u64,
    /// Without the values that puts keep.
    record_bytes_max: u64,
    is_bounded: bool,
}

impl Footprint {
    pub fn of(command: &Command) -> Footprint {
        measure(command)
    }

    /// What the command counts against the quota; 0 if it does not make the store grow.
    pub(crate) fn cost_bytes(self) -> u64 {
        self.cost_bytes
    }

    /// Whether the command may write records: only such a one may make the store grow.
    pub fn writes_records(self) -> bool {
        self.record_bytes_max > 0
    }

    /// Bytes that its records take at most, headers included, if they and the command's work can be told from the
    /// command's size alone; 0 if it writes none.
    pub fn bounded_record_bytes(self) -> Option<u64> {
        self.is_bounded.then_some(self.record_bytes_max)
    }

    /// Of both, one after the other.
    fn and(self, other: Footprint) -> Footprint {
        Footprint {
            cost_bytes: self.cost_bytes.saturating_add(other.cost_bytes),
            record_bytes_max: self.record_bytes_max.saturating_add(other.record_bytes_max),
            is_bounded: self.is_bounded && other.is_bounded,
        }
    }

    /// Of one of both.
    fn or(self, other: Footprint) -> Footprint {
        Footprint {
            cost_bytes: self.cost_bytes.max(other.cost_bytes),
            record_bytes_max: self.record_bytes_max.max(other.record_bytes_max),
            is_bounded: self.is_bounded && other.is_bounded,
        }
    }
}

fn measure(command: &Command) -> Footprint {
    match command {
        Command::Put(put) => measure_put(put),
        Command::Txn(txn) => measure_txn(txn),
        Command::LeaseGrant(_) => Footprint { cost_bytes: LEASE_BYTES, ..Footprint::default() },
        Command::DeleteRange(_)
        | Command::Compact(_)
        | Command::SpaceCompact(_)
        | Command::LeaseRevoke(_)
        | Command::LeaseCheckpoint(_)
        | Command::Alarm(_)
        | Command::MemberPublish(_)
        | Command::ClusterVersionSet(_)
        | Command::BudgetSet(_)
        | Command::BudgetRemove(_)
        | Command::SpaceSettle(_)
        | Command::QuotaSet(_) => Footprint::default(),
    }
}

fn measure_txn(txn: &Txn) -> Footprint {
    let branch = |operations: &[Operation]| {
        let nothing = Footprint { is_bounded: true, ..Footprint::default() };
        operations.iter().fold(nothing, |sum, operation| sum.and(measure_operation(operation)))
    };
    let dearer = branch(&txn.success).or(branch(&txn.failure));
    let is_bounded = dearer.is_bounded && txn.compares.iter().all(|compare| compare.range.is_single());
    Footprint { is_bounded, ..dearer }
}

fn measure_operation(operation: &Operation) -> Footprint {
    match operation {
        Operation::Put(put) => measure_put(put),
        Operation::Txn(txn) => Footprint { is_bounded: false, ..measure_txn(txn) },
        Operation::Range(range) => Footprint { is_bounded: range.range.is_single(), ..Footprint::default() },
        Operation::DeleteRange(delete) => Footprint { is_bounded: delete.range.is_single(), ..Footprint::default() },
    }
}

fn measure_put(put: &Put) -> Footprint {
    let (value_bytes, keeps_values) = match &put.value {
        PutValue::Set(value) => (value.len() as u64, false),
        PutValue::Keep => (0, true),
    };
    Footprint {
        cost_bytes: put_cost(put),
        record_bytes_max: RECORD_OVERHEAD_BYTES_MAX + put.key.len() as u64 + value_bytes,
        is_bounded: !keeps_values,
    }
}

/// True if apply needs stored values.
pub(crate) fn needs_values(command: &Command) -> bool {
    match command {
        Command::Put(put) => put.value == PutValue::Keep,
        Command::Txn(txn) => txn_needs_values(txn),
        _ => false,
    }
}

fn txn_needs_values(txn: &Txn) -> bool {
    txn.compares.iter().any(is_of_value)
        || txn.success.iter().chain(&txn.failure).any(|operation| match operation {
            Operation::Put(put) => put.value == PutValue::Keep,
            Operation::Range(range) => is_by_value(range),
            Operation::DeleteRange(_) => false,
            Operation::Txn(inner) => txn_needs_values(inner),
        })
}

pub(crate) fn is_of_value(compare: &Compare) -> bool {
    matches!(compare.target, CompareTarget::Value(_))
}

pub(crate) fn is_by_value(range: &Range) -> bool {
    !range.count_only && range.sort.is_some_and(|sort| sort.target == SortTarget::Value)
}

/// A log entry with the footprint of its command.
#[derive(Debug, Clone)]
pub struct MeasuredEntry {
    pub(crate) entry: Entry,
    pub(crate) footprint: Footprint,
    /// Apply needs stored values.
    pub(crate) reads_values: bool,
}

impl MeasuredEntry {
    /// Decodes the payload of the log entry at `index`. Fails if it is damaged or of a newer release.
    pub fn decode(index: LogIndex, payload: Bytes) -> Result<MeasuredEntry> {
        let entry = model::decode_entry(payload).map_err(|error| Fault::Entry { index, error })?;
        Ok(MeasuredEntry::from(entry))
    }

    pub fn command(&self) -> &Command {
        &self.entry.command
    }

    pub fn footprint(&self) -> Footprint {
        self.footprint
    }
}

impl From<Entry> for MeasuredEntry {
    fn from(entry: Entry) -> MeasuredEntry {
        let (footprint, reads_values) = (Footprint::of(&entry.command), needs_values(&entry.command));
        MeasuredEntry { entry, footprint, reads_values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Compare, CompareResult, CompareTarget, DeleteRange, KeyRange, LeaseGrant, LeaseId, PutLease, Range};

    fn valued(key: &'static str, value: PutValue) -> Put {
        Put { key: key.into(), value, lease: PutLease::Set(LeaseId::NONE), prev_kv: false }
    }

    fn put(key: &'static str, value: &'static str) -> Operation {
        Operation::Put(valued(key, PutValue::Set(value.into())))
    }

    fn txn(success: Vec<Operation>, failure: Vec<Operation>) -> Txn {
        Txn { compares: Vec::new(), success, failure }
    }

    #[test]
    fn a_txn_costs_its_dearer_branch_with_nested_txns() {
        let cost = |command: &Command| Footprint::of(command).cost_bytes();
        let nested = txn(vec![put("k", "12345")], vec![]);
        let outer = txn(
            vec![put("k", "v"), Operation::Range(Range::new(KeyRange::all()))],
            vec![Operation::Txn(nested), put("long", "")],
        );
        assert_eq!(cost(&Command::Txn(outer)), 256 + 1 + 5 + 256 + 4);
        assert_eq!(cost(&Command::Txn(Txn::default())), 0);
        assert_eq!(cost(&Command::LeaseGrant(LeaseGrant { id: LeaseId(1), ttl_s: 1 })), 64);
        assert_eq!(cost(&Command::LeaseRevoke(LeaseId(1))), 0);
    }

    #[test]
    fn records_of_the_dearer_branch_count_however_deep() {
        let records = |command: Command| Footprint::of(&command).record_bytes_max;
        let keep = || valued("key", PutValue::Keep);
        let value = || valued("key", PutValue::Set("value".into()));
        let inner = txn(vec![put("key", "value"), put("key", "")], Vec::new());
        let outer = txn(vec![put("key", "value")], vec![Operation::Txn(inner)]);
        assert_eq!(records(Command::Put(value())), 136);
        assert_eq!(records(Command::Put(keep())), 131);
        assert_eq!(records(Command::Txn(outer)), 136 + 131);
        assert_eq!(records(Command::Txn(txn(vec![put("key", "value")], vec![Operation::Put(keep())]))), 136);
        let writes = |command: Command| Footprint::of(&command).writes_records();
        assert!(writes(Command::Put(keep())) && !writes(Command::LeaseRevoke(LeaseId(1))));
        assert_eq!(records(Command::LeaseRevoke(LeaseId(1))), 0);
    }

    #[test]
    fn only_work_bounded_by_its_size_is_bounded() {
        let bounded = |txn: Txn| Footprint::of(&Command::Txn(txn)).bounded_record_bytes();
        let single = || KeyRange::single("key");
        let value = || put("key", "value");
        assert_eq!(bounded(txn(vec![value(), value()], vec![value()])), Some(2 * (128 + 3 + 5)));
        assert_eq!(bounded(txn(vec![Operation::Put(valued("key", PutValue::Keep))], Vec::new())), None);
        assert_eq!(bounded(txn(vec![Operation::Range(Range::new(single()))], Vec::new())), Some(0));
        assert_eq!(bounded(txn(vec![Operation::Range(Range::new(KeyRange::all()))], Vec::new())), None);
        let delete = |range| Operation::DeleteRange(DeleteRange { range, prev_kv: false });
        assert_eq!(bounded(txn(Vec::new(), vec![delete(single())])), Some(0));
        assert_eq!(bounded(txn(Vec::new(), vec![delete(KeyRange::all())])), None);
        assert_eq!(bounded(txn(vec![Operation::Txn(Txn::default())], Vec::new())), None);
        let compared = |range| Txn {
            compares: vec![Compare { range, result: CompareResult::Equal, target: CompareTarget::Version(0) }],
            ..Txn::default()
        };
        assert_eq!(bounded(compared(single())), Some(0));
        assert_eq!(bounded(compared(KeyRange::all())), None);
        let of = |command: &Command| Footprint::of(command).bounded_record_bytes();
        assert_eq!(of(&Command::Put(valued("key", PutValue::Set("value".into())))), Some(128 + 3 + 5));
        assert_eq!(of(&Command::Put(valued("key", PutValue::Keep))), None);
        assert_eq!(of(&Command::LeaseRevoke(LeaseId(1))), None);
    }
}
