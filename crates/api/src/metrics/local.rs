//! Measurements that one thread writes and the exporter reads: a plain addition in memory that no other core wants,
//! where a shared counter would cost a locked instruction and a cache line in motion.
//!
//! Invariant: all writes to one value come from one thread at a time (a rim's); readers may come from any.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Only goes up.
#[derive(Debug, Default)]
pub(crate) struct LocalCounter(AtomicU64);

impl LocalCounter {
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    pub(crate) fn increment(&self) {
        self.add(1);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Goes up and down.
#[derive(Debug, Default)]
pub(crate) struct LocalGauge(AtomicI64);

impl LocalGauge {
    pub(crate) fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    pub(crate) fn add(&self, n: i64) {
        self.set(self.get() + n);
    }

    pub(crate) fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Durations in buckets with the given upper bounds in nanoseconds, and one for the rest.
#[derive(Debug)]
pub(crate) struct LocalHistogram {
    bounds_ns: &'static [u64],
    /// One more than bounds.
    counts: Box<[LocalCounter]>,
    sum_ns: LocalCounter,
}

impl LocalHistogram {
    pub(crate) fn new(bounds_ns: &'static [u64]) -> LocalHistogram {
        let counts = (0..=bounds_ns.len()).map(|_| LocalCounter::default()).collect();
        LocalHistogram { bounds_ns, counts, sum_ns: LocalCounter::default() }
    }

    pub(crate) fn observe(&self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = self.bounds_ns.partition_point(|&bound| bound < ns);
        if let Some(count) = self.counts.get(bucket) {
            count.increment();
        }
        self.sum_ns.add(ns);
    }

    /// Adds what this one counted to `total`.
    pub(crate) fn add_to(&self, total: &mut HistogramSum) {
        total.counts.resize(self.counts.len(), 0);
        for (sum, count) in total.counts.iter_mut().zip(&self.counts) {
            *sum += count.get();
        }
        total.bounds_ns = self.bounds_ns;
        total.sum_ns += self.sum_ns.get();
    }
}

/// Several threads' histograms as one.
#[derive(Debug, Default)]
pub(crate) struct HistogramSum {
    bounds_ns: &'static [u64],
    counts: Vec<u64>,
    sum_ns: u64,
}

impl HistogramSum {
    /// Upper bounds in seconds, the last one infinite, with the number of observations at or below each.
    pub(crate) fn cumulative(&self) -> Vec<(f64, u64)> {
        let bounds = self.bounds_ns.iter().map(|&ns| ns as f64 / 1e9).chain([f64::INFINITY]);
        let mut total = 0;
        let counts = self.counts.iter().map(|count| {
            total += count;
            total
        });
        bounds.zip(counts.collect::<Vec<_>>()).collect()
    }

    pub(crate) fn sum_seconds(&self) -> f64 {
        self.sum_ns as f64 / 1e9
    }
}

/// `first × 2^n` nanoseconds, `N` bounds.
pub(crate) const fn doubling<const N: usize>(first_ns: u64) -> [u64; N] {
    let mut bounds = [0; N];
    let mut position = 0;
    while position < N {
        bounds[position] = first_ns << position;
        position += 1;
    }
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_of_several_threads_add_up() {
        static BOUNDS: [u64; 3] = doubling(1_000_000);
        let (one, two) = (LocalHistogram::new(&BOUNDS), LocalHistogram::new(&BOUNDS));
        for micros in [0, 1000, 1001] {
            one.observe(Duration::from_micros(micros));
        }
        for micros in [4000, 4001] {
            two.observe(Duration::from_micros(micros));
        }
        let mut sum = HistogramSum::default();
        one.add_to(&mut sum);
        two.add_to(&mut sum);
        assert_eq!(sum.cumulative(), [(0.001, 2), (0.002, 3), (0.004, 4), (f64::INFINITY, 5)]);
        assert!((sum.sum_seconds() - 0.010002).abs() < 1e-9);
    }
}
