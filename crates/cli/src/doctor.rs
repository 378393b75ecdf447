//! `bowline doctor`: where to look, what to look for, and the changes that free a control plane. Everything is
//! read-only unless `--yes` is given; the rules and the changes are the doctor crate's.

use crate::{connection, doctor_space, doctor_webhooks};
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};
use doctor::boot::{self, BootFacts, Releases};
use doctor::facts::{self, Facts};
use doctor::finding::Finding;
use doctor::report::{self, Outcome};
use doctor::source::{
    Live, Source, SourceError, SourceInfo, SourceKind, open_data_directory, open_live, open_manifests, open_snapshot,
};
use std::fs::OpenOptions;
use std::io::{ErrorKind, IsTerminal, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The exit code of a look that could not be taken.
const CANNOT_TELL: u8 = 2;

pub fn command() -> Command {
    output(sources(common(Command::new("doctor"))))
        .about("Find what keeps a Kubernetes control plane from booting, and free it")
        .after_help("Exit codes: 0 clean, 1 findings, 2 cannot tell, 3 something blocks")
        .subcommand(doctor_webhooks::command())
        .subcommand(doctor_space::command())
        .arg(file("facts", "Judge what was collected before, and look nowhere").conflicts_with("offline"))
        .arg(file("save-facts", "Write what was collected to this file: it can be judged again, elsewhere and later"))
        .arg(
            Arg::new("explain")
                .long("explain")
                .value_name("ID")
                .help("Say what a finding means, at length; 'list' names all"),
        )
}

/// Flags for places that are no running server; one of them at most.
const OFFLINE: [&str; 3] = ["data-dir", "snapshot", "manifests"];

/// The one of them that is given.
pub fn offline(matches: &ArgMatches) -> Option<&'static str> {
    OFFLINE.into_iter().find(|flag| matches.get_one::<PathBuf>(flag).is_some())
}

/// Where to look if not at a server.
pub fn sources(command: Command) -> Command {
    command
        .arg(file("data-dir", "Look at the data directory of a stopped member of Bowline"))
        .arg(file("snapshot", "Look at a snapshot of etcd, or at the data of a stopped etcd"))
        .arg(file("manifests", "Look at YAML and JSON files that are not applied yet, a file or a folder"))
        .group(ArgGroup::new("offline").args(OFFLINE))
}

pub fn common(command: Command) -> Command {
    let minor = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("1.N").value_parser(release).help(help)
    };
    connection::arguments(command)
        .arg(
            Arg::new("prefix")
                .long("prefix")
                .default_value(kube::key::DEFAULT_PREFIX)
                .help("Where kube-apiserver keeps its keys, its --etcd-prefix"),
        )
        .arg(minor("from", "Release of Kubernetes that the store was left by; from the nodes if not given"))
        .arg(minor("target", "Release that is to boot; the same if not given"))
}

pub fn output(command: Command) -> Command {
    command.arg(
        Arg::new("output")
            .long("output")
            .short('o')
            .value_parser(["text", "json"])
            .default_value("text")
            .help("Form of the report"),
    )
}

pub fn yes() -> Arg {
    Arg::new("yes").long("yes").action(ArgAction::SetTrue).help("Do it; without this, it is only shown")
}

pub fn file(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name("PATH").value_parser(value_parser!(PathBuf)).help(help)
}

fn release(text: &str) -> Result<u32, String> {
    boot::minor(text).ok_or_else(|| format!("{text:?} is no release of Kubernetes: 1.34"))
}

/// The exit code.
pub fn run(matches: &ArgMatches) -> u8 {
    let done = match matches.subcommand() {
        Some(("space", space)) => doctor_space::run(space),
        Some(("webhooks", webhooks)) => match webhooks.subcommand() {
            Some((name, matches)) => doctor_webhooks::run(name, matches),
            None => Ok(CANNOT_TELL),
        },
        _ => look(matches),
    };
    done.unwrap_or_else(|error| {
        eprintln!("{error}");
        CANNOT_TELL
    })
}

fn look(matches: &ArgMatches) -> Result<u8, String> {
    if let Some(id) = matches.get_one::<String>("explain") {
        return explain(id);
    }
    let facts = match matches.get_one::<PathBuf>("facts") {
        Some(path) => load(path)?,
        None => collect(matches)?,
    };
    if let Some(path) = matches.get_one::<PathBuf>("save-facts") {
        save(path, &facts)?;
    }
    print(&facts.source, &facts.findings(releases(&facts.boot, matches)), matches)
}

fn collect(matches: &ArgMatches) -> Result<Facts, String> {
    let mut source = open(matches)?;
    let boot = facts(&mut *source, matches)?;
    // Files that are not applied yet take no space.
    let space = match source.info().kind {
        SourceKind::Manifests => None,
        _ => Some(doctor_space::census(&mut *source, matches)?),
    };
    Ok(Facts { version: facts::VERSION, source: source.info(), boot, space })
}

fn load(path: &Path) -> Result<Facts, String> {
    let failed = |error: &dyn std::fmt::Display| format!("read facts {}: {error}", path.display());
    let text = std::fs::read(path).map_err(|error| failed(&error))?;
    Facts::from_json(&text).map_err(|error| failed(&error))
}

fn save(path: &Path, facts: &Facts) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("write facts {}: {error}", path.display());
    let text = serde_json::to_vec_pretty(facts).map_err(|error| failed(&error))?;
    // Names and addresses of a cluster are not for everybody on this machine.
    let file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(&text)).map_err(|error| failed(&error))
}

fn explain(id: &str) -> Result<u8, String> {
    if id == "list" {
        let ids: Vec<&str> = doctor::explain::RULES.iter().map(|(id, _)| *id).collect();
        return show(&format!("{}\n", ids.join("\n")));
    }
    let text = doctor::explain::explain(id).ok_or_else(|| format!("no rule {id:?}; --explain list names all"))?;
    show(&format!("{id}\n\n{text}\n"))
}

pub fn open(matches: &ArgMatches) -> Result<Box<dyn Source>, String> {
    let path = |name: &str| matches.get_one::<PathBuf>(name);
    let failed = |error: SourceError| error.to_string();
    if let Some(path) = path("snapshot") {
        return Ok(Box::new(open_snapshot(path).map_err(failed)?));
    }
    if let Some(path) = path("data-dir") {
        return Ok(Box::new(open_data_directory(path).map_err(failed)?));
    }
    if let Some(path) = path("manifests") {
        return Ok(Box::new(open_manifests(path, prefix(matches)).map_err(failed)?));
    }
    Ok(Box::new(live(matches)?))
}

pub fn live(matches: &ArgMatches) -> Result<Live, String> {
    open_live(&connection::options(matches)).map_err(|error| error.to_string())
}

pub fn prefix(matches: &ArgMatches) -> &str {
    matches.get_one::<String>("prefix").map_or(kube::key::DEFAULT_PREFIX, |prefix| prefix.trim_end_matches('/'))
}

pub fn facts(source: &mut dyn Source, matches: &ArgMatches) -> Result<BootFacts, String> {
    boot::collect(source, prefix(matches)).map_err(|error| error.to_string())
}

pub fn releases(facts: &BootFacts, matches: &ArgMatches) -> Releases {
    Releases::of(facts, matches.get_one("from").copied(), matches.get_one("target").copied())
}

pub fn print(source: &SourceInfo, findings: &[Finding], matches: &ArgMatches) -> Result<u8, String> {
    let text = if matches.get_one::<String>("output").is_some_and(|form| form == "json") {
        format!("{:#}\n", report::json(source, findings))
    } else {
        let color = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        report::text(source, findings, color)
    };
    show(&text)?;
    Ok(Outcome::of(findings).exit_code())
}

/// Whoever reads it may stop before the end: what was asked for is done all the same.
pub fn show(text: &str) -> Result<u8, String> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(format!("write the report: {error}")),
        _ => Ok(0),
    }
}
