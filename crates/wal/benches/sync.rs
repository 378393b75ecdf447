//! What a group costs on a real disk: append and sync of 1 and of 50 entries of 300 bytes, on this log and on a file that
//! grows. `cargo bench -p wal -- DIRECTORY`; the directory decides which disk. Prints microseconds, and the cost of opening.

use bytes::Bytes;
use consensus::{Entry, EntryKind, HardState};
use io::{Disk, Open, OsDisk};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wal::{Options, Wal};

const ENTRY_BYTES: usize = 300;
const GROUPS: usize = 3000;

fn main() {
    let given = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let base = given.map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(base).expect("a directory on the disk to measure");
    let disk = Arc::new(OsDisk);
    for round in 1..=3 {
        for count in [1, 50] {
            let log = group(disk.clone(), &directory.path().join(format!("log-{round}-{count}")), count);
            report(&format!("round {round}, {count:>2} entries, log"), log);
            let grown = growing(&*disk, &directory.path().join(format!("grown-{round}-{count}")), count);
            report(&format!("round {round}, {count:>2} entries, growing file"), grown);
        }
    }
    open(disk, &directory.path().join("opened"));
}

fn entries(from: u64, count: usize, data: &Bytes) -> Vec<Entry> {
    let entry = |index| Entry { term: 1, index, kind: EntryKind::Normal, data: data.clone() };
    (from..).take(count).map(entry).collect()
}

fn group(disk: Arc<dyn Disk>, directory: &Path, count: usize) -> Vec<Duration> {
    let (mut wal, _) = Wal::open(disk, directory, Options::new(1)).expect("open");
    let mut preparer = wal.preparer();
    let data = Bytes::from(vec![7; ENTRY_BYTES]);
    let mut next = 1;
    let mut spent = Vec::with_capacity(GROUPS);
    while spent.len() < GROUPS {
        preparer.run().expect("prepare");
        let group = entries(next, count, &data);
        let state = HardState { term: 1, vote: 1, commit: next - 1 };
        let start = Instant::now();
        wal.append(&group, Some(state)).expect("append");
        wal.sync().expect("sync");
        spent.push(start.elapsed());
        next += count as u64;
    }
    spent
}

fn growing(disk: &dyn Disk, path: &Path, count: usize) -> Vec<Duration> {
    let file = disk.open(path, Open::CREATE_NEW).expect("create");
    let group = vec![7; count * (ENTRY_BYTES + 5) + 64];
    let mut spent = Vec::with_capacity(GROUPS);
    for number in 0..GROUPS {
        let start = Instant::now();
        file.write_at(&group, (number * group.len()) as u64).expect("write");
        file.sync_data().expect("sync");
        spent.push(start.elapsed());
    }
    spent
}

fn report(what: &str, mut spent: Vec<Duration>) {
    spent.sort_unstable();
    let at = |part: usize| spent[(spent.len() - 1) * part / 1000].as_secs_f64() * 1e6;
    println!("{what:<40} p50 {:>6.0} us  p99 {:>6.0} us  p99.9 {:>6.0} us", at(500), at(990), at(999));
}

fn open(disk: Arc<dyn Disk>, directory: &Path) {
    let start = Instant::now();
    let (mut wal, _) = Wal::open(disk.clone(), directory, Options::new(1)).expect("open");
    println!("a fresh log is open after {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    let start = Instant::now();
    let mut preparer = wal.preparer();
    preparer.run().expect("prepare");
    println!("the next segment is ready {:.1} ms later", start.elapsed().as_secs_f64() * 1e3);
    let data = Bytes::from(vec![7; ENTRY_BYTES]);
    let mut next = 1;
    while wal.segments() < 5 {
        wal.append(&entries(next, 50, &data), None).expect("append");
        wal.sync().expect("sync");
        next += 50;
        preparer.run().expect("prepare");
    }
    let bytes = next as usize * ENTRY_BYTES;
    wal.close().expect("close");
    let start = Instant::now();
    let (_, recovered) = Wal::open(disk, directory, Options::new(1)).expect("open again");
    let spent = start.elapsed().as_secs_f64() * 1e3;
    println!("{} entries, {} MiB, are read back in {spent:.1} ms", recovered.entries.len(), bytes >> 20);
}
