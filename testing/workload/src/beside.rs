//! The workloads on etcd and on Bowline, one after the other: one plot for each and one table for all, which
//! `docs/performance.md` shows.

use crate::catalog::{Parameters, WORKLOADS};
use crate::measure::{Target, make_directory, measure};
use crate::plot::{self, Line};
use crate::report::{MIB, Report};
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// One workload as it is shown.
struct Run {
    name: &'static str,
    scale: f64,
    /// Virtual seconds per second; 0: as fast as the server answers.
    speed: f64,
    /// Written in all; 0: until `seconds` are over, or the workload ends by itself.
    mib: u64,
    seconds: u64,
    /// 0: the default.
    quota_mib: u64,
}

const RUNS: &[Run] = &[
    Run { name: "churn", scale: 0.36, speed: 60.0, mib: 0, seconds: 60, quota_mib: 256 },
    Run { name: "kyverno", scale: 0.36, speed: 60.0, mib: 0, seconds: 60, quota_mib: 256 },
    Run { name: "pile-up", scale: 0.36, speed: 0.0, mib: 0, seconds: 60, quota_mib: 256 },
    Run { name: "event-storm", scale: 0.1, speed: 0.0, mib: 0, seconds: 0, quota_mib: 0 },
    Run { name: "rewrite", scale: 1.0, speed: 10.0, mib: 0, seconds: 45, quota_mib: 0 },
    Run { name: "overwrite", scale: 0.5, speed: 2.0, mib: 0, seconds: 45, quota_mib: 0 },
    Run { name: "big-values", scale: 0.2, speed: 0.04, mib: 0, seconds: 30, quota_mib: 0 },
    Run { name: "delete-all", scale: 6.0, speed: 0.0, mib: 0, seconds: 0, quota_mib: 0 },
];

const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
const WRITES_MIN: u64 = 1000;

/// Runs those of `only`, or all if it is empty, on every target; writes the plots into `out` and answers the table.
pub async fn beside(targets: &[Target], seed: u64, only: &[String], out: Option<&Path>) -> Result<String, String> {
    if let Some(name) = only.iter().find(|name| RUNS.iter().all(|run| run.name != **name)) {
        let known: Vec<_> = RUNS.iter().map(|run| run.name).collect();
        return Err(format!("no workload {name:?} to compare; there are {}", known.join(", ")));
    }
    let mut table = HEAD.to_owned();
    for run in RUNS.iter().filter(|run| only.is_empty() || only.iter().any(|name| name == run.name)) {
        let workload = WORKLOADS.iter().find(|workload| workload.name == run.name).expect("the catalog has it");
        let given = Parameters { seed, scale: run.scale, speed: run.speed, bytes: run.mib << 20, seconds: run.seconds };
        let mut reports = Vec::new();
        for target in targets {
            let report = measure(target, workload, &given, run.quota_mib << 20, SAMPLE_INTERVAL).await;
            print!("{}", report.text());
            table += &row(&report);
            reports.push(report);
        }
        if let Some(out) = out {
            make_directory(out)?;
            let path = out.join(format!("{}.svg", run.name));
            std::fs::write(&path, svg(&reports)).map_err(|error| format!("write {}: {error}", path.display()))?;
        }
    }
    Ok(table)
}

const HEAD: &str = "\
| workload | server | writes/s | p50, p99, p99.9 ms | probe put p50, p99, p99.9 ms (idle p99.9) | refused | most files, retained MiB | of the bound | written per byte | defrag: s, longest gap ms, MiB |
|---|---|---|---|---|---|---|---|---|---|
";

fn row(report: &Report) -> String {
    let Report { tally, idle, foreground: probe, defrag, .. } = report;
    let [before, after] = defrag.physical(&report.samples).map(|bytes| bytes / MIB);
    // Of a few requests neither a rate nor a quantile says anything.
    let (rate, latencies, amplification) = if tally.writes < WRITES_MIN {
        ("–".to_owned(), "–".to_owned(), "–".to_owned())
    } else {
        let Report { write_p50_ms, write_p99_ms, write_p999_ms, write_amplification, .. } = report;
        (
            format!("{:.0}", tally.writes as f64 / tally.seconds),
            format!("{write_p50_ms:.2}, {write_p99_ms:.1}, {write_p999_ms:.1}"),
            format!("{write_amplification:.1}"),
        )
    };
    let mut out = String::new();
    let _ = writeln!(
        out,
        "| {} | {} | {rate} | {latencies} | {:.2}, {:.1}, {:.1} ({:.1}) | {}{} | {:.0}, {:.0} | {:.2} | {amplification} | {:.2}, {:.0}, {before:.0} to {after:.0} |",
        report.workload,
        report.server,
        probe.put_p50_ms,
        probe.put_p99_ms,
        probe.put_p999_ms,
        idle.put_p999_ms,
        tally.refused + probe.blocked,
        if report.alarm_samples > 0 { ", alarm" } else { "" },
        report.physical_max / MIB,
        report.retained_max / MIB,
        report.ratio_max,
        defrag.seconds,
        defrag.longest_gap_ms,
    );
    out
}

/// Files of each server, and what the last one retained, with its bound.
fn svg(reports: &[Report]) -> String {
    const COLORS: [&str; 3] = ["#c0392b", "#1e8449", "#7d3c98"];
    let name = reports.first().map_or("", |report| report.workload.as_str());
    let mut lines: Vec<Line> = reports
        .iter()
        .zip(COLORS)
        .map(|(report, color)| report.line(format!("{} files", report.server), color, |sample| sample.physical))
        .collect();
    if let Some(last) = reports.last() {
        lines.push(last.line(format!("{} retained", last.server), "#2471a3", |sample| sample.retained));
        lines.push(last.line("1.3 retained + 64".to_owned(), "#999999", |sample| 1.3 * sample.retained + 64.0 * MIB));
        if last.quota > 0 {
            lines.push(last.line("quota".to_owned(), "#b7950b", |sample| sample.quota));
        }
    }
    plot::svg(&format!("{name}: bytes of the files"), &lines)
}
