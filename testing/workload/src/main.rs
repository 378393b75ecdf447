//! `workload run NAME`: one workload on the given servers, one after the other; see `workload help`.

use harness::Kind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use workload::catalog::{Parameters, WORKLOADS};
use workload::check::Checks;
use workload::flood;
use workload::measure::{Target, make_directory, measure};

const INCIDENT_QUOTA: u64 = 256 << 20;
const CI_QUOTA: u64 = 32 << 20;
const FLOOD_CI_SECONDS: u64 = 10;

/// Name, scale, speed, MiB written (0: the workload's own end) and milliseconds between samples of each run in CI.
/// Kyverno's churn writes ten times its quota; where much garbage is made at once the bound would be left within tenths
/// of a second.
const CI_RUNS: &[(&str, f64, f64, u64, u64)] = &[
    ("kyverno", 0.045, 500.0, 320, 1000),
    ("overwrite", 0.05, 0.0, 250, 100),
    ("big-values", 0.1, 0.0, 600, 100),
    ("event-storm", 0.05, 0.0, 0, 1000),
    ("delete-all", 3.0, 0.0, 0, 50),
];

const USAGE: &str = "usage: workload run NAME [flags]     one workload
       workload incident [flags]     reports pile up until refused, and the way out
       workload ci [flags]           the incident and short variants, judged
       workload beside [flags]       the workloads on each server in turn: a table, and with --out a plot of each

  --bowline PATH   run on this Bowline          --etcd PATH     run on this etcd
  --quota MIB      quota of the server          --dir DIR       where the server's data goes
  --seed N         of all that is random        --scale F       1: 65 nodes, 300 000 pods a day
  --speed F        virtual seconds per second   --mib N         end after so much was written
  --seconds N      end after so much time       --sample-ms N   between two samples, 1000
  --out DIR        reports as JSON and SVG          --only A,B      workloads of beside";

struct Arguments {
    targets: Vec<(Kind, PathBuf)>,
    directory: PathBuf,
    out: Option<PathBuf>,
    quota: u64,
    interval: Duration,
    given: Parameters,
    only: Vec<String>,
}

impl Arguments {
    fn read(mut given: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let mut arguments = Arguments {
            targets: Vec::new(),
            directory: std::env::temp_dir(),
            out: None,
            quota: 0,
            interval: Duration::from_secs(1),
            given: Parameters { seed: 1, scale: 0.1, speed: 0.0, bytes: 0, seconds: 0 },
            only: Vec::new(),
        };
        while let Some(flag) = given.next() {
            let value = given.next().ok_or_else(|| format!("{flag}: value missing"))?;
            match flag.as_str() {
                "--bowline" => arguments.targets.push((Kind::Bowline, value.into())),
                "--etcd" => arguments.targets.push((Kind::Etcd, value.into())),
                "--dir" => arguments.directory = value.into(),
                "--out" => arguments.out = Some(value.into()),
                "--quota" => arguments.quota = number::<u64>(&flag, &value)? << 20,
                "--only" => arguments.only = value.split(',').map(str::to_owned).collect(),
                "--seed" => arguments.given.seed = number(&flag, &value)?,
                "--scale" => arguments.given.scale = number(&flag, &value)?,
                "--speed" => arguments.given.speed = number(&flag, &value)?,
                "--mib" => arguments.given.bytes = number::<u64>(&flag, &value)? << 20,
                "--seconds" => arguments.given.seconds = number(&flag, &value)?,
                "--sample-ms" => arguments.interval = Duration::from_millis(number::<u64>(&flag, &value)?.max(1)),
                _ => return Err(format!("unknown flag {flag}")),
            }
        }
        if arguments.targets.is_empty() {
            return Err("name a server: --bowline PATH or --etcd PATH".to_owned());
        }
        Ok(arguments)
    }

    fn targets(&self) -> Vec<Target> {
        let target = |(kind, binary): &(Kind, PathBuf)| Target {
            kind: *kind,
            binary: binary.clone(),
            directory: self.directory.clone(),
        };
        self.targets.iter().map(target).collect()
    }
}

fn number<T: std::str::FromStr<Err: std::fmt::Display>>(flag: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|error| format!("{flag} {value}: {error}"))
}

async fn main_of(mut given: impl Iterator<Item = String>) -> Result<bool, String> {
    match given.next().as_deref() {
        Some("run") => {
            let name = given.next().unwrap_or_default();
            run(&name, &Arguments::read(given)?).await
        }
        Some("ci") => ci(&Arguments::read(given)?).await,
        Some("beside") => beside(&Arguments::read(given)?).await,
        Some("incident") => incident(&Arguments::read(given)?).await,
        _ => Err("no such command".to_owned()),
    }
}

async fn run(name: &str, arguments: &Arguments) -> Result<bool, String> {
    if name == flood::NAME {
        let mut checks = Checks::default();
        for target in arguments.targets() {
            flood_over_budget(&target, &arguments.given, arguments, &mut checks).await?;
        }
        return Ok(checks.end(name));
    }
    let workload = WORKLOADS.iter().find(|workload| workload.name == name).ok_or_else(|| {
        let known = WORKLOADS.iter().map(|workload| (workload.name, workload.about));
        let known = known.chain([(flood::NAME, "one prefix floods its budget beside pods of jobs; Bowline only")]);
        let known = known.map(|(name, about)| format!("  {name:<17} {about}"));
        format!("no workload {name:?}; there are\n{}", known.collect::<Vec<_>>().join("\n"))
    })?;
    for target in arguments.targets() {
        let report = measure(&target, workload, &arguments.given, arguments.quota, arguments.interval).await;
        print!("{}", report.text());
        if let Some(out) = &arguments.out {
            make_directory(out)?;
            report.save(out)?;
        }
    }
    Ok(true)
}

async fn flood_over_budget(
    target: &Target,
    given: &Parameters,
    arguments: &Arguments,
    checks: &mut Checks,
) -> Result<(), String> {
    let report = flood::flood(target, given).await?;
    print!("{}", report.text());
    report.judge(checks);
    if let Some(out) = &arguments.out {
        make_directory(out)?;
        report.save(out)?;
    }
    Ok(())
}

/// The short variants, with what must hold of Bowline in each.
async fn ci(arguments: &Arguments) -> Result<bool, String> {
    let mut checks = Checks::default();
    for target in arguments.targets() {
        workload::incident::incident(&target, arguments.given.seed, CI_QUOTA, &mut checks).await;
        for (name, scale, speed, mib, sample_ms) in CI_RUNS {
            let workload = WORKLOADS.iter().find(|workload| workload.name == *name).expect("the catalog has it");
            let given =
                Parameters { seed: arguments.given.seed, scale: *scale, speed: *speed, bytes: mib << 20, seconds: 0 };
            // Only what says so has a small quota: the others are about files, not about refusals.
            let quota = if *name == "kyverno" { CI_QUOTA } else { 0 };
            let interval = Duration::from_millis(*sample_ms);
            let report = measure(&target, workload, &given, quota, interval).await;
            print!("{}", report.text());
            report.judge(&mut checks);
            if let Some(out) = &arguments.out {
                make_directory(out)?;
                report.save(out)?;
            }
        }
        let given = Parameters { scale: 0.05, seconds: FLOOD_CI_SECONDS, speed: 20.0, ..arguments.given };
        flood_over_budget(&target, &given, arguments, &mut checks).await?;
    }
    Ok(checks.end("workload"))
}

async fn beside(arguments: &Arguments) -> Result<bool, String> {
    let Arguments { given, only, out, .. } = arguments;
    print!("\n{}", workload::beside::beside(&arguments.targets(), given.seed, only, out.as_deref()).await?);
    Ok(true)
}

async fn incident(arguments: &Arguments) -> Result<bool, String> {
    let quota = if arguments.quota == 0 { INCIDENT_QUOTA } else { arguments.quota };
    let mut checks = Checks::default();
    for target in arguments.targets() {
        workload::incident::incident(&target, arguments.given.seed, quota, &mut checks).await;
    }
    Ok(checks.end("incident"))
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    match main_of(std::env::args().skip(1)).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("{message}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}
