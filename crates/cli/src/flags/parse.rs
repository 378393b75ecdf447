//! The command line, read as Go's flag package reads it, with the environment or the config file behind it.
//!
//! Order of things, which is etcd's: all flags are read first, the last one of a name wins; help beats everything
//! behind it; then the version; then left-over arguments; then a config file replaces flags and environment altogether;
//! else variables fill in what no flag has set.

use super::legacy::{self, Legacy};
use super::value::{Value, parse_bool};
use super::{FLAGS, Kind, Settings, Source, environment, file, position};
use crate::config::gates::GateChoice;
use std::path::PathBuf;

/// What the command line asks for.
#[derive(Debug)]
pub enum Request {
    Start(Settings),
    Help,
    Version,
}

/// Why a command line cannot be carried out; the kinds end the process differently.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Bad syntax or an unknown flag: the complaint, the usage, exit code 2.
    Usage(String),
    /// One record in the log, exit code 1.
    Invalid(String),
    /// A variable that a flag contradicts: one fatal record, exit code 1.
    Shadowed { variable: String },
}

/// Reads `arguments` (without the program's name) and, unless they say otherwise, the `ETCD_` ones of `variables`.
pub fn parse(arguments: &[String], variables: &[(String, String)]) -> Result<Request, Refusal> {
    let mut line = Line { settings: Settings::defaults(), config_file: None, version: false };
    let mut rest = arguments;
    loop {
        match line.take(rest)? {
            Taken::Arguments(count) => rest = rest.get(count..).unwrap_or_default(),
            Taken::Help => return Ok(Request::Help),
            Taken::End(left) => {
                rest = left;
                break;
            }
        }
    }
    if let Some(argument) = rest.first() {
        return Err(Refusal::Invalid(format!("{argument:?} is not a valid flag")));
    }
    if line.version {
        return Ok(Request::Version);
    }
    let Line { mut settings, config_file, .. } = line;
    match config_file.or_else(|| environment::config_file(variables)) {
        Some(path) => Ok(Request::Start(file::load(&path).map_err(Refusal::Invalid)?)),
        None => {
            environment::apply(variables, &mut settings)?;
            Ok(Request::Start(settings))
        }
    }
}

struct Line {
    settings: Settings,
    config_file: Option<PathBuf>,
    version: bool,
}

enum Taken<'a> {
    /// So many arguments were used up.
    Arguments(usize),
    Help,
    /// No more flags; these arguments are left.
    End(&'a [String]),
}

impl Line {
    /// Reads one flag off the front of `arguments`.
    fn take<'a>(&mut self, arguments: &'a [String]) -> Result<Taken<'a>, Refusal> {
        let Some(argument) = arguments.first() else { return Ok(Taken::End(arguments)) };
        let Some(body) = argument.strip_prefix('-').filter(|body| !body.is_empty()) else {
            return Ok(Taken::End(arguments));
        };
        if body == "-" {
            return Ok(Taken::End(arguments.get(1..).unwrap_or_default()));
        }
        let body = body.strip_prefix('-').unwrap_or(body);
        if body.starts_with(['-', '=']) {
            return Err(Refusal::Usage(format!("bad flag syntax: {argument}")));
        }
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (body, None),
        };
        let Some(target) = Target::find(name) else {
            return match name {
                "h" | "help" => Ok(Taken::Help),
                _ => Err(Refusal::Usage(unknown_flag(name))),
            };
        };
        let (text, count) = match value {
            Some(text) => (text, 1),
            None if target.is_bool() => ("true", 1),
            None => match arguments.get(1) {
                Some(next) => (next.as_str(), 2),
                None => return Err(Refusal::Usage(format!("flag needs an argument: -{name}"))),
            },
        };
        self.set(name, target, text).map_err(Refusal::Usage)?;
        Ok(Taken::Arguments(count))
    }

    fn set(&mut self, name: &str, target: Target, text: &str) -> Result<(), String> {
        match target {
            Target::ConfigFile => self.config_file = Some(PathBuf::from(text)),
            Target::Version => self.version = parse_bool(text).ok_or_else(|| invalid_bool(name, text))?,
            Target::Ignored => self.settings.warn("flag is no longer supported and does nothing", "flag", name),
            Target::Gate(gate) => {
                let on = parse_bool(text).ok_or_else(|| invalid_bool(name, text))?;
                self.settings.legacy_gates.push(GateChoice { name: gate, on });
                self.settings.warn("flag is removed in etcd 3.7, use --feature-gates", "flag", name);
            }
            Target::Flag { at, renamed } => {
                let kind = FLAGS[at].kind;
                let value = Value::parse(kind, text).map_err(|error| match kind {
                    Kind::Bool => invalid_bool(name, text),
                    // etcd has two types for choices, and this flag alone is of the other one.
                    Kind::Choice(_) if name == "v2-deprecation" => {
                        format!("invalid value {text:?} for flag -{name}: {error} {text:?}")
                    }
                    _ => format!("invalid value {text:?} for flag -{name}: {error}"),
                })?;
                self.settings.set(at, value, Source::Flag);
                if renamed {
                    self.settings.warn("flag is renamed in etcd 3.7, drop its experimental- prefix", "flag", name);
                }
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
enum Target {
    Flag { at: usize, renamed: bool },
    Gate(&'static str),
    Ignored,
    ConfigFile,
    Version,
}

impl Target {
    fn find(name: &str) -> Option<Target> {
        match name {
            "config-file" => return Some(Target::ConfigFile),
            "version" => return Some(Target::Version),
            _ => {}
        }
        if let Some(at) = position(name) {
            return Some(Target::Flag { at, renamed: false });
        }
        match legacy::find(name)? {
            Legacy::Renamed(new) => Some(Target::Flag { at: position(new)?, renamed: true }),
            Legacy::Gate(gate) => Some(Target::Gate(gate)),
            Legacy::Ignored => Some(Target::Ignored),
            Legacy::Gone(_) => None,
        }
    }

    fn is_bool(self) -> bool {
        match self {
            Target::Flag { at, .. } => FLAGS[at].kind == Kind::Bool,
            Target::Gate(_) | Target::Ignored | Target::Version => true,
            Target::ConfigFile => false,
        }
    }
}

fn unknown_flag(name: &str) -> String {
    match legacy::find(name) {
        Some(Legacy::Gone(reason)) => format!("flag provided but not defined: -{name}\n({reason})"),
        _ => format!("flag provided but not defined: -{name}"),
    }
}

fn invalid_bool(name: &str, text: &str) -> String {
    format!("invalid boolean value {text:?} for -{name}: parse error")
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
