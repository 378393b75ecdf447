//! Who applies: the apply thread, or the driver for a lone small write.
//!
//! Handing an entry to a sleeping thread costs more than applying it: two switches of context, and on a virtual machine the
//! waking of an idle core. So while the apply thread sleeps the driver applies by itself an entry that came alone, if its work is
//! bounded by its size (heartbeats must not wait for the deletion of a million keys) and if its records fit into space that is
//! allocated already (the driver must not wait for a full disk).
//!
//! Invariant: entries reach `Apply` in log order. Only the driver hands entries over, and it applies one by itself only if the
//! apply thread sleeps on an empty inbox, so that none is before it.

use crate::apply::{Apply, ApplyMessage, Committed, Lone, Next, decode};
use crate::inbox::Inbox;
use crate::limits::DISK_RETRY_INTERVAL;
use crate::reply::lock;
use crate::room::RECORD_OVERHEAD_BYTES_MAX;
use model::{Command, Operation, Put, PutValue};
use state::State;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) struct ApplyOwner {
    /// `None` once it failed or ended.
    apply: Mutex<Option<Apply>>,
    inbox: Arc<Inbox<ApplyMessage>>,
}

impl ApplyOwner {
    pub(crate) fn new(apply: Apply, inbox: Arc<Inbox<ApplyMessage>>) -> ApplyOwner {
        ApplyOwner { apply: Mutex::new(Some(apply)), inbox }
    }

    /// The apply thread: runs until told to stop, then hands the state back for the last checkpoint, unless it failed.
    pub(crate) fn run(&self) -> Result<Option<State>, state::Fault> {
        let mut taken = Vec::new();
        let mut next = Next::Wait;
        loop {
            let wait = match next {
                Next::Again => Duration::ZERO,
                Next::Retry => DISK_RETRY_INTERVAL,
                Next::Wait => Duration::from_secs(3600),
                Next::Stop => break,
            };
            if !self.inbox.take(&mut taken, wait) {
                break;
            }
            let Some(turned) = self.with(|apply| apply.turn(&mut taken)) else { break };
            next = turned?;
        }
        Ok(lock(&self.apply).take().map(Apply::into_state))
    }

    /// Hands committed entries over, in log order. Fails if applying one here did.
    pub(crate) fn hand_over(&self, entries: Vec<Committed>, synced_at: Duration) -> Result<(), state::Fault> {
        let entries = match <[Committed; 1]>::try_from(entries) {
            Ok([committed]) => match self.apply_lone(committed, synced_at)? {
                Some(committed) => vec![committed],
                None => return Ok(()),
            },
            Err(entries) => entries,
        };
        self.inbox.push_always(ApplyMessage::Committed { entries, synced_at });
        Ok(())
    }

    pub(crate) fn push(&self, message: ApplyMessage) {
        self.inbox.push_always(message);
    }

    /// Nobody will answer what waits, or what still comes.
    pub(crate) fn abandon(&self) {
        self.inbox.abandon();
    }

    /// Gives the entry back if it is for the apply thread.
    fn apply_lone(&self, committed: Committed, synced_at: Duration) -> Result<Option<Committed>, state::Fault> {
        if committed.entry.data.is_empty() || !self.inbox.receiver_sleeps() {
            return Ok(Some(committed));
        }
        let decoded = decode(&committed.entry)?;
        let Some(bytes) = record_bytes(&decoded.command) else { return Ok(Some(committed)) };
        let mut given = Some(committed);
        let applied = self.with(|apply| {
            if !apply.has_room(bytes) {
                return Ok(false);
            }
            let Some(Committed { entry, in_flight }) = given.take() else { return Ok(false) };
            apply.apply_lone(Lone { entry, decoded, in_flight }, synced_at)
        });
        if applied.transpose()?.unwrap_or(false) {
            self.inbox.push_always(ApplyMessage::Turn);
        }
        Ok(given)
    }

    /// `None` if apply is gone; after a fault it is.
    fn with<T>(&self, act: impl FnOnce(&mut Apply) -> Result<T, state::Fault>) -> Option<Result<T, state::Fault>> {
        let mut owned = lock(&self.apply);
        let result = act(owned.as_mut()?);
        if result.is_err() {
            *owned = None;
        }
        Some(result)
    }
}

/// Bytes that the command's records take at most, if that and its work can be told from its size.
fn record_bytes(command: &Command) -> Option<u64> {
    match command {
        Command::Put(put) => put_bytes(put),
        Command::Txn(txn) if txn.compares.iter().all(|compare| compare.range.is_single()) => {
            let bytes = |operations: &[Operation]| operations.iter().map(operation_bytes).sum::<Option<u64>>();
            Some(bytes(&txn.success)?.max(bytes(&txn.failure)?))
        }
        _ => None,
    }
}

fn operation_bytes(operation: &Operation) -> Option<u64> {
    match operation {
        Operation::Put(put) => put_bytes(put),
        Operation::Range(range) => range.range.is_single().then_some(0),
        Operation::DeleteRange(delete) => delete.range.is_single().then_some(0),
        Operation::Txn(_) => None,
    }
}

fn put_bytes(put: &Put) -> Option<u64> {
    match &put.value {
        PutValue::Set(value) => Some(RECORD_OVERHEAD_BYTES_MAX + (put.key.len() + value.len()) as u64),
        PutValue::Keep => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{DeleteRange, KeyRange, LeaseId, PutLease, Range, Txn};

    fn put(value: PutValue) -> Operation {
        Operation::Put(Put { key: "key".into(), value, lease: PutLease::Set(LeaseId::NONE), prev_kv: false })
    }

    fn txn(success: Vec<Operation>, failure: Vec<Operation>) -> Option<u64> {
        record_bytes(&Command::Txn(Txn { compares: Vec::new(), success, failure }))
    }

    #[test]
    fn only_work_bounded_by_its_size_is_done_by_the_driver() {
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
