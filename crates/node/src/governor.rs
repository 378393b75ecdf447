//! Watches over the space: forecasts when the quota is met, warns from 80 % on, and gives up history before writes are
//! refused.
//!
//! ```text
//!  below 80 %   forecast only
//!  from 80 %    a warning with the largest prefix; history older than the retention is compacted
//!  alarm up     the same with a tenth of the retention, two seconds at most: writes are refused until there is room,
//!               and whoever deleted something to make it waits for that history to go
//! ```
//! Nobody who keeps up loses anything: watchers read new events from memory, lists and pages hold views, and a watcher
//! that is further behind than the retention is one that does not keep up; it is told of the compaction, as by any
//! other.
//!
//! A state machine over a clock and a few figures; the driver asks it with every tick and proposes what it answers. A
//! restart begins anew: the first history is given up when the process is as old as the retention.

use model::Revision;
use std::collections::VecDeque;
use std::time::Duration;

/// Of the quota, from where on it acts.
const PRESSURE_PERCENT: u64 = 80;
/// While the alarm is up, the retention is divided by this.
const ALARM_RETENTION_DIVISOR: u32 = 10;
/// And is no longer than this: with a look every `ALARM_STEP_MAX`, writes are back within five seconds of what makes
/// room.
const ALARM_RETENTION_MAX: Duration = Duration::from_secs(2);
const ALARM_STEP_MAX: Duration = Duration::from_millis(500);
/// The forecast looks back so far.
const FORECAST_WINDOW: Duration = Duration::from_secs(300);
/// A rate over less than this says nothing.
const FORECAST_WINDOW_MIN: Duration = Duration::from_secs(10);
const SAMPLES_PER_RETENTION: u32 = 100;
const STEP_MIN: Duration = Duration::from_millis(100);
const STEP_MAX: Duration = Duration::from_secs(3);
const WARNING_INTERVAL: Duration = Duration::from_secs(60);
/// A compaction that is not applied by then is asked for again.
const APPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// What the governor looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) revision: Revision,
    pub(crate) compacted: Revision,
    pub(crate) retained_bytes: u64,
    pub(crate) quota_bytes: Option<u64>,
    /// The quota's own alarm is up.
    pub(crate) alarm: bool,
}

/// What it wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Advice {
    pub(crate) compact: Option<Revision>,
    /// Time until the quota is met at the present rate; looked at if `looked`.
    pub(crate) full_in: Option<Duration>,
    pub(crate) looked: bool,
    pub(crate) warn: bool,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Duration,
    revision: Revision,
    retained_bytes: u64,
}

#[derive(Debug)]
pub(crate) struct Governor {
    /// History that is kept under pressure; `None` to compact nothing.
    retention: Option<Duration>,
    /// Oldest first, as far back as the retention and the forecast need.
    samples: VecDeque<Sample>,
    step: Duration,
    next_step: Duration,
    warned_at: Option<Duration>,
    pending: Option<(Revision, Duration)>,
}

impl Governor {
    pub(crate) fn new(retention: Option<Duration>, now: Duration) -> Governor {
        let step = retention.map_or(STEP_MAX, |retention| retention / SAMPLES_PER_RETENTION);
        Governor {
            retention,
            samples: VecDeque::new(),
            step: step.clamp(STEP_MIN, STEP_MAX),
            next_step: now,
            warned_at: None,
            pending: None,
        }
    }

    pub(crate) fn look(&mut self, now: Duration, figures: Figures) -> Advice {
        let step = if figures.alarm { self.step.min(ALARM_STEP_MAX) } else { self.step };
        // A step that was planned before the alarm came is not waited for.
        if now < self.next_step && now + step >= self.next_step {
            return Advice::default();
        }
        self.next_step = now + step;
        let Figures { revision, retained_bytes, .. } = figures;
        self.samples.push_back(Sample { at: now, revision, retained_bytes });
        self.forget(now);
        let Some(quota) = figures.quota_bytes else { return Advice::default() };
        let pressed =
            figures.alarm || u128::from(retained_bytes) * 100 >= u128::from(quota) * u128::from(PRESSURE_PERCENT);
        Advice {
            compact: if pressed { self.compaction(now, &figures) } else { None },
            full_in: self.full_in(now, retained_bytes, quota),
            looked: true,
            warn: self.warns(now, pressed),
        }
    }

    /// Samples older than is asked for; the newest of those is kept, it says how things were before.
    fn forget(&mut self, now: Duration) {
        let needed = self.retention.unwrap_or_default().max(FORECAST_WINDOW);
        while self.samples.get(1).is_some_and(|second| now.saturating_sub(second.at) >= needed) {
            self.samples.pop_front();
        }
    }

    fn warns(&mut self, now: Duration, pressed: bool) -> bool {
        if !pressed {
            self.warned_at = None;
            return false;
        }
        let due = self.warned_at.is_none_or(|warned_at| now.saturating_sub(warned_at) >= WARNING_INTERVAL);
        if due {
            self.warned_at = Some(now);
        }
        due
    }

    fn compaction(&mut self, now: Duration, figures: &Figures) -> Option<Revision> {
        if let Some((revision, asked_at)) = self.pending
            && figures.compacted < revision
            && now.saturating_sub(asked_at) < APPLY_TIMEOUT
        {
            return None;
        }
        let retention = match self.retention? {
            retention if figures.alarm => (retention / ALARM_RETENTION_DIVISOR).min(ALARM_RETENTION_MAX),
            retention => retention,
        };
        let old = self.samples.iter().rev().find(|sample| now.saturating_sub(sample.at) >= retention)?;
        let wanted = old.revision > figures.compacted && old.revision.0 > 1;
        self.pending = wanted.then_some((old.revision, now));
        wanted.then_some(old.revision)
    }

    fn full_in(&self, now: Duration, retained_bytes: u64, quota: u64) -> Option<Duration> {
        let since = self.samples.iter().find(|sample| now.saturating_sub(sample.at) <= FORECAST_WINDOW)?;
        let window = now.saturating_sub(since.at);
        let grown = retained_bytes.checked_sub(since.retained_bytes).filter(|grown| *grown > 0)?;
        if window < FORECAST_WINDOW_MIN {
            return None;
        }
        let left = quota.saturating_sub(retained_bytes);
        Some(Duration::from_secs_f64((window.as_secs_f64() * left as f64 / grown as f64).min(YEAR_S)))
    }
}

/// Forecasts end here.
const YEAR_S: f64 = 365.0 * 24.0 * 3600.0;

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: u64 = 1_000_000;

    fn figures(revision: i64, compacted: i64, retained_bytes: u64) -> Figures {
        Figures {
            revision: Revision(revision),
            compacted: Revision(compacted),
            retained_bytes,
            quota_bytes: Some(QUOTA),
            alarm: false,
        }
    }

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn history_older_than_the_retention_is_given_up_under_pressure_only() {
        let mut governor = Governor::new(Some(seconds(300)), Duration::ZERO);
        for second in 0..=600 {
            let advice = governor.look(seconds(second), figures(10 + second as i64, -1, QUOTA * 79 / 100));
            assert_eq!((advice.compact, advice.warn), (None, false));
        }
        let advice = governor.look(seconds(603), figures(613, -1, QUOTA * 80 / 100));
        assert_eq!((advice.compact, advice.warn), (Some(Revision(313)), true));
        let advice = governor.look(seconds(606), figures(616, -1, QUOTA * 80 / 100));
        assert_eq!((advice.compact, advice.warn), (None, false), "one is under way");
        let advice = governor.look(seconds(609), figures(619, 313, QUOTA * 80 / 100));
        assert_eq!(advice.compact, Some(Revision(319)));
        let advice = governor.look(seconds(615), figures(625, 313, QUOTA * 80 / 100));
        assert_eq!(advice.compact, Some(Revision(325)), "the one before was never applied");
    }

    #[test]
    fn an_alarm_shortens_the_retention() {
        let mut governor = Governor::new(Some(seconds(300)), Duration::ZERO);
        for second in 0..100 {
            governor.look(seconds(second), figures(second as i64, -1, QUOTA / 2));
        }
        let advice = governor.look(seconds(102), Figures { alarm: true, ..figures(102, -1, QUOTA) });
        assert_eq!(advice.compact, Some(Revision(99)), "two seconds, to a sample of every third second");
    }

    #[test]
    fn what_is_deleted_under_an_alarm_is_history_for_two_seconds() {
        let mut governor = Governor::new(Some(seconds(300)), Duration::ZERO);
        let full = |revision, compacted| Figures { alarm: true, ..figures(revision, compacted, QUOTA) };
        let mut given_up = None;
        for tick in 0..100u64 {
            let now = seconds(100) + Duration::from_millis(100) * tick as u32;
            // Half a second in, somebody deletes: revision 51.
            let revision = if tick < 5 { 50 } else { 51 };
            let advice = governor.look(now, full(revision, if tick > 5 { 50 } else { -1 }));
            if advice.compact == Some(Revision(51)) {
                given_up.get_or_insert(now - seconds(100));
            }
        }
        assert!(given_up.is_some_and(|after| after <= seconds(3) + Duration::from_millis(500)), "{given_up:?}");
    }

    #[test]
    fn nothing_is_compacted_without_a_retention_or_history() {
        let mut governor = Governor::new(None, Duration::ZERO);
        assert_eq!(governor.look(seconds(1000), figures(500, -1, QUOTA)).compact, None);
        let mut governor = Governor::new(Some(seconds(1)), Duration::ZERO);
        for second in 0..10 {
            assert_eq!(governor.look(seconds(second), figures(1, -1, QUOTA)).compact, None);
        }
        let none = Figures { quota_bytes: None, ..figures(5, -1, QUOTA) };
        assert_eq!(governor.look(seconds(11), none), Advice::default());
    }

    #[test]
    fn the_forecast_is_the_rate_of_the_last_minutes() {
        let mut governor = Governor::new(Some(seconds(300)), Duration::ZERO);
        let mut full_in = |second: u64, retained: u64| governor.look(seconds(second), figures(2, -1, retained)).full_in;
        assert_eq!(full_in(0, 100_000), None);
        assert_eq!(full_in(3, 103_000), None, "too short to tell");
        assert_eq!(full_in(100, 200_000), Some(seconds(800)));
        assert_eq!(full_in(500, 200_000), None);
        assert_eq!(full_in(600, 150_000), None, "it shrinks");
    }

    #[test]
    fn warnings_come_once_a_minute_and_at_once_when_pressure_returns() {
        let mut governor = Governor::new(None, Duration::ZERO);
        let mut warns = |second: u64, retained: u64| governor.look(seconds(second), figures(2, -1, retained)).warn;
        assert!(warns(0, QUOTA));
        assert!(!warns(30, QUOTA));
        assert!(warns(60, QUOTA));
        assert!(!warns(63, 0));
        assert!(warns(66, QUOTA));
    }
}
