//! The parts of one member, and the queues between them: one function for each hop, the same for threads and for a
//! simulation.
//!
//! Invariant: what a step wants done is queued before the part can be stepped again, so that whoever steps it next
//! keeps the order.
//! Not here: who steps a part, and when (`threads`, `stepped`).

use crate::apply::{Apply, ApplyOutput, Next};
use crate::background::Background;
use crate::driver::{Driver, DriverOutput};
use crate::inbox::Inbox;
use crate::log::Log;
use crate::messages::{ApplyMessage, ApplyReport, DriverMessage, Job, JobDone, LogRequest};
use crate::shared::Shared;
use std::sync::Arc;
use std::time::Duration;

/// A part with the space for what it takes from its queue.
pub(crate) struct Seat<P, M> {
    pub(crate) part: P,
    taken: Vec<M>,
}

impl<P, M> Seat<P, M> {
    pub(crate) fn new(part: P) -> Seat<P, M> {
        Seat { part, taken: Vec::new() }
    }
}

pub(crate) type DriverSeat = Seat<Driver, DriverMessage>;
pub(crate) type LogSeat = Seat<Log, LogRequest>;
pub(crate) type ApplySeat = Seat<Apply, ApplyMessage>;
pub(crate) type BackgroundSeat = Seat<Background, Job>;

/// Everything that is stepped.
pub(crate) struct Parts {
    pub(crate) driver: DriverSeat,
    pub(crate) log: LogSeat,
    pub(crate) apply: ApplySeat,
    pub(crate) background: BackgroundSeat,
}

/// See the file's head. The driver's inbox is in `Shared`, where handles find it.
pub(crate) struct Queues {
    pub(crate) shared: Arc<Shared>,
    pub(crate) log: Inbox<LogRequest>,
    pub(crate) apply: Inbox<ApplyMessage>,
    pub(crate) jobs: Inbox<Job>,
}

/// What a step of the driver left in the queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DriverStep {
    /// Something for apply, which was not woken.
    pub(crate) has_turn: bool,
    /// The driver will not be stepped again.
    pub(crate) stopped: bool,
}

impl Queues {
    /// What waits in these queues is bounded by what waits in front of the driver.
    pub(crate) fn new(shared: Arc<Shared>) -> Queues {
        let unbounded = usize::MAX;
        Queues {
            shared,
            log: Inbox::new(unbounded, unbounded),
            apply: Inbox::new(unbounded, unbounded),
            jobs: Inbox::new(unbounded, unbounded),
        }
    }

    pub(crate) fn step_driver(&self, seat: &mut DriverSeat, now: Duration) -> DriverStep {
        self.shared.inbox.take(&mut seat.taken);
        let DriverOutput { turn, log, messages, stopped } = seat.part.step(now, &mut seat.taken);
        assert!(messages.is_empty(), "a cluster of one has nobody to send to");
        let has_turn = turn.is_some();
        if let Some(turn) = turn {
            self.apply.leave(|queue| queue.push(ApplyMessage::Turn(turn)));
        }
        if !log.is_empty() {
            self.log.leave(|queue| queue.extend(log));
        }
        DriverStep { has_turn, stopped }
    }

    /// May wait for the disk. True if the log is stalled.
    pub(crate) fn step_log(&self, seat: &mut LogSeat) -> bool {
        self.log.take(&mut seat.taken);
        if let Some(report) = seat.part.step(&mut seat.taken) {
            self.shared.inbox.push_always(DriverMessage::Logged(report));
        }
        seat.part.is_stalled()
    }

    /// An empty `cell` is apply that failed, and this may empty it.
    pub(crate) fn step_apply(&self, cell: &mut Option<ApplySeat>) -> Next {
        let Some(seat) = cell else { return Next::Stop };
        self.apply.take(&mut seat.taken);
        let stepped = seat.part.step(&mut seat.taken);
        self.deliver(cell, stepped).0
    }

    /// Steps apply if what waits for it is one small entry that came alone.
    pub(crate) fn step_apply_lone(&self, cell: &mut Option<ApplySeat>) -> bool {
        let Some(seat) = cell else { return false };
        let apply = &seat.part;
        if !self.apply.take_if(&mut seat.taken, |messages| apply.is_lone(messages)) {
            return false;
        }
        let stepped = seat.part.step_lone(&mut seat.taken);
        if self.deliver(cell, stepped).1 {
            self.apply.push_always(ApplyMessage::Upkeep);
        }
        true
    }

    /// Hands on what a step of apply wants done. Returns when the next one is due, and whether upkeep is.
    fn deliver(&self, cell: &mut Option<ApplySeat>, stepped: Result<ApplyOutput, state::Fault>) -> (Next, bool) {
        let (report, is_urgent, next) = match stepped {
            Ok(ApplyOutput { report, is_urgent, jobs, wants_upkeep, next }) => {
                for job in jobs {
                    self.jobs.push_always(job);
                }
                (report, is_urgent, (next, wants_upkeep))
            }
            Err(fault) => {
                self.shared.store_faulted(&fault);
                *cell = None;
                self.apply.abandon();
                let applied = self.shared.published();
                (ApplyReport { applied, failed: true, ..ApplyReport::default() }, true, (Next::Stop, false))
            }
        };
        self.shared.inbox.leave(|queue| DriverMessage::push_report(queue, report));
        if is_urgent {
            self.shared.inbox.wake();
        }
        next
    }

    /// False if the background failed: it is not to be stepped again.
    pub(crate) fn step_background(&self, seat: &mut BackgroundSeat) -> bool {
        self.jobs.take(&mut seat.taken);
        let Some(done) = seat.part.step(&mut seat.taken) else { return true };
        let goes_on = !matches!(done, JobDone::Failed(_));
        self.apply.push_always(ApplyMessage::Done(done));
        goes_on
    }
}
