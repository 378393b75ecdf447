//! What the world reads of a member: views, pairs, events, sizes. The only file that knows how these look inside.

use bytes::Bytes;
use model::{KeyRange, KeyValue, Range, Rejection, Revision};
use mvcc::{RangeItem, RangeResult, ReadError};
use node::Handle;
use state::{Outcome, StateView, TxnOutcome};
use std::sync::Arc;
use stdx::codec::read_varint;
use watch::{EventKind, EventList, Registry, Spec, Standing};

/// Physical size may be this much beyond a share of what is retained (P4).
const PHYSICAL_SLACK_BYTES: u64 = 64 << 20;

/// A change of one key at one revision, as a watcher sees it. `None`: it was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub key: Bytes,
    pub pair: Option<KeyValue>,
}

/// What a range read found.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    pub pairs: Vec<KeyValue>,
    pub count: u64,
    pub more: bool,
}

/// Why something could not be read.
#[derive(Debug)]
pub enum Unread {
    Rejected(Rejection),
    /// The disk failed, or a record is not what it should be.
    Failed(String),
}

pub fn range(handle: &Handle, view: &Arc<StateView>, request: &Range) -> Result<Found, Unread> {
    match handle.range(view, request) {
        Ok(answer) => found(&answer.view, &answer.result),
        Err(ReadError::Rejected(rejection)) => Err(Unread::Rejected(rejection)),
        Err(ReadError::Fault(fault)) => Err(Unread::Failed(fault.to_string())),
    }
}

/// The pairs of a result, loaded.
pub fn found(view: &StateView, result: &RangeResult) -> Result<Found, Unread> {
    let failed = |error: &dyn std::fmt::Display| Unread::Failed(error.to_string());
    let mut pairs = Vec::with_capacity(result.items.len());
    for item in &result.items {
        let encoded = match item {
            RangeItem::Stored(location) => view.kv().read(*location).map_err(|fault| failed(&fault))?,
            RangeItem::Encoded(encoded) => encoded.clone(),
        };
        pairs.push(KeyValue::decode(&encoded).map_err(|error| failed(&error))?);
    }
    Ok(Found { pairs, count: result.count, more: result.more })
}

/// Whether the command took effect on keys, by its own account.
pub fn changed(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Put { .. } => true,
        Outcome::DeleteRange { deleted, .. } => *deleted > 0,
        Outcome::Txn(txn) => txn_changed(txn),
        _ => false,
    }
}

fn txn_changed(txn: &TxnOutcome) -> bool {
    txn.responses.iter().any(|response| match response {
        state::OperationOutcome::Range(_) => false,
        state::OperationOutcome::Put { .. } => true,
        state::OperationOutcome::DeleteRange { deleted, .. } => *deleted > 0,
        state::OperationOutcome::Txn(txn) => txn_changed(txn),
    })
}

/// P4, with what breaks it.
pub fn size_excess(view: &StateView) -> Option<String> {
    let (physical, retained) = (view.physical_bytes(), view.retained_bytes());
    let bound = retained + retained * 3 / 10 + PHYSICAL_SLACK_BYTES;
    (physical > bound).then(|| format!("{physical} bytes in files, {retained} retained, at most {bound} are allowed"))
}

/// Watches all keys.
pub struct Watch {
    registry: Registry,
}

impl Watch {
    pub fn new(handle: &Handle, from: Revision) -> Watch {
        let mut registry = Registry::new(handle.events().clone());
        let spec = Spec { range: KeyRange::all(), start_revision: from, no_put: false, no_delete: false };
        registry.create(spec, handle.view().revision()).expect("all keys are not an empty range");
        Watch { registry }
    }

    /// All that is new, in order: changes by revision.
    pub fn read(&mut self, handle: &Handle) -> Result<Vec<(Revision, Vec<Change>)>, Unread> {
        let mut deliveries = Vec::new();
        let mut lists = Vec::new();
        loop {
            let more = self.registry.advance(&mut deliveries);
            lists.extend(deliveries.drain(..).map(|delivery| delivery.events));
            if self.registry.is_behind() {
                let piece = self.registry.catch_up(handle.view().kv());
                let piece = piece.map_err(|error| Unread::Failed(format!("catch up: {error:?}")))?;
                if let Some(piece) = piece {
                    if let Standing::Cancelled(compacted) = piece.standing {
                        return Err(Unread::Failed(format!("the watch was cancelled at {compacted}")));
                    }
                    lists.extend(piece.delivery.map(|delivery| delivery.events));
                }
            } else if !more {
                break;
            }
        }
        let mut read: Vec<(Revision, Vec<Change>)> = Vec::new();
        for list in lists {
            for (revision, change) in changes(&list)? {
                match read.last_mut() {
                    Some((last, changes)) if *last == revision => changes.push(change),
                    _ => read.push((revision, vec![change])),
                }
            }
        }
        Ok(read)
    }
}

fn changes(list: &EventList) -> Result<Vec<(Revision, Change)>, Unread> {
    let encoded = list.encoded_each(true).map_err(|fault| Unread::Failed(fault.to_string()))?;
    let decode = |(event, encoded): (&watch::Event, &Bytes)| {
        let kv = event_pair(encoded).ok_or_else(|| Unread::Failed(format!("decode {event:?}")))?;
        let pair = (event.kind == EventKind::Put).then_some(kv);
        Ok((event.revision(), Change { key: event.key.clone(), pair }))
    };
    list.iter().zip(&encoded).map(decode).collect()
}

/// The `kv` of one encoded `events` field of a `WatchResponse`.
fn event_pair(field: &Bytes) -> Option<KeyValue> {
    const KV_FIELD: u64 = 2 << 3 | 2;
    let mut at = 0;
    let mut number = || {
        let (number, read) = read_varint(field.get(at..)?).ok()?;
        at += read;
        Some(number)
    };
    let (_events_tag, _length) = (number()?, number()?);
    let mut tag = number()?;
    if tag != KV_FIELD {
        let _kind = number()?;
        tag = number()?;
    }
    let length = number()? as usize;
    let kv = (tag == KV_FIELD && at + length <= field.len()).then(|| field.slice(at..at + length))?;
    KeyValue::decode(&kv).ok()
}
