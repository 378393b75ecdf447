//! Why a request was refused: the caller's mistake or a state of the cluster that every member computes alike. Each
//! variant is mapped once, in `api`, to etcd's gRPC code and text.

use crate::OverBudget;
use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// The revision asked for lies below the compacted one (or at it, for a compaction).
    Compacted,
    /// The revision asked for lies above the current one.
    FutureRevision,
    LeaseNotFound,
    LeaseExists,
    LeaseTtlTooLarge,
    /// A put that keeps value or lease names a key that does not exist.
    KeyNotFound,
    /// Only growth is refused: the quota is used up.
    NoSpace,
    /// The CORRUPT alarm is up: nothing is written.
    Corrupt,
    MemberNotFound,
    /// A prefix would grow beyond its budget; everybody else's writes go on.
    OverBudget(Box<OverBudget>),
    /// What is wrong with a budget that was to be set.
    BudgetInvalid(&'static str),
    /// There are as many budgets as there may be.
    TooManyBudgets,
    /// No budget has exactly this prefix.
    BudgetNotFound,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rejection::OverBudget(over) => return over.fmt(f),
            Rejection::BudgetInvalid(flaw) => return write!(f, "budget cannot be kept: {flaw}"),
            Rejection::TooManyBudgets => "too many budgets, 1000 are the most; remove one with 'bowline budget remove'",
            Rejection::BudgetNotFound => "budget not found; 'bowline budget list' shows those that are set",
            Rejection::Compacted => "required revision has been compacted",
            Rejection::FutureRevision => "required revision is a future revision",
            Rejection::LeaseNotFound => "requested lease not found",
            Rejection::LeaseExists => "lease already exists",
            Rejection::LeaseTtlTooLarge => "too large lease ttl",
            Rejection::KeyNotFound => "key not found",
            Rejection::NoSpace => "database space exceeded",
            Rejection::Corrupt => "corrupt cluster",
            Rejection::MemberNotFound => "member not found",
        })
    }
}

impl std::error::Error for Rejection {}
