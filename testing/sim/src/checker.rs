//! Judges a run: what the member did against a model, from what clients asked for, what they were answered, and what a
//! watcher of all keys saw.
//!
//! One member puts everything in one order, and revisions name it. The watcher's events say what happened at each
//! revision; each is explained by exactly one request, or by a lease that ran out. A request that was answered must
//! explain the revision that its answer names; one without a certain answer may have happened, once, until the member
//! that took it has gone and the next one has read its log. So nothing is searched for: the check costs as much as the
//! run.
//!
//! What is checked: no revision is missing, doubled or taken back, by an answer, an event or a restart; answers and
//! reads, old revisions too, are the model's; an answer's revision is not below what was acknowledged before the
//! request was sent; no lease ends before its time; requests are refused only for reasons that there are.
//!
//! Not here: bounds of time and of bytes (`world`).

use crate::client::{Answer, BUDGET_PREFIX, Flight, Known, Request, RequestNumber, request_of};
use crate::history::History;
use crate::reading::{self, Change, Unread};
use model::{AlarmAction, Command, KeyRange, LeaseId, Operation, Range, Rejection, Revision};
use node::{Handle, Refused, Reply};
use state::{Outcome, StateView};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What must not be, in a sentence.
pub type Violation = String;
pub type Checked<T = ()> = Result<T, Violation>;
/// How a violation begins that is none if the disk cannot be read.
pub const UNREAD: &str = "unread: ";

/// See the file's head.
#[derive(Debug, Default)]
pub struct Checker {
    history: History,
    /// What explains each revision; `None` as long as several things may.
    causes: BTreeMap<Revision, Happened>,
    /// Requests that may change keys.
    writes: BTreeMap<RequestNumber, Write>,
    leases: BTreeMap<LeaseId, Lease>,
    /// The newest revision of an answer.
    acknowledged: Revision,
    /// Raised by hand, perhaps.
    alarm: HandAlarm,
    /// Of a compaction that was acknowledged, and of one that may have been carried out.
    compacted: Revision,
    compacted_maybe: Revision,
    /// Those that were acknowledged.
    compactions: BTreeSet<Revision>,
    /// The member compacts by itself when space is short.
    compacts_for_space: bool,
    /// Whether the member may refuse growth.
    has_quota: bool,
    has_budgets: bool,
}

/// What is known of the alarm that clients raise and disarm.
#[derive(Debug, Default)]
struct HandAlarm {
    may_be_up: bool,
    /// When it was last known to be down: what was sent before may have been judged while it was up.
    down_since: Option<Duration>,
    /// Requests to raise it that may still be carried out, with the life of the member that took them.
    raising: BTreeMap<RequestNumber, u64>,
    /// Requests to disarm it, while nothing may raise it behind them.
    disarming: BTreeSet<RequestNumber>,
}

#[derive(Debug)]
struct Happened {
    changes: Vec<Change>,
    cause: Option<Cause>,
    seen_at: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Request(RequestNumber),
    LeaseEnd(LeaseId),
}

#[derive(Debug)]
struct Write {
    command: Command,
    /// Of the member that took it.
    life: u64,
    /// The revision that it explains.
    revision: Option<Revision>,
    /// It did not happen, and will not.
    is_over: bool,
}

#[derive(Debug, Default)]
struct Lease {
    /// What was granted, if an answer said so.
    ttl: Option<Duration>,
    /// It may not end before.
    holds_until: Duration,
    /// Somebody asked for its end.
    may_be_revoked: bool,
}

impl Checker {
    pub fn new(has_quota: bool, compacts_for_space: bool) -> Checker {
        Checker { has_quota, compacts_for_space, acknowledged: Revision(1), ..Checker::default() }
    }

    pub fn history(&self) -> &History {
        &self.history
    }

    pub fn known(&self) -> Known {
        Known { acknowledged: self.acknowledged, compacted: self.compacted }
    }

    pub fn sent(&mut self, flight: &Flight, life: u64) {
        let Request::Write(command) = &flight.request else { return };
        match command {
            Command::Put(_) | Command::DeleteRange(_) | Command::Txn(_) => {
                let write = Write { command: command.clone(), life, revision: None, is_over: false };
                self.writes.insert(flight.number, write);
            }
            Command::LeaseRevoke(lease) => self.leases.entry(*lease).or_default().may_be_revoked = true,
            Command::Compact(compact) => self.compacted_maybe = self.compacted_maybe.max(compact.revision),
            Command::BudgetSet(_) => self.has_budgets = true,
            Command::Alarm(alarm) => self.alarm.sent(flight.number, alarm.action, life),
            _ => {}
        }
    }

    /// A watcher of all keys saw these changes.
    pub fn saw(&mut self, revision: Revision, changes: Vec<Change>, now: Duration) -> Checked {
        let before = self.history.revision();
        let cause = self.cause(&changes, before)?;
        self.history.push(revision, &changes)?;
        if let Some(Cause::Request(number)) = cause {
            self.explain(number, revision, &changes, before)?;
        }
        self.causes.insert(revision, Happened { changes, cause, seen_at: now });
        Ok(())
    }

    /// Puts name their request; deletions do not.
    fn cause(&self, changes: &[Change], before: Revision) -> Checked<Option<Cause>> {
        for Change { key, pair } in changes {
            let Some(pair) = pair else { continue };
            let number = request_of(&pair.value).ok_or_else(|| format!("{key:?} has a value that nobody put"))?;
            return Ok(Some(Cause::Request(number)));
        }
        if changes.is_empty() { Err(format!("nothing happened behind revision {before}")) } else { Ok(None) }
    }

    /// The request explains the revision: its effect is what happened, and it has not happened before.
    fn explain(&mut self, number: RequestNumber, revision: Revision, changes: &[Change], before: Revision) -> Checked {
        let Some(write) = self.writes.get_mut(&number) else {
            return Err(format!("revision {revision} comes of request {}, which was never sent", number.0));
        };
        if write.is_over {
            return Err(format!("request {} was carried out at {revision}, after it was refused or lost", number.0));
        }
        if let Some(earlier) = write.revision.replace(revision) {
            return Err(format!("request {} was carried out twice, at {earlier} and {revision}", number.0));
        }
        let expected = self.history.effect(&write.command, before).changes;
        if expected != changes {
            return Err(format!(
                "request {} did {changes:?} at {revision}, and must do {expected:?}: {:?}",
                number.0, write.command
            ));
        }
        Ok(())
    }

    /// What a request was answered. Returns a line for the trace.
    pub fn answered(&mut self, flight: &Flight, answer: Answer, handle: &Handle, now: Duration) -> Checked<String> {
        match (&flight.request, answer) {
            (Request::Write(command), Answer::Write(Ok(reply))) => self.written(flight, command, &reply, now),
            (Request::Read(range), Answer::Read(Ok(view))) => self.read(flight, range, handle, &view),
            (Request::KeepAlive(lease), Answer::KeepAlive(Ok(ttl_s))) => self.kept_alive(flight, *lease, ttl_s, now),
            (_, Answer::Write(Err(refused)) | Answer::KeepAlive(Err(refused)) | Answer::Read(Err(refused))) => {
                self.refused(flight, refused);
                Ok(format!("refused: {refused}"))
            }
            (request, answer) => Err(format!("{request:?} was answered with {answer:?}")),
        }
    }

    fn refused(&mut self, flight: &Flight, refused: Refused) {
        let certain =
            matches!(refused, Refused::TooManyRequests | Refused::NoLeader | Refused::TooLarge | Refused::Disk(_));
        if certain && let Some(write) = self.writes.get_mut(&flight.number) {
            write.is_over = true;
        }
    }

    fn written(&mut self, flight: &Flight, command: &Command, reply: &Reply, now: Duration) -> Checked<String> {
        let (number, revision) = (flight.number, reply.revision);
        if revision < flight.floor {
            return Err(format!(
                "request {} was answered at revision {revision}, after {} was acknowledged",
                number.0, flight.floor
            ));
        }
        if revision > self.history.revision() {
            return Err(format!("request {} was answered at {revision}, whose event nobody saw", number.0));
        }
        self.acknowledged = self.acknowledged.max(revision);
        let outcome = match &reply.answer {
            Ok(outcome) => outcome,
            Err(rejection) => {
                self.rejected(flight, command, rejection, now)?;
                return Ok(format!("rejected at {revision}: {rejection}"));
            }
        };
        if reading::changed(outcome) {
            self.changed(flight, revision)?;
        } else {
            self.unchanged(number, command, revision)?;
        }
        match (command, outcome) {
            (Command::Txn(_), Outcome::Txn(_)) => self.txn(flight, command, outcome, reply)?,
            (Command::Compact(compact), Outcome::Compact) => self.compacted(flight, compact.revision)?,
            (Command::Alarm(_), Outcome::Alarm(_)) => self.alarm.done(number, now),
            (Command::LeaseGrant(_), Outcome::LeaseGrant { id, ttl_s }) => {
                let lease = self.leases.entry(*id).or_default();
                let ttl = Duration::from_secs(*ttl_s as u64);
                lease.ttl = Some(ttl);
                lease.holds_until = flight.sent_at + ttl;
            }
            _ => {}
        }
        Ok(format!("done at {revision}"))
    }

    /// Carried out once, whatever the member compacts by itself: whoever asks for what a client compacted is refused.
    fn compacted(&mut self, flight: &Flight, revision: Revision) -> Checked {
        if revision <= flight.compacted || !self.compactions.insert(revision) {
            return Err(format!("request {} compacted {revision}, which was compacted before", flight.number.0));
        }
        self.compacted = self.compacted.max(revision);
        Ok(())
    }

    /// The answer says that the request made this revision.
    fn changed(&mut self, flight: &Flight, revision: Revision) -> Checked {
        let number = flight.number;
        if revision == flight.floor {
            return Err(format!("request {} made revision {revision}, which was acknowledged before", number.0));
        }
        let Some(happened) = self.causes.get_mut(&revision) else {
            return Err(format!("request {} was answered at {revision}, where nothing happened", number.0));
        };
        match happened.cause {
            Some(Cause::Request(cause)) if cause == number => Ok(()),
            Some(cause) => Err(format!("request {} was answered at {revision}, which comes of {cause:?}", number.0)),
            None => {
                happened.cause = Some(Cause::Request(number));
                let changes = std::mem::take(&mut happened.changes);
                self.explain(number, revision, &changes, Revision(revision.0 - 1))
            }
        }
    }

    /// The answer says that the request changed nothing at this revision.
    fn unchanged(&mut self, number: RequestNumber, command: &Command, revision: Revision) -> Checked {
        let Some(write) = self.writes.get_mut(&number) else { return Ok(()) };
        write.is_over = true;
        if let Some(at) = write.revision {
            return Err(format!("request {} changed nothing by its answer, and did at {at}", number.0));
        }
        let expected = self.history.effect(command, revision).changes;
        if expected.is_empty() {
            return Ok(());
        }
        Err(format!("request {} changed nothing at {revision}, and must do {expected:?}", number.0))
    }

    fn txn(&self, flight: &Flight, command: &Command, outcome: &Outcome, reply: &Reply) -> Checked {
        let (Command::Txn(txn), Outcome::Txn(done)) = (command, outcome) else { return Ok(()) };
        let before = if reading::changed(outcome) { Revision(reply.revision.0 - 1) } else { reply.revision };
        let expected = self.history.effect(command, before).succeeded;
        if done.succeeded != expected {
            return Err(format!("request {}: its compares gave {}, must {expected}", flight.number.0, done.succeeded));
        }
        let operations = if done.succeeded { &txn.success } else { &txn.failure };
        for (operation, response) in operations.iter().zip(&done.responses) {
            if let (Operation::Range(range), state::OperationOutcome::Range(result)) = (operation, response) {
                let found = reading::found(&reply.view, result);
                self.compare(flight, range, before, &reply.view, found)?;
            }
        }
        Ok(())
    }

    fn rejected(&mut self, flight: &Flight, command: &Command, rejection: &Rejection, now: Duration) -> Checked {
        self.unchanged_by_refusal(flight.number)?;
        let has_reason = match rejection {
            Rejection::NoSpace => self.has_quota || self.alarm.may_refuse(flight.sent_at),
            Rejection::OverBudget(_) => self.has_budgets && keys_of(command).any(|key| is_budgeted(&key)),
            Rejection::BudgetNotFound => matches!(command, Command::BudgetRemove(_)),
            Rejection::LeaseNotFound => match command {
                Command::LeaseRevoke(_) => true,
                _ => leases_of(command).any(|lease| self.may_be_gone(lease, now)),
            },
            Rejection::Compacted => {
                matches!(command, Command::Compact(compact) if compact.revision <= self.compacted_maybe)
            }
            _ => false,
        };
        if has_reason {
            Ok(())
        } else {
            Err(format!("request {} was rejected without reason: {rejection}", flight.number.0))
        }
    }

    fn unchanged_by_refusal(&mut self, number: RequestNumber) -> Checked {
        let Some(write) = self.writes.get_mut(&number) else { return Ok(()) };
        write.is_over = true;
        match write.revision {
            Some(revision) => Err(format!("request {} was rejected, and carried out at {revision}", number.0)),
            None => Ok(()),
        }
    }

    /// By then.
    fn may_be_gone(&self, lease: LeaseId, at: Duration) -> bool {
        self.leases
            .get(&lease)
            .is_none_or(|lease| lease.ttl.is_none() || lease.may_be_revoked || at >= lease.holds_until)
    }

    fn kept_alive(&mut self, flight: &Flight, id: LeaseId, ttl_s: i64, now: Duration) -> Checked<String> {
        if ttl_s == 0 {
            if !self.may_be_gone(id, now) {
                return Err(format!("keep-alive {}: lease {id} is gone before its time", flight.number.0));
            }
            return Ok("no such lease".to_owned());
        }
        let lease = self.leases.entry(id).or_default();
        let ttl = Duration::from_secs(ttl_s as u64);
        if lease.ttl.is_some_and(|granted| granted != ttl) {
            return Err(format!(
                "keep-alive {}: lease {id} lives {ttl:?}, {:?} was granted",
                flight.number.0, lease.ttl
            ));
        }
        lease.ttl = Some(ttl);
        lease.holds_until = lease.holds_until.max(flight.sent_at + ttl);
        Ok(format!("lives {ttl_s} s"))
    }

    fn read(&mut self, flight: &Flight, range: &Range, handle: &Handle, view: &Arc<StateView>) -> Checked<String> {
        let revision = view.revision();
        if revision < flight.floor {
            return Err(format!("read {} saw {revision}, after {} was acknowledged", flight.number.0, flight.floor));
        }
        if revision > self.history.revision() {
            return Err(format!("read {} saw {revision}, whose event nobody saw", flight.number.0));
        }
        let at = if range.revision.0 == 0 { revision } else { range.revision };
        let found = reading::range(handle, view, range);
        self.compare(flight, range, at, view, found)?;
        Ok(format!("read at {at} of {revision}"))
    }

    fn compare(
        &self,
        flight: &Flight,
        range: &Range,
        at: Revision,
        view: &StateView,
        found: Result<reading::Found, Unread>,
    ) -> Checked {
        let number = flight.number.0;
        let by_itself = if self.compacts_for_space { view.compacted_revision() } else { Revision(0) };
        match found {
            Ok(_) if range.revision.0 > 0 && at < flight.compacted => {
                Err(format!("read {number} was answered at {at}, and {} was compacted", flight.compacted))
            }
            Ok(found) => {
                let expected = self.history.range(range, at);
                if found == expected {
                    return Ok(());
                }
                Err(format!("read {number} at {at} found {found:?}, must find {expected:?}"))
            }
            Err(Unread::Rejected(Rejection::Compacted)) if at < self.compacted_maybe.max(by_itself) => Ok(()),
            Err(Unread::Rejected(rejection)) => Err(format!("read {number} at {at} was rejected: {rejection}")),
            Err(Unread::Failed(error)) => Err(format!("{UNREAD}read {number} failed: {error}")),
        }
    }

    /// The member that took requests in lives before this one is gone, and its log was read: nothing of them comes
    /// later.
    pub fn settle(&mut self, life: u64) -> Checked {
        self.explain_deletions(life)?;
        self.alarm.raising.retain(|_, of| *of >= life);
        for write in self.writes.values_mut().filter(|write| write.life < life && write.revision.is_none()) {
            write.is_over = true;
        }
        Ok(())
    }

    /// Deletions that no answer explained: a lease that ran out, or a request without an answer. Those that a request
    /// of this life may explain wait for its answer.
    fn explain_deletions(&mut self, life: u64) -> Checked {
        let open: Vec<Revision> = self
            .causes
            .iter()
            .filter(|(_, happened)| happened.cause.is_none())
            .map(|(revision, _)| *revision)
            .collect();
        for revision in open {
            let before = Revision(revision.0 - 1);
            let Some(happened) = self.causes.get(&revision) else { continue };
            let mut could = self.writes.iter().filter(|(_, write)| {
                let is_open = !write.is_over && write.revision.is_none();
                is_open && self.history.effect(&write.command, before).changes == happened.changes
            });
            if could.clone().any(|(_, write)| write.life == life) {
                continue;
            }
            let lost = could.next().map(|(number, _)| *number);
            let ended = self.ended_lease(happened, before);
            let cause = match (lost, ended) {
                (_, Some(lease)) => Cause::LeaseEnd(lease),
                (Some(number), None) => Cause::Request(number),
                (None, None) => {
                    return Err(format!("revision {revision} deleted {:?}, which nobody asked for", happened.changes));
                }
            };
            if let Cause::Request(number) = cause
                && let Some(write) = self.writes.get_mut(&number)
            {
                write.revision = Some(revision);
            }
            if let Some(happened) = self.causes.get_mut(&revision) {
                happened.cause = Some(cause);
                happened.changes = Vec::new();
            }
        }
        Ok(())
    }

    /// The lease whose keys, all of them, were deleted, if it may have ended then.
    fn ended_lease(&self, happened: &Happened, before: Revision) -> Option<LeaseId> {
        let first = happened.changes.first()?;
        let lease = self.history.get(&first.key, before)?.lease;
        let held = self.history.held_by(lease, before);
        let is_all = held.iter().eq(happened.changes.iter().map(|change| &change.key));
        (lease != LeaseId::NONE && is_all && self.may_be_gone(lease, happened.seen_at)).then_some(lease)
    }

    /// A member that leads knows every lease that may not have ended.
    pub fn check_leases(&self, handle: &Handle, now: Duration) -> Checked {
        for (id, lease) in &self.leases {
            if lease.ttl.is_some()
                && !self.may_be_gone(*id, now)
                && let Ok(None) = handle.lease_remaining_ms(*id)
            {
                return Err(format!("lease {id} is gone, it holds until {:?}", lease.holds_until));
            }
        }
        Ok(())
    }

    /// Nothing is acknowledged that this view does not hold, and everything in it is the model's.
    pub fn check_state(&self, handle: &Handle) -> Checked {
        let view = handle.view();
        if view.revision() != self.history.revision() {
            return Err(format!("the state is at {}, {} was seen", view.revision(), self.history.revision()));
        }
        let range = Range::new(KeyRange::all());
        match reading::range(handle, &view, &range) {
            Ok(found) if found == self.history.range(&range, view.revision()) => Ok(()),
            Ok(found) => {
                let expected = self.history.range(&range, view.revision());
                Err(format!("the state at {} is {found:?}, must be {expected:?}", view.revision()))
            }
            Err(error) => Err(format!("{UNREAD}the state: {error:?}")),
        }
    }

    /// Leases that must have ended by now have, and took their keys along.
    pub fn check_leases_ended(&self, handle: &Handle) -> Checked {
        for (id, lease) in &self.leases {
            if lease.ttl.is_some() && !matches!(handle.lease_remaining_ms(*id), Ok(None)) {
                return Err(format!("lease {id} did not end"));
            }
        }
        Ok(())
    }
}

impl HandAlarm {
    fn sent(&mut self, number: RequestNumber, action: AlarmAction, life: u64) {
        match action {
            AlarmAction::Activate => {
                self.may_be_up = true;
                self.raising.insert(number, life);
                self.disarming.clear();
            }
            AlarmAction::Deactivate if self.raising.is_empty() => {
                self.disarming.insert(number);
            }
            AlarmAction::Deactivate => {}
        }
    }

    fn done(&mut self, number: RequestNumber, now: Duration) {
        self.raising.remove(&number);
        if self.disarming.remove(&number) {
            self.may_be_up = false;
            self.down_since = Some(now);
        }
    }

    /// A request that was sent then.
    fn may_refuse(&self, sent_at: Duration) -> bool {
        self.may_be_up || self.down_since.is_some_and(|since| sent_at <= since)
    }
}

fn puts_of(command: &Command) -> impl Iterator<Item = &model::Put> {
    let (one, several) = match command {
        Command::Put(put) => (Some(put), &[][..]),
        Command::Txn(txn) => (None, &txn.success[..]),
        _ => (None, &[][..]),
    };
    let several = several.iter().filter_map(|operation| match operation {
        Operation::Put(put) => Some(put),
        _ => None,
    });
    one.into_iter().chain(several)
}

fn keys_of(command: &Command) -> impl Iterator<Item = bytes::Bytes> {
    puts_of(command).map(|put| put.key.clone())
}

fn leases_of(command: &Command) -> impl Iterator<Item = LeaseId> {
    puts_of(command).filter_map(|put| match put.lease {
        model::PutLease::Set(lease) if lease != LeaseId::NONE => Some(lease),
        _ => None,
    })
}

fn is_budgeted(key: &[u8]) -> bool {
    key.strip_prefix(BUDGET_PREFIX.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"))
}
