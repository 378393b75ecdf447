//! Randomness for timeouts and ids. Nothing here is a key: TLS brings its own.

use rustix::rand::{GetRandomFlags, getrandom};

/// A source of random numbers. State machines get theirs handed in, so that a run can be repeated from a seed.
pub trait Rng: Send {
    /// 64 uniform bits.
    fn next_u64(&mut self) -> u64;

    /// A uniform number in `0..bound`; `bound` is at least 1. The bias is below `bound / 2^64`.
    fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a random number below zero does not exist");
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}

/// The kernel's random numbers, drawn in small batches because a system call for eight bytes costs more than the bytes.
pub struct OsRng {
    pool: [u8; 128],
    left: usize,
}

impl OsRng {
    pub fn new() -> OsRng {
        OsRng { pool: [0; 128], left: 0 }
    }

    fn refill(&mut self) {
        let mut filled = 0;
        while filled < self.pool.len() {
            match getrandom(&mut self.pool[filled..], GetRandomFlags::empty()) {
                Ok(count) => filled += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("draw random bytes: {error}; the kernel must offer getrandom"),
            }
        }
        self.left = self.pool.len();
    }
}

impl Default for OsRng {
    fn default() -> OsRng {
        OsRng::new()
    }
}

impl Rng for OsRng {
    fn next_u64(&mut self) -> u64 {
        if self.left == 0 {
            self.refill();
        }
        self.left -= 8;
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.pool[self.left..self.left + 8]);
        u64::from_le_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_differ_and_stay_below_the_bound() {
        let mut rng = OsRng::new();
        let drawn: BTreeSet<u64> = (0..100).map(|_| rng.next_u64()).collect();
        assert_eq!(drawn.len(), 100);
        assert!((0..1000).all(|_| rng.below(7) < 7));
        assert_eq!(rng.below(1), 0);
    }
}
