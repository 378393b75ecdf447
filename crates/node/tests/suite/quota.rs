//! The quota over restarts and while the member runs. What apply goes by is in the log: a member that was killed and is
//! started with another quota comes to the answers that it gave, and the other quota is in force from there on. The
//! member is stepped by hand.

use crate::member::config;
use crate::unwritten::{Member, TICK, answer};
use model::{Alarm, AlarmAction, AlarmKind, Command, Rejection, Revision};
use node::{Config, Refused, Reply};
use simdisk::SimDisk;
use std::sync::Arc;

const LARGE: u64 = 1 << 20;
const SMALL: u64 = 20_000;

/// The log is not trimmed: a start applies all of it again.
fn open(disk: &SimDisk, quota_bytes: Option<u64>, strict_latch: bool) -> Member {
    let config =
        Config { quota_bytes, strict_latch, checkpoint_entries: 10_000, on_fault: Arc::new(|_| {}), ..config("/data") };
    let mut member = Member::open_with(disk, config).expect("it starts");
    member.tick(TICK);
    member
}

/// The revision that it made, or why not.
fn put(member: &mut Member, key: &str) -> Result<Revision, Rejection> {
    let reply = member.put(key, &"v".repeat(1000)).expect("it is answered");
    reply.answer.map(|_| reply.revision)
}

/// Puts forty keys; what each was told.
fn fill(member: &mut Member) -> Vec<(String, Result<Revision, Rejection>)> {
    (0..40).map(|n| format!("key {n:02}")).map(|key| (key.clone(), put(member, &key))).collect()
}

fn mod_revision(member: &Member, key: &str) -> Option<Revision> {
    member.node.handle().view().kv().get(key.as_bytes()).map(|meta| meta.mod_revision())
}

fn in_force(member: &Member) -> Option<u64> {
    member.node.handle().view().quota_bytes()
}

fn is_full(member: &Member) -> bool {
    member.node.handle().view().alarms().by_quota().is_some()
}

fn disarm(member: &mut Member) -> Result<Reply, Refused> {
    let alarms = member.node.handle().view().alarms().clone();
    let up = alarms.iter().next().expect("an alarm is up");
    let disarm = Alarm { action: AlarmAction::Deactivate, member: up.member, kind: AlarmKind::NoSpace };
    let pending = member.node.handle().propose(Command::Alarm(disarm));
    member.settle();
    answer(pending)
}

#[test]
fn what_was_acknowledged_is_there_after_a_start_with_a_smaller_quota() {
    let disk = SimDisk::new();
    let mut member = open(&disk, Some(LARGE), false);
    let acknowledged = fill(&mut member);
    assert!(acknowledged.iter().all(|(_, told)| told.is_ok()));
    drop(member);

    let disk = disk.after_kill();
    let mut member = open(&disk, Some(SMALL), false);
    for (key, told) in &acknowledged {
        assert_eq!(mod_revision(&member, key).as_ref().ok_or(()), told.as_ref().map_err(|_| ()), "{key}");
    }
    assert_eq!(in_force(&member), Some(SMALL));
    assert_eq!(put(&mut member, "more"), Err(Rejection::NoSpace));
    assert!(is_full(&member));
    drop(member);

    // And back: the alarm goes with the quota that raised it.
    let mut member = open(&disk.after_kill(), Some(LARGE), false);
    assert_eq!((in_force(&member), mod_revision(&member, "more")), (Some(LARGE), None));
    assert!(!is_full(&member));
    assert!(put(&mut member, "more").is_ok());
}

#[test]
fn what_was_refused_stays_refused_after_a_start_with_a_larger_quota() {
    for larger in [Some(LARGE), None] {
        let disk = SimDisk::new();
        let mut member = open(&disk, Some(SMALL), false);
        let told = fill(&mut member);
        let refused = told.iter().filter(|(_, told)| told.is_err()).count();
        assert!((1..40).contains(&refused), "{refused} of 40 are refused");
        assert!(is_full(&member));
        drop(member);

        let mut member = open(&disk.after_kill(), larger, false);
        for (key, told) in &told {
            assert_eq!(mod_revision(&member, key).as_ref(), told.as_ref().ok(), "{key}");
        }
        assert_eq!((in_force(&member), is_full(&member)), (larger, false));
        for (key, _) in &told {
            assert!(put(&mut member, key).is_ok());
        }
    }
}

#[test]
fn the_latch_of_etcd_is_replicated_with_the_quota() {
    let disk = SimDisk::new();
    let mut member = open(&disk, Some(SMALL), true);
    // What meets the quota is a rewrite, which is refused with the latch alone.
    let told: Vec<_> = (0..40).map(|_| put(&mut member, "key")).collect();
    let last = told.iter().rev().find_map(|told| told.as_ref().ok().copied());
    assert!(last.is_some() && told.last() == Some(&Err(Rejection::NoSpace)));
    drop(member);

    let mut member = open(&disk.after_kill(), Some(SMALL), false);
    assert_eq!(mod_revision(&member, "key"), last, "the refusal was applied again as it was");
    assert!(put(&mut member, "key").is_ok(), "and now it is no growth");
}

#[test]
fn the_quota_changes_while_the_member_runs() {
    let disk = SimDisk::new();
    let mut member = open(&disk, Some(SMALL), false);
    fill(&mut member);
    assert!(is_full(&member));

    member.node.handle().want_quota(Some(LARGE), false);
    member.tick(TICK);
    assert_eq!((in_force(&member), is_full(&member)), (Some(LARGE), false));
    assert!(fill(&mut member).iter().all(|(_, told)| told.is_ok()));

    member.node.handle().want_quota(Some(SMALL), true);
    member.tick(TICK);
    assert_eq!((in_force(&member), is_full(&member)), (Some(SMALL), false), "the alarm is for the next write to raise");
    assert_eq!(put(&mut member, "more"), Err(Rejection::NoSpace));
    member.node.handle().want_quota(None, true);
    member.tick(TICK);
    assert_eq!((in_force(&member), is_full(&member)), (None, true), "as etcd's it is up until it is disarmed");
    disarm(&mut member).expect("it is answered").answer.expect("it is disarmed");
    assert!(put(&mut member, "more").is_ok());

    // What changed while it ran is what the log is applied again by; then its flags count.
    drop(member);
    let member = open(&disk.after_kill(), Some(SMALL), false);
    assert!(mod_revision(&member, "more").is_some());
    assert_eq!(in_force(&member), Some(SMALL));
}

#[test]
fn a_quota_that_is_in_force_is_not_proposed_again() {
    let disk = SimDisk::new();
    let mut member = open(&disk, Some(LARGE), false);
    let applied = member.node.handle().status().applied;
    for _ in 0..1_000 {
        member.tick(TICK);
    }
    assert_eq!(member.node.handle().status().applied, applied, "a new cluster has it from the start");
    member.node.handle().want_quota(Some(SMALL), false);
    for _ in 0..1_000 {
        member.tick(TICK);
    }
    assert_eq!(member.node.handle().status().applied.0, applied.0 + 1);
}
