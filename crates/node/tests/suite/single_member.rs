//! One member on the simulated disk and on a real one: what was acknowledged is there after any stop.

use io::{Clock, Disk, OsClock, OsDisk};
use model::{Command, Compact, KeyRange, KeyValue, LeaseGrant, LeaseId, Put, PutLease, PutValue, Range, Revision};
use node::{Config, Handle, Node, Refused, Reply};
use sim::{Random, SimDisk};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

pub(crate) fn config(data_dir: &str) -> Config {
    Config {
        name: "one".to_owned(),
        data_dir: data_dir.into(),
        wal_dir: None,
        peer_urls: vec!["http://localhost:2380".to_owned()],
        client_urls: vec!["http://localhost:2379".to_owned()],
        cluster_token: "etcd-cluster".to_owned(),
        tick: Duration::from_millis(10),
        election_ticks: 10,
        request_timeout: Duration::from_secs(7),
        checkpoint_entries: 100,
        quota_bytes: None,
        request_bytes_max: 1536 << 10,
        warning_apply_duration: Duration::from_secs(10),
        no_sync: false,
        on_fault: Arc::new(|fault| eprintln!("fault: {fault}")),
    }
}

pub(crate) fn start(disk: Arc<dyn Disk>, config: Config) -> Node {
    let clock: Arc<dyn Clock> = Arc::new(OsClock::default());
    let node = Node::start(config, disk, clock, &mut Random::new(1)).expect("the member starts");
    block_on(node.handle().publish("one", &["http://localhost:2379".to_owned()])).expect("the member gets ready");
    node
}

pub(crate) fn put(handle: &Handle, key: &str, value: &str) -> Result<Reply, Refused> {
    let put = Put {
        key: key.to_owned().into(),
        value: PutValue::Set(value.to_owned().into()),
        lease: PutLease::Set(LeaseId::NONE),
        prev_kv: false,
    };
    block_on(handle.propose(Command::Put(put)))
}

pub(crate) fn get(handle: &Handle, key: &str) -> Option<String> {
    let view = block_on(handle.read_barrier()).expect("a leader reads");
    let answer = handle.range(&view, &Range::new(KeyRange::single(key.to_owned()))).expect("the range is read");
    let meta = answer.view.kv().get(key.as_bytes())?;
    let record = answer.view.kv().read(meta.location).expect("the record is read");
    let kv = KeyValue::decode(&record).expect("a record is a pair");
    Some(String::from_utf8_lossy(&kv.value).into_owned())
}

#[test]
fn identity_is_etcds_for_the_same_flags() {
    let disk = SimDisk::new();
    let node = start(Arc::new(disk), config("/data"));
    assert_eq!(format!("{:x}", node.handle().member()), "8e9e05c52164694d");
    assert_eq!(format!("{:x}", node.handle().cluster()), "cdf818194e3a8c32");
    node.stop();
}

#[test]
fn acknowledged_writes_survive_a_stop_and_a_start() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let path = directory.path().join("one.etcd").to_string_lossy().into_owned();
    for round in 0..3 {
        let node = start(Arc::new(OsDisk), config(&path));
        for n in 0..250 {
            put(node.handle(), &format!("k{n}"), &format!("{round}-{n}")).expect("a put succeeds");
        }
        assert_eq!(node.handle().view().revision(), Revision(1 + 250 * (round + 1)));
        assert_eq!(get(node.handle(), "k249"), Some(format!("{round}-249")));
        node.stop();
    }
}

/// r02: nothing may be acknowledged before it is synced; r01, r11: nothing applied may be lost or come twice.
#[test]
fn r02_acknowledged_writes_survive_a_power_cut_at_any_step() {
    for seed in 0..15 {
        let mut random = Random::new(seed);
        let disk = SimDisk::new();
        let steps = 20 + random.below(700);
        disk.power_off_at(steps);
        let mut acknowledged: Vec<usize> = Vec::new();
        let clock: Arc<dyn Clock> = Arc::new(OsClock::default());
        let short = Config { request_timeout: Duration::from_millis(100), ..config("/data") };
        if let Ok(node) = Node::start(short, Arc::new(disk.clone()), clock, &mut random) {
            let _ = block_on(node.handle().publish("one", &[]));
            for n in 0..400 {
                if disk.is_off() || put(node.handle(), &format!("k{n}"), &n.to_string()).is_err() {
                    break;
                }
                acknowledged.push(n);
            }
            node.stop();
        }
        let after = disk.after_power_cut(&mut random);
        let node = start(Arc::new(after), config("/data"));
        for n in &acknowledged {
            assert_eq!(get(node.handle(), &format!("k{n}")), Some(n.to_string()), "seed {seed}, {steps} steps");
        }
        let revision = node.handle().view().revision().0;
        assert!(revision > acknowledged.len() as i64, "seed {seed}: revision {revision} stepped back");
        node.stop();
    }
}

#[test]
fn r13_a_full_disk_refuses_writes_serves_reads_and_heals_without_restart() {
    let disk = SimDisk::new();
    let node = start(Arc::new(disk.clone()), config("/data"));
    put(node.handle(), "before", "1").expect("there is room");
    disk.set_capacity(Some(disk.used()));
    let value = "x".repeat(1 << 20);
    let refused = (0..200).find_map(|n| put(node.handle(), &format!("big{n}"), &value).err());
    assert!(matches!(refused, Some(Refused::DiskFull | Refused::TimedOut)), "{refused:?}");
    assert_eq!(get(node.handle(), "before"), Some("1".to_owned()));
    assert!(node.handle().status().disk_full);
    disk.set_capacity(None);
    while put(node.handle(), "after", "2").is_err() {
        std::thread::yield_now();
    }
    assert_eq!(get(node.handle(), "after"), Some("2".to_owned()));
    assert!(!node.handle().status().disk_full);
    node.stop();
}

/// r17: after a failed write or sync of the log the member goes on in another file; of the store's, it stops and starts again.
#[test]
fn r17_nothing_acknowledged_is_lost_when_writes_and_syncs_fail() {
    let failed = Arc::new(AtomicBool::new(false));
    let stops = failed.clone();
    let on_fault: Arc<dyn Fn(String) + Send + Sync> = Arc::new(move |_| stops.store(true, Ordering::SeqCst));
    let config = || Config { on_fault: on_fault.clone(), ..config("/data") };
    let mut disk = SimDisk::new();
    let mut node = start(Arc::new(disk.clone()), config());
    for n in 0..24 {
        disk.fail_at(disk.steps() + n % 4, std::io::ErrorKind::Other);
        while put(node.handle(), &format!("k{n}"), "v").is_err() {
            if failed.swap(false, Ordering::SeqCst) {
                node.stop();
                disk = disk.after_kill();
                node = start(Arc::new(disk.clone()), config());
            }
        }
    }
    for n in 0..24 {
        assert_eq!(get(node.handle(), &format!("k{n}")), Some("v".to_owned()));
    }
    node.stop();
}

#[test]
fn what_was_left_of_a_lease_survives_a_restart() {
    let disk = SimDisk::new();
    let node = start(Arc::new(disk.clone()), config("/data"));
    let grant = Command::LeaseGrant(LeaseGrant { id: LeaseId(7), ttl_s: 600 });
    block_on(node.handle().propose(grant)).expect("the lease is granted").answer.expect("it is new");
    let granted = node.handle().lease_remaining_ms(LeaseId(7)).expect("there is a lease");
    // Every write carries the leader's time into the log.
    while node.handle().lease_remaining_ms(LeaseId(7)).is_some_and(|left| left + 300 > granted) {
        put(node.handle(), "k", "v").expect("a put succeeds");
    }
    put(node.handle(), "k", "v").expect("a put succeeds");
    let left = node.handle().lease_remaining_ms(LeaseId(7)).expect("there is a lease");
    node.stop();
    let node = start(Arc::new(disk.after_kill()), config("/data"));
    let after = node.handle().lease_remaining_ms(LeaseId(7)).expect("the lease is there");
    assert!(after <= left + 200, "{after} ms after the restart, {left} ms before");
    node.stop();
}

#[test]
fn a_physical_compaction_is_answered_when_the_history_is_gone() {
    let disk = SimDisk::new();
    let node = start(Arc::new(disk), config("/data"));
    for n in 0..2000 {
        put(node.handle(), &format!("k{}", n % 10), &n.to_string()).expect("a put succeeds");
    }
    let before = node.handle().view().retained_bytes();
    let compact = Command::Compact(Compact { revision: Revision(2000), physical: true });
    let reply = block_on(node.handle().propose(compact)).expect("it is applied");
    assert!(reply.answer.is_ok());
    assert!(node.handle().view().retained_bytes() < before / 10);
    let old = Range { revision: Revision(1999), ..Range::new(KeyRange::all()) };
    assert!(node.handle().range(&node.handle().view(), &old).is_err());
    node.stop();
}
