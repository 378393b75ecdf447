//! Space: the store's files follow what is retained.
//!
//! ```text
//! a compaction drops ─▶ garbage ─▶ clean: what is live of the worst segments is copied
//!        │                      ─▶ relocate: the key index follows
//!        │                      ─▶ checkpoint: once it is durable, segments without a live record go
//!        └─▶ unsettled: counted until the files have followed ─▶ settle
//! ```
//! Words: *garbage* is records that nothing needs. *Clean* means to copy what is live out of a segment. *Reclaim* is
//! the whole way until the segment's space is returned. *Settle*: bytes that a compaction dropped stop counting. *Write
//! window*: bytes that writers may still write before they wait.
//!
//! Invariant: nothing here changes what can be read, or a number that members compare. Only settling is replicated, and
//! it follows from the log alone.

mod clean;
pub(crate) mod limits;
mod reclaim;
mod relocation;
mod settle;

pub use clean::{CleanJob, Cleaned};
pub use limits::WRITE_WINDOW_BYTES_MIN;
pub(crate) use reclaim::Reclaim;
pub use reclaim::ReclaimStats;
pub(crate) use settle::Unsettled;
