//! What applied commands answer. Pairs are locations in the store; the view published with the answer loads them.
//!
//! Invariant: each command has the outcome of its own name, which `apply` asserts. So whoever proposed a command gets
//! the answer of its type (`Proposal`), and only `Outcome::answer_to` relies on that.

use crate::alarm::ActiveAlarm;
use crate::operations::Operations;
use model::{Alarm, Command, DeleteRange, LeaseGrant, LeaseId, Put, Rejection, Revision, Txn};
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
    /// What is counted of it.
    pub operations: Operations,
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
    QuotaSet,
}

impl Outcome {
    /// True if this is the outcome of such a command.
    pub(crate) fn is_of(&self, command: &Command) -> bool {
        match command {
            Command::Put(_) => matches!(self, Outcome::Put { .. }),
            Command::DeleteRange(_) => matches!(self, Outcome::DeleteRange { .. }),
            Command::Txn(_) => matches!(self, Outcome::Txn(_)),
            Command::Compact(_) | Command::SpaceCompact(_) => matches!(self, Outcome::Compact),
            Command::LeaseGrant(_) => matches!(self, Outcome::LeaseGrant { .. }),
            Command::LeaseRevoke(_) => matches!(self, Outcome::LeaseRevoke),
            Command::LeaseCheckpoint(_) => matches!(self, Outcome::LeaseCheckpoint),
            Command::Alarm(_) => matches!(self, Outcome::Alarm(_)),
            Command::MemberPublish(_) => matches!(self, Outcome::MemberPublish),
            Command::ClusterVersionSet(_) => matches!(self, Outcome::ClusterVersionSet),
            Command::BudgetSet(_) => matches!(self, Outcome::BudgetSet),
            Command::BudgetRemove(_) => matches!(self, Outcome::BudgetRemove),
            Command::SpaceSettle(_) => matches!(self, Outcome::SpaceSettle),
            Command::QuotaSet(_) => matches!(self, Outcome::QuotaSet),
        }
    }

    /// What the proposal of this type is answered, of which this is the outcome.
    pub fn answer_to<P: Proposal>(self) -> P::Answer {
        P::answer(self).expect("apply asserts that each command has the outcome of its own name")
    }
}

/// A command by its type, with the type of its answer.
pub trait Proposal: Into<Command> {
    type Answer;

    /// `None` for the outcome of another command.
    fn answer(outcome: Outcome) -> Option<Self::Answer>;
}

/// For commands whose answer says no more than that they were carried out.
impl Proposal for Command {
    type Answer = Outcome;

    fn answer(outcome: Outcome) -> Option<Outcome> {
        Some(outcome)
    }
}

impl Proposal for Put {
    /// The pair before, if there was one and it was asked for.
    type Answer = Option<Location>;

    fn answer(outcome: Outcome) -> Option<Option<Location>> {
        if let Outcome::Put { prev } = outcome { Some(prev) } else { None }
    }
}

impl Proposal for DeleteRange {
    type Answer = Deleted;

    fn answer(outcome: Outcome) -> Option<Deleted> {
        if let Outcome::DeleteRange { deleted, prev } = outcome { Some(Deleted { keys: deleted, prev }) } else { None }
    }
}

impl Proposal for Txn {
    type Answer = TxnOutcome;

    fn answer(outcome: Outcome) -> Option<TxnOutcome> {
        if let Outcome::Txn(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Proposal for LeaseGrant {
    /// What holds.
    type Answer = LeaseGrant;

    fn answer(outcome: Outcome) -> Option<LeaseGrant> {
        if let Outcome::LeaseGrant { id, ttl_s } = outcome { Some(LeaseGrant { id, ttl_s }) } else { None }
    }
}

impl Proposal for Alarm {
    /// The alarms that it raised or cleared.
    type Answer = Vec<ActiveAlarm>;

    fn answer(outcome: Outcome) -> Option<Vec<ActiveAlarm>> {
        if let Outcome::Alarm(alarms) = outcome { Some(alarms) } else { None }
    }
}

/// The answer to a deletion.
#[derive(Debug, Clone)]
pub struct Deleted {
    pub keys: u64,
    /// Their pairs in key order, if they were asked for.
    pub prev: Vec<Location>,
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
