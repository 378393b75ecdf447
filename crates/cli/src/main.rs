//! The only binary. It reads what it was asked for, checks it, starts logging, starts the server, and turns signals and
//! failures into an orderly end and an exit code: 0 done, 1 could not start or failed, 2 the command line makes no
//! sense. A member that was asked to stop ends by the signal that asked, as etcd does.
//!
//! Not here: anything that the server does. This crate wires.
#![forbid(unsafe_code)]

mod budget;
mod command;
mod config;
mod connection;
mod doctor;
mod doctor_space;
mod doctor_webhooks;
mod flags;
mod log;
mod notify;
mod run;
mod salvage;
mod top;
mod version;

use command::Action;
use config::Config;
use flags::parse::{Refusal, Request};
use flags::{Settings, help};
use log::Level;
use std::process::ExitCode;

// Measured on the network path: about a tenth less time per request than the system's allocator, and half the memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FAILED: u8 = 1;
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let Some(arguments) = std::env::args_os().map(|argument| argument.into_string().ok()).collect::<Option<Vec<_>>>()
    else {
        eprintln!("an argument is not valid UTF-8");
        return ExitCode::from(USAGE);
    };
    match command::read(&arguments) {
        Ok(Action::Server { program, arguments }) => server(&program, &arguments),
        Ok(Action::Version) => print(&version::text()),
        Ok(Action::Flags) => print(&help::reference()),
        Ok(Action::Top(matches)) => done(top::run(&matches)),
        Ok(Action::Budget(matches)) => done(budget::run(&matches)),
        Ok(Action::Doctor(matches)) => ExitCode::from(doctor::run(&matches)),
        Ok(Action::Util(matches)) => done(salvage::run(&matches)),
        Ok(Action::Missing(name)) => {
            eprintln!("{name} is not there yet; stock programs of etcd work with this server");
            ExitCode::from(FAILED)
        }
        Err(error) => {
            // Without a terminal there is nobody to tell.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE))
        }
    }
}

fn done(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(FAILED)
        }
    }
}

fn server(program: &str, arguments: &[String]) -> ExitCode {
    match flags::parse::parse(arguments, &etcd_variables()) {
        Ok(Request::Help) => print(&help::help(program)),
        Ok(Request::Version) => print(&version::text()),
        Ok(Request::Start(settings)) => {
            let code = start(arguments, settings);
            log::flush();
            code
        }
        Err(Refusal::Usage(complaint)) => {
            eprint!("{complaint}\n{}", help::usage(program));
            ExitCode::from(USAGE)
        }
        Err(Refusal::Invalid(error)) => fail_before_log(|| invalid(&error)),
        Err(Refusal::Shadowed { variable }) => fail_before_log(|| {
            let message = "conflicting environment variable is shadowed by corresponding command-line flag \
                           (either unset environment variable or disable flag))";
            log::record(Level::Fatal, message, &[("environment-variable", &variable)]);
        }),
    }
}

/// Logs as if no flag had been given: which ones were is not known.
fn fail_before_log(report: impl FnOnce()) -> ExitCode {
    if let Err(error) = log::start(&log::Options::default()) {
        eprintln!("{error}");
    }
    report();
    log::flush();
    ExitCode::from(FAILED)
}

fn invalid(error: &str) {
    log::record(Level::Warn, "failed to verify flags", &[("error", error)]);
}

fn start(arguments: &[String], settings: Settings) -> ExitCode {
    if let Err(error) = config::log_options(&settings).and_then(|options| log::start(&options)) {
        return fail_before_log(|| invalid(&error));
    }
    for warning in &settings.warnings {
        log::record(Level::Warn, warning.message, &[(warning.field.0, &warning.field.1)]);
    }
    tracing::info!(args = ?arguments, "Running: ");
    if let Some(path) = &settings.config_file {
        let message = "loaded server configuration, other configuration command line flags and environment variables \
                       will be ignored if provided";
        tracing::info!(path = %path.display(), "{message}");
    }
    let (config, warnings) = match Config::from_settings(&settings) {
        Ok(checked) => checked,
        Err(error) => {
            invalid(&error);
            return ExitCode::from(FAILED);
        }
    };
    for warning in &warnings {
        log::record(Level::Warn, warning.message, &[(warning.field.0, &warning.field.1)]);
    }
    match run::run(&config, settings) {
        Ok(end) => {
            log::flush();
            end.take()
        }
        Err(error) => {
            log::record(Level::Fatal, "the member could not start", &[("error", &error)]);
            ExitCode::from(FAILED)
        }
    }
}

/// The variables that concern us, in a fixed order. What is not UTF-8 is none of etcd's values.
fn etcd_variables() -> Vec<(String, String)> {
    let variables =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut variables: Vec<_> = variables.filter(|(name, _)| name.starts_with("ETCD_")).collect();
    variables.sort();
    variables
}

fn print(text: &str) -> ExitCode {
    use std::io::Write;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(FAILED),
    }
}
