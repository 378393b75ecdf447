//! Budgets of prefixes: set, remove, list. What they do to writes is decided in `state`.
//!
//! The one check that is made here alone is whether this member's accounts are deep enough for a prefix: that hangs on
//! a flag, and the answer names the flag.

use crate::call::{Answer, Rim, Trace, decode, propose};
use crate::status::{Code, Status};
use crate::wire;
use bytes::Bytes;
use model::{Budget, Command, Limits};
use mvcc::AccountDepth;
use proto::bowline as pb;
use state::BudgetState;

pub(crate) async fn set(rim: &Rim, message: Bytes, trace: &Trace) -> Result<Answer, Status> {
    let request: pb::BudgetSetRequest = decode(message)?;
    let budget = budget(request.budget.unwrap_or_default());
    budget.check()?;
    check_depth(rim.node.live().accounts().depth(), &budget.prefix)?;
    propose(rim, Command::BudgetSet(budget), trace).await?;
    Ok(Answer::Message(wire::message(&pb::BudgetSetResponse {})))
}

pub(crate) async fn remove(rim: &Rim, message: Bytes, trace: &Trace) -> Result<Answer, Status> {
    let request: pb::BudgetRemoveRequest = decode(message)?;
    propose(rim, Command::BudgetRemove(request.prefix), trace).await?;
    Ok(Answer::Message(wire::message(&pb::BudgetRemoveResponse {})))
}

pub(crate) async fn list(rim: &Rim, message: Bytes) -> Result<Answer, Status> {
    let _: pb::BudgetListRequest = decode(message)?;
    // All that was acknowledged is in the tables once it is in a view.
    rim.node.read_barrier().await?;
    let budgets = rim.node.budgets().into_iter().map(state).collect();
    Ok(Answer::Message(wire::message(&pb::BudgetListResponse { budgets })))
}

fn check_depth(depth: AccountDepth, prefix: &[u8]) -> Result<(), Status> {
    if depth.tells_apart(prefix) {
        return Ok(());
    }
    let keep = format!("bowline: keep the budget of {}: ", prefix.escape_ascii());
    let why = match AccountDepth::needed_by(prefix) {
        Some(needed) => format!(
            "accounts are {} components deep, it needs {}; start the members with --space-account-depth={}, or take a shorter \
             prefix",
            depth.components(),
            needed.components(),
            needed.components()
        ),
        None => {
            format!("it has more components than the deepest account, {}; take a shorter prefix", AccountDepth::MAX)
        }
    };
    Err(Status::new(Code::InvalidArgument, keep + &why))
}

fn budget(budget: pb::Budget) -> Budget {
    let limits = |limits: Option<pb::Limits>| {
        let pb::Limits { bytes, keys, writes_per_second } = limits.unwrap_or_default();
        Limits { bytes, keys, writes_per_second }
    };
    Budget { prefix: budget.prefix, soft: limits(budget.soft), hard: limits(budget.hard) }
}

pub(crate) fn state(state: BudgetState) -> pb::BudgetState {
    let BudgetState { budget, usage, writes_per_second, writes_left, refused } = state;
    let limits = |limits: Limits| {
        let Limits { bytes, keys, writes_per_second } = limits;
        Some(pb::Limits { bytes, keys, writes_per_second })
    };
    let budget = pb::Budget { prefix: budget.prefix, soft: limits(budget.soft), hard: limits(budget.hard) };
    pb::BudgetState {
        budget: Some(budget),
        bytes: usage.retained_bytes,
        keys: usage.keys,
        writes_per_second,
        writes_left,
        refused,
    }
}
