//! The raft crate logs through slog; this hands its records to `tracing` under the target `raft`.
//!
//! Fields become part of the text, since their names are chosen at run time there and at compile time in `tracing`.

use slog::{Drain, KV, Key, Level, Never, OwnedKVList, Record, Serializer};
use std::fmt::{self, Write};

pub(crate) fn raft_logger() -> slog::Logger {
    slog::Logger::root(ToTracing, slog::o!())
}

struct ToTracing;

impl Drain for ToTracing {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _logger: &OwnedKVList) -> Result<(), Never> {
        match record.level() {
            Level::Critical | Level::Error if tracing::enabled!(target: "raft", tracing::Level::ERROR) => {
                tracing::error!(target: "raft", "{}", text(record));
            }
            Level::Warning if tracing::enabled!(target: "raft", tracing::Level::WARN) => {
                tracing::warn!(target: "raft", "{}", text(record));
            }
            Level::Info if tracing::enabled!(target: "raft", tracing::Level::INFO) => {
                tracing::info!(target: "raft", "{}", text(record));
            }
            Level::Debug if tracing::enabled!(target: "raft", tracing::Level::DEBUG) => {
                tracing::debug!(target: "raft", "{}", text(record));
            }
            Level::Trace if tracing::enabled!(target: "raft", tracing::Level::TRACE) => {
                tracing::trace!(target: "raft", "{}", text(record));
            }
            _ => {}
        }
        Ok(())
    }
}

fn text(record: &Record<'_>) -> String {
    let mut fields = Fields(record.msg().to_string());
    // Writing into a string cannot fail; a field whose own formatting fails is left out.
    let _ = record.kv().serialize(record, &mut fields);
    fields.0
}

struct Fields(String);

impl Serializer for Fields {
    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        write!(self.0, ", {key}: {value}").map_err(slog::Error::from)
    }
}
