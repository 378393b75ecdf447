//! What readers get of state: one consistent image of the keys with the small tables beside it.
//!
//! Made once per batch and shared; making one copies a few references.
//! Invariant: nothing in a view changes after it was made.
//! Not here: leases, accounts and budgets, which readers see as they are now (`LiveTables`).

use crate::alarm::AlarmTable;
use crate::fault::Result;
use crate::membership::Membership;
use crate::operations::Operations;
use crate::outcome::TxnOutcome;
use crate::quota::QuotaInForce;
use crate::tables::AppliedUpTo;
use crate::txn;
use model::{QuotaSet, Range, Rejection, Revision, Txn};
use mvcc::ReclaimStats;
use std::fmt;
use std::sync::Arc;
use store::GivenUp;

/// See the file's head.
#[derive(Clone)]
pub struct StateView {
    pub(crate) kv: mvcc::View,
    pub(crate) alarms: Arc<AlarmTable>,
    pub(crate) membership: Arc<Membership>,
    pub(crate) has_budgets: bool,
    pub(crate) applied: AppliedUpTo,
    pub(crate) retained_bytes: u64,
    pub(crate) unsettled_bytes: u64,
    pub(crate) physical_bytes: u64,
    pub(crate) reclaim: ReclaimStats,
    pub(crate) quota: QuotaInForce,
    pub(crate) given_up: Arc<GivenUp>,
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

    /// The last log entry whose effect this view holds.
    pub fn applied(&self) -> AppliedUpTo {
        self.applied
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
        self.quota.quota.0
    }

    /// The quota in state; `None` as long as it is what the flags say.
    pub fn quota_set(&self) -> Option<QuotaSet> {
        self.quota.set()
    }

    /// What apply takes for records that a person gave up.
    pub fn given_up(&self) -> &GivenUp {
        &self.given_up
    }

    /// Answers a txn that only reads, of which the caller is sure. Refuses it if one of its reads names a
    /// revision that is compacted or in the future; fails if the disk does. Adds what is counted of it.
    pub fn txn(&self, txn: &Txn, operations: &mut Operations) -> Result<std::result::Result<TxnOutcome, Rejection>> {
        txn::read(&self.kv, txn, operations)
    }

    /// Of such a txn, whether its compares hold and what it reads then, each range of a revision that can be read; for
    /// who reads these in steps.
    pub fn txn_branch<'t>(
        &self,
        txn: &'t Txn,
        operations: &mut Operations,
    ) -> Result<std::result::Result<(bool, Vec<&'t Range>), Rejection>> {
        txn::branch(&self.kv, txn, operations)
    }
}

impl fmt::Debug for StateView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateView").field("revision", &self.revision()).field("applied", &self.applied).finish()
    }
}
