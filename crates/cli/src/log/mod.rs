//! Where log records go: one line each, JSON like etcd's (`level`, `ts`, `caller`, `msg`, then the fields), written by
//! one thread behind a bounded queue.
//!
//! Invariants:
//! - Logging never waits for the outputs: when the queue is full, records are dropped, counted, and the count is
//!   logged.
//! - A record is one line, whatever its texts hold, and nothing is coloured.
//! - A panic in any thread becomes one record, and then the process aborts: a thread that owned state must not just
//!   vanish.
//!
//! Not here: spans (they are switched off), rotation, the journal.

mod panic;
mod queue;
mod record;
mod subscriber;

pub use record::Level;
pub use subscriber::set_level;

use queue::Queue;
use record::{Fields, Record};
use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::sync::OnceLock;

static QUEUE: OnceLock<Queue> = OnceLock::new();

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Records below it are not made.
    pub level: Level,
    pub format: Format,
    /// At least one.
    pub outputs: Vec<Output>,
}

impl Default for Options {
    fn default() -> Options {
        Options { level: Level::Info, format: Format::Json, outputs: vec![Output::Stderr] }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    /// Tab-separated, for people.
    Console,
}

impl Format {
    pub fn parse(text: &str) -> Result<Format, String> {
        match text {
            "json" | "" => Ok(Format::Json),
            "console" => Ok(Format::Console),
            other => Err(format!("unknown log format: {other}, supported values json, console")),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    Stderr,
    Stdout,
    /// Appended to; made if it is not there.
    File(PathBuf),
}

impl Output {
    pub fn parse_list(words: &[String]) -> Result<Vec<Output>, String> {
        if words.len() > 1 && words.iter().any(|word| word == "default") {
            return Err("multi logoutput for \"default\" is not supported yet".to_owned());
        }
        let parse = |word: &String| match word.as_str() {
            "default" | "stderr" => Ok(Output::Stderr),
            "stdout" => Ok(Output::Stdout),
            "systemd/journal" => {
                Err("--log-outputs=systemd/journal cannot be set: the journal is not written to yet; \
                                      standard error reaches it under systemd"
                    .to_owned())
            }
            path => Ok(Output::File(PathBuf::from(path))),
        };
        let outputs = words.iter().map(parse).collect::<Result<Vec<Output>, String>>()?;
        if outputs.is_empty() {
            return Err("--log-outputs is empty; name 'default', 'stderr', 'stdout' or a file".to_owned());
        }
        Ok(outputs)
    }

    fn open(&self) -> Result<Sink, String> {
        match self {
            Output::Stderr => Ok(Sink::Stderr),
            Output::Stdout => Ok(Sink::Stdout),
            Output::File(path) => {
                let file = OpenOptions::new().append(true).create(true).open(path);
                file.map(Sink::File).map_err(|error| format!("open log file {}: {error}", path.display()))
            }
        }
    }
}

/// An output that is open.
#[derive(Debug)]
enum Sink {
    Stderr,
    Stdout,
    File(File),
}

/// Starts the writer and sends it everything that the program traces and every panic. Once per process.
pub fn start(options: &Options) -> Result<(), String> {
    let sinks = options.outputs.iter().map(Output::open).collect::<Result<Vec<Sink>, String>>()?;
    let queue = Queue::start(options.format, sinks).map_err(|error| format!("start log writer: {error}"))?;
    let dispatch = tracing::Dispatch::new(subscriber::Subscriber::new(options.level, queue.clone()));
    let already = || "logging is started already".to_owned();
    QUEUE.set(queue).map_err(|_| already())?;
    tracing::dispatcher::set_global_default(dispatch).map_err(|_| already())?;
    panic::install();
    Ok(())
}

/// Writes one record whose fields have names that are only known at run time. For everything else there is `tracing`.
#[track_caller]
pub fn record(level: Level, message: &str, fields: &[(&str, &str)]) {
    let Some(queue) = QUEUE.get() else { return };
    let at = std::panic::Location::caller();
    let mut text = Fields::default();
    for (name, value) in fields {
        text.push_text(name, value);
    }
    queue.push(Record::new(level, at.file(), at.line(), message.to_owned(), text));
}

/// Waits until everything logged so far is written, but not longer than the outputs may reasonably take.
pub fn flush() {
    if let Some(queue) = QUEUE.get() {
        queue.flush();
    }
}
