//! What an event costs in the registry, per watcher that gets it, and per watcher that does not.
//!
//! `cargo bench -p watch --bench fan_out`. Figures are the median of several rounds, one thread; the log is filled
//! first, so that only matching and handing out is measured. `encode` adds what a stream does: taking the shared
//! encoded form.

use bytes::Bytes;
use model::{KeyRange, LeaseId, Revision};
use mvcc::Mvcc;
use simdisk::SimDisk;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::Store;
use watch::{EventLog, Limits, Registry, Spec};

const EVENTS: usize = 4_000;
const ROUNDS: usize = 7;
const VALUE_BYTES: usize = 512;

fn main() {
    println!("{EVENTS} events of {VALUE_BYTES} bytes, {ROUNDS} rounds, medians");
    for watchers in [1, 100, 1_000, 10_000] {
        fan_out("same prefix", watchers, |_| KeyRange::prefix("/registry/pods/"), false);
    }
    fan_out("same prefix, encode", 1_000, |_| KeyRange::prefix("/registry/pods/"), true);
    for watchers in [100, 1_000, 10_000] {
        fan_out("distinct prefixes, one matches", watchers, distinct_prefix, false);
        fan_out("distinct keys, one matches", watchers, distinct_key, false);
    }
    fan_out("nested prefixes", 1_000, |at| KeyRange::prefix(&"/registry/pods/namespace-0007/"[..1 + at % 30]), false);
    churn();
}

fn open() -> Mvcc {
    let (store, _) =
        Store::open(Arc::new(SimDisk::new()), Path::new("/data"), store::Options::default()).expect("a store");
    Mvcc::open(store, None).expect("an empty store")
}

fn key(at: usize) -> String {
    format!("/registry/pods/namespace-{:04}/pod-{:04}", at % 100, at % 1000)
}

fn distinct_prefix(at: usize) -> KeyRange {
    match at {
        0 => KeyRange::prefix("/registry/pods/"),
        _ => KeyRange::prefix(format!("/registry/resource-{at:05}/")),
    }
}

fn distinct_key(at: usize) -> KeyRange {
    match at {
        0 => KeyRange::prefix("/registry/pods/"),
        _ => KeyRange::single(format!("/registry/nodes/node-{at:05}")),
    }
}

fn fan_out(name: &str, watchers: usize, range: impl Fn(usize) -> KeyRange, encode: bool) {
    let mut mvcc = open();
    let log = Arc::new(EventLog::new(mvcc.current_revision(), Limits { events_max: usize::MAX, bytes_max: u64::MAX }));
    let mut registries: Vec<Registry> = (0..ROUNDS).map(|_| Registry::new(log.clone())).collect();
    for registry in &mut registries {
        for at in 0..watchers {
            let spec = Spec { range: range(at), start_revision: Revision(0), no_put: false, no_delete: false };
            registry.create(spec, mvcc.current_revision()).expect("creates");
        }
    }
    for at in 0..EVENTS {
        let mut txn = mvcc.begin();
        txn.put(Bytes::from(key(at)), Bytes::from_static(&[b'v'; VALUE_BYTES]), LeaseId::NONE).expect("the disk works");
        let change = txn.commit();
        mvcc.flush().expect("the disk works");
        log.push(change, &mvcc.view());
    }
    let mut deliveries = Vec::new();
    let (mut delivered, mut bytes) = (0, 0);
    let mut times: Vec<Duration> = Vec::new();
    for registry in &mut registries {
        let started = Instant::now();
        let mut more = true;
        while more {
            more = registry.advance(&mut deliveries);
            delivered += deliveries.len();
            for delivery in deliveries.drain(..) {
                if encode {
                    bytes += delivery.events.encoded(true).expect("the disk works").len();
                }
            }
        }
        times.push(started.elapsed());
    }
    times.sort();
    let (median, delivered) = (times[ROUNDS / 2].as_nanos() as f64, delivered / ROUNDS);
    let per_event = median / EVENTS as f64;
    let per_delivery = median / delivered.max(1) as f64;
    println!(
        "{name:32} {watchers:6} watchers: {per_event:9.0} ns/event {per_delivery:7.0} ns/delivery ({bytes} bytes)"
    );
}

/// Creation and cancellation among many others.
fn churn() {
    let mut registry = Registry::new(Arc::new(EventLog::new(Revision(1), Limits::default())));
    let mut create = |at: usize| {
        let spec = Spec { range: distinct_prefix(at), start_revision: Revision(0), no_put: false, no_delete: false };
        registry.create(spec, Revision(1)).expect("creates")
    };
    let ids: Vec<_> = (0..10_000).map(&mut create).collect();
    let started = Instant::now();
    for at in 10_000..20_000 {
        create(at);
    }
    let created = started.elapsed() / 10_000;
    let started = Instant::now();
    for id in ids {
        registry.cancel(id);
    }
    println!("among 10000: create {created:?}, cancel {:?}", started.elapsed() / 10_000);
}
