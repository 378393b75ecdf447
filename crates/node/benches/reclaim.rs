//! A member under uniform overwrites, with and without reclaim having something to do: what a put waits, what the
//! process burns, and how long the files are beside the retained bytes. Not a comparison with anything;
//! `docs/performance.md` has numbers.
//!
//! `cargo bench -p node --bench reclaim -- <directory> <keys> <value bytes> <seconds>`

mod support;

use io::{Clock, OsClock, OsDisk, OsRng};
use model::{Command, Compact, DeleteRange, KeyRange, Put, PutLease, PutValue};
use node::{Handle, Node};
use std::collections::VecDeque;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{IN_FLIGHT, block_on, config};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Bench {
    node: Node,
    data_dir: PathBuf,
    keys: u64,
    value: bytes::Bytes,
    random: u64,
}

/// What one phase did.
#[derive(Default)]
struct Phase {
    waits: Vec<Duration>,
    cpu: Duration,
    written: u64,
    queue_max: Duration,
    sync_max: Duration,
    apply_max: Duration,
    took: Duration,
    ratio_max: f64,
    excess_max: i64,
    over: u64,
    samples: u64,
}

impl Bench {
    fn handle(&self) -> &Handle {
        self.node.handle()
    }

    fn put(&mut self, key: u64) -> Command {
        // Values differ, as they would; what follows is the same.
        let mut value = self.value.to_vec();
        value[..8].copy_from_slice(&self.random.to_le_bytes());
        Command::Put(Put {
            key: format!("/registry/configmaps/default/object-{key:08}").into(),
            value: PutValue::Set(value.into()),
            lease: PutLease::Set(model::LeaseId::NONE),
            prev_kv: false,
        })
    }

    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// Overwrites keys for so long, at most `per_second`, compacting everything every second if `compacts`.
    fn phase(&mut self, seconds: u64, per_second: u64, compacts: bool) -> Phase {
        let mut phase = Phase::default();
        let mut in_flight: VecDeque<(Instant, Pin<Box<dyn Future<Output = _>>>)> = VecDeque::new();
        let (started, cpu, written) = (Instant::now(), cpu_time(), written_bytes());
        let (mut sampled, mut sent) = (started, 0);
        while started.elapsed() < Duration::from_secs(seconds) {
            let due = started.elapsed().as_secs_f64() * per_second as f64;
            if sent as f64 > due {
                std::thread::park_timeout(Duration::from_micros(200));
            } else {
                let key = self.next_random() % self.keys;
                let command = self.put(key);
                in_flight.push_back((Instant::now(), Box::pin(self.handle().propose(command))));
                sent += 1;
            }
            while in_flight.len() >= IN_FLIGHT || (sent as f64 > due && !in_flight.is_empty()) {
                let Some((since, put)) = in_flight.pop_front() else { break };
                let reply: node::Reply = block_on(put).expect("the put is applied");
                reply.answer.expect("the put is not refused");
                phase.waits.push(since.elapsed());
                phase.queue_max = phase.queue_max.max(reply.timings.queue);
                phase.sync_max = phase.sync_max.max(reply.timings.sync);
                phase.apply_max = phase.apply_max.max(reply.timings.apply);
            }
            if sampled.elapsed() >= Duration::from_secs(1) {
                sampled = Instant::now();
                phase.sample(&self.data_dir, self.handle());
                if compacts {
                    compact(self.handle());
                }
            }
        }
        for (_, put) in in_flight {
            block_on(put).expect("the put is applied").answer.expect("the put is not refused");
        }
        (phase.took, phase.cpu) = (started.elapsed(), cpu_time() - cpu);
        phase.written = written_bytes() - written;
        phase
    }
}

impl Phase {
    fn sample(&mut self, data_dir: &Path, handle: &Handle) {
        let (files, retained) = (files(data_dir), handle.view().retained_bytes());
        let excess = files as i64 - (retained + retained * 3 / 10 + (64 << 20)) as i64;
        self.samples += 1;
        self.over += u64::from(excess > 0);
        self.ratio_max = self.ratio_max.max(files as f64 / retained.max(1) as f64);
        self.excess_max = if self.samples == 1 { excess } else { self.excess_max.max(excess) };
    }

    fn print(&mut self, name: &str) {
        self.waits.sort_unstable();
        let count = self.waits.len();
        let at =
            |share: f64| self.waits.get(((count as f64 * share) as usize).min(count - 1)).copied().unwrap_or_default();
        println!(
            "{name:<24} {:>7.0} puts/s  CPU {:>5.1} us {:>6} bytes written each  p50 {:>7.2} p99 {:>7.2} p99.9 {:>7.2} max {:>7.2} ms \
             (queue {:.1?}, sync {:.1?}, apply {:.1?})  files/retained \
             {:>5.2}, {} of {} samples over the bound, nearest {} MiB",
            count as f64 / self.took.as_secs_f64(),
            self.cpu.as_secs_f64() * 1e6 / count as f64,
            self.written / count as u64,
            at(0.5).as_secs_f64() * 1e3,
            at(0.99).as_secs_f64() * 1e3,
            at(0.999).as_secs_f64() * 1e3,
            at(1.0).as_secs_f64() * 1e3,
            self.queue_max,
            self.sync_max,
            self.apply_max,
            self.ratio_max,
            self.over,
            self.samples,
            self.excess_max >> 20,
        );
    }
}

fn compact(handle: &Handle) {
    let command = Command::Compact(Compact { revision: handle.view().revision(), physical: false });
    // Nothing may have been written since the last one.
    let _ = block_on(handle.propose(command)).expect("it is applied").answer;
}

fn files(data_dir: &Path) -> u64 {
    let files = std::fs::read_dir(data_dir.join("member/store")).expect("the store is there");
    files.filter_map(|file| file.ok()?.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// Of this process, all threads.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("linux");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

/// To files, by this process: the log's included.
fn written_bytes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").expect("linux");
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}

/// How long until the files are within the bound, or below so many bytes.
fn until(data_dir: &Path, handle: &Handle, below: impl Fn(u64, u64) -> bool) -> Duration {
    let started = Instant::now();
    while !below(files(data_dir), handle.view().retained_bytes()) && started.elapsed() < Duration::from_secs(60) {
        std::thread::park_timeout(Duration::from_millis(1));
    }
    started.elapsed()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let number = |at: usize, default: u64| arguments.get(at).and_then(|number| number.parse().ok()).unwrap_or(default);
    let directory = arguments.first().map_or_else(std::env::temp_dir, PathBuf::from);
    let (keys, value_bytes, seconds, rate) = (number(1, 200_000), number(2, 1024), number(3, 10), number(4, 4000));
    let data_dir = directory.join("reclaim-bench.etcd");
    let _ = std::fs::remove_dir_all(&data_dir);
    let clock: Arc<dyn Clock> = Arc::new(OsClock::default());
    let node = Node::start(config(data_dir.clone()), Arc::new(OsDisk), clock, &mut OsRng).expect("the member starts");
    block_on(node.handle().publish("one", &["http://localhost:2379".to_owned()])).expect("the member gets ready");
    let mut bench =
        Bench { node, data_dir, keys, value: vec![b'v'; value_bytes.max(8) as usize].into(), random: 88_172_645 };
    for key in 0..keys {
        let commands: Vec<_> = [bench.put(key)].into_iter().map(|command| bench.handle().propose(command)).collect();
        if key % 64 == 0 {
            commands.into_iter().for_each(|put| drop(block_on(put)));
        }
    }
    bench.phase(seconds, u64::MAX, false).print("history, unpaced");
    bench.phase(seconds, rate, false).print("history, paced");
    println!("{} MiB retained", bench.handle().view().retained_bytes() >> 20);
    compact(bench.handle());
    let within = |files: u64, retained: u64| files * 10 <= retained * 13 + (640 << 20);
    println!("{} MiB after a compaction", bench.handle().view().retained_bytes() >> 20);
    println!("within the bound {:?} after it", until(&bench.data_dir, bench.handle(), within));
    bench.phase(seconds, rate, true).print("reclaiming, paced");
    bench.phase(seconds, u64::MAX, true).print("reclaiming, unpaced");
    println!("within the bound {:?} after the load", until(&bench.data_dir, bench.handle(), within));
    let delete = DeleteRange { range: KeyRange::all(), prev_kv: false };
    let deleted = block_on(bench.handle().propose(Command::DeleteRange(delete))).expect("it is applied");
    deleted.answer.expect("it is not refused");
    compact(bench.handle());
    println!("within the bound {:?} after everything was deleted", until(&bench.data_dir, bench.handle(), within));
    // The deletions themselves go with the compaction after theirs.
    let put = bench.put(0);
    block_on(bench.handle().propose(put)).expect("it is applied").answer.expect("it is not refused");
    compact(bench.handle());
    let below = |files, _| files < 20 << 20;
    println!("below 20 MiB {:?} after the deletions were compacted", until(&bench.data_dir, bench.handle(), below));
    bench.node.stop();
    let _ = std::fs::remove_dir_all(&bench.data_dir);
}
