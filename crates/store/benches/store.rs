//! What the store costs: appending in batches, reading one record, reading lists of 500. Page cache warm, nothing is
//! synced. `cargo bench -p store -- [DIRECTORY]`; prints medians of several rounds.

use bytes::Bytes;
use io::OsDisk;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{Location, Options, Reader, Store};

const ROUNDS: usize = 7;
const BATCH: usize = 50;
const BATCHES: usize = 4000;
const LIST: usize = 500;
const LISTS: usize = 200;
const READS: usize = 20_000;

fn main() {
    let given = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let base = given.map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(base).expect("a directory on the disk to measure");
    append(directory.path());
    for (count, bytes) in [(1_000_000, 160), (100_000, 1024)] {
        let path = directory.path().join(format!("read-{bytes}"));
        let (store, locations) = fill(&path, count, bytes);
        read(&format!("{count} records of {bytes} B"), &store.reader(), &locations);
    }
}

fn open(path: &Path) -> Store {
    Store::open(Arc::new(OsDisk), path, Options::default()).expect("a new store opens").0
}

fn fill(path: &Path, count: usize, bytes: usize) -> (Store, Vec<Location>) {
    let mut store = open(path);
    let payload = vec![7; bytes];
    let mut locations = Vec::with_capacity(count);
    while locations.len() < count {
        locations.extend((0..BATCH).map(|_| store.append(&[&payload]).expect("append")));
        store.flush().expect("flush");
    }
    (store, locations)
}

fn append(directory: &Path) {
    let payload = [7; 512];
    let rounds = (0..ROUNDS).map(|round| {
        let mut store = open(&directory.join(format!("append-{round}")));
        let start = Instant::now();
        for _ in 0..BATCHES {
            for _ in 0..BATCH {
                store.append(&[&payload]).expect("append");
            }
            store.flush().expect("flush");
        }
        start.elapsed() / (BATCHES * BATCH) as u32
    });
    report("append and flush, batches of 50 x 512 B, per record", rounds.collect());
}

fn read(what: &str, reader: &Reader, locations: &[Location]) {
    let mut next = scatter(locations.len());
    let singles: Vec<Location> = (0..READS).map(|_| locations[next()]).collect();
    let rounds = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        for location in &singles {
            std::hint::black_box(reader.read(*location).expect("read"));
        }
        start.elapsed() / READS as u32
    });
    report(&format!("{what}, one"), rounds.collect());

    for (name, step) in [("neighbours", 1), ("with 4 between", 5), ("with 12 between", 13)] {
        let listed = (0..LISTS).map(|_| {
            let first = next() % (locations.len() - LIST * step);
            locations[first..].iter().step_by(step).take(LIST).copied().collect()
        });
        lists(&format!("{what}, 500 {name}"), reader, &listed.collect::<Vec<Vec<Location>>>());
    }
    let scattered: Vec<Vec<Location>> = (0..LISTS).map(|_| (0..LIST).map(|_| locations[next()]).collect()).collect();
    lists(&format!("{what}, 500 scattered"), reader, &scattered);
}

fn lists(what: &str, reader: &Reader, lists: &[Vec<Location>]) {
    let rounds = (0..ROUNDS).map(|_| {
        let mut out: Vec<Bytes> = Vec::with_capacity(LIST);
        let start = Instant::now();
        for list in lists {
            out.clear();
            reader.read_many(list, &mut out).expect("read");
            std::hint::black_box(&out);
        }
        start.elapsed() / LISTS as u32
    });
    report(what, rounds.collect());
}

/// Positions below `bound` in no order, the same ones in each run.
fn scatter(bound: usize) -> impl FnMut() -> usize {
    let mut state = 1u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    }
}

fn report(what: &str, mut rounds: Vec<Duration>) {
    rounds.sort();
    let [least, .., most] = rounds[..] else { return };
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let median = micros(rounds[rounds.len() / 2]);
    println!("{what:<55} {median:>9.2} us   ({:.2} to {:.2})", micros(least), micros(most));
}
