//! What apply costs per command, the store's buffer and a view for every batch included; one thread, no sync.
//!
//! `cargo bench -p state --bench apply`. Keys are shaped like Kubernetes'; figures are the median of several rounds.

use bytes::Bytes;
use model::{
    Budget, Command, Compare, CompareResult, CompareTarget, DeleteRange, Entry, KeyRange, LeaseGrant, LeaseId, Limits,
    LogIndex, Operation, Put, PutLease, PutValue, Range, RequestId, Revision, Term, Txn, encode_entry,
};
use state::{AccountDepth, MeasuredEntry, Membership, OperationOutcome, Options, Outcome, Quota, State};
use std::sync::Arc;
use std::time::Instant;
use store::Store;

const COMMANDS: usize = 50_000;
const BATCH: usize = 50;
const ROUNDS: usize = 5;

fn main() {
    println!("{COMMANDS} commands in batches of {BATCH}, {ROUNDS} rounds, medians");
    for value_bytes in [256, 2048] {
        measure(&format!("put {value_bytes} B, new keys"), 0, |at, _| put(at, value_bytes, LeaseId::NONE));
        measure(&format!("put {value_bytes} B, 100 k keys"), 100_000, |at, _| {
            put(at * 7919 % 100_000, value_bytes, LeaseId::NONE)
        });
    }
    measure("put 256 B with a lease", 0, |at, _| put(at, 256, LeaseId(1)));
    measure("guarded update 512 B, 100 k keys", 100_000, |at, mods| {
        let key = at * 7919 % 100_000;
        guarded(key, mods.get(key).copied().unwrap_or(0), Operation::Put(put_of(key, 512, LeaseId::NONE)))
    });
    for (what, prefix) in [("elsewhere", "/registry/events"), ("of its prefix", "/registry/pods")] {
        measure_under(&format!("the same, a budget {what}"), Some(prefix), 100_000, |at, mods| {
            let key = at * 7919 % 100_000;
            guarded(key, mods.get(key).copied().unwrap_or(0), Operation::Put(put_of(key, 512, LeaseId::NONE)))
        });
    }
    measure("guarded update that fails and reads", 100_000, |at, _| {
        let key = at * 7919 % 100_000;
        guarded(key, 1, Operation::Put(put_of(key, 512, LeaseId::NONE)))
    });
    measure("guarded delete, 100 k keys", 100_000, |at, mods| {
        let range = KeyRange::single(key(at));
        guarded(at, mods.get(at).copied().unwrap_or(0), Operation::DeleteRange(DeleteRange { range, prev_kv: false }))
    });
    views();
    start();
}

fn key(at: usize) -> Bytes {
    Bytes::from(format!("/registry/pods/namespace-{:03}/deployment-{:07}-x7k2p", at % 500, at))
}

fn put_of(at: usize, value_bytes: usize, lease: LeaseId) -> Put {
    let value = PutValue::Set(Bytes::from(vec![b'v'; value_bytes]));
    Put { key: key(at), value, lease: PutLease::Set(lease), prev_kv: false }
}

fn put(at: usize, value_bytes: usize, lease: LeaseId) -> Command {
    Command::Put(put_of(at, value_bytes, lease))
}

fn guarded(at: usize, mod_revision: i64, then: Operation) -> Command {
    let range = KeyRange::single(key(at));
    let target = CompareTarget::Mod(Revision(mod_revision));
    Command::Txn(Txn {
        compares: vec![Compare { range: range.clone(), result: CompareResult::Equal, target }],
        success: vec![then],
        failure: vec![Operation::Range(Range::new(range))],
    })
}

struct Fixture {
    state: State,
    _dir: tempfile::TempDir,
}

impl Fixture {
    fn new(keys: usize) -> Fixture {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = Arc::new(io::OsDisk);
        let (store, _) = Store::open(disk, dir.path(), store::Options::default()).expect("a store");
        let initial = [("bench".to_string(), vec!["http://localhost:2380".to_string()])];
        let membership = Membership::bootstrap("bench", initial).expect("valid");
        let state = State::bootstrap(
            store,
            membership,
            Options { quota: Quota(None), strict_latch: false, account_depth: AccountDepth::default() },
        )
        .expect("a state");
        let mut fixture = Fixture { state, _dir: dir };
        fixture.apply(&encoded(Command::LeaseGrant(LeaseGrant { id: LeaseId(1), ttl_s: 60 })));
        for at in 0..keys {
            fixture.apply(&encoded(put(at, 512, LeaseId::NONE)));
        }
        fixture.state.flush().expect("flushes");
        fixture
    }

    fn apply(&mut self, bytes: &Bytes) -> Option<Outcome> {
        let index = LogIndex(self.state.applied().index.0 + 1);
        let entry = MeasuredEntry::decode(index, bytes.clone()).expect("an entry");
        self.state.apply(index, Term(1), &entry).expect("applies").answer.ok()
    }
}

fn encoded(command: Command) -> Bytes {
    encode_entry(&Entry { request: RequestId(1), leader_time_ms: 1, command }).into()
}

fn measure(name: &str, keys: usize, command: impl Fn(usize, &[i64]) -> Command) {
    measure_under(name, None, keys, command);
}

/// With a budget on a prefix that lets everything through.
fn measure_under(name: &str, budget: Option<&'static str>, keys: usize, command: impl Fn(usize, &[i64]) -> Command) {
    let mut times = Vec::new();
    let mut succeeded = 0;
    for _ in 0..ROUNDS {
        let mut fixture = Fixture::new(keys);
        if let Some(prefix) = budget {
            let all = Limits { bytes: Some(u64::MAX), keys: Some(u64::MAX), writes_per_second: Some(u64::MAX) };
            let budget = Budget { prefix: prefix.into(), soft: Limits::default(), hard: all };
            fixture.apply(&encoded(Command::BudgetSet(budget))).expect("set");
        }
        // Revision of the last change of each key, as a client knows it.
        let mut mods: Vec<i64> = (0..keys as i64).map(|at| at + 2).collect();
        let mut next = fixture.state.revision().0;
        let commands: Vec<Bytes> = (0..COMMANDS)
            .map(|at| {
                let command = command(at, &mods);
                next += 1;
                if let Some(changed) = mods.get_mut(at * 7919 % keys.max(1)) {
                    *changed = next;
                }
                encoded(command)
            })
            .collect();
        let started = Instant::now();
        for batch in commands.chunks(BATCH) {
            for bytes in batch {
                let outcome = fixture.apply(bytes);
                succeeded += usize::from(match outcome {
                    Some(Outcome::Txn(txn)) => !matches!(txn.responses.as_slice(), [OperationOutcome::Range(_)]),
                    outcome => outcome.is_some(),
                });
            }
            fixture.state.flush().expect("flushes");
            std::hint::black_box(fixture.state.view());
        }
        times.push(started.elapsed());
    }
    times.sort();
    let per_command = times[ROUNDS / 2].as_nanos() / COMMANDS as u128;
    println!("{name:40} {per_command:6} ns  ({} % wrote)", 100 * succeeded / (COMMANDS * ROUNDS));
}

/// A view for readers, of a state with a million leases.
fn views() {
    let mut fixture = Fixture::new(1_000);
    for id in 2..1_000_000 {
        fixture.apply(&encoded(Command::LeaseGrant(LeaseGrant { id: LeaseId(id), ttl_s: 60 })));
    }
    let started = Instant::now();
    let views: Vec<_> = (0..10_000).map(|_| fixture.state.view()).collect();
    println!("view with 1 M leases: {:?}", started.elapsed() / views.len() as u32);
    let started = Instant::now();
    drop(fixture.state.begin_checkpoint().expect("begins"));
    println!("begin checkpoint with 1 M leases: {:?}", started.elapsed());
    let started = Instant::now();
    println!("list of 1 M leases: {} in {:?}", fixture.state.live().leases().all().len(), started.elapsed());
    let started = Instant::now();
    let clock = fixture.state.lease_clock();
    println!("lease clock of 1 M leases: {:?} ({})", started.elapsed(), clock.len());
}

/// From a checkpoint to a state that can answer.
fn start() {
    let mut fixture = Fixture::new(0);
    for at in 0..1_000_000 {
        let lease = LeaseId(i64::from(at % 10 == 0));
        fixture.apply(&encoded(put(at, 100, lease)));
    }
    let mut job = fixture.state.begin_checkpoint().expect("begins");
    let done = job.write().expect("writes");
    fixture.state.finish_checkpoint(done).remove().expect("finishes");
    let Fixture { state, _dir: dir } = fixture;
    drop(state);
    let started = Instant::now();
    let (store, checkpoint) =
        Store::open(Arc::new(io::OsDisk), dir.path(), store::Options::default()).expect("a store");
    let checkpoint = checkpoint.expect("there is one");
    let state = State::open(
        store,
        checkpoint,
        Options { quota: Quota(None), strict_latch: false, account_depth: AccountDepth::default() },
    )
    .expect("a state");
    println!("open 1 M keys, a tenth with a lease: {:?} ({:?})", started.elapsed(), state.revision());
}
