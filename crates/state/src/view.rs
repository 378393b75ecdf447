//! What readers get of state: one consistent image of the keys with the small tables beside it.
//!
//! Made once per batch and shared; making one copies a few references. Leases, accounts and budgets are the live tables,
//! see `LeaseReader`, `AccountsReader` and `BudgetReader`.

use crate::alarm::AlarmTable;
use crate::budget::BudgetReader;
use crate::demand::{AskedBy, Demand};
use crate::fault::Result;
use crate::lease_reader::LeaseReader;
use crate::membership::Membership;
use crate::outcome::TxnOutcome;
use crate::quota::Quota;
use crate::tables::AppliedUpTo;
use crate::txn;
use model::{AlarmKind, Command, Rejection, Revision, Txn};
use mvcc::{AccountsReader, ReclaimStats};
use std::fmt;
use std::sync::Arc;

/// See the file's head.
#[derive(Clone)]
pub struct StateView {
    pub(crate) kv: mvcc::View,
    pub(crate) alarms: Arc<AlarmTable>,
    pub(crate) membership: Arc<Membership>,
    pub(crate) leases: LeaseReader,
    pub(crate) accounts: AccountsReader,
    pub(crate) budgets: BudgetReader,
    pub(crate) has_budgets: bool,
    pub(crate) applied: AppliedUpTo,
    pub(crate) retained_bytes: u64,
    pub(crate) unsettled_bytes: u64,
    pub(crate) physical_bytes: u64,
    pub(crate) reclaim: ReclaimStats,
    pub(crate) quota: Quota,
}

impl StateView {
    pub fn kv(&self) -> &mvcc::View {
        &self.kv
    }

    /// The store's current revision.
    pub fn revision(&self) -> Revision {
        self.kv.revision()
    }

    /// Negative if nothing was ever compacted.
    pub fn compacted_revision(&self) -> Revision {
        self.kv.compacted_revision()
    }

    /// What giving space back did since the start.
    pub fn reclaim_stats(&self) -> ReclaimStats {
        self.reclaim
    }

    pub fn alarms(&self) -> &AlarmTable {
        &self.alarms
    }

    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    pub fn leases(&self) -> &LeaseReader {
        &self.leases
    }

    /// The last log entry whose effect this view holds.
    pub fn applied(&self) -> AppliedUpTo {
        self.applied
    }

    /// Keys and retained bytes by prefix, as they are now.
    pub fn accounts(&self) -> &AccountsReader {
        &self.accounts
    }

    /// Budgets and how prefixes stand to them, as they are now.
    pub fn budgets(&self) -> &BudgetReader {
        &self.budgets
    }

    /// Why apply would refuse the command if it came next, as far as budgets go; for a leader whose view holds all that was
    /// acknowledged. It counts as refused. Fails if the disk does.
    pub fn over_budget(&self, command: &Command, leader_time_ms: u64) -> Result<Option<Rejection>> {
        // Alarms come before budgets, as in apply.
        let alarms = self.alarms.is_active(AlarmKind::Corrupt) || self.alarms.no_space_by_hand();
        if !self.has_budgets || alarms {
            return Ok(None);
        }
        let asked_by = AskedBy { quota: false, budgets: true };
        let demand = Demand::of(&self.kv, &self.accounts, command, asked_by)?.budgets;
        if demand.is_empty() {
            return Ok(None);
        }
        let budgets = self.budgets.lock();
        let over = budgets.over(&demand, leader_time_ms);
        if let Some(over) = &over {
            budgets.count_refused(over);
        }
        Ok(over.map(Rejection::OverBudget))
    }

    /// Bytes of live pairs, of history not yet compacted, and of what is unsettled: what the quota counts.
    pub fn retained_bytes(&self) -> u64 {
        self.retained_bytes
    }

    /// Of them, what compactions dropped and the leader's files still hold.
    pub fn unsettled_bytes(&self) -> u64 {
        self.unsettled_bytes
    }

    /// Bytes of the store's files as far as they are written.
    pub fn physical_bytes(&self) -> u64 {
        self.physical_bytes
    }

    /// `None` if there is no bound.
    pub fn quota_bytes(&self) -> Option<u64> {
        self.quota.0
    }

    /// Answers a txn that only reads (`is_read_only`, which the caller has asked). Refuses it if one of its reads names a
    /// revision that is compacted or in the future; fails if the disk does.
    pub fn txn(&self, txn: &Txn) -> Result<std::result::Result<TxnOutcome, Rejection>> {
        txn::read(&self.kv, txn)
    }
}

impl fmt::Debug for StateView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateView").field("revision", &self.revision()).field("applied", &self.applied).finish()
    }
}
