//! One workload on one fresh server, observed from beginning to end.

use crate::catalog::{Parameters, Workload};
use crate::observe::{probe, sampler};
use crate::report::Report;
use crate::run;
use harness::{Kind, Server};
use std::path::{Path, PathBuf};
use std::time::Duration;

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

/// How long the probe looks at the server before the load.
const IDLE: Duration = Duration::from_secs(3);

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
    let tally = run::run(&server, plan.steps, plan.pace, plan.limits).await;
    let (foreground, samples) = (foreground.stop(), samples.stop());
    let names = (workload.name, target.kind.name());
    Report::new(names, (given.seed, given.scale, quota), (idle, foreground), tally, samples)
}

/// Makes a directory for reports.
pub fn make_directory(path: &Path) -> Result<(), String> {
    std::fs::create_dir_all(path).map_err(|error| format!("make {}: {error}", path.display()))
}
