//! What applied commands answer. Pairs are locations in the store; the view published with the answer loads them.

use crate::alarm::ActiveAlarm;
use model::{LeaseId, Rejection, Revision};
use mvcc::{Change, RangeResult};
use store::Location;

/// What one log entry did.
#[derive(Debug, Clone)]
pub struct Applied {
    pub answer: std::result::Result<Outcome, Rejection>,
    /// Revision of the store after it.
    pub revision: Revision,
    /// What changed, for watchers.
    pub change: Option<Change>,
    /// What it did to the alarm that the quota raises.
    pub no_space: Option<NoSpace>,
}

/// A change of the alarm that the quota raises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSpace {
    /// The command met the quota.
    Raised,
    /// After the command the quota admits growth again.
    Cleared,
}

/// The answer to a command, one variant each.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// `prev` is the pair before, if there was one and it was asked for.
    Put {
        prev: Option<Location>,
    },
    DeleteRange {
        deleted: u64,
        /// The deleted pairs in key order, if they were asked for.
        prev: Vec<Location>,
    },
    Txn(TxnOutcome),
    Compact,
    /// `ttl_s` is the time to live that holds.
    LeaseGrant {
        id: LeaseId,
        ttl_s: i64,
    },
    LeaseRevoke,
    LeaseCheckpoint,
    /// The alarms that the command raised or cleared.
    Alarm(Vec<ActiveAlarm>),
    MemberPublish,
    ClusterVersionSet,
    BudgetSet,
    BudgetRemove,
    SpaceSettle,
}

/// The answer to a txn: which branch was taken, and one outcome for each of its operations.
#[derive(Debug, Clone)]
pub struct TxnOutcome {
    pub succeeded: bool,
    pub responses: Vec<OperationOutcome>,
}

/// The answer to an operation of a txn. `revision` is for its header: the txn's own one from the first write on.
#[derive(Debug, Clone)]
pub enum OperationOutcome {
    Range(RangeResult),
    Put { prev: Option<Location>, revision: Revision },
    DeleteRange { deleted: u64, prev: Vec<Location>, revision: Revision },
    Txn(TxnOutcome),
}
