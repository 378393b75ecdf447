//! What readers see of state as it is now, not as of a view: leases, accounts and budgets.
//!
//! Each table has a lock, which is held for a few lines. Apply alone changes the tables; what readers do here changes
//! nothing that decides or that a checkpoint holds. A table may be ahead of a published view, and is never behind it.
//! Not here: alarms and membership, of which a view holds the image.

use crate::apply::check_alarms;
use crate::budget::BudgetReader;
use crate::demand::{AskedBy, Demand};
use crate::fault::Result;
use crate::footprint::Footprint;
use crate::lease_reader::LeaseReader;
use crate::quota::QuotaInForce;
use crate::view::StateView;
use model::{Command, Rejection};
use mvcc::AccountsReader;

/// See the file's head. Made once for each `State`; clones share the tables.
#[derive(Debug, Clone)]
pub struct LiveTables {
    pub(crate) leases: LeaseReader,
    pub(crate) accounts: AccountsReader,
    pub(crate) budgets: BudgetReader,
}

impl LiveTables {
    /// Leases and the keys that hang on them.
    pub fn leases(&self) -> &LeaseReader {
        &self.leases
    }

    /// Keys and retained bytes by prefix.
    pub fn accounts(&self) -> &AccountsReader {
        &self.accounts
    }

    /// Budgets and how prefixes stand to them.
    pub fn budgets(&self) -> &BudgetReader {
        &self.budgets
    }

    /// True if the puts of `command` only replace records by such of about the same size, and the new ones have at most
    /// `record_bytes` together. Fails if the disk does.
    pub fn replaces_within(&self, view: &StateView, command: &Command, record_bytes: u64) -> Result<bool> {
        let asked_by = AskedBy { quota: true, budgets: false };
        let demand = Demand::of(&view.kv, &self.accounts, command, asked_by)?.quota;
        Ok(!demand.grows && demand.record_bytes <= record_bytes)
    }

    /// What makes apply refuse `command` for an alarm that is up, a budget or the quota if it comes next; for a leader
    /// whose `view` holds all that was acknowledged. Meeting the quota is for apply, which raises the alarm. Changes
    /// nothing: a caller that refuses for a budget counts that (`BudgetReader::count_refused`). Fails if the disk does.
    pub fn refusal(&self, view: &StateView, command: &Command, leader_time_ms: u64) -> Result<Option<Rejection>> {
        if view.alarms.is_empty() && !view.has_budgets {
            return Ok(None);
        }
        let cost = Footprint::of(command).cost_bytes();
        if let Err(rejection) = check_alarms(&view.alarms, command, cost) {
            return Ok(Some(rejection));
        }
        if cost == 0 {
            return Ok(None);
        }
        let QuotaInForce { quota, strict_latch, .. } = view.quota;
        let meets_quota = view.alarms.by_quota().is_some();
        let asked_by = AskedBy { quota: meets_quota && !strict_latch, budgets: view.has_budgets };
        let demand = Demand::of(&view.kv, &self.accounts, command, asked_by)?;
        if let Some(over) = self.budgets.lock().over(&demand.budgets, leader_time_ms) {
            return Ok(Some(Rejection::OverBudget(over)));
        }
        let grows = strict_latch || demand.quota.grows;
        let is_refused =
            meets_quota && (grows || !quota.reserve_admits(view.retained_bytes, demand.quota.record_bytes));
        Ok(is_refused.then_some(Rejection::NoSpace))
    }
}
