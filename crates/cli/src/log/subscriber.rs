//! From `tracing` events to records. Spans are switched off; events of other people's crates count from warnings up,
//! because their debug records (one per HTTP/2 frame) would bury ours.

use super::queue::Queue;
use super::record::{Fields, Level, Record};
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Metadata};

/// First parts of the module paths of our own crates.
const OWN_CRATES: &[&str] =
    &["api", "bowline", "consensus", "io", "mvcc", "node", "state", "stdx", "store", "transport", "wal", "watch"];

pub struct Subscriber {
    queue: Queue,
}

/// The least level that is logged.
static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);

/// For every record from now on.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
    // Each place in the code remembers whether it is of interest.
    tracing::callsite::rebuild_interest_cache();
}

impl Subscriber {
    pub fn new(level: Level, queue: Queue) -> Subscriber {
        LEVEL.store(level as u8, Ordering::Relaxed);
        Subscriber { queue }
    }
}

impl tracing::Subscriber for Subscriber {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let level = level_of(metadata.level());
        metadata.is_event()
            && level as u8 >= LEVEL.load(Ordering::Relaxed)
            && (level >= Level::Warn || is_own(metadata.target()))
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut visitor = Visitor { message: String::new(), fields: Fields::default() };
        event.record(&mut visitor);
        let (file, line) = (metadata.file().unwrap_or("unknown"), metadata.line().unwrap_or(0));
        self.queue.push(Record::new(level_of(metadata.level()), file, line, visitor.message, visitor.fields));
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

fn is_own(target: &str) -> bool {
    let first = target.split("::").next().unwrap_or_default();
    OWN_CRATES.contains(&first)
}

fn level_of(level: &tracing::Level) -> Level {
    match *level {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        // etcd has nothing finer.
        tracing::Level::DEBUG | tracing::Level::TRACE => Level::Debug,
    }
}

struct Visitor {
    message: String,
    fields: Fields,
}

impl Visitor {
    fn text(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.push_str(value),
            name => self.fields.push_text(name, value),
        }
    }
}

impl Visit for Visitor {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.fields.push_plain(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.fields.push_plain(field.name(), value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.fields.push_plain(field.name(), value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.fields.push_plain(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.fields.push_plain(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no infinity and no NaN.
        match value.is_finite() {
            true => self.fields.push_plain(field.name(), value),
            false => self.fields.push_text(field.name(), &value.to_string()),
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.text(field, &value.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Format, Sink};

    #[test]
    fn events_become_lines() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let sinks = vec![Sink::File(file.reopen().expect("the same file"))];
        let queue = Queue::start(Format::Json, sinks).expect("a thread");
        tracing::subscriber::with_default(Subscriber::new(Level::Info, queue.clone()), || {
            let _span = tracing::info_span!("ignored").entered();
            tracing::info!(term = 2_u64, "member-id" = %"8e9e", share = 0.5, up = true, odd = f64::NAN, "became {}", "leader");
            tracing::debug!("not at this level");
            tracing::info!(target: "h2::proto", "not ours");
            tracing::warn!(target: "h2::proto", error = &std::io::Error::other("broke") as &dyn std::error::Error, "theirs");
        });
        queue.flush();
        let text = std::fs::read_to_string(file.path()).expect("written");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        let tail = r#""msg":"became leader","term":2,"member-id":"8e9e","share":0.5,"up":true,"odd":"NaN"}"#;
        assert!(lines[0].starts_with("{\"level\":\"info\",\"ts\":\"") && lines[0].ends_with(tail), "{}", lines[0]);
        assert!(lines[0].contains("\"caller\":\"cli/log/subscriber.rs:"), "{}", lines[0]);
        assert!(lines[1].ends_with(r#""msg":"theirs","error":"broke"}"#), "{}", lines[1]);
    }
}
