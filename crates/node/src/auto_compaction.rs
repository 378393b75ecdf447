//! Automatic compaction as etcd does it: by time or by number of revisions. A state machine over a clock and the
//! current revision; the driver asks it with every tick and proposes what it answers.
//!
//! Periodic: the revision is sampled ten times per period (per hour, if the period is longer), and what was current a
//! period ago is compacted; the first time after a whole period, then every period (every hour). By revision: every
//! five minutes, all but the last so many. Only a leader compacts; the others go on sampling. A restart begins anew.

use model::Revision;
use std::collections::VecDeque;
use std::time::Duration;

/// What is kept of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutoCompaction {
    /// Revisions of so long; not zero.
    Periodic(Duration),
    /// So many revisions; not zero.
    Revisions(u64),
}

const PERIODIC_INTERVAL_MAX: Duration = Duration::from_secs(3600);
const STEPS_PER_INTERVAL: u32 = 10;
const REVISION_INTERVAL: Duration = Duration::from_secs(300);
/// A compaction that is not applied by then has failed, and is tried again with the next step.
const APPLY_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct AutoCompactor {
    mode: AutoCompaction,
    /// Revisions at the last steps, oldest first.
    samples: VecDeque<Revision>,
    samples_max: usize,
    step: Duration,
    next_step: Duration,
    /// Time after the last success before which nothing is compacted: a period at first, then an interval.
    pause: Duration,
    last_success: Duration,
    last_revision: Revision,
    /// Asked for at this time and not seen applied.
    pending: Option<(Revision, Duration)>,
}

impl AutoCompactor {
    pub(crate) fn new(mode: AutoCompaction, now: Duration, current: Revision) -> AutoCompactor {
        let (step, samples_max, pause) = match mode {
            AutoCompaction::Periodic(period) => {
                let step = (period.min(PERIODIC_INTERVAL_MAX) / STEPS_PER_INTERVAL).max(Duration::from_nanos(1));
                (step, (period.as_nanos() / step.as_nanos()) as usize + 1, period)
            }
            AutoCompaction::Revisions(_) => (REVISION_INTERVAL, 1, Duration::ZERO),
        };
        AutoCompactor {
            mode,
            samples: VecDeque::from([current]),
            samples_max,
            step,
            next_step: now + step,
            pause,
            last_success: now,
            last_revision: Revision(0),
            pending: None,
        }
    }

    /// The revision to compact now, if any. `compacted` is how far history is compacted by whomever.
    pub(crate) fn due(
        &mut self,
        now: Duration,
        current: Revision,
        compacted: Revision,
        leads: bool,
    ) -> Option<Revision> {
        if let Some((revision, asked_at)) = self.pending {
            if compacted < revision && now.saturating_sub(asked_at) < APPLY_TIMEOUT {
                return None;
            }
            self.pending = None;
            self.end(revision, asked_at, now, compacted >= revision);
            self.sample(now, current);
        }
        if now < self.next_step {
            return None;
        }
        let candidate = self.candidate(now, current).filter(|_| leads);
        match candidate {
            Some(revision) => {
                self.begin(revision);
                self.pending = Some((revision, now));
            }
            None => self.sample(now, current),
        }
        candidate
    }

    fn candidate(&self, now: Duration, current: Revision) -> Option<Revision> {
        let candidate = match self.mode {
            AutoCompaction::Periodic(_) => *self.samples.front()?,
            AutoCompaction::Revisions(keep) => Revision(current.0.saturating_sub_unsigned(keep)),
        };
        let wanted = candidate.0 > 0 && candidate != self.last_revision;
        (wanted && now.saturating_sub(self.last_success) >= self.pause).then_some(candidate)
    }

    fn sample(&mut self, now: Duration, current: Revision) {
        if self.samples.len() == self.samples_max {
            self.samples.pop_front();
        }
        self.samples.push_back(current);
        self.next_step = now + self.step;
    }

    fn begin(&mut self, revision: Revision) {
        match self.mode {
            AutoCompaction::Periodic(period) => {
                self.pause = period.min(PERIODIC_INTERVAL_MAX);
                tracing::info!(revision = revision.0, "compact-period" = ?period, "starting auto periodic compaction");
            }
            AutoCompaction::Revisions(keep) => {
                tracing::info!(
                    revision = revision.0,
                    "revision-compaction-retention" = keep,
                    "starting auto revision compaction"
                );
            }
        }
    }

    fn end(&mut self, revision: Revision, asked_at: Duration, now: Duration, applied: bool) {
        let kind = match self.mode {
            AutoCompaction::Periodic(_) => "periodic",
            AutoCompaction::Revisions(_) => "revision",
        };
        let took = now.saturating_sub(asked_at);
        if applied {
            (self.last_revision, self.last_success) = (revision, now);
            tracing::info!(revision = revision.0, took = ?took, "completed auto {kind} compaction");
        } else {
            tracing::warn!(revision = revision.0, took = ?took, "failed auto {kind} compaction");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Compactions of a store with one revision a minute, asked every minute: (minute, revision).
    fn compactions(mode: AutoCompaction, minutes: u32, leads: impl Fn(u32) -> bool) -> Vec<(u32, i64)> {
        let mut compactor = AutoCompactor::new(mode, Duration::ZERO, Revision(0));
        let mut compacted = Revision(-1);
        let mut found = Vec::new();
        for minute in 1..=minutes {
            let due = compactor.due(minute * MINUTE, Revision(minute.into()), compacted, leads(minute));
            if let Some(revision) = due {
                found.push((minute, revision.0));
                compacted = revision;
                assert_eq!(compactor.due(minute * MINUTE, Revision(minute.into()), compacted, leads(minute)), None);
            }
        }
        found
    }

    #[test]
    fn a_day_is_kept_and_compacted_by_the_hour() {
        let found = compactions(AutoCompaction::Periodic(24 * 60 * MINUTE), 28 * 60, |_| true);
        let hour = 60;
        let expected: Vec<_> = (0..4).map(|n| (24 * hour + 12 + n * hour, i64::from(6 + n * hour))).collect();
        assert_eq!(found, expected, "revision 0, a day ago at first, is nothing to compact");
    }

    #[test]
    fn half_an_hour_is_kept_and_compacted_by_the_half_hour() {
        let found = compactions(AutoCompaction::Periodic(30 * MINUTE), 100, |_| true);
        assert_eq!(found, [(36, 3), (66, 33), (96, 63)]);
    }

    #[test]
    fn who_does_not_lead_samples_only() {
        let found = compactions(AutoCompaction::Periodic(30 * MINUTE), 60, |minute| minute > 50);
        assert_eq!(found, [(51, 18)]);
        assert_eq!(compactions(AutoCompaction::Revisions(10), 60, |_| false), []);
    }

    #[test]
    fn so_many_revisions_are_kept_every_five_minutes() {
        let found = compactions(AutoCompaction::Revisions(12), 26, |_| true);
        assert_eq!(found, [(15, 3), (20, 8), (25, 13)]);
    }

    #[test]
    fn what_was_not_applied_is_tried_again() {
        let mode = AutoCompaction::Periodic(10 * MINUTE);
        let mut compactor = AutoCompactor::new(mode, Duration::ZERO, Revision(7));
        let none = Revision(-1);
        let mut due = |minute: u32, compacted| compactor.due(minute * MINUTE, Revision(50), compacted, true);
        for minute in 1..10 {
            assert_eq!(due(minute, none), None);
        }
        assert_eq!(due(10, none), Some(Revision(7)));
        assert_eq!(due(11, none), None, "it failed, and is due again with the next step");
        assert_eq!(due(12, none), Some(Revision(7)));
        assert_eq!(due(13, none), None);
        assert_eq!(due(14, none), Some(Revision(50)), "a period later than what failed");
        assert_eq!(due(15, Revision(50)), None);
    }

    #[test]
    fn somebody_else_may_have_compacted_further() {
        let mut compactor = AutoCompactor::new(AutoCompaction::Revisions(5), Duration::ZERO, Revision(0));
        assert_eq!(compactor.due(5 * MINUTE, Revision(20), Revision(18), true), Some(Revision(15)));
        assert_eq!(compactor.due(5 * MINUTE, Revision(20), Revision(18), true), None);
        assert_eq!(compactor.due(10 * MINUTE, Revision(20), Revision(18), true), None, "15 is done");
    }
}
