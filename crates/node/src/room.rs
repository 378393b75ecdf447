//! How much space the records of a command may take: asked for before it is applied, because apply cannot answer "no space".

use model::{Command, Operation, Put, PutValue};

/// What a record takes beside the key and value of its put, at most.
pub(crate) const RECORD_OVERHEAD_BYTES_MAX: u64 = 128;

/// Bytes that the command's records take at most, 0 if it writes none. A put that keeps its value counts without it.
pub(crate) fn room_for(command: &Command) -> u64 {
    match command {
        Command::Put(put) => put_bytes(put),
        Command::Txn(txn) => branches(&txn.success, &txn.failure),
        _ => 0,
    }
}

fn branches(success: &[Operation], failure: &[Operation]) -> u64 {
    let bytes = |operations: &[Operation]| operations.iter().map(operation_bytes).sum::<u64>();
    bytes(success).max(bytes(failure))
}

fn operation_bytes(operation: &Operation) -> u64 {
    match operation {
        Operation::Put(put) => put_bytes(put),
        Operation::Txn(txn) => branches(&txn.success, &txn.failure),
        Operation::Range(_) | Operation::DeleteRange(_) => 0,
    }
}

fn put_bytes(put: &Put) -> u64 {
    let value = match &put.value {
        PutValue::Set(value) => value.len(),
        PutValue::Keep => 0,
    };
    RECORD_OVERHEAD_BYTES_MAX + (put.key.len() + value) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{LeaseId, PutLease, Txn};

    #[test]
    fn the_dearer_branch_counts_however_deep() {
        let put = |value: &'static str| Put {
            key: "key".into(),
            value: PutValue::Set(value.into()),
            lease: PutLease::Set(LeaseId::NONE),
            prev_kv: false,
        };
        let txn = |success, failure| Txn { compares: Vec::new(), success, failure };
        let inner = txn(vec![Operation::Put(put("value")), Operation::Put(put(""))], Vec::new());
        let outer = txn(vec![Operation::Put(put("value"))], vec![Operation::Txn(inner)]);
        assert_eq!(room_for(&Command::Put(put("value"))), 136);
        assert_eq!(room_for(&Command::Txn(outer)), 136 + 131);
        assert_eq!(room_for(&Command::LeaseRevoke(LeaseId(1))), 0);
    }
}
