//! Txns that read whole ranges: in steps, as long ranges are, and made while they are sent.

use super::find::look_through;
use crate::call::{Answer, RangeBody, Rim};
use crate::in_flight::Account;
use crate::status::{Code, Status};
use model::{Compare, Operation, Range, Txn};
use mvcc::Walk;
use state::StateView;
use std::rc::Rc;
use std::sync::Arc;

/// Pages up to this limit are read at once.
const LIMIT_AT_ONCE: u64 = 128;

/// True if the txn, which only reads, is not answered at once.
pub(super) fn is_long(txn: &Txn) -> bool {
    let is_long = |range: &Range| !range.range.is_single() && (range.limit == 0 || range.limit > LIMIT_AT_ONCE);
    let reads_long = |operation: &Operation| matches!(operation, Operation::Range(range) if is_long(range));
    txn.success.iter().chain(&txn.failure).any(reads_long) || compares_ranges(txn)
}

fn compares_ranges(txn: &Txn) -> bool {
    txn.compares.iter().any(|compare: &Compare| !compare.range.is_single())
}

pub(super) async fn read(rim: &Rim, account: &Rc<Account>, view: Arc<StateView>, txn: Txn) -> Result<Answer, Status> {
    let (succeeded, ranges) = branch(rim, &view, txn).await?;
    rim.node.metrics().ranges.add(ranges.len() as u64);
    let walks = ranges.iter().map(|range| Walk::new(view.kv(), range)).collect::<Result<Vec<Walk>, _>>()?;
    let (mut found, mut charges) = (Vec::with_capacity(walks.len()), Vec::new());
    for mut walk in walks {
        charges.extend(look_through(rim, account, &view, &mut walk).await?);
        found.push(walk.finish());
    }
    let stamp = rim.stamp(view.revision());
    let body = RangeBody::of_txn(rim.identity(), stamp, succeeded, view, found, charges)?;
    Ok(match body.into_message()? {
        Ok(message) => Answer::Message(message),
        Err(body) => Answer::Range(body),
    })
}

/// Whether the compares hold, and what is to be read then. Compares of ranges may look at every value of the store:
/// they have the thread of long work.
async fn branch(rim: &Rim, view: &Arc<StateView>, txn: Txn) -> Result<(bool, Vec<Range>), Status> {
    let compares_ranges = compares_ranges(&txn);
    let (node, view) = (rim.node.clone(), view.clone());
    let choose = move || {
        let branch =
            node.txn_branch(&view, &txn).map_err(|fault| Status::new(Code::DataLoss, format!("read: {fault}")))?;
        let (succeeded, ranges) = branch?;
        Ok::<_, Status>((succeeded, ranges.into_iter().cloned().collect()))
    };
    if compares_ranges { rim.long_work(choose).await? } else { choose() }
}
