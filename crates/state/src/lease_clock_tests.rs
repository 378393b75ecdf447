//! The leader's clock: its rules one by one, and both clock and table through crashes of the leader.

use super::*;
use crate::lease::LeaseTable;
use proptest::prelude::*;

const A: LeaseId = LeaseId(1);

fn clock_with(id: LeaseId, ttl_s: i64) -> LeaseClock {
    let mut clock = LeaseClock::default();
    clock.granted(id, ttl_s, 0);
    clock
}

/// Found by the simulated world: the renewal was answered at once, the settling behind it reached the log, and a
/// restart ended the lease seconds after its last acknowledged keep-alive.
#[test]
fn a_keep_alive_while_the_settling_is_on_its_way_waits_for_the_log() {
    let mut clock = clock_with(A, 100);
    clock.keep_alive(A, 1_000, 1_000);
    clock.checkpointed(&[(A, 100_000)]);
    assert_eq!(clock.expired(51_000, 10), []);
    let settling = clock.to_checkpoint(52_000).expect("it is settled");
    assert_eq!(settling, [(A, 49_000)]);
    assert_eq!(clock.keep_alive(A, 53_000, 53_000), Some(100));
    assert!(!clock.is_renewing(A), "the settling may come into the log before the renewal");
    clock.checkpointed(&settling);
    assert!(!clock.is_renewing(A));
    clock.checkpointed(&[(A, 100_000)]);
    assert!(clock.is_renewing(A));
}

#[test]
fn a_keep_alive_is_refused_by_what_the_clock_shows_and_renews_from_what_it_may_be() {
    let mut clock = LeaseClock::default();
    clock.granted(A, 5, 200);
    // The clock shows 5100 and may be 200 further: the lease has not run out.
    assert_eq!(clock.keep_alive(A, 5_100, 5_300), Some(5));
    assert_eq!(clock.remaining_ms(A, 5_300), Some(5_000));
    assert_eq!(clock.keep_alive(A, 10_300, 10_500), None);
}

#[test]
fn a_lease_expires_at_its_end_and_is_reported_once() {
    let mut clock = clock_with(A, 5);
    assert_eq!(clock.expired(4_999, 10), []);
    assert_eq!(clock.expired(5_000, 10), [A]);
    assert_eq!(clock.expired(5_500, 10), []);
    assert_eq!(clock.remaining_ms(A, 5_500), Some(0));
    assert_eq!(clock.expired(8_000, 10), [A], "its revoke was not applied");
    clock.revoked(A);
    assert_eq!(clock.expired(20_000, 10), []);
    assert_eq!(clock.remaining_ms(A, 20_000), None);
}

#[test]
fn no_more_than_the_limit_expire_at_once() {
    let mut clock = LeaseClock::default();
    for id in 1..=5 {
        clock.granted(LeaseId(id), 1, 0);
    }
    assert_eq!(clock.expired(1_000, 2).len(), 2);
    assert_eq!(clock.expired(1_000, 2).len(), 2);
    assert_eq!(clock.expired(1_000, 2).len(), 1);
}

/// etcd #20615: a keep-alive of a lease that has run out must not be answered with success, whether its revoke was
/// applied or not.
#[test]
fn r51_a_lease_that_ran_out_is_not_renewed() {
    let mut clock = clock_with(A, 5);
    assert_eq!(clock.keep_alive(A, 4_999, 4_999), Some(5));
    assert_eq!(clock.expired(5_000, 10), []);
    assert_eq!(clock.keep_alive(A, 9_999, 9_999), None);
    assert_eq!(clock.expired(10_000, 10), [A]);
    assert_eq!(clock.keep_alive(A, 10_000, 10_000), None);
    clock.revoked(A);
    assert_eq!(clock.keep_alive(A, 10_001, 10_001), None);
}

#[test]
fn the_first_keep_alive_is_written_down_until_confirmed() {
    let mut clock = clock_with(A, 100);
    assert_eq!(clock.to_checkpoint(1_000), None);
    assert_eq!(clock.keep_alive(A, 2_000, 2_000), Some(100));
    assert!(!clock.is_renewing(A));
    for now in [3_000, 8_000] {
        assert_eq!(clock.to_checkpoint(now), Some(vec![(A, 100_000)]));
    }
    clock.checkpointed(&[(A, 100_000)]);
    assert!(clock.is_renewing(A));
    assert_eq!(clock.keep_alive(A, 9_000, 9_000), Some(100));
    assert_eq!(clock.to_checkpoint(10_000), None);
}

#[test]
fn a_lease_no_longer_renewed_is_settled_at_half_its_time() {
    let mut clock = clock_with(A, 100);
    clock.keep_alive(A, 0, 0);
    clock.to_checkpoint(0);
    clock.checkpointed(&[(A, 100_000)]);
    assert_eq!(clock.expired(49_999, 10), []);
    assert_eq!(clock.expired(50_000, 10), []);
    assert_eq!(clock.to_checkpoint(51_000), Some(vec![(A, 49_000)]));
    // Renewed before the settling is applied: that it is renewing must be written again.
    clock.keep_alive(A, 52_000, 52_000);
    clock.checkpointed(&[(A, 49_000)]);
    assert!(!clock.is_renewing(A));
    assert_eq!(clock.to_checkpoint(53_000), Some(vec![(A, 100_000)]));
}

/// etcd #9888, #13508: checkpoints go on after the first.
#[test]
fn r52_time_itself_is_written_down_while_there_are_leases() {
    let mut clock = clock_with(A, 1000);
    assert_eq!(clock.to_checkpoint(9_999), None);
    assert_eq!(clock.to_checkpoint(10_000), Some(vec![]));
    assert_eq!(clock.to_checkpoint(15_000), None);
    assert_eq!(clock.to_checkpoint(20_000), Some(vec![]));
    clock.revoked(A);
    assert_eq!(clock.to_checkpoint(90_000), None);
}

#[test]
fn the_heap_does_not_grow_with_granted_and_revoked_leases() {
    let mut clock = LeaseClock::default();
    for id in 1..10_000 {
        clock.granted(LeaseId(id), 1_000_000, 0);
        clock.revoked(LeaseId(id));
    }
    assert!(clock.due.len() <= 64, "{}", clock.due.len());
}

#[derive(Debug, Clone)]
enum Step {
    Grant(i64, i64),
    KeepAlive(i64),
    Pass(u64),
    WriteDown,
    Expire,
    LeaderCrashes,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (1..4i64, 1..40i64).prop_map(|(id, ttl)| Step::Grant(id, ttl)),
        6 => (1..4i64).prop_map(Step::KeepAlive),
        6 => (0..8_000u64).prop_map(Step::Pass),
        3 => Just(Step::WriteDown),
        3 => Just(Step::Expire),
        1 => Just(Step::LeaderCrashes),
    ]
}

/// A lease as its client knows it; times are real.
struct Known {
    ttl_ms: u64,
    acknowledged_at_ms: u64,
    /// Real time by which it must be gone if nobody renews it: its full time, and what crashes added.
    gone_by_ms: u64,
    /// The next leader cannot know when it was renewed last.
    is_renewing: bool,
}

proptest! {
    /// Through any crashes of the leader, no lease ends before its full time passed since the last acknowledged
    /// keep-alive or grant, and none lives longer than the bound.
    #[test]
    fn r52_a_lease_ends_neither_early_nor_never(steps in proptest::collection::vec(step(), 1..120)) {
        let mut table = LeaseTable::default();
        let mut clock = LeaseClock::default();
        let mut known: HashMap<LeaseId, Known> = HashMap::new();
        // Real time, leader time, and the leader time that the log knows.
        let (mut real, mut leader, mut logged) = (0u64, 0u64, 0u64);
        for step in steps {
            match step {
                Step::Grant(id, ttl_s) => {
                    let id = LeaseId(id);
                    logged = leader;
                    if table.grant(id, ttl_s, leader).is_ok() {
                        clock.granted(id, ttl_s, leader);
                        let ttl_ms = ttl_ms(ttl_s);
                        let gone_by_ms = real + ttl_ms;
                        known.insert(id, Known { ttl_ms, acknowledged_at_ms: real, gone_by_ms, is_renewing: false });
                    }
                }
                Step::KeepAlive(id) => {
                    let id = LeaseId(id);
                    if clock.keep_alive(id, leader, leader).is_some() {
                        if !clock.is_renewing(id) {
                            let written: Vec<_> = clock.checkpoint_of(id).into_iter().collect();
                            logged = leader;
                            table.checkpoint(&written, leader);
                            clock.checkpointed(&written);
                        }
                        let lease = known.get_mut(&id).expect("granted");
                        lease.acknowledged_at_ms = real;
                        lease.gone_by_ms = real + lease.ttl_ms;
                        lease.is_renewing = true;
                    }
                }
                Step::Pass(ms) => {
                    real += ms;
                    leader += ms;
                }
                Step::WriteDown => if let Some(written) = clock.to_checkpoint(leader) {
                    logged = leader;
                    table.checkpoint(&written, leader);
                    clock.checkpointed(&written);
                },
                Step::Expire => for id in clock.expired(leader, 100) {
                    let lease = known.remove(&id).expect("granted");
                    prop_assert!(real >= lease.acknowledged_at_ms + lease.ttl_ms, "{} too early", id);
                    logged = leader;
                    table.remove(id);
                    clock.revoked(id);
                },
                Step::LeaderCrashes => {
                    for lease in known.values_mut() {
                        lease.gone_by_ms += leader - logged;
                        if std::mem::take(&mut lease.is_renewing) {
                            lease.gone_by_ms = lease.gone_by_ms.max(real + lease.ttl_ms);
                        }
                    }
                    leader = logged;
                    table.change_office(leader);
                    clock = LeaseClock::new(table.terms(), leader);
                }
            }
        }
        let last = known.values().map(|lease| lease.gone_by_ms).max().unwrap_or(real).max(real);
        let expired = clock.expired(leader + (last - real), 100);
        prop_assert_eq!(expired.len(), known.len(), "every lease is gone by its bound");
    }
}
