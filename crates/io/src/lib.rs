//! The seam between everything synchronous and the machine: disk, clock, randomness.
//!
//! Each trait has two users: the real one here (`OsDisk`, `OsClock`, `OsRng`) and the simulated one that the crash tests
//! drive. Nothing below `node` reaches the machine by another way, so that a whole member runs from a seed.
//!
//! Invariants: an operation that returned an error may have happened in part or not at all; nothing is durable before the
//! sync that covers it returned success; after a failed sync the bytes it covered are lost, and a later success does not
//! bring them back. Not here: threads, sockets, buffering, checksums.
#![forbid(unsafe_code)]

mod clock;
mod disk;
mod os_disk;
mod rng;

pub use clock::{Clock, OsClock};
pub use disk::{Disk, File, LockGuard, Open};
pub use os_disk::OsDisk;
pub use rng::{OsRng, Rng};
