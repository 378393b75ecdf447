//! Records that were read and verified for a command before it was proposed, on their way to apply and to the answer,
//! so that neither reads them again.
//!
//! Invariant: all that is on its way takes no more than `HANDED_ON_BYTES_MAX`; what does not fit is read again.

use crate::limits::HANDED_ON_BYTES_MAX;
use state::Records;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// See the file's head.
#[derive(Debug)]
pub struct HandedOn {
    records: Records,
    bytes: u64,
    on_the_way: Arc<AtomicU64>,
}

impl HandedOn {
    /// `None` if there are none, or if too much is on its way.
    pub(crate) fn new(records: Records, on_the_way: &Arc<AtomicU64>) -> Option<Arc<HandedOn>> {
        let bytes = records.values().map(|payload| payload.len() as u64).sum();
        if records.is_empty() {
            return None;
        }
        let before = on_the_way.fetch_add(bytes, Ordering::Relaxed);
        let handed_on = HandedOn { records, bytes, on_the_way: on_the_way.clone() };
        (before + bytes <= HANDED_ON_BYTES_MAX).then(|| Arc::new(handed_on))
    }

    pub fn records(&self) -> &Records {
        &self.records
    }
}

impl Drop for HandedOn {
    fn drop(&mut self) {
        self.on_the_way.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_its_way_is_bounded() {
        let on_the_way = Arc::default();
        let half = HANDED_ON_BYTES_MAX as usize / 2;
        let records =
            |bytes| Records::from([(store::Location { segment: 1, offset: 0, length: 0 }, vec![0; bytes].into())]);
        assert!(HandedOn::new(Records::new(), &on_the_way).is_none());
        let held = [HandedOn::new(records(half), &on_the_way), HandedOn::new(records(half), &on_the_way)];
        assert!(held.iter().all(Option::is_some));
        assert!(HandedOn::new(records(1), &on_the_way).is_none());
        drop(held);
        assert!(HandedOn::new(records(1), &on_the_way).is_some());
        assert_eq!(on_the_way.load(Ordering::Relaxed), 0);
    }
}
