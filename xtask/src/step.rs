//! One step of CI: a command whose output is shown, and read for how many checks passed and failed.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

/// What a step did. A step without counts of its own counts as one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub name: String,
    pub passed: u64,
    pub failed: u64,
    pub seconds: u64,
}

impl Report {
    pub fn line(&self) -> String {
        format!("{}: {} passed, {} failed ({} s)", self.name, self.passed, self.failed, self.seconds)
    }
}

/// Runs the command in the repository; what it prints on standard output passes through.
pub fn run(name: &str, command: &mut Command, sum: Sum) -> Report {
    let started = Instant::now();
    println!("\n== {name}");
    let mut counts = Counts { sum, passed: 0, failed: 0 };
    let succeeded = run_command(command, &mut counts).unwrap_or_else(|error| {
        println!("{name}: {error}");
        false
    });
    let (passed, failed) = match (counts.passed, counts.failed, succeeded) {
        (0, 0, true) => (1, 0),
        (passed, 0, false) => (passed, 1),
        (passed, failed, _) => (passed, failed),
    };
    let report = Report { name: name.to_owned(), passed, failed, seconds: started.elapsed().as_secs() };
    println!("== {}", report.line());
    report
}

fn run_command(command: &mut Command, counts: &mut Counts) -> Result<bool, String> {
    command.current_dir(crate::root()).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("start {:?}: {error}", command.get_program()))?;
    let output = child.stdout.take().expect("it was asked to be piped");
    for line in BufReader::new(output).split(b'\n') {
        let line = line.map_err(|error| format!("read output: {error}"))?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        counts.read(&line);
    }
    let status = child.wait().map_err(|error| format!("wait for {:?}: {error}", command.get_program()))?;
    Ok(status.success())
}

/// Which lines of the output count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sum {
    /// Each `N passed, M failed` is about other checks, as in the output of `cargo test`.
    All,
    /// The last one is the sum of those before.
    Last,
}

struct Counts {
    sum: Sum,
    passed: u64,
    failed: u64,
}

impl Counts {
    fn read(&mut self, line: &str) {
        let Some((passed, failed)) = counts_of(line) else { return };
        if self.sum == Sum::Last {
            (self.passed, self.failed) = (passed, failed);
        } else {
            self.passed += passed;
            self.failed += failed;
        }
    }
}

/// The numbers in `… N passed, M failed …` or `… N passed; M failed …`.
fn counts_of(line: &str) -> Option<(u64, u64)> {
    let (before, after) = line.split_once(" passed")?;
    let passed = before.rsplit(' ').next()?.parse().ok()?;
    let failed = after.strip_prefix([',', ';'])?.trim_start().split_once(" failed")?.0.parse().ok()?;
    Some((passed, failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_every_runner() {
        assert_eq!(counts_of("test result: ok. 63 passed; 2 failed; 0 ignored; finished in 0.04s"), Some((63, 2)));
        assert_eq!(counts_of("fuzz: 7 passed, 0 failed"), Some((7, 0)));
        assert_eq!(counts_of("10 passed, 1 failed, 3 skipped"), Some((10, 1)));
        for line in ["all passed", "x passed, y failed", "3 passed", "", "passed, failed"] {
            assert_eq!(counts_of(line), None, "{line}");
        }
    }

    #[test]
    fn a_failure_without_counts_counts() {
        let report = |script: &str, sum| {
            let report = run("a step", Command::new("sh").args(["-c", script]), sum);
            (report.passed, report.failed)
        };
        assert_eq!(report("true", Sum::Last), (1, 0));
        assert_eq!(report("false", Sum::Last), (0, 1));
        assert_eq!(report("echo 3 passed, 0 failed; exit 1", Sum::Last), (3, 1));
        assert_eq!(report("echo 3 passed, 2 failed; exit 1", Sum::Last), (3, 2));
        assert_eq!(report("echo 3 passed, 2 failed; echo 4 passed, 2 failed", Sum::Last), (4, 2));
        assert_eq!(report("echo 3 passed, 2 failed; echo 4 passed, 2 failed", Sum::All), (7, 4));
    }
}
