//! All of CI, in order: what is cheap and fails often comes first.

use crate::cargo;
use crate::step::{self, Report, Sum};
use crate::{comments, tidy};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Kills that the crash loop does in CI.
const KILLS: &str = "100";
/// Seeds that the simulated world is run with in CI: a number, so that every machine runs the same.
const SIMULATION_SEEDS: &str = "400";
/// Time for each fuzz target in CI.
const FUZZ_SECONDS: &str = "3";

/// Runs everything, whatever fails on the way, and ends with the sum. With `tests`, `cargo test` too.
pub fn run(tests: bool) -> bool {
    let mut reports = vec![
        step::run("format", cargo().args(["fmt", "--all", "--check"]), Sum::Last),
        step::run(
            "lint",
            cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
            Sum::Last,
        ),
        step::run("tidy", cargo().args(["xtask", "tidy"]), Sum::Last),
    ];
    if tests {
        reports.push(step::run("tests", cargo().args(["test", "--workspace", "--locked"]), Sum::All));
    }
    reports.extend(from_outside());
    println!();
    for report in &reports {
        println!("{}", report.line());
    }
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let (passed, failed) = (sum(|report| report.passed), sum(|report| report.failed));
    println!("{passed} passed, {failed} failed");
    failed == 0
}

/// Builds the server as users get it and lets others talk to it.
fn from_outside() -> Vec<Report> {
    let mut build = cargo();
    build.args(["build", "--release", "--locked"]);
    for package in ["cli", "crashloop", "fuzz", "kubedrive", "sim", "workload"] {
        build.args(["--package", package]);
    }
    let built = step::run("release build", &mut build, Sum::Last);
    if built.failed > 0 {
        return vec![built];
    }
    let mut reports = vec![built];
    for script in conformance_scripts() {
        let name = script.trim_start_matches("testing/").trim_end_matches("/run").to_owned();
        reports.push(step::run(&name, Command::new(&script).env("BOWLINE_BIN", release("bowline")), Sum::Last));
    }
    let mut crashloop = Command::new(release("crashloop"));
    crashloop.arg("--server").arg(release("bowline")).args(["--kills", KILLS]);
    reports.push(step::run("crash loop", &mut crashloop, Sum::Last));
    let mut workload = Command::new(release("workload"));
    workload.arg("ci").arg("--bowline").arg(release("bowline"));
    reports.push(step::run("workload", &mut workload, Sum::Last));
    let mut simulation = Command::new(release("sim"));
    reports.push(step::run("simulation", simulation.args(["run", "--seeds", SIMULATION_SEEDS]), Sum::Last));
    let mut fuzz = Command::new(release("fuzz"));
    reports.push(step::run("fuzz", fuzz.args(["--seconds", FUZZ_SECONDS]), Sum::Last));
    reports
}

/// A program of the release build. The path is absolute: scripts change directory before they use it.
fn release(program: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    crate::root().join(target).join("release").join(program)
}

/// `testing/conformance/*/run`, in alphabetical order.
fn conformance_scripts() -> Vec<String> {
    let folder = "testing/conformance";
    let entries = fs::read_dir(crate::root().join(folder)).map(|entries| entries.flatten().collect::<Vec<_>>());
    let names = entries.unwrap_or_default().into_iter().filter_map(|entry| entry.file_name().into_string().ok());
    let mut scripts: Vec<String> = names.map(|name| format!("{folder}/{name}/run")).collect();
    scripts.retain(|script| crate::root().join(script).is_file());
    scripts.sort();
    scripts
}

/// Rewrites formatting, simple lints, wide comments and generated pages.
pub fn fix() -> bool {
    let lints = ["clippy", "--workspace", "--all-targets", "--fix", "--allow-dirty", "--allow-staged"];
    let reports = [
        step::run("lint", cargo().args(lints), Sum::Last),
        step::run("format", cargo().args(["fmt", "--all"]), Sum::Last),
    ];
    let page = tidy::flags_page().and_then(|page| write(&crate::root().join(tidy::FLAGS_PAGE), &page));
    let written = comments::fix().and(page);
    if let Err(error) = &written {
        println!("{error}");
    }
    written.is_ok() && reports.iter().all(|report| report.failed == 0)
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("write {}: {error}", path.display()))
}
