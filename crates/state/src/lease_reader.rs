//! The lease table as it is shared with readers.
//!
//! Readers share the live table behind a lock (`LiveTables`) instead of getting an image with each view: the lists of
//! keys cannot be copied for every batch, nothing that reads leases asks for a consistent image (etcd answers these
//! requests from the member's live table too), and apply holds the lock for one look-up or change at a time. Readers
//! hold it for a bounded piece: long lists of keys are copied in pieces, between which the table may change.

use crate::lease::LeaseTable;
use model::LeaseId;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Elements copied under one lock: some ten microseconds.
const PIECE: usize = 512;

/// Read access to the leases; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct LeaseReader {
    table: Arc<Mutex<LeaseTable>>,
}

impl LeaseReader {
    pub(crate) fn new(table: LeaseTable) -> LeaseReader {
        LeaseReader { table: Arc::new(Mutex::new(table)) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, LeaseTable> {
        // Changes to the table cannot stop half-way, so that it is whole even if a thread that held it has died.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time to live a lease was granted, in seconds; `None` if there is no such lease.
    pub fn granted_ttl_s(&self, id: LeaseId) -> Option<i64> {
        self.lock().get(id).map(|terms| terms.ttl_s)
    }

    /// Leader time in milliseconds at which a lease ends, as far as the log knows: the leader's clock knows later
    /// renewals.
    pub fn ends_at_ms(&self, id: LeaseId) -> Option<u64> {
        self.lock().get(id).map(|terms| terms.ends_at_ms)
    }

    /// The keys that hang on a lease, in byte order. Keys that come and go meanwhile may be in it or not.
    pub fn keys(&self, id: LeaseId) -> Vec<Box<[u8]>> {
        let mut keys: Vec<Box<[u8]>> = Vec::new();
        loop {
            let before = keys.len();
            let after = keys.last().cloned();
            keys.extend(self.lock().keys_after(id, after.as_deref()).take(PIECE).cloned());
            if keys.len() < before + PIECE {
                return keys;
            }
        }
    }

    /// All leases by id, with the leader time in milliseconds at which the log says they end.
    pub fn all(&self) -> Vec<(LeaseId, u64)> {
        let terms = self.lock().terms().clone();
        terms.iter().map(|(id, terms)| (id, terms.ends_at_ms)).collect()
    }

    pub fn len(&self) -> usize {
        self.lock().terms().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_whole() {
        let mut table = LeaseTable::default();
        for id in 1..=PIECE as i64 * 2 {
            table.grant(LeaseId(id), 5, 0).expect("new");
            table.attach(LeaseId(1), &id.to_be_bytes());
        }
        let leases = LeaseReader::new(table);
        let ids: Vec<i64> = leases.all().iter().map(|(id, _)| id.0).collect();
        assert!(ids.iter().copied().eq(1..=PIECE as i64 * 2));
        assert!(leases.keys(LeaseId(1)).iter().map(|key| key.as_ref()).eq(ids.iter().map(|id| id.to_be_bytes())));
        assert_eq!(leases.keys(LeaseId(2)).len(), 0);
        assert_eq!(leases.granted_ttl_s(LeaseId(-1)), None);
    }
}
