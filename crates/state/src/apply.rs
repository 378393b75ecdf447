//! `apply`: the only way in which state changes, one log entry at a time.
//!
//! Every member applies the same entries and gets the same state and the same answers: nothing here asks a clock, a
//! random number, the machine's identity, or whether anybody waits for the answer. A command is refused whole or
//! carried out whole: all checks come before the first write, in the order of the lines in `carry_out`.
//!
//! Invariant: what changes keys and leases takes `&mut ApplyTxn`, which only this file makes.

use crate::alarm::{ActiveAlarm, AlarmTable};
use crate::budget::BudgetDemand;
use crate::demand::{AskedBy, Demand};
use crate::fault::{Fault, Result};
use crate::footprint::MeasuredEntry;
use crate::operations::{Operations, reads_before};
use crate::outcome::{Applied, NoSpace, Outcome};
use crate::quota::QuotaInForce;
use crate::state::State;
use crate::txn::{self, Keys};
use bytes::Bytes;
use model::{
    Alarm, AlarmAction, AlarmKind, Budget, Command, Compact, DeleteRange, KeyRange, LeaseGrant, LeaseId, LogIndex,
    OverBudget, Put, PutLease, PutValue, Range, Rejection, Revision, Term, Txn,
};
use mvcc::{AccountDepth, Change, Key, Meta, RangeResult, ReadError, Records};
use std::sync::Arc;
use store::Location;

/// A refusal, or what the command did.
type Answer = std::result::Result<Outcome, Rejection>;

/// What a command does to keys.
#[derive(Debug, Default)]
struct Effect {
    change: Option<Change>,
    operations: Operations,
}

impl Effect {
    fn take(&mut self, (change, operations): (Option<Change>, Operations)) {
        self.change = change;
        self.operations += operations;
    }
}

impl State {
    /// Applies the entry that follows the last one. Fails only if the machine does; then state is not to be used any
    /// more.
    pub fn apply(&mut self, index: LogIndex, term: Term, entry: &MeasuredEntry) -> Result<Applied> {
        let mut records = Records::new();
        self.read_ahead(entry, &mut records)?;
        self.apply_with(index, term, entry, &records)
    }

    /// The same, for who has had `read_ahead` put everything that is read into `records`.
    pub fn apply_with(
        &mut self,
        index: LogIndex,
        term: Term,
        entry: &MeasuredEntry,
        records: &Records,
    ) -> Result<Applied> {
        self.reach(index, term, entry.entry.leader_time_ms);
        let mut effect = Effect::default();
        let was_full = self.alarms.by_quota().is_some();
        let before = self.mvcc.current_revision();
        let answer = self.carry_out(entry, records, &mut effect)?;
        let Effect { change, operations } = effect;
        let written = change.as_ref().map_or(before, |change| change.revision);
        assert_eq!(self.mvcc.current_revision(), written, "a revision comes with its change");
        assert!(change.is_none() || written.0 == before.0 + 1, "a command makes one revision");
        assert!(change.is_none() || answer.is_ok(), "what is refused changes nothing");
        if let Some(change) = change.as_ref().filter(|_| !self.given_up.is_empty()) {
            self.follow_given_up(entry.command(), change);
        }
        let fits = answer.as_ref().map_or(true, |outcome| outcome.is_of(entry.command()));
        assert!(fits, "each command has the outcome of its own name");
        let no_space = if was_full {
            self.relieve().then_some(NoSpace::Cleared)
        } else {
            self.alarms.by_quota().map(|_| NoSpace::Raised)
        };
        Ok(Applied { answer, revision: self.mvcc.current_revision(), change, operations, no_space })
    }

    /// Applies the empty entry with which a leader begins its term.
    pub fn apply_empty(&mut self, index: LogIndex, term: Term) {
        self.reach(index, term, 0);
        let now_ms = self.applied.leader_time_ms;
        self.leases().change_office(now_ms);
    }

    fn reach(&mut self, index: LogIndex, term: Term, leader_time_ms: u64) {
        assert_eq!(index.0, self.applied.index.0 + 1, "entries are applied in log order without a gap");
        assert!(term >= self.applied.term, "terms do not go back along the log");
        self.applied.index = index;
        self.applied.term = term;
        self.applied.leader_time_ms = self.applied.leader_time_ms.max(leader_time_ms);
    }

    fn carry_out(&mut self, entry: &MeasuredEntry, records: &Records, effect: &mut Effect) -> Result<Answer> {
        let (command, cost) = (entry.command(), entry.footprint().cost_bytes());
        if let Err(rejection) = check_alarms(&self.alarms, command, cost) {
            return Ok(Err(rejection));
        }
        let QuotaInForce { quota, strict_latch, .. } = self.quota;
        let meets_quota =
            (cost > 0 && self.alarms.by_quota().is_some()) || !quota.admits(self.mvcc.retained_bytes(), cost);
        let in_budgets = self.has_budgets && cost > 0;
        let asked_by = AskedBy { quota: meets_quota && !strict_latch, budgets: in_budgets };
        let demand = self.demand(command, records, asked_by)?;
        let now_ms = self.applied.leader_time_ms;
        if in_budgets && let Some(over) = self.refuse_over_budget(&demand.budgets, now_ms) {
            return Ok(Err(Rejection::OverBudget(over)));
        }
        if meets_quota {
            self.raise_no_space();
            let grows = strict_latch || demand.quota.grows;
            if grows || !quota.reserve_admits(self.mvcc.retained_bytes(), demand.quota.record_bytes) {
                return Ok(Err(Rejection::NoSpace));
            }
        }
        let answer = self.execute(command, records, effect)?;
        if in_budgets && answer.is_ok() {
            self.budgets.lock().charge(&demand.budgets, now_ms);
        }
        Ok(answer)
    }

    fn refuse_over_budget(&self, demand: &BudgetDemand, now_ms: u64) -> Option<Box<OverBudget>> {
        let budgets = self.budgets.lock();
        let over = budgets.over(demand, now_ms)?;
        budgets.count_refused(&over);
        Some(over)
    }

    fn execute(&mut self, command: &Command, records: &Records, effect: &mut Effect) -> Result<Answer> {
        match command {
            Command::Put(put) => self.put(put, records, effect),
            Command::DeleteRange(delete) => Ok(Ok(self.delete_range(delete, effect))),
            Command::Txn(txn) => self.txn(txn, records, effect),
            Command::Compact(Compact { revision, .. }) => Ok(self.compact(*revision, effect)),
            Command::SpaceCompact(revision) => Ok(self.compact_for_space(*revision)),
            Command::LeaseGrant(grant) => Ok(self.lease_grant(grant)),
            Command::LeaseRevoke(id) => Ok(self.lease_revoke(*id, effect)),
            Command::LeaseCheckpoint(checkpoint) => {
                let now_ms = self.applied.leader_time_ms;
                self.leases().checkpoint(&checkpoint.remaining, now_ms);
                Ok(Ok(Outcome::LeaseCheckpoint))
            }
            Command::Alarm(alarm) => Ok(Ok(self.alarm(*alarm))),
            Command::MemberPublish(publish) => {
                Ok(Arc::make_mut(&mut self.membership).publish(publish).map(|()| Outcome::MemberPublish))
            }
            Command::ClusterVersionSet(version) => {
                Arc::make_mut(&mut self.membership).cluster_version.clone_from(version);
                Ok(Ok(Outcome::ClusterVersionSet))
            }
            Command::BudgetSet(budget) => self.budget_set(budget),
            Command::BudgetRemove(prefix) => Ok(self.budget_remove(prefix)),
            Command::SpaceSettle(settle) => {
                self.mvcc.settle_space(settle);
                Ok(Ok(Outcome::SpaceSettle))
            }
            Command::QuotaSet(quota) => {
                self.quota = QuotaInForce::replicated(*quota);
                Ok(Ok(Outcome::QuotaSet))
            }
        }
    }

    /// The quota is used up: the alarm goes up with the entry that found it so. All members find it at the same entry,
    /// so it names one member for all: the one with the lowest id.
    fn raise_no_space(&mut self) {
        let Some(member) = self.membership.members().next().map(|member| member.id) else { return };
        if self.alarms.by_quota().is_none() {
            Arc::make_mut(&mut self.alarms).raise_by_quota(member);
        }
    }

    /// Clears the alarm that the quota raised once it admits growth again. Not with the entry that raised it: a large
    /// put may meet a small quota from below the mark, and the alarm is to be seen. A larger quota clears it, too.
    fn relieve(&mut self) -> bool {
        let QuotaInForce { quota, strict_latch, .. } = self.quota;
        let full = self.alarms.by_quota().is_some() && !strict_latch;
        let relieved = full && quota.is_relieved(self.mvcc.retained_bytes());
        if relieved {
            Arc::make_mut(&mut self.alarms).clear_by_quota();
        }
        relieved
    }

    /// What the puts that would be carried out do to the store, for those who ask.
    fn demand(&mut self, command: &Command, records: &Records, asked_by: AskedBy) -> Result<Demand> {
        if !asked_by.any() {
            return Ok(Demand::default());
        }
        let accounts = self.mvcc.accounts().clone();
        Demand::of(&self.begin_with(records), &accounts, command, asked_by)
    }

    fn budget_set(&mut self, budget: &Budget) -> Result<Answer> {
        if let Err(rejection) = budget.check() {
            return Ok(Err(rejection));
        }
        if AccountDepth::needed_by(&budget.prefix).is_none() {
            return Ok(Err(Rejection::BudgetInvalid("its prefix has more components than the deepest account")));
        }
        let now_ms = self.applied.leader_time_ms;
        let mut budgets = self.budgets.lock();
        let meter = match budgets.meter(&budget.prefix) {
            Some(meter) => meter,
            None if budgets.is_full() => return Ok(Err(Rejection::TooManyBudgets)),
            None => {
                let prefix = budget.prefix.clone();
                self.mvcc.meter(&prefix).ok_or(Fault::BudgetTooDeep { prefix })?
            }
        };
        budgets.set(meter, budget.clone(), now_ms);
        self.has_budgets = true;
        Ok(Ok(Outcome::BudgetSet))
    }

    fn budget_remove(&mut self, prefix: &Bytes) -> Answer {
        let mut budgets = self.budgets.lock();
        if !budgets.remove(prefix) {
            return Err(Rejection::BudgetNotFound);
        }
        self.has_budgets = !budgets.is_empty();
        drop(budgets);
        self.mvcc.unmeter(prefix);
        Ok(Outcome::BudgetRemove)
    }

    fn put(&mut self, put: &Put, records: &Records, effect: &mut Effect) -> Result<Answer> {
        let mut txn = self.begin_with(records);
        if let Err(rejection) = txn.check_put_lease(put) {
            return Ok(Err(rejection));
        }
        if let Err(rejection) = txn::check_put_key(&txn, put) {
            effect.operations += Operations::of_reads(reads_before(put).into());
            return Ok(Err(rejection));
        }
        let prev = txn.put(put)?;
        effect.take(txn.commit());
        Ok(Ok(Outcome::Put { prev }))
    }

    fn delete_range(&mut self, delete: &DeleteRange, effect: &mut Effect) -> Outcome {
        let mut txn = self.begin();
        let (deleted, prev) = txn.delete_range(delete);
        effect.take(txn.commit());
        Outcome::DeleteRange { deleted, prev }
    }

    fn txn(&mut self, command: &Txn, records: &Records, effect: &mut Effect) -> Result<Answer> {
        let mut txn = self.begin_with(records);
        let path = txn::choose(&txn, command)?;
        let (checked, ranges) = txn.check(command, &path);
        effect.operations += Operations::of_reads(path.compares() + ranges);
        if let Err(rejection) = checked {
            return Ok(Err(rejection));
        }
        let outcome = txn::execute(&mut txn, command, &path)?;
        effect.take(txn.commit());
        Ok(Ok(Outcome::Txn(outcome)))
    }

    /// Whoever asks for what a compaction for space has gone past is answered as if there had been none: the first
    /// time it is done. etcd reads the current revision as a range.
    fn compact(&mut self, at: Revision, effect: &mut Effect) -> Answer {
        let compacted = self.mvcc.compacted_revision();
        match self.compacted_asked {
            Some(asked) if asked < at && at <= compacted => {
                self.compacted_asked = (at < compacted).then_some(at);
            }
            _ => {
                self.mvcc.compact(at)?;
                self.compacted_asked = None;
            }
        }
        effect.operations += Operations::of_reads(1);
        Ok(Outcome::Compact)
    }

    fn compact_for_space(&mut self, at: Revision) -> Answer {
        let asked = self.compacted_asked.unwrap_or(self.mvcc.compacted_revision());
        self.mvcc.compact(at)?;
        self.compacted_asked = Some(asked);
        Ok(Outcome::Compact)
    }

    fn lease_grant(&mut self, grant: &LeaseGrant) -> Answer {
        let now_ms = self.applied.leader_time_ms;
        let ttl_s = self.leases().grant(grant.id, grant.ttl_s, now_ms)?;
        Ok(Outcome::LeaseGrant { id: grant.id, ttl_s })
    }

    /// Takes the lease away and deletes its keys, in key order and in one revision.
    fn lease_revoke(&mut self, id: LeaseId, effect: &mut Effect) -> Answer {
        let keys = self.leases().remove(id).ok_or(Rejection::LeaseNotFound)?;
        let mut txn = self.begin();
        for key in keys {
            let range = KeyRange::single(Bytes::from(key));
            txn.delete_range(&DeleteRange { range, prev_kv: false });
        }
        effect.take(txn.commit());
        Ok(Outcome::LeaseRevoke)
    }

    fn alarm(&mut self, alarm: Alarm) -> Outcome {
        let active = ActiveAlarm { kind: alarm.kind, member: alarm.member };
        let alarms = Arc::make_mut(&mut self.alarms);
        let changed = match alarm.action {
            AlarmAction::Activate => alarms.activate(active),
            AlarmAction::Deactivate => alarms.deactivate(active),
        };
        Outcome::Alarm(changed.into_iter().collect())
    }

    pub(crate) fn begin(&mut self) -> ApplyTxn<'_> {
        ApplyTxn { leases: &self.leases, txn: self.mvcc.begin(), operations: Operations::default() }
    }

    fn begin_with<'a>(&'a mut self, records: &'a Records) -> ApplyTxn<'a> {
        let txn = self.mvcc.begin_with(records);
        ApplyTxn { leases: &self.leases, txn, operations: Operations::default() }
    }
}

/// CORRUPT stops whatever changes keys, history or leases; a NOSPACE that the quota did not raise stops whatever
/// puts.
pub(crate) fn check_alarms(alarms: &AlarmTable, command: &Command, cost: u64) -> std::result::Result<(), Rejection> {
    if alarms.is_empty() {
        return Ok(());
    }
    let changes_data = match command {
        Command::Put(_)
        | Command::DeleteRange(_)
        | Command::Txn(_)
        | Command::Compact(_)
        | Command::SpaceCompact(_)
        | Command::LeaseGrant(_)
        | Command::LeaseRevoke(_) => true,
        Command::LeaseCheckpoint(_)
        | Command::Alarm(_)
        | Command::MemberPublish(_)
        | Command::ClusterVersionSet(_)
        | Command::BudgetSet(_)
        | Command::BudgetRemove(_)
        | Command::SpaceSettle(_)
        | Command::QuotaSet(_) => false,
    };
    if changes_data && alarms.is_active(AlarmKind::Corrupt) {
        return Err(Rejection::Corrupt);
    }
    if cost > 0 && alarms.no_space_by_hand() {
        return Err(Rejection::NoSpace);
    }
    Ok(())
}

/// The keys while one command changes them, with the leases that hang on them. Dropped without a write, it did nothing.
pub(crate) struct ApplyTxn<'a> {
    txn: mvcc::Txn<'a>,
    leases: &'a crate::lease_reader::LeaseReader,
    operations: Operations,
}

impl ApplyTxn<'_> {
    /// Puts a pair that was checked; answers the pair before if that was asked for.
    pub(crate) fn put(&mut self, put: &Put) -> Result<Option<Location>> {
        let keeps = put.value == PutValue::Keep || put.lease == PutLease::Keep;
        let current = if keeps { self.txn.get(&put.key) } else { None };
        let value = match (&put.value, current) {
            (PutValue::Set(value), _) => value.clone(),
            (PutValue::Keep, Some(current)) => txn::pair_at(self, current.location)?.value,
            (PutValue::Keep, None) => Bytes::new(),
        };
        let lease = match put.lease {
            PutLease::Set(lease) => lease,
            PutLease::Keep => current.map_or(LeaseId::NONE, |current| current.lease),
        };
        self.operations.ranges += u64::from(reads_before(put));
        self.operations.puts += 1;
        self.operations.put_bytes += (put.key.len() + value.len()) as u64;
        let before = self.txn.put(put.key.clone(), value, lease)?.prev;
        let lease_before = before.map_or(LeaseId::NONE, |before| before.lease);
        if lease_before != lease {
            self.leases.lock().move_key(&put.key, lease_before, lease);
        }
        Ok(before.filter(|_| put.prev_kv).map(|before| before.location))
    }

    /// Deletes a range; answers how many keys were in it, and their pairs if that was asked for.
    pub(crate) fn delete_range(&mut self, delete: &DeleteRange) -> (u64, Vec<Location>) {
        self.operations.ranges += u64::from(delete.prev_kv);
        self.operations.deletes += 1;
        let deleted = self.txn.delete_range(&delete.range);
        if deleted.iter().any(|(_, meta)| !meta.lease.is_none()) {
            let mut leases = self.leases.lock();
            for (key, meta) in &deleted {
                leases.detach(meta.lease, key);
            }
        }
        let prev = deleted.iter().filter(|_| delete.prev_kv).map(|(_, meta)| meta.location).collect();
        (deleted.len() as u64, prev)
    }

    /// Reads for a txn that is carried out.
    pub(crate) fn read(&mut self, range: &Range) -> std::result::Result<RangeResult, ReadError> {
        self.operations.ranges += 1;
        self.txn.range(range)
    }

    /// With the number of reads that it took.
    fn check(&self, command: &Txn, path: &txn::Path) -> (std::result::Result<(), Rejection>, u64) {
        let mut ranges = 0;
        (txn::check(self, &self.leases.lock(), command, path, &mut ranges), ranges)
    }

    fn check_put_lease(&self, put: &Put) -> std::result::Result<(), Rejection> {
        match put.lease {
            PutLease::Set(lease) if !lease.is_none() => txn::check_put_lease(&self.leases.lock(), put),
            _ => Ok(()),
        }
    }

    fn commit(self) -> (Option<Change>, Operations) {
        (self.txn.commit(), self.operations.as_one_use())
    }
}

impl Keys for ApplyTxn<'_> {
    fn revision(&self) -> Revision {
        self.txn.revision()
    }

    fn compacted_revision(&self) -> Revision {
        self.txn.compacted_revision()
    }

    fn get(&self, key: &[u8]) -> Option<Meta> {
        self.txn.get(key)
    }

    fn each(&self, range: &KeyRange, at: Revision, visit: &mut dyn FnMut(Key<'_>, &Meta) -> bool) {
        for (key, meta) in self.txn.live_as_of(range, at) {
            if !visit(key, &meta) {
                break;
            }
        }
    }

    fn record(&self, at: Location) -> std::result::Result<Bytes, mvcc::Fault> {
        self.txn.read(at)
    }
}
