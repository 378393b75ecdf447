//! What a group costs on a real disk: append and sync of 1 and of 50 entries of 300 bytes, on this log and on a file
//! that grows, and of one large entry. `cargo bench -p wal -- DIRECTORY`; the directory decides which disk. Prints
//! microseconds, those of CPU on this thread beside them, and the cost of opening.

use bytes::Bytes;
use consensus::{Entry, EntryKind, HardState};
use io::{Disk, Open, OsDisk};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wal::{Options, Wal};

const ENTRY_BYTES: usize = 300;
const GROUPS: usize = 3000;
/// Of one entry, with how many groups of it are written.
const LARGE: [(usize, usize); 3] = [(16 << 10, 1000), (256 << 10, 200), (4 << 20, 30)];

fn main() {
    let given = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let base = given.map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(base).expect("a directory on the disk to measure");
    let disk = Arc::new(OsDisk);
    for round in 1..=3 {
        for count in [1, 50] {
            let log = directory.path().join(format!("log-{round}-{count}"));
            let log = group(disk.clone(), &log, count, ENTRY_BYTES, GROUPS);
            report(&format!("round {round}, {count:>2} entries, log"), log);
            let grown = growing(&*disk, &directory.path().join(format!("grown-{round}-{count}")), count);
            report(&format!("round {round}, {count:>2} entries, growing file"), grown);
        }
        for (bytes, groups) in LARGE {
            let log = directory.path().join(format!("log-{round}-{bytes}"));
            let log = group(disk.clone(), &log, 1, bytes, groups);
            report(&format!("round {round}, {:>4} KiB, log", bytes >> 10), log);
        }
    }
    open(disk, &directory.path().join("opened"));
}

fn entries(from: u64, count: usize, data: &Bytes) -> Vec<Entry> {
    let entry = |index| Entry { term: 1, index, kind: EntryKind::Normal, data: data.clone() };
    (from..).take(count).map(entry).collect()
}

/// How long each group took, and the CPU time of the average one.
struct Spent {
    groups: Vec<Duration>,
    cpu: Duration,
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let figures = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has it");
    let running = figures.split(' ').next().and_then(|figure| figure.parse().ok());
    Duration::from_nanos(running.expect("the first figure is nanoseconds on a CPU"))
}

fn group(disk: Arc<dyn Disk>, directory: &Path, count: usize, entry_bytes: usize, groups: usize) -> Spent {
    let (mut wal, _) = Wal::open(disk, directory, Options::new(1)).expect("open");
    let mut preparer = wal.preparer();
    let data = Bytes::from(vec![7; entry_bytes]);
    let mut next = 1;
    let mut spent = Vec::with_capacity(groups);
    let mut cpu = Duration::ZERO;
    while spent.len() < groups {
        preparer.run(false).expect("prepare");
        let group = entries(next, count, &data);
        let state = HardState { term: 1, vote: 1, commit: next - 1 };
        let (start, cpu_start) = (Instant::now(), cpu_time());
        wal.append(&group, Some(state)).expect("append");
        wal.sync().expect("sync");
        spent.push(start.elapsed());
        cpu += cpu_time() - cpu_start;
        next += count as u64;
    }
    Spent { groups: spent, cpu: cpu / groups as u32 }
}

fn growing(disk: &dyn Disk, path: &Path, count: usize) -> Spent {
    let file = disk.open(path, Open::CREATE_NEW).expect("create");
    let group = vec![7; count * (ENTRY_BYTES + 5) + 64];
    let mut spent = Vec::with_capacity(GROUPS);
    let cpu = cpu_time();
    for number in 0..GROUPS {
        let start = Instant::now();
        file.write_at(&group, (number * group.len()) as u64).expect("write");
        file.sync_data().expect("sync");
        spent.push(start.elapsed());
    }
    Spent { groups: spent, cpu: (cpu_time() - cpu) / GROUPS as u32 }
}

fn report(what: &str, spent: Spent) {
    let Spent { mut groups, cpu } = spent;
    groups.sort_unstable();
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let at = |part: usize| micros(groups[(groups.len() - 1) * part / 1000]);
    let [p50, p99, p999] = [500, 990, 999].map(at);
    println!("{what:<40} p50 {p50:>6.0} us  p99 {p99:>6.0} us  p99.9 {p999:>6.0} us  CPU {:>6.1} us", micros(cpu));
}

fn open(disk: Arc<dyn Disk>, directory: &Path) {
    let start = Instant::now();
    let (mut wal, _) = Wal::open(disk.clone(), directory, Options::new(1)).expect("open");
    println!("a fresh log is open after {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    let start = Instant::now();
    let mut preparer = wal.preparer();
    preparer.run(false).expect("prepare");
    println!("the next segment is ready {:.1} ms later", start.elapsed().as_secs_f64() * 1e3);
    let data = Bytes::from(vec![7; ENTRY_BYTES]);
    let mut next = 1;
    while wal.segments() < 5 {
        wal.append(&entries(next, 50, &data), None).expect("append");
        wal.sync().expect("sync");
        next += 50;
        preparer.run(false).expect("prepare");
    }
    let bytes = next as usize * ENTRY_BYTES;
    wal.close().expect("close");
    let start = Instant::now();
    let (_, recovered) = Wal::open(disk, directory, Options::new(1)).expect("open again");
    let spent = start.elapsed().as_secs_f64() * 1e3;
    println!("{} entries, {} MiB, are read back in {spent:.1} ms", recovered.entries.len(), bytes >> 20);
}
