//! What the rim holds of a running member: proposals in, answers and views out. Cheap to clone; one clone per rim
//! thread carries that rim's mailbox.

use crate::Refused;
use crate::answer::{RangeAnswer, RangeWalk, Reply, Timings};
use crate::auto_compaction::AutoCompaction;
use crate::disk_health::DiskUse;
use crate::handed_on::HandedOn;
use crate::inbox::PushError;
use crate::limits::{APPLY_LAG_ENTRIES_MAX, INBOX_BYTES_MAX, INBOX_MESSAGES_MAX};
use crate::messages::{DriverMessage, Proposal, Retention};
use crate::office::Reads;
use crate::reply::{Mailbox, Pending, Slot};
use crate::shared::Shared;
use crate::signal::EventSignal;
use crate::status::{Metrics, Overload, Status, Waiting};
use model::{ClusterId, Command, LeaseCheckpoint, LeaseId, LogIndex, MemberId, QuotaSet, Range};
use model::{Rejection, Revision, Term, Txn};
use mvcc::{Found, ReadError, Walk};
use state::{BudgetState, Footprint, LiveTables, Operations, ReadAhead, Records, StateView, TxnOutcome};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// See the file's head.
#[derive(Clone)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
    mailbox: Option<Arc<Mailbox>>,
}

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>) -> Handle {
        Handle { shared, mailbox: None }
    }

    /// The handle for one rim thread, whose answers come through `mailbox`; the rim must run `mailbox.deliver()`.
    pub fn with_mailbox(&self, mailbox: Arc<Mailbox>) -> Handle {
        Handle { shared: self.shared.clone(), mailbox: Some(mailbox) }
    }

    /// Begins to read what must be read before `command` is proposed; `None` if that is nothing. What was read goes on
    /// with it (`hand_on`).
    pub fn read_ahead(&self, command: &Command) -> Option<ReadAhead> {
        if !ReadAhead::is_due(command) {
            return None;
        }
        Some(ReadAhead::new(self.view(), command))
    }

    /// For `propose_read` and the answer; `None` if there is nothing, or too much.
    pub fn hand_on(&self, records: Records) -> Option<Arc<HandedOn>> {
        HandedOn::new(records, &self.shared.handed_on_bytes)
    }

    /// Puts `command`, for which nothing is to be read ahead, into the log. Resolves when it was synced and applied, or
    /// refused. Dropping the future does not take the command back.
    pub fn propose(&self, command: Command) -> Pending<Reply> {
        self.propose_read(command, None)
    }

    /// The same, with what was read ahead.
    pub fn propose_read(&self, command: Command, read: Option<Arc<HandedOn>>) -> Pending<Reply> {
        let progress = &self.shared.progress;
        let mut may_grow = Footprint::of(&command).writes_records();
        if self.shared.disks.is_sick() {
            if let Some(refused) = self.refused_by_disk(&command, may_grow) {
                return self.refused(refused);
            }
            may_grow &= self.shared.disks.refuses_growth().is_none();
        }
        if self.is_halted() {
            return self.refused(Refused::Halted);
        }
        let waiting = progress.waiting_bytes.load(Ordering::Relaxed);
        if progress.apply_lag() > APPLY_LAG_ENTRIES_MAX || waiting > INBOX_BYTES_MAX as u64 {
            return self.refused(Refused::TooManyRequests);
        }
        if let Some(reply) = self.sure_refusal(&command) {
            return Pending::answered(Ok(reply));
        }
        let payload = self.shared.payload(command);
        let bytes = payload.len();
        let (slot, pending) = Slot::new(self.mailbox.clone());
        let sent_at = self.shared.clock.monotonic();
        let proposal = Proposal { payload, may_grow, read, slot: Some(slot), sent_at };
        match self.shared.inbox.push(DriverMessage::Propose(proposal), bytes) {
            Ok(()) => pending,
            Err((error, message)) => {
                drop(message);
                self.refused(refused_by_inbox(error))
            }
        }
    }

    /// Nothing is proposed that a full disk has no space for: an entry that is committed must be applied. What replaces
    /// records by such of about the same size is served as long as space is left that was put aside for it, and what
    /// writes no records always.
    fn refused_by_disk(&self, command: &Command, writes_records: bool) -> Option<Refused> {
        let Shared { disks, progress, .. } = &*self.shared;
        if let Some(trouble) = disks.store_failed() {
            return Some(Refused::Disk(trouble));
        }
        let trouble = disks.refuses_growth().filter(|_| writes_records)?;
        let view = self.shared.view.load();
        let room = progress.record_room.load(Ordering::Relaxed);
        // What cannot be read cannot be told from growth.
        let fits = self.shared.live.replaces_within(&view, command, room).unwrap_or(false);
        (!fits).then_some(Refused::Disk(trouble))
    }

    /// What is certainly refused needs no place in the log: else a flood that comes to nothing would be written, synced
    /// and sent to everybody. A view that may lag cannot tell, and what cannot be read is for apply to find out.
    ///
    /// It counts as applied, as in etcd, where every refusal is.
    fn sure_refusal(&self, command: &Command) -> Option<Reply> {
        if !self.answers_alone() {
            return None;
        }
        let started = self.shared.clock.monotonic();
        // Every write comes here: a guard, not a clone.
        let view = self.shared.view.load();
        let live = &self.shared.live;
        let rejection = live.refusal(&view, command, self.shared.leader_time_ms()).ok().flatten()?;
        if let Rejection::OverBudget(over) = &rejection {
            live.budgets().count_refused(over);
        }
        self.shared.metrics.applies.observe(command, false, self.shared.clock.monotonic().saturating_sub(started));
        let term = Term(self.shared.progress.term.load(Ordering::Relaxed));
        Some(Reply {
            answer: Err(rejection),
            revision: view.revision(),
            term,
            view: Arc::clone(&view),
            timings: Timings::default(),
        })
    }

    fn refused<T>(&self, refused: Refused) -> Pending<T> {
        // As etcd's: what is turned away at the door was no proposal.
        if refused != Refused::TooManyRequests {
            self.shared.metrics.proposals_failed.increment();
        }
        Pending::answered(Err(refused))
    }

    /// A view that holds every write acknowledged before this call. A single leader answers without a thread switch.
    pub fn read_barrier(&self) -> Pending<Arc<StateView>> {
        if self.answers_alone() {
            return Pending::answered(Ok(self.view()));
        }
        // What is acknowledged may lie behind the entry that waits.
        if self.is_halted() {
            return Pending::answered(Err(Refused::Halted));
        }
        let (slot, pending) = Slot::new(self.mailbox.clone());
        match self.shared.inbox.push(DriverMessage::Read { slot, sent_at: self.shared.clock.monotonic() }, 0) {
            Ok(()) => pending,
            Err((error, message)) => {
                drop(message);
                Pending::answered(Err(refused_by_inbox(error)))
            }
        }
    }

    /// The same as `read_barrier` if it can be had at once; spares hot paths the future.
    pub fn read_now(&self) -> Option<Arc<StateView>> {
        self.answers_alone().then(|| self.view())
    }

    /// This member leads and is the only voter: what it has published holds everything that was acknowledged.
    fn answers_alone(&self) -> bool {
        self.shared.office.load().as_ref().is_some_and(|office| office.reads == Reads::Alone)
    }

    /// The newest published view, which may lag what other members acknowledged.
    pub fn view(&self) -> Arc<StateView> {
        self.shared.view.load_full()
    }

    /// Reads `request` on `view`. Pages at the revision of a recent first page are served from the view kept for it, so
    /// that their cost and their `count` do not depend on what was written since.
    pub fn range(&self, view: &Arc<StateView>, request: &Range) -> Result<RangeAnswer, ReadError> {
        self.shared.metrics.ranges.increment();
        let asked = request.revision;
        if let Some(pinned) = self.pinned_view(view, asked) {
            let request = Range { revision: Revision(0), ..request.clone() };
            let mut result = pinned.kv().range(&request)?;
            result.revision = view.revision();
            return Ok(RangeAnswer { result, view: pinned });
        }
        let result = view.kv().range(request)?;
        let reads_current = asked.0 <= 0 || asked == view.revision();
        if result.more && reads_current {
            self.shared.pinned_views.keep(view, self.shared.clock.monotonic());
        }
        Ok(RangeAnswer { result, view: view.clone() })
    }

    /// Answers a txn that only reads, of which the caller is sure, and counts what it reads. Refuses it if one of its
    /// reads names a revision that is compacted or in the future; fails if the disk does.
    pub fn read_txn(&self, view: &StateView, txn: &Txn) -> state::Result<Result<TxnOutcome, Rejection>> {
        let mut operations = Operations::default();
        let read = view.txn(txn, &mut operations);
        self.shared.metrics.count(operations);
        read
    }

    /// Of such a txn, whether its compares hold and what it reads then, for who reads that in steps; counted as well.
    pub fn txn_branch<'t>(
        &self,
        view: &StateView,
        txn: &'t Txn,
    ) -> state::Result<Result<(bool, Vec<&'t Range>), Rejection>> {
        let mut operations = Operations::default();
        let branch = view.txn_branch(txn, &mut operations);
        self.shared.metrics.count(operations);
        branch
    }

    fn pinned_view(&self, view: &StateView, asked: Revision) -> Option<Arc<StateView>> {
        let is_past = asked.0 > 0 && asked < view.revision() && asked >= view.compacted_revision();
        is_past.then(|| self.shared.pinned_views.at(asked)).flatten()
    }

    /// Begins to read `request` on `view`, or on the one kept for its revision, in steps.
    pub fn walk(&self, view: &Arc<StateView>, request: &Range) -> Result<RangeWalk, Rejection> {
        let asked = request.revision;
        let revision = view.revision();
        let view = self.pinned_view(view, asked).unwrap_or_else(|| view.clone());
        let reads_current = asked.0 <= 0 || asked == revision;
        Ok(RangeWalk { walk: Walk::new(view.kv(), request)?, view, revision, reads_current })
    }

    /// Takes the last step of a range read, and keeps its view if there are pages to come.
    pub fn finish_walk(&self, begun: RangeWalk) -> (Arc<StateView>, Found) {
        self.shared.metrics.ranges.increment();
        let RangeWalk { walk, view, reads_current, .. } = begun;
        let found = walk.finish();
        if found.more && reads_current {
            self.shared.pinned_views.keep(&view, self.shared.clock.monotonic());
        }
        (view, found)
    }

    /// Renews a lease; its granted time to live in seconds, or 0 if there is no such lease. The first renewal of a
    /// lease waits until the log says that it is being renewed, so that a restart does not take it back.
    pub async fn keep_alive(&self, lease: LeaseId) -> Result<i64, Refused> {
        let office = self.shared.office.load_full().ok_or(Refused::NoLeader)?;
        let (now_ms, at_most_ms) = (office.clock.now_ms(), office.clock.at_most_ms(self.shared.clock.monotonic()));
        let (ttl_s, unwritten) = office.with_leases(|leases| {
            let ttl_s = leases.keep_alive(lease, now_ms, at_most_ms).unwrap_or(0);
            (ttl_s, if leases.is_renewing(lease) { None } else { leases.checkpoint_of(lease) })
        });
        if ttl_s == 0 {
            return Ok(0);
        }
        self.shared.metrics.leases_renewed.increment();
        if let Some(remaining) = unwritten {
            let checkpoint = LeaseCheckpoint { remaining: vec![remaining] };
            self.propose(Command::LeaseCheckpoint(checkpoint)).await?;
        }
        // Another leader would not know of this renewal.
        if office.is_over() { Err(Refused::NoLeader) } else { Ok(ttl_s) }
    }

    /// Milliseconds that a lease has left, 0 when it is about to be revoked; `None` if there is no such lease. Only the
    /// leader knows.
    pub fn lease_remaining_ms(&self, lease: LeaseId) -> Result<Option<u64>, Refused> {
        let office = self.shared.office.load();
        let office = office.as_ref().ok_or(Refused::NoLeader)?;
        Ok(office.lease_remaining_ms(lease))
    }

    /// Leases, accounts and budgets as they are now: not behind any view that was had before.
    pub fn live(&self) -> &LiveTables {
        &self.shared.live
    }

    /// Budgets and how prefixes stand to them now.
    pub fn budgets(&self) -> Vec<BudgetState> {
        self.shared.live.budgets().list(self.shared.leader_time_ms())
    }

    /// From now on so much history is kept: what the server compacts by itself, and what it leaves when the quota is
    /// nearly used up. A periodic compaction that changes begins a new period.
    pub fn keep_history(&self, auto_compaction: Option<AutoCompaction>, under_pressure: Option<Duration>) {
        let retention = Retention { auto_compaction, under_pressure };
        self.shared.inbox.push_always(DriverMessage::KeepHistory(retention));
    }

    /// From now on this quota is wanted: it is in force once the member in office has written it to the log. `None` for
    /// no bound; `strict_latch` for NOSPACE as in etcd.
    pub fn want_quota(&self, bytes: Option<u64>, strict_latch: bool) {
        self.shared.inbox.push_always(DriverMessage::WantQuota(QuotaSet { bytes, strict_latch }));
    }

    pub fn status(&self) -> Status {
        let progress = &self.shared.progress;
        let leader = progress.leader.load(Ordering::Relaxed);
        Status {
            cluster: self.shared.cluster,
            member: self.shared.member,
            leader: (leader != 0).then_some(MemberId(leader)),
            term: Term(progress.term.load(Ordering::Relaxed)),
            committed: LogIndex(progress.committed.load(Ordering::Relaxed)),
            applied: LogIndex(progress.applied.load(Ordering::Relaxed)),
            store_failed: self.shared.disks.store_failed().is_some(),
            waiting_bytes: progress.waiting_bytes.load(Ordering::Relaxed),
            sick_disks: DiskUse::ALL.map(|disk| self.shared.disks.of(disk, self.shared.clock.monotonic())),
        }
    }

    /// What makes the member turn proposals away now: of its limits the one that is met, or nearest.
    pub fn overload(&self) -> Overload {
        let progress = &self.shared.progress;
        let (entries, max) = (progress.apply_lag(), APPLY_LAG_ENTRIES_MAX);
        if entries > max {
            return Overload::ApplyLag { entries, max };
        }
        let (messages, bytes) = self.shared.inbox.held();
        let waiting = progress.waiting_bytes.load(Ordering::Relaxed);
        let (bytes, bytes_max) = (waiting.max(bytes as u64), INBOX_BYTES_MAX as u64);
        let (messages, messages_max) = (messages as u64, INBOX_MESSAGES_MAX as u64);
        if u128::from(bytes) * u128::from(messages_max) > u128::from(messages) * u128::from(bytes_max) {
            Overload::InboxBytes { bytes, max: bytes_max }
        } else {
            Overload::InboxMessages { messages, max: messages_max }
        }
    }

    /// What a proposal waits for that was made so long ago and is not answered, as far as can be told.
    pub fn waiting(&self, since: Duration) -> Waiting {
        let progress = &self.shared.progress;
        let sent_at = self.shared.clock.monotonic().saturating_sub(since);
        let taken_at = Duration::from_nanos(progress.taken_at_ns.load(Ordering::Relaxed));
        if taken_at < sent_at || progress.waiting_bytes.load(Ordering::Relaxed) > 0 {
            Waiting::Queue
        } else if progress.log_is_busy.load(Ordering::Relaxed) || progress.log_stalled.load(Ordering::Relaxed) {
            Waiting::Sync
        } else {
            Waiting::Apply
        }
    }

    /// The log entry that waits, and the record that it needs and that cannot be read.
    pub fn halted_because(&self) -> Option<Arc<String>> {
        self.shared.halt.load_full()
    }

    fn is_halted(&self) -> bool {
        self.shared.halt.load().is_some()
    }

    pub fn cluster(&self) -> ClusterId {
        self.shared.cluster
    }

    pub fn member(&self) -> MemberId {
        self.shared.member
    }

    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// All changes, as they are published; what watches read.
    pub fn events(&self) -> &Arc<watch::EventLog> {
        &self.shared.events
    }

    /// Tells the rims that `revision` is about to be compacted, so that watches in step hear how far they came before.
    /// Resolves when all have done so; at once if there is nothing to be told, or nobody.
    pub async fn announce_compaction(&self, revision: Revision) {
        let view = self.view();
        if revision > view.compacted_revision() && revision <= view.revision() {
            let (slot, told) = Slot::new(self.mailbox.clone());
            self.shared.event_signals.announce(revision, Some(slot));
            // There is no answer but that the slot was dropped.
            let _ = told.await;
        }
    }

    /// Tells this rim when there are new events.
    pub fn event_signal(&self) -> EventSignal {
        self.shared.event_signals.subscribe(self.mailbox.clone())
    }
}

fn refused_by_inbox(error: PushError) -> Refused {
    match error {
        PushError::Full => Refused::TooManyRequests,
        PushError::Closed => Refused::Stopped,
    }
}
