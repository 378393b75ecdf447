//! One member on the simulated disk and on a real one: what was acknowledged is there after any stop.

use crate::member::{block_on, config, get, put, start};
use crate::unwritten::{Member, TICK, answer};
use io::OsDisk;
use model::{Command, Compact, KeyRange, LeaseGrant, LeaseId, Range, Revision};
use node::{AutoCompaction, Config, Node};
use simdisk::SimDisk;
use std::sync::Arc;
use std::time::Duration;

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

/// Milliseconds that lease 7 has left.
fn left_ms(node: &Node) -> u64 {
    let left = node.handle().lease_remaining_ms(LeaseId(7)).expect("it leads");
    left.expect("there is a lease")
}

#[test]
fn what_was_left_of_a_lease_survives_a_restart() {
    let disk = SimDisk::new();
    let node = start(Arc::new(disk.clone()), config("/data"));
    let grant = Command::LeaseGrant(LeaseGrant { id: LeaseId(7), ttl_s: 600 });
    block_on(node.handle().propose(grant)).expect("the lease is granted").answer.expect("it is new");
    let granted = left_ms(&node);
    // Every write carries the leader's time into the log.
    while left_ms(&node) + 300 > granted {
        put(node.handle(), "k", "v").expect("a put succeeds");
    }
    put(node.handle(), "k", "v").expect("a put succeeds");
    let left = left_ms(&node);
    node.stop();
    let node = start(Arc::new(disk.after_kill()), config("/data"));
    let after = left_ms(&node);
    assert!(after <= left + 200, "{after} ms after the restart, {left} ms before");
    node.stop();
}

/// Seed 401 of the simulated world: the entry of a grant had the time of the last tick, so that the lease ended up to a
/// tick early behind a restart.
#[test]
fn a_lease_that_is_granted_between_two_ticks_lives_its_whole_time_behind_a_kill() {
    let disk = SimDisk::new();
    let mut member = Member::open(&disk).expect("it starts");
    member.pass(TICK - Duration::from_millis(1));
    let grant = Command::LeaseGrant(LeaseGrant { id: LeaseId(7), ttl_s: 2 });
    let granted = member.node.handle().propose(grant);
    member.settle();
    answer(granted).expect("it is answered").answer.expect("it is new");
    member.tick(Duration::from_millis(1)).put("k", "v").expect("it is put");

    let after = Member::open(&disk.after_kill()).expect("it starts again");
    let left_ms = after.node.handle().lease_remaining_ms(LeaseId(7)).expect("it leads").expect("there is a lease");
    assert!((1_998..=2_000).contains(&left_ms), "one millisecond passed, {left_ms} are left");
}

/// So that whoever watches can tell its clients how far they came; a client's own compaction waits for that by itself.
#[test]
fn a_compaction_of_the_member_itself_is_announced_one_tick_ahead() {
    let auto_compaction = Some(AutoCompaction::Revisions(1));
    let config = Config { auto_compaction, ..config("/data") };
    let mut member = Member::open_with(&SimDisk::new(), config).expect("it starts");
    let signal = member.node.handle().event_signal();
    let compacted = |member: &Member| member.node.handle().view().compacted_revision();
    for is_heard in [false, true] {
        signal.want_announcements(is_heard);
        for key in ["a", "b", "c"] {
            member.put(key, "v").expect("it is put");
        }
        let before = compacted(&member);
        let wanted = Revision(member.node.handle().view().revision().0 - 1);
        // Its interval begins with the tick that sees the one before done.
        member.tick(TICK).tick(Duration::from_secs(300));
        let announced: Vec<_> = signal.announced().iter().map(|announcement| announcement.revision).collect();
        if is_heard {
            assert_eq!((announced, compacted(&member)), (vec![wanted], before));
            member.tick(TICK);
        } else {
            assert_eq!(announced, []);
        }
        assert_eq!(compacted(&member), wanted);
    }
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
