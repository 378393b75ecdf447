//! The seam to the machine: disk, clock and randomness as traits, and the real ones.
//!
//! Everything between the rim and the disk takes the machine through these traits, so that the same code runs on a
//! simulated disk from a seed. Deliberately not here: networking (several members bring `Links`), any buffering, any
//! retry.
// Not forbidden: starting write-back is a system call without a safe wrapper.
#![deny(unsafe_code)]

mod clock;
mod direct;
mod disk;
mod os_disk;
mod overlay;
mod priority;
mod rng;
mod shortage;

pub use clock::{Clock, OsClock};
pub use disk::{BLOCK_BYTES, Disk, File, LockGuard, Open};
pub use os_disk::{OsDisk, open_files};
pub use overlay::Overlay;
pub use priority::give_way;
pub use rng::{OsRng, Rng};
pub use shortage::{is_out_of_descriptors, is_shortage};
