//! How much space the records of a command may take: asked for before it is applied, because apply cannot answer "no space".

use model::{Command, Operation, Put, PutValue};

/// What a record takes beside the key and value of its put, at most.
const RECORD_OVERHEAD_BYTES_MAX: u64 = 128;

/// Bytes that the command's records take at most, 0 if it writes none. `record_bytes` is what a key's record takes now, 0 if there is
/// none: a put that keeps its value writes it anew.
pub(crate) fn room_for(command: &Command, record_bytes: &impl Fn(&[u8]) -> u64) -> u64 {
    match command {
        Command::Put(put) => put_bytes(put, record_bytes),
        Command::Txn(txn) => branches(&txn.success, &txn.failure, record_bytes),
        _ => 0,
    }
}

fn branches(success: &[Operation], failure: &[Operation], record_bytes: &impl Fn(&[u8]) -> u64) -> u64 {
    let bytes = |operations: &[Operation]| {
        operations.iter().map(|operation| operation_bytes(operation, record_bytes)).sum::<u64>()
    };
    bytes(success).max(bytes(failure))
}

fn operation_bytes(operation: &Operation, record_bytes: &impl Fn(&[u8]) -> u64) -> u64 {
    match operation {
        Operation::Put(put) => put_bytes(put, record_bytes),
        Operation::Txn(txn) => branches(&txn.success, &txn.failure, record_bytes),
        Operation::Range(_) | Operation::DeleteRange(_) => 0,
    }
}

fn put_bytes(put: &Put, record_bytes: &impl Fn(&[u8]) -> u64) -> u64 {
    let value = match &put.value {
        PutValue::Set(value) => value.len() as u64,
        PutValue::Keep => record_bytes(&put.key),
    };
    RECORD_OVERHEAD_BYTES_MAX + put.key.len() as u64 + value
}

/// Bytes that the command's records take at most, if that and its work can be told from its size.
pub(crate) fn record_bytes(command: &Command) -> Option<u64> {
    match command {
        Command::Put(put) => bounded_put(put),
        Command::Txn(txn) if txn.compares.iter().all(|compare| compare.range.is_single()) => {
            let bytes = |operations: &[Operation]| operations.iter().map(bounded_operation).sum::<Option<u64>>();
            Some(bytes(&txn.success)?.max(bytes(&txn.failure)?))
        }
        _ => None,
    }
}

fn bounded_operation(operation: &Operation) -> Option<u64> {
    match operation {
        Operation::Put(put) => bounded_put(put),
        Operation::Range(range) => range.range.is_single().then_some(0),
        Operation::DeleteRange(delete) => delete.range.is_single().then_some(0),
        Operation::Txn(_) => None,
    }
}

fn bounded_put(put: &Put) -> Option<u64> {
    match &put.value {
        PutValue::Set(_) => Some(put_bytes(put, &|_| 0)),
        PutValue::Keep => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{DeleteRange, KeyRange, LeaseId, PutLease, Range, Txn};

    #[test]
    fn the_dearer_branch_counts_however_deep() {
        let valued = |value| Put { key: "key".into(), value, lease: PutLease::Set(LeaseId::NONE), prev_kv: false };
        let put = |value: &'static str| valued(PutValue::Set(value.into()));
        let txn = |success, failure| Txn { compares: Vec::new(), success, failure };
        let inner = txn(vec![Operation::Put(put("value")), Operation::Put(put(""))], Vec::new());
        let outer = txn(vec![Operation::Put(put("value"))], vec![Operation::Txn(inner)]);
        let room = |command| room_for(&command, &|key| if key == b"key" { 1000 } else { 0 });
        assert_eq!(room(Command::Put(put("value"))), 136);
        assert_eq!(room(Command::Put(valued(PutValue::Keep))), 1131);
        assert_eq!(room(Command::Txn(outer)), 136 + 131);
        assert_eq!(room(Command::LeaseRevoke(LeaseId(1))), 0);
    }

    #[test]
    fn only_work_bounded_by_its_size_is_told_from_it() {
        let put = |value| {
            Operation::Put(Put { key: "key".into(), value, lease: PutLease::Set(LeaseId::NONE), prev_kv: false })
        };
        let txn = |success, failure| record_bytes(&Command::Txn(Txn { compares: Vec::new(), success, failure }));
        let value = || PutValue::Set("value".into());
        let single = || KeyRange::single("key");
        assert_eq!(txn(vec![put(value()), put(value())], vec![put(value())]), Some(2 * (128 + 3 + 5)));
        assert_eq!(txn(vec![put(PutValue::Keep)], Vec::new()), None);
        assert_eq!(txn(vec![Operation::Range(Range::new(single()))], Vec::new()), Some(0));
        assert_eq!(txn(vec![Operation::Range(Range::new(KeyRange::all()))], Vec::new()), None);
        let delete = |range| Operation::DeleteRange(DeleteRange { range, prev_kv: false });
        assert_eq!(txn(Vec::new(), vec![delete(single())]), Some(0));
        assert_eq!(txn(Vec::new(), vec![delete(KeyRange::all())]), None);
        assert_eq!(record_bytes(&Command::LeaseRevoke(LeaseId(1))), None);
    }
}
