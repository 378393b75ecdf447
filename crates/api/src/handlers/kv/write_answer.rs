//! Memory of what writes answer: pairs that were there before, and ranges in txns that write. Where they lie is known
//! when the write is done, and values are loaded for the answer as a whole, so that both are charged before.

use crate::call::items_len;
use crate::in_flight::{Account, Charge};
use crate::status::Status;
use model::{Operation, Revision, Txn};
use mvcc::{Location, RangeItem};
use state::{OperationOutcome, StateView, TxnOutcome};
use std::rc::Rc;

/// Less than this is not worth a look at the limits.
const FREE_BYTES: usize = 32 << 10;

/// What the places of the pairs take that the ranges of a txn find, charged before it is proposed: refused, it has done
/// nothing.
pub(super) async fn charge_places(
    account: &Rc<Account>,
    view: &StateView,
    txn: &Txn,
) -> Result<Option<Charge>, Status> {
    let bytes = usize::try_from(places(view, txn)).unwrap_or(usize::MAX).saturating_mul(size_of::<RangeItem>());
    if bytes <= FREE_BYTES { Ok(None) } else { account.charge(bytes).await.map(Some) }
}

fn places(view: &StateView, txn: &Txn) -> u64 {
    let of_operation = |operation: &Operation| match operation {
        Operation::Range(range) if range.range.is_single() || range.count_only => 1,
        Operation::Range(range) => {
            let count = view.kv().count(&range.range, Revision(0)).unwrap_or_default();
            if range.limit == 0 { count } else { count.min(range.limit) }
        }
        Operation::Put(_) | Operation::DeleteRange(_) => 0,
        Operation::Txn(inner) => places(view, inner),
    };
    txn.success.iter().chain(&txn.failure).map(of_operation).fold(0, u64::saturating_add)
}

/// What the answer of a write takes, charged before its values are loaded.
pub(super) async fn charge_answer(
    account: &Rc<Account>,
    revision: Revision,
    bytes: usize,
) -> Result<Option<Charge>, Status> {
    if bytes <= FREE_BYTES {
        return Ok(None);
    }
    account.charge(bytes).await.map(Some).map_err(|status| {
        let why = status.message;
        Status::new(status.code, format!("bowline: done at revision {revision}, its answer is left out: {why}"))
    })
}

pub(super) fn pairs_bytes(locations: &[Location]) -> usize {
    locations.iter().map(|location| location.length as usize).sum()
}

/// Bytes of the pairs in the answer to a txn.
pub(super) fn txn_bytes(outcome: &TxnOutcome) -> usize {
    let of_operation = |response: &OperationOutcome| match response {
        OperationOutcome::Range(result) => items_len(&result.items),
        OperationOutcome::Put { prev, .. } => pairs_bytes(prev.as_slice()),
        OperationOutcome::DeleteRange { prev, .. } => pairs_bytes(prev),
        OperationOutcome::Txn(inner) => txn_bytes(inner),
    };
    outcome.responses.iter().map(of_operation).sum()
}
