//! Records of lone entries, which wait in memory to be written to the store's files together. The member is stepped by
//! hand, so that what is in a file and what is not is certain.

use crate::member::{config, propose_put};
use io::{Clock, Disk, Open};
use model::{KeyRange, KeyValue, Revision};
use node::{Config, Part, Pending, Refused, Reply, Stepped};
use simdisk::{Random, SimDisk};
use state::StateView;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use store::Location;

pub const TICK: Duration = Duration::from_millis(10);
/// Behind this a checkpoint may begin.
pub const PAUSE: Duration = Duration::from_secs(6);
/// What `limits` says.
const UNWRITTEN_BYTES_MAX: usize = 64 << 10;

/// Stands still until it is moved.
#[derive(Default)]
pub struct HandClock(AtomicU64);

impl Clock for HandClock {
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
    fn wall(&self) -> Duration {
        self.monotonic()
    }
}

pub struct Member {
    pub node: Stepped,
    clock: Arc<HandClock>,
    pub disk: SimDisk,
}

fn tested() -> Config {
    Config { checkpoint_entries: 20, on_fault: Arc::new(|_| {}), ..config("/data") }
}

impl Member {
    /// `None` if the disk does not let it.
    pub fn open(disk: &SimDisk) -> Option<Member> {
        Member::open_with(disk, tested())
    }

    pub fn open_with(disk: &SimDisk, config: Config) -> Option<Member> {
        Member::open_as(disk, Arc::new(disk.clone()), config)
    }

    /// The member sees `disk` as `seen`.
    pub fn open_on(disk: &SimDisk, seen: Arc<dyn Disk>) -> Option<Member> {
        Member::open_as(disk, seen, tested())
    }

    /// One that may never get ready.
    pub fn begin(seen: Arc<dyn Disk>, disk: &SimDisk) -> Option<Member> {
        Member::begin_as(disk, seen, tested())
    }

    fn open_as(disk: &SimDisk, seen: Arc<dyn Disk>, config: Config) -> Option<Member> {
        let mut member = Member::begin_as(disk, seen, config)?;
        (0..100).any(|_| member.tick(TICK).put("ready", "yes").is_ok()).then_some(member)
    }

    /// Nothing of it was stepped yet.
    pub fn start(disk: &SimDisk, config: Config) -> Option<Member> {
        Member::begin_as(disk, Arc::new(disk.clone()), config)
    }

    fn begin_as(disk: &SimDisk, seen: Arc<dyn Disk>, config: Config) -> Option<Member> {
        let clock = Arc::new(HandClock::default());
        let node = Stepped::open(config, seen, clock.clone(), &mut Random::new(1)).ok()?;
        Some(Member { node, clock, disk: disk.clone() })
    }

    /// Steps everything until nothing has work, or only such that waits for a disk that does not get better.
    pub fn settle(&mut self) {
        for _ in 0..100 {
            if Part::ALL.iter().all(|part| !self.node.has_work(*part)) {
                return;
            }
            for part in Part::ALL {
                let is_done = part == Part::Apply && self.node.step_apply_lone();
                if !is_done && self.node.has_work(part) {
                    self.node.step(part);
                }
            }
        }
    }

    /// A step of the disk fails, so many from now.
    pub fn fail_at(&self, steps: u64, kind: std::io::ErrorKind) {
        self.disk.fail_at(self.disk.steps() + steps, kind);
    }

    /// Time goes on, and nobody looks.
    pub fn pass(&self, time: Duration) {
        self.clock.0.fetch_add(time.as_millis() as u64, Ordering::Relaxed);
    }

    pub fn tick(&mut self, after: Duration) -> &mut Member {
        self.pass(after);
        self.settle();
        self
    }

    pub fn propose(&self, key: &str, value: &str) -> Pending<Reply> {
        propose_put(self.node.handle(), key, value.to_owned().into())
    }

    pub fn put(&mut self, key: &str, value: &str) -> Result<Reply, Refused> {
        let pending = self.propose(key, value);
        self.settle();
        answer(pending)
    }

    pub fn get(&self, key: &str) -> Option<String> {
        read(&self.node.handle().view(), key)
    }

    /// Where the newest record of the key is to be.
    pub fn location(&self, key: &str) -> Location {
        self.node.handle().view().kv().get(key.as_bytes()).expect("the key is there").location
    }

    /// The record is in its file, too.
    fn is_written(&self, location: Location) -> bool {
        let record = self.node.handle().view().kv().read(location).expect("the record is read");
        let path = format!("/data/member/store/segment-{:08x}", location.segment);
        let file = self.disk.open(Path::new(&path), Open::READ).expect("the segment is there");
        let mut found = vec![0; record.len()];
        let at = u64::from(location.offset) + store::RECORD_OVERHEAD_BYTES;
        file.read_exact_at(&mut found, at).is_ok() && found == record
    }
}

/// The answer, if it is there.
pub fn answer<T>(pending: Pending<T>) -> Result<T, Refused> {
    match pin!(pending).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => Err(Refused::TimedOut),
    }
}

fn read(view: &StateView, key: &str) -> Option<String> {
    let meta = view.kv().get(key.as_bytes())?;
    let record = view.kv().read(meta.location).expect("the record is read");
    let kv = KeyValue::decode(&record).expect("a record is a pair");
    Some(String::from_utf8_lossy(&kv.value).into_owned())
}

#[test]
fn a_lone_put_is_read_and_watched_before_it_is_in_a_file_and_the_next_tick_writes_it() {
    let mut member = Member::open(&SimDisk::new()).expect("it starts");
    member.tick(TICK);
    let mut registry = watch::Registry::new(member.node.handle().events().clone());
    let current = member.node.handle().view().revision();
    let spec = watch::Spec { range: KeyRange::all(), start_revision: Revision(0), no_put: false, no_delete: false };
    registry.create(spec, current).expect("a watcher is taken");

    member.put("key", "a lone value").expect("it is put");
    let location = member.location("key");
    assert!(!member.is_written(location));
    assert_eq!(member.get("key").as_deref(), Some("a lone value"));
    let view = member.node.handle().view();
    let mut deliveries = Vec::new();
    registry.advance(&mut deliveries);
    let encoded = deliveries[0].events.encoded(false).expect("the event is loaded");
    assert!(encoded.windows(12).any(|bytes| bytes == b"a lone value"), "{encoded:?}");

    member.tick(TICK);
    assert!(member.is_written(location));
    assert_eq!(member.get("key").as_deref(), Some("a lone value"));
    assert_eq!(read(&view, "key").as_deref(), Some("a lone value"), "a view outlives the write");
}

#[test]
fn a_batch_and_a_checkpoint_write_what_waits() {
    let mut member = Member::open(&SimDisk::new()).expect("it starts");
    member.put("key", "a lone value").expect("it is put");
    assert!(!member.is_written(member.location("key")));
    let batch = [member.propose("one", "first of two"), member.propose("two", "second of two")];
    member.settle();
    for pending in batch {
        answer(pending).expect("it is put");
    }
    assert!(["key", "one", "two"].iter().all(|key| member.is_written(member.location(key))));
    for n in 0..30 {
        member.put("key", &format!("value {n}")).expect("it is put");
    }
    let location = member.location("key");
    assert!(!member.is_written(location));
    member.clock.0.fetch_add(PAUSE.as_millis() as u64, Ordering::Relaxed);
    member.put("other", "makes a checkpoint due").expect("it is put");
    assert!(member.is_written(location));
    let after = Member::open(&member.disk.after_power_cut(&mut Random::new(1))).expect("it starts");
    assert_eq!(after.get("other").as_deref(), Some("makes a checkpoint due"));
}

#[test]
fn little_waits_in_memory_however_many_lone_puts_come_between_ticks() {
    let mut member = Member::open(&SimDisk::new()).expect("it starts");
    let filler = "x".repeat(1000);
    let mut waiting = 0;
    let mut writes = 0;
    for n in 0..300 {
        let (key, value) = (format!("k{n}"), format!("{n:03} {filler}"));
        member.put(&key, &value).expect("it is put");
        waiting += value.len();
        if member.is_written(member.location(&key)) {
            waiting = 0;
            writes += 1;
        }
        assert!(waiting <= UNWRITTEN_BYTES_MAX);
        assert_eq!(member.get(&key), Some(value));
    }
    assert!((3..10).contains(&writes), "300 kB in pieces of nearly 64 KiB, not in {writes}");
}

/// Puts one by one, sometimes two together, with ticks and checkpoints between them, until the disk ends. Returns what
/// was acknowledged; every value may be there that is at least as new.
fn work(disk: &SimDisk) -> BTreeMap<String, u32> {
    let mut acknowledged = BTreeMap::new();
    let Some(mut member) = Member::open(disk) else { return acknowledged };
    for n in 0..60 {
        let key = |n: u32| format!("k{}", n % 7);
        let mut pending = vec![(n, member.propose(&key(n), &n.to_string()))];
        if n % 8 == 0 {
            pending.push((n + 1, member.propose(&key(n + 1), &(n + 1).to_string())));
        }
        member.settle();
        acknowledged.extend(pending.into_iter().filter_map(|(n, pending)| answer(pending).ok().map(|_| (key(n), n))));
        if disk.is_off() {
            return acknowledged;
        }
        for (key, n) in &acknowledged {
            let found = member.get(key).and_then(|value| value.parse::<u32>().ok());
            assert!(found >= Some(*n), "{key}: {found:?}, {n} was acknowledged");
        }
        match n % 20 {
            19 => drop(member.tick(PAUSE)),
            5 | 11 => drop(member.tick(TICK)),
            _ => {}
        }
    }
    acknowledged
}

#[test]
fn nothing_acknowledged_is_lost_whenever_the_power_goes_off_or_the_process_is_killed() {
    let whole = SimDisk::new();
    work(&whole);
    let steps = whole.steps();
    println!("{steps} steps");
    assert!(steps > 200, "the workload is too short to say something: {steps} steps");
    for step in 0..steps {
        let disk = SimDisk::new();
        disk.power_off_at(step);
        let acknowledged = work(&disk);
        for after in [disk.after_kill(), disk.after_power_cut(&mut Random::new(step))] {
            let member = Member::open(&after).expect("it starts");
            for (key, n) in &acknowledged {
                let found = member.get(key).and_then(|value| value.parse::<u32>().ok());
                assert!(found >= Some(*n), "step {step}, {key}: {found:?}, {n} was acknowledged");
            }
        }
    }
}

#[test]
fn what_is_acknowledged_is_read_and_kept_when_a_step_finds_the_disk_full() {
    what_is_acknowledged_is_kept_when_a_step_fails_with(std::io::ErrorKind::StorageFull);
}

#[test]
fn what_is_acknowledged_is_read_and_kept_when_a_step_finds_no_memory() {
    what_is_acknowledged_is_kept_when_a_step_fails_with(std::io::ErrorKind::OutOfMemory);
}

fn what_is_acknowledged_is_kept_when_a_step_fails_with(kind: std::io::ErrorKind) {
    let whole = SimDisk::new();
    work(&whole);
    for step in 0..whole.steps() {
        let disk = SimDisk::new();
        disk.fail_at(step, kind);
        let acknowledged = work(&disk);
        let member = Member::open(&disk.after_kill()).expect("it starts");
        for (key, n) in &acknowledged {
            let found = member.get(key).and_then(|value| value.parse::<u32>().ok());
            assert!(found >= Some(*n), "step {step}, {key}: {found:?}, {n} was acknowledged");
        }
    }
}

/// Records that find the disk full are applied all the same: readers find them in memory, and so does the checkpoint
/// that was under way, and they are in their file once there is space.
#[test]
fn what_finds_the_disk_full_is_answered_and_read_from_memory() {
    let mut member = Member::open(&SimDisk::new()).expect("it starts");
    for n in 0..30 {
        member.put("key", &format!("value {n}")).expect("it is put");
    }
    let step = |member: &mut Member, parts: &[Part]| parts.iter().for_each(|part| member.node.step(*part));
    let pending = member.propose("other", "makes a checkpoint due");
    member.clock.0.fetch_add(PAUSE.as_millis() as u64, Ordering::Relaxed);
    step(&mut member, &[Part::Driver, Part::Log, Part::Driver, Part::Apply]);
    answer(pending).expect("it is put");

    let value = "v".repeat(1 << 20);
    let keys: Vec<String> = (0..12).map(|n| format!("large {n:02}")).collect();
    let batch: Vec<_> = keys.iter().map(|key| member.propose(key, &value)).collect();
    step(&mut member, &[Part::Driver, Part::Log, Part::Driver]);
    member.disk.set_capacity(Some(0));
    step(&mut member, &[Part::Apply]);
    while member.node.has_work(Part::Background) {
        member.node.step(Part::Background);
    }
    step(&mut member, &[Part::Apply]);
    for pending in batch {
        answer(pending).expect("it is put");
    }
    assert!(member.node.handle().status().disk_full());
    for key in &keys {
        assert_eq!(member.get(key).as_ref(), Some(&value));
    }
    let location = member.location("large 11");
    assert!(!member.is_written(location));
    member.disk.set_capacity(None);
    member.tick(Duration::from_secs(1)).tick(Duration::from_secs(1));
    assert!(member.is_written(location) && !member.node.handle().status().disk_full());
    assert_eq!(member.get("large 00").as_ref(), Some(&value));
}
