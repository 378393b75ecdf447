//! Damaged records: what a command needs to read is read before it is proposed, and a record that is damaged when an
//! entry is applied halts the member at that entry, before it and behind every restart, until the record is there
//! again.

use crate::unwritten::{Member, TICK, answer};
use io::Disk;
use model::{
    Command, Compare, CompareResult, CompareTarget, DeleteRange, KeyRange, LeaseId, LogIndex, Operation, Put, PutLease,
    PutValue, Range, Sort, SortOrder, SortTarget, Txn,
};
use node::{Handle, Refused};
use simdisk::{FileOperation, HookedDisk, SimDisk};
use state::Outcome;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use store::{GivenUp, Image, Location, RECORD_OVERHEAD_BYTES, write_given_up};

/// Behind this a record that could not be read is tried again.
const RETRY: Duration = Duration::from_secs(3);

/// Behind which a checkpoint begins.
const CHECKPOINT_PAUSE: Duration = Duration::from_secs(6);
/// What `Member` is configured with.
const CHECKPOINT_ENTRIES: usize = 20;

fn put_of(key: &str, value: PutValue, prev_kv: bool) -> Put {
    Put { key: key.to_owned().into(), value, lease: PutLease::Set(LeaseId::NONE), prev_kv }
}

fn set(key: &str) -> Operation {
    Operation::Put(put_of(key, PutValue::Set("new".into()), false))
}

fn value_is(range: KeyRange) -> Compare {
    Compare { range, result: CompareResult::Equal, target: CompareTarget::Value("old".into()) }
}

fn never() -> Compare {
    let target = CompareTarget::Version(77);
    Compare { range: KeyRange::single("no such key"), result: CompareResult::Equal, target }
}

fn sorted() -> Operation {
    let sort = Some(Sort { target: SortTarget::Value, order: SortOrder::Descend });
    Operation::Range(Range { sort, limit: 1, ..Range::new(KeyRange::all()) })
}

fn txn(compares: Vec<Compare>, success: Vec<Operation>, failure: Vec<Operation>) -> Command {
    Command::Txn(Txn { compares, success, failure })
}

/// Commands of which apply needs the value of `k`.
fn needing() -> Vec<(&'static str, Command)> {
    let single = || KeyRange::single("k");
    let keep = || Operation::Put(put_of("k", PutValue::Keep, false));
    let inner = Txn { compares: vec![value_is(single())], success: vec![set("done")], failure: vec![set("done")] };
    vec![
        ("a compare of the value", txn(vec![value_is(single())], vec![set("done")], vec![set("done")])),
        ("a compare over a range", txn(vec![value_is(KeyRange::all())], vec![set("done")], vec![set("done")])),
        ("a put that keeps the value", Command::Put(put_of("k", PutValue::Keep, false))),
        ("the same in a txn", txn(vec![], vec![keep(), set("done")], vec![])),
        ("a range sorted by value behind a put", txn(vec![], vec![set("done"), sorted()], vec![])),
        ("a nested txn", txn(vec![never()], vec![], vec![Operation::Txn(inner)])),
    ]
}

/// Commands whose answer shows the value of `k`.
fn showing() -> Vec<(&'static str, Command)> {
    let delete = |range| DeleteRange { range, prev_kv: true };
    vec![
        ("a put that shows the pair before", Command::Put(put_of("k", PutValue::Set("new".into()), true))),
        ("a deletion that shows the pair", Command::DeleteRange(delete(KeyRange::single("k")))),
        ("a deletion of a range", Command::DeleteRange(delete(KeyRange::all()))),
        ("a deletion in a txn", txn(vec![], vec![Operation::DeleteRange(delete(KeyRange::single("k")))], vec![])),
    ]
}

/// A member with some keys, and where the record of `k` lies: in its file, and in a checkpoint.
fn member() -> (Member, Location) {
    let mut member = Member::open(&SimDisk::new()).expect("it starts");
    for key in ["before", "k", "later"] {
        member.put(key, "old").expect("it is put");
    }
    member.tick(CHECKPOINT_PAUSE);
    for _ in 0..=CHECKPOINT_ENTRIES {
        member.put("later", "old").expect("it is put");
    }
    member.tick(TICK);
    let location = member.location("k");
    (member, location)
}

pub fn path(location: Location) -> PathBuf {
    format!("/data/member/store/segment-{:08x}", location.segment).into()
}

/// Damages the record, or heals it.
pub fn flip(disk: &SimDisk, location: Location) {
    let last = u64::from(location.offset) + RECORD_OVERHEAD_BYTES + u64::from(location.length) - 1;
    disk.damage(&path(location), |bytes| bytes[last as usize] ^= 0x40);
}

fn read_ahead(handle: &Handle, command: &Command) -> Result<(), String> {
    let mut ahead = handle.read_ahead(command).expect("it reads");
    while ahead.step(command).map_err(|fault| fault.to_string())? {}
    Ok(())
}

/// Names file, place, key and revision.
fn assert_names(text: &str, location: Location) {
    let place = format!("{} at byte {}", path(location).display(), location.offset);
    for part in ["the value of k at revision ", &place, "record fails its checksum"] {
        assert!(text.contains(part), "{text}");
    }
}

fn applied(member: &Member) -> LogIndex {
    member.node.handle().status().applied
}

#[test]
fn what_a_command_needs_is_read_before_it_is_proposed() {
    for (what, command) in needing().into_iter().chain(showing()) {
        let (member, location) = member();
        let handle = member.node.handle();
        read_ahead(handle, &command).unwrap_or_else(|error| panic!("{what}: {error}"));
        flip(&member.disk, location);
        let refused = read_ahead(handle, &command).expect_err(what);
        assert_names(&refused, location);
    }
    let (member, _) = member();
    let in_failure = txn(vec![never()], vec![set("k")], vec![Operation::Range(Range::new(KeyRange::single("k")))]);
    for command in [Command::Put(put_of("k", PutValue::Set("new".into()), false)), in_failure] {
        assert!(member.node.handle().read_ahead(&command).is_none(), "{command:?} reads nothing");
    }
}

/// What was read goes to apply with the command, so that a record that rots in between does no harm.
#[test]
fn what_was_read_ahead_is_not_read_again() {
    for (what, command) in needing() {
        let (mut member, location) = member();
        let handle = member.node.handle().clone();
        let mut ahead = handle.read_ahead(&command).expect("it reads");
        while ahead.step(&command).expect("it is whole") {}
        let read = handle.hand_on(ahead.finish());
        assert!(read.as_ref().is_some_and(|read| read.records().contains_key(&location)), "{what}");
        flip(&member.disk, location);
        let pending = handle.propose_read(command, read);
        member.settle();
        answer(pending).unwrap_or_else(|refused| panic!("{what}: {refused}")).answer.expect("it is not refused");
    }
}

#[test]
fn a_member_that_cannot_read_what_apply_needs_waits_at_the_entry_and_serves_what_it_has() {
    for (what, command) in needing() {
        let (mut member, location) = member();
        let before = applied(&member);
        flip(&member.disk, location);
        let pending = member.node.handle().propose(command);
        member.settle();
        let behind = member.propose("behind", "1");
        member.tick(TICK);
        let assert_halted = |member: &mut Member, up_to: LogIndex| {
            assert_eq!(applied(member), up_to, "{what}");
            let why = member.node.handle().halted_because().unwrap_or_else(|| panic!("{what}: it goes on"));
            assert_names(&why, location);
            assert_eq!(member.get("before").as_deref(), Some("old"), "{what}");
            assert_eq!(member.get("done"), None, "{what}");
            assert!(matches!(member.put("after", "1"), Err(Refused::Halted)), "{what}");
        };
        assert!(matches!(answer(behind), Err(Refused::Halted)), "{what}");
        assert_halted(&mut member, before);
        assert!(member.node.handle().read_now().is_some(), "{what}: everything acknowledged is in the view");
        assert!(matches!(answer(pending), Err(Refused::TimedOut)), "{what}");
        let disk = member.disk.clone();
        for _ in 0..2 {
            drop(member);
            member = Member::begin(Arc::new(disk.clone()), &disk).expect("it starts");
            for _ in 0..50 {
                member.tick(TICK);
            }
            assert_halted(&mut member, before);
            let barrier = member.node.handle().read_barrier();
            assert!(matches!(answer(barrier), Err(Refused::Halted)), "{what}: more may be acknowledged than it has");
        }
        flip(&disk, location);
        member.tick(RETRY).tick(TICK);
        assert_eq!(member.node.handle().halted_because(), None, "{what}");
        member.put("after", "1").unwrap_or_else(|refused| panic!("{what}: {refused}"));
        assert!(applied(&member) > before, "{what}");
        assert_eq!(member.get("before").as_deref(), Some("old"), "{what}");
    }
}

/// Entries before the one that waits are applied, published, and in the next checkpoint, so that a start does not
/// begin from further back each time.
#[test]
fn a_halted_member_stops_in_order_and_keeps_what_it_applied() {
    let (mut member, location) = member();
    flip(&member.disk, location);
    let (_, command) = needing().remove(0);
    drop(member.node.handle().propose(command));
    member.settle();
    let before = applied(&member);
    member.node.begin_stop();
    member.settle();
    assert!(member.node.is_stopped());
    let Member { node, disk, .. } = member;
    node.finish();
    let member = Member::begin(Arc::new(disk.clone()), &disk).expect("it starts");
    assert_eq!((applied(&member), member.get("later").as_deref()), (before, Some("old")));
}

/// A read that fails once is tried again at once, one that fails for a while after a while.
#[test]
fn a_read_that_fails_once_is_not_noticed_and_one_that_fails_longer_is_waited_for() {
    let disk = SimDisk::new();
    let failures = Arc::new(AtomicUsize::new(0));
    let hook = {
        let failures = failures.clone();
        move |operation, path: &Path| {
            let fails = operation == FileOperation::Read && path.to_string_lossy().contains("segment-");
            let less = |left: usize| left.checked_sub(1);
            let failed = fails && failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok();
            if failed { Err(std::io::Error::from_raw_os_error(5)) } else { Ok(()) }
        }
    };
    let over: Arc<dyn Disk> = Arc::new(HookedDisk::new(Arc::new(disk.clone()), hook));
    let mut member = Member::begin(over, &disk).expect("it starts");
    while member.tick(TICK).put("k", "old").is_err() {}
    member.tick(TICK);
    let (_, command) = needing().remove(0);
    for (failing, is_noticed) in [(1, false), (4, true)] {
        failures.store(failing, Ordering::SeqCst);
        let pending = member.node.handle().propose(command.clone());
        member.settle();
        assert_eq!(member.node.handle().halted_because().is_some(), is_noticed, "{failing} failures");
        while member.node.handle().halted_because().is_some() {
            member.tick(RETRY);
        }
        let Ok(Outcome::Txn(outcome)) = answer(pending).expect("it is applied").answer else { panic!("of a txn") };
        assert!(outcome.succeeded);
    }
}

fn publish(member: &mut Member) -> Result<(), Refused> {
    let handle = member.node.handle().clone();
    let urls = ["http://localhost:2379".to_owned()];
    let mut publish = Box::pin(handle.publish("one", &urls));
    for _ in 0..100 {
        if let Poll::Ready(published) = publish.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return published;
        }
        member.tick(TICK);
    }
    Err(Refused::TimedOut)
}

/// The way out: the log is applied to its end with an empty value in the place of the lost one, whose key then goes as
/// any other does, so that watchers are told. A key that was put anew in between stays.
#[test]
fn a_record_that_was_given_up_lets_the_member_go_on_and_its_key_goes() {
    let store = Path::new("/data/member/store");
    let again = ("a put of the key behind it", txn(vec![value_is(KeyRange::single("k"))], vec![], vec![set("k")]));
    for (what, command) in needing().into_iter().chain([again]) {
        let (mut member, location) = member();
        flip(&member.disk, location);
        let is_put_anew = matches!(&command, Command::Txn(txn) if txn.failure == [set("k")]);
        drop(member.node.handle().propose(command));
        member.settle();
        let (disk, before) = (member.disk.clone(), member.node.handle().view().revision());
        drop(member);
        let image = Image::open(Arc::new(disk.clone()), store).expect("there is a manifest");
        let lost = state::lost_pairs(&image).expect("there is a checkpoint");
        let [lost] = &lost[..] else { panic!("{what}: {lost:?}") };
        assert_eq!((lost.key.as_ref(), lost.meta.location, lost.is_current), (&b"k"[..], location, true));
        assert_eq!(lost.fault.to_string().matches("record fails its checksum").count(), 1);
        let given_up = GivenUp::from([(location, state::substitute(lost))]);
        write_given_up(&disk, Path::new("/data/member"), &given_up).expect("it is written");
        for _ in 0..2 {
            let mut member = Member::begin(Arc::new(disk.clone()), &disk).expect("it starts");
            member.tick(TICK);
            publish(&mut member).unwrap_or_else(|refused| panic!("{what}: {refused}"));
            assert_eq!(member.get("k").as_deref(), is_put_anew.then_some("new"), "{what}");
            assert_eq!(member.get("before").as_deref(), Some("old"), "{what}");
            assert!(member.node.handle().view().revision() > before, "{what}: watchers are told");
            member.put("after", "1").expect("it goes on");
        }
    }
}
