//! What a member answers: to a proposal, and to a range.

use model::{Rejection, Revision, Term};
use mvcc::{RangeResult, Walk};
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

/// A range read in steps, and the view that it is read from.
pub struct RangeWalk {
    pub walk: Walk,
    pub view: Arc<StateView>,
    /// For the answer's header.
    pub revision: Revision,
    /// The newest revision is read, whose view later pages may want.
    pub(crate) reads_current: bool,
}

/// What a range read found and the view that loads its values.
pub struct RangeAnswer {
    pub result: RangeResult,
    pub view: Arc<StateView>,
}
