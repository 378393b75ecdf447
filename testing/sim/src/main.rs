//! Runs seeds of the simulated world: `sim run [--minutes M | --seeds N | --seed S] [--trace]`.

use sim::{Keep, Report, Run, run};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Simulated time per seed in which things go wrong.
const LASTS: Duration = Duration::from_secs(60);
const USAGE: &str = "usage: sim run [--minutes M | --seeds N | --seed S] [--trace]";

static SEED: AtomicU64 = AtomicU64::new(0);

/// Which seeds are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seeds {
    For(Duration),
    Count(u64),
    One(u64),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((seeds, shows_trace)) = parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    // An assert that fails ends the process: which seed it was must be known before.
    let say_why = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        say_why(panic);
        println!("{}", replay(SEED.load(Ordering::Relaxed)));
    }));
    run_all(seeds, shows_trace)
}

fn parse(arguments: &[String]) -> Option<(Seeds, bool)> {
    let (command, rest) = arguments.split_first()?;
    if command != "run" {
        return None;
    }
    let mut seeds = Seeds::For(Duration::from_secs(60));
    let mut shows_trace = false;
    let mut rest = rest.iter();
    while let Some(flag) = rest.next() {
        if flag == "--trace" {
            shows_trace = true;
            continue;
        }
        let number = rest.next()?.parse().ok()?;
        seeds = match flag.as_str() {
            "--minutes" => Seeds::For(Duration::from_secs(60 * number)),
            "--seeds" => Seeds::Count(number),
            "--seed" => Seeds::One(number),
            _ => return None,
        };
    }
    Some((seeds, shows_trace))
}

fn run_all(seeds: Seeds, shows_trace: bool) -> ExitCode {
    let started = Instant::now();
    let (mut count, mut violations, mut simulated, mut removed) = (0, 0, Duration::ZERO, 0);
    let mut seed = if let Seeds::One(seed) = seeds { seed } else { 1 };
    loop {
        SEED.store(seed, Ordering::Relaxed);
        let keep = if shows_trace { Keep::All } else { Keep::Last };
        let report = run(&Run { seed, lasts: LASTS, keep, syncs_lie: false });
        count += 1;
        simulated += report.simulated;
        removed += report.segments_removed;
        violations += u64::from(report.violation.is_some());
        show(seed, &report, shows_trace || seeds == Seeds::One(seed));
        let is_last = match seeds {
            Seeds::For(time) => started.elapsed() >= time,
            Seeds::Count(all) => count >= all,
            Seeds::One(_) => true,
        };
        if is_last {
            break;
        }
        seed += 1;
    }
    let hours = simulated.as_secs_f64() / 3600.0;
    println!("seeds {count}, simulated hours {hours:.2}, segments given back {removed}, violations {violations}");
    if violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn show(seed: u64, report: &Report, always: bool) {
    if always || report.violation.is_some() {
        report.trace.lines().for_each(|line| println!("{line}"));
        let Report { crashes, requests, acknowledged, .. } = report;
        println!(
            "seed {seed}: trace {:016x}, {requests} requests, {acknowledged} done, {crashes} crashes",
            report.trace.hash()
        );
    }
    if let Some(violation) = &report.violation {
        println!("seed {seed}: violation: {violation}");
        println!("{}", replay(seed));
    }
}

fn replay(seed: u64) -> String {
    format!("replay: cargo run --release -p sim -- run --seed {seed}")
}
