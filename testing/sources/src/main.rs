//! Writes the history into a real etcd and into Bowline and compares what every source shows of it: `sources --etcd
//! PATH --bowline PATH [--fixture FILE]`. With a fixture the snapshot is kept there, which is how the ones in
//! `fixtures` were made.

use doctor::source::{Source, open_data_directory, open_snapshot};
use harness::{Kind, Server};
use sources::{Seen, look, open, write};
use std::path::{Path, PathBuf};

#[derive(Default)]
struct Arguments {
    etcd: PathBuf,
    bowline: PathBuf,
    fixture: Option<PathBuf>,
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments::default();
    let mut given = std::env::args().skip(1);
    while let Some(flag) = given.next() {
        let value = given.next().ok_or_else(|| format!("{flag}: value missing"))?;
        match flag.as_str() {
            "--etcd" => arguments.etcd = value.into(),
            "--bowline" => arguments.bowline = value.into(),
            "--fixture" => arguments.fixture = Some(value.into()),
            _ => return Err(format!("unknown flag {flag}; known are --etcd, --bowline, --fixture")),
        }
    }
    Ok(arguments)
}

fn main() {
    let arguments = arguments().unwrap_or_else(|message| {
        eprintln!("{message}");
        std::process::exit(2);
    });
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (expected, mut seen) = of_etcd(&arguments, folder.path());
    seen.extend(of_bowline(&arguments, folder.path()));
    let (mut passed, mut failed) = (0, 0);
    for (name, seen) in seen {
        let expected = if seen.history.is_none() { expected.without_history() } else { expected.clone() };
        if seen == expected {
            passed += 1;
        } else {
            failed += 1;
            println!("{name}: shows\n{seen:#?}\nand not\n{expected:#?}");
        }
    }
    println!("sources: {passed} passed, {failed} failed");
    if failed > 0 {
        std::process::exit(1);
    }
}

/// A server on an empty directory with the history in it.
fn started(kind: Kind, binary: &Path, folder: &Path) -> (Server, doctor::source::Live) {
    let mut server = Server::new(kind, binary, folder, &[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(server.start());
    let live = open(&server.url());
    live.block_on(write(live.client())).expect("the history is written");
    (server, live)
}

fn seen(name: &'static str, source: doctor::source::Result<impl Source>) -> (&'static str, Seen) {
    let seen = source.and_then(|mut source| look(&mut source));
    (name, seen.unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// What the snapshot shows, which all others must; and the others.
fn of_etcd(arguments: &Arguments, folder: &Path) -> (Seen, Vec<(&'static str, Seen)>) {
    let (mut server, live) = started(Kind::Etcd, &arguments.etcd, folder);
    live.block_on(live.client().defragment()).expect("defragmented");
    let snapshot = folder.join("snapshot");
    let mut file = std::fs::File::create(&snapshot).expect("the folder is writable");
    let mut take = |blob: &[u8]| std::io::Write::write_all(&mut file, blob);
    live.block_on(live.client().snapshot(&mut take)).expect("a snapshot");
    if let Some(fixture) = &arguments.fixture {
        std::fs::copy(&snapshot, fixture).expect("the fixture is writable");
    }
    let (_, expected) = seen("snapshot", open_snapshot(&snapshot));
    let running = open_snapshot(&server.data_directory()).expect_err("etcd holds its file");
    assert!(running.to_string().contains("a running etcd has it"), "{running}");
    let live = seen("etcd, live", Ok(live));
    server.kill();
    let stopped = seen("etcd, its data directory", open_snapshot(&server.data_directory()));
    (expected, vec![live, stopped])
}

fn of_bowline(arguments: &Arguments, folder: &Path) -> Vec<(&'static str, Seen)> {
    let (mut server, live) = started(Kind::Bowline, &arguments.bowline, folder);
    let live = seen("Bowline, live", Ok(live));
    server.kill();
    vec![live, seen("Bowline, its data directory", open_data_directory(&server.data_directory()))]
}
