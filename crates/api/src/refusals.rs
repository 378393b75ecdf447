//! What is refused because a limit is met: which one and by how much, in a metric and in the log.
//!
//! Not here: the answer's text (`status`), and memory in flight, which counts for itself (`in_flight`).

use crate::line_limit::LineLimit;
use model::OverBudget;
use node::Overload;
use state::StateView;
use stdx::metrics::{Counter, Gauge};

/// The limits, by the names that metric and log give them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// `--quota-backend-bytes`, on retained bytes.
    Quota,
    /// Of a prefix.
    Budget,
    /// `--max-request-bytes`, on the entry that a request would be in the log.
    RequestSize,
    /// The same and etcd's allowance, on a message before it is decoded.
    MessageSize,
    /// `--max-txn-ops`.
    TxnOps,
    /// Committed entries that wait to be applied.
    ApplyLag,
    /// What waits in front of the log.
    Inbox,
}

impl Limit {
    pub(crate) const ALL: [Limit; 7] = [
        Limit::Quota,
        Limit::Budget,
        Limit::RequestSize,
        Limit::MessageSize,
        Limit::TxnOps,
        Limit::ApplyLag,
        Limit::Inbox,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Limit::Quota => "quota",
            Limit::Budget => "budget",
            Limit::RequestSize => "request_size",
            Limit::MessageSize => "message_size",
            Limit::TxnOps => "txn_ops",
            Limit::ApplyLag => "apply_lag",
            Limit::Inbox => "inbox",
        }
    }
}

/// Of one limit.
#[derive(Debug, Default)]
struct OfLimit {
    count: Counter,
    /// By how much the last refused request was beyond the limit.
    excess: Gauge,
    lines: LineLimit,
}

/// See the file's head.
#[derive(Debug, Default)]
pub(crate) struct Refusals([OfLimit; Limit::ALL.len()]);

impl Refusals {
    /// Each limit with how often it refused, and by how much the last time.
    pub(crate) fn figures(&self) -> impl Iterator<Item = (Limit, u64, i64)> {
        Limit::ALL
            .into_iter()
            .zip(&self.0)
            .map(|(limit, of_limit)| (limit, of_limit.count.get(), of_limit.excess.get()))
    }

    /// Counts a refusal and writes a line about it: `value` is more than `max`. `of` says what has the limit.
    pub(crate) fn note(&self, limit: Limit, of: &str, value: u64, max: u64) {
        let of_limit = self.0.get(limit as usize).expect("one for each limit");
        let excess = value.saturating_sub(max);
        of_limit.count.increment();
        of_limit.excess.set(i64::try_from(excess).unwrap_or(i64::MAX));
        of_limit.lines.limited(limit.name(), || {
            tracing::warn!(limit = limit.name(), of, value, max, excess, "request refused: a limit is met");
        });
    }

    pub(crate) fn note_budget(&self, over: &OverBudget) {
        let of = format!("{} {}", over.prefix.escape_ascii(), over.figure.name());
        self.note(Limit::Budget, &of, over.used.saturating_add(over.adds), over.limit);
    }

    pub(crate) fn note_quota(&self, view: &StateView) {
        let quota = view.quota_bytes().unwrap_or_default();
        self.note(Limit::Quota, "retained bytes", view.retained_bytes(), quota);
    }

    pub(crate) fn note_overload(&self, overload: Overload) {
        let (limit, of, value, max) = match overload {
            Overload::ApplyLag { entries, max } => (Limit::ApplyLag, "entries", entries, max),
            Overload::InboxBytes { bytes, max } => (Limit::Inbox, "bytes", bytes, max),
            Overload::InboxMessages { messages, max } => (Limit::Inbox, "proposals", messages, max),
        };
        self.note(limit, of, value, max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_numbered_by_position() {
        assert!(Limit::ALL.iter().enumerate().all(|(position, limit)| *limit as usize == position));
    }
}
