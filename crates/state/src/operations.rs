//! What a command did to keys, counted as etcd counts it: dashboards read these numbers.
//!
//! etcd counts each use that a request makes of its key store: a put or deletion that wants the pair before reads it
//! first, each compare of a txn that is looked at reads, and so does the check of a put that needs its key. A txn uses
//! the store twice, to decide and to write; a use of more than one operation is a *txn*. What is refused counts as far
//! as it came.

use model::{Put, PutLease, PutValue};
use std::ops::AddAssign;

/// See the file's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Operations {
    pub ranges: u64,
    pub puts: u64,
    /// Of the keys and values put.
    pub put_bytes: u64,
    pub deletes: u64,
    /// Uses of the store with more than one operation.
    pub txns: u64,
}

impl Operations {
    /// A use of the store that read so often, and wrote nothing.
    pub(crate) fn of_reads(ranges: u64) -> Operations {
        Operations { ranges, ..Operations::default() }.as_one_use()
    }

    pub(crate) fn as_one_use(self) -> Operations {
        Operations { txns: u64::from(self.ranges + self.puts + self.deletes > 1), ..self }
    }
}

impl AddAssign for Operations {
    fn add_assign(&mut self, other: Operations) {
        let Operations { ranges, puts, put_bytes, deletes, txns } = other;
        self.ranges += ranges;
        self.puts += puts;
        self.put_bytes += put_bytes;
        self.deletes += deletes;
        self.txns += txns;
    }
}

/// True if etcd reads the pair that the put replaces.
pub(crate) fn reads_before(put: &Put) -> bool {
    put.prev_kv || put.value == PutValue::Keep || put.lease == PutLease::Keep
}
