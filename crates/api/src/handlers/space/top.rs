//! Who fills the store, and how full it is. It reads accounts and figures that are kept anyway.

use super::budget;
use crate::call::{Answer, Rim, decode};
use crate::status::Status;
use crate::wire;
use bytes::Bytes;
use mvcc::{AccountOrder, AccountStat};
use proto::bowline as pb;

const LIMIT_DEFAULT: usize = 20;
const OVER_BUDGET_MAX: usize = 20;

pub(crate) fn top(rim: &Rim, message: Bytes) -> Result<Answer, Status> {
    let request: pb::TopRequest = decode(message)?;
    let (view, metrics) = (rim.node.view(), rim.node.metrics());
    let limit = match request.limit {
        0 => LIMIT_DEFAULT,
        limit => limit as usize,
    };
    let mut accounts = rim.node.live().accounts().top(usize::MAX, order(request.order()));
    let accounts_total = accounts.len() as u64;
    accounts.truncate(limit);
    let response = pb::TopResponse {
        retained_bytes: view.retained_bytes(),
        physical_bytes: view.physical_bytes(),
        quota_bytes: view.quota_bytes(),
        alarm: view.alarms().by_quota().is_some(),
        full_in_s: u64::try_from(metrics.full_in_s.get()).ok().filter(|_| view.quota_bytes().is_some()),
        accounts_total,
        accounts: accounts.into_iter().map(account).collect(),
        over_budget: over_budget(rim),
        unsettled_bytes: view.unsettled_bytes(),
    };
    Ok(Answer::Message(wire::message(&response)))
}

fn over_budget(rim: &Rim) -> Vec<pb::BudgetState> {
    let over = rim.node.budgets().into_iter().filter(|state| state.refused > 0 || state.over_soft().is_some());
    over.take(OVER_BUDGET_MAX).map(budget::state).collect()
}

fn order(order: pb::Order) -> AccountOrder {
    match order {
        pb::Order::RetainedBytes => AccountOrder::RetainedBytes,
        pb::Order::LiveBytes => AccountOrder::LiveBytes,
        pb::Order::HistoryBytes => AccountOrder::HistoryBytes,
        pb::Order::Keys => AccountOrder::Keys,
        pb::Order::Writes => AccountOrder::Writes,
        pb::Order::Deletes => AccountOrder::Deletes,
    }
}

fn account(stat: AccountStat) -> pb::Account {
    let AccountStat { prefix, keys, live_bytes, history_bytes, writes, deletes } = stat;
    pb::Account { prefix, keys, live_bytes, history_bytes, writes, deletes }
}
