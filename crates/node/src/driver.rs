//! The driver thread: sole owner of consensus and the raft log.
//!
//! One turn: take everything from the inbox, hand it to consensus, write and sync what consensus wants durable (one write and
//! one sync for all of it), then pass what became committed to apply. Whatever arrives while a sync runs goes into
//! the next one; there is no timer and no batch size to tune.
//!
//! Invariants: nothing is committed by this member before its own sync returned; a failed write or sync is never retried on
//! the same file. While the log cannot be written the member is *stalled*: new proposals are refused, entries already taken
//! wait, reads go on, and the write is tried again until it succeeds.

use crate::apply::{ApplyMessage, Committed};
use crate::apply_owner::ApplyOwner;
use crate::auto_compaction::{AutoCompaction, AutoCompactor};
use crate::budget_watch::{BudgetWatch, Warning};
use crate::governor::{Figures, Governor};
use crate::handle::{Reply, Shared};
use crate::limits::{DISK_RETRY_INTERVAL, LEASE_CHECK_INTERVAL, LEASE_CHECKPOINT_INTERVAL, LEASE_REVOKES_MAX};
use crate::pace::Pace;
use crate::reply::{Slot, lock};
use crate::{AccountOrder, Refused, StateView};
use bytes::Bytes;
use consensus::{Consensus, Entry, HardState, ReadId, Ready, Role};
use model::{Command, Compact, LeaseCheckpoint, LogIndex, Term};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use wal::Wal;

pub(crate) enum DriverMessage {
    Propose {
        payload: Bytes,
        slot: Option<Slot<Reply>>,
        sent_at: Duration,
    },
    Read {
        slot: Slot<Arc<StateView>>,
        sent_at: Duration,
    },
    /// There is room for proposals that are kept back.
    Room,
    /// A checkpoint of this index is durable: the log behind it may go.
    CheckpointDurable(LogIndex),
    Stop,
}

/// A proposal between its place in the log and its answer.
pub(crate) struct InFlight {
    pub(crate) index: LogIndex,
    pub(crate) term: Term,
    pub(crate) slot: Option<Slot<Reply>>,
    pub(crate) sent_at: Duration,
    pub(crate) taken_at: Duration,
}

pub(crate) struct DriverConfig {
    pub(crate) tick: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) auto_compaction: Option<AutoCompaction>,
    pub(crate) pressure_retention: Option<Duration>,
    pub(crate) on_fault: Arc<dyn Fn(String) + Send + Sync>,
}

pub(crate) struct Driver {
    config: DriverConfig,
    shared: Arc<Shared>,
    apply: Arc<ApplyOwner>,
    consensus: Consensus,
    wal: Wal,
    /// Proposals of this turn, until they are handed to consensus together.
    proposals: Vec<Proposal>,
    /// Holds those for which there is no room.
    pace: Pace,
    in_flight: VecDeque<InFlight>,
    reads: Vec<WaitingRead>,
    /// A commit index that is to be written with the next group; losing it is harmless.
    unwritten_commit: Option<HardState>,
    /// What could not be written yet.
    stalled: Option<Group>,
    /// The log's file failed: it must fail over to another before it is written again.
    log_failed: bool,
    last_tick: Duration,
    lease_check_due: Duration,
    lease_checkpoint_due: Duration,
    auto_compactor: Option<AutoCompactor>,
    governor: Governor,
    budget_watch: BudgetWatch,
    stopping: bool,
}

pub(crate) struct Proposal {
    pub(crate) payload: Bytes,
    pub(crate) slot: Option<Slot<Reply>>,
    pub(crate) sent_at: Duration,
}

/// What is written and synced together.
struct Group {
    ready: Ready,
    /// The log has taken it; a sync is missing.
    appended: bool,
}

struct WaitingRead {
    /// The ReadIndex round it is in; `None` until one can be asked.
    round: Option<ReadId>,
    slot: Slot<Arc<StateView>>,
    sent_at: Duration,
}

impl Driver {
    pub(crate) fn new(
        config: DriverConfig,
        shared: Arc<Shared>,
        apply: Arc<ApplyOwner>,
        consensus: Consensus,
        wal: Wal,
    ) -> Driver {
        let now = shared.clock.monotonic();
        let revision = shared.view.load().revision();
        Driver {
            auto_compactor: config.auto_compaction.map(|mode| AutoCompactor::new(mode, now, revision)),
            governor: Governor::new(config.pressure_retention, now),
            budget_watch: BudgetWatch::default(),
            config,
            shared,
            apply,
            consensus,
            wal,
            proposals: Vec::new(),
            pace: Pace::default(),
            in_flight: VecDeque::new(),
            reads: Vec::new(),
            unwritten_commit: None,
            stalled: None,
            log_failed: false,
            last_tick: now,
            lease_check_due: now,
            lease_checkpoint_due: now + LEASE_CHECKPOINT_INTERVAL,
            stopping: false,
        }
    }

    /// Runs until told to stop; everything taken until then is written, and apply is told to stop behind it.
    pub(crate) fn run(mut self) {
        let mut taken = Vec::new();
        self.drive();
        while !self.stopping {
            let now = self.shared.clock.monotonic();
            let until_tick = (self.last_tick + self.config.tick).saturating_sub(now);
            let wait = if self.stalled.is_some() { until_tick.min(DISK_RETRY_INTERVAL) } else { until_tick };
            if !self.shared.inbox.take(&mut taken, wait) {
                break;
            }
            self.turn(&mut taken);
        }
        self.shared.inbox.close();
        self.apply.push(ApplyMessage::Stop);
        if let Err(fault) = self.wal.close() {
            tracing::warn!(error = %fault, "close raft log");
        }
    }

    fn turn(&mut self, taken: &mut Vec<DriverMessage>) {
        let now = self.shared.clock.monotonic();
        for message in taken.drain(..) {
            match message {
                DriverMessage::Propose { payload, slot, sent_at } => {
                    self.pace.sort(Proposal { payload, slot, sent_at }, &mut self.proposals);
                }
                DriverMessage::Read { slot, sent_at } => self.reads.push(WaitingRead { round: None, slot, sent_at }),
                DriverMessage::Room => {}
                DriverMessage::CheckpointDurable(index) => self.wal.trim(index.0),
                DriverMessage::Stop => self.stopping = true,
            }
        }
        if now >= self.last_tick + self.config.tick {
            self.tick(now);
        }
        let applied = self.shared.progress.applied.load(Ordering::Acquire);
        self.consensus.applied(applied.max(self.consensus.status().applied));
        self.propose(now, LogIndex(applied));
        self.ask_reads();
        self.drive();
    }

    fn propose(&mut self, taken_at: Duration, applied: LogIndex) {
        let progress = &self.shared.progress;
        self.pace.release(&progress.room, applied, &mut self.proposals);
        progress.held_bytes.store(self.pace.held_bytes(), Ordering::Relaxed);
        if self.proposals.is_empty() {
            return;
        }
        let bytes: usize = self.proposals.iter().map(|proposal| proposal.payload.len()).sum();
        let payloads = self.proposals.iter_mut().map(|proposal| std::mem::take(&mut proposal.payload)).collect();
        let proposed = if self.stalled.is_some() {
            Err(Refused::DiskFull)
        } else if progress.store_failed.load(Ordering::Relaxed) {
            Err(Refused::StoreFailed)
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
        for (index, Proposal { slot, sent_at, .. }) in (first..).zip(self.proposals.drain(..)) {
            let (index, term) = (LogIndex(index), Term(last.term));
            self.in_flight.push_back(InFlight { index, term, slot, sent_at, taken_at });
        }
    }

    /// One ReadIndex round for all reads that are in none.
    fn ask_reads(&mut self) {
        if self.reads.iter().all(|read| read.round.is_some()) {
            return;
        }
        // A refusal means that there is no leader, or one that is too new: asked again in the next turn.
        let Ok(round) = self.consensus.read_index() else { return };
        for read in self.reads.iter_mut().filter(|read| read.round.is_none()) {
            read.round = Some(round);
        }
    }

    /// Carries out what consensus asks for, until it asks for nothing.
    fn drive(&mut self) {
        if let Some(group) = self.stalled.take() {
            self.write(group);
        }
        while self.stalled.is_none() {
            let Some(mut ready) = self.consensus.ready() else { break };
            // Apply takes office by the first entry of our term, so it must know of the term when it sees the entry.
            self.publish_progress();
            self.hand_to_apply(std::mem::take(&mut ready.committed));
            self.answer_reads(&ready);
            self.write(Group { ready, appended: false });
        }
        self.publish_progress();
    }

    /// Makes `ready` durable, or keeps it if the log cannot be written.
    fn write(&mut self, mut group: Group) {
        if let Err(fault) = self.write_log(&mut group) {
            if !self.shared.progress.disk_full.swap(true, Ordering::Relaxed) {
                tracing::error!(error = %fault, "write raft log: writes are refused until it succeeds, reads go on");
            }
            self.stalled = Some(group);
            return;
        }
        if self.shared.progress.disk_full.load(Ordering::Relaxed) && group.ready.must_sync {
            self.shared.progress.disk_full.store(false, Ordering::Relaxed);
            tracing::warn!("the raft log can be written again, writes go on");
        }
        self.consensus.persisted(group.ready.number);
    }

    fn write_log(&mut self, group: &mut Group) -> wal::Result<()> {
        let hard_state = group.ready.hard_state.or(self.unwritten_commit);
        if group.ready.entries.is_empty() && !group.ready.must_sync {
            self.unwritten_commit = hard_state;
            return Ok(());
        }
        let written = self.try_write_log(group, hard_state);
        if let Err(fault) = &written {
            // Lack of space leaves the log as it was; after anything else its file must not be written again.
            self.log_failed |= !fault.is_no_space();
        }
        written
    }

    fn try_write_log(&mut self, group: &mut Group, hard_state: Option<HardState>) -> wal::Result<()> {
        if self.log_failed {
            self.wal.fail_over().inspect_err(|fault| self.give_up(fault))?;
            self.log_failed = false;
        }
        if !group.appended {
            let started = self.shared.clock.monotonic();
            self.wal.append(&group.ready.entries, hard_state)?;
            self.shared.metrics.wal_write.observe(self.shared.clock.monotonic().saturating_sub(started));
            group.appended = true;
            self.unwritten_commit = None;
        }
        let started = self.shared.clock.monotonic();
        let bytes = self.wal.sync()?;
        self.shared.metrics.wal_bytes.add(bytes as u64);
        self.shared.metrics.wal_sync.observe(self.shared.clock.monotonic().saturating_sub(started));
        Ok(())
    }

    /// Neither the log's file nor another can be written, for a reason other than space: this process cannot go on.
    fn give_up(&self, fault: &wal::Fault) {
        if !fault.is_no_space() {
            (self.config.on_fault)(fault.to_string());
        }
    }

    fn answer_reads(&mut self, ready: &Ready) {
        for lost in &ready.reads_lost {
            for read in self.reads.iter_mut().filter(|read| read.round == Some(*lost)) {
                read.round = None;
            }
        }
        for answered in &ready.reads {
            let reads = self.reads.extract_if(.., |read| read.round == Some(answered.id));
            let slots = reads.map(|read| read.slot).collect();
            self.apply.push(ApplyMessage::Reads { index: LogIndex(answered.index), slots });
        }
    }

    fn hand_to_apply(&mut self, entries: Vec<Entry>) {
        if entries.is_empty() {
            return;
        }
        let entries = entries
            .into_iter()
            .map(|entry| {
                let in_flight = self.take_in_flight(LogIndex(entry.index), Term(entry.term));
                Committed { entry, in_flight }
            })
            .collect();
        let synced_at = self.shared.clock.monotonic();
        if let Err(fault) = self.apply.hand_over(entries, synced_at) {
            self.shared.store_faulted(&fault, &*self.config.on_fault);
            self.apply.abandon();
        }
    }

    /// The proposal that became this entry. Proposals whose place went to another leader's entry are lost.
    fn take_in_flight(&mut self, index: LogIndex, term: Term) -> Option<InFlight> {
        while let Some(first) = self.in_flight.front() {
            if first.index > index {
                return None;
            }
            let first = self.in_flight.pop_front()?;
            if first.index == index && first.term == term {
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
        if status.role != Role::Leader {
            progress.leads_alone.store(false, Ordering::Release);
        }
    }

    fn tick(&mut self, now: Duration) {
        let elapsed = now - self.last_tick;
        self.last_tick = now;
        self.consensus.tick();
        self.prove_last_group();
        self.expire_requests(now);
        self.shared.pinned_views.expire(now);
        if self.shared.progress.leads_alone.load(Ordering::Relaxed) {
            self.shared.leader_clock.advance(elapsed);
            self.keep_leases(now);
        }
        self.keep_space(now);
        self.watch_budgets(now);
    }

    /// What the server gives up of its history by itself, and how much of what was dropped counts no more.
    fn keep_space(&mut self, now: Duration) {
        let view = self.shared.view.load_full();
        let leads = self.shared.progress.leads_alone.load(Ordering::Relaxed) && self.stalled.is_none();
        let (revision, compacted) = (view.revision(), view.compacted_revision());
        let due = self.auto_compactor.as_mut().and_then(|auto| auto.due(now, revision, compacted, leads));
        let figures = Figures {
            revision,
            compacted,
            retained_bytes: view.retained_bytes(),
            quota_bytes: view.quota_bytes(),
            alarm: view.alarms().by_quota().is_some(),
        };
        let advice = self.governor.look(now, figures);
        if advice.looked {
            let full_in_s = advice.full_in.map_or(-1, |full_in| full_in.as_secs() as i64);
            self.shared.metrics.full_in_s.set(full_in_s);
        }
        if advice.warn {
            warn_of_pressure(&view, advice.full_in);
        }
        if let Some(revision) = advice.compact.filter(|_| leads) {
            self.shared.metrics.pressure_compactions.increment();
            tracing::warn!(revision = revision.0, "space is short: history is compacted");
            self.propose_own(Command::Compact(Compact { revision, physical: false }), now);
        }
        if let Some(revision) = due {
            self.propose_own(Command::Compact(Compact { revision, physical: false }), now);
        }
        let release = lock(&self.shared.progress.release).take();
        if let Some(release) = release.filter(|_| leads) {
            self.propose_own(Command::SpaceRelease(release), now);
        }
    }

    fn watch_budgets(&mut self, now: Duration) {
        if !self.budget_watch.is_due(now) {
            return;
        }
        let view = self.shared.view.load_full();
        let budgets = view.budgets().list(self.shared.leader_clock.now_ms());
        self.budget_watch.look(now, budgets).iter().for_each(Warning::log);
    }

    /// A record behind the newest group proves, after a crash, that the group was durable.
    fn prove_last_group(&mut self) {
        if self.stalled.is_none()
            && !self.log_failed
            && let Err(fault) = self.wal.write()
        {
            self.log_failed = !fault.is_no_space();
            tracing::warn!(error = %fault, "write raft log");
        }
    }

    /// Requests that waited too long are answered; their entries may still be applied later.
    fn expire_requests(&mut self, now: Duration) {
        let timeout = self.config.request_timeout;
        for in_flight in &mut self.in_flight {
            if now.saturating_sub(in_flight.sent_at) <= timeout {
                break;
            }
            if let Some(slot) = in_flight.slot.take() {
                self.shared.metrics.proposals_failed.increment();
                slot.refuse(Refused::TimedOut);
            }
        }
        // Never proposed, for want of room.
        for slot in self.pace.expire(now.saturating_sub(timeout)).filter_map(|proposal| proposal.slot) {
            self.shared.metrics.proposals_failed.increment();
            slot.refuse(Refused::TimedOut);
        }
        let late = self.reads.extract_if(.., |read| now.saturating_sub(read.sent_at) > timeout);
        for read in late {
            read.slot.refuse(Refused::TimedOut);
        }
    }

    /// The leader's lease work: revoke what expired, write down what was renewed.
    fn keep_leases(&mut self, now: Duration) {
        if self.stalled.is_some() {
            return;
        }
        let leader_now_ms = self.shared.leader_clock.now_ms();
        if now >= self.lease_check_due {
            self.lease_check_due = now + LEASE_CHECK_INTERVAL;
            let expired = lock(&self.shared.leases).expired(leader_now_ms, LEASE_REVOKES_MAX);
            self.shared.metrics.leases_expired.add(expired.len() as u64);
            for lease in expired {
                self.propose_own(Command::LeaseRevoke(lease), now);
            }
        }
        if now >= self.lease_checkpoint_due {
            self.lease_checkpoint_due = now + LEASE_CHECKPOINT_INTERVAL;
            let remaining = lock(&self.shared.leases).to_checkpoint(leader_now_ms);
            if let Some(remaining) = remaining {
                self.propose_own(Command::LeaseCheckpoint(LeaseCheckpoint { remaining }), now);
            }
        }
    }

    fn propose_own(&mut self, command: Command, now: Duration) {
        let payload = self.shared.payload(command);
        self.proposals.push(Proposal { payload, slot: None, sent_at: now });
    }
}

/// Says how full the store is, when it will be, and who fills it.
fn warn_of_pressure(view: &StateView, full_in: Option<Duration>) {
    let (retained, quota) = (view.retained_bytes(), view.quota_bytes().unwrap_or_default());
    let largest = view.accounts().top(1, AccountOrder::RetainedBytes).pop().unwrap_or_default();
    let percent = |part: u64, whole: u64| u128::from(part) * 100 / u128::from(whole.max(1));
    tracing::warn!(
        "retained-size-bytes" = retained,
        "quota-size-bytes" = quota,
        "percent-used" = percent(retained, quota),
        "full-in" = full_in.map_or_else(|| "not at this rate".to_owned(), |full_in| format!("{}s", full_in.as_secs())),
        "largest-prefix" = %String::from_utf8_lossy(&largest.prefix),
        "largest-prefix-percent" = percent(largest.retained_bytes(), retained),
        "the space quota is nearly used up"
    );
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
