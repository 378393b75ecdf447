//! Apply: the only writer of state. It runs on the apply thread, and for a lone small write on the driver (`apply_owner`).
//!
//! One turn: apply what was committed, write it to the store's files in one go, publish the view, push the events, send the
//! answers, in this order: whoever sees an event or an answer finds its effect in the view. Between turns it works off
//! compacted history and copied records in small steps and starts checkpoints and copies, so that none makes a request wait long.
//!
//! Invariant: entries are applied in log order, each once; an I/O error is never an answer. On a full disk entries are kept until
//! there is room for their records (readers go on with the last view, space is reclaimed); any other fault ends the writing.

use crate::background::BackgroundJob;
use crate::driver::{DriverMessage, InFlight};
use crate::handle::{Reply, Shared, Timings};
use crate::limits::{
    APPLY_BATCH_ENTRIES, CHECKPOINT_INTERVAL_MIN, CHECKPOINT_LOG_BYTES, COMPACTION_STEP_KEYS, DISK_RETRY_INTERVAL,
    RECLAIM_LOOK_INTERVAL, RECLAIM_RETRY_INTERVAL, RELOCATION_STEP_RECORDS,
};
use crate::reply::{Outbox, Slot, lock};
use crate::room::room_for;
use crate::{Outcome, StateView};
use model::{Command, Entry, LogIndex, Rejection, Revision, Term};
use state::{NoSpace, State};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

pub(crate) enum ApplyMessage {
    Committed {
        entries: Vec<Committed>,
        synced_at: Duration,
    },
    /// Reads that may be answered once `index` is applied.
    Reads {
        index: LogIndex,
        slots: Vec<Slot<Arc<StateView>>>,
    },
    /// `None` if the disk was full.
    CheckpointWritten(Option<Box<state::CheckpointDone>>),
    /// What a checkpoint stopped naming is removed.
    FilesRemoved,
    /// Copies are written; `None` if the disk was full.
    Reclaimed(Option<Box<state::Relocated>>),
    /// There may be work between batches.
    Turn,
    Stop,
}

pub(crate) struct Committed {
    pub(crate) entry: consensus::Entry,
    pub(crate) in_flight: Option<InFlight>,
}

/// A committed entry that came alone, decoded.
pub(crate) struct Lone {
    pub(crate) entry: consensus::Entry,
    pub(crate) decoded: Entry,
    pub(crate) in_flight: Option<InFlight>,
}

/// What is to be done after a turn.
pub(crate) enum Next {
    /// Another turn at once: something waits to be worked off.
    Again,
    /// Another turn after a while: the disk is full.
    Retry,
    Wait,
    Stop,
}

pub(crate) struct ApplyConfig {
    /// Entries between checkpoints, by `--snapshot-count`.
    pub(crate) checkpoint_entries: u64,
    pub(crate) warning_apply_duration: Duration,
}

pub(crate) struct Apply {
    config: ApplyConfig,
    shared: Arc<Shared>,
    background: mpsc::Sender<BackgroundJob>,
    state: State,
    applied: LogIndex,
    outbox: Outbox,
    /// Answers of this batch, held back until its view is published.
    answers: Vec<Answer>,
    /// Committed, and the disk is full.
    kept: VecDeque<(Committed, Duration)>,
    changes: Vec<mvcc::Change>,
    /// Physical compactions that wait until the history is worked off and all of it is released.
    physical: Vec<Answer>,
    reads: Vec<(LogIndex, Vec<Slot<Arc<StateView>>>)>,
    checkpoint: CheckpointPace,
    reclaim: ReclaimPace,
    /// Files that a checkpoint stopped naming.
    removing: bool,
    compaction_started: Option<Duration>,
    compacted_in_batch: bool,
}

struct Answer {
    slot: Slot<Reply>,
    answer: Result<Outcome, Rejection>,
    revision: Revision,
    term: Term,
    sent_at: Duration,
    taken_at: Duration,
    synced_at: Duration,
}

#[derive(Default)]
struct ReclaimPace {
    running: bool,
    /// Copied records wait to be followed.
    follows: bool,
    /// Not before, because the disk was full.
    not_before: Duration,
    looked_at: Duration,
}

#[derive(Default)]
struct CheckpointPace {
    entries: u64,
    log_bytes: u64,
    started_at: Duration,
    running: bool,
    /// The disk was full: another is due then.
    again_at: Option<Duration>,
}

impl Apply {
    pub(crate) fn new(
        config: ApplyConfig,
        shared: Arc<Shared>,
        background: mpsc::Sender<BackgroundJob>,
        state: State,
    ) -> Apply {
        shared.progress.room.publish(state.growth_room());
        Apply {
            config,
            shared,
            background,
            applied: state.applied().index,
            state,
            outbox: Outbox::default(),
            answers: Vec::new(),
            kept: VecDeque::new(),
            changes: Vec::new(),
            physical: Vec::new(),
            reads: Vec::new(),
            checkpoint: CheckpointPace::default(),
            reclaim: ReclaimPace::default(),
            removing: false,
            compaction_started: None,
            compacted_in_batch: false,
        }
    }

    /// Works off `taken`, then a step of what may wait. Fails with the fault that no answer may carry; then state is not to be
    /// used any more.
    pub(crate) fn turn(&mut self, taken: &mut Vec<ApplyMessage>) -> Result<Next, state::Fault> {
        let mut stop = false;
        self.apply_kept()?;
        for message in taken.drain(..) {
            match message {
                ApplyMessage::Committed { entries, synced_at } => self.apply_all(entries, synced_at)?,
                ApplyMessage::Reads { index, slots } => self.reads.push((index, slots)),
                ApplyMessage::CheckpointWritten(done) => self.finish_checkpoint(done),
                ApplyMessage::FilesRemoved => {
                    self.removing = false;
                    self.renew_view();
                }
                ApplyMessage::Reclaimed(relocated) => self.finish_reclaim(relocated),
                ApplyMessage::Turn => {}
                ApplyMessage::Stop => stop = true,
            }
        }
        self.answer_reads();
        self.compaction_step();
        self.answer_physical();
        self.relocation_step();
        self.maybe_reclaim()?;
        self.maybe_checkpoint()?;
        self.publish_room();
        self.offer_release();
        let works = self.compaction_started.is_some() || self.reclaim.follows;
        let is_short = !self.kept.is_empty() || self.checkpoint.again_at.is_some();
        Ok(match (stop, works, is_short) {
            (true, _, _) => Next::Stop,
            (false, true, _) => Next::Again,
            (false, false, true) => Next::Retry,
            (false, false, false) => Next::Wait,
        })
    }

    /// Applies one entry that came alone and makes it visible. True if a turn is due after it.
    pub(crate) fn apply_lone(&mut self, lone: Lone, synced_at: Duration) -> Result<bool, state::Fault> {
        let Lone { entry, in_flight, decoded } = lone;
        self.reach(&entry);
        self.apply_decoded(&entry, &decoded, in_flight, synced_at)?;
        self.publish()?;
        self.answer_reads();
        let since = self.shared.clock.monotonic().saturating_sub(self.reclaim.looked_at);
        Ok(self.checkpoint_is_due() || (since >= RECLAIM_LOOK_INTERVAL && self.state.is_over_target()))
    }

    /// True if records of so many bytes can be written without asking the disk for space.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        self.kept.is_empty() && self.state.has_room(bytes)
    }

    pub(crate) fn into_state(self) -> State {
        self.state
    }

    fn apply_all(&mut self, entries: Vec<Committed>, synced_at: Duration) -> Result<(), state::Fault> {
        let mut in_batch = 0;
        for committed in entries {
            if !self.kept.is_empty() {
                self.kept.push_back((committed, synced_at));
                continue;
            }
            if let Some(committed) = self.apply_one(committed, synced_at)? {
                self.kept.push_back((committed, synced_at));
            }
            in_batch += 1;
            if in_batch == APPLY_BATCH_ENTRIES {
                in_batch = 0;
                self.publish()?;
            }
        }
        self.publish()
    }

    /// What was kept because the disk was full, as far as there is room now.
    fn apply_kept(&mut self) -> Result<(), state::Fault> {
        if self.kept.is_empty() {
            return Ok(());
        }
        while let Some((committed, synced_at)) = self.kept.pop_front() {
            if let Some(committed) = self.apply_one(committed, synced_at)? {
                self.kept.push_front((committed, synced_at));
                break;
            }
        }
        self.publish()
    }

    /// Gives the entry back if there is no room for its records.
    fn apply_one(&mut self, committed: Committed, synced_at: Duration) -> Result<Option<Committed>, state::Fault> {
        if committed.entry.data.is_empty() {
            self.reach(&committed.entry);
            let term = Term(committed.entry.term);
            self.state.apply_empty(self.applied, term);
            self.publish()?;
            self.maybe_take_office(term);
            return Ok(None);
        }
        let decoded = decode(&committed.entry)?;
        if !self.makes_room(&decoded.command)? {
            return Ok(Some(committed));
        }
        let Committed { entry, in_flight } = committed;
        self.reach(&entry);
        self.apply_decoded(&entry, &decoded, in_flight, synced_at)?;
        Ok(None)
    }

    fn makes_room(&mut self, command: &Command) -> Result<bool, state::Fault> {
        let bytes = room_for(command, &|key| self.state.record_bytes(key));
        if bytes == 0 {
            return Ok(true);
        }
        match self.state.make_room(bytes) {
            Ok(()) => Ok(true),
            Err(fault) if fault.is_no_space() => {
                self.shared.space.begin(&fault);
                Ok(false)
            }
            Err(fault) => Err(fault),
        }
    }

    fn reach(&mut self, entry: &consensus::Entry) {
        let index = LogIndex(entry.index);
        assert_eq!(index.0, self.applied.0 + 1, "entries are applied in log order without a gap");
        self.applied = index;
        self.checkpoint.entries += 1;
        self.checkpoint.log_bytes += entry.data.len() as u64;
    }

    fn apply_decoded(
        &mut self,
        entry: &consensus::Entry,
        decoded: &Entry,
        in_flight: Option<InFlight>,
        synced_at: Duration,
    ) -> Result<(), state::Fault> {
        let (index, term) = (LogIndex(entry.index), Term(entry.term));
        let started = self.shared.clock.monotonic();
        let applied = self.state.apply(index, term, decoded)?;
        self.observe(&decoded.command, &applied, started);
        if let Some(no_space) = applied.no_space {
            self.report_no_space(no_space);
        }
        if let Some(change) = applied.change {
            self.changes.push(change);
        }
        let Some(in_flight) = in_flight else { return Ok(()) };
        self.shared.metrics.proposals_pending.add(-1);
        let Some(slot) = in_flight.slot else { return Ok(()) };
        let answer = Answer {
            slot,
            answer: applied.answer,
            revision: applied.revision,
            term,
            sent_at: in_flight.sent_at,
            taken_at: in_flight.taken_at,
            synced_at,
        };
        if matches!(&decoded.command, Command::Compact(compact) if compact.physical) && answer.answer.is_ok() {
            self.physical.push(answer);
        } else {
            self.answers.push(answer);
        }
        Ok(())
    }

    fn report_no_space(&self, no_space: NoSpace) {
        let (retained, quota) = (self.state.retained_bytes(), self.state.quota_bytes().unwrap_or_default());
        match no_space {
            NoSpace::Raised => {
                self.shared.metrics.no_space_raised.increment();
                tracing::error!(
                    "retained-size-bytes" = retained,
                    "quota-size-bytes" = quota,
                    "the space quota is met: what grows is refused until compaction and deletion bring it below 95 %"
                );
            }
            NoSpace::Cleared => {
                self.shared.metrics.no_space_cleared.increment();
                tracing::warn!(
                    "retained-size-bytes" = retained,
                    "quota-size-bytes" = quota,
                    "there is room in the space quota again: the alarm is cleared"
                );
            }
        }
    }

    /// Follow-up of one command outside of state: measurements and the leader's lease clock.
    fn observe(&mut self, command: &Command, applied: &state::Applied, started: Duration) {
        let metrics = &self.shared.metrics;
        match (command, &applied.answer) {
            (Command::Put(_), Ok(_)) => metrics.puts.increment(),
            (Command::DeleteRange(_), Ok(_)) => metrics.deletes.increment(),
            (Command::Txn(_), Ok(_)) => metrics.txns.increment(),
            (Command::LeaseGrant(_), Ok(Outcome::LeaseGrant { id, ttl_s })) => {
                metrics.leases_granted.increment();
                lock(&self.shared.leases).granted(*id, *ttl_s, self.shared.leader_clock.at_most_ms());
            }
            (Command::LeaseRevoke(id), Ok(_)) => {
                metrics.leases_revoked.increment();
                lock(&self.shared.leases).revoked(*id);
            }
            (Command::LeaseCheckpoint(checkpoint), Ok(_)) => {
                lock(&self.shared.leases).checkpointed(&checkpoint.remaining);
            }
            (Command::Compact(_), Ok(_)) => {
                self.compaction_started.get_or_insert(started);
                self.compacted_in_batch = true;
                metrics.compaction_last_s.set(self.shared.clock.wall().as_secs() as i64);
            }
            _ => {}
        }
        let took = self.shared.clock.monotonic().saturating_sub(started);
        metrics.applies.observe(command, applied.answer.is_ok(), took);
        if took > self.config.warning_apply_duration {
            metrics.slow_applies.increment();
            tracing::warn!(took = ?took, expected = ?self.config.warning_apply_duration, "apply request took too long");
        }
    }

    /// The first entry of this member's own term was applied: everything before it is in state, so that leases can be
    /// counted from what was left and reads be answered from the view.
    fn maybe_take_office(&mut self, term: Term) {
        let progress = &self.shared.progress;
        let leads = progress.leader.load(Ordering::Relaxed) == self.shared.member.0
            && progress.term.load(Ordering::Relaxed) == term.0;
        if !leads {
            return;
        }
        let leader_time_ms = self.state.leader_time_ms();
        self.shared.leader_clock.resume(leader_time_ms);
        *lock(&self.shared.leases) = self.state.lease_clock();
        progress.leads_alone.store(true, Ordering::Release);
    }

    /// Makes the batch visible and answers it.
    fn publish(&mut self) -> Result<(), state::Fault> {
        let started = self.shared.clock.monotonic();
        self.state.flush()?;
        if self.kept.is_empty() {
            self.shared.space.done();
        }
        let view = Arc::new(self.state.view());
        self.shared.view.store(view.clone());
        self.hash_compactions(&view);
        // Before the index: whoever sees that an entry is applied sees the room that it left.
        if self.gives_back() || self.state.growth_room() > 0 {
            self.shared.progress.room.publish(self.state.growth_room());
        }
        self.shared.progress.applied.store(self.applied.0, Ordering::Release);
        if !self.changes.is_empty() {
            self.shared.events.push(self.changes.drain(..), view.kv());
            self.shared.event_signals.raise(&mut self.outbox);
        }
        let now = self.shared.clock.monotonic();
        self.shared.metrics.backend_commit.observe(now.saturating_sub(started));
        for answer in self.answers.drain(..) {
            send(&mut self.outbox, answer, &view, now);
        }
        self.outbox.send();
        Ok(())
    }

    /// Something is under way that makes files shorter.
    fn gives_back(&self) -> bool {
        self.checkpoint.running
            || self.reclaim.running
            || self.reclaim.follows
            || self.removing
            || self.compaction_started.is_some()
    }

    /// To be told after everything was begun that could be.
    fn publish_room(&self) {
        let (progress, bytes) = (&self.shared.progress, self.state.growth_room());
        let wake =
            if bytes > 0 || self.gives_back() { progress.room.publish(bytes) } else { progress.room.publish_least() };
        if wake {
            self.shared.inbox.push_always(DriverMessage::Room);
        }
    }

    /// To be told after everything was begun that could be.
    fn offer_release(&self) {
        *lock(&self.shared.progress.release) = self.state.releasable(self.gives_back());
    }

    fn answer_reads(&mut self) {
        if self.reads.is_empty() {
            return;
        }
        let view = self.shared.view.load_full();
        let applied = self.applied;
        for (_, slots) in self.reads.extract_if(.., |(index, _)| *index <= applied) {
            for slot in slots {
                self.outbox.put(slot, Ok(view.clone()));
            }
        }
        self.outbox.send();
    }

    /// Asks for the hashes of compactions in this batch, on the view that was just published.
    fn hash_compactions(&mut self, view: &Arc<StateView>) {
        if std::mem::take(&mut self.compacted_in_batch) {
            let _ = self.background.send(BackgroundJob::CompactionHashes(view.clone()));
        }
    }

    fn compaction_step(&mut self) {
        let Some(started) = self.compaction_started else { return };
        if self.state.compaction_step(COMPACTION_STEP_KEYS) {
            return;
        }
        self.compaction_started = None;
        let now = self.shared.clock.monotonic();
        self.shared.metrics.compaction_total.observe(now.saturating_sub(started));
    }

    fn answer_physical(&mut self) {
        if self.physical.is_empty() || self.compaction_started.is_some() || self.state.unreleased_bytes() > 0 {
            return;
        }
        let now = self.shared.clock.monotonic();
        let view = self.shared.view.load_full();
        for answer in self.physical.drain(..) {
            send(&mut self.outbox, answer, &view, now);
        }
        self.outbox.send();
    }

    fn relocation_step(&mut self) {
        if self.reclaim.follows {
            self.reclaim.follows = self.state.relocation_step(RELOCATION_STEP_RECORDS);
        }
    }

    /// Starts copying if the files are longer than they should be. Not beside a checkpoint, which is written on the same thread.
    fn maybe_reclaim(&mut self) -> Result<(), state::Fault> {
        let now = self.shared.clock.monotonic();
        self.reclaim.looked_at = now;
        if self.reclaim.running || self.checkpoint.running || now < self.reclaim.not_before {
            return Ok(());
        }
        if let Some(job) = self.state.begin_reclaim()? {
            self.reclaim.running = true;
            let _ = self.background.send(BackgroundJob::Reclaim(Box::new(job)));
        }
        Ok(())
    }

    fn finish_reclaim(&mut self, relocated: Option<Box<state::Relocated>>) {
        self.reclaim.running = false;
        let Some(relocated) = relocated else {
            self.reclaim.not_before = self.shared.clock.monotonic() + RECLAIM_RETRY_INTERVAL;
            self.state.abandon_reclaim();
            return;
        };
        for (segment, fault) in relocated.damaged() {
            tracing::error!(segment, error = %fault, "reclaim space: the segment keeps its space");
        }
        self.state.finish_reclaim(*relocated);
        self.reclaim.follows = true;
    }

    fn checkpoint_is_due(&self) -> bool {
        let pace = &self.checkpoint;
        let since = || self.shared.clock.monotonic().saturating_sub(pace.started_at);
        let by_entries = || pace.entries >= self.config.checkpoint_entries && since() >= CHECKPOINT_INTERVAL_MIN;
        !pace.running && (pace.log_bytes >= CHECKPOINT_LOG_BYTES || by_entries())
    }

    fn maybe_checkpoint(&mut self) -> Result<(), state::Fault> {
        let started_at = self.shared.clock.monotonic();
        let idle = !self.checkpoint.running && !self.reclaim.running;
        let due = match self.checkpoint.again_at {
            Some(again_at) => idle && started_at >= again_at,
            None => self.checkpoint_is_due() || (idle && self.state.wants_checkpoint()),
        };
        if !due {
            return Ok(());
        }
        self.checkpoint = CheckpointPace { started_at, running: true, ..CheckpointPace::default() };
        let job = self.state.begin_checkpoint()?;
        // The background thread outlives this one; if it is gone, the process is on its way out.
        let _ = self.background.send(BackgroundJob::Checkpoint { job: Box::new(job), index: self.applied });
        Ok(())
    }

    fn finish_checkpoint(&mut self, done: Option<Box<state::CheckpointDone>>) {
        self.checkpoint.running = false;
        let Some(done) = done else {
            self.checkpoint.again_at = Some(self.shared.clock.monotonic() + DISK_RETRY_INTERVAL);
            return;
        };
        let index = done.applied();
        let leftovers = self.state.finish_checkpoint(*done);
        // The view before it holds files open that are to be removed.
        self.renew_view();
        self.removing = true;
        let _ = self.background.send(BackgroundJob::Remove(leftovers));
        self.shared.inbox.push_always(DriverMessage::CheckpointDurable(index));
    }

    /// Nothing was applied since the last one, but the files are others. Everything applied was published.
    fn renew_view(&self) {
        self.shared.view.store(Arc::new(self.state.view()));
    }
}

pub(crate) fn decode(entry: &consensus::Entry) -> Result<Entry, state::Fault> {
    model::decode_entry(entry.data.clone()).map_err(|error| state::Fault::undecodable(LogIndex(entry.index), error))
}

fn send(outbox: &mut Outbox, answer: Answer, view: &Arc<StateView>, now: Duration) {
    let timings = Timings {
        queue: answer.taken_at.saturating_sub(answer.sent_at),
        sync: answer.synced_at.saturating_sub(answer.taken_at),
        apply: now.saturating_sub(answer.synced_at),
    };
    let reply =
        Reply { answer: answer.answer, revision: answer.revision, term: answer.term, view: view.clone(), timings };
    outbox.put(answer.slot, Ok(reply));
}
