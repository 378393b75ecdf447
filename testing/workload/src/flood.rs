//! One prefix floods its budget while a cluster goes on beside it: what do the others see?
//!
//! Pods of jobs come and go at a steady pace all the time. Beside them, reports are created as fast as a controller
//! gone wild would, on a prefix with a budget that is used up: every one of them is refused. The flood pauses as often
//! and as long as it flows, so that what the others see with it and without it is seen on the same machine in the same
//! minutes. The load's own writes, the probe's and the flood have connections and tasks of their own.

use crate::catalog::Parameters;
use crate::check::Checks;
use crate::churn::{Churn, Reports};
use crate::client::{Client, Refusal};
use crate::measure::Target;
use crate::objects;
use crate::observe::{self, Foreground, quantiles};
use crate::run::{self, Limits, Pace, Tally};
use crate::step::{self, Op, REPORTS};
use harness::Server;
use proto::bowline::space_client::SpaceClient;
use proto::bowline::{Budget, BudgetListRequest, BudgetSetRequest, BudgetState, Limits as BudgetLimits};
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;

pub const NAME: &str = "flood-over-budget";

/// Creates a second, of all writers of the flood together: twenty times what a controller's client lets through by
/// default.
const CREATES_PER_SECOND: u32 = 1000;
const WRITERS: u32 = 10;
/// Of the flooded prefix; used up before anything is measured.
const BUDGET_BYTES: u64 = 8 << 20;
/// As etcd's and kube-apiserver's tick, often enough that history does not grow over the run.
const COMPACTION: Duration = Duration::from_secs(300);
/// How often the flooded prefix's usage is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Longest time that the flood flows, or pauses, at a stretch.
const STRETCH_MAX: Duration = Duration::from_secs(30);

/// 50, 99 and 99.9 % of the samples lie below; milliseconds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    pub samples: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
}

/// What the others saw while the flood flowed, or paused: the load's writes, the probe's puts and gets.
#[derive(Debug, Default, Serialize)]
pub struct Others {
    pub writes: Latency,
    pub puts: Latency,
    pub gets: Latency,
}

/// When the flood began to flow or to pause.
#[derive(Debug, Clone, Copy)]
struct Turn {
    at: Instant,
    flows: bool,
}

impl Latency {
    /// Of those samples that began while the flood flowed, or while it did not. None counts from before the first turn.
    fn during(flows: bool, turns: &[Turn], samples: impl Iterator<Item = (Instant, f64)>) -> Latency {
        let is_then = |at: Instant| {
            let behind = turns.partition_point(|turn| turn.at <= at);
            behind.checked_sub(1).and_then(|last| turns.get(last)).is_some_and(|turn| turn.flows == flows)
        };
        let mut of: Vec<f64> = samples.filter(|(at, _)| is_then(*at)).map(|(_, ms)| ms).collect();
        let [p50_ms, p99_ms, p999_ms] = quantiles(&mut of);
        Latency { samples: of.len(), p50_ms, p99_ms, p999_ms }
    }
}

impl Others {
    fn during(flows: bool, turns: &[Turn], tally: &Tally, probe: &Foreground) -> Others {
        let writes = tally.began.iter().zip(&tally.latencies_ms).map(|(at, ms)| (*at, f64::from(*ms)));
        Others {
            writes: Latency::during(flows, turns, writes),
            puts: Latency::during(flows, turns, probe.put_samples.iter().copied()),
            gets: Latency::during(flows, turns, probe.get_samples.iter().copied()),
        }
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
    /// The load all the time.
    pub tally: Tally,
    /// The probe all the time.
    pub probe: Foreground,
    pub flood: Flood,
    /// Of the flooded prefix, at the worst look.
    pub usage_max: u64,
    pub looks: u64,
    /// What the server counted.
    pub refused_by_server: u64,
}

/// Runs for `given.seconds` (10 if unset), half of them with the flood.
pub async fn flood(target: &Target, given: &Parameters) -> Result<Report, String> {
    let seconds = if given.seconds > 0 { given.seconds } else { 10 };
    let server = prepare(target, given).await?;
    let (stop, flows) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let mut writers = Vec::new();
    for (writer, channel) in (0..WRITERS).zip(server.channels(WRITERS as usize).await) {
        let (stop, flows) = (stop.clone(), flows.clone());
        writers.push(tokio::spawn(create_until(Client::new(channel), given.seed, writer, flows, stop)));
    }
    let over = Arc::new(AtomicBool::new(false));
    let watcher = tokio::spawn(look_until(SpaceClient::new(server.channel().await), over.clone()));
    let stretch = (Duration::from_secs(seconds) / 6).min(STRETCH_MAX);
    let turner = tokio::spawn(turn_until(stretch, flows, stop.clone()));
    let (tally, probe) = others(&server, given, seconds).await;
    stop.store(true, Ordering::Relaxed);
    let turns = turner.await.map_err(|error| format!("turn the flood: {error}"))?;
    let mut flood = Flood::default();
    for writer in writers {
        flood.merge(writer.await.map_err(|error| format!("flood: {error}"))?);
    }
    // After the last refusal there is one more look.
    over.store(true, Ordering::Relaxed);
    [flood.refusal_p50_ms, flood.refusal_p99_ms, _] = quantiles(&mut flood.refusals_ms);
    let seen = watcher.await.map_err(|error| format!("look at the budget: {error}"))??;
    Ok(Report {
        seconds,
        budget_bytes: BUDGET_BYTES,
        calm: Others::during(false, &turns, &tally, &probe),
        flooded: Others::during(true, &turns, &tally, &probe),
        tally,
        probe,
        flood,
        usage_max: seen.usage_max,
        looks: seen.looks,
        refused_by_server: seen.refused,
    })
}

/// Lets the flood flow and pause in turns; answers when it did.
async fn turn_until(stretch: Duration, flows: Arc<AtomicBool>, stop: Arc<AtomicBool>) -> Vec<Turn> {
    let mut turns: Vec<Turn> = Vec::new();
    let mut ticks = tokio::time::interval(stretch);
    loop {
        ticks.tick().await;
        if stop.load(Ordering::Relaxed) {
            return turns;
        }
        let turn = Turn { at: Instant::now(), flows: turns.last().is_none_or(|last| !last.flows) };
        flows.store(turn.flows, Ordering::Relaxed);
        turns.push(turn);
    }
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
    use_up(&server, given.seed).await?;
    Ok(server)
}

/// Creates reports until the budget refuses them: what is measured later is a flood that is over it.
async fn use_up(server: &Server, seed: u64) -> Result<(), String> {
    let creates = (0u64..).map(move |number| {
        let id = step::identity(seed, 8, number, Duration::ZERO);
        let (key, value) = (step::uid_key(REPORTS, &id, ""), objects::ephemeral_report(&id));
        Op::Create { key, value, expires: false }
    });
    let pace = Pace { speed: 0.0, time_to_live: Duration::from_secs(60) };
    let limits = Limits { bytes: BUDGET_BYTES * 2, ..run::UNLIMITED };
    let tally = run::run(server, step::paced(1000.0, creates), pace, limits).await;
    if tally.over_budget == 0 || tally.failed + tally.refused > 0 {
        return Err(format!("use up the budget: {tally:?}"));
    }
    Ok(())
}

async fn others(server: &Server, given: &Parameters, seconds: u64) -> (Tally, Foreground) {
    let churn = step::with_compaction(Box::new(Churn::new(given.seed, given.scale, Reports::None)), COMPACTION);
    let speed = if given.speed > 0.0 { given.speed } else { 10.0 };
    let pace = Pace { speed, time_to_live: Duration::from_secs(60) };
    let probe = observe::probe(server);
    let tally =
        run::run(server, churn, pace, Limits { real_time: Duration::from_secs(seconds), ..run::UNLIMITED }).await;
    (tally, probe.stop())
}

async fn create_until(
    mut client: Client,
    seed: u64,
    writer: u32,
    flows: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
) -> Flood {
    let mut seen = Flood::default();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) * WRITERS / CREATES_PER_SECOND);
    // Late creates are not made up for: a flood that waited for the server would come as bursts.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for number in 0u64.. {
        ticks.tick().await;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if !flows.load(Ordering::Relaxed) {
            continue;
        }
        let id = step::identity(seed, 9 + u64::from(writer), number, Duration::ZERO);
        let key = step::uid_key(REPORTS, &id, "");
        let began = Instant::now();
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
    loop {
        ticks.tick().await;
        let is_last = stop.load(Ordering::Relaxed);
        let listed =
            space.budget_list(BudgetListRequest {}).await.map_err(|status| format!("list budgets: {status}"))?;
        for BudgetState { bytes, refused, .. } in listed.into_inner().budgets {
            seen.usage_max = seen.usage_max.max(bytes);
            seen.refused = seen.refused.max(refused);
            seen.looks += 1;
        }
        if is_last {
            return Ok(seen);
        }
    }
}

impl Report {
    /// Of the others' p99 with the flood to that without; the load's writes, the probe's puts and its gets.
    pub fn ratios(&self) -> [f64; 3] {
        let (calm, flooded) = (&self.calm, &self.flooded);
        [(flooded.writes, calm.writes), (flooded.puts, calm.puts), (flooded.gets, calm.gets)]
            .map(|(flooded, calm)| flooded.p99_ms / calm.p99_ms.max(f64::MIN_POSITIVE))
    }

    /// What must hold on any machine: nobody else is refused, and the budget is never passed. Of latency only that
    /// nobody starves: how much the flood costs is measured on a quiet machine, see `docs/performance.md`.
    pub fn judge(&self, checks: &mut Checks) {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let Report { tally, probe, flood, .. } = self;
        let errors = tally.failed + tally.refused + tally.over_budget + probe.errors;
        let seen = format!("{errors} {} {}", text(&tally.failure), text(&probe.error));
        checks.that(errors == 0, "no errors on other prefixes", seen);
        checks.that(flood.refused > 0, "the flood is refused", flood.refused);
        let seen = format!("{} {}", flood.failed, text(&flood.failure));
        checks.that(flood.failed == 0, "by its budget and nothing else", seen);
        checks.that(self.refused_by_server >= flood.refused, "the server counts refusals", self.refused_by_server);
        let seen = format!("{} of {} bytes at the worst of {} looks", self.usage_max, self.budget_bytes, self.looks);
        checks.that(self.usage_max <= self.budget_bytes && self.looks > 0, "the budget is never passed", seen);
        let writes = self.flooded.writes.samples;
        checks.that(writes > 0 && self.flooded.puts.samples > 0, "the others write", writes);
        let gap = probe.longest_gap_ms;
        checks.that(gap < 5000.0, "and are not held up for seconds", format!("{gap:.0} ms at most"));
    }

    pub fn text(&self) -> String {
        let Report { seconds, flood, tally, probe, .. } = self;
        let [writes, puts, gets] = self.ratios();
        let mut out = format!(
            "\n{NAME}, {seconds} s, the flood half of them\n  flood: {} created, {} refused (p50 {:.2}, p99 {:.2} ms), {} failed\n",
            flood.created, flood.refused, flood.refusal_p50_ms, flood.refusal_p99_ms, flood.failed
        );
        for (when, others) in [("without", &self.calm), ("with", &self.flooded)] {
            for (what, latency) in [("writes", others.writes), ("probe puts", others.puts), ("probe gets", others.gets)]
            {
                let Latency { samples, p50_ms, p99_ms, p999_ms } = latency;
                out += &format!(
                    "  {when:<8} {what:<11} {samples:>7}: p50 {p50_ms:.2}, p99 {p99_ms:.2}, p99.9 {p999_ms:.2} ms\n"
                );
            }
        }
        out += &format!("  p99 with to without: writes {writes:.2}, probe puts {puts:.2}, probe gets {gets:.2}\n");
        out += &format!(
            "  {} writes at {:.0}/s, {} errors, longest gap {:.0} ms; usage at most {} of {} bytes\n",
            tally.writes,
            tally.writes as f64 / tally.seconds,
            tally.failed + tally.refused + tally.over_budget + probe.errors,
            probe.longest_gap_ms,
            self.usage_max,
            self.budget_bytes
        );
        out
    }

    /// Writes `flood-over-budget.json` into a directory.
    pub fn save(&self, directory: &Path) -> Result<(), String> {
        let json = serde_json::to_string_pretty(self).map_err(|error| format!("write the report as JSON: {error}"))?;
        let path = directory.join(format!("{NAME}.json"));
        std::fs::write(&path, json).map_err(|error| format!("write {}: {error}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_belong_to_the_turn_in_which_they_began() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let turns = [(2, true), (4, false), (6, true)].map(|(second, flows)| Turn { at: at(second), flows });
        let samples = || (0..8).map(|second| (at(second), second as f64));
        let with = Latency::during(true, &turns, samples());
        assert_eq!((with.samples, with.p50_ms, with.p99_ms), (4, 6.0, 7.0), "2, 3, 6, 7");
        let without = Latency::during(false, &turns, samples());
        assert_eq!((without.samples, without.p99_ms), (2, 5.0), "4, 5");
        assert_eq!(Latency::during(true, &[], samples()), Latency::default());
    }
}
