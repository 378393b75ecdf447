//! How prefixes stand to their budgets, as metrics. Cardinality is bounded by the number of budgets.

use super::prefixes::name;
use super::text::{Text, Type};
use state::BudgetState;

pub(crate) fn budgets(text: &mut Text, budgets: &[BudgetState]) {
    if budgets.is_empty() {
        return;
    }
    let named: Vec<(String, &BudgetState)> = budgets.iter().map(|state| (name(&state.budget.prefix), state)).collect();
    let mut family = text.family("bowline_budget_limit", Type::Gauge, "Limits of budgets.");
    for (prefix, state) in &named {
        for (kind, limits) in [("soft", &state.budget.soft), ("hard", &state.budget.hard)] {
            for (figure, limit) in limits.each() {
                let Some(limit) = limit else { continue };
                family.sample(&[("figure", figure.name()), ("kind", kind), ("prefix", prefix)], limit as f64);
            }
        }
    }
    let mut family = text.family("bowline_budget_usage", Type::Gauge, "What prefixes with a budget use.");
    for (prefix, state) in &named {
        for (figure, _) in state.budget.hard.each() {
            family.sample(&[("figure", figure.name()), ("prefix", prefix)], state.used(figure) as f64);
        }
    }
    let help = "Whether a prefix is above a soft limit of its budget.";
    let mut family = text.family("bowline_budget_over_soft", Type::Gauge, help);
    for (prefix, state) in &named {
        family.sample(&[("prefix", prefix)], f64::from(u8::from(state.over_soft().is_some())));
    }
    let help = "Writes that a hard limit of the prefix's budget refused.";
    let mut family = text.family("bowline_budget_refused_total", Type::Counter, help);
    for (prefix, state) in &named {
        family.sample(&[("prefix", prefix)], state.refused as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Budget, Limits};

    #[test]
    fn each_budget_shows_its_limits_and_what_is_used() {
        let soft = Limits { keys: Some(5), ..Limits::default() };
        let hard = Limits { bytes: Some(1000), keys: Some(9), writes_per_second: None };
        let state = BudgetState {
            budget: Budget { prefix: "/registry/pods".into(), soft, hard },
            usage: mvcc::Usage { keys: 6, retained_bytes: 700 },
            writes_per_second: 3,
            writes_left: None,
            refused: 2,
        };
        let shown = |states: &[BudgetState]| {
            let mut text = Text::default();
            budgets(&mut text, states);
            text.finish()
        };
        assert_eq!(shown(&[]), "");
        let text = shown(&[state]);
        let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                "bowline_budget_limit{figure=\"keys\",kind=\"soft\",prefix=\"/registry/pods\"} 5",
                "bowline_budget_limit{figure=\"bytes\",kind=\"hard\",prefix=\"/registry/pods\"} 1000",
                "bowline_budget_limit{figure=\"keys\",kind=\"hard\",prefix=\"/registry/pods\"} 9",
                "bowline_budget_over_soft{prefix=\"/registry/pods\"} 1",
                "bowline_budget_refused_total{prefix=\"/registry/pods\"} 2",
                "bowline_budget_usage{figure=\"bytes\",prefix=\"/registry/pods\"} 700",
                "bowline_budget_usage{figure=\"keys\",prefix=\"/registry/pods\"} 6",
                "bowline_budget_usage{figure=\"writes_per_second\",prefix=\"/registry/pods\"} 3",
            ]
        );
    }
}
