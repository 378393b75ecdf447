//! Counters, gauges and histograms that any thread may write and the exporter reads. No names and no registry: who owns
//! a measurement holds it in a struct, and `api` gives it its name. All operations are single relaxed atomics; a reader
//! may see a histogram's sum and buckets a moment apart, as every scraped histogram may.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Only goes up.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub fn increment(&self) {
        self.add(1);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Durations in buckets whose upper bounds double: `first`, `2 × first`, … (`buckets` of them, and one for the rest).
#[derive(Debug)]
pub struct Histogram {
    first_ns: u64,
    buckets: Box<[AtomicU64]>,
    sum_ns: AtomicU64,
}

impl Histogram {
    /// Panics if `first` is zero or `buckets` is zero: both are constants of the caller.
    pub fn new(first: Duration, buckets: usize) -> Histogram {
        let first_ns = u64::try_from(first.as_nanos()).unwrap_or(u64::MAX);
        assert!(first_ns > 0 && buckets > 0, "a histogram needs a first bound and a bucket");
        Histogram { first_ns, buckets: (0..=buckets).map(|_| AtomicU64::new(0)).collect(), sum_ns: AtomicU64::new(0) }
    }

    pub fn observe(&self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        // The smallest n with ns <= first << n.
        let steps = ns.div_ceil(self.first_ns).max(1);
        let position = (u64::BITS - (steps - 1).leading_zeros()) as usize;
        let bucket = position.min(self.buckets.len() - 1);
        if let Some(count) = self.buckets.get(bucket) {
            count.fetch_add(1, Relaxed);
        }
        self.sum_ns.fetch_add(ns, Relaxed);
    }

    /// Upper bounds in seconds with the number of observations at or below each; the last bound is infinite and its
    /// number is the total.
    pub fn cumulative(&self) -> Vec<(f64, u64)> {
        let mut total = 0;
        let last = self.buckets.len() - 1;
        self.buckets
            .iter()
            .enumerate()
            .map(|(position, count)| {
                total += count.load(Relaxed);
                let bound = self.first_ns as f64 * 1e-9 * 2f64.powi(position as i32);
                (if position == last { f64::INFINITY } else { bound }, total)
            })
            .collect()
    }

    pub fn sum_seconds(&self) -> f64 {
        self.sum_ns.load(Relaxed) as f64 * 1e-9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_lands_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::new(Duration::from_millis(1), 3);
        for micros in [0, 1000, 1001, 2000, 4000, 4001, 1_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let counts: Vec<u64> = histogram.cumulative().iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [2, 4, 5, 7]);
        assert_eq!(histogram.cumulative()[2].0, 0.004);
        assert!(histogram.cumulative()[3].0.is_infinite());
        assert!((histogram.sum_seconds() - 1.012002).abs() < 1e-9);
    }
}
