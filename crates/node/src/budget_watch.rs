//! Says in the log who is over a budget: above a soft limit, or refused by a hard one.
//!
//! Bounded: one line a minute for each budget, and none while nothing is new. A state machine over a clock and the
//! budgets; the driver asks it with its ticks, and it looks once a second.

use bytes::Bytes;
use state::BudgetState;
use std::collections::BTreeMap;
use std::time::Duration;

const LOOK_INTERVAL: Duration = Duration::from_secs(1);
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(crate) struct BudgetWatch {
    next_look: Duration,
    said: BTreeMap<Bytes, Said>,
}

#[derive(Debug, Clone, Copy)]
struct Said {
    at: Duration,
    /// Refusals when it was said.
    refused: u64,
}

/// What is to be said of one budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Warning {
    pub(crate) state: BudgetState,
    /// Since the last warning about it.
    pub(crate) refused: u64,
}

impl BudgetWatch {
    pub(crate) fn is_due(&mut self, now: Duration) -> bool {
        let due = now >= self.next_look;
        if due {
            self.next_look = now + LOOK_INTERVAL;
        }
        due
    }

    /// What is to be said of these budgets, which are all there are.
    pub(crate) fn look(&mut self, now: Duration, budgets: Vec<BudgetState>) -> Vec<Warning> {
        self.said.retain(|prefix, _| budgets.iter().any(|state| state.budget.prefix == *prefix));
        budgets.into_iter().filter_map(|state| self.warning(now, state)).collect()
    }

    fn warning(&mut self, now: Duration, state: BudgetState) -> Option<Warning> {
        let said = self.said.get(&state.budget.prefix).copied();
        // A budget that was removed and set again counts from 0.
        let refused = state.refused.saturating_sub(said.map_or(0, |said| said.refused));
        let is_over = refused > 0 || state.over_soft().is_some();
        let is_quiet = said.is_some_and(|said| now.saturating_sub(said.at) < WARNING_INTERVAL);
        if !is_over || is_quiet {
            return None;
        }
        self.said.insert(state.budget.prefix.clone(), Said { at: now, refused: state.refused });
        Some(Warning { state, refused })
    }
}

impl Warning {
    pub(crate) fn log(&self) {
        let Warning { state, refused } = self;
        let prefix = state.budget.prefix.escape_ascii();
        if *refused > 0 {
            tracing::warn!(
                prefix = %prefix, refused, bytes = state.usage.retained_bytes, keys = state.usage.keys,
                "a prefix is over its budget: what grows below it is refused, everybody else goes on"
            );
        } else if let Some((figure, limit)) = state.over_soft() {
            tracing::warn!(
                prefix = %prefix, figure = figure.name(), used = state.used(figure), limit,
                "a prefix is above the soft limit of its budget"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Budget, Limits};
    use state::Usage;

    fn state(prefix: &'static str, keys: u64, refused: u64) -> BudgetState {
        let soft = Limits { keys: Some(5), ..Limits::default() };
        BudgetState {
            budget: Budget { prefix: prefix.into(), soft, hard: Limits::default() },
            usage: Usage { keys, retained_bytes: 0 },
            writes_per_second: 0,
            writes_left: None,
            refused,
        }
    }

    #[test]
    fn each_budget_is_warned_of_once_a_minute_while_there_is_something_to_say() {
        let mut watch = BudgetWatch::default();
        let mut look = |second, budgets: Vec<BudgetState>| {
            let warnings = watch.look(Duration::from_secs(second), budgets);
            warnings.into_iter().map(|warning| (warning.state.budget.prefix, warning.refused)).collect::<Vec<_>>()
        };
        assert_eq!(look(1, vec![state("a", 5, 0), state("b", 0, 0)]), []);
        assert_eq!(look(2, vec![state("a", 6, 0), state("b", 0, 9)]), [("a".into(), 0), ("b".into(), 9)]);
        assert_eq!(look(61, vec![state("a", 9, 0), state("b", 0, 99)]), []);
        assert_eq!(look(62, vec![state("a", 5, 0), state("b", 0, 99)]), [("b".into(), 90)]);
        assert_eq!(look(200, vec![state("a", 5, 0), state("b", 0, 99)]), [], "nothing is new");
        assert_eq!(look(201, vec![]), []);
        assert_eq!(look(202, vec![state("b", 0, 1)]), [("b".into(), 1)], "it was removed and set again");
    }

    #[test]
    fn it_looks_once_a_second() {
        let mut watch = BudgetWatch::default();
        let due = [0, 100, 999, 1000, 1001].map(|ms| watch.is_due(Duration::from_millis(ms)));
        assert_eq!(due, [true, false, false, true, false]);
    }
}
