//! Revisioned keys: what etcd calls the MVCC store.
//!
//! ```text
//!   apply thread: Mvcc ── begin ─▶ Txn ── put, delete_range, commit ─▶ Change (events)
//!     │  index: Tree of entries (versions of a key, newest first) + deep history          values: records in `store`
//!     ├─ view() ─▶ View: range, count, events, hash_kv, load        any thread, any time, no locks
//!     ├─ compact() at once for readers, compaction_step() for memory and disk
//!     ├─ begin_clean() ─▶ CleanJob: live records of worn segments to new ones ─▶ relocation_step()
//!     └─ take_checkpoint() ─▶ CheckpointJob: sorted runs of versions  ─▶  open() merges them
//! ```
//! Invariants:
//! - A revision is written once, by one transaction; versions of a key strictly ascend by (revision, position in it).
//! - Every revision from the compacted one on can be read exactly, counts included.
//! - State depends on the commands alone: no clock, no randomness; what steps of compaction and checkpoints do shows in
//!   no answer and no number that members compare.
//! - Loading a checkpoint gives what was maintained, up to what a compaction dropped and the steps had not removed yet.
//!
//! Not here: leases (only their ids are stored), permissions, quotas, threads, the raft log. Values are not kept in
//! memory. A deletion has no record in the store: the key index and its checkpoint runs hold all of it.
#![forbid(unsafe_code)]

mod accounts;
mod around;
mod checkpoint;
mod compaction;
mod crc;
mod entry;
mod events;
mod fault;
mod hash;
mod history;
mod index;
mod load;
mod owner;
mod range;
mod run;
mod sorted;
mod space;
mod superseded;
#[cfg(test)]
mod tests;
pub mod tree;
mod txn;
mod verify;
mod version;
mod view;
mod walk;

pub use accounts::{AccountDepth, AccountOrder, AccountStat, AccountsReader, MeterId, Usage};
pub use around::{Around, Owner};
pub use checkpoint::{CheckpointDone, CheckpointJob};
pub use events::{Change, Event, EventPage, EventWalk};
pub use fault::{Fault, ReadError, Result};
pub use hash::KvHash;
pub use owner::Mvcc;
pub use range::{RangeItem, RangeResult};
pub use run::recode_run;
pub use space::{CleanJob, Cleaned, ReclaimStats, WRITE_WINDOW_BYTES_MIN};
pub use store::Location;
pub use tree::Key;
pub use txn::{PutResult, Records, Txn};
pub use verify::{Lost, Verified, verify};
pub use version::Meta;
pub use view::View;
pub use walk::{Found, Pages, Walk};
