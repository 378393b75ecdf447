//! Budgets: how much the keys below one prefix may hold and how fast they may be written.
//!
//! Invariant of a checked budget: its prefix names a directory without the slash at its end, it limits something, and
//! no soft limit lies above the hard one. What counts against it, and what is refused, is in `state`.

use crate::Rejection;
use bytes::Bytes;
use std::fmt;

/// Limits of what is below `prefix`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// All keys that begin with this and a slash.
    pub prefix: Bytes,
    /// Above these the server warns.
    pub soft: Limits,
    /// Beyond these, growth is refused.
    pub hard: Limits,
}

/// `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Retained bytes: live pairs and history not yet compacted.
    pub bytes: Option<u64>,
    /// Keys that exist.
    pub keys: Option<u64>,
    /// Puts a second; a second's worth may come at once.
    pub writes_per_second: Option<u64>,
}

impl Limits {
    /// Each figure with its limit, if it has one, in a fixed order.
    pub fn each(&self) -> [(BudgetFigure, Option<u64>); 3] {
        [
            (BudgetFigure::Bytes, self.bytes),
            (BudgetFigure::Keys, self.keys),
            (BudgetFigure::WritesPerSecond, self.writes_per_second),
        ]
    }
}

/// What a budget limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BudgetFigure {
    Bytes,
    Keys,
    WritesPerSecond,
}

impl BudgetFigure {
    /// As metrics and JSON name it.
    pub fn name(self) -> &'static str {
        match self {
            BudgetFigure::Bytes => "bytes",
            BudgetFigure::Keys => "keys",
            BudgetFigure::WritesPerSecond => "writes_per_second",
        }
    }
}

impl Budget {
    /// How many a cluster has at most.
    pub const COUNT_MAX: usize = 1000;
    pub(crate) const PREFIX_BYTES_MAX: usize = 512;

    /// Refuses a budget that cannot be kept, with what is wrong.
    pub fn check(&self) -> Result<(), Rejection> {
        let flaw = if self.prefix.is_empty() {
            "its prefix is empty; the quota limits the whole store"
        } else if self.prefix.len() > Budget::PREFIX_BYTES_MAX {
            "its prefix is longer than 512 bytes"
        } else if self.prefix.ends_with(b"/") {
            "its prefix ends with a slash; leave it away"
        } else if (self.soft, self.hard) == (Limits::default(), Limits::default()) {
            "it limits nothing; give bytes, keys or writes"
        } else if self.soft.each().iter().zip(self.hard.each()).any(|(soft, hard)| is_above(soft.1, hard.1)) {
            "a soft limit is above the hard one"
        } else {
            return Ok(());
        };
        Err(Rejection::BudgetInvalid(flaw))
    }
}

fn is_above(soft: Option<u64>, hard: Option<u64>) -> bool {
    soft.zip(hard).is_some_and(|(soft, hard)| soft > hard)
}

/// Why a write was refused for its prefix's sake.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OverBudget {
    pub prefix: Bytes,
    pub figure: BudgetFigure,
    /// What the prefix holds; for writes, how many puts it could make now.
    pub used: u64,
    /// What the command would add.
    pub adds: u64,
    /// The hard limit.
    pub limit: u64,
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OverBudget { prefix, figure, used, adds, limit } = self;
        let prefix = prefix.escape_ascii();
        write!(f, "budget of {prefix} exceeded: ")?;
        match figure {
            BudgetFigure::Bytes => write!(
                f,
                "{used} bytes are used, {adds} more would pass the hard limit of {limit}; delete keys and compact, or raise the \
                 limit with 'bowline budget set {prefix} --hard-bytes'"
            ),
            BudgetFigure::Keys => write!(
                f,
                "{used} keys are there, {adds} more would pass the hard limit of {limit}; delete keys, or raise the limit with \
                 'bowline budget set {prefix} --hard-keys'"
            ),
            BudgetFigure::WritesPerSecond => write!(
                f,
                "{adds} more now would pass the hard limit of {limit} puts a second; write more slowly, or raise the limit with \
                 'bowline budget set {prefix} --hard-writes'"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_that_cannot_be_kept_is_refused_with_its_flaw() {
        let keys = |keys| Limits { keys: Some(keys), ..Limits::default() };
        let flaw = |prefix: &str, soft, hard| {
            let budget = Budget { prefix: Bytes::copy_from_slice(prefix.as_bytes()), soft, hard };
            budget.check().map_err(|rejection| rejection.to_string())
        };
        let none = Limits::default();
        assert_eq!(flaw("/registry/pods", keys(5), keys(5)), Ok(()));
        assert_eq!(flaw(&"p".repeat(512), none, keys(0)), Ok(()));
        for (prefix, soft, hard, says) in [
            ("", none, keys(1), "is empty"),
            (&*"p".repeat(513), none, keys(1), "longer than 512"),
            ("/registry/", none, keys(1), "ends with a slash"),
            ("/registry", none, none, "limits nothing"),
            ("/registry", keys(6), keys(5), "soft limit is above"),
        ] {
            let said = flaw(prefix, soft, hard).expect_err("it has a flaw");
            assert!(said.contains(says), "{said}");
        }
        let bytes = Limits { bytes: Some(9), ..none };
        assert_eq!(flaw("/registry", bytes, keys(5)), Ok(()), "different figures are not compared");
    }
}
