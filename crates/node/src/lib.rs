//! One running member: parts that are stepped, and the threads that step them.
//!
//! ```text
//! rim threads (api) ──▶ inbox ──▶ driver ──Turn──▶ apply ──▶ view, events, answers ──▶ mailboxes of the rims
//!                                consensus  ◀─ApplyReport─ state
//!                                 │     ▲                   │     ▲
//!                      LogRequest ▼     │ LogReport     Job ▼     │ JobDone
//!                                log (wal)                background
//! ```
//! Each part is a value with a `step`: what arrived goes in, what is to be done comes out (`messages`). `threads` runs
//! the steps on threads; `Stepped` lets a simulation run them in one, in any order, from a seed.
//!
//! Invariants:
//! - An answer to a write leaves only after its entry was synced to the log and applied, and after the view and the
//!   event log hold it.
//! - Each part has one owner at a time: the driver alone changes consensus, the log's part alone the log, apply alone
//!   state; everybody else holds a `Handle`.
//! - What only a leader may do takes an `Office`.
//! - The log is trimmed only behind a durable checkpoint.
//!
//! Deliberately not here: protobuf and sockets (`api`), what a command does (`state`), tokio: futures made here are
//! plain and run on any executor.
#![forbid(unsafe_code)]

mod answer;
mod apply;
mod auto_compaction;
mod background;
mod budget_watch;
mod chores;
mod disk_health;
mod driver;
mod governor;
mod halt;
mod handed_on;
mod handle;
mod inbox;
mod leader_clock;
mod limits;
mod log;
mod messages;
mod office;
mod open;
mod pace;
mod parts;
mod pinned_views;
mod relay;
mod reply;
mod scrub;
mod shared;
mod signal;
mod start;
mod status;
mod stepped;
mod sync;
mod threads;
mod upkeep;
mod workplace;

pub use answer::{RangeAnswer, RangeWalk, Reply, Timings};
pub use auto_compaction::AutoCompaction;
pub use disk_health::{Ailment, DiskTrouble, DiskUse, SickDisk};
pub use handed_on::HandedOn;
pub use handle::Handle;
pub use open::StartError;
pub use reply::{Mailbox, Pending};
pub use signal::{Announcement, EventSignal};
pub use start::{Config, Node};
pub use status::{Applies, Metrics, Overload, OwnRequests, Status, Waiting};
pub use stepped::{Part, Stepped};

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
    /// A disk does not take it; nothing was done, and the member goes on by itself once it does, unless the store
    /// failed (`Status::store_failed`).
    Disk(DiskTrouble),
    /// Not done within the request timeout because of a disk; whether a write will be carried out is unknown.
    TimedOutByDisk(DiskTrouble),
    /// An entry of the log waits for a record that cannot be read; nothing was done (`Handle::halted_because`).
    Halted,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refused::Stopped => f.write_str("server stopped"),
            Refused::TooManyRequests => f.write_str("too many requests"),
            Refused::NoLeader => f.write_str("no leader"),
            Refused::TimedOut => f.write_str("request timed out"),
            Refused::TooLarge => f.write_str("request is too large"),
            Refused::Disk(trouble) => trouble.fmt(f),
            Refused::TimedOutByDisk(trouble) => write!(f, "request timed out: {trouble}"),
            Refused::Halted => f.write_str("a record that must be read cannot be"),
        }
    }
}

impl std::error::Error for Refused {}
