//! What a run found: as text for people, JSON for machines, SVG for the eye.

use crate::check::Checks;
use crate::measure::Defrag;
use crate::observe::{Foreground, Sample, quantiles};
use crate::plot::{self, Line};
use crate::readers::Seen;
use crate::run::Tally;
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;

pub const MIB: f64 = 1_048_576.0;

#[derive(Debug, Serialize)]
pub struct Report {
    pub workload: String,
    pub server: &'static str,
    pub seed: u64,
    pub scale: f64,
    pub quota: u64,
    /// The probe before the load began.
    pub idle: Foreground,
    pub foreground: Foreground,
    /// An API server's reads beside the load, where the workload has them.
    pub readers: Option<Seen>,
    pub tally: Tally,
    pub write_p50_ms: f64,
    pub write_p99_ms: f64,
    pub write_p999_ms: f64,
    /// Bytes written to storage by the process, raft log included, per byte of keys and values sent.
    pub write_amplification: f64,
    pub physical_max: f64,
    pub retained_max: f64,
    /// Of what the store takes to 1.3 × retained + 64 MiB, at the worst sample.
    pub ratio_max: f64,
    pub alarm_samples: usize,
    /// After the load.
    pub defrag: Defrag,
    pub samples: Vec<Sample>,
}

impl Report {
    pub fn new(
        (workload, server): (&str, &'static str),
        (seed, scale, quota): (u64, f64, u64),
        (idle, foreground, readers): (Foreground, Foreground, Option<Seen>),
        mut tally: Tally,
        samples: Vec<Sample>,
        defrag: Defrag,
    ) -> Report {
        let largest = |of: fn(&Sample) -> f64| samples.iter().map(of).fold(0.0, f64::max);
        let [write_p50_ms, write_p99_ms, write_p999_ms] = quantiles(&mut tally.latencies_ms);
        let written =
            samples.last().map_or(0.0, |last| last.written) - samples.first().map_or(0.0, |first| first.written);
        Report {
            workload: workload.to_owned(),
            server,
            seed,
            scale,
            quota,
            idle,
            foreground,
            readers,
            write_p50_ms,
            write_p99_ms,
            write_p999_ms,
            write_amplification: written / (tally.bytes.max(1) as f64),
            physical_max: largest(|sample| sample.physical.max(sample.files)),
            retained_max: largest(|sample| sample.retained),
            ratio_max: largest(Sample::ratio),
            alarm_samples: samples.iter().filter(|sample| sample.alarm).count(),
            tally,
            samples,
            defrag,
        }
    }

    /// What must hold of every workload that is not meant to fill the quota.
    pub fn judge(&self, checks: &mut Checks) {
        let (tally, probe) = (&self.tally, &self.foreground);
        let bound = format!("{:.2} at the worst of {} samples", self.ratio_max, self.samples.len());
        checks.that(self.ratio_max <= 1.0, "physical <= 1.3 x retained + 64 MiB", bound);
        checks.that(tally.refused + probe.blocked == 0, "no write is blocked", tally.refused + probe.blocked);
        checks.that(tally.failed + probe.errors == 0, "nothing fails", tally.failed + probe.errors);
        checks.that(self.alarm_samples == 0, "no alarm", self.alarm_samples);
        if let Some(readers) = &self.readers {
            let Seen { missed, canceled, revisions, failed, failure, .. } = readers;
            let seen = format!("{missed} of {revisions} missed, {canceled} watches ended");
            checks.that(missed + canceled == 0 && *revisions > 0, "watches see every revision", seen);
            let seen = format!("{failed} {}", failure.clone().unwrap_or_default());
            checks.that(*failed == 0 && readers.pages > 0, "no read fails", seen);
        }
        let failure = self.defrag.failure.clone().unwrap_or_default();
        checks.that(failure.is_empty() && self.defrag.errors == 0, "a defragmentation harms nothing", failure);
    }

    pub fn text(&self) -> String {
        let (tally, probe, idle) = (&self.tally, &self.foreground, &self.idle);
        let mut out = format!("\n{} on {}, seed {}, scale {}\n", self.workload, self.server, self.seed, self.scale);
        let mut row = |name: &str, value: String| {
            let _ = writeln!(out, "  {name:<28} {value}");
        };
        row(
            "writes",
            format!(
                "{} in {:.1} s ({:.0}/s), {:.0} MiB",
                tally.writes,
                tally.seconds,
                tally.writes as f64 / tally.seconds,
                tally.bytes as f64 / MIB
            ),
        );
        row(
            "virtual time",
            format!(
                "{:.0} s, {} compactions, {} refused",
                tally.virtual_seconds, tally.compactions, tally.compactions_refused
            ),
        );
        row(
            "blocked, over budget, failed",
            format!(
                "{}, {}, {}{}",
                tally.refused + probe.blocked,
                tally.over_budget,
                tally.failed,
                tally.failure.as_ref().map_or(String::new(), |text| format!(" ({text})"))
            ),
        );
        row("slow (> 1 s), conflicts", format!("{}, {}", tally.slow, tally.conflicts));
        row(
            "write p50, p99, p99.9",
            format!("{:.2}, {:.2}, {:.2} ms", self.write_p50_ms, self.write_p99_ms, self.write_p999_ms),
        );
        row(
            "probe put p50, p99, p99.9",
            format!(
                "{:.2}, {:.2}, {:.2} ms (idle {:.2}, {:.2}, {:.2})",
                probe.put_p50_ms,
                probe.put_p99_ms,
                probe.put_p999_ms,
                idle.put_p50_ms,
                idle.put_p99_ms,
                idle.put_p999_ms
            ),
        );
        row(
            "probe get p50, p99, p99.9",
            format!(
                "{:.2}, {:.2}, {:.2} ms (idle {:.2}, {:.2}, {:.2})",
                probe.get_p50_ms,
                probe.get_p99_ms,
                probe.get_p999_ms,
                idle.get_p50_ms,
                idle.get_p99_ms,
                idle.get_p999_ms
            ),
        );
        row(
            "probe errors, longest gap",
            format!(
                "{}, {:.0} ms{}",
                probe.errors,
                probe.longest_gap_ms,
                probe.error.as_ref().map_or(String::new(), |text| format!(" ({text})"))
            ),
        );
        if let Some(readers) = &self.readers {
            row(
                "watches",
                format!(
                    "{} events; {} revisions, {} missed, {} watches ended",
                    readers.events, readers.revisions, readers.missed, readers.canceled
                ),
            );
            row(
                "pages of lists, reads",
                format!(
                    "{} p50 {:.2}, p99 {:.2} ms, {} lists expired; {} p50 {:.2}, p99 {:.2} ms; {} failed{}",
                    readers.pages,
                    readers.page_p50_ms,
                    readers.page_p99_ms,
                    readers.lists_expired,
                    readers.reads,
                    readers.read_p50_ms,
                    readers.read_p99_ms,
                    readers.failed,
                    readers.failure.as_ref().map_or(String::new(), |text| format!(" ({text})"))
                ),
            );
        }
        row(
            "physical, retained at most",
            format!("{:.1}, {:.1} MiB", self.physical_max / MIB, self.retained_max / MIB),
        );
        row(
            "of 1.3 x retained + 64 MiB",
            format!("{:.2} at the worst of {} samples", self.ratio_max, self.samples.len()),
        );
        row("alarm", format!("up in {} samples", self.alarm_samples));
        row("write amplification", format!("{:.2}", self.write_amplification));
        let [before, after] = self.defrag.physical(&self.samples).map(|bytes| bytes / MIB);
        row(
            "defrag after the load",
            format!(
                "{:.3} s, longest gap {:.0} ms, {} errors, {before:.0} to {after:.0} MiB{}",
                self.defrag.seconds,
                self.defrag.longest_gap_ms,
                self.defrag.errors,
                self.defrag.failure.as_ref().map_or(String::new(), |text| format!(" ({text})"))
            ),
        );
        for gone in &tally.gone_after_seconds {
            row("keys gone after", format!("{gone:.2} s"));
        }
        out
    }

    /// A figure of the samples over time.
    pub fn line(&self, name: String, color: &'static str, of: fn(&Sample) -> f64) -> Line {
        Line { name, color, points: self.samples.iter().map(|sample| (sample.seconds, of(sample))).collect() }
    }

    pub fn svg(&self) -> String {
        let line = |name: &str, color, of| self.line(name.to_owned(), color, of);
        let title = format!("{} on {}: physical and retained bytes", self.workload, self.server);
        plot::svg(
            &title,
            &[
                line("physical", "#c0392b", |sample| sample.physical),
                line("retained", "#2471a3", |sample| sample.retained),
                line("1.3 retained + 64", "#999999", |sample| 1.3 * sample.retained + 64.0 * MIB),
                line("quota", "#b7950b", |sample| sample.quota),
            ],
        )
    }

    /// Writes `<workload>-<server>.json` and `.svg` into a directory.
    pub fn save(&self, directory: &Path) -> Result<(), String> {
        let name = format!("{}-{}", self.workload, self.server.to_lowercase());
        let json = serde_json::to_string_pretty(self).map_err(|error| format!("write the report as JSON: {error}"))?;
        for (ending, text) in [("json", json), ("svg", self.svg())] {
            let path = directory.join(format!("{name}.{ending}"));
            std::fs::write(&path, text).map_err(|error| format!("write {}: {error}", path.display()))?;
        }
        Ok(())
    }
}
