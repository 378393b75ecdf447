//! What a member answers: to a proposal, and to a range.

use model::{Rejection, Revision, Term};
use mvcc::RangeResult;
use state::{Outcome, StateView};
use std::sync::Arc;
use std::time::Duration;

/// Answer to a proposal that was applied.
#[derive(Debug)]
pub struct Reply {
    pub answer: Result<Outcome, Rejection>,
    /// Revision of the store after the command.
    pub revision: Revision,
    pub term: Term,
    /// Holds the command's effect; loads what the outcome points at.
    pub view: Arc<StateView>,
    pub timings: Timings,
}

/// Where the time of one proposal went, each since the step before.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timings {
    /// In the inbox, until the driver took it.
    pub queue: Duration,
    /// Until its entry was synced and committed.
    pub sync: Duration,
    /// Until it was applied and published, waiting for earlier entries included.
    pub apply: Duration,
}

/// What a range read found and the view that loads its values.
pub struct RangeAnswer {
    pub result: RangeResult,
    pub view: Arc<StateView>,
}
