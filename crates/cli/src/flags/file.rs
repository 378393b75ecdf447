//! The config file: YAML, of which JSON is a part. It is the only source when there is one: flags and environment do
//! not count. Unknown keys are ignored, and keys match whatever their case. Numbers stay numbers: durations are
//! nanoseconds.

use super::legacy::{self, Legacy};
use super::parse::Refusal;
use super::value::Value;
use super::{FLAGS, FileKey, Flag, Kind, Settings, Source, position};
use crate::config::gates::GateChoice;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use yaml_rust2::{Yaml, YamlLoader};

/// No sensible file comes near; a device or a data file named by mistake must not be read whole.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads the file into settings on top of the defaults.
pub fn load(path: &Path) -> Result<Settings, Refusal> {
    let in_file = |error: String| Refusal::Invalid(format!("config file {}: {error}", path.display()));
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
    let documents = YamlLoader::load_from_str(text).map_err(|error| format!("not valid YAML: {error}"))?;
    let mut settings = Settings::defaults();
    let Some(top) = documents.first() else { return Ok(settings) };
    match top {
        Yaml::Null => return Ok(settings),
        Yaml::Hash(_) => {}
        other => return Err(format!("expected a mapping of keys to values, found {}", kind_name(other))),
    }
    for (at, flag) in FLAGS.iter().enumerate() {
        let path = match flag.file {
            FileKey::Same => flag.name,
            FileKey::Path(path) => path,
            FileKey::Absent => continue,
        };
        if let Some(value) = find(top, path) {
            take(&mut settings, at, path, value)?;
        }
    }
    for (name, legacy) in legacy::mapped() {
        let Some(value) = find(top, &name) else { continue };
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
fn find<'a>(top: &'a Yaml, path: &str) -> Option<&'a Yaml> {
    let mut value = top;
    for key in path.split('.') {
        let Yaml::Hash(mapping) = value else { return None };
        value = mapping.iter().find(|(name, _)| name.as_str().is_some_and(|name| name.eq_ignore_ascii_case(key)))?.1;
    }
    if value.is_null() { None } else { Some(value) }
}

fn take(settings: &mut Settings, at: usize, key: &str, value: &Yaml) -> Result<(), String> {
    if let Some(value) = convert(&FLAGS[at], key, value)? {
        settings.set(at, value, Source::File);
    }
    Ok(())
}

/// `None`: as if the key were not there.
fn convert(flag: &Flag, key: &str, value: &Yaml) -> Result<Option<Value>, String> {
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
            let Yaml::String(text) = value else { return Err(mismatch(key, "a string", value)) };
            if text.is_empty() && flag.kind != Kind::Text {
                return Ok(None);
            }
            Value::parse(flag.kind, text).map(Some).map_err(|error| format!("{key}: {error}"))
        }
    }
}

/// etcd's YAML is of version 1.1, where these words are booleans too.
fn bool_of(value: &Yaml) -> Option<bool> {
    match value {
        Yaml::Boolean(on) => Some(*on),
        Yaml::String(word) => match word.as_str() {
            "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => Some(true),
            "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn number_of(value: &Yaml) -> Option<i128> {
    match value {
        Yaml::Integer(number) => Some((*number).into()),
        // Too wide for the parser's integers, or written like 1e9.
        Yaml::Real(text) => text.parse().ok().or_else(|| {
            let real: f64 = text.parse().ok()?;
            (real.fract() == 0.0 && real.abs() < 1e18).then_some(real as i128)
        }),
        _ => None,
    }
}

fn list_of(value: &Yaml) -> Option<Vec<String>> {
    let Yaml::Array(items) = value else { return None };
    items.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

fn mismatch(key: &str, expected: &str, found: &Yaml) -> String {
    format!("{key}: expected {expected}, found {}", kind_name(found))
}

fn kind_name(value: &Yaml) -> &'static str {
    match value {
        Yaml::String(_) => "a string",
        Yaml::Integer(_) | Yaml::Real(_) => "a number",
        Yaml::Boolean(_) => "a boolean",
        Yaml::Array(_) => "a list",
        Yaml::Hash(_) => "a mapping",
        Yaml::Alias(_) | Yaml::Null | Yaml::BadValue => "nothing",
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
