//! Randomness as a value. Not for secrets that must resist an attacker who sees earlier outputs of a simulated one.

pub trait Rng: Send {
    fn next_u64(&mut self) -> u64;
}

/// The machine's entropy.
#[derive(Debug, Default)]
pub struct OsRng;

impl Rng for OsRng {
    /// Panics if the kernel has no entropy to give, which it never says after boot.
    fn next_u64(&mut self) -> u64 {
        getrandom::u64().expect("the kernel gives entropy after boot")
    }
}
