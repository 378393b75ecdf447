//! Consensus as a pure state machine: proposals, ticks and messages go in; what must be written, sent and applied comes
//! out as a [`Ready`]. It is the `raft` crate (TiKV's port of etcd's engine) behind our own types.
//!
//! ```text
//! propose / step / tick ─▶ ready() ─▶ write entries and hard state, sync ─▶ persisted(number) ─▶ ready() ─▶ committed
//!                             └─▶ messages that may leave before the sync
//! ```
//!
//! Invariants, asserted where they could break:
//! - Nothing is handed out as committed before this member's own log holds it durably, in a group of one too.
//! - Nobody hears of a term or a vote of ours before it is durable.
//! - Positions handed out are contiguous; the commit index never steps back; a committed entry is never replaced.
//! - The same calls in the same order give the same results: time is a count of ticks, and the only randomness, the
//!   election timeout, is a function of the seed and the term.
//!
//! Not here: files, sockets, clocks, threads, and what an entry's bytes mean. The raft crate's protobuf types never
//! leave this crate, so protobuf never parses bytes from outside; the log and the wire use the encodings of
//! [`put_entries`] and [`Message`]. Changing the voters and installing a snapshot are not built yet; messages that
//! carry one are refused.
#![forbid(unsafe_code)]

mod check;
mod consensus;
mod convert;
mod entry;
mod logger;
mod message;
mod ready;
mod tail;

pub use check::StepError;
pub use consensus::{Config, Consensus, RecoverError, Recovered, Refused, Role, Status};
pub use entry::{Entry, EntryKind, HardState, INDEX_MAX, Position, put_entries, read_entries};
pub use message::{Body, Message, VoteStage};
pub use ready::{ReadId, ReadState, Ready};
