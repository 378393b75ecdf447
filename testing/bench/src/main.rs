//! Drives a real etcd and Bowline alternately on the same disk with the same client, and prints what each operation
//! cost.
//!
//! Client and servers share the machine, so the first figure is the server's CPU time per operation, read from
//! `/proc/<pid>/stat`; throughput and latency come second. Every cell is the median over the rounds of one run, and
//! what is compared is always from the same run. Usage: see `docs/performance.md`.
//!
//! Not here: micro-benchmarks of single crates (they live with their crates), and workloads about space.

mod report;
mod work;

use harness::{Kind, Server};
use report::Report;
use std::path::PathBuf;
use work::WORKS;

struct Arguments {
    etcd: PathBuf,
    bowline: PathBuf,
    rounds: usize,
    only: Vec<String>,
    directory: PathBuf,
    markdown: Option<PathBuf>,
    scale: f64,
}

/// Quiet, and a quota that no work reaches.
const FLAGS: &[&str] = &["--log-level", "warn", "--quota-backend-bytes", "8589934592"];

const USAGE: &str = "usage: bench --etcd PATH --bowline PATH [--rounds N] [--only NAME,…] [--dir DIR] \
[--markdown FILE] [--scale F]\n  --scale shortens every measurement (1 = as recorded)";

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments {
        etcd: ".peers/bin/etcd".into(),
        bowline: "target/release/bowline".into(),
        rounds: 5,
        only: Vec::new(),
        directory: std::env::temp_dir(),
        markdown: None,
        scale: 1.0,
    };
    let mut given = std::env::args().skip(1);
    while let Some(flag) = given.next() {
        let value = given.next().ok_or_else(|| format!("{flag}: value missing\n{USAGE}"))?;
        match flag.as_str() {
            "--etcd" => arguments.etcd = value.into(),
            "--bowline" => arguments.bowline = value.into(),
            "--rounds" => arguments.rounds = value.parse().map_err(|e| format!("--rounds {value}: {e}"))?,
            "--only" => arguments.only = value.split(',').map(str::to_owned).collect(),
            "--dir" => arguments.directory = value.into(),
            "--markdown" => arguments.markdown = Some(value.into()),
            "--scale" => arguments.scale = value.parse().map_err(|e| format!("--scale {value}: {e}"))?,
            _ => return Err(format!("unknown flag {flag}\n{USAGE}")),
        }
    }
    Ok(arguments)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments = arguments().unwrap_or_else(|message| {
        eprintln!("{message}");
        std::process::exit(2);
    });
    let mut report = Report::default();
    for work in WORKS {
        if !arguments.only.is_empty() && !arguments.only.iter().any(|name| work.name.starts_with(name.as_str())) {
            continue;
        }
        for round in 0..arguments.rounds {
            // Who goes first alternates, so that a drift of the machine favours neither.
            let order = if round % 2 == 0 { [Kind::Etcd, Kind::Bowline] } else { [Kind::Bowline, Kind::Etcd] };
            for kind in order {
                let binary = if kind == Kind::Etcd { &arguments.etcd } else { &arguments.bowline };
                let mut server = Server::new(kind, binary, &arguments.directory, FLAGS);
                server.start().await;
                for figure in (work.run)(&mut server, arguments.scale).await {
                    report.add(work.name, kind, figure);
                }
            }
            eprintln!("{} round {} of {}", work.name, round + 1, arguments.rounds);
        }
        print!("{}", report.section(work.name));
    }
    if let Some(path) = &arguments.markdown
        && let Err(error) = std::fs::write(path, report.markdown())
    {
        eprintln!("write {}: {error}", path.display());
        std::process::exit(1);
    }
}
