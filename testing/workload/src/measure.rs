//! One workload on one fresh server, observed from beginning to end.

use crate::catalog::{Parameters, Workload};
use crate::client::Client;
use crate::observe::{Observer, Sample, probe, sampler};
use crate::readers::readers;
use crate::report::Report;
use crate::run;
use harness::{Kind, Server};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A server to run against.
#[derive(Debug, Clone)]
pub struct Target {
    pub kind: Kind,
    pub binary: PathBuf,
    /// Where its data goes.
    pub directory: PathBuf,
}

impl Target {
    /// Starts it empty, with a quota (0: the default) and flags of its own.
    pub async fn start(&self, quota: u64, flags: &[&str]) -> Server {
        let quota = quota.to_string();
        let mut all = vec!["--log-level", "warn", "--quota-backend-bytes", &quota];
        all.extend_from_slice(flags);
        let mut server = Server::new(self.kind, &self.binary, &self.directory, &all);
        server.start().await;
        server
    }
}

/// How long the probe looks at the server before the load: 500 puts, so that the worst of them is near a p99.9.
const IDLE: Duration = Duration::from_secs(10);

/// Before and after a defragmentation: the probe is under way, and the files are seen as they are.
pub const MARGIN: Duration = Duration::from_secs(1);

/// What a runbook's `etcdctl defrag` did when the load was over.
#[derive(Debug, Default, Serialize)]
pub struct Defrag {
    pub seconds: f64,
    /// Why it failed, if it did.
    pub failure: Option<String>,
    /// Longest time without an acknowledged put of the probe, a second before and after it included.
    pub longest_gap_ms: f64,
    /// Puts and gets of the probe that failed.
    pub errors: u64,
    /// Seconds of the sampler when it began.
    pub began: f64,
}

pub async fn measure(
    target: &Target,
    workload: &Workload,
    given: &Parameters,
    quota: u64,
    interval: Duration,
) -> Report {
    let server = target.start(quota, &[]).await;
    let plan = (workload.plan)(given);
    run::fill(&server, plan.fill).await;
    let idle = probe(&server);
    tokio::time::sleep(IDLE).await;
    let idle = idle.stop();
    let (foreground, samples) = (probe(&server), sampler(&server, interval));
    let load_began = Instant::now();
    let readers = workload.readers.then(|| readers(&server));
    let tally = run::run(&server, plan.steps, plan.pace, plan.limits).await;
    let foreground = foreground.stop();
    let readers = readers.map(Observer::stop);
    let defrag = defragment(&server, load_began).await;
    let samples = samples.stop();
    let names = (workload.name, target.kind.name());
    Report::new(names, (given.seed, given.scale, quota), (idle, foreground, readers), tally, samples, defrag)
}

async fn defragment(server: &Server, load_began: Instant) -> Defrag {
    let mut client = Client::new(server.channel().await);
    let probe = probe(server);
    tokio::time::sleep(MARGIN).await;
    let (began, started) = (load_began.elapsed().as_secs_f64(), Instant::now());
    let done = client.defragment().await;
    let seconds = started.elapsed().as_secs_f64();
    tokio::time::sleep(MARGIN).await;
    let seen = probe.stop();
    Defrag {
        seconds,
        failure: done.err().map(|refusal| format!("{refusal:?}")),
        longest_gap_ms: seen.longest_gap_ms,
        errors: seen.errors,
        began,
    }
}

impl Defrag {
    /// Physical bytes just before it, and the last ones after it.
    pub fn physical(&self, samples: &[Sample]) -> [f64; 2] {
        let before = samples.iter().rev().find(|sample| sample.seconds <= self.began).or(samples.first());
        [before, samples.last()].map(|sample| sample.map_or(0.0, |sample| sample.physical))
    }
}

/// Makes a directory for reports.
pub fn make_directory(path: &Path) -> Result<(), String> {
    std::fs::create_dir_all(path).map_err(|error| format!("make {}: {error}", path.display()))
}
