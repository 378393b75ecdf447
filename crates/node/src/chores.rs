//! What a member does by itself with its time: figures go in, commands come out.
//!
//! Six chores, each a rule of its own: leases that ran out are revoked and renewals written down, history is compacted
//! by the clock (`auto_compaction`) and under pressure (`governor`), what compactions dropped is settled once the files
//! have followed, who is over a budget is named in the log (`budget_watch`), and the quota that flags or config file
//! ask for is brought into force. Commands come only from a member in office; the rules go on looking without one, so
//! that they know what was when it takes office.

use crate::auto_compaction::AutoCompactor;
use crate::budget_watch::{BudgetWatch, Warning};
use crate::governor::{self, Governor};
use crate::limits::{LEASE_CHECK_INTERVAL, LEASE_CHECKPOINT_INTERVAL, LEASE_REVOKES_MAX, QUOTA_SET_INTERVAL};
use crate::messages::Retention;
use crate::office::Office;
use crate::status::Metrics;
use model::{Command, Compact, LeaseCheckpoint, LeaseId, QuotaSet, Revision, SpaceSettle};
use mvcc::{AccountOrder, AccountsReader};
use state::{LiveTables, StateView};
use std::sync::Arc;
use std::time::Duration;

/// What the chores look at.
pub(crate) struct Figures<'a> {
    pub(crate) view: Arc<StateView>,
    pub(crate) live: &'a LiveTables,
    pub(crate) settleable: Option<SpaceSettle>,
    /// The office of a member whose log can be written.
    pub(crate) office: Option<&'a Office>,
    pub(crate) leader_time_ms: u64,
}

pub(crate) struct Chores {
    lease_check_due: Duration,
    lease_checkpoint_due: Duration,
    /// What flags or config file ask for, and when it is proposed next if it is not in force.
    wanted_quota: QuotaSet,
    quota_due: Duration,
    retention: Retention,
    auto_compactor: Option<AutoCompactor>,
    governor: Governor,
    budget_watch: BudgetWatch,
}

impl Chores {
    pub(crate) fn new(retention: Retention, quota: QuotaSet, now: Duration, revision: Revision) -> Chores {
        Chores {
            lease_check_due: now,
            lease_checkpoint_due: now + LEASE_CHECKPOINT_INTERVAL,
            wanted_quota: quota,
            quota_due: now,
            retention,
            auto_compactor: retention.auto_compaction.map(|mode| AutoCompactor::new(mode, now, revision)),
            governor: Governor::new(retention.under_pressure, now),
            budget_watch: BudgetWatch::default(),
        }
    }

    /// From now on so much history is kept. A rule that stays as it is goes on where it is.
    pub(crate) fn keep_history(&mut self, retention: Retention, now: Duration, revision: Revision) {
        if retention.auto_compaction != self.retention.auto_compaction {
            self.auto_compactor = retention.auto_compaction.map(|mode| AutoCompactor::new(mode, now, revision));
        }
        if retention.under_pressure != self.retention.under_pressure {
            self.governor = Governor::new(retention.under_pressure, now);
        }
        self.retention = retention;
    }

    /// From now on this quota is wanted.
    pub(crate) fn want_quota(&mut self, quota: QuotaSet, now: Duration) {
        (self.wanted_quota, self.quota_due) = (quota, now);
    }

    /// What brings the wanted quota into force, for a member in office. Apply goes by what is in the log alone.
    pub(crate) fn set_quota(&mut self, now: Duration, view: &StateView) -> Option<Command> {
        if now < self.quota_due || view.quota_set() == Some(self.wanted_quota) {
            return None;
        }
        self.quota_due = now + QUOTA_SET_INTERVAL;
        Some(Command::QuotaSet(self.wanted_quota))
    }

    /// What is to be proposed now. To be asked with every tick.
    pub(crate) fn look(&mut self, now: Duration, figures: &Figures<'_>, metrics: &Metrics) -> Vec<Command> {
        let mut commands = Vec::new();
        if let Some(office) = figures.office {
            self.keep_leases(now, office, figures.view.applied().leader_time_ms, metrics, &mut commands);
            commands.extend(self.set_quota(now, &figures.view));
        }
        self.compact(now, figures, metrics, &mut commands);
        commands.extend(figures.office.and(figures.settleable).map(Command::SpaceSettle));
        if self.budget_watch.is_due(now) {
            let budgets = figures.live.budgets().list(figures.leader_time_ms);
            self.budget_watch.look(now, budgets).iter().for_each(Warning::log);
        }
        commands
    }

    /// Revokes what ran out, and writes down what was renewed and how much time has passed.
    fn keep_leases(
        &mut self,
        now: Duration,
        office: &Office,
        logged_ms: u64,
        metrics: &Metrics,
        commands: &mut Vec<Command>,
    ) {
        let now_ms = office.clock.now_ms();
        if now >= self.lease_check_due {
            self.lease_check_due = now + LEASE_CHECK_INTERVAL;
            let expired = office.with_leases(|leases| leases.expired(now_ms, LEASE_REVOKES_MAX));
            metrics.leases_expired.add(expired.len() as u64);
            commands.extend(expired.into_iter().map(Command::LeaseRevoke));
        }
        if now >= self.lease_checkpoint_due {
            self.lease_checkpoint_due = now + LEASE_CHECKPOINT_INTERVAL;
            let remaining = office.with_leases(|leases| leases.to_checkpoint(now_ms));
            commands.extend((!remaining.is_empty()).then(|| checkpoint(remaining)));
        }
        // Every command carries the time.
        if commands.is_empty() && office.with_leases(|leases| leases.is_time_due(now_ms, logged_ms)) {
            commands.push(checkpoint(Vec::new()));
        }
    }

    /// What a member in office writes down before it ends in order: what every lease has left, so that the next start
    /// goes on from there.
    pub(crate) fn end(now: Duration, office: &Office) -> Vec<Command> {
        let now_ms = office.clock.at_most_ms(now);
        office.with_leases(|leases| leases.last_checkpoints(now_ms)).into_iter().map(checkpoint).collect()
    }

    /// By the clock, and because space is short.
    fn compact(&mut self, now: Duration, figures: &Figures<'_>, metrics: &Metrics, commands: &mut Vec<Command>) {
        let Figures { view, live, .. } = figures;
        let (revision, compacted) = (view.revision(), view.compacted_revision());
        let leads = figures.office.is_some();
        let due = self.auto_compactor.as_mut().and_then(|auto| auto.due(now, revision, compacted, leads));
        let figures = governor::Figures {
            revision,
            compacted,
            retained_bytes: view.retained_bytes(),
            quota_bytes: view.quota_bytes(),
            alarm: view.alarms().by_quota().is_some(),
        };
        let advice = self.governor.look(now, figures);
        if advice.looked {
            metrics.full_in_s.set(advice.full_in.map_or(-1, |full_in| full_in.as_secs() as i64));
        }
        if advice.warn {
            warn_of_pressure(view, live.accounts(), advice.full_in);
        }
        let pressed = advice.compact.filter(|_| leads);
        if let Some(revision) = pressed {
            metrics.pressure_compactions.increment();
            tracing::warn!(revision = revision.0, "space is short: history is compacted");
        }
        commands.extend(pressed.map(Command::SpaceCompact));
        commands.extend(due.map(|revision| Command::Compact(Compact { revision, physical: false })));
    }
}

fn checkpoint(remaining: Vec<(LeaseId, u64)>) -> Command {
    Command::LeaseCheckpoint(LeaseCheckpoint { remaining })
}

/// Says how full the store is, when it will be, and who fills it.
fn warn_of_pressure(view: &StateView, accounts: &AccountsReader, full_in: Option<Duration>) {
    let (retained, quota) = (view.retained_bytes(), view.quota_bytes().unwrap_or_default());
    let largest = accounts.top(1, AccountOrder::RetainedBytes).pop().unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auto_compaction::AutoCompaction;

    #[test]
    fn a_rule_that_changes_begins_anew_and_one_that_stays_goes_on() {
        let keep = |revisions: u64| Retention {
            auto_compaction: Some(AutoCompaction::Revisions(revisions)),
            under_pressure: Some(Duration::from_secs(300)),
        };
        let minute = |number: u64| Duration::from_secs(60 * number);
        let due = |chores: &mut Chores, now| {
            let auto = chores.auto_compactor.as_mut()?;
            auto.due(now, Revision(1000), Revision(0), true)
        };
        let mut chores = Chores::new(keep(100), QuotaSet { bytes: None, strict_latch: false }, minute(0), Revision(1));
        chores.keep_history(keep(100), minute(4), Revision(1000));
        assert_eq!(due(&mut chores, minute(5)), Some(Revision(900)));
        chores.keep_history(keep(10), minute(6), Revision(1000));
        assert_eq!(due(&mut chores, minute(10)), None);
        assert_eq!(due(&mut chores, minute(11)), Some(Revision(990)));
        chores.keep_history(Retention { auto_compaction: None, ..keep(10) }, minute(12), Revision(1000));
        assert_eq!(due(&mut chores, minute(60)), None);
    }
}
