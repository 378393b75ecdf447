//! What goes wrong, and when. A seed chooses which kinds happen at all in its run, so that some runs meet one kind
//! often and others many together, and then when each happens.
//!
//! Not here: what a fault does (`world`, `simdisk`).

use node::Part;
use simdisk::Random;
use std::time::Duration;

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The power goes off so many steps of the disk later.
    PowerCut { steps: u64 },
    /// The process is killed; the page cache survives.
    Kill,
    /// A step of the disk fails with EIO, so many steps later.
    Eio { steps: u64 },
    /// A step of the disk fails with ENOSPC.
    NoSpaceOnce { steps: u64 },
    /// The disk has so much space left, for a while.
    Full { room_bytes: u64, lasts: Duration },
    /// The disk reads nothing for a while.
    Unreadable { lasts: Duration },
    /// A part is not run: for the log, a disk that does not answer.
    Stall { part: Part, lasts: Duration },
    /// The member is asked to stop, and started again.
    Stop,
    /// The machine's clock is set to another time.
    WallJump { to: Duration },
}

const KINDS: u64 = 9;
/// Less than the history that a member keeps under pressure: a watch that cannot be read meanwhile finds it again.
const UNREADABLE_MS_MAX: u64 = 800;
/// The thread of the driver may be kept from running that long; the others much longer, as a disk may.
const DRIVER_STALL_MS_MAX: u64 = 900;

/// See the file's head.
#[derive(Debug)]
pub struct Faults {
    random: Random,
    kinds: Vec<u64>,
    interval_ms: u64,
    next_at: Duration,
}

impl Faults {
    pub fn new(mut random: Random) -> Faults {
        let mut kinds: Vec<u64> = (0..KINDS).filter(|_| random.coin()).collect();
        if kinds.is_empty() {
            kinds.push(0);
        }
        let interval_ms = 200 + random.below(6_000);
        Faults { random, kinds, interval_ms, next_at: Duration::from_millis(interval_ms) }
    }

    /// The fault that is due.
    pub fn due(&mut self, now: Duration) -> Option<Fault> {
        if now < self.next_at {
            return None;
        }
        self.next_at = now + Duration::from_millis(1 + self.random.below(2 * self.interval_ms));
        let kind = self.kinds[self.random.below(self.kinds.len() as u64) as usize];
        Some(self.fault(kind))
    }

    /// A disk fault that a start meets, now and then.
    pub fn at_start(&mut self) -> Option<Fault> {
        if self.random.below(4) > 0 {
            return None;
        }
        let steps = self.random.below(40);
        let kind = self.kinds[self.random.below(self.kinds.len() as u64) as usize];
        match kind {
            0 => Some(Fault::PowerCut { steps }),
            2 => Some(Fault::Eio { steps }),
            3 => Some(Fault::NoSpaceOnce { steps }),
            8 => Some(self.fault(kind)),
            _ => None,
        }
    }

    /// Where the power is cut, and how much of what is pending it lets through.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    fn fault(&mut self, kind: u64) -> Fault {
        let random = &mut self.random;
        match kind {
            0 => Fault::PowerCut { steps: random.below(30) },
            1 => Fault::Kill,
            2 => Fault::Eio { steps: random.below(30) },
            3 => Fault::NoSpaceOnce { steps: random.below(30) },
            4 => {
                let bits = random.below(24);
                let room_bytes = random.below(1 << bits);
                Fault::Full { room_bytes, lasts: Duration::from_millis(3 * random.below(10_000)) }
            }
            5 => {
                let part = Part::ALL[random.below(4) as usize];
                let bits = random.below(15);
                let longest_ms = if part == Part::Driver { DRIVER_STALL_MS_MAX } else { 1 << bits };
                Fault::Stall { part, lasts: Duration::from_millis(random.below(longest_ms)) }
            }
            6 => Fault::Stop,
            8 => Fault::Unreadable { lasts: Duration::from_millis(1 + random.below(UNREADABLE_MS_MAX)) },
            _ => Fault::WallJump { to: Duration::from_secs(random.below(1 << 33)) },
        }
    }
}
