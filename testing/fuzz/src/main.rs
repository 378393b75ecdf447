//! Feeds every decoder with damaged and hostile bytes: `fuzz [--seconds N] [--seed N] [--only NAME]`.
//!
//! A target is a function from bytes that must not panic, hang or allocate beyond its input; what decodes must also
//! encode to something that decodes alike. The driver starts from valid inputs and cuts, flips, repeats, splices and
//! overwrites them; it keeps no coverage, so it runs on a stable toolchain, and a target can be handed to a
//! coverage-guided fuzzer as it is. A failing input is printed in hex and becomes a test beside the decoder.

mod conditions;
mod etcd_files;
mod files;
mod mutate;
mod objects;
mod targets;

use mutate::Mutator;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use targets::TARGETS;

struct Arguments {
    seconds: f64,
    seed: u64,
    only: Option<String>,
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments { seconds: 2.0, seed: 1, only: None };
    let mut given = std::env::args().skip(1);
    while let Some(flag) = given.next() {
        let value = given.next().ok_or_else(|| format!("{flag}: value missing"))?;
        match flag.as_str() {
            "--seconds" => arguments.seconds = value.parse().map_err(|e| format!("--seconds {value}: {e}"))?,
            "--seed" => arguments.seed = value.parse().map_err(|e| format!("--seed {value}: {e}"))?,
            "--only" => arguments.only = Some(value),
            _ => return Err(format!("unknown flag {flag}; known are --seconds (per target), --seed, --only")),
        }
    }
    Ok(arguments)
}

fn main() {
    let arguments = arguments().unwrap_or_else(|message| {
        eprintln!("{message}");
        std::process::exit(2);
    });
    let (mut passed, mut failed) = (0, 0);
    for target in TARGETS {
        if arguments.only.as_ref().is_some_and(|only| only != target.name) {
            continue;
        }
        match run(target, Duration::from_secs_f64(arguments.seconds), arguments.seed) {
            Ok(inputs) => {
                passed += 1;
                println!("{}: {inputs} inputs", target.name);
            }
            Err(input) => {
                failed += 1;
                let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
                println!("{}: failed on {hex}", target.name);
            }
        }
    }
    println!("fuzz: {passed} passed, {failed} failed");
    if failed > 0 {
        std::process::exit(1);
    }
}

/// No input of 64 KiB is worth more, even on a machine that is busy with other things.
const INPUT_TIME_MAX: Duration = Duration::from_secs(5);

/// Runs one target; the number of inputs, or the input that made it fail.
fn run(target: &targets::Target, duration: Duration, seed: u64) -> Result<u64, Vec<u8>> {
    let mut mutator = Mutator::new((target.seeds)(), seed);
    let end = Instant::now() + duration;
    let mut inputs = 0;
    while Instant::now() < end {
        for _ in 0..256 {
            let input = mutator.next_input();
            inputs += 1;
            let started = Instant::now();
            let panicked = catch_unwind(AssertUnwindSafe(|| (target.run)(&input))).is_err();
            if panicked || started.elapsed() > INPUT_TIME_MAX {
                return Err(input);
            }
        }
    }
    Ok(inputs)
}
