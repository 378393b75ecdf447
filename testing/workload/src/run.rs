//! Sends the steps of a workload to a server: in the order of time, many at once, but never two about one key at a
//! time.
//!
//! Virtual time runs `speed` times as fast as real time, or as fast as the server goes. Whoever is behind is not
//! hurried: the next step waits until one of those outstanding is answered.

use crate::client::{Client, Guarded, Refusal};
use crate::step::{Op, Step, Steps};
use bytes::Bytes;
use harness::Server;
use serde::Serialize;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

const WORKERS: usize = 64;
const CONNECTIONS: usize = 8;
/// Steps that may wait for an answer or behind another step about the same key.
const OUTSTANDING: u32 = 1024;
/// A write that took longer was not refused, but nobody could tell.
const SLOW: Duration = Duration::from_secs(1);
/// Keys that share one lease, as kube-apiserver has it.
const KEYS_PER_LEASE: usize = 1000;

/// When a run ends; whichever comes first.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub virtual_time: Duration,
    pub real_time: Duration,
    pub bytes: u64,
    /// End at the first write refused for lack of space.
    pub at_refusal: bool,
}

#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Virtual seconds per real second; 0: as fast as the server answers.
    pub speed: f64,
    /// Real time to live of what expires. Leases are shared for a sixtieth of it.
    pub time_to_live: Duration,
}

/// What became of the steps.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Tally {
    pub writes: u64,
    pub bytes: u64,
    pub seconds: f64,
    pub virtual_seconds: f64,
    /// Refused with NOSPACE.
    pub refused: u64,
    pub over_budget: u64,
    pub failed: u64,
    /// What the first failure said.
    pub failure: Option<String>,
    /// Writes that took longer than a second.
    pub slow: u64,
    /// Updates that met another revision than the one last written; they are not repeated.
    pub conflicts: u64,
    /// Updates and deletes of keys whose creation was refused.
    pub skipped: u64,
    pub compactions: u64,
    pub compactions_refused: u64,
    /// How long each wait for keys to go took.
    pub gone_after_seconds: Vec<f64>,
    #[serde(skip)]
    pub latencies_ms: Vec<f32>,
    /// When each of them began.
    #[serde(skip)]
    pub began: Vec<Instant>,
}

impl Tally {
    fn refusal(&mut self, refusal: Refusal) {
        match refusal {
            Refusal::NoSpace => self.refused += 1,
            Refusal::OverBudget => self.over_budget += 1,
            Refusal::Failed(text) => {
                self.failed += 1;
                self.failure.get_or_insert(text);
            }
        }
    }

    fn merge(&mut self, mut other: Tally) {
        self.refused += other.refused;
        self.over_budget += other.over_budget;
        self.failed += other.failed;
        self.failure = self.failure.take().or(other.failure);
        self.slow += other.slow;
        self.conflicts += other.conflicts;
        self.skipped += other.skipped;
        self.writes += other.writes;
        self.latencies_ms.append(&mut other.latencies_ms);
        self.began.append(&mut other.began);
    }
}

struct Job {
    op: Op,
    lease: i64,
    /// Given back when the step is answered.
    _permit: OwnedSemaphorePermit,
}

/// Writes all of `ops` and waits for the answers; panics if one is refused, because then nothing later means anything.
pub async fn fill(server: &Server, ops: impl Iterator<Item = Op> + Send + 'static) -> Tally {
    let steps: Steps = Box::new(ops.map(|op| Step { at: Duration::ZERO, op }));
    let pace = Pace { speed: 0.0, time_to_live: Duration::from_secs(3600) };
    let tally = run(server, steps, pace, UNLIMITED).await;
    assert_eq!((tally.refused, tally.failed), (0, 0), "filling failed: {:?}", tally.failure);
    tally
}

pub const UNLIMITED: Limits =
    Limits { virtual_time: Duration::MAX, real_time: Duration::MAX, bytes: u64::MAX, at_refusal: false };

pub async fn run(server: &Server, steps: Steps, pace: Pace, limits: Limits) -> Tally {
    let channels = server.channels(CONNECTIONS).await;
    let refused = Arc::new(AtomicBool::new(false));
    let workers: Vec<(UnboundedSender<Job>, JoinHandle<Tally>)> = (0..WORKERS)
        .map(|worker| {
            let (sender, jobs) = unbounded_channel();
            let client = Client::new(channels[worker % CONNECTIONS].clone());
            (sender, tokio::spawn(work(client, jobs, refused.clone())))
        })
        .collect();
    let (senders, tasks): (Vec<_>, Vec<_>) = workers.into_iter().unzip();
    let mut dispatcher = Dispatcher {
        client: Client::new(server.channel().await),
        senders,
        outstanding: Arc::new(Semaphore::new(OUTSTANDING as usize)),
        pace,
        lease: Lease::default(),
        rounds: 0,
        remembered: 0,
        tally: Tally::default(),
    };
    let started = Instant::now();
    for step in steps {
        let stop = limits.at_refusal && refused.load(Ordering::Relaxed);
        let over = step.at >= limits.virtual_time || started.elapsed() >= limits.real_time;
        if stop || over || dispatcher.tally.bytes >= limits.bytes {
            break;
        }
        if pace.speed > 0.0 {
            tokio::time::sleep_until((started + step.at.div_f64(pace.speed)).into()).await;
        }
        dispatcher.tally.virtual_seconds = step.at.as_secs_f64();
        dispatcher.step(step.op).await;
    }
    let Dispatcher { senders, mut tally, .. } = dispatcher;
    drop(senders);
    for task in tasks {
        tally.merge(task.await.expect("a worker does not panic"));
    }
    tally.seconds = started.elapsed().as_secs_f64();
    tally
}

#[derive(Default)]
struct Lease {
    id: i64,
    keys: usize,
    granted: Option<Instant>,
}

struct Dispatcher {
    client: Client,
    senders: Vec<UnboundedSender<Job>>,
    outstanding: Arc<Semaphore>,
    pace: Pace,
    lease: Lease,
    rounds: i64,
    remembered: i64,
    tally: Tally,
}

impl Dispatcher {
    async fn step(&mut self, op: Op) {
        self.tally.bytes += op.bytes();
        let (key, expires) = match &op {
            Op::Create { key, expires, .. } => (key, *expires),
            Op::Update { key, .. } | Op::Delete { key } => (key, false),
            _ => return self.alone(op).await,
        };
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let worker = (hasher.finish() % WORKERS as u64) as usize;
        let lease = match self.lease_for(expires).await {
            Ok(lease) => lease,
            Err(refusal) => return self.tally.refusal(refusal),
        };
        let permit = self.outstanding.clone().acquire_owned().await.expect("the semaphore is never closed");
        self.senders[worker].send(Job { op, lease, _permit: permit }).expect("workers live as long as their senders");
    }

    /// The lease that keys of this moment share.
    async fn lease_for(&mut self, expires: bool) -> Result<i64, Refusal> {
        if !expires {
            return Ok(0);
        }
        let shared_for = self.pace.time_to_live / 60;
        let is_fresh = self.lease.granted.is_some_and(|granted| granted.elapsed() < shared_for);
        if !is_fresh || self.lease.keys >= KEYS_PER_LEASE {
            let id = self.client.grant(self.pace.time_to_live.as_secs().max(1) as i64).await?;
            self.lease = Lease { id, keys: 0, granted: Some(Instant::now()) };
        }
        self.lease.keys += 1;
        Ok(self.lease.id)
    }

    /// A step that is not about one key. All but the API server's round wait for what is outstanding.
    async fn alone(&mut self, op: Op) {
        let done = match op {
            Op::CompactRound => self.compact_round().await,
            Op::Rest(time) => {
                self.settle().await;
                tokio::time::sleep(time).await;
                Ok(())
            }
            Op::CompactAll => {
                self.settle().await;
                self.compact_all().await
            }
            Op::DeletePrefix { prefix } => {
                self.settle().await;
                self.tally.writes += 1;
                self.client.delete_prefix(&prefix).await.map(|_| ())
            }
            Op::AwaitGone { prefix, within } => {
                self.settle().await;
                self.await_gone(&prefix, within).await
            }
            Op::Create { .. } | Op::Update { .. } | Op::Delete { .. } => Ok(()),
        };
        if let Err(refusal) = done {
            self.tally.refusal(refusal);
        }
    }

    /// Waits until every step sent so far is answered.
    async fn settle(&self) {
        let all = self.outstanding.acquire_many(OUTSTANDING).await;
        drop(all.expect("the semaphore is never closed"));
    }

    async fn compact_all(&mut self) -> Result<(), Refusal> {
        let revision = self.client.revision().await?;
        self.tally.compactions += 1;
        self.client.compact(revision, false).await
    }

    async fn compact_round(&mut self) -> Result<(), Refusal> {
        let claimed = match self.client.claim_round(self.rounds, self.remembered).await {
            Ok(Some(revision)) => revision,
            Ok(None) => return Err(Refusal::Failed("compact_rev_key was written by somebody else".to_owned())),
            Err(refusal) => {
                self.tally.compactions_refused += 1;
                return Err(refusal);
            }
        };
        self.rounds += 1;
        if self.remembered > 0 {
            self.client.compact(self.remembered, false).await?;
            self.tally.compactions += 1;
        }
        self.remembered = claimed;
        Ok(())
    }

    async fn await_gone(&mut self, prefix: &Bytes, within: Duration) -> Result<(), Refusal> {
        let started = Instant::now();
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while started.elapsed() < within {
            ticks.tick().await;
            if self.client.count(prefix).await? == 0 {
                self.tally.gone_after_seconds.push(started.elapsed().as_secs_f64());
                return Ok(());
            }
        }
        Err(Refusal::Failed(format!("keys below {prefix:?} are still there after {within:?}")))
    }
}

/// Does the steps about some of the keys, one at a time.
async fn work(mut client: Client, mut jobs: UnboundedReceiver<Job>, refused: Arc<AtomicBool>) -> Tally {
    let (mut tally, mut revisions) = (Tally::default(), HashMap::<Bytes, i64>::new());
    while let Some(job) = jobs.recv().await {
        let started = Instant::now();
        let Some(answer) = send(&mut client, &mut revisions, job.op, job.lease).await else {
            tally.skipped += 1;
            continue;
        };
        tally.writes += 1;
        tally.slow += u64::from(started.elapsed() > SLOW);
        tally.latencies_ms.push(started.elapsed().as_secs_f32() * 1e3);
        tally.began.push(started);
        match answer {
            Ok(Guarded::Done(_)) => {}
            Ok(Guarded::Conflict(_)) => tally.conflicts += 1,
            Err(refusal) => {
                refused.fetch_or(refusal == Refusal::NoSpace, Ordering::Relaxed);
                tally.refusal(refusal);
            }
        }
    }
    tally
}

/// None if the key is not there because its creation was refused.
async fn send(
    client: &mut Client,
    revisions: &mut HashMap<Bytes, i64>,
    op: Op,
    lease: i64,
) -> Option<Result<Guarded, Refusal>> {
    let (key, answer) = match op {
        Op::Create { key, value, expires } => {
            let answer = client.put_if(key.clone(), 0, value, lease).await;
            if expires {
                return Some(answer);
            }
            (key, answer)
        }
        Op::Update { key, value } => {
            let at = *revisions.get(&key)?;
            (key.clone(), client.put_if(key, at, value, 0).await)
        }
        Op::Delete { key } => {
            let at = revisions.remove(&key)?;
            let answer = client.delete_if(key.clone(), at).await;
            if answer.is_err() {
                revisions.insert(key, at);
            }
            return Some(answer);
        }
        _ => return None,
    };
    match answer {
        Ok(Guarded::Done(revision) | Guarded::Conflict(revision)) if revision > 0 => {
            revisions.insert(key, revision);
        }
        _ => {}
    }
    Some(answer)
}
