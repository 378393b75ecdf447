//! `ETCD_*` variables: every flag has one. They fill in what no flag has set; both at once is an error, whatever the
//! values, because neither could be told to win.

use super::legacy::{self, Legacy};
use super::parse::Refusal;
use super::value::{Value, parse_bool};
use super::{FLAGS, Settings, Source, position};
use crate::config::gates::GateChoice;
use std::path::PathBuf;

const PREFIX: &str = "ETCD_";
const CONFIG_FILE: &str = "ETCD_CONFIG_FILE";

/// The config file that a variable names. It counts only if no flag names one.
pub fn config_file(variables: &[(String, String)]) -> Option<PathBuf> {
    let (_, path) = variables.iter().find(|(name, value)| name == CONFIG_FILE && !value.is_empty())?;
    Some(PathBuf::from(path))
}

/// Takes all variables over. An empty one counts as not set; an unknown one earns a warning.
pub fn apply(variables: &[(String, String)], settings: &mut Settings) -> Result<(), Refusal> {
    for (variable, text) in variables {
        let Some(suffix) = variable.strip_prefix(PREFIX) else { continue };
        if text.is_empty() {
            continue;
        }
        match find(suffix) {
            Some(Target::Flag { at, renamed }) => {
                if settings.is_set(FLAGS[at].name) {
                    return Err(Refusal::Shadowed { variable: variable.clone() });
                }
                let value = Value::parse(FLAGS[at].kind, text).map_err(|error| invalid(variable, text, &error))?;
                settings.set(at, value, Source::Environment);
                if renamed {
                    let message = "environment variable is renamed in etcd 3.7, drop EXPERIMENTAL_ from its name";
                    settings.warn(message, "environment-variable", variable);
                }
            }
            Some(Target::Gate(gate)) => {
                let on = parse_bool(text).ok_or_else(|| invalid(variable, text, "parse error"))?;
                settings.legacy_gates.push(GateChoice { name: gate, on });
                let message = "environment variable is removed in etcd 3.7, use ETCD_FEATURE_GATES";
                settings.warn(message, "environment-variable", variable);
            }
            None => {
                settings.warn("unrecognized environment variable", "environment-variable", format!("{variable}={text}"))
            }
        }
    }
    Ok(())
}

enum Target {
    Flag { at: usize, renamed: bool },
    Gate(&'static str),
}

/// `INITIAL_CLUSTER` means `initial-cluster`; case counts.
fn find(suffix: &str) -> Option<Target> {
    if suffix.contains(|c: char| c.is_ascii_lowercase() || c == '-') {
        return None;
    }
    let name = &suffix.to_ascii_lowercase().replace('_', "-");
    if let Some(at) = position(name) {
        return Some(Target::Flag { at, renamed: false });
    }
    match legacy::find(name)? {
        Legacy::Renamed(new) => Some(Target::Flag { at: position(new)?, renamed: true }),
        Legacy::Gate(gate) => Some(Target::Gate(gate)),
        Legacy::Ignored | Legacy::Gone(_) => None,
    }
}

fn invalid(variable: &str, text: &str, error: &str) -> Refusal {
    Refusal::Invalid(format!("invalid value {text:?} for {variable}: {error}"))
}
