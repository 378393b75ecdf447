//! `bowline util salvage`: which stored pairs of a stopped member cannot be read, and giving up those that a person
//! names. `docs/operate/damage.md` says when.
//!
//! What is given up is written down twice: what was found in its place, for whoever wants to look, and what the member
//! is to take for it. The store and the log are not touched; the member deletes the keys when it starts.

use clap::{Arg, ArgAction, ArgMatches, Command};
use io::{Disk, Open, OsDisk};
use mvcc::Lost;
use state::{lost_pairs, substitute};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{DataDir, GivenUp, Identity, Image, Reader, read_given_up, write_given_up};

pub fn command() -> Command {
    let salvage = Command::new("salvage")
        .about("List the stored pairs of a stopped member that cannot be read, and give up those that are named")
        .arg(
            Arg::new("data-dir")
                .long("data-dir")
                .value_name("DIRECTORY")
                .required(true)
                .value_parser(clap::value_parser!(PathBuf))
                .help("The data directory of a member that does not run"),
        )
        .arg(
            Arg::new("give-up")
                .long("give-up")
                .value_name("KEY")
                .action(ArgAction::Append)
                .help("A key of the list, as it is printed there; may be repeated. Its lost values stay lost, and the key is deleted at the next start"),
        )
        .arg(
            Arg::new("confirm-loss")
                .long("confirm-loss")
                .action(ArgAction::SetTrue)
                .help("Without this it is only said what would be given up"),
        );
    Command::new("util")
        .about("Work on the data directory of a member that does not run")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(salvage)
}

/// The error is one sentence; that something is lost is one, too.
pub fn run(matches: &ArgMatches) -> Result<(), String> {
    match matches.subcommand() {
        Some(("salvage", salvage)) => run_salvage(salvage),
        // clap lets nothing else by.
        _ => Ok(()),
    }
}

fn run_salvage(matches: &ArgMatches) -> Result<(), String> {
    let path: &PathBuf = matches.get_one("data-dir").ok_or("--data-dir is missing")?;
    let wanted = matches.get_many::<String>("give-up").into_iter().flatten();
    let wanted = wanted.map(|key| unescape(key)).collect::<Result<BTreeSet<Vec<u8>>, String>>()?;
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let directory = open(&*disk, path)?;
    let image = Image::open(disk.clone(), &directory.store_dir()).map_err(|fault| fault.to_string())?;
    let lost = lost_pairs(&image).map_err(|fault| format!("read the checkpoint in {}: {fault}", path.display()))?;
    let earlier = read_given_up(&*disk, directory.member_dir()).map_err(|fault| fault.to_string())?;
    if wanted.is_empty() {
        return list(&lost, &earlier);
    }
    if let Some(key) = wanted.iter().find(|key| !lost.iter().any(|lost| lost.key == key.as_slice())) {
        return Err(format!(
            "give up {}: it is not in the list of what is lost; nothing was changed",
            key.escape_ascii()
        ));
    }
    let named: Vec<&Lost> = lost.iter().filter(|lost| wanted.contains(lost.key.as_ref())).collect();
    let lines: String = named.iter().map(|lost| line(lost)).collect();
    if !matches.get_flag("confirm-loss") {
        print!("{lines}");
        return Err("nothing was changed: --confirm-loss gives up the above".to_owned());
    }
    let kept = keep(&*disk, directory.member_dir(), &image.reader(), &named)?;
    let mut given_up = earlier;
    given_up.extend(named.iter().map(|lost| (lost.meta.location, substitute(lost))));
    write_given_up(&*disk, directory.member_dir(), &given_up).map_err(|fault| fault.to_string())?;
    print!("given up:\n{lines}what was found in their places is in {}\n", kept.display());
    println!("start the member: it takes empty values for them while it applies its log, and then deletes the keys");
    Ok(())
}

/// Locks it. Makes nothing where no member is.
fn open(disk: &dyn Disk, path: &Path) -> Result<DataDir, String> {
    if !path.join("member/identity").is_file() {
        return Err(format!("open data directory {}: member/identity is missing, it is no member's", path.display()));
    }
    DataDir::look(disk, path, Identity { cluster: 0, member: 0 }).map_err(|fault| fault.to_string())
}

fn list(lost: &[Lost], given_up: &GivenUp) -> Result<(), String> {
    if lost.is_empty() {
        println!("every pair of the newest checkpoint can be read");
        return Ok(());
    }
    for lost in lost {
        let mark = if given_up.contains_key(&lost.meta.location) { "  (given up)\n" } else { "" };
        print!("{}{mark}", line(lost));
    }
    let left = lost.iter().filter(|lost| !given_up.contains_key(&lost.meta.location)).count();
    if left == 0 {
        return Ok(());
    }
    Err(format!(
        "pairs that cannot be read: {left}; put the damaged files back from a backup, or give up a key with --give-up KEY \
         --confirm-loss"
    ))
}

fn line(lost: &Lost) -> String {
    let age = if lost.is_current { "current" } else { "history" };
    format!("{}  revision {}  {age}: {}\n", lost.key.escape_ascii(), lost.meta.mod_revision(), lost.fault)
}

/// Writes down what lies in the places of the records, in a file of its own.
fn keep(disk: &dyn Disk, member: &Path, reader: &Reader, named: &[&Lost]) -> Result<PathBuf, String> {
    let mut text = String::new();
    for lost in named {
        let meta = &lost.meta;
        let found = reader.raw(meta.location).map_err(|fault| fault.to_string());
        let bytes = match &found {
            Ok(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            Err(why) => format!("unreadable: {why}"),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "key {}\nrevision {} create_revision {} version {} lease {:x}\nsegment {:08x} offset {} length {}\nwhy {}\n\
             record {bytes}\n",
            lost.key.escape_ascii(),
            meta.mod_revision(),
            meta.create_revision,
            meta.version,
            meta.lease.0,
            meta.location.segment,
            meta.location.offset,
            meta.location.record_bytes(),
            lost.fault,
        );
    }
    let failed = |path: &Path, error: std::io::Error| format!("write {}: {error}; nothing was changed", path.display());
    for number in 1.. {
        let path = member.join(format!("salvaged-{number}.txt"));
        let file = match disk.open(&path, Open::CREATE_NEW) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(failed(&path, error)),
        };
        let written = file.write_at(text.as_bytes(), 0).and_then(|()| file.sync_all());
        written.and_then(|()| disk.sync_dir(member)).map_err(|error| failed(&path, error))?;
        return Ok(path);
    }
    Err("there is no name left for what is cut out".to_owned())
}

/// A key as `escape_ascii` prints it.
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let wrong = || format!("key {text}: after a backslash come x and two hexadecimal digits, or one of \\ ' \" n r t");
    let mut key = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        key.push(match (byte, byte == b'\\') {
            (byte, false) => byte,
            _ => match bytes.next().ok_or_else(wrong)? {
                byte @ (b'\\' | b'\'' | b'"') => byte,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'x' => {
                    let digits = [bytes.next().ok_or_else(wrong)?, bytes.next().ok_or_else(wrong)?];
                    let digits = std::str::from_utf8(&digits).map_err(|_| wrong())?;
                    u8::from_str_radix(digits, 16).map_err(|_| wrong())?
                }
                _ => return Err(wrong()),
            },
        });
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_as_it_is_printed() {
        let all: Vec<u8> = (0..=u8::MAX).collect();
        assert_eq!(unescape(&all.escape_ascii().to_string()), Ok(all));
        assert_eq!(unescape("/registry/pods/a"), Ok(b"/registry/pods/a".to_vec()));
        for wrong in ["\\", "\\x", "\\x1", "\\xzz", "\\q"] {
            assert!(unescape(wrong).is_err(), "{wrong}");
        }
    }
}
