//! Event fan-out: one shared log of what happened, and watchers that are a cursor and a filter on it.
//!
//! ```text
//! apply thread ──push──▶ EventLog (batches, immutable, bounded) ──since──▶ Registry of one rim ──▶ deliveries
//!                                                                             │ behind
//!                                                        ring, else View::events ◀──┘
//! ```
//!
//! Invariants, for each watcher:
//! - It gets every event of its range from its start revision on, in order of revision, each once; all events of one
//!   revision come in one delivery. Or it is cancelled with the compacted revision. Nothing is skipped silently.
//! - A progress revision never overtakes an event: it is answered only for watchers that were handed everything up to
//!   it.
//! - A slow watcher holds no memory: paused, it is a revision; resumed, it catches up from the log or from the store.
//!
//! An event is encoded once for all its watchers and loaded from the store only if somebody watches it.
//!
//! Not here: the wire protocol of a stream (ids, created and cancelled messages, fragments, progress timers), which is
//! `api`'s; threads, clocks and wake-ups, which are `node`'s.
#![forbid(unsafe_code)]

mod event;
mod groups;
mod interval;
mod log;
mod registry;

pub use event::{Event, EventKind, EventList};
pub use log::{EventLog, Limits};
pub use registry::{CatchUp, CreateError, Delivery, Registry, Spec, Standing, WatcherId};
