//! Durable writes and syncs of the log beside the writing of a store: how long each took under paced puts while
//! checkpoints are written, with write-back and without, in turn. What the background writes to the log, space for
//! later, is not counted.
//!
//! `cargo bench -p node --bench syncs -- <directory> <seconds> <puts/s> <value bytes> <rounds>`; the directory decides
//! which disk.

mod support;

use io::{Clock, Disk, File, LockGuard, Open, OsClock, OsDisk, OsRng};
use model::{Command, Put, PutLease, PutValue};
use node::{Handle, Node};
use std::collections::VecDeque;
use std::future::Future;
use std::io::Result;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{IN_FLIGHT, block_on, config};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KEYS: u64 = 50_000;
/// The device is taken to be busy so long after write-back was started.
const WRITTEN_BACK_WITHIN: Duration = Duration::from_millis(10);

/// The real disk, with a stop-watch on syncs.
#[derive(Debug, Default)]
struct Timed {
    writes_back: AtomicBool,
    log: Mutex<Vec<Span>>,
    store: Mutex<Vec<Span>>,
    starts: Mutex<Vec<Span>>,
}

/// From when, and how long.
type Span = (Instant, Duration);

#[derive(Debug)]
struct TimedDisk(Arc<Timed>);

#[derive(Debug)]
struct TimedFile {
    file: Arc<dyn File>,
    is_store: bool,
    timed: Arc<Timed>,
}

impl TimedFile {
    fn sync(&self, sync: impl FnOnce() -> Result<()>) -> Result<()> {
        let started = Instant::now();
        let synced = sync();
        if !self.is_store && std::thread::current().name().is_some_and(|name| name.contains("background")) {
            return synced;
        }
        let of = if self.is_store { &self.timed.store } else { &self.timed.log };
        of.lock().expect("no holder panics").push((started, started.elapsed()));
        synced
    }
}

impl File for TimedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.file.read_at(buffer, offset)
    }
    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.file.write_at(data, offset)
    }
    fn write_durably(&self, data: &[u8], offset: u64) -> Result<()> {
        self.sync(|| self.file.write_durably(data, offset))
    }
    fn is_direct(&self) -> bool {
        self.file.is_direct()
    }
    fn start_write_back(&self, offset: u64, length: u64) {
        if self.timed.writes_back.load(Ordering::Relaxed) {
            let started = Instant::now();
            self.file.start_write_back(offset, length);
            self.timed.starts.lock().expect("no holder panics").push((started, started.elapsed()));
        }
    }
    fn sync_data(&self) -> Result<()> {
        self.sync(|| self.file.sync_data())
    }
    fn sync_all(&self) -> Result<()> {
        self.sync(|| self.file.sync_all())
    }
    fn allocate(&self, offset: u64, length: u64) -> Result<()> {
        self.file.allocate(offset, length)
    }
    fn set_len(&self, length: u64) -> Result<()> {
        self.file.set_len(length)
    }
    fn len(&self) -> Result<u64> {
        self.file.len()
    }
}

impl Disk for TimedDisk {
    fn open(&self, path: &Path, how: Open) -> Result<Arc<dyn File>> {
        let is_store = path.parent().is_some_and(|directory| directory.ends_with("store"));
        Ok(Arc::new(TimedFile { file: OsDisk.open(path, how)?, is_store, timed: self.0.clone() }))
    }
    fn create_dir(&self, path: &Path) -> Result<()> {
        OsDisk.create_dir(path)
    }
    fn list(&self, directory: &Path) -> Result<Vec<String>> {
        OsDisk.list(directory)
    }
    fn exists(&self, path: &Path) -> Result<bool> {
        OsDisk.exists(path)
    }
    fn remove(&self, path: &Path) -> Result<()> {
        OsDisk.remove(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        OsDisk.rename(from, to)
    }
    fn sync_dir(&self, directory: &Path) -> Result<()> {
        OsDisk.sync_dir(directory)
    }
    fn lock(&self, path: &Path) -> Result<LockGuard> {
        OsDisk.lock(path)
    }
    fn lock_directory(&self, path: &Path) -> Result<LockGuard> {
        OsDisk.lock_directory(path)
    }
    fn resolve(&self, path: &Path) -> Result<PathBuf> {
        OsDisk.resolve(path)
    }
    fn free_space(&self, directory: &Path) -> Result<u64> {
        OsDisk.free_space(directory)
    }
    fn mode(&self, path: &Path) -> Result<u32> {
        OsDisk.mode(path)
    }
}

fn put(number: u64, value_bytes: usize) -> Command {
    let mut value = vec![b'v'; value_bytes.max(8)];
    value[..8].copy_from_slice(&number.to_le_bytes());
    Command::Put(Put {
        key: format!("/registry/configmaps/default/object-{:08}", number.wrapping_mul(611_953) % KEYS).into(),
        value: PutValue::Set(value.into()),
        lease: PutLease::Set(model::LeaseId::NONE),
        prev_kv: false,
    })
}

/// How long each put waited.
fn puts(handle: &Handle, seconds: u64, per_second: u64, value_bytes: usize) -> Vec<Duration> {
    type Reply<'a> = Pin<Box<dyn Future<Output = std::result::Result<node::Reply, node::Refused>> + 'a>>;
    let mut in_flight: VecDeque<(Instant, Reply<'_>)> = VecDeque::new();
    let mut waits = Vec::new();
    let started = Instant::now();
    let mut sent = 0;
    while started.elapsed() < Duration::from_secs(seconds) {
        let due = started.elapsed().as_secs_f64() * per_second as f64;
        if (sent as f64) < due && in_flight.len() < IN_FLIGHT {
            in_flight.push_back((Instant::now(), Box::pin(handle.propose(put(sent, value_bytes)))));
            sent += 1;
        } else if let Some((since, reply)) = in_flight.pop_front() {
            block_on(reply).expect("the put is applied").answer.expect("the put is not refused");
            waits.push(since.elapsed());
        } else {
            std::thread::park_timeout(Duration::from_micros(200));
        }
    }
    for (_, reply) in in_flight {
        block_on(reply).expect("the put is applied").answer.expect("the put is not refused");
    }
    waits
}

fn print(what: &str, mut spent: Vec<Duration>) {
    spent.sort_unstable();
    let at = |share: usize| {
        let place = spent.len().saturating_sub(1) * share / 1000;
        spent.get(place).copied().unwrap_or_default().as_secs_f64() * 1e3
    };
    let sum: Duration = spent.iter().sum();
    println!(
        "{what:<44} {:>7} of them, p50 {:>7.2} p99 {:>7.2} p99.9 {:>7.2} max {:>7.2} ms, sum {:>6.2} s",
        spent.len(),
        at(500),
        at(990),
        at(999),
        at(1000),
        sum.as_secs_f64()
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let number = |at: usize, default: u64| arguments.get(at).and_then(|number| number.parse().ok()).unwrap_or(default);
    let directory = arguments.first().map_or_else(std::env::temp_dir, PathBuf::from);
    let (seconds, rate, value_bytes, rounds) = (number(1, 30), number(2, 3000), number(3, 1024), number(4, 3));
    for round in 0..2 * rounds {
        // Off, on, on, off: a drift of the machine favours neither.
        let writes_back = round % 4 == 1 || round % 4 == 2;
        let data_dir = directory.join("syncs-bench.etcd");
        let _ = std::fs::remove_dir_all(&data_dir);
        let timed = Arc::new(Timed { writes_back: AtomicBool::new(writes_back), ..Timed::default() });
        let clock: Arc<dyn Clock> = Arc::new(OsClock::default());
        let disk = Arc::new(TimedDisk(timed.clone()));
        let node = Node::start(config(data_dir.clone()), disk, clock, &mut OsRng).expect("the member starts");
        block_on(node.handle().publish("one", &["http://localhost:2379".to_owned()])).expect("the member gets ready");
        let waits = puts(node.handle(), seconds, rate, value_bytes as usize);
        let taken = |of: &Mutex<Vec<Span>>| std::mem::take(&mut *of.lock().expect("no holder panics"));
        let name = if writes_back { "with write-back" } else { "without" };
        let (log, store, starts) = (taken(&timed.log), taken(&timed.store), taken(&timed.starts));
        let beside = |spans: &[Span], &(from, lasts): &Span, after: Duration| {
            spans.iter().any(|&(at, took)| at < from + lasts && from < at + took + after)
        };
        let (beside_store, rest): (Vec<Span>, Vec<Span>) =
            log.iter().copied().partition(|sync| beside(&store, sync, Duration::ZERO));
        let (beside_start, rest): (Vec<Span>, Vec<Span>) =
            rest.into_iter().partition(|sync| beside(&starts, sync, WRITTEN_BACK_WITHIN));
        let durations = |spans: Vec<Span>| spans.into_iter().map(|(_, took)| took).collect::<Vec<_>>();
        print(&format!("{name}: puts"), waits);
        print(&format!("{name}: all syncs of the log"), durations(log));
        print(&format!("{name}: beside one of the store"), durations(beside_store));
        print(&format!("{name}: beside a start"), durations(beside_start));
        print(&format!("{name}: beside neither"), durations(rest));
        print(&format!("{name}: syncs of the store"), durations(store));
        print(&format!("{name}: starts"), durations(starts));
        node.stop();
        let _ = std::fs::remove_dir_all(&data_dir);
    }
}
