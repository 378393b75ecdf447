//! What the parts of a member say to each other. Each part is stepped with what arrived for it, and these are all the
//! words there are: no part reads another's fields.
//!
//! ```text
//!           DriverMessage                Turn
//! handles ───────────────▶ driver ─────────────────▶ apply ──Job──▶ background
//!                          │    ▲ ◀────ApplyReport────┘  ▲             │
//!               LogRequest ▼    │ LogReport              └───JobDone───┘
//!                           log
//! ```
//!
//! Invariants: entries go to apply in log order, in the `Turn`s' order; a report says how things are, not what changed,
//! so that of several only the last counts, but for a durable checkpoint and a term that began: those are said once.

use crate::answer::Reply;
use crate::auto_compaction::AutoCompaction;
use crate::handed_on::HandedOn;
use crate::leader_clock::LeaderClock;
use crate::reply::Slot;
use bytes::Bytes;
use consensus::HardState;
use model::{LogIndex, QuotaSet, SpaceSettle, Term};
use state::{CheckpointDone, CheckpointJob, CleanJob, Cleaned, LeaseClock, MeasuredEntry, StateView};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::Leftovers;

/// To the driver.
pub(crate) enum DriverMessage {
    Propose(Proposal),
    Read { slot: Slot<Arc<StateView>>, sent_at: Duration },
    Applied(ApplyReport),
    Logged(LogReport),
    KeepHistory(Retention),
    WantQuota(QuotaSet),
    Stop,
}

/// How much history is kept beyond what the quota leaves place for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retention {
    /// `None`: the server compacts nothing by itself.
    pub(crate) auto_compaction: Option<AutoCompaction>,
    /// What is kept when the quota is nearly used up; `None`: all of it.
    pub(crate) under_pressure: Option<Duration>,
}

/// A command that wants a place in the log.
pub(crate) struct Proposal {
    pub(crate) payload: Bytes,
    /// It writes records, and nobody has looked whether they only replace others.
    pub(crate) may_grow: bool,
    /// What was read for it.
    pub(crate) read: Option<Arc<HandedOn>>,
    /// Nobody waits for what the member proposes by itself.
    pub(crate) slot: Option<Slot<Reply>>,
    pub(crate) sent_at: Duration,
}

/// A proposal between its place in the log and its answer.
pub(crate) struct InFlight {
    pub(crate) index: LogIndex,
    pub(crate) term: Term,
    pub(crate) read: Option<Arc<HandedOn>>,
    pub(crate) slot: Option<Slot<Reply>>,
    pub(crate) sent_at: Duration,
    pub(crate) taken_at: Duration,
}

/// From the driver to the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LogRequest {
    /// To be durable before the next report.
    Write(LogWork),
    /// Entries up to this one are in a durable checkpoint.
    Trim(u64),
    /// There was a pause: a record behind the newest group is to prove, after a crash, that the group was durable.
    Prove,
}

/// What one ready wants durable.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LogWork {
    /// Of the ready.
    pub(crate) number: u64,
    pub(crate) entries: Vec<consensus::Entry>,
    pub(crate) hard_state: Option<HardState>,
}

/// From the log to the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogReport {
    /// Everything up to this ready is durable, if anything became so.
    pub(crate) durable: Option<u64>,
    /// What is asked for cannot be written now; it is kept, and tried again.
    pub(crate) stalled: bool,
}

/// From the driver to apply.
#[derive(Default)]
pub(crate) struct Turn {
    pub(crate) committed: Vec<Committed>,
    /// When the newest of them became durable here.
    pub(crate) synced_at: Duration,
    pub(crate) reads: Vec<WaitingReads>,
    /// The term that this member leads, if it leads.
    pub(crate) leads: Option<Term>,
    /// Proposals wait until more may be written: a report of that is awaited.
    pub(crate) awaits_window: bool,
    /// A tick: records that lone entries left in memory are to be written to the store's files.
    pub(crate) flush: bool,
}

pub(crate) struct Committed {
    pub(crate) entry: consensus::Entry,
    /// Once it was looked at.
    pub(crate) decoded: Option<MeasuredEntry>,
    pub(crate) in_flight: Option<InFlight>,
}

/// Reads that may be answered once `index` is applied.
pub(crate) struct WaitingReads {
    pub(crate) index: LogIndex,
    pub(crate) slots: Vec<Slot<Arc<StateView>>>,
}

/// To apply.
pub(crate) enum ApplyMessage {
    Turn(Turn),
    Done(JobDone),
    /// There is upkeep to do.
    Upkeep,
    Stop,
}

/// From apply to the driver.
#[derive(Debug, Default)]
pub(crate) struct ApplyReport {
    /// And published.
    pub(crate) applied: LogIndex,
    /// Bytes that may be written, of what is applied, before the store's files are too long.
    pub(crate) window_bytes: u64,
    /// The disk of the store is nearly full: the window is for small proposals, too.
    pub(crate) is_low: bool,
    /// What this member's files allow to be settled, if it leads.
    pub(crate) settleable: Option<SpaceSettle>,
    /// Records of what is applied wait in memory for the next tick.
    pub(crate) unwritten: bool,
    /// A checkpoint up to this entry is durable: the log behind it may go.
    pub(crate) checkpoint_durable: Option<LogIndex>,
    /// The first entry of a term that this member leads was applied.
    pub(crate) term_begun: Option<TermBegun>,
    /// An entry waits for a record that cannot be read.
    pub(crate) halted: bool,
    /// Nothing will be applied any more.
    pub(crate) failed: bool,
}

/// What a term of office begins with: everything before it is in state.
#[derive(Debug)]
pub(crate) struct TermBegun {
    pub(crate) term: Term,
    /// Goes on where the log says that leader time was.
    pub(crate) clock: Arc<LeaderClock>,
    /// The leases as they were then; apply tells it of each grant and end that it applies.
    pub(crate) leases: Arc<Mutex<LeaseClock>>,
}

/// Work that must make no request wait.
pub(crate) enum Job {
    Checkpoint {
        job: Box<CheckpointJob>,
        index: LogIndex,
    },
    Clean(Box<CleanJob>),
    /// Files that no checkpoint names any more.
    Remove(Leftovers),
    /// A compaction was applied: hash what it drops before the history goes.
    CompactionHashes(Arc<StateView>),
}

/// From the background to apply.
pub(crate) enum JobDone {
    /// `None` if it could not be written, and may be another time.
    Checkpoint(Option<Box<CheckpointDone>>),
    /// Copies are written; `None` if they could not be, and may be another time.
    Cleaned(Option<Box<Cleaned>>),
    FilesRemoved,
    /// No job: there is little space for the log's next segment, or none. Full ones may be trimmed behind a checkpoint.
    LogWantsSpace {
        is_short: bool,
        has_full_segments: bool,
    },
    Failed(state::Fault),
}

impl Turn {
    pub(crate) fn is_empty(&self) -> bool {
        self.committed.is_empty() && self.reads.is_empty()
    }
}

impl ApplyReport {
    /// Takes in a later one, so that those that nobody has read do not pile up.
    pub(crate) fn merge(&mut self, later: ApplyReport) {
        let ApplyReport {
            applied,
            window_bytes,
            is_low,
            settleable,
            unwritten,
            checkpoint_durable,
            term_begun,
            halted,
            failed,
        } = later;
        assert!(applied >= self.applied, "applied {applied} is reported after {}", self.applied);
        self.applied = applied;
        self.window_bytes = window_bytes;
        self.is_low = is_low;
        self.settleable = settleable;
        self.unwritten = unwritten;
        self.checkpoint_durable = checkpoint_durable.or(self.checkpoint_durable);
        self.term_begun = term_begun.or(self.term_begun.take());
        self.halted = halted;
        self.failed |= failed;
    }
}

impl DriverMessage {
    /// Takes a report in behind messages that nobody has read yet.
    pub(crate) fn push_report(messages: &mut Vec<DriverMessage>, report: ApplyReport) {
        match messages.iter_mut().rev().find_map(|message| match message {
            DriverMessage::Applied(earlier) => Some(earlier),
            _ => None,
        }) {
            Some(earlier) => earlier.merge(report),
            None => messages.push(DriverMessage::Applied(report)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_reports_that_nobody_read_the_last_counts_and_nothing_said_once_is_lost() {
        let mut messages = vec![DriverMessage::Stop];
        let report =
            |applied, window_bytes| ApplyReport { applied: LogIndex(applied), window_bytes, ..ApplyReport::default() };
        let durable = ApplyReport { checkpoint_durable: Some(LogIndex(3)), ..report(5, 100) };
        DriverMessage::push_report(&mut messages, durable);
        messages.push(DriverMessage::Stop);
        DriverMessage::push_report(&mut messages, report(7, 50));
        let [_, DriverMessage::Applied(merged), _] = &messages[..] else { panic!("one report") };
        assert_eq!((merged.applied, merged.window_bytes), (LogIndex(7), 50));
        assert_eq!(merged.checkpoint_durable, Some(LogIndex(3)));
        assert!(!merged.failed);
    }
}
