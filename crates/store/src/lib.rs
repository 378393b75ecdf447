//! Bytes in append-only segments, found by location; checkpoints of which of them count.
//!
//! Invariants:
//! - A record is written once, never changed, and its checksum is verified at every read: damage is a `Fault`, never an
//!   answer.
//! - Appending never syncs. What must survive is in the raft log until a checkpoint is durable; a checkpoint is durable
//!   as a whole or not at all.
//! - A file is removed only after a durable checkpoint stopped naming it.
//! - After a write that failed for any other reason than lack of space nothing is taken any more.
//! - Running out of space leaves the store usable: a record that finds none waits in memory, where it can be read.
//!
//! Deliberately not here: what records mean, keys, revisions, and threads. Formats: `docs/formats/store.md`.
#![forbid(unsafe_code)]

mod checkpoint;
mod cold;
mod data_dir;
mod fault;
mod given_up;
mod identity;
mod leftovers;
mod manifest;
mod open;
mod reader;
mod record;
mod room;
mod scan;
mod segments;
mod space;
mod tail;
mod verify;
mod walk;
mod write_back;

pub use checkpoint::{CheckpointWriter, Done, Mode, Run};
pub use cold::{ColdSegment, ColdWriter};
pub use data_dir::{DataDir, Identity, Log};
pub use fault::{Cause, Fault, Result};
pub use given_up::{GivenUp, Substitute, read_given_up, write_given_up};
pub use leftovers::{Leftovers, Unlinked};
pub use reader::Reader;
pub use record::{Location, RECORD_OVERHEAD_BYTES};
pub use room::Room;
pub use scan::Scan;
pub use segments::{ALLOCATE_BYTES, Checkpoint, Options, RESERVE_BYTES, SEGMENT_BYTES_MIN, SegmentStat, Store};
pub use verify::{Image, Verified};
pub use walk::{Named, Sound, Walk};
pub use write_back::WriteBack;
