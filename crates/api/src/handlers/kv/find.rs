//! Reading a range: at once if that is a short look, else in turns of the rim's lane.

use crate::call::{Answer, KEYS_PER_SLICE, RangeBody, Rim, Trace, reading};
use crate::in_flight::{Account, Charge};
use crate::status::{Status, read_error};
use crate::wire::Stamp;
use model::Range;
use mvcc::{Found, ReadError, Walk};
use node::RangeWalk;
use state::StateView;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// Keys that a range looks at before it is a long one, for which others of the rim get their turns.
const KEYS_AT_ONCE: usize = 128;
/// What a long range is charged at a time for what it keeps to put it in order.
const ORDER_CHARGE_BYTES: usize = 1 << 20;

/// A range of which the first keys were looked at.
pub(super) struct BegunRange {
    begun: RangeWalk,
    started: Instant,
    is_complete: bool,
}

pub(super) fn begin(rim: &Rim, view: &Arc<StateView>, range: &Range) -> Result<BegunRange, Status> {
    let started = Instant::now();
    let stepped = rim.node.walk(view, range).map_err(ReadError::from).and_then(|mut begun| {
        let is_complete = !begun.walk.reads_values() && reading(|| begun.walk.step(begun.view.kv(), KEYS_AT_ONCE))?;
        Ok(BegunRange { begun, started, is_complete })
    });
    stepped.map_err(|error| {
        count_failure(rim, started);
        read_error(error)
    })
}

/// What a walk found is counted when it is finished.
fn count_failure(rim: &Rim, started: Instant) {
    rim.metrics.range(false, started.elapsed());
    rim.node.metrics().ranges.increment();
}

impl BegunRange {
    /// The answer, unless that takes more steps.
    pub(super) fn answer(self, rim: &Rim, trace: &Trace) -> Option<Result<Answer, Status>> {
        if !self.is_complete {
            return None;
        }
        let stamp = rim.stamp(self.begun.revision);
        let (view, found) = rim.node.finish_walk(self.begun);
        rim.metrics.range(true, self.started.elapsed());
        trace.answer_count.set(found.count);
        Some(answer(rim, stamp, view, found, Vec::new()))
    }
}

fn answer(rim: &Rim, stamp: Stamp, view: Arc<StateView>, found: Found, charges: Vec<Charge>) -> Result<Answer, Status> {
    let body = RangeBody::new(rim.identity(), stamp, view, found, charges)?;
    Ok(match body.into_message()? {
        Ok(message) => Answer::Message(message),
        Err(body) => Answer::Range(body),
    })
}

/// Reads a range of any length.
pub(super) async fn in_steps(
    rim: &Rim,
    account: &Rc<Account>,
    view: &Arc<StateView>,
    range: &Range,
    trace: &Trace,
) -> Result<Answer, Status> {
    let started = Instant::now();
    let mut begun = rim.node.walk(view, range).inspect_err(|_| count_failure(rim, started))?;
    let looked = look_through(rim, account, &begun.view, &mut begun.walk).await;
    let charges = looked.inspect_err(|_| count_failure(rim, started))?;
    rim.metrics.range(true, started.elapsed());
    let stamp = rim.stamp(begun.revision);
    let (view, found) = rim.node.finish_walk(begun);
    trace.answer_count.set(found.count);
    answer(rim, stamp, view, found, charges)
}

/// Looks at all of a range, a slice in each turn. Returns what was charged for what the walk keeps.
pub(super) async fn look_through(
    rim: &Rim,
    account: &Rc<Account>,
    view: &StateView,
    walk: &mut Walk,
) -> Result<Vec<Charge>, Status> {
    let (mut charges, mut charged) = (Vec::new(), 0);
    while !rim
        .lane
        .slice(account.id(), || reading(|| walk.step(view.kv(), KEYS_PER_SLICE)))
        .await
        .map_err(read_error)?
    {
        let held = walk.held_bytes();
        if held > charged {
            let more = (held - charged).max(ORDER_CHARGE_BYTES);
            charges.push(account.charge(more).await?);
            charged += more;
        }
    }
    Ok(charges)
}
