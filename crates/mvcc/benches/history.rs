//! What the store of keys costs on a real disk: puts in batches of 50 with a view after each, pages, counts, history,
//! compaction, checkpoint, start. Run: `cargo bench -p mvcc --bench history [keys]`; files go to the temporary
//! directory.

use bytes::Bytes;
use io::OsDisk;
use model::{KeyRange, LeaseId, Range, Revision};
use mvcc::{Mvcc, View};
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use store::{Options, Store};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 50;

fn rss_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<usize>().ok()).unwrap_or(0) * 1024
}

/// 60 bytes, as Kubernetes names things: spread over 200 namespaces.
fn key(number: u64) -> Bytes {
    let hash = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("/registry/pods/namespace-{:03}/deployment-{:03}-{:016x}", number % 200, hash % 500, hash).into()
}

fn open(directory: &Path) -> Mvcc {
    let (store, checkpoint) = Store::open(Arc::new(OsDisk), directory, Options::default()).expect("open store");
    Mvcc::open(store, checkpoint.map(|checkpoint| (checkpoint.meta, checkpoint.runs))).expect("open")
}

/// Time of this thread on a processor, the kernel's part included: what a busy machine does not distort much.
fn cpu_us() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e3
}

fn timed<R>(what: &str, times: usize, run: impl FnOnce() -> R) -> R {
    let (started, cpu) = (Instant::now(), cpu_us());
    let result = run();
    let times = times.max(1) as f64;
    let (took, cpu) = (started.elapsed().as_secs_f64() * 1e6 / times, (cpu_us() - cpu) / times);
    println!("{what:<52} {cpu:>12.3} us cpu {took:>12.3} us");
    result
}

/// Answers the longest batch in microseconds.
fn puts(mvcc: &mut Mvcc, count: usize, key_at: impl Fn(usize) -> Bytes, value: &Bytes) -> f64 {
    let mut longest = 0.0f64;
    let mut view = mvcc.view();
    for batch in 0..count / BATCH {
        let started = Instant::now();
        for number in batch * BATCH..(batch + 1) * BATCH {
            let mut txn = mvcc.begin();
            txn.put(key_at(number), value.clone(), LeaseId::NONE).expect("put");
            black_box(txn.commit());
        }
        mvcc.flush().expect("flush");
        view = mvcc.view();
        longest = longest.max(started.elapsed().as_secs_f64() * 1e6);
    }
    black_box(view);
    longest
}

fn checkpoint(mvcc: &mut Mvcc) {
    let mut job = timed("checkpoint: take", 1, || mvcc.take_checkpoint().expect("take"));
    let meta = job.meta();
    let done = timed("checkpoint: write", 1, || job.write(&meta).expect("write"));
    drop(job);
    timed("checkpoint: finish", 1, || mvcc.finish_checkpoint(done).remove().expect("finish"));
}

fn reads(view: &View, keys: &[Bytes]) {
    let page = |number: usize, revision| Range {
        limit: 500,
        revision: Revision(revision),
        ..Range::new(KeyRange::from_wire(keys[number * 991 % keys.len()].clone(), "/registry/q".into()))
    };
    timed("page of 500 with count, no values", 1000, || {
        (0..1000).for_each(|number| drop(black_box(view.range(&page(number, 0)).expect("range"))));
    });
    timed("page of 500 with count, values loaded", 200, || {
        for number in 0..200 {
            let result = view.range(&page(number, 0)).expect("range");
            let locations = result.items.iter().filter_map(|item| match item {
                mvcc::RangeItem::Stored(location) => Some(*location),
                mvcc::RangeItem::Encoded(_) => None,
            });
            let locations: Vec<_> = locations.collect();
            let mut out = Vec::with_capacity(locations.len());
            view.load(&locations, &mut out).expect("load");
            black_box(out);
        }
    });
    timed("page of 500 with count, 10 000 revisions ago", 20, || {
        let at = view.revision().0 - 10_000;
        (0..20).for_each(|number| drop(black_box(view.range(&page(number, at)).expect("range"))));
    });
    timed("count of all", 10_000, || {
        (0..10_000).for_each(|_| assert!(black_box(view.count(&KeyRange::prefix("/registry/"), Revision(0))).is_ok()));
    });
    timed("get", 100_000, || {
        (0..100_000usize).for_each(|number| assert!(black_box(view.get(&keys[number * 7919 % keys.len()])).is_some()));
    });
    timed("1000 revisions of events, of all keys", 20, || {
        let from = Revision(view.revision().0 - 20_000);
        (0..20).for_each(|_| drop(black_box(view.events(&KeyRange::all(), from, view.revision(), 1000))));
    });
    timed("hash of everything", 1, || view.hash_kv(Revision(0)).expect("hash"));
}

fn main() {
    let count: usize = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(1_000_000);
    let directory = std::env::temp_dir().join(format!("mvcc-bench-{}", std::process::id()));
    let keys: Vec<Bytes> = (0..count as u64).map(key).collect();
    let value = Bytes::from(vec![7; 100]);
    println!("{count} keys of {} bytes, values of {}", keys[0].len(), value.len());
    let mut mvcc = open(&directory);
    let before = rss_bytes();
    let longest =
        timed("put of a new key, batches of 50", count, || puts(&mut mvcc, count, |at| keys[at].clone(), &value));
    println!("longest batch {longest:.0} us; {} bytes of memory per key", (rss_bytes() - before) / count);
    let overwrites = count / 4;
    let scattered = |at: usize| keys[at.wrapping_mul(7919) % count].clone();
    timed("put of a random key", overwrites, || puts(&mut mvcc, overwrites, scattered, &value));
    timed("put of one of 1000 keys", overwrites, || puts(&mut mvcc, overwrites, |at| keys[at % 1000].clone(), &value));
    timed("put of one key", overwrites, || puts(&mut mvcc, overwrites, |_| keys[0].clone(), &value));
    let large = Bytes::from(vec![7; 2048]);
    timed("put of a random key, 2 KiB", 100_000, || puts(&mut mvcc, 100_000, scattered, &large));
    println!("{} MB of memory, keys of the bench included", rss_bytes() >> 20);
    reads(&mvcc.view(), &keys);
    checkpoint(&mut mvcc);
    drop(timed("start", 1, || open(&directory)));

    let newest = mvcc.current_revision();
    timed("compact", 1, || mvcc.compact(newest).expect("compact"));
    let (mut steps, mut longest) = (0, 0.0f64);
    timed("remove what was compacted, per version", 3 * overwrites + 100_000, || {
        loop {
            let started = Instant::now();
            let more = mvcc.compaction_step(1000);
            longest = longest.max(started.elapsed().as_secs_f64() * 1e6);
            steps += 1;
            if !more {
                break;
            }
        }
    });
    println!("{steps} steps, the longest {longest:.0} us");
    timed("hash of the compaction", 1, || mvcc.view().complete_compaction_hashes());
    println!("{} MB of memory after compaction", rss_bytes() >> 20);
    puts(&mut mvcc, 50_000, scattered, &value);
    checkpoint(&mut mvcc);
    drop(mvcc);
    let before = rss_bytes();
    let mvcc = timed("start", 1, || open(&directory));
    println!("{} bytes of memory per key after start", rss_bytes().saturating_sub(before) / count);
    black_box(mvcc);
    std::fs::remove_dir_all(&directory).expect("clean up");
}
