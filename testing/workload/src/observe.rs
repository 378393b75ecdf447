//! What everybody else sees while a workload runs: a probe that writes and reads keys of its own at a steady rate, and
//! samples of what the store takes on disk.
//!
//! Both have threads and connections of their own, so that what the load's client does is not taken for the server's
//! doing. The probe's puts are timed from the moment they were due: a stall counts for every put that it held up.

use crate::client::{Client, Refusal};
use harness::{Kind, Server};
use proto::etcdserverpb::StatusResponse;
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;
use tonic::transport::Endpoint;

/// Put and get pairs of the probe.
const PROBES_PER_SECOND: u32 = 50;
const PROBE_KEYS: u64 = 20;
const PROBE_BYTES: usize = 256;

/// Something observed until it is told to stop.
pub struct Observer<T> {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<T>,
}

impl<T: Send + 'static> Observer<T> {
    pub fn start<F, O>(observe: F) -> Observer<T>
    where
        F: FnOnce(Arc<AtomicBool>) -> O + Send + 'static,
        O: Future<Output = T>,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be made").block_on(observe(stopped))
        });
        Observer { stop, thread }
    }

    pub fn stop(self) -> T {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("an observer does not panic")
    }
}

/// What the probe saw.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Foreground {
    pub puts: u64,
    pub put_p50_ms: f64,
    pub put_p99_ms: f64,
    pub put_p999_ms: f64,
    pub get_p50_ms: f64,
    pub get_p99_ms: f64,
    pub get_p999_ms: f64,
    /// Puts and gets that failed for any reason.
    pub errors: u64,
    /// Those of them that NOSPACE refused.
    pub blocked: u64,
    /// What the first error said.
    pub error: Option<String>,
    /// Longest time without an acknowledged put.
    pub longest_gap_ms: f64,
    /// When each put was due, and how long it took.
    #[serde(skip)]
    pub put_samples: Vec<(Instant, f64)>,
    /// When each get began, likewise.
    #[serde(skip)]
    pub get_samples: Vec<(Instant, f64)>,
}

pub fn probe(server: &Server) -> Observer<Foreground> {
    let endpoint = server.endpoint();
    Observer::start(move |stop| probe_until(endpoint, stop))
}

async fn probe_until(endpoint: Endpoint, stop: Arc<AtomicBool>) -> Foreground {
    let mut client = Client::new(endpoint.connect().await.expect("the server accepts connections"));
    let mut seen = Foreground::default();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / PROBES_PER_SECOND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut acknowledged = Instant::now();
    for number in 0u64.. {
        let due = ticks.tick().await.into_std();
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("/registry/configmaps/probe/{:02}", number % PROBE_KEYS);
        let value = vec![b'a' + (number % 26) as u8; PROBE_BYTES];
        match client.put(key.clone().into(), value.into()).await {
            Ok(_) => {
                seen.put_samples.push((due, milliseconds(due.elapsed())));
                seen.longest_gap_ms = seen.longest_gap_ms.max(milliseconds(acknowledged.elapsed()));
                acknowledged = Instant::now();
            }
            Err(refusal) => seen.fail(refusal),
        }
        let began = Instant::now();
        match client.get(key.into()).await {
            Ok(_) => seen.get_samples.push((began, milliseconds(began.elapsed()))),
            Err(refusal) => seen.fail(refusal),
        }
    }
    seen.longest_gap_ms = seen.longest_gap_ms.max(milliseconds(acknowledged.elapsed()));
    let took = |samples: &[(Instant, f64)]| samples.iter().map(|(_, ms)| *ms).collect::<Vec<_>>();
    seen.puts = seen.put_samples.len() as u64;
    [seen.put_p50_ms, seen.put_p99_ms, seen.put_p999_ms] = quantiles(&mut took(&seen.put_samples));
    [seen.get_p50_ms, seen.get_p99_ms, seen.get_p999_ms] = quantiles(&mut took(&seen.get_samples));
    seen
}

impl Foreground {
    fn fail(&mut self, refusal: Refusal) {
        self.errors += 1;
        self.blocked += u64::from(refusal == Refusal::NoSpace);
        self.error.get_or_insert_with(|| format!("{refusal:?}"));
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The values below which 50, 99 and 99.9 % of the samples lie; 0 without samples.
pub fn quantiles<T: Copy + Into<f64>>(samples: &mut [T]) -> [f64; 3] {
    samples.sort_by(|a, b| (*a).into().total_cmp(&(*b).into()));
    let last = samples.len().saturating_sub(1) as f64;
    [0.5, 0.99, 0.999].map(|part| samples.get((last * part).round() as usize).map_or(0.0, |&sample| sample.into()))
}

/// The store at one moment. `physical` is what the server says that its files take: etcd in `Status`, Bowline in its
/// own service. `files` is what they take on disk.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Sample {
    pub seconds: f64,
    pub physical: f64,
    pub retained: f64,
    pub quota: f64,
    pub files: f64,
    /// Written to storage by the process since it began, log and all.
    pub written: f64,
    pub alarm: bool,
}

impl Sample {
    /// How much of its bound the store takes: physical / (1.3 × retained + 64 MiB). The larger of what it says and what
    /// its files take.
    pub fn ratio(&self) -> f64 {
        self.physical.max(self.files) / (1.3 * self.retained + f64::from(64 << 20))
    }
}

/// Samples every `interval`.
pub fn sampler(server: &Server, interval: Duration) -> Observer<Vec<Sample>> {
    let (endpoint, kernel, kind) = (server.endpoint(), server.kernel(), server.kind());
    let store = store_directory(server);
    Observer::start(move |stop| async move {
        let mut client = Client::new(endpoint.connect().await.expect("the server accepts connections"));
        let (mut samples, started) = (Vec::new(), Instant::now());
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while !stop.load(Ordering::Relaxed) {
            ticks.tick().await;
            let Ok(status) = client.status().await else { continue };
            let Ok((physical, retained)) = sizes(&mut client, kind, &status).await else { continue };
            samples.push(Sample {
                seconds: started.elapsed().as_secs_f64(),
                physical,
                retained,
                quota: status.db_size_quota as f64,
                files: directory_bytes(&store) as f64,
                written: kernel.written_bytes(),
                alarm: status.errors.iter().any(|error| error.contains("NOSPACE")),
            });
        }
        samples
    })
}

/// What the store's files take, and of that what is retained, at one moment, as the server says.
async fn sizes(client: &mut Client, kind: Kind, status: &StatusResponse) -> Result<(f64, f64), Refusal> {
    Ok(match kind {
        Kind::Etcd => (status.db_size as f64, status.db_size_in_use as f64),
        Kind::Bowline => {
            let top = client.top().await?;
            (top.physical_bytes as f64, top.retained_bytes as f64)
        }
    })
}

/// Where the values are; the raft log lies elsewhere.
fn store_directory(server: &Server) -> PathBuf {
    let member = server.data_directory().join("member");
    member.join(if server.kind() == Kind::Etcd { "snap" } else { "store" })
}

/// Allocated bytes of the files in a directory. A file that goes meanwhile counts nothing.
fn directory_bytes(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.blocks() * 512).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_sorted_samples() {
        let mut samples: Vec<f64> = (0..=1000).rev().map(f64::from).collect();
        assert_eq!(quantiles(&mut samples), [500.0, 990.0, 999.0]);
        assert_eq!(quantiles::<f64>(&mut []), [0.0; 3]);
    }

    #[test]
    fn the_bound_is_on_the_larger_of_two_truths() {
        let sample = Sample {
            seconds: 0.0,
            physical: 0.0,
            retained: 0.0,
            quota: 0.0,
            files: f64::from(64 << 20),
            written: 0.0,
            alarm: false,
        };
        assert_eq!(sample.ratio(), 1.0);
    }
}
