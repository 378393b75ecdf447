//! One log record and its two spellings.
//!
//! ```text
//! {"level":"info","ts":"2006-01-02T15:04:05.999999Z","caller":"node/driver.rs:123","msg":"became leader","term":2}
//! 2006-01-02T15:04:05.999999Z ⇥ info ⇥ node/driver.rs:123 ⇥ became leader ⇥ {"term":2}
//! ```

use super::Format;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::fmt::Write;
use std::time::SystemTime;

/// A message longer than this is cut: one record must not fill the queue.
const TEXT_BYTES_MAX: usize = 16 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
    Panic,
    Fatal,
}

impl Level {
    pub fn parse(text: &str) -> Result<Level, String> {
        match text.to_ascii_lowercase().as_str() {
            "debug" => Ok(Level::Debug),
            "info" | "" => Ok(Level::Info),
            "warn" | "warning" => Ok(Level::Warn),
            "error" => Ok(Level::Error),
            "dpanic" | "panic" => Ok(Level::Panic),
            "fatal" => Ok(Level::Fatal),
            _ => Err(format!("unrecognized level: {text:?}, supported values debug, info, warn, error, panic, fatal")),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
            Level::Panic => "panic",
            Level::Fatal => "fatal",
        }
    }
}

/// Made where something is logged, spelled out by the writer.
#[derive(Debug)]
pub struct Record {
    pub level: Level,
    pub time: SystemTime,
    pub file: &'static str,
    pub line: u32,
    pub message: String,
    pub fields: Fields,
}

impl Record {
    pub fn new(level: Level, file: &'static str, line: u32, message: String, fields: Fields) -> Record {
        let mut message = message;
        cut(&mut message);
        Record { level, time: SystemTime::now(), file, line, message, fields }
    }

    /// What the record weighs in the queue.
    pub fn bytes(&self) -> usize {
        size_of::<Record>() + self.message.len() + self.fields.0.len()
    }

    /// Appends the record and a line end.
    pub fn write(&self, format: Format, zone: &TimeZone, line: &mut Vec<u8>) {
        let (time, level, caller) = (timestamp(self.time, zone), self.level.name(), caller(self.file, self.line));
        let mut text = String::new();
        match format {
            Format::Json => {
                push(&mut text, format_args!("{{\"level\":\"{level}\",\"ts\":\"{time}\",\"caller\":"));
                push_json(&mut text, &caller);
                text.push_str(",\"msg\":");
                push_json(&mut text, &self.message);
                text.push_str(&self.fields.0);
                text.push('}');
            }
            Format::Console => {
                // A line end inside the message would make two records of one.
                let message = self.message.replace('\n', " ");
                push(&mut text, format_args!("{time}\t{level}\t{caller}\t{message}"));
                if let Some(fields) = self.fields.0.strip_prefix(',') {
                    push(&mut text, format_args!("\t{{{fields}}}"));
                }
            }
        }
        text.push('\n');
        line.extend_from_slice(text.as_bytes());
    }
}

/// Fields as JSON, each with a comma in front.
#[derive(Debug, Default)]
pub struct Fields(String);

impl Fields {
    pub fn push_text(&mut self, name: &str, value: &str) {
        self.push_name(name);
        if value.len() > TEXT_BYTES_MAX {
            let mut value = value.to_owned();
            cut(&mut value);
            push_json(&mut self.0, &value);
        } else {
            push_json(&mut self.0, value);
        }
    }

    /// `value` must print as a JSON value: a number or a boolean.
    pub fn push_plain(&mut self, name: &str, value: impl std::fmt::Display) {
        self.push_name(name);
        push(&mut self.0, format_args!("{value}"));
    }

    fn push_name(&mut self, name: &str) {
        self.0.push(',');
        push_json(&mut self.0, name);
        self.0.push(':');
    }
}

fn cut(text: &mut String) {
    if text.len() > TEXT_BYTES_MAX {
        let end = text.floor_char_boundary(TEXT_BYTES_MAX);
        text.truncate(end);
        text.push('…');
    }
}

fn push_json(text: &mut String, value: &str) {
    let quoted = serde_json::to_string(value).expect("a string has a JSON form");
    text.push_str(&quoted);
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a String cannot fail");
}

/// `2006-01-02T15:04:05.999999Z`, with `+0100` instead of `Z` where the zone is not UTC.
fn timestamp(time: SystemTime, zone: &TimeZone) -> String {
    let timestamp = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
    let zoned = timestamp.to_zoned(zone.clone());
    let layout = if zoned.offset().seconds() == 0 { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%S.%6f%z" };
    zoned.strftime(layout).to_string()
}

/// `node/driver.rs:123` for a file of ours, the last folder and the file for others; never the path of a machine.
fn caller(file: &str, line: u32) -> String {
    let own = file.rsplit_once("crates/").map(|(_, path)| path.replacen("/src/", "/", 1));
    let short = own.unwrap_or_else(|| {
        let mut parts: Vec<&str> = file.rsplit('/').take(2).collect();
        parts.reverse();
        parts.join("/")
    });
    format!("{short}:{line}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::Offset;
    use std::time::Duration;

    fn record() -> Record {
        let mut fields = Fields::default();
        fields.push_plain("term", 2);
        fields.push_text("error", "line\n\"two\"");
        Record {
            level: Level::Warn,
            time: SystemTime::UNIX_EPOCH + Duration::from_micros(1_136_214_245_000_120),
            file: "crates/node/src/driver.rs",
            line: 123,
            message: "a\nb".to_owned(),
            fields,
        }
    }

    fn written(format: Format, zone: &TimeZone) -> String {
        let mut line = Vec::new();
        record().write(format, zone, &mut line);
        String::from_utf8(line).expect("made of strings")
    }

    #[test]
    fn json_is_etcds() {
        let expected = concat!(
            r#"{"level":"warn","ts":"2006-01-02T15:04:05.000120Z","caller":"node/driver.rs:123","msg":"a\nb","#,
            r#""term":2,"error":"line\n\"two\""}"#,
            "\n"
        );
        assert_eq!(written(Format::Json, &TimeZone::UTC), expected);
    }

    #[test]
    fn a_zone_other_than_utc_has_no_colon() {
        let zone = TimeZone::fixed(Offset::from_seconds(-25_200).expect("in range"));
        assert!(written(Format::Json, &zone).contains("\"ts\":\"2006-01-02T08:04:05.000120-0700\""));
    }

    #[test]
    fn console_is_one_line() {
        let expected = "2006-01-02T15:04:05.000120Z\twarn\tnode/driver.rs:123\ta b\t{\"term\":2,\"error\":\"line\\n\\\"two\\\"\"}\n";
        assert_eq!(written(Format::Console, &TimeZone::UTC), expected);
    }

    #[test]
    fn callers_show_no_path_of_a_machine() {
        assert_eq!(caller("crates/api/src/http/health.rs", 7), "api/http/health.rs:7");
        assert_eq!(caller("/home/x/registry/src/index/h2-0.4.1/src/proto/streams.rs", 7), "proto/streams.rs:7");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let mut fields = Fields::default();
        fields.push_text("key", &"é".repeat(TEXT_BYTES_MAX));
        assert!(fields.0.len() < TEXT_BYTES_MAX + 64);
        let record = Record::new(Level::Info, "f.rs", 1, "é".repeat(TEXT_BYTES_MAX), fields);
        assert!(record.message.ends_with('…') && record.message.len() < TEXT_BYTES_MAX + 8);
    }
}
