//! Leases over restarts. A member that ends in order writes down what each has left; what kills may add is bounded.
//! Time is leader time: it stands still while the member is down. The member is stepped by hand.

use crate::unwritten::{Member, answer};
use model::{Command, LeaseGrant, LeaseId};
use node::{Part, Refused};
use simdisk::SimDisk;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Less than what one tick may move the clock of leases.
const STEP: Duration = Duration::from_millis(100);

fn grant(member: &mut Member, id: i64, ttl_s: i64) {
    let grant = Command::LeaseGrant(LeaseGrant { id: LeaseId(id), ttl_s });
    let granted = member.node.handle().propose(grant);
    member.settle();
    answer(granted).expect("it is answered").answer.expect("it is new");
}

/// Polls only once, and then after everything was stepped.
fn keep_alive(member: &mut Member, id: i64) -> Result<i64, Refused> {
    let handle = member.node.handle().clone();
    let mut renewal = pin!(handle.keep_alive(LeaseId(id)));
    let mut context = Context::from_waker(Waker::noop());
    if let Poll::Ready(answer) = renewal.as_mut().poll(&mut context) {
        return answer;
    }
    member.settle();
    match renewal.poll(&mut context) {
        Poll::Ready(answer) => answer,
        Poll::Pending => Err(Refused::TimedOut),
    }
}

fn left_ms(member: &Member, id: i64) -> Option<u64> {
    member.node.handle().lease_remaining_ms(LeaseId(id)).expect("it leads")
}

fn pass(member: &mut Member, time: Duration) {
    for _ in 0..time.as_millis() / STEP.as_millis() {
        member.tick(STEP);
    }
}

fn stop(mut member: Member) {
    member.node.begin_stop();
    member.settle();
    assert!(member.node.is_stopped());
    member.node.finish();
}

fn restart(disk: &SimDisk) -> Member {
    Member::open(&disk.after_kill()).expect("it starts again")
}

#[test]
fn an_orderly_restart_goes_on_with_what_each_lease_had_left() {
    let disk = SimDisk::new();
    let mut member = Member::open(&disk).expect("it starts");
    let (quiet, renewed, short) = (1, 2, 3);
    grant(&mut member, quiet, 60);
    grant(&mut member, renewed, 60);
    grant(&mut member, short, 8);
    pass(&mut member, Duration::from_secs(2));
    assert_eq!(keep_alive(&mut member, renewed), Ok(60));
    assert_eq!(keep_alive(&mut member, short), Ok(8));
    pass(&mut member, Duration::from_secs(4));
    stop(member);
    let member = restart(&disk);
    let near = |id, expected: u64| {
        let left = left_ms(&member, id).expect("there is a lease");
        assert!((expected - 100..=expected + 100).contains(&left), "lease {id} has {left} ms, not {expected}");
    };
    near(quiet, 54_000);
    near(renewed, 56_000);
    // Too short to be cut: whoever renews it must find the member first.
    near(short, 8_000);
}

#[test]
fn a_lease_ends_under_orderly_restarts_when_its_time_is_over() {
    let mut disk = SimDisk::new();
    let mut member = Member::open(&disk).expect("it starts");
    grant(&mut member, 1, 15);
    assert_eq!(keep_alive(&mut member, 1), Ok(15));
    for life in 0..5 {
        assert!(left_ms(&member, 1).is_some(), "it ended early, in life {life}");
        pass(&mut member, Duration::from_secs(3));
        stop(member);
        disk = disk.after_kill();
        member = Member::open(&disk).expect("it starts again");
    }
    pass(&mut member, Duration::from_secs(1));
    assert_eq!(left_ms(&member, 1), None);
}

/// A renewed lease gets its full time once more with the first kill, and then at least half of each life counts.
#[test]
fn a_lease_ends_under_kills_within_four_times_its_time() {
    for life_ms in [200, 500, 1_000, 3_000, 7_000, 25_000] {
        let mut disk = SimDisk::new();
        let mut member = Member::open(&disk).expect("it starts");
        grant(&mut member, 1, 15);
        assert_eq!(keep_alive(&mut member, 1), Ok(15));
        let mut lived_ms = 0;
        while left_ms(&member, 1).is_some() {
            assert!(lived_ms <= 4 * 15_000, "with kills every {life_ms} ms it lives on after {lived_ms} ms");
            pass(&mut member, Duration::from_millis(life_ms));
            lived_ms += life_ms;
            if left_ms(&member, 1).is_some() {
                disk = disk.after_kill();
                member = Member::open(&disk).expect("it starts again");
            }
        }
        assert!(lived_ms >= 15_000, "with kills every {life_ms} ms it ended after {lived_ms} ms");
    }
}

#[test]
fn a_keep_alive_behind_the_last_checkpoints_is_not_acknowledged() {
    let mut member = Member::open(&SimDisk::new()).expect("it starts");
    grant(&mut member, 1, 60);
    assert_eq!(keep_alive(&mut member, 1), Ok(60));
    member.node.begin_stop();
    member.node.step(Part::Driver);
    assert_eq!(keep_alive(&mut member, 1), Err(Refused::NoLeader));
}

/// Time is written down only where nothing else carries it.
#[test]
fn a_member_without_leases_writes_nothing_by_itself() {
    let mut member = Member::open(&SimDisk::new()).expect("it starts");
    pass(&mut member, Duration::from_secs(1));
    let before = member.node.handle().status().committed;
    pass(&mut member, Duration::from_secs(60));
    assert_eq!(member.node.handle().status().committed, before);
    grant(&mut member, 1, 3_600);
    let granted = member.node.handle().status().committed.0;
    pass(&mut member, Duration::from_secs(100));
    let written = member.node.handle().status().committed.0 - granted;
    assert!((9..=11).contains(&written), "{written} entries in a hundred seconds");
}
