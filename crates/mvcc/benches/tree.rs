//! The tree beside the map of the standard library: time per insert, get, page of 500 and count, and memory per key.
//! Run: `cargo bench -p mvcc --bench tree [keys]`. A view is taken after every 50 inserts, as apply does.

use mvcc::tree::{Fold, Key, Loader, Summary, Tree};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::Bound;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As of a key entry: one live key, its revision.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sum {
    live: u64,
    largest: u64,
    smallest: u64,
}

impl Summary for Sum {
    fn of(value: &[u8]) -> Sum {
        let largest = value.first().copied().unwrap_or(0).into();
        Sum { live: 1, largest, smallest: largest }
    }
    fn add(&mut self, other: &Sum) {
        self.live += other.live;
        self.largest = self.largest.max(other.largest);
        self.smallest = self.smallest.min(other.smallest);
    }
    fn exchange(&mut self, _: &Sum, new: &Sum) {
        self.largest = self.largest.max(new.largest);
    }
}

struct Live(u64);

impl Fold<Sum> for Live {
    fn whole(&mut self, summary: &Sum) -> bool {
        self.0 += summary.live;
        true
    }
    fn entry(&mut self, _: Key<'_>, _: &[u8]) {
        self.0 += 1;
    }
}

fn rss_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<usize>().ok()).unwrap_or(0) * 1024
}

/// 60 bytes, as Kubernetes names things: spread over 200 namespaces.
fn key(number: u64) -> Vec<u8> {
    let hash = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("/registry/pods/namespace-{:03}/deployment-{:03}-{:016x}", number % 200, hash % 500, hash).into_bytes()
}

fn per(what: &str, times: usize, mut run: impl FnMut(usize)) {
    let started = Instant::now();
    (0..times).for_each(&mut run);
    report(what, started.elapsed(), times);
}

fn report(what: &str, took: Duration, times: usize) {
    println!("{what:<44} {:>10.3} us", took.as_secs_f64() * 1e6 / times as f64);
}

fn main() {
    let count: u64 = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(1_000_000);
    let keys: Vec<Vec<u8>> = (0..count).map(key).collect();
    let value = [7u8; 20];
    let bytes: usize = keys.iter().map(Vec::len).sum();
    println!("{count} keys of {} bytes, values of {}", bytes / keys.len(), value.len());

    let before = rss_bytes();
    let mut tree: Tree<Sum> = Tree::default();
    let mut out = Vec::new();
    let mut view = tree.clone();
    let mut put = |tree: &mut Tree<Sum>, key: &[u8]| {
        let result: Result<(), ()> = tree.upsert(key, &mut out, |_, out| {
            out.extend_from_slice(&value);
            Ok(())
        });
        result.expect("the edit cannot fail");
    };
    let started = Instant::now();
    for (number, key) in keys.iter().enumerate() {
        put(&mut tree, key);
        if number % 50 == 0 {
            view = tree.clone();
        }
    }
    report("tree: insert, view every 50", started.elapsed(), keys.len());
    drop(view);
    println!("tree: {} bytes per key after inserts", (rss_bytes() - before) / keys.len());

    let mut view = tree.clone();
    let overwrites = keys.len().min(300_000);
    per("tree: overwrite, view every 50", overwrites, |number| {
        let at = number.wrapping_mul(7_919) % keys.len();
        put(&mut tree, &keys[at]);
        if number % 50 == 0 {
            view = tree.clone();
        }
    });
    per("tree: overwrite, no views", overwrites, |number| {
        put(&mut tree, &keys[number.wrapping_mul(7_919) % keys.len()])
    });
    per("tree: get", overwrites, |number| {
        black_box(tree.get(&keys[number.wrapping_mul(7_919) % keys.len()]));
    });
    per("tree: page of 500", 1000, |number| {
        let start = &keys[number * 991 % keys.len()];
        black_box(
            tree.range(start, Bound::Unbounded).take(500).map(|(key, value)| key.len() + value.len()).sum::<usize>(),
        );
    });
    per("tree: count from a key on", 10_000, |number| {
        let mut live = Live(0);
        tree.fold(&keys[number * 991 % keys.len()], Bound::Unbounded, &mut live);
        black_box(live.0);
    });
    let started = Instant::now();
    let mut loader = Loader::<Sum>::default();
    tree.iter().for_each(|(key, value)| loader.push(&key.to_vec(), value));
    let before = rss_bytes();
    let loaded = loader.finish();
    report("tree: load sorted", started.elapsed(), keys.len());
    drop((tree, view));
    println!("tree: {} bytes freed", before - rss_bytes().min(before));
    drop(loaded);

    let before = rss_bytes();
    let mut map: BTreeMap<Vec<u8>, [u8; 20]> = BTreeMap::new();
    per("BTreeMap: insert", keys.len(), |number| {
        map.insert(keys[number].clone(), value);
    });
    println!("BTreeMap: {} bytes per key", (rss_bytes().saturating_sub(before)) / keys.len());
    per("BTreeMap: get", overwrites, |number| {
        black_box(map.get(&keys[number.wrapping_mul(7_919) % keys.len()]));
    });
    per("BTreeMap: page of 500", 1000, |number| {
        let start = keys[number * 991 % keys.len()].as_slice();
        let page = map.range::<[u8], _>((Bound::Included(start), Bound::Unbounded)).take(500);
        black_box(page.map(|(key, value)| key.len() + value.len()).sum::<usize>());
    });
    per("BTreeMap: count from a key on", 5, |number| {
        let start = keys[number * 991 % keys.len()].as_slice();
        black_box(map.range::<[u8], _>((Bound::Included(start), Bound::Unbounded)).count());
    });
}
