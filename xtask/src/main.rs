//! All automation of the repository: `cargo xtask tidy|ci|fix`.
//!
//! - `tidy` checks the house rules that no compiler knows: who may import whom, dependencies that nobody uses, how a
//!   file opens, what must not be committed, what code must not name that is driven from outside, what is public
//!   without a reader.
//! - `ci` is all of CI; it rewrites nothing. `ci --no-tests` leaves out `cargo test`, for a caller that has run it.
//! - `fix` rewrites what can be rewritten: formatting, simple lints, wide comments, generated pages.
#![forbid(unsafe_code)]

mod ci;
mod code;
mod comments;
mod dead_pub;
mod determinism;
mod known_bugs;
mod layers;
mod manifests;
mod modules;
mod sources;
mod step;
mod tidy;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

const USAGE: &str = "usage: cargo xtask tidy | ci [--no-tests] | fix";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["tidy"] => tidy::run(),
        ["ci"] => ci::run(true),
        ["ci", "--no-tests"] => ci::run(false),
        ["fix"] => ci::fix(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The top of the repository.
fn root() -> PathBuf {
    let xtask = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask lies in the repository").to_owned()
}

/// The cargo that runs us.
fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
