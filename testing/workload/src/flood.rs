//! One prefix floods its budget while a cluster goes on beside it: what do the others see?
//!
//! Two runs of the same load on fresh servers: pods of jobs come and go at a steady pace. In the second, reports are created besides
//! as fast as a controller gone wild would, on a prefix with a budget that is used up soon; every later one is refused. The load's own
//! writes, the probe's and the flood have connections and tasks of their own.

use crate::catalog::Parameters;
use crate::check::Checks;
use crate::churn::{Churn, Reports};
use crate::client::{Client, Refusal};
use crate::measure::Target;
use crate::objects;
use crate::observe::{self, Foreground, quantiles};
use crate::run::{self, Limits, Pace, Tally};
use crate::step::{self, REPORTS};
use harness::Server;
use proto::bowline::space_client::SpaceClient;
use proto::bowline::{Budget, BudgetListRequest, BudgetSetRequest, BudgetState, Limits as BudgetLimits};
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::MissedTickBehavior;

pub const NAME: &str = "flood-over-budget";

/// Creates a second, of all writers of the flood together: twenty times what a controller's client lets through by default.
const CREATES_PER_SECOND: u32 = 1000;
const WRITERS: u32 = 10;
/// Of the flooded prefix; used up within seconds.
const BUDGET_BYTES: u64 = 8 << 20;
/// As etcd's and kube-apiserver's tick, often enough that history does not grow over the run.
const COMPACTION: Duration = Duration::from_secs(300);
/// How often the flooded prefix's usage is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// The load's writes and the probe's calls, in one of the two runs.
#[derive(Debug, Default, Serialize)]
pub struct Others {
    pub tally: Tally,
    pub probe: Foreground,
    pub write_p50_ms: f64,
    pub write_p99_ms: f64,
    pub write_p999_ms: f64,
}

impl Others {
    fn new(mut tally: Tally, probe: Foreground) -> Others {
        let [write_p50_ms, write_p99_ms, write_p999_ms] = quantiles(&mut tally.latencies_ms);
        Others { tally, probe, write_p50_ms, write_p99_ms, write_p999_ms }
    }

    fn errors(&self) -> u64 {
        self.tally.failed + self.tally.refused + self.tally.over_budget + self.probe.errors
    }
}

#[derive(Debug, Default, Serialize)]
pub struct Flood {
    pub created: u64,
    pub refused: u64,
    pub failed: u64,
    /// What the first failure said.
    pub failure: Option<String>,
    pub refusal_p50_ms: f64,
    pub refusal_p99_ms: f64,
    #[serde(skip)]
    refusals_ms: Vec<f32>,
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub seconds: u64,
    pub budget_bytes: u64,
    pub calm: Others,
    pub flooded: Others,
    pub flood: Flood,
    /// Of the flooded prefix, at the worst look.
    pub usage_max: u64,
    pub looks: u64,
    /// What the server counted.
    pub refused_by_server: u64,
}

/// Runs both halves, each `given.seconds` long (10 if unset).
pub async fn flood(target: &Target, given: &Parameters) -> Result<Report, String> {
    let seconds = if given.seconds > 0 { given.seconds } else { 10 };
    let server = prepare(target, given).await?;
    let calm = others(&server, given, seconds).await;
    drop(server);
    let server = prepare(target, given).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for (writer, channel) in (0..WRITERS).zip(server.channels(WRITERS as usize).await) {
        writers.push(tokio::spawn(create_until(Client::new(channel), given.seed, writer, stop.clone())));
    }
    let watcher = tokio::spawn(look_until(SpaceClient::new(server.channel().await), stop.clone()));
    let flooded = others(&server, given, seconds).await;
    stop.store(true, Ordering::Relaxed);
    let mut flood = Flood::default();
    for writer in writers {
        flood.merge(writer.await.map_err(|error| format!("flood: {error}"))?);
    }
    [flood.refusal_p50_ms, flood.refusal_p99_ms, _] = quantiles(&mut flood.refusals_ms);
    let seen = watcher.await.map_err(|error| format!("look at the budget: {error}"))??;
    let (usage_max, looks, refused_by_server) = (seen.usage_max, seen.looks, seen.refused);
    Ok(Report { seconds, budget_bytes: BUDGET_BYTES, calm, flooded, flood, usage_max, looks, refused_by_server })
}

/// A server with a cluster in it and a budget on the prefix of the reports, which the load does not touch.
async fn prepare(target: &Target, given: &Parameters) -> Result<Server, String> {
    let server = target.start(0, &[]).await;
    run::fill(&server, step::prefill(given.seed, given.scale)).await;
    let hard = BudgetLimits { bytes: Some(BUDGET_BYTES), ..BudgetLimits::default() };
    let prefix = REPORTS.trim_end_matches('/');
    let budget = Budget { prefix: prefix.into(), soft: None, hard: Some(hard) };
    let mut space = SpaceClient::new(server.channel().await);
    let set = space.budget_set(BudgetSetRequest { budget: Some(budget) }).await;
    set.map_err(|status| format!("set the budget of {prefix}: {status}"))?;
    Ok(server)
}

async fn others(server: &Server, given: &Parameters, seconds: u64) -> Others {
    let churn = step::with_compaction(Box::new(Churn::new(given.seed, given.scale, Reports::None)), COMPACTION);
    let speed = if given.speed > 0.0 { given.speed } else { 10.0 };
    let pace = Pace { speed, time_to_live: Duration::from_secs(60) };
    let probe = observe::probe(server);
    let tally =
        run::run(server, churn, pace, Limits { real_time: Duration::from_secs(seconds), ..run::UNLIMITED }).await;
    Others::new(tally, probe.stop())
}

async fn create_until(mut client: Client, seed: u64, writer: u32, stop: Arc<AtomicBool>) -> Flood {
    let mut seen = Flood::default();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) * WRITERS / CREATES_PER_SECOND);
    // Late creates are not made up for: a flood that waited for the server would come as bursts.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for number in 0u64.. {
        ticks.tick().await;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = step::identity(seed, 9 + u64::from(writer), number, Duration::ZERO);
        let key = step::uid_key(REPORTS, &id, "");
        let began = std::time::Instant::now();
        match client.put_if(key, 0, objects::ephemeral_report(&id), 0).await {
            Ok(_) => seen.created += 1,
            Err(Refusal::OverBudget) => {
                seen.refused += 1;
                seen.refusals_ms.push(began.elapsed().as_secs_f32() * 1e3);
            }
            Err(other) => {
                seen.failed += 1;
                seen.failure.get_or_insert_with(|| format!("{other:?}"));
            }
        }
    }
    seen
}

impl Flood {
    fn merge(&mut self, mut other: Flood) {
        self.created += other.created;
        self.refused += other.refused;
        self.failed += other.failed;
        self.failure = self.failure.take().or(other.failure);
        self.refusals_ms.append(&mut other.refusals_ms);
    }
}

#[derive(Default)]
struct Seen {
    usage_max: u64,
    looks: u64,
    refused: u64,
}

async fn look_until(mut space: SpaceClient<tonic::transport::Channel>, stop: Arc<AtomicBool>) -> Result<Seen, String> {
    let mut seen = Seen::default();
    let mut ticks = tokio::time::interval(LOOK_INTERVAL);
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let listed =
            space.budget_list(BudgetListRequest {}).await.map_err(|status| format!("list budgets: {status}"))?;
        for BudgetState { bytes, refused, .. } in listed.into_inner().budgets {
            seen.usage_max = seen.usage_max.max(bytes);
            seen.refused = seen.refused.max(refused);
            seen.looks += 1;
        }
    }
    Ok(seen)
}

impl Report {
    /// Of the others' p99 with the flood to that without; the load's writes, the probe's puts and its gets.
    pub fn ratios(&self) -> [f64; 3] {
        let ratio = |of: fn(&Others) -> f64| of(&self.flooded) / of(&self.calm).max(f64::MIN_POSITIVE);
        [
            ratio(|others| others.write_p99_ms),
            ratio(|others| others.probe.put_p99_ms),
            ratio(|others| others.probe.get_p99_ms),
        ]
    }

    /// What must hold on any machine: nobody else is refused, and the budget is never passed. Of latency only that nobody starves: how
    /// much the flood costs is measured on a quiet machine, see `docs/performance.md`.
    pub fn judge(&self, checks: &mut Checks) {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (calm, flooded) = (&self.calm, &self.flooded);
        checks.that(calm.errors() == 0, "no errors without the flood", text(&calm.tally.failure));
        let seen = format!("{} {} {}", flooded.errors(), text(&flooded.tally.failure), text(&flooded.probe.error));
        checks.that(flooded.errors() == 0, "no errors on other prefixes", seen);
        checks.that(self.flood.refused > 0, "the flood is refused", self.flood.refused);
        let seen = format!("{} {}", self.flood.failed, text(&self.flood.failure));
        checks.that(self.flood.failed == 0, "by its budget and nothing else", seen);
        let seen = format!("{} of {} bytes at the worst of {} looks", self.usage_max, self.budget_bytes, self.looks);
        checks.that(self.usage_max <= self.budget_bytes && self.looks > 0, "the budget is never passed", seen);
        checks.that(flooded.tally.writes > 0 && flooded.probe.puts > 0, "the others write", flooded.tally.writes);
        let gap = flooded.probe.longest_gap_ms;
        checks.that(gap < 5000.0, "and are not held up for seconds", format!("{gap:.0} ms at most"));
    }

    pub fn text(&self) -> String {
        let Report { seconds, flood, .. } = self;
        let [writes, puts, gets] = self.ratios();
        let mut out = format!(
            "\n{NAME}, {seconds} s each without and with it\n  flood: {} created, {} refused (p50 {:.2}, p99 {:.2} ms), {} failed\n",
            flood.created, flood.refused, flood.refusal_p50_ms, flood.refusal_p99_ms, flood.failed
        );
        for (name, others) in [("without", &self.calm), ("with", &self.flooded)] {
            let Others { tally, probe, .. } = others;
            out += &format!(
                "  {name:<8} {} writes at {:.0}/s: p50 {:.2}, p99 {:.2}, p99.9 {:.2} ms; probe put p50 {:.2}, p99 {:.2}, p99.9 {:.2}, get \
                 p99 {:.2} ms; {} errors, longest gap {:.0} ms\n",
                tally.writes,
                tally.writes as f64 / tally.seconds,
                others.write_p50_ms,
                others.write_p99_ms,
                others.write_p999_ms,
                probe.put_p50_ms,
                probe.put_p99_ms,
                probe.put_p999_ms,
                probe.get_p99_ms,
                others.errors(),
                probe.longest_gap_ms,
            );
        }
        out += &format!("  p99 with to without: writes {writes:.2}, probe put {puts:.2}, get {gets:.2}\n");
        out += &format!("  usage at most {} of {} bytes, {} looks\n", self.usage_max, self.budget_bytes, self.looks);
        out
    }

    /// Writes `flood-over-budget.json` into a directory.
    pub fn save(&self, directory: &Path) -> Result<(), String> {
        let json = serde_json::to_string_pretty(self).map_err(|error| format!("write the report as JSON: {error}"))?;
        let path = directory.join(format!("{NAME}.json"));
        std::fs::write(&path, json).map_err(|error| format!("write {}: {error}", path.display()))
    }
}
