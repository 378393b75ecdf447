//! The raft log and hard state on disk: append, sync, trim, recover. The bytes are described in `docs/formats/wal.md`.
//!
//! Invariants:
//! - After `sync` returns, everything appended before survives the end of the process and the loss of power.
//! - One durable write to one file per group, on space that was written before, so that it costs one flush of data and
//!   none of metadata.
//! - What was synced and is damaged later is refused at start, naming file and offset. A torn tail is cut off.
//! - After a failed write or sync the file is never written again: `fail_over` or stop.
//! - Nothing is changed before everything was read: first `look`, then `Look::claim`.
//! - Running out of space is reported before anything is written, and the log stays usable.
//!
//! Not here: what entries mean, when to sync, threads, clocks. One thread owns the [`Wal`]; making new segments is slow
//! and done by a [`Preparer`] on another.
#![forbid(unsafe_code)]

mod batch;
mod buffer;
mod fault;
mod files;
mod format;
mod mark;
mod open;
mod pool;
mod preparer;
mod recover;
mod scan;
mod wal;

pub use batch::{Batch, decode_batch};
pub use fault::{Fault, Result};
pub use format::{Header, HeaderError, Owner, Record, Salt, decode_header, decode_record};
pub use open::{Look, look};
pub use preparer::{Preparer, Progress};
pub use recover::{Recovered, Torn, decode_log, read};
pub use wal::{ENTRY_BYTES_MAX, Options, Wal};
