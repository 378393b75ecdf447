//! Texts made from the table: the usage, the help in etcd's layout, and the reference page `docs/flags.md`.

use super::legacy::{self, Legacy};
use super::{Bounds, FLAGS, FileKey, Flag, Kind, Section, Status};
use crate::config::gates::{Effect, GATES, Gate};
use std::fmt::Write;

/// What is printed behind a complaint about the command line. `program` is how the server was called.
pub fn usage(program: &str) -> String {
    format!(
        "Usage:

  {program} [flags]
    Start a member.

  {program} --version
    Show the version.

  {program} -h | --help
    Show the help information.

  {program} --config-file
    Path to the config file, YAML or JSON. If there is one, all other flags and variables are ignored.
    Durations stand in it as whole nanoseconds (600000000000 for 10m); \"10m\" is for the command line.
"
    )
}

/// Usage and all flags, section by section.
pub fn help(program: &str) -> String {
    let mut text = usage(program);
    for section in Section::ALL {
        push(&mut text, format_args!("\n{}:\n", section.title()));
        for flag in FLAGS.iter().filter(|flag| flag.section == section) {
            push_flag(&mut text, flag);
        }
    }
    text.push_str("\nUnsafe flags may break the guarantees that consensus and the log give.\n");
    text
}

fn push_flag(text: &mut String, flag: &Flag) {
    push(text, format_args!("  --{} '{}'\n", flag.name, flag.default));
    for line in flag.help.lines() {
        push(text, format_args!("    {line}\n"));
    }
    if flag.kind == Kind::Gates {
        for gate in GATES {
            push(text, format_args!("    {}\n", gate_line(gate)));
        }
    }
    if let Some(line) = status_sentence(flag) {
        push(text, format_args!("    {line}\n"));
    }
}

fn status_sentence(flag: &Flag) -> Option<String> {
    match flag.status {
        Status::Works => None,
        Status::Accepted(why) => Some(format!("Has no effect: {why}.")),
        Status::NotYet(what) => Some(format!("Only the default is accepted: {what}.")),
    }
}

fn gate_line(gate: &Gate) -> String {
    format!("{}=true|false ({} - default={})", gate.name, gate.stage.name(), gate.default)
}

/// The page `docs/flags.md`.
pub fn reference() -> String {
    let mut text = String::from(
        "# Flags of `bowline server`

This page is generated from the table in `crates/cli/src/flags/table.rs`: `cargo xtask fix` writes it, `cargo xtask tidy`
compares it. Names, defaults and syntax are etcd's; called as `etcd`, the binary takes these flags without a sub-command.

Every flag is also a variable: `--initial-cluster-state` is `ETCD_INITIAL_CLUSTER_STATE`. Setting both is an error. With
`--config-file` (or `ETCD_CONFIG_FILE`) only the file counts; the column *file* names the key where it is not the flag's name.
Durations read `1h30m` on the command line and in variables, and are whole nanoseconds in the file.

A flag *works*, or *has no effect* because what it tunes does not exist here, or is *not there yet*: then any value but the
default is refused.
",
    );
    for section in Section::ALL {
        push(
            &mut text,
            format_args!(
                "\n## {}\n\n| flag | default | bounds | file | status |\n|---|---|---|---|---|\n",
                section.title()
            ),
        );
        for flag in FLAGS.iter().filter(|flag| flag.section == section) {
            push_row(&mut text, flag);
        }
    }
    text.push_str("\n## Feature gates\n\n| gate | default | status |\n|---|---|---|\n");
    for gate in GATES {
        push(&mut text, format_args!("| `{}` | {} | {} |\n", gate.name, gate.default, gate_status(gate)));
    }
    push_legacy(&mut text);
    text
}

fn push_row(text: &mut String, flag: &Flag) {
    let file = match flag.file {
        FileKey::Same => String::new(),
        FileKey::Path(path) => format!("`{path}`"),
        FileKey::Absent => "not in the file".to_owned(),
    };
    let status = match flag.status {
        Status::Works => "works".to_owned(),
        Status::Accepted(why) => format!("has no effect: {why}"),
        Status::NotYet(what) => format!("not there yet: {what}"),
    };
    let default = if flag.default.is_empty() { String::new() } else { format!("`{}`", flag.default) };
    let help = flag.help.replace('\n', " ");
    push(text, format_args!("| `{}`<br>{help} | {default} | {} | {file} | {status} |\n", flag.name, bounds_text(flag)));
}

fn bounds_text(flag: &Flag) -> String {
    let Bounds { min, max } = flag.bounds;
    let number = |value: i128| match flag.kind {
        Kind::Duration => duration_text(value),
        _ => value.to_string(),
    };
    let range = match (min == i128::MIN, max == i128::MAX) {
        (true, true) => String::new(),
        (false, true) => format!("≥ {}", number(min)),
        (true, false) => format!("≤ {}", number(max)),
        (false, false) => format!("{} to {}", number(min), number(max)),
    };
    format!("{range} {}", flag.unit).trim().to_owned()
}

fn duration_text(nanoseconds: i128) -> String {
    const HOUR: i128 = 3_600_000_000_000;
    if nanoseconds == 0 {
        "0".to_owned()
    } else if nanoseconds % HOUR == 0 {
        format!("{}h", nanoseconds / HOUR)
    } else {
        format!("{nanoseconds}ns")
    }
}

fn gate_status(gate: &Gate) -> String {
    match gate.effect {
        Effect::Accepted(why) => format!("has no effect: {why}"),
        Effect::NotYet(why) => format!("not there yet: {why}"),
        Effect::All(_) => "switches every gate of its stage that is not named itself".to_owned(),
    }
}

fn push_legacy(text: &mut String) {
    text.push_str("\n## Removed names\n\nThese still work, with a warning:\n\n| old | new |\n|---|---|\n");
    for (old, legacy) in legacy::mapped() {
        let new = match legacy {
            Legacy::Renamed(new) => format!("`{new}`"),
            Legacy::Gate(gate) => format!("gate `{gate}`"),
            Legacy::Ignored | Legacy::Gone(_) => continue,
        };
        push(text, format_args!("| `{old}` | {new} |\n"));
    }
    let names: Vec<String> = legacy::ignored().iter().map(|name| format!("`{name}`")).collect();
    push(text, format_args!("\nThese are taken with any value and do nothing, as in etcd: {}.\n", names.join(", ")));
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_lists_every_flag_as_etcd_does() {
        let help = help("etcd");
        assert!(help.starts_with("Usage:\n\n  etcd [flags]\n"));
        for flag in FLAGS {
            assert!(help.contains(&format!("\n  --{} '{}'\n    ", flag.name, flag.default)), "{}", flag.name);
        }
        for gate in GATES {
            assert!(help.contains(&format!("\n    {}=true|false (", gate.name)), "{}", gate.name);
        }
    }

    #[test]
    fn the_reference_page_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/flags.md");
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert!(page == reference(), "docs/flags.md is not what the table says; run `cargo xtask fix`");
    }
}
