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
    let settling = clock.to_checkpoint(52_000);
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
    assert_eq!(clock.to_checkpoint(1_000), []);
    assert_eq!(clock.keep_alive(A, 2_000, 2_000), Some(100));
    assert!(!clock.is_renewing(A));
    for now in [3_000, 8_000] {
        assert_eq!(clock.to_checkpoint(now), [(A, 100_000)]);
    }
    clock.checkpointed(&[(A, 100_000)]);
    assert!(clock.is_renewing(A));
    assert_eq!(clock.keep_alive(A, 9_000, 9_000), Some(100));
    assert_eq!(clock.to_checkpoint(10_000), []);
}

#[test]
fn a_lease_no_longer_renewed_is_settled_at_half_its_time() {
    let mut clock = clock_with(A, 100);
    clock.keep_alive(A, 0, 0);
    clock.to_checkpoint(0);
    clock.checkpointed(&[(A, 100_000)]);
    assert_eq!(clock.expired(49_999, 10), []);
    assert_eq!(clock.expired(50_000, 10), []);
    assert_eq!(clock.to_checkpoint(51_000), [(A, 49_000)]);
    // Renewed before the settling is applied: that it is renewing must be written again.
    clock.keep_alive(A, 52_000, 52_000);
    clock.checkpointed(&[(A, 49_000)]);
    assert!(!clock.is_renewing(A));
    assert_eq!(clock.to_checkpoint(53_000), [(A, 100_000)]);
}

/// etcd #9888, #13508: checkpoints go on after the first. Each time as much of the term may be missing from the log as
/// it holds, so that a kill at any moment takes back half of the term at most.
#[test]
fn r52_time_itself_is_written_down_while_there_are_leases() {
    let mut clock = clock_with(A, 1000);
    let mut logged_ms = 0;
    let due: Vec<u64> = (0..60_000).filter(|&now_ms| clock.is_time_due(now_ms, 0)).collect();
    assert_eq!(due, [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 22_800, 32_800, 42_800, 52_800]);
    // Other commands carry the time as well.
    for now_ms in 60_000..200_000 {
        logged_ms = if now_ms % 5_000 == 0 { now_ms } else { logged_ms };
        assert!(!clock.is_time_due(now_ms, logged_ms));
    }
    assert!(clock.is_time_due(500_000, logged_ms));
    clock.revoked(A);
    assert!(!clock.is_time_due(900_000, logged_ms));
}

#[test]
fn what_is_left_of_each_lease_is_written_when_an_office_ends_in_order() {
    assert_eq!(LeaseClock::default().last_checkpoints(5_000), Vec::<Vec<_>>::new());
    let mut clock = clock_with(A, 60);
    assert_eq!(clock.last_checkpoints(6_000), [vec![]], "the log knows its end, but not the time");
    let (renewed, unwritten, short, ended) = (LeaseId(2), LeaseId(3), LeaseId(4), LeaseId(5));
    for (id, ttl_s) in [(renewed, 60), (unwritten, 60), (short, 9), (ended, 10)] {
        clock.granted(id, ttl_s, 0);
        clock.keep_alive(id, 1_000, 1_000);
    }
    clock.checkpointed(&[(renewed, 60_000), (short, 9_000), (ended, 10_000)]);
    assert_eq!(clock.last_checkpoints(16_000), [vec![(renewed, 45_000), (unwritten, 45_000), (ended, 0)]]);
}

#[test]
fn the_last_checkpoints_of_an_office_are_no_larger_than_others() {
    let mut clock = LeaseClock::default();
    for id in 1..=120_000 {
        clock.granted(LeaseId(id), 60, 0);
        clock.keep_alive(LeaseId(id), 0, 0);
    }
    let lengths: Vec<usize> = clock.last_checkpoints(1_000).iter().map(Vec::len).collect();
    assert_eq!(lengths, [50_000, 50_000, 20_000]);
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
    LeaderStops,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (1..4i64, 1..40i64).prop_map(|(id, ttl)| Step::Grant(id, ttl)),
        6 => (1..4i64).prop_map(Step::KeepAlive),
        6 => (0..8_000u64).prop_map(Step::Pass),
        3 => Just(Step::WriteDown),
        3 => Just(Step::Expire),
        1 => Just(Step::LeaderCrashes),
        1 => Just(Step::LeaderStops),
    ]
}

/// A lease as its client knows it; times are real.
struct Known {
    ttl_ms: u64,
    acknowledged_at_ms: u64,
    /// Real time by which it must be gone if nobody renews it: its full time, and what restarts added.
    gone_by_ms: u64,
    /// The next leader cannot know when it was renewed last.
    is_renewing: bool,
}

/// A member that leads all the time, but for restarts that take none.
#[derive(Default)]
struct World {
    table: LeaseTable,
    clock: LeaseClock,
    known: HashMap<LeaseId, Known>,
    real_ms: u64,
    leader_ms: u64,
    /// The leader time that the log knows.
    logged_ms: u64,
    began_at_ms: u64,
}

impl World {
    fn grant(&mut self, id: LeaseId, ttl_s: i64) {
        self.logged_ms = self.leader_ms;
        if self.table.grant(id, ttl_s, self.leader_ms).is_err() {
            return;
        }
        self.clock.granted(id, ttl_s, self.leader_ms);
        let (ttl_ms, at_ms) = (ttl_ms(ttl_s), self.real_ms);
        let lease = Known { ttl_ms, acknowledged_at_ms: at_ms, gone_by_ms: at_ms + ttl_ms, is_renewing: false };
        self.known.insert(id, lease);
    }

    fn keep_alive(&mut self, id: LeaseId) {
        if self.clock.keep_alive(id, self.leader_ms, self.leader_ms).is_none() {
            return;
        }
        if !self.clock.is_renewing(id) {
            let written: Vec<_> = self.clock.checkpoint_of(id).into_iter().collect();
            self.write(&written);
        }
        let lease = self.known.get_mut(&id).expect("granted");
        lease.acknowledged_at_ms = self.real_ms;
        lease.gone_by_ms = self.real_ms + lease.ttl_ms;
        lease.is_renewing = true;
    }

    fn write(&mut self, remaining: &[(LeaseId, u64)]) {
        self.logged_ms = self.leader_ms;
        self.table.checkpoint(remaining, self.leader_ms);
        self.clock.checkpointed(remaining);
    }

    /// With a tick each tenth of a second.
    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            self.real_ms += 100;
            self.leader_ms += 100;
            if self.clock.is_time_due(self.leader_ms, self.logged_ms) {
                self.write(&[]);
            }
        }
    }

    fn crash(&mut self) {
        let lost_ms = self.leader_ms - self.logged_ms;
        let term_ms = self.leader_ms - self.began_at_ms;
        assert!(self.known.is_empty() || lost_ms <= (term_ms / 2).clamp(100, 10_000), "{lost_ms} of {term_ms} ms");
        for lease in self.known.values_mut() {
            lease.gone_by_ms += lost_ms;
            if std::mem::take(&mut lease.is_renewing) {
                lease.gone_by_ms = lease.gone_by_ms.max(self.real_ms + lease.ttl_ms);
            }
        }
        self.begin_term();
    }

    fn stop(&mut self) {
        for remaining in self.clock.last_checkpoints(self.leader_ms) {
            self.write(&remaining);
        }
        for lease in self.known.values_mut() {
            if std::mem::take(&mut lease.is_renewing) && lease.ttl_ms < SETTLE_TTL_MS_MIN {
                lease.gone_by_ms = self.real_ms + lease.ttl_ms;
            }
        }
        self.begin_term();
    }

    fn begin_term(&mut self) {
        self.leader_ms = self.logged_ms;
        self.began_at_ms = self.leader_ms;
        self.table.change_office(self.leader_ms);
        self.clock = LeaseClock::new(self.table.terms(), self.leader_ms);
    }

    fn expire(&mut self) {
        for id in self.clock.expired(self.leader_ms, 100) {
            let lease = self.known.remove(&id).expect("granted");
            assert!(self.real_ms >= lease.acknowledged_at_ms + lease.ttl_ms, "{id} ends too early");
            self.logged_ms = self.leader_ms;
            self.table.remove(id);
            self.clock.revoked(id);
        }
    }
}

proptest! {
    /// Through any ends of the leader, no lease ends before its full time passed since the last acknowledged
    /// keep-alive or grant, and none lives longer than the bound.
    #[test]
    fn r52_a_lease_ends_neither_early_nor_never(steps in proptest::collection::vec(step(), 1..120)) {
        let mut world = World::default();
        for step in steps {
            match step {
                Step::Grant(id, ttl_s) => world.grant(LeaseId(id), ttl_s),
                Step::KeepAlive(id) => world.keep_alive(LeaseId(id)),
                Step::Pass(ms) => world.pass(ms),
                Step::WriteDown => {
                    let remaining = world.clock.to_checkpoint(world.leader_ms);
                    world.write(&remaining);
                }
                Step::Expire => world.expire(),
                Step::LeaderCrashes => world.crash(),
                Step::LeaderStops => world.stop(),
            }
        }
        let World { mut clock, known, real_ms, leader_ms, .. } = world;
        let last = known.values().map(|lease| lease.gone_by_ms).max().unwrap_or(real_ms).max(real_ms);
        let expired = clock.expired(leader_ms + (last - real_ms), 100);
        prop_assert_eq!(expired.len(), known.len(), "every lease is gone by its bound");
    }
}
