//! What a command did to keys, counted as etcd counts: the operations of a txn one by one, those of the branch that was
//! taken.
//!
//! Not here: reads that are no commands.

use crate::status::Metrics;
use model::{Command, Operation, Put, PutValue};
use state::{OperationOutcome, Outcome, TxnOutcome};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Operations {
    pub(crate) puts: u64,
    /// Of the keys and values put; a value that was kept is not counted.
    pub(crate) put_bytes: u64,
    pub(crate) deletes: u64,
    pub(crate) ranges: u64,
}

impl Operations {
    pub(crate) fn of(command: &Command, outcome: &Outcome) -> Operations {
        let mut operations = Operations::default();
        match (command, outcome) {
            (Command::Put(put), _) => operations.put(put),
            (Command::DeleteRange(_), _) => operations.deletes = 1,
            (Command::Txn(txn), Outcome::Txn(outcome)) => operations.txn(txn, outcome),
            _ => {}
        }
        operations
    }

    pub(crate) fn count(self, metrics: &Metrics) {
        let Operations { puts, put_bytes, deletes, ranges } = self;
        let counted = [
            (&metrics.puts, puts),
            (&metrics.put_bytes, put_bytes),
            (&metrics.deletes, deletes),
            (&metrics.ranges, ranges),
        ];
        // An addition is a locked instruction, and most commands do one thing.
        counted.into_iter().filter(|(_, count)| *count > 0).for_each(|(counter, count)| counter.add(count));
    }

    fn put(&mut self, put: &Put) {
        self.puts += 1;
        let value = match &put.value {
            PutValue::Set(value) => value.len(),
            PutValue::Keep => 0,
        };
        self.put_bytes += (put.key.len() + value) as u64;
    }

    fn txn(&mut self, txn: &model::Txn, outcome: &TxnOutcome) {
        let branch = if outcome.succeeded { &txn.success } else { &txn.failure };
        for (operation, outcome) in branch.iter().zip(&outcome.responses) {
            match (operation, outcome) {
                (Operation::Put(put), _) => self.put(put),
                (Operation::DeleteRange(_), _) => self.deletes += 1,
                (Operation::Range(_), _) => self.ranges += 1,
                (Operation::Txn(txn), OperationOutcome::Txn(outcome)) => self.txn(txn, outcome),
                (Operation::Txn(_), _) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{DeleteRange, KeyRange, PutLease, Txn};

    fn put(key: &'static str, value: PutValue) -> Put {
        Put { key: key.into(), value, lease: PutLease::Set(model::LeaseId(0)), prev_kv: false }
    }

    #[test]
    fn operations_of_the_branch_taken_are_counted_one_by_one() {
        let set = |key| Operation::Put(put(key, PutValue::Set("12345".into())));
        let delete = DeleteRange { range: KeyRange::single("k"), prev_kv: false };
        let nested = Txn {
            compares: vec![],
            success: vec![set("never")],
            failure: vec![set("in"), Operation::DeleteRange(delete)],
        };
        let txn = Txn { compares: vec![], success: vec![set("one"), Operation::Txn(nested)], failure: vec![] };
        let done = |revision| OperationOutcome::Put { prev: None, revision: model::Revision(revision) };
        let inner = TxnOutcome {
            succeeded: false,
            responses: vec![
                done(2),
                OperationOutcome::DeleteRange { deleted: 0, prev: vec![], revision: model::Revision(2) },
            ],
        };
        let outcome = TxnOutcome { succeeded: true, responses: vec![done(2), OperationOutcome::Txn(inner)] };
        let counted = Operations::of(&Command::Txn(txn), &Outcome::Txn(outcome));
        assert_eq!(counted, Operations { puts: 2, put_bytes: 8 + 7, deletes: 1, ranges: 0 });
    }

    #[test]
    fn a_value_that_is_kept_has_no_bytes() {
        let counted = Operations::of(&Command::Put(put("key", PutValue::Keep)), &Outcome::Put { prev: None });
        assert_eq!(counted, Operations { puts: 1, put_bytes: 3, ..Operations::default() });
    }
}
