//! A simulated machine for the crates that meet it through `io`: a disk on which everything that the real one does not
//! promise goes wrong, at a chosen step or by a seed.
//!
//! Model: each file has durable bytes and pending writes in order; each directory has durable entries and pending
//! changes. A sync makes pending writes of one file durable, `sync_dir` the changes of one directory. A power cut keeps
//! any subset of what is pending, each write cut at 512-byte sectors. Every operation that changes something is a
//! numbered step.
//! Not modelled: directories themselves (they are durable at once), hard links, permissions other than the modes `io`
//! promises.
#![forbid(unsafe_code)]

mod content;
mod disk;
mod hooked;
mod platter;
mod random;

pub use disk::SimDisk;
pub use hooked::{FileOperation, HookedDisk};
pub use random::Random;
