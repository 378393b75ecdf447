//! One running member: three kinds of thread around a state machine.
//!
//! ```text
//! rim threads (api) ──▶ inbox ──▶ driver thread ──▶ queue ──▶ apply thread ──▶ view, events, answers
//!                                  consensus, wal               state             │
//!                                     ▲                           │ checkpoint     ▼
//!                                     └──── trim ◀── background thread        mailboxes of the rims
//! ```
//!
//! Invariants:
//! - An answer to a write leaves only after its entry was synced to the log and applied, and after the view and the event
//!   log hold it.
//! - The driver alone owns consensus and the log, the apply thread alone owns state; everybody else holds a `Handle`.
//! - The log is trimmed only behind a durable checkpoint.
//!
//! Deliberately not here: protobuf and sockets (`api`), what a command does (`state`), tokio: futures made here are plain and
//! run on any executor.
#![forbid(unsafe_code)]

mod apply;
mod apply_owner;
mod auto_compaction;
mod background;
mod budget_watch;
mod driver;
mod governor;
mod handle;
mod inbox;
mod leader_clock;
mod limits;
mod pace;
mod pinned_views;
mod reply;
mod room;
mod signal;
mod space_wait;
mod start;
mod status;

pub use auto_compaction::AutoCompaction;
pub use handle::{Handle, RangeAnswer, ReadError, Reply, Timings};
pub use reply::{Mailbox, Pending};
pub use signal::EventSignal;
pub use start::{Config, Node, StartError};
pub use status::{Applies, Metrics, Status};

// What api needs of the layers below, so that it depends on this crate only.
pub use mvcc::{KvHash, Location, RangeItem, RangeResult};
pub use state::{
    AccountDepth, AccountOrder, AccountStat, AccountsReader, ActiveAlarm, BudgetState, LeaseReader, Member,
    OperationOutcome, Outcome, StateView, TxnOutcome, Usage, is_read_only,
};
pub use watch;

/// Why a request was not carried out, other than by a rule of the state machine (that is a `model::Rejection`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refused {
    /// The member stops; whether a write was carried out is unknown.
    Stopped,
    /// Too much waits in front of the driver or of apply; nothing was done.
    TooManyRequests,
    /// The member knows no leader and cannot say how the log goes on; nothing was done.
    NoLeader,
    /// Not done within the request timeout; whether a write will be carried out is unknown.
    TimedOut,
    /// The command is larger than an entry of the log may be; nothing was done.
    TooLarge,
    /// The disk of the log is full or fails; nothing was done, and the member goes on by itself once it can write again.
    DiskFull,
    /// The disk of the store failed: nothing was done, and nothing will be until the member is started again.
    StoreFailed,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Refused::Stopped => "server stopped",
            Refused::TooManyRequests => "too many requests",
            Refused::NoLeader => "no leader",
            Refused::TimedOut => "request timed out",
            Refused::TooLarge => "request is too large",
            Refused::DiskFull => "log disk full or failing",
            Refused::StoreFailed => "the store's disk failed",
        })
    }
}

impl std::error::Error for Refused {}
