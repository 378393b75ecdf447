//! `bowline doctor space`: who fills a store, and digging it out, on Bowline and on any etcd.

use crate::doctor::{common, live, open, output, prefix, print, show, sources, yes};
use clap::{Arg, ArgMatches, Command, value_parser};
use doctor::source::{Live, Source, SourceKind};
use doctor::space::{self, CLASSES, Class, Progress, SpaceFacts, Victim};
use std::io::{IsTerminal, Write as _};
use std::pin::pin;

/// Victims shown in a dry run.
const SHOWN: usize = 5;
/// The exit code of a deletion that control-c ended.
const STOPPED: u8 = 1;
/// Columns of the progress bar.
const BAR: u64 = 40;

pub fn command() -> Command {
    let what = Arg::new("what")
        .long("what")
        .value_name("CLASS")
        .value_delimiter(',')
        .value_parser(CLASSES.iter().map(|class| class.name).collect::<Vec<_>>())
        .default_value("ephemeral-reports")
        .help("Which objects: all of these are made again by their owners, or go by themselves");
    let rate = Arg::new("rate")
        .long("rate")
        .value_name("KEYS")
        .value_parser(value_parser!(u32).range(1..))
        .default_value("5000")
        .help("Keys to delete in a second at most");
    output(sources(common(Command::new("space"))))
        .about("Say who fills the store, and dig it out")
        .subcommand_negates_reqs(true)
        .subcommand(
            common(Command::new("free"))
                .about("Delete what is safe to delete, also while NOSPACE is up")
                .arg(what)
                .arg(rate)
                .arg(yes()),
        )
        .subcommand(
            common(Command::new("sequence"))
                .about("On etcd: compact, defragment member by member, the leader last, and disarm")
                .arg(yes()),
        )
}

pub fn run(matches: &ArgMatches) -> Result<u8, String> {
    match matches.subcommand() {
        Some(("free", matches)) => free(matches),
        Some((_, matches)) => sequence(matches),
        None => look(matches),
    }
}

fn look(matches: &ArgMatches) -> Result<u8, String> {
    let mut source = open(matches)?;
    let facts = census(&mut *source, matches)?;
    if matches.get_one::<String>("output").is_some_and(|form| form == "text") {
        show(&format!("{}\n", space::table(&facts)))?;
    }
    print(&source.info(), &space::findings(&facts), matches)
}

pub fn census(source: &mut dyn Source, matches: &ArgMatches) -> Result<SpaceFacts, String> {
    let now = jiff::Timestamp::now().as_second();
    space::census(source, prefix(matches), now).map_err(|error| error.to_string())
}

fn free(matches: &ArgMatches) -> Result<u8, String> {
    let mut source = live(matches)?;
    let names = matches.get_many::<String>("what").into_iter().flatten();
    let mut all = Vec::new();
    for class in names.filter_map(|name| Class::find(name)) {
        let victims = space::victims(&mut source, prefix(matches), class).map_err(|error| error.to_string())?;
        show(&format!("{}: {} keys ({})\n", class.name, victims.len(), class.safe_because))?;
        for victim in victims.iter().take(SHOWN) {
            show(&format!("  {}\n", String::from_utf8_lossy(&victim.key)))?;
        }
        if victims.len() > SHOWN {
            show(&format!("  and {} more\n", victims.len() - SHOWN))?;
        }
        all.extend(victims);
    }
    if !matches.get_flag("yes") {
        return show("nothing was deleted; --yes does it\n");
    }
    let rate = matches.get_one("rate").copied().unwrap_or(1);
    let progress = source.block_on(delete(&source, &all, rate))?;
    let Progress { deleted, changed, all } = progress;
    let is_stopped = deleted + changed < all;
    let stopped = if is_stopped { ", stopped before the end" } else { "" };
    show(&format!("{deleted} of {all} keys deleted, {changed} were changed meanwhile and left alone{stopped}\n"))?;
    if is_stopped {
        return Ok(STOPPED);
    }
    show(match source.info().kind {
        SourceKind::Bowline => {
            "the server gives the space back by itself, and takes the alarm down below 95 % of the quota\n"
        }
        _ => "etcd's file does not shrink by this: bowline doctor space sequence shows the rest\n",
    })
}

/// Until all is done, or somebody presses control-c; a batch is never left half done.
async fn delete(source: &Live, victims: &[Victim], rate: u32) -> Result<Progress, String> {
    let terminal = std::io::stderr().is_terminal();
    let waker = std::task::Waker::noop();
    let mut stop = pin!(tokio::signal::ctrl_c());
    // It listens from the first time on that it is asked.
    let mut is_stopped = move || stop.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_ready();
    if is_stopped() {
        return Err("control-c cannot be listened for; nothing was deleted".to_owned());
    }
    let mut stopped = false;
    let mut last = Progress { all: victims.len() as u64, ..Progress::default() };
    let mut go_on = |progress: Progress| {
        last = progress;
        if terminal {
            bar(progress);
        }
        stopped |= is_stopped();
        !stopped
    };
    let done = space::free(source.client(), victims, rate, &mut go_on).await;
    if terminal {
        eprintln!();
    }
    done.map_err(|error| format!("{error}; {} of {} keys were deleted before", last.deleted, last.all))
}

fn bar(progress: Progress) {
    let done = progress.deleted + progress.changed;
    let filled = (done * BAR / progress.all.max(1)) as usize;
    let bar = format!("{}{}", "#".repeat(filled), ".".repeat(BAR as usize - filled));
    let _ = write!(std::io::stderr(), "\r[{bar}] {done} of {}", progress.all);
}

fn sequence(matches: &ArgMatches) -> Result<u8, String> {
    let mut source = live(matches)?;
    if source.info().kind == SourceKind::Bowline {
        return show(
            "Bowline needs none of this: it gives space back by itself, and the alarm goes when there is space. If it is full, \
             delete: bowline doctor space free\n",
        );
    }
    let yes = matches.get_flag("yes");
    space::sequence(&mut source, yes, &mut |step| drop(show(&format!("{step}\n"))))?;
    show(if yes { "done\n" } else { "nothing was done; --yes does it, in this order\n" })
}
