//! Who should wait for the disk: what making one group durable costs when the calling thread waits, another thread
//! does, or io_uring does. `cargo bench -p wal --bench who_waits -- DIRECTORY`; the directory (by default cargo's
//! `target/tmp`) decides which disk.
//!
//! Every way writes groups one after the other into a file of written zeros, as the log's segments are, and makes each
//! durable before the next. The ways alternate in rounds; each figure is the median over the rounds. CPU and context
//! switches are those of the process with its io_uring workers. A direct write of a ring syncs in a kernel thread: what
//! all of those took meanwhile has its own column, which other work on the machine disturbs.
//!
//! Not here: the log itself (`sync.rs`), and batches.

use io_uring::{IoUring, opcode, squeue, types};
use rustix::io::ReadWriteFlags;
use rustix::time::{ClockId, clock_gettime};
use std::fs::{File, OpenOptions};
use std::io::IoSlice;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const FILE_BYTES: usize = 64 << 20;
const GROUPS: usize = 2000;
const ROUNDS: usize = 5;
const BLOCK_BYTES: usize = 4096;

/// One way of making `data` durable at `offset`: returns when it is.
trait Way {
    fn put(&mut self, data: &[u8], offset: usize);
}

fn main() {
    let given = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let base = given.map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let directory = tempfile::tempdir_in(base).expect("a directory on the disk to measure");
    let buffered = zeroed(&directory.path().join("buffered"), 0);
    let direct = zeroed(&directory.path().join("direct"), rustix::fs::OFlags::DIRECT.bits());
    println!(
        "{:<52} {:>6} {:>6} {:>6} {:>6} {:>7} {:>8}",
        "us for a group", "p50", "p99", "p99.9", "CPU", "kernel", "switches"
    );
    for group_bytes in [300, 16 << 10] {
        let data = vec![7; group_bytes];
        let ways = ways(&buffered, &direct);
        let mut found: Vec<Vec<Figures>> = ways.iter().map(|_| Vec::new()).collect();
        let mut names = Vec::new();
        for round in 0..ROUNDS {
            names.clear();
            for number in 0..ways.len() {
                // Who goes first moves on with each round, so that a drift of the machine favours none.
                let number = (number + round) % ways.len();
                let (name, make) = &ways[number];
                names.push((number, *name));
                alone();
                match make() {
                    Some(mut way) => found[number].push(measure(&mut *way, &data)),
                    None if round == 0 => println!("{name}: refused by this kernel"),
                    None => {}
                }
            }
        }
        names.sort_unstable();
        for ((_, name), figures) in names.iter().zip(&found) {
            if !figures.is_empty() {
                print(&format!("{group_bytes:>5} bytes, {name}"), figures);
            }
        }
    }
}

type Make = Box<dyn Fn() -> Option<Box<dyn Way>>>;

fn ways(buffered: &Arc<File>, direct: &Arc<File>) -> Vec<(&'static str, Make)> {
    let file = |file: &Arc<File>| file.clone();
    let (a, b, c, d) = (file(buffered), file(buffered), file(buffered), file(buffered));
    let (e, f, g, h, i) = (file(buffered), file(buffered), file(direct), file(direct), file(direct));
    let handed = |way: Box<dyn Way + Send>| Some(Box::new(Handed::new(way)) as Box<dyn Way>);
    vec![
        ("1 caller: pwrite, fdatasync", Box::new(move || Some(Box::new(Synced(a.clone())) as Box<dyn Way>))),
        ("2 caller: pwritev2(DSYNC)", Box::new(move || Some(Box::new(Dsync(b.clone())) as Box<dyn Way>))),
        ("3 thread: pwrite, fdatasync", Box::new(move || handed(Box::new(Synced(c.clone()))))),
        ("4 thread: pwritev2(DSYNC)", Box::new(move || handed(Box::new(Dsync(d.clone()))))),
        ("5 ring: write, linked fsync", Box::new(move || Ring::boxed(e.clone(), false))),
        ("6 ring: write(DSYNC)", Box::new(move || Ring::boxed(f.clone(), true))),
        (
            "7 caller: direct, pwritev2(DSYNC)",
            Box::new(move || Some(Box::new(Direct::new(Dsync(g.clone()))) as Box<dyn Way>)),
        ),
        (
            "8 ring: direct, write(DSYNC)",
            Box::new(move || Some(Box::new(Direct::new(Ring::make(h.clone(), true)?)) as Box<dyn Way>)),
        ),
        ("9 thread: direct, pwritev2(DSYNC)", Box::new(move || handed(Box::new(Direct::new(Dsync(i.clone())))))),
    ]
}

/// A file of written zeros, durable with its length: a later sync of data has no extent to convert and no size to log.
fn zeroed(path: &Path, flags: u32) -> Arc<File> {
    let file = OpenOptions::new().write(true).create_new(true).open(path).expect("a file can be made");
    let zeros = vec![0; 1 << 20];
    for offset in (0..FILE_BYTES).step_by(zeros.len()) {
        file.write_all_at(&zeros, offset as u64).expect("zeros are written");
    }
    file.sync_all().expect("zeros are synced");
    Arc::new(OpenOptions::new().write(true).custom_flags(flags as i32).open(path).expect("the file opens"))
}

struct Synced(Arc<File>);

impl Way for Synced {
    fn put(&mut self, data: &[u8], offset: usize) {
        self.0.write_all_at(data, offset as u64).expect("written");
        self.0.sync_data().expect("synced");
    }
}

struct Dsync(Arc<File>);

impl Way for Dsync {
    fn put(&mut self, data: &[u8], offset: usize) {
        let slices = [IoSlice::new(data)];
        let written = rustix::io::pwritev2(&self.0, &slices, offset as u64, ReadWriteFlags::DSYNC).expect("written");
        assert_eq!(written, data.len());
    }
}

/// What the caller and the second thread share: the group to write while there is one.
#[derive(Default)]
struct Desk {
    turn: Mutex<Turn>,
    given: Condvar,
    done: Condvar,
}

#[derive(Default)]
enum Turn {
    #[default]
    Idle,
    Given(Vec<u8>, usize),
    Done(Vec<u8>),
    Stop,
}

struct Handed {
    desk: Arc<Desk>,
    buffer: Vec<u8>,
    thread: Option<JoinHandle<()>>,
}

impl Handed {
    fn new(mut way: Box<dyn Way + Send>) -> Handed {
        let desk = Arc::new(Desk::default());
        let shared = desk.clone();
        let thread = std::thread::spawn(move || {
            loop {
                let turn = shared.turn.lock().expect("no holder panics");
                let waits = |turn: &mut Turn| !matches!(turn, Turn::Given(..) | Turn::Stop);
                let mut turn = shared.given.wait_while(turn, waits).expect("no holder panics");
                let Turn::Given(data, offset) = std::mem::take(&mut *turn) else { return };
                drop(turn);
                way.put(&data, offset);
                *shared.turn.lock().expect("no holder panics") = Turn::Done(data);
                shared.done.notify_one();
            }
        });
        Handed { desk, buffer: Vec::new(), thread: Some(thread) }
    }
}

impl Way for Handed {
    fn put(&mut self, data: &[u8], offset: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        buffer.extend_from_slice(data);
        *self.desk.turn.lock().expect("no holder panics") = Turn::Given(buffer, offset);
        self.desk.given.notify_one();
        let turn = self.desk.turn.lock().expect("no holder panics");
        let mut turn =
            self.desk.done.wait_while(turn, |turn| !matches!(turn, Turn::Done(_))).expect("no holder panics");
        if let Turn::Done(buffer) = std::mem::take(&mut *turn) {
            self.buffer = buffer;
        }
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        *self.desk.turn.lock().expect("no holder panics") = Turn::Stop;
        self.desk.given.notify_one();
        self.thread.take().map(JoinHandle::join);
    }
}

struct Ring {
    ring: IoUring,
    file: Arc<File>,
    dsync: bool,
}

impl Ring {
    fn make(file: Arc<File>, dsync: bool) -> Option<Ring> {
        // Without the two flags completions interrupt the caller; kernels before 6.1 do not know them.
        let ring = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(8).ok()?;
        Some(Ring { ring, file, dsync })
    }

    fn boxed(file: Arc<File>, dsync: bool) -> Option<Box<dyn Way>> {
        Ring::make(file, dsync).map(|ring| Box::new(ring) as Box<dyn Way>)
    }
}

impl Way for Ring {
    fn put(&mut self, data: &[u8], offset: usize) {
        let file = types::Fd(self.file.as_raw_fd());
        let write = opcode::Write::new(file, data.as_ptr(), data.len() as u32).offset(offset as u64);
        let mut entries = Vec::with_capacity(2);
        if self.dsync {
            entries.push(write.rw_flags(ReadWriteFlags::DSYNC.bits() as i32).build());
        } else {
            entries.push(write.build().flags(squeue::Flags::IO_LINK));
            entries.push(opcode::Fsync::new(file).flags(types::FsyncFlags::DATASYNC).build().user_data(1));
        }
        // SAFETY: `data` and the file outlive the entries, because this function takes their completions before it
        // returns.
        unsafe { self.ring.submission().push_multiple(&entries) }.expect("the queue has room for two");
        self.ring.submit_and_wait(entries.len()).expect("submitted");
        for completion in self.ring.completion() {
            let wanted = if completion.user_data() == 0 { data.len() as i32 } else { 0 };
            assert_eq!(completion.result(), wanted);
        }
    }
}

/// Turns groups that follow each other into whole blocks for a file that is open for direct writes: the last block,
/// partly filled, is written again by the group that goes on in it.
struct Direct<W> {
    way: W,
    memory: Vec<u8>,
    start: usize,
    /// Where in the file the memory begins, and how many of its bytes are in use.
    at: usize,
    used: usize,
}

impl<W: Way> Direct<W> {
    fn new(way: W) -> Direct<W> {
        let memory = vec![0; 64 << 10];
        let start = memory.as_ptr().align_offset(BLOCK_BYTES);
        Direct { way, memory, start, at: 0, used: 0 }
    }
}

impl<W: Way> Way for Direct<W> {
    fn put(&mut self, data: &[u8], offset: usize) {
        assert_eq!(offset, self.at + self.used, "groups follow each other");
        let memory = &mut self.memory[self.start..];
        memory[self.used..self.used + data.len()].copy_from_slice(data);
        let end = self.used + data.len();
        let blocks = end.next_multiple_of(BLOCK_BYTES);
        memory[end..blocks].fill(0);
        self.way.put(&memory[..blocks], self.at);
        let full = end / BLOCK_BYTES * BLOCK_BYTES;
        memory.copy_within(full..end, 0);
        self.at += full;
        self.used = end - full;
    }
}

struct Figures {
    p50: f64,
    p99: f64,
    p999: f64,
    cpu: f64,
    kernel: f64,
    switches: f64,
}

fn measure(way: &mut dyn Way, data: &[u8]) -> Figures {
    let mut spent = Vec::with_capacity(GROUPS);
    let (cpu, kernel, switched) = (cpu(), kernel_threads(), switches());
    for group in 0..GROUPS {
        let start = Instant::now();
        way.put(data, group * data.len());
        spent.push(start.elapsed());
    }
    let (cpu, kernel, switched) = (self::cpu() - cpu, kernel_threads().saturating_sub(kernel), switches() - switched);
    spent.sort_unstable();
    let at = |part: usize| spent[(GROUPS - 1) * part / 1000].as_secs_f64() * 1e6;
    let each = |sum: f64| sum / GROUPS as f64;
    Figures {
        p50: at(500),
        p99: at(990),
        p999: at(999),
        cpu: each(cpu.as_secs_f64() * 1e6),
        kernel: each(kernel.as_secs_f64() * 1e6),
        switches: each(switched as f64),
    }
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What the kernel's workers took so far. One that ended in between is missing: the difference may be too small.
fn kernel_threads() -> Duration {
    let processes = std::fs::read_dir("/proc").expect("proc is mounted").flatten();
    let workers = processes.filter(|process| {
        std::fs::read_to_string(process.path().join("comm")).is_ok_and(|name| name.starts_with("kworker"))
    });
    let spent = workers.filter_map(|worker| std::fs::read_to_string(worker.path().join("schedstat")).ok());
    Duration::from_nanos(spent.filter_map(|spent| spent.split(' ').next()?.parse::<u64>().ok()).sum())
}

/// Waits until the threads of the way before are gone, so that they are in no difference.
fn alone() {
    while std::fs::read_dir("/proc/self/task").expect("proc is mounted").count() > 1 {
        std::thread::yield_now();
    }
}

/// Context switches of all threads of the process, io_uring's workers among them.
fn switches() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("proc is mounted");
    let status = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
    let count = |status: String| -> u64 {
        let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
        lines.filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok()).sum()
    };
    status.map(count).sum()
}

fn print(name: &str, figures: &[Figures]) {
    let median = |of: fn(&Figures) -> f64| {
        let mut all: Vec<f64> = figures.iter().map(of).collect();
        all.sort_unstable_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let (p50, p99, p999) = (median(|f| f.p50), median(|f| f.p99), median(|f| f.p999));
    let (cpu, kernel, switches) = (median(|f| f.cpu), median(|f| f.kernel), median(|f| f.switches));
    println!("{name:<52} {p50:>6.0} {p99:>6.0} {p999:>6.0} {cpu:>6.1} {kernel:>7.1} {switches:>8.1}");
}
