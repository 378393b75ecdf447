//! The driver: sole owner of consensus. Stepped: in go the time and what arrived, out comes what is to be logged and
//! applied.
//!
//! One step takes in all that arrived, hands all proposals to consensus together, and collects what consensus asks for.
//! What is to be durable is an output, and that it is durable a later input: no step waits for a disk. While the log
//! syncs one group the next one gathers, so there is no timer and no batch size to tune.
//!
//! Invariants: nothing is committed by this member before the log has said that it is durable here. While the log is
//! *stalled* new proposals are refused, or wait if they may make space; entries already taken wait, reads go on.
//!
//! Not here: threads, files, what an entry means (`apply`), what a leader does with its time (`chores`).

use crate::chores::{Chores, Figures};
use crate::disk_health::{Ailment, DiskTrouble, DiskUse, Sign};
use crate::limits::{DISK_STUCK_AFTER, IN_FLIGHT_MAX, LEADER_CLOCK_STEP_MAX, STOP_WAIT_MAX};
use crate::messages::{
    ApplyReport, Committed, DriverMessage, InFlight, LogReport, LogRequest, LogWork, Proposal, Retention, TermBegun,
    Turn, WaitingReads,
};
use crate::office::{Office, Reads};
use crate::pace::Pace;
use crate::reply::{Slot, SlotWatch};
use crate::shared::Shared;
use crate::{Refused, Reply};
use consensus::{Consensus, HardState, Message, ReadId, ReadState, Ready, Role};
use model::{Command, LogIndex, QuotaSet, Revision, SpaceSettle, Term};
use state::StateView;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub(crate) struct DriverConfig {
    pub(crate) tick: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) retention: Retention,
    pub(crate) quota: QuotaSet,
}

/// What a step wants done, in this order.
#[derive(Default)]
pub(crate) struct DriverOutput {
    pub(crate) turn: Option<Turn>,
    pub(crate) log: Vec<LogRequest>,
    /// To other members.
    pub(crate) messages: Vec<Message>,
    /// Told to stop, and everything taken until then is durable or cannot be made so.
    pub(crate) stopped: bool,
}

pub(crate) struct Driver {
    config: DriverConfig,
    shared: Arc<Shared>,
    consensus: Consensus,
    /// Proposals of this step, until they are handed to consensus together.
    proposals: Vec<Proposal>,
    /// Holds those that must wait until the store's files are shorter.
    pace: Pace,
    in_flight: VecDeque<InFlight>,
    /// Requests whose entries went to apply: its disk may keep it.
    at_apply: VecDeque<AtApply>,
    reads: Vec<WaitingRead>,
    logging: Logging,
    office: Option<Arc<Office>>,
    chores: Chores,
    /// The last entry that went to apply.
    committed: LogIndex,
    applied: LogIndex,
    window_bytes: u64,
    /// The window is for small proposals, too.
    is_low: bool,
    settleable: Option<SpaceSettle>,
    /// Compactions of the member itself that watchers are told of; they are for the next tick.
    announced: Vec<Command>,
    /// Apply has records that wait for a tick.
    unwritten: bool,
    store_failed: bool,
    /// An entry waits for a record that cannot be read.
    halted: bool,
    /// What apply was told last.
    told: Told,
    last_tick: Duration,
    /// Since when it is told to stop.
    stopping: Option<Duration>,
}

/// What is on its way to the disk.
#[derive(Default)]
struct Logging {
    /// Numbers of the readies that the log works on, oldest first, with the time at which it got them.
    at_work: VecDeque<(u64, Duration)>,
    /// The newest ready that has nothing to write, if it came behind those: durable when they are.
    behind: Option<u64>,
    /// A commit index that is to be written with the next group; losing it is harmless.
    commit: Option<HardState>,
    /// Messages that may leave once a ready is durable.
    messages: VecDeque<(u64, Vec<Message>)>,
    stalled: bool,
    synced_at: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Told {
    leads: Option<Term>,
    awaits_window: bool,
}

/// What is left here of a proposal that apply works on.
struct AtApply {
    index: LogIndex,
    sent_at: Duration,
    answer: SlotWatch<Reply>,
}

struct WaitingRead {
    /// The ReadIndex round it is in; `None` until one can be asked.
    round: Option<ReadId>,
    slot: Slot<Arc<StateView>>,
    sent_at: Duration,
}

impl Driver {
    pub(crate) fn new(config: DriverConfig, shared: Arc<Shared>, consensus: Consensus, window_bytes: u64) -> Driver {
        let (now, tick) = (shared.clock.monotonic(), config.tick);
        let revision = shared.view.load().revision();
        Driver {
            chores: Chores::new(config.retention, config.quota, now, revision),
            config,
            shared,
            committed: LogIndex(consensus.status().applied),
            applied: LogIndex(consensus.status().applied),
            consensus,
            proposals: Vec::new(),
            pace: Pace::default(),
            in_flight: VecDeque::new(),
            at_apply: VecDeque::new(),
            reads: Vec::new(),
            logging: Logging::default(),
            office: None,
            window_bytes,
            is_low: false,
            settleable: None,
            announced: Vec::new(),
            unwritten: false,
            store_failed: false,
            halted: false,
            told: Told::default(),
            // The first step is due at once: what is committed already is to be applied.
            last_tick: now.saturating_sub(tick),
            stopping: None,
        }
    }

    /// When the next step is due if nothing arrives.
    pub(crate) fn due(&self) -> Duration {
        self.last_tick + self.config.tick
    }

    /// What the log was asked for is to be tried again.
    pub(crate) fn log_is_stalled(&self) -> bool {
        self.logging.stalled
    }

    /// See the file's head. `messages` is left empty, its space is for the next step.
    pub(crate) fn step(&mut self, now: Duration, messages: &mut Vec<DriverMessage>) -> DriverOutput {
        let mut output = DriverOutput::default();
        for message in messages.drain(..) {
            match message {
                DriverMessage::Propose(proposal) => self.pace.sort(proposal, self.is_low, &mut self.proposals),
                DriverMessage::Read { slot, sent_at } => self.reads.push(WaitingRead { round: None, slot, sent_at }),
                DriverMessage::Applied(report) => self.take_applied(report, now, &mut output),
                DriverMessage::Logged(report) => self.take_logged(report, now, &mut output),
                DriverMessage::KeepHistory(retention) => {
                    self.chores.keep_history(retention, now, self.shared.view.load().revision());
                }
                DriverMessage::WantQuota(quota) => self.chores.want_quota(quota, now),
                DriverMessage::Stop => self.begin_stop(now),
            }
        }
        let is_due = now >= self.due();
        if is_due {
            self.tick(now, &mut output);
        }
        self.propose(now);
        self.ask_reads();
        self.collect(now, Turn { flush: is_due && self.unwritten, ..Turn::default() }, &mut output);
        output.stopped = self.stopping.is_some_and(|since| {
            let can_wait = !self.logging.stalled && now.saturating_sub(since) < STOP_WAIT_MAX;
            self.logging.at_work.is_empty() || !can_wait
        });
        output
    }

    /// Leases are not renewed any more, and what they have left goes to the log.
    fn begin_stop(&mut self, now: Duration) {
        if self.stopping.is_some() {
            return;
        }
        self.stopping = Some(now);
        let Some(office) = self.office.clone() else { return };
        office.end();
        for command in Chores::end(now, &office) {
            self.propose_own(command, now);
        }
    }

    fn take_applied(&mut self, report: ApplyReport, now: Duration, output: &mut DriverOutput) {
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
        } = report;
        assert!(applied >= self.applied, "applied {applied} is reported after {}", self.applied);
        assert!(applied <= self.committed, "applied {applied} is reported, but {} went to apply", self.committed);
        self.applied = applied;
        while self.at_apply.pop_front_if(|at_apply| at_apply.index <= applied).is_some() {}
        self.window_bytes = window_bytes;
        self.is_low = is_low;
        self.settleable = settleable;
        self.unwritten = unwritten;
        self.store_failed |= failed;
        self.halted = halted;
        self.consensus.applied(applied.0);
        if let Some(index) = checkpoint_durable {
            assert!(index <= applied, "a checkpoint holds entry {index}, but only {applied} is applied");
            output.log.push(LogRequest::Trim(index.0));
        }
        if let Some(begun) = term_begun {
            self.take_office(begun, now);
        }
        // Without an office they would wait for an entry that is not applied.
        if halted && self.office.is_none() {
            self.reads.drain(..).for_each(|read| read.slot.refuse(Refused::Halted));
        }
    }

    fn take_office(&mut self, begun: TermBegun, now: Duration) {
        let status = self.consensus.status();
        // Leadership may be lost again by now.
        if status.role != Role::Leader || status.term != begun.term.0 {
            return;
        }
        let reads = if self.consensus.is_only_voter() { Reads::Alone } else { Reads::Quorum };
        let office = Arc::new(Office::new(begun, reads));
        self.shared.office.store(Some(office.clone()));
        self.office = Some(office);
        // At once: who starts a member with another quota finds it in force as soon as can be.
        let command = self.chores.set_quota(now, &self.shared.view.load());
        command.into_iter().for_each(|command| self.propose_own(command, now));
    }

    fn take_logged(&mut self, report: LogReport, now: Duration, output: &mut DriverOutput) {
        let LogReport { durable, stalled } = report;
        self.logging.stalled = stalled;
        self.shared.progress.log_stalled.store(stalled, Ordering::Relaxed);
        let Some(durable) = durable else { return };
        assert!(!stalled, "a log that made ready {durable} durable is not stalled");
        let logging = &mut self.logging;
        assert!(logging.at_work.iter().any(|(number, _)| *number == durable), "ready {durable} was given to the log");
        while logging.at_work.pop_front_if(|(number, _)| *number <= durable).is_some() {}
        let durable = match logging.behind.take_if(|_| logging.at_work.is_empty()) {
            Some(behind) => behind,
            None => durable,
        };
        while let Some((_, messages)) = logging.messages.pop_front_if(|(number, _)| *number <= durable) {
            output.messages.extend(messages);
        }
        logging.synced_at = now;
        self.consensus.persisted(durable);
    }

    fn propose(&mut self, taken_at: Duration) {
        self.refuse_growth();
        self.pace.admit(self.window_bytes, self.applied, &mut self.proposals);
        self.shared.progress.waiting_bytes.store(self.pace.waiting_bytes(), Ordering::Relaxed);
        if self.proposals.is_empty() {
            return;
        }
        let taken_at_ns = u64::try_from(taken_at.as_nanos()).unwrap_or(u64::MAX);
        self.shared.progress.taken_at_ns.store(taken_at_ns, Ordering::Relaxed);
        let bytes: usize = self.proposals.iter().map(|proposal| proposal.payload.len()).sum();
        let payloads = self.proposals.iter_mut().map(|proposal| std::mem::take(&mut proposal.payload)).collect();
        let disks = &self.shared.disks;
        // For space one may wait: what grows was refused before, and the rest makes some.
        let log = disks.of(DiskUse::Log, taken_at).map(|sick| sick.trouble);
        let waits_in_vain = |trouble: &DiskTrouble| self.logging.stalled && trouble.ailment != Ailment::Full;
        let proposed = if let Some(trouble) = log.filter(waits_in_vain) {
            Err(Refused::Disk(trouble))
        } else if let Some(trouble) = self.store_failed.then(|| disks.store_failed()).flatten() {
            Err(Refused::Disk(trouble))
        } else if self.halted {
            Err(Refused::Halted)
        } else if self.in_flight.len() >= IN_FLIGHT_MAX {
            Err(Refused::TooManyRequests)
        } else {
            self.consensus.propose_batch(payloads).map_err(refused_by_consensus)
        };
        let last = match proposed {
            Ok(last) => last,
            Err(refused) => {
                self.shared.metrics.proposals_failed.add(self.proposals.len() as u64);
                for slot in self.proposals.drain(..).filter_map(|proposal| proposal.slot) {
                    slot.refuse(refused);
                }
                return;
            }
        };
        self.pace.proposed(LogIndex(last.index), bytes as u64);
        let count = self.proposals.len() as u64;
        self.shared.metrics.proposals_pending.add(count as i64);
        let first = last.index + 1 - count;
        for (index, Proposal { read, slot, sent_at, .. }) in (first..).zip(self.proposals.drain(..)) {
            let (index, term) = (LogIndex(index), Term(last.term));
            self.in_flight.push_back(InFlight { index, term, read, slot, sent_at, taken_at });
        }
    }

    /// What came before it was known that a disk is full. What the handle has looked at since only replaces records.
    fn refuse_growth(&mut self) {
        let Some(trouble) = self.shared.disks.refuses_growth() else { return };
        let arrived = self.proposals.extract_if(.., |proposal| proposal.may_grow);
        for slot in arrived.chain(self.pace.take_growth()).filter_map(|proposal| proposal.slot) {
            self.shared.metrics.proposals_failed.increment();
            slot.refuse(Refused::Disk(trouble));
        }
    }

    /// One ReadIndex round for all reads that are in none.
    fn ask_reads(&mut self) {
        if self.reads.iter().all(|read| read.round.is_some()) {
            return;
        }
        // Who was told that it may read must find an office: the first entry of the term is on its way.
        if self.office.is_none() && self.consensus.status().role == Role::Leader {
            return;
        }
        // A refusal means that there is no leader, or one that is too new: asked again in the next step.
        let Ok(round) = self.consensus.read_index() else { return };
        for read in self.reads.iter_mut().filter(|read| read.round.is_none()) {
            read.round = Some(round);
        }
    }

    /// Takes what consensus asks for, until it asks for nothing.
    fn collect(&mut self, now: Duration, mut turn: Turn, output: &mut DriverOutput) {
        while let Some(ready) = self.consensus.ready() {
            let Ready {
                number,
                hard_state,
                entries,
                must_sync,
                messages,
                messages_after_sync,
                committed,
                reads,
                reads_lost,
            } = ready;
            output.messages.extend(messages);
            if !messages_after_sync.is_empty() {
                self.logging.messages.push_back((number, messages_after_sync));
            }
            for entry in committed {
                let before = turn.committed.last().map_or(self.committed, |before| LogIndex(before.entry.index));
                assert_eq!(entry.index, before.0 + 1, "entries go to apply in log order without a gap");
                let in_flight = self.take_in_flight(LogIndex(entry.index), Term(entry.term));
                turn.committed.push(Committed { entry, decoded: None, in_flight });
            }
            self.take_reads(reads, &reads_lost, &mut turn);
            if must_sync || !entries.is_empty() {
                let hard_state = hard_state.or(self.logging.commit.take());
                self.logging.commit = None;
                self.logging.behind = None;
                let before = self.logging.at_work.back().map_or(0, |(before, _)| *before);
                assert!(number > before, "ready {number} goes to the log after {before}");
                self.logging.at_work.push_back((number, now));
                output.log.push(LogRequest::Write(LogWork { number, entries, hard_state }));
            } else {
                self.logging.commit = hard_state.or(self.logging.commit);
                self.pass_unwritten(number, output);
            }
        }
        self.committed = turn.committed.last().map_or(self.committed, |last| LogIndex(last.entry.index));
        self.publish_progress();
        self.give_turn(turn, output);
    }

    /// A ready that has nothing to write is durable with those before it.
    fn pass_unwritten(&mut self, number: u64, output: &mut DriverOutput) {
        if !self.logging.at_work.is_empty() {
            self.logging.behind = Some(number);
            return;
        }
        while let Some((_, messages)) = self.logging.messages.pop_front() {
            output.messages.extend(messages);
        }
        self.consensus.persisted(number);
    }

    fn take_reads(&mut self, answered: Vec<ReadState>, lost: &[ReadId], turn: &mut Turn) {
        for read in self.reads.iter_mut().filter(|read| read.round.is_some_and(|round| lost.contains(&round))) {
            read.round = None;
        }
        for ReadState { id, index } in answered {
            let reads = self.reads.extract_if(.., |read| read.round == Some(id));
            let slots = reads.map(|read| read.slot).collect();
            turn.reads.push(WaitingReads { index: LogIndex(index), slots });
        }
    }

    fn give_turn(&mut self, mut turn: Turn, output: &mut DriverOutput) {
        let status = self.consensus.status();
        let leads = (status.role == Role::Leader).then_some(Term(status.term));
        let tell = Told { leads, awaits_window: self.pace.waiting_bytes() > 0 };
        if turn.is_empty() && !turn.flush && tell == self.told {
            return;
        }
        self.told = tell;
        turn.leads = tell.leads;
        turn.awaits_window = tell.awaits_window;
        turn.synced_at = self.logging.synced_at;
        output.turn = Some(turn);
    }

    /// The proposal that became this entry. Proposals whose place went to another leader's entry are lost.
    fn take_in_flight(&mut self, index: LogIndex, term: Term) -> Option<InFlight> {
        while let Some(first) = self.in_flight.front() {
            if first.index > index {
                return None;
            }
            let first = self.in_flight.pop_front()?;
            if first.index == index && first.term == term {
                self.at_apply.extend(first.slot.as_ref().map(|slot| AtApply {
                    index,
                    sent_at: first.sent_at,
                    answer: slot.watch(),
                }));
                return Some(first);
            }
            self.lose(first, Refused::TimedOut);
        }
        None
    }

    fn lose(&self, in_flight: InFlight, refused: Refused) {
        self.shared.metrics.proposals_pending.add(-1);
        self.shared.metrics.proposals_failed.increment();
        if let Some(slot) = in_flight.slot {
            slot.refuse(refused);
        }
    }

    fn publish_progress(&mut self) {
        let (progress, status) = (&self.shared.progress, self.consensus.status());
        let leader = status.leader.unwrap_or(0);
        progress.term.store(status.term, Ordering::Relaxed);
        progress.committed.store(status.committed, Ordering::Relaxed);
        if progress.leader.swap(leader, Ordering::AcqRel) != leader && leader != 0 {
            self.shared.metrics.leader_changes.increment();
            self.pace.forget_proposed();
            tracing::info!(leader = format!("{leader:x}"), term = status.term, "raft leader elected");
        }
        let leads = |office: &Arc<Office>| status.role == Role::Leader && status.term == office.term.0;
        if let Some(office) = self.office.take_if(|office| !leads(office)) {
            office.end();
            self.shared.office.store(None);
        }
    }

    fn tick(&mut self, now: Duration, output: &mut DriverOutput) {
        self.last_tick = now;
        self.consensus.tick();
        self.look_at_disks(now);
        self.expire_requests(now);
        self.shared.pinned_views.expire(now);
        if self.logging.at_work.is_empty() && !self.logging.stalled {
            output.log.push(LogRequest::Prove);
        }
        if let Some(office) = &self.office {
            let clock = &office.clock;
            if self.logging.is_late(now) { clock.stand_still(now) } else { clock.advance(now) }
        }
        self.do_chores(now);
    }

    /// A disk that does not return says nothing by itself.
    fn look_at_disks(&self, now: Duration) {
        let Shared { disks, progress, .. } = &*self.shared;
        let log_since = self.logging.at_work.front().filter(|_| !self.logging.stalled).map(|(_, since)| *since);
        let store_since_ms = progress.store_write_since_ms.load(Ordering::Relaxed);
        let store_since = (store_since_ms > 0).then(|| Duration::from_millis(store_since_ms));
        for (sign, since) in [(Sign::LogStuck, log_since), (Sign::StoreStuck, store_since)] {
            match since.map(|since| now.saturating_sub(since)).filter(|lasts| *lasts >= DISK_STUCK_AFTER) {
                Some(lasts) => {
                    let error = format_args!("a write lasts {} s", lasts.as_secs());
                    disks.raise(sign, Ailment::Stuck, &error, now.saturating_sub(lasts));
                }
                None => disks.clear(sign),
            }
        }
    }

    fn do_chores(&mut self, now: Duration) {
        let office = self.office.as_deref().filter(|office| !self.logging.stalled && !office.is_over());
        let figures = Figures {
            view: self.shared.view.load_full(),
            live: &self.shared.live,
            // Said again by the next report if it was not done.
            settleable: self.settleable.take_if(|_| office.is_some()),
            office,
            leader_time_ms: self.shared.leader_time_ms(),
        };
        let commands = self.chores.look(now, &figures, &self.shared.metrics);
        for command in std::mem::take(&mut self.announced) {
            self.propose_own(command, now);
        }
        for command in commands {
            match compacts(&command) {
                Some(revision) if self.shared.event_signals.announce(revision, None) => self.announced.push(command),
                _ => self.propose_own(command, now),
            }
        }
    }

    /// What the member proposes by itself goes past what waits for the store's files to become shorter: it makes them
    /// shorter, or ends a lease, and nobody who waits was promised an order to it.
    fn propose_own(&mut self, command: Command, now: Duration) {
        let payload = self.shared.payload(command);
        self.proposals.push(Proposal { payload, may_grow: false, read: None, slot: None, sent_at: now });
    }

    /// Requests that waited too long are answered; their entries may still be applied later.
    fn expire_requests(&mut self, now: Duration) {
        let timeout = self.config.request_timeout;
        let metrics = &self.shared.metrics;
        let is_late = |sent_at: Duration| now.saturating_sub(sent_at) > timeout;
        while let Some(late) = self.at_apply.pop_front_if(|at_apply| is_late(at_apply.sent_at)) {
            if late.answer.refuse(self.shared.timed_out()) {
                metrics.proposals_failed.increment();
            }
        }
        for in_flight in self.in_flight.iter_mut().take_while(|in_flight| is_late(in_flight.sent_at)) {
            if let Some(slot) = in_flight.slot.take() {
                self.shared.fail_late(slot);
            }
        }
        // Never proposed.
        for slot in self.pace.expire(now.saturating_sub(timeout)).filter_map(|proposal| proposal.slot) {
            self.shared.fail_late(slot);
        }
        for late in self.reads.extract_if(.., |read| is_late(read.sent_at)) {
            metrics.read_indexes_slow.increment();
            late.slot.refuse(self.shared.timed_out());
        }
    }
}

impl Logging {
    /// The disk keeps the log longer than a tick of ours may be long: leases must not run out because of that.
    fn is_late(&self, now: Duration) -> bool {
        self.at_work.front().is_some_and(|(_, since)| now.saturating_sub(*since) > LEADER_CLOCK_STEP_MAX)
    }
}

fn compacts(command: &Command) -> Option<Revision> {
    match command {
        Command::Compact(compact) => Some(compact.revision),
        Command::SpaceCompact(revision) => Some(*revision),
        _ => None,
    }
}

fn refused_by_consensus(refused: consensus::Refused) -> Refused {
    match refused {
        consensus::Refused::NotLeader { .. }
        | consensus::Refused::HandingOver { .. }
        | consensus::Refused::TermNotCommitted => Refused::NoLeader,
        consensus::Refused::TooMuchUncommitted { .. } => Refused::TooManyRequests,
        consensus::Refused::EntryTooLarge { .. } => Refused::TooLarge,
    }
}
