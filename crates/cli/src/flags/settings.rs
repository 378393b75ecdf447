//! What was asked for: one value per flag of the table and where it came from.

use super::{FLAGS, Flag, Value, position};
use crate::config::gates::GateChoice;
use std::path::PathBuf;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Default,
    Flag,
    Environment,
    File,
}

/// Something to log once there is a logger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    pub message: &'static str,
    /// Name and value.
    pub field: (&'static str, String),
}

#[derive(Debug)]
pub struct Settings {
    /// In the order of `FLAGS`.
    slots: Vec<Slot>,
    /// Gates switched under names that etcd has since removed. Choices under `--feature-gates` win over them.
    pub legacy_gates: Vec<GateChoice>,
    pub warnings: Vec<Warning>,
    /// The file that replaced flags and environment.
    pub config_file: Option<PathBuf>,
}

#[derive(Debug)]
struct Slot {
    value: Value,
    source: Source,
}

impl Settings {
    pub fn defaults() -> Settings {
        let slot = |flag: &Flag| Slot {
            value: Value::parse(flag.kind, flag.default).expect("a test parses every default of the table"),
            source: Source::Default,
        };
        Settings {
            slots: FLAGS.iter().map(slot).collect(),
            legacy_gates: Vec::new(),
            warnings: Vec::new(),
            config_file: None,
        }
    }

    pub fn set(&mut self, at: usize, value: Value, source: Source) {
        self.slots[at] = Slot { value, source };
    }

    pub fn warn(&mut self, message: &'static str, field: &'static str, value: impl Into<String>) {
        self.warnings.push(Warning { message, field: (field, value.into()) });
    }

    /// Each flag with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Flag, &Value, Source)> {
        FLAGS.iter().zip(&self.slots).map(|(flag, slot)| (flag, &slot.value, slot.source))
    }

    pub fn source(&self, name: &str) -> Source {
        self.slot(name).source
    }

    pub fn is_set(&self, name: &str) -> bool {
        self.source(name) != Source::Default
    }

    pub fn text(&self, name: &str) -> &str {
        match &self.slot(name).value {
            Value::Text(text) => text,
            other => wrong_kind(name, other),
        }
    }

    pub fn bool(&self, name: &str) -> bool {
        match &self.slot(name).value {
            Value::Bool(on) => *on,
            other => wrong_kind(name, other),
        }
    }

    /// A number, or the nanoseconds of a duration.
    pub fn number(&self, name: &str) -> i128 {
        let value = &self.slot(name).value;
        value.number().unwrap_or_else(|| wrong_kind(name, value))
    }

    pub fn urls(&self, name: &str) -> &[super::url::Url] {
        match &self.slot(name).value {
            Value::Urls(urls) => urls,
            other => wrong_kind(name, other),
        }
    }

    pub fn list(&self, name: &str) -> &[String] {
        match &self.slot(name).value {
            Value::List(words) => words,
            other => wrong_kind(name, other),
        }
    }

    /// Choices of `--feature-gates` behind those made under removed names, so that the last one named counts.
    pub fn gates(&self) -> Vec<GateChoice> {
        match &self.slot("feature-gates").value {
            Value::Gates(choices) => self.legacy_gates.iter().chain(choices).cloned().collect(),
            other => wrong_kind("feature-gates", other),
        }
    }

    fn slot(&self, name: &str) -> &Slot {
        let at = position(name).unwrap_or_else(|| panic!("no flag is called {name}: the code asks for it"));
        &self.slots[at]
    }
}

fn wrong_kind(name: &str, value: &Value) -> ! {
    panic!("flag {name} holds {value:?}: the code asks for another kind")
}
