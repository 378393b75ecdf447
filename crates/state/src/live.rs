//! What readers see of state as it is now, not as of a view: leases, accounts and budgets.
//!
//! Each table has a lock, which is held for a few lines. Apply alone changes the tables; what readers do here changes
//! nothing that decides or that a checkpoint holds. A table may be ahead of a published view, and is never behind it.
//! Not here: alarms and membership, of which a view holds the image.

use crate::budget::BudgetReader;
use crate::demand::{AskedBy, Demand};
use crate::fault::Result;
use crate::lease_reader::LeaseReader;
use crate::view::StateView;
use model::{AlarmKind, Command, OverBudget};
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

    /// The limit that makes apply refuse `command` if it comes next; for a leader whose `view` holds all that was
    /// acknowledged. Changes nothing: a caller that refuses the command counts that (`BudgetReader::count_refused`).
    /// Fails if the disk does.
    pub fn over_budget(
        &self,
        view: &StateView,
        command: &Command,
        leader_time_ms: u64,
    ) -> Result<Option<Box<OverBudget>>> {
        // Alarms come before budgets, as in apply.
        let alarms = view.alarms.is_active(AlarmKind::Corrupt) || view.alarms.no_space_by_hand();
        if !view.has_budgets || alarms {
            return Ok(None);
        }
        let asked_by = AskedBy { quota: false, budgets: true };
        let demand = Demand::of(&view.kv, &self.accounts, command, asked_by)?;
        if demand.budgets.is_empty() {
            return Ok(None);
        }
        Ok(self.budgets.lock().over(&demand.budgets, leader_time_ms))
    }
}
