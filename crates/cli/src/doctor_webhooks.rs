//! `bowline doctor webhooks`: what stands in the way of a boot, and lifting it. Looking works everywhere, changing on a
//! running server alone.

use crate::doctor::{common, facts, file, live, offline, open, output, prefix, print, releases, show, sources, yes};
use clap::{Arg, ArgAction, ArgMatches, Command};
use client::Client;
use doctor::change::{self, Plan};
use doctor::source::{Live, Source};
use doctor::webhooks::{self, Action, Found, Kind, Patch, Target};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

pub fn command() -> Command {
    let change = |name: &'static str, about: &'static str| {
        sources(common(Command::new(name))).about(about).arg(yes()).arg(undo_directory())
    };
    let rule = Arg::new("rule")
        .long("rule")
        .value_parser(["minimal", "system-apiserver"])
        .default_value("minimal")
        .help("minimal: only what the webhook would block of a boot; system-apiserver: all that the API server writes itself");
    let force = Arg::new("force")
        .long("force")
        .action(ArgAction::SetTrue)
        .help("Also if somebody changed it again since; the diff shows what is lost");
    let record = Arg::new("record").required(true).value_name("FILE|ID").help("The undo file, or the change's id");
    Command::new("webhooks")
        .about("Webhook configurations: what they block, and how to lift it")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(output(sources(common(Command::new("list")))).about("List webhooks with what they mean for a boot"))
        .subcommand(
            named(output(sources(common(Command::new("explain"))))).about("Say what a webhook would block, and why"),
        )
        .subcommand(named(change("disable", "Set failurePolicy to Ignore")))
        .subcommand(named(change("patch", "Add a match condition that keeps what a boot must write out")).arg(rule))
        .subcommand(named(change("delete", "Delete a configuration")))
        .subcommand(change("undo", "Bring back what was before a change").arg(record).arg(force))
}

fn named(command: Command) -> Command {
    let kinds = Kind::ALL.map(Kind::name);
    let name = Arg::new("name")
        .required(true)
        .value_name("CONFIGURATION[/WEBHOOK]")
        .help("As `list` names it; or all webhooks of one configuration");
    let kind = Arg::new("kind")
        .long("kind")
        .value_parser(kinds)
        .help("Which one, if two have this name; a policy's binding can only be deleted");
    command.arg(name).arg(kind)
}

fn undo_directory() -> Arg {
    file("undo-dir", "Where the undo file and the audit log go").default_value(".")
}

/// The exit code.
pub fn run(name: &str, matches: &ArgMatches) -> Result<u8, String> {
    match name {
        "list" => list(matches),
        "explain" => explain(matches),
        _ => {
            if let Some(flag) = offline(matches) {
                return Err(format!("--{flag} is only read: changes are made on a running server, see --endpoints"));
            }
            let mut source = live(matches)?;
            let plan = if name == "undo" { undo(&source, matches) } else { planned(&mut source, name, matches) }?;
            carry_out(&source, &plan, matches)
        }
    }
}

fn list(matches: &ArgMatches) -> Result<u8, String> {
    let facts = facts(&mut *open(matches)?, matches)?;
    let releases = releases(&facts, matches);
    if is_json(matches) {
        return show(&format!("{:#}\n", webhooks::list_json(&facts, releases)));
    }
    show(&webhooks::list(&facts, releases))
}

fn is_json(matches: &ArgMatches) -> bool {
    matches.get_one::<String>("output").is_some_and(|form| form == "json")
}

fn explain(matches: &ArgMatches) -> Result<u8, String> {
    let mut source = open(matches)?;
    let facts = facts(&mut *source, matches)?;
    let releases = releases(&facts, matches);
    let target = target(matches);
    let found = at(&mut *source, &target, prefix(matches))?;
    if found.is_empty() {
        return Err(webhooks::not_found(prefix(matches), &target.configuration, &facts));
    }
    for one in &found {
        kube::decode(&one.value).map_err(|error| format!("{}: {error}", String::from_utf8_lossy(&one.key)))?;
    }
    if !is_json(matches) {
        show(&webhooks::explain(&facts, releases, &target))?;
    }
    print(&source.info(), &webhooks::about(&facts, releases, &target), matches)
}

fn target(matches: &ArgMatches) -> Target {
    let name = matches.get_one::<String>("name").map_or("", String::as_str);
    let kind = matches.get_one::<String>("kind").and_then(|kind| Kind::find(kind));
    Target::parse(name).of_kind(kind)
}

fn planned(source: &mut Live, name: &str, matches: &ArgMatches) -> Result<Plan, String> {
    let target = target(matches);
    let found = at(source, &target, prefix(matches))?;
    let facts = facts(source, matches)?;
    let Some(found) = target.choose(found)? else {
        return Err(webhooks::not_found(prefix(matches), &target.configuration, &facts));
    };
    let action = match (name, matches.try_get_one::<String>("rule").ok().flatten().map(String::as_str)) {
        ("disable", _) => Action::Disable,
        ("delete", _) => Action::Delete,
        (_, Some("system-apiserver")) => Action::Patch(Patch::ApiServer),
        _ => Action::Patch(Patch::Minimal),
    };
    webhooks::plan(&found, &target, action, releases(&facts, matches))
}

/// What lies at the keys that the target may mean.
fn at(source: &mut dyn Source, target: &Target, prefix: &str) -> Result<Vec<Found>, String> {
    let mut found = Vec::new();
    for key in target.keys(prefix) {
        let read = source.range(&key, &mut |entry| {
            // The key itself is the first of all that begin with it.
            if entry.key == key {
                let (key, value) = (entry.key.clone(), entry.value.clone());
                found.push(Found { key, value, mod_revision: entry.mod_revision, lease: entry.lease });
            }
            ControlFlow::Break(())
        });
        read.map_err(|error| error.to_string())?;
    }
    Ok(found)
}

fn undo(source: &Live, matches: &ArgMatches) -> Result<Plan, String> {
    let text = matches.get_one::<String>("record").map(String::as_str).unwrap_or_default();
    source.block_on(async {
        let client: &Client = source.client();
        let record = change::record(client, text).await?;
        change::undo(client, &record, matches.get_flag("force")).await
    })
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
    ))?;
    if let Some(problem) = done.unwritten {
        return Err(problem);
    }
    Ok(0)
}
