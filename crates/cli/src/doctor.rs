//! `bowline doctor`: where to look, what to look for, and the changes that free a control plane. Everything is read-only unless
//! `--yes` is given; the rules and the changes are the doctor crate's.

use crate::{connection, doctor_space};
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};
use client::Client;
use doctor::boot::{self, BootFacts, Releases};
use doctor::change::{self, Plan};
use doctor::finding::Finding;
use doctor::report::{self, Outcome};
use doctor::source::{
    Live, Source, SourceError, SourceInfo, SourceKind, open_data_directory, open_live, open_manifests, open_snapshot,
};
use doctor::webhooks::{self, Action, Found, Patch, Target};
use std::io::{IsTerminal, Write as _};
use std::path::{Path, PathBuf};

/// The exit code of a look that could not be taken.
const CANNOT_TELL: u8 = 2;

pub fn command() -> Command {
    sources(common(Command::new("doctor")))
        .about("Find what keeps a Kubernetes control plane from booting, and free it")
        .after_help("Exit codes: 0 clean, 1 findings, 2 cannot tell, 3 something blocks")
        .subcommand(webhooks_command())
        .subcommand(doctor_space::command())
        .arg(
            Arg::new("explain")
                .long("explain")
                .value_name("ID")
                .help("Say what a finding means, at length; 'list' names all"),
        )
}

fn webhooks_command() -> Command {
    let name = || {
        Arg::new("name")
            .required(true)
            .value_name("CONFIGURATION[/WEBHOOK]")
            .help("As `list` names it; or all webhooks of one configuration")
    };
    let change = |name: &'static str, about: &'static str| {
        common(Command::new(name)).about(about).arg(yes()).arg(undo_directory())
    };
    let rule = Arg::new("rule")
        .long("rule")
        .value_parser(["minimal", "system-apiserver"])
        .default_value("minimal")
        .help("minimal: only what the webhook would block of a boot; system-apiserver: all that the API server writes itself");
    Command::new("webhooks")
        .about("Webhook configurations: what they block, and how to lift it")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(common(Command::new("list")).about("List webhooks with what they mean for a boot"))
        .subcommand(common(Command::new("explain")).about("Say what a webhook would block, and why").arg(name()))
        .subcommand(change("disable", "Set failurePolicy to Ignore").arg(name()))
        .subcommand(
            change("patch", "Add a match condition that keeps what a boot must write out").arg(name()).arg(rule),
        )
        .subcommand(change("delete", "Delete a configuration").arg(name()))
        .subcommand(
            change("undo", "Bring back what was before a change")
                .arg(Arg::new("record").required(true).value_name("FILE|ID").help("The undo file, or the change's id"))
                .arg(
                    Arg::new("force")
                        .long("force")
                        .action(ArgAction::SetTrue)
                        .help("Also if somebody changed it again since"),
                ),
        )
}

/// Where to look if not at a server.
pub fn sources(command: Command) -> Command {
    command
        .arg(file("data-dir", "Look at the data directory of a stopped member of Bowline"))
        .arg(file("snapshot", "Look at a snapshot of etcd, or at the data of a stopped etcd"))
        .arg(file("manifests", "Look at YAML and JSON files that are not applied yet, a file or a folder"))
        .group(ArgGroup::new("offline").args(["data-dir", "snapshot", "manifests"]))
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
        .arg(
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

fn undo_directory() -> Arg {
    file("undo-dir", "Where the undo file and the audit log go").default_value(".")
}

fn file(name: &'static str, help: &'static str) -> Arg {
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
            Some((name, matches)) => run_webhooks(name, matches),
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
    let mut source = open(matches)?;
    let facts = facts(&mut *source, matches)?;
    let mut findings = boot::findings(&facts, releases(&facts, matches));
    // Files that are not applied yet take no space.
    if source.info().kind != SourceKind::Manifests {
        findings.extend(doctor::space::findings(&doctor_space::census(&mut *source, matches)?));
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    print(&source.info(), &findings, matches)
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

fn facts(source: &mut dyn Source, matches: &ArgMatches) -> Result<BootFacts, String> {
    boot::collect(source, prefix(matches)).map_err(|error| error.to_string())
}

fn releases(facts: &BootFacts, matches: &ArgMatches) -> Releases {
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

pub fn show(text: &str) -> Result<u8, String> {
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(|error| format!("write the report: {error}"))?;
    Ok(0)
}

fn run_webhooks(name: &str, matches: &ArgMatches) -> Result<u8, String> {
    let mut source = live(matches)?;
    if name == "undo" {
        return undo(&source, matches);
    }
    let facts = facts(&mut source, matches)?;
    let releases = releases(&facts, matches);
    if name == "list" {
        return show(&webhooks::list(&facts, releases));
    }
    let text = matches.get_one::<String>("name").map(String::as_str).unwrap_or_default();
    let target = Target::parse(text);
    let found = find(&source, prefix(matches), &target)?;
    let Some(found) = found else {
        return Err(webhooks::not_found(prefix(matches), text, &facts));
    };
    let action = match name {
        "explain" => {
            let findings = boot::findings(&facts, releases);
            let about: Vec<Finding> = webhooks::about(&findings, &target).into_iter().cloned().collect();
            return print(&source.info(), &about, matches);
        }
        "disable" => Action::Disable,
        "delete" => Action::Delete,
        _ if matches.get_one::<String>("rule").is_some_and(|rule| rule == "system-apiserver") => {
            Action::Patch(Patch::ApiServer)
        }
        _ => Action::Patch(Patch::Minimal),
    };
    let plan = webhooks::plan(&found, &target, action, releases)?;
    carry_out(&source, &plan, matches)
}

/// The configuration of this name, whichever kind it has.
fn find(source: &Live, prefix: &str, target: &Target) -> Result<Option<Found>, String> {
    for key in webhooks::keys(prefix, &target.configuration) {
        let found = source.block_on(source.client().get(&key)).map_err(|error| error.to_string())?;
        if let Some(entry) = found {
            let (mod_revision, lease) = (entry.mod_revision, entry.lease);
            return Ok(Some(Found { key: key.into(), value: entry.value, mod_revision, lease }));
        }
    }
    Ok(None)
}

fn undo(source: &Live, matches: &ArgMatches) -> Result<u8, String> {
    let text = matches.get_one::<String>("record").map(String::as_str).unwrap_or_default();
    let plan = source.block_on(async {
        let client: &Client = source.client();
        let record = change::record(client, text).await?;
        change::undo(client, &record, matches.get_flag("force")).await
    })?;
    carry_out(source, &plan, matches)
}

fn carry_out(source: &Live, plan: &Plan, matches: &ArgMatches) -> Result<u8, String> {
    show(&format!("{} on {}:\n\n{}\n", plan.what, source.info().place, webhooks::diff(plan)))?;
    if !matches.get_flag("yes") {
        return show("nothing was changed; --yes does it\n");
    }
    let directory = matches.get_one::<PathBuf>("undo-dir").map_or(Path::new("."), PathBuf::as_path);
    let done = source.block_on(change::carry_out(source.client(), plan, directory))?;
    show(&format!(
        "done at revision {}\nundo: bowline doctor webhooks undo {} --yes\n  or, from the store itself: bowline doctor webhooks undo {} --yes\n\n{}\n",
        done.revision,
        done.file.display(),
        done.id,
        webhooks::AFTERWARDS
    ))
}
