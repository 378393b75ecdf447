//! Apply: the only writer of state. Stepped: in go committed entries and what the background has done, out come a
//! report to the driver and jobs for the background; answers, events and views go to where the rims read them.
//!
//! One step: apply what was committed, write it to the store's files in one go, publish the view, push the events, send
//! the answers, in this order: whoever sees an event or an answer finds its effect in the view. Then a little upkeep:
//! it works off compacted history and copied records in small pieces and begins checkpoints and copies, so that none
//! makes a request wait long. A step of one small entry may be run by whoever has it (`step_lone`), without upkeep, and
//! its records may wait in memory, where everybody can read them, until the next tick, batch or checkpoint writes them
//! together.
//!
//! Invariants: entries are applied in log order, each once; an I/O error is never an answer; nothing here waits.
//! Records that find the disk full stay in memory until there is space, and nobody notices but who wants to grow the
//! store (`disk_health`); any other fault ends the writing.
//!
//! Not here: upkeep, which is `upkeep`.

use crate::Refused;
use crate::answer::{Reply, Timings};
use crate::disk_health::{Ailment, Sign};
use crate::halt::Halt;
use crate::leader_clock::LeaderClock;
use crate::limits::{
    APPLY_BATCH_ENTRIES, LONE_ENTRY_BYTES_MAX, LOW_ROOM_BYTES, RECLAIM_LOOK_INTERVAL, UNWRITTEN_BYTES_MAX,
    WINDOW_BYTES_MIN,
};
use crate::messages::{ApplyMessage, ApplyReport, Committed, InFlight, Job, JobDone, TermBegun, Turn, WaitingReads};
use crate::reply::{Outbox, Slot};
use crate::shared::Shared;
use crate::sync::{Arc, Mutex, atomic::Ordering, lock};
use crate::upkeep::{CheckpointPace, ReclaimPace};
use model::{Command, LogIndex, Rejection, Revision, Term};
use state::{LeaseClock, MeasuredEntry, NoSpace, Outcome, Records, State, StateView};
use std::collections::VecDeque;
use std::time::Duration;
use store::Room;

/// When another step is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// At once: something waits to be worked off.
    Again,
    /// After a while: the disk is full.
    Retry,
    /// When something arrives.
    Wait,
    /// Told to stop: this was the last one.
    Stop,
}

/// When records go to the store's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Write {
    /// Before they are published.
    First,
    /// Later, if they are few.
    Later,
}

/// What a step wants done.
pub(crate) struct ApplyOutput {
    pub(crate) report: ApplyReport,
    /// The driver waits for what the report says, or must act on it.
    pub(crate) is_urgent: bool,
    pub(crate) jobs: Vec<Job>,
    /// Upkeep is due.
    pub(crate) wants_upkeep: bool,
    pub(crate) next: Next,
}

pub(crate) struct ApplyConfig {
    /// Entries between checkpoints, by `--snapshot-count`.
    pub(crate) checkpoint_entries: u64,
    pub(crate) warning_apply_duration: Duration,
    pub(crate) request_timeout: Duration,
}

pub(crate) struct Apply {
    pub(crate) config: ApplyConfig,
    pub(crate) shared: Arc<Shared>,
    pub(crate) state: State,
    pub(crate) applied: LogIndex,
    outbox: Outbox,
    /// Answers of this batch, held back until its view is published.
    answers: Vec<Answer>,
    /// As of the last step with upkeep.
    room: Room,
    /// Committed, and a record that the first needs cannot be read.
    waiting: VecDeque<(Committed, Duration)>,
    halt: Halt,
    changes: Vec<mvcc::Change>,
    /// Physical compactions that wait until the history is worked off and all of it is settled.
    physical: Vec<Answer>,
    reads: Vec<WaitingReads>,
    /// The term that this member leads, as the driver said last.
    leads: Option<Term>,
    /// Of the term that it leads, from the first entry of that term on.
    leading: Option<Leading>,
    driver_awaits_window: bool,
    pub(crate) checkpoint: CheckpointPace,
    pub(crate) reclaim: ReclaimPace,
    /// Files that a checkpoint stopped naming.
    pub(crate) removing: bool,
    pub(crate) compaction_started: Option<Duration>,
    compacted_in_batch: bool,
    /// To be said in the next report.
    pub(crate) checkpoint_durable: Option<LogIndex>,
    term_begun: Option<TermBegun>,
    pub(crate) jobs: Vec<Job>,
    stopping: bool,
}

/// What the leader's lease clock must be told as entries are applied.
struct Leading {
    clock: Arc<LeaderClock>,
    leases: Arc<Mutex<LeaseClock>>,
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

impl Apply {
    pub(crate) fn new(config: ApplyConfig, shared: Arc<Shared>, state: State) -> Apply {
        Apply {
            config,
            shared,
            applied: state.applied().index,
            room: state.room(),
            state,
            outbox: Outbox::default(),
            answers: Vec::new(),
            waiting: VecDeque::new(),
            halt: Halt::default(),
            changes: Vec::new(),
            physical: Vec::new(),
            reads: Vec::new(),
            leads: None,
            leading: None,
            driver_awaits_window: false,
            checkpoint: CheckpointPace::default(),
            reclaim: ReclaimPace::default(),
            removing: false,
            compaction_started: None,
            compacted_in_batch: false,
            checkpoint_durable: None,
            term_begun: None,
            jobs: Vec::new(),
            stopping: false,
        }
    }

    /// Works off `taken`, which is left empty, then a piece of what may wait. Fails with the fault that no answer may
    /// carry; then state is not to be used any more.
    pub(crate) fn step(&mut self, taken: &mut Vec<ApplyMessage>) -> Result<ApplyOutput, state::Fault> {
        self.work_off(taken, Write::First)?;
        self.expire_waiting();
        self.flush()?;
        self.state.look_for_space()?;
        self.room = self.state.room();
        self.tell_room();
        self.compaction_step();
        self.answer_physical();
        self.relocation_step();
        self.maybe_reclaim()?;
        self.maybe_checkpoint()?;
        Ok(self.output(false))
    }

    /// True if the messages are one entry that came alone, that is small, and whose work is bounded by its size:
    /// heartbeats must not wait for the deletion of a million keys. Its records must fit into space that is allocated
    /// already. Or if they only ask for the records of such entries to be written.
    pub(crate) fn is_lone(&self, messages: &mut [ApplyMessage]) -> bool {
        let [ApplyMessage::Turn(turn)] = messages else { return false };
        if !self.waiting.is_empty() {
            return false;
        }
        let [committed] = &mut turn.committed[..] else { return turn.is_empty() && turn.flush };
        let bytes = committed.entry.data.len();
        if bytes == 0 || bytes > LONE_ENTRY_BYTES_MAX {
            return false;
        }
        let Ok(decoded) = decode(&committed.entry) else { return false };
        let bytes = decoded.footprint().bounded_record_bytes();
        committed.decoded = Some(decoded);
        bytes.is_some_and(|bytes| self.state.is_allocated(bytes))
    }

    /// As `step`, for messages of which `is_lone` is true, without upkeep; whether some is due is in the output.
    pub(crate) fn step_lone(&mut self, taken: &mut Vec<ApplyMessage>) -> Result<ApplyOutput, state::Fault> {
        self.work_off(taken, Write::Later)?;
        let since = self.shared.clock.monotonic().saturating_sub(self.reclaim.looked_at);
        let is_over = self.state.is_over_target();
        let is_due = is_over && (since >= RECLAIM_LOOK_INTERVAL || self.state.write_window() == 0);
        Ok(self.output(is_due || self.checkpoint_is_due() || self.is_short()))
    }

    pub(crate) fn into_state(self) -> State {
        self.state
    }

    fn output(&mut self, wants_upkeep: bool) -> ApplyOutput {
        let window_bytes = self.state.write_window();
        // Only after everything was begun that could be is it certain that waiting would not help.
        let is_stuck = window_bytes == 0 && !self.gives_back() && !wants_upkeep;
        let report = ApplyReport {
            applied: self.shared.published(),
            window_bytes: if is_stuck { mvcc::WRITE_WINDOW_BYTES_MIN } else { window_bytes }.min(self.room_window()),
            is_low: self.room.growth_bytes < LOW_ROOM_BYTES,
            settleable: if wants_upkeep { None } else { self.state.settleable(self.gives_back()) },
            unwritten: self.state.unwritten_bytes() > 0,
            checkpoint_durable: self.checkpoint_durable.take(),
            term_begun: self.term_begun.take(),
            halted: self.halt.is_on(),
            failed: false,
        };
        let is_urgent = report.checkpoint_durable.is_some()
            || report.term_begun.is_some()
            || (self.driver_awaits_window && report.window_bytes > 0);
        let works = self.compaction_started.is_some() || self.reclaim.follows;
        ApplyOutput {
            report,
            is_urgent,
            jobs: std::mem::take(&mut self.jobs),
            wants_upkeep,
            next: match () {
                () if self.stopping => Next::Stop,
                () if works => Next::Again,
                () if self.is_short() => Next::Retry,
                () => Next::Wait,
            },
        }
    }

    /// Something waits for space on the disk, or for a record that cannot be read.
    fn is_short(&self) -> bool {
        self.halt.is_on() || self.state.is_short_of_space() || self.checkpoint.again_at.is_some()
    }

    /// What may be committed at a time, so that little is on its way when the disk turns out to be full.
    fn room_window(&self) -> u64 {
        // The log takes as much.
        let window_bytes = (self.room.growth_bytes / 2).max(WINDOW_BYTES_MIN);
        if self.room.growth_bytes < LOW_ROOM_BYTES { window_bytes } else { u64::MAX }
    }

    /// Growth is refused while the disk is full, and rewrites find out what is left for them.
    fn tell_room(&self) {
        let shared = &self.shared;
        shared.progress.record_room.store(self.room.certain_bytes, Ordering::Relaxed);
        match self.state.shortage() {
            Some(fault) => shared.disks.raise(Sign::StoreShort, Ailment::Full, fault, shared.clock.monotonic()),
            None => shared.disks.clear(Sign::StoreShort),
        }
    }

    fn work_off(&mut self, taken: &mut Vec<ApplyMessage>, write: Write) -> Result<(), state::Fault> {
        self.apply_waiting()?;
        for message in taken.drain(..) {
            match message {
                ApplyMessage::Turn(turn) => self.take_turn(turn, write)?,
                ApplyMessage::Done(done) => self.take_done(done)?,
                ApplyMessage::Upkeep => {}
                ApplyMessage::Stop => self.stopping = true,
            }
        }
        self.answer_reads();
        Ok(())
    }

    fn take_turn(&mut self, turn: Turn, write: Write) -> Result<(), state::Fault> {
        let Turn { committed, synced_at, reads, leads, awaits_window, flush } = turn;
        self.leads = leads;
        if leads.is_none() {
            self.leading = None;
        }
        self.driver_awaits_window = awaits_window;
        self.reads.extend(reads);
        if flush {
            self.flush()?;
        }
        self.apply_all(committed, synced_at, write)
    }

    fn take_done(&mut self, done: JobDone) -> Result<(), state::Fault> {
        match done {
            JobDone::Checkpoint(done) => self.finish_checkpoint(done),
            JobDone::Cleaned(cleaned) => self.finish_clean(cleaned),
            JobDone::FilesRemoved => {
                self.removing = false;
                self.renew_view();
            }
            JobDone::LogWantsSpace { is_short, has_full_segments } => {
                self.make_space_for_log(is_short, has_full_segments);
            }
            JobDone::Failed(fault) => return Err(fault),
        }
        Ok(())
    }

    fn apply_all(&mut self, entries: Vec<Committed>, synced_at: Duration, write: Write) -> Result<(), state::Fault> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut in_batch = 0;
        for committed in entries {
            if !self.waiting.is_empty() {
                self.waiting.push_back((committed, synced_at));
                continue;
            }
            if let Some(committed) = self.apply_one(committed, synced_at)? {
                self.waiting.push_back((committed, synced_at));
            }
            in_batch += 1;
            if in_batch == APPLY_BATCH_ENTRIES {
                in_batch = 0;
                self.publish(write)?;
            }
        }
        self.publish(write)
    }

    /// What waits, as far as its records can be read now.
    fn apply_waiting(&mut self) -> Result<(), state::Fault> {
        if self.waiting.is_empty() || self.halt.waits(self.shared.clock.monotonic()) {
            return Ok(());
        }
        while let Some((committed, synced_at)) = self.waiting.pop_front() {
            if let Some(committed) = self.apply_one(committed, synced_at)? {
                self.waiting.push_front((committed, synced_at));
                break;
            }
        }
        self.publish(Write::First)
    }

    /// Whoever waits too long is answered; what was asked for is done once the record can be read.
    fn expire_waiting(&mut self) {
        let sent_before = self.shared.clock.monotonic().saturating_sub(self.config.request_timeout);
        let waiting = self.waiting.iter_mut().filter_map(|(committed, _)| committed.in_flight.as_mut());
        let late = waiting.filter(|in_flight| in_flight.sent_at < sent_before);
        for slot in late.filter_map(|in_flight| in_flight.slot.take()) {
            self.shared.metrics.proposals_failed.increment();
            slot.refuse(Refused::TimedOut);
        }
    }

    /// Gives the entry back if a record that it needs cannot be read.
    fn apply_one(&mut self, committed: Committed, synced_at: Duration) -> Result<Option<Committed>, state::Fault> {
        let Committed { entry, decoded, in_flight } = committed;
        if entry.data.is_empty() {
            self.reach(&entry);
            let term = Term(entry.term);
            self.state.apply_empty(self.applied, term);
            self.maybe_begin_term(term);
            return Ok(None);
        }
        let decoded = match decoded {
            Some(decoded) => decoded,
            None => decode(&entry)?,
        };
        let Some(records) = self.read_for(LogIndex(entry.index), &decoded, in_flight.as_ref()) else {
            return Ok(Some(Committed { entry, decoded: Some(decoded), in_flight }));
        };
        self.reach(&entry);
        self.apply_decoded(&entry, &decoded, &records, in_flight, synced_at)?;
        Ok(None)
    }

    /// What the entry needs to read; `None` if a record cannot be read.
    fn read_for(&mut self, index: LogIndex, entry: &MeasuredEntry, in_flight: Option<&InFlight>) -> Option<Records> {
        let read = in_flight.and_then(|in_flight| in_flight.read.as_ref());
        let mut records = read.map_or_else(Records::new, |read| read.records().clone());
        match self.state.read_ahead(entry, &mut records) {
            Ok(()) => {
                self.halt.end(&self.shared);
                Some(records)
            }
            Err(fault) => {
                self.halt.begin(&self.shared, index, &fault);
                None
            }
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
        decoded: &MeasuredEntry,
        records: &Records,
        in_flight: Option<InFlight>,
        synced_at: Duration,
    ) -> Result<(), state::Fault> {
        let (index, term) = (LogIndex(entry.index), Term(entry.term));
        let started = self.shared.clock.monotonic();
        let applied = self.state.apply_with(index, term, decoded, records)?;
        self.observe(decoded.command(), &applied, started);
        if let Some(no_space) = applied.no_space {
            self.report_no_space(no_space);
        }
        if let Some(change) = applied.change {
            self.changes.push(change);
        }
        let Some(in_flight) = in_flight else { return Ok(()) };
        self.shared.metrics.proposals_pending.add(-1);
        let Some(slot) = in_flight.slot else {
            let took = self.shared.clock.monotonic().saturating_sub(in_flight.sent_at);
            self.shared.metrics.own_requests.observe(decoded.command(), took);
            return Ok(());
        };
        let answer = Answer {
            slot,
            answer: applied.answer,
            revision: applied.revision,
            term,
            sent_at: in_flight.sent_at,
            taken_at: in_flight.taken_at,
            synced_at,
        };
        if matches!(decoded.command(), Command::Compact(compact) if compact.physical) && answer.answer.is_ok() {
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
        metrics.count(applied.operations);
        match (command, &applied.answer) {
            (Command::LeaseGrant(_), Ok(Outcome::LeaseGrant { id, ttl_s })) => {
                metrics.leases_granted.increment();
                self.tell_lease_clock(|leases, now_ms| leases.granted(*id, *ttl_s, now_ms));
            }
            (Command::LeaseRevoke(id), Ok(_)) => {
                metrics.leases_revoked.increment();
                self.tell_lease_clock(|leases, _| leases.revoked(*id));
            }
            (Command::LeaseCheckpoint(checkpoint), Ok(_)) => {
                self.tell_lease_clock(|leases, _| leases.checkpointed(&checkpoint.remaining));
            }
            (Command::Compact(_) | Command::SpaceCompact(_), Ok(_)) => {
                self.compaction_started.get_or_insert(started);
                self.compacted_in_batch = true;
                metrics.compaction_last_s.set(self.shared.clock.wall().as_secs() as i64);
            }
            (Command::QuotaSet(quota), Ok(_)) => {
                let bytes = quota.bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
                let (index, strict) = (self.state.applied().index.0, quota.strict_latch);
                tracing::info!(
                    "quota-size-bytes" = bytes,
                    "strict-latch" = strict,
                    "raft-index" = index,
                    "the space quota is set"
                );
            }
            _ => {}
        }
        let took = self.shared.clock.monotonic().saturating_sub(started);
        // As etcd: a compaction that was done already is no failure.
        let succeeded = matches!(&applied.answer, Ok(_) | Err(Rejection::Compacted));
        metrics.applies.observe(command, succeeded, took);
        if took > self.config.warning_apply_duration {
            metrics.slow_applies.increment();
            tracing::warn!(took = ?took, expected = ?self.config.warning_apply_duration, "apply request took too long");
        }
    }

    /// The first entry of a term that this member leads: everything before it is in state, so that leases can be
    /// counted from what was left, and soon reads be answered from the view.
    fn maybe_begin_term(&mut self, term: Term) {
        if self.leads != Some(term) {
            return;
        }
        let clock = Arc::new(LeaderClock::new(self.state.leader_time_ms(), self.shared.clock.monotonic()));
        let leases = Arc::new(Mutex::new(self.state.lease_clock()));
        self.term_begun = Some(TermBegun { term, clock: clock.clone(), leases: leases.clone() });
        self.leading = Some(Leading { clock, leases });
    }

    /// With a time that is certainly not before now.
    fn tell_lease_clock(&self, tell: impl FnOnce(&mut LeaseClock, u64)) {
        if let Some(Leading { clock, leases }) = &self.leading {
            tell(&mut lock(leases), clock.at_most_ms(self.shared.clock.monotonic()));
        }
    }

    /// Writes what is applied to the store's files; later, if the disk is full: then false.
    ///
    /// Records that wait in memory may have been published and answered. That is sound whatever becomes of them: their
    /// entries are durable in the log, nothing trims it but a checkpoint, and a checkpoint begins with everything
    /// written; until then readers find them in memory.
    fn flush(&mut self) -> Result<bool, state::Fault> {
        let progress = &self.shared.progress;
        progress.store_write_since_ms.store(self.shared.clock.monotonic().as_millis() as u64 | 1, Ordering::Relaxed);
        let flushed = self.state.flush();
        progress.store_write_since_ms.store(0, Ordering::Relaxed);
        match flushed {
            Ok(()) => Ok(true),
            Err(fault) if fault.may_pass() => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Makes the batch visible and answers it.
    fn publish(&mut self, write: Write) -> Result<(), state::Fault> {
        let waits = write == Write::Later && self.state.unwritten_bytes() <= UNWRITTEN_BYTES_MAX;
        if waits || !self.flush()? {
            self.state.publish()?;
        }
        let view = Arc::new(self.state.view());
        assert_eq!(view.applied().index, self.applied, "a view holds what was applied");
        let before = self.shared.view.load();
        assert!(view.revision() >= before.revision(), "the published revision does not step back");
        drop(before);
        self.shared.view.store(view.clone());
        self.hash_compactions(&view);
        self.shared.progress.applied.store(self.applied.0, Ordering::Release);
        if !self.changes.is_empty() {
            self.shared.events.push(self.changes.drain(..), view.kv());
            self.shared.event_signals.raise(&mut self.outbox);
        }
        let now = self.shared.clock.monotonic();
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

    fn answer_reads(&mut self) {
        if self.reads.is_empty() {
            return;
        }
        let view = self.shared.view.load_full();
        let published = view.applied().index;
        for waiting in self.reads.extract_if(.., |waiting| waiting.index <= published) {
            for slot in waiting.slots {
                self.outbox.put(slot, Ok(view.clone()));
            }
        }
        self.outbox.send();
    }

    /// Asks for the hashes of compactions in this batch, on the view that was just published.
    fn hash_compactions(&mut self, view: &Arc<StateView>) {
        if std::mem::take(&mut self.compacted_in_batch) {
            self.jobs.push(Job::CompactionHashes(view.clone()));
        }
    }

    fn answer_physical(&mut self) {
        if self.physical.is_empty() || self.compaction_started.is_some() || self.state.unsettled_bytes() > 0 {
            return;
        }
        let now = self.shared.clock.monotonic();
        let view = self.shared.view.load_full();
        for answer in self.physical.drain(..) {
            send(&mut self.outbox, answer, &view, now);
        }
        self.outbox.send();
    }
}

fn decode(entry: &consensus::Entry) -> Result<MeasuredEntry, state::Fault> {
    MeasuredEntry::decode(LogIndex(entry.index), entry.data.clone())
}

/// Leaves an answer for its rim.
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
