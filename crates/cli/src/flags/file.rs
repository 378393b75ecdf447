//! The config file: YAML, of which JSON is a part. It is the only source when there is one: flags and environment do
//! not count. Unknown keys are ignored, and keys match whatever their case. Numbers stay numbers: durations are
//! nanoseconds.

use super::legacy::{self, Legacy};
use super::value::Value;
use super::yaml::{self, Node};
use super::{FLAGS, FileKey, Flag, Kind, Settings, Source, position};
use crate::config::gates::GateChoice;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// No sensible file comes near; a device or a data file named by mistake must not be read whole.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads the file into settings on top of the defaults.
pub fn load(path: &Path) -> Result<Settings, String> {
    let in_file = |error: String| format!("config file {}: {error}", path.display());
    let text = read(path).map_err(in_file)?;
    let mut settings = parse(&text).map_err(in_file)?;
    settings.config_file = Some(path.to_owned());
    Ok(settings)
}

fn read(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("longer than {FILE_BYTES_MAX} bytes; is it the right file?"));
    }
    Ok(text)
}

fn parse(text: &str) -> Result<Settings, String> {
    let top = yaml::parse(text).map_err(|error| format!("not valid YAML: {error}"))?;
    let mut settings = Settings::defaults();
    match &top {
        Node::Null => return Ok(settings),
        Node::Map(_) => {}
        other => return Err(format!("expected a mapping of keys to values, found {}", other.kind())),
    }
    for (at, flag) in FLAGS.iter().enumerate() {
        let path = match flag.file {
            FileKey::Same => flag.name,
            FileKey::Path(path) => path,
            FileKey::Absent => continue,
        };
        if let Some(value) = find(&top, path) {
            take(&mut settings, at, path, value)?;
        }
    }
    for (name, legacy) in legacy::mapped() {
        let Some(value) = find(&top, &name) else { continue };
        match legacy {
            Legacy::Renamed(new) => {
                let at = position(new).expect("a test checks that every new name is in the table");
                if settings.is_set(new) {
                    continue;
                }
                take(&mut settings, at, &name, value)?;
            }
            Legacy::Gate(gate) => {
                let on = bool_of(value).ok_or_else(|| mismatch(&name, "true or false", value))?;
                settings.legacy_gates.push(GateChoice { name: gate, on });
            }
            Legacy::Ignored | Legacy::Gone(_) => continue,
        }
        settings.warn("key of the config file is removed in etcd 3.7", "key", name);
    }
    Ok(settings)
}

/// The value at a path of keys joined by dots; nothing if a part is missing or null.
fn find<'a>(top: &'a Node, path: &str) -> Option<&'a Node> {
    let value = path.split('.').try_fold(top, |value, key| value.get(key))?;
    if *value == Node::Null { None } else { Some(value) }
}

fn take(settings: &mut Settings, at: usize, key: &str, value: &Node) -> Result<(), String> {
    if let Some(value) = convert(&FLAGS[at], key, value)? {
        settings.set(at, value, Source::File);
    }
    Ok(())
}

/// `None`: as if the key were not there.
fn convert(flag: &Flag, key: &str, value: &Node) -> Result<Option<Value>, String> {
    match flag.kind {
        Kind::Bool => match bool_of(value) {
            Some(on) => Ok(Some(Value::Bool(on))),
            None => Err(mismatch(key, "true or false", value)),
        },
        Kind::Signed | Kind::Unsigned | Kind::Unsigned32 => {
            let number = number_of(value).ok_or_else(|| mismatch(key, "a whole number", value))?;
            // By way of its text, so that the widths are checked in one place.
            Value::parse(flag.kind, &number.to_string()).map(Some).map_err(|error| format!("{key}: {number}: {error}"))
        }
        Kind::Duration => {
            let number = number_of(value).ok_or_else(|| mismatch(key, "a whole number of nanoseconds", value))?;
            match i64::try_from(number) {
                Ok(nanoseconds) => Ok(Some(Value::Duration(nanoseconds))),
                Err(_) => Err(format!("{key}: {number}: value out of range")),
            }
        }
        Kind::List => list_of(value)
            .map(|words| Some(Value::List(words)))
            .ok_or_else(|| mismatch(key, "a list of strings", value)),
        Kind::Text | Kind::Urls | Kind::Origins | Kind::Words | Kind::Choice(_) | Kind::Gates => {
            let Node::Text(text) = value else { return Err(mismatch(key, "a string", value)) };
            if text.is_empty() && flag.kind != Kind::Text {
                return Ok(None);
            }
            Value::parse(flag.kind, text).map(Some).map_err(|error| format!("{key}: {error}"))
        }
    }
}

fn bool_of(value: &Node) -> Option<bool> {
    match value {
        Node::Bool(on) => Some(*on),
        _ => None,
    }
}

fn number_of(value: &Node) -> Option<i128> {
    match value {
        Node::Integer(number) => Some(*number),
        // Too wide for an integer, or written like 1e9.
        Node::Real(real) => (real.fract() == 0.0 && real.abs() < 1e18).then_some(*real as i128),
        _ => None,
    }
}

fn list_of(value: &Node) -> Option<Vec<String>> {
    let Node::List(items) = value else { return None };
    let text = |item: &std::rc::Rc<Node>| match item.as_ref() {
        Node::Text(text) => Some(text.clone()),
        _ => None,
    };
    items.iter().map(text).collect()
}

fn mismatch(key: &str, expected: &str, found: &Node) -> String {
    format!("{key}: expected {expected}, found {}", found.kind())
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
