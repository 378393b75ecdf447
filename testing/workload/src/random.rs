//! Seeded numbers and the few distributions that the workloads draw from (splitmix64). The same seed gives the same
//! load on every server.

use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// A stream of its own for one purpose, so that what one object draws does not depend on the order of others.
    pub fn of(seed: u64, purpose: u64) -> Random {
        let mut random = Random(seed ^ purpose.wrapping_mul(0xd6e8_feb8_6659_fd93));
        random.draw();
        random
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `bound` - 1; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound.max(1)
    }

    /// 0 to 1, without 1.
    pub fn unit(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn between(&mut self, low: f64, high: f64) -> Duration {
        Duration::from_secs_f64(low + self.unit() * (high - low))
    }

    /// Log-normal with this median; `p95` of all draws lie below it.
    pub fn log_normal(&mut self, median: f64, p95: f64) -> f64 {
        // Box and Muller; 1.645 standard deviations hold 95 % of a normal distribution.
        let (a, b) = (self.unit().max(1e-12), self.unit());
        let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
        median * (normal * (p95 / median).ln() / 1.645).exp()
    }

    /// As Kubernetes writes the identity of an object.
    pub fn uid(&mut self) -> String {
        let (high, low) = (self.draw(), self.draw());
        let (a, b, c) = (high >> 32, (high >> 16) & 0xffff, high & 0xfff);
        format!("{a:08x}-{b:04x}-4{c:03x}-{:04x}-{:012x}", (low >> 48) & 0x3fff | 0x8000, low & 0xffff_ffff_ffff)
    }

    /// The random ending that Kubernetes gives a generated name.
    pub fn suffix(&mut self) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        (0..5).map(|_| char::from(LETTERS[self.below(LETTERS.len() as u64) as usize])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_normal_has_its_median_and_its_95th_percentile() {
        let mut random = Random::new(7);
        let mut draws: Vec<f64> = (0..20_000).map(|_| random.log_normal(45.0, 300.0)).collect();
        draws.sort_by(f64::total_cmp);
        assert!((40.0..50.0).contains(&draws[10_000]), "{}", draws[10_000]);
        assert!((260.0..340.0).contains(&draws[19_000]), "{}", draws[19_000]);
    }
}
