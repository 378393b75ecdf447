//! etcd's flag language: one table says everything about a flag, and parsing, the environment, the config file, the
//! help text and the reference page are read from it.
//!
//! Why not clap: etcd's flags are Go's. `-name` and `--name` mean the same, a bool takes its value only after `=`, the
//! last of repeated flags wins, `ETCD_*` variables conflict with flags instead of yielding to them, a config file
//! replaces both, and the usage text and the exit codes are what scripts match on. Each of these would have to be
//! fought for in clap; the whole language is a page of code. The level above (`bowline server`, `bowline version`, …)
//! is clap's.
//!
//! Invariants:
//! - A flag is one entry of `table::FLAGS`; nothing else in this crate spells out a flag's default or help text.
//! - Parsing checks syntax and type only, with etcd's texts. What values mean together is `config`'s matter.
//! - A flag whose feature is missing is refused by `config`, not by its absence from the table: unknown flags stay
//!   errors.

pub mod environment;
pub mod file;
pub mod help;
pub mod legacy;
pub mod parse;
pub mod settings;
pub mod table;
pub mod url;
pub mod value;
mod yaml;

pub use settings::{Settings, Source, Warning};
pub use table::FLAGS;
pub use value::Value;

/// Everything there is to know about one flag.
#[derive(Debug)]
pub struct Flag {
    /// As on the command line, without dashes.
    pub name: &'static str,
    pub section: Section,
    pub kind: Kind,
    /// As one would write it on the command line. Parsed like a given value; a test parses all of them.
    pub default: &'static str,
    /// What a bare number counts, such as `ms`, `bytes` or `years`; empty where the kind says it all.
    pub unit: &'static str,
    /// Inclusive bounds on a number, in its unit, or on a duration, in nanoseconds.
    pub bounds: Bounds,
    pub file: FileKey,
    pub status: Status,
    /// Whole sentences, one line each.
    pub help: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub min: i128,
    pub max: i128,
}

impl Bounds {
    const NONE: Bounds = Bounds { min: i128::MIN, max: i128::MAX };

    pub fn contain(self, value: i128) -> bool {
        self.min <= value && value <= self.max
    }
}

/// How the text of a value is read. The widths are Go's on a 64-bit machine, because etcd's are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Bool,
    Signed,
    Unsigned,
    Unsigned32,
    Duration,
    /// Comma-separated URLs.
    Urls,
    /// Comma-separated URLs, or `*`, or nothing.
    Origins,
    /// Comma-separated words. Within the config file a YAML list.
    List,
    /// Comma-separated words. Within the config file a string like on the command line.
    Words,
    /// One of these words; anything else fails to parse.
    Choice(&'static [&'static str]),
    Gates,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    Member,
    Clustering,
    Security,
    Auth,
    Monitoring,
    Logging,
    Tracing,
    Features,
    Unsafe,
}

impl Section {
    /// In the order in which help prints them.
    pub const ALL: [Section; 9] = [
        Section::Member,
        Section::Clustering,
        Section::Security,
        Section::Auth,
        Section::Monitoring,
        Section::Logging,
        Section::Tracing,
        Section::Features,
        Section::Unsafe,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Section::Member => "Member",
            Section::Clustering => "Clustering",
            Section::Security => "Security",
            Section::Auth => "Auth",
            Section::Monitoring => "Profiling and Monitoring",
            Section::Logging => "Logging",
            Section::Tracing => "Distributed tracing",
            Section::Features => "Features",
            Section::Unsafe => "Unsafe feature",
        }
    }
}

/// Where the config file has the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKey {
    /// At the top, under the flag's name.
    Same,
    /// Inside mappings: their keys and its own, joined by dots.
    Path(&'static str),
    /// Only flag and environment set it.
    Absent,
}

/// What giving the flag does today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Works,
    /// Taken at any valid value, and nothing follows from it; says why that is right.
    Accepted(&'static str),
    /// Any value but the default is refused; says what is missing.
    NotYet(&'static str),
}

impl Flag {
    const fn new(name: &'static str, section: Section, kind: Kind, default: &'static str) -> Flag {
        Flag {
            name,
            section,
            kind,
            default,
            unit: "",
            bounds: Bounds::NONE,
            file: FileKey::Same,
            status: Status::Works,
            help: "",
        }
    }

    const fn unit(self, unit: &'static str) -> Flag {
        Flag { unit, ..self }
    }

    const fn bounds(self, min: i128, max: i128) -> Flag {
        Flag { bounds: Bounds { min, max }, ..self }
    }

    const fn in_file(self, path: &'static str) -> Flag {
        Flag { file: FileKey::Path(path), ..self }
    }

    const fn not_in_file(self) -> Flag {
        Flag { file: FileKey::Absent, ..self }
    }

    const fn accepted(self, why: &'static str) -> Flag {
        Flag { status: Status::Accepted(why), ..self }
    }

    const fn not_yet(self, what: &'static str) -> Flag {
        Flag { status: Status::NotYet(what), ..self }
    }

    const fn help(self, help: &'static str) -> Flag {
        Flag { help, ..self }
    }
}

/// Position of the flag in `FLAGS`; names are etcd's, case matters.
pub fn position(name: &str) -> Option<usize> {
    FLAGS.iter().position(|flag| flag.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_is_complete_and_named_once() {
        for (at, flag) in FLAGS.iter().enumerate() {
            assert_eq!(position(flag.name), Some(at), "{} stands twice", flag.name);
            assert!(flag.help.ends_with('.'), "{}: help is not a sentence", flag.name);
            assert!(flag.bounds.min <= flag.bounds.max, "{}", flag.name);
            let default = Value::parse(flag.kind, flag.default);
            assert!(default.is_ok(), "{}: default {:?}: {default:?}", flag.name, flag.default);
            if let Some(number) = default.ok().and_then(|value| value.number()) {
                assert!(flag.bounds.contain(number), "{}: default out of bounds", flag.name);
            }
        }
    }

    #[test]
    fn sections_are_contiguous_and_in_order() {
        let order: Vec<Section> = FLAGS.iter().map(|flag| flag.section).collect();
        let mut seen = order.clone();
        seen.dedup();
        assert_eq!(seen, Section::ALL);
    }
}
