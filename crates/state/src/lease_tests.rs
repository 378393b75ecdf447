//! The lease table against a plain model, and its rules one by one.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

const A: LeaseId = LeaseId(1);

#[test]
fn grants_are_refused_in_order_of_the_checks() {
    let mut table = LeaseTable::default();
    assert_eq!(table.grant(LeaseId::NONE, 5, 0), Err(Rejection::LeaseNotFound));
    assert_eq!(table.grant(A, LEASE_TTL_S_MAX, 0), Ok(LEASE_TTL_S_MAX));
    assert_eq!(table.grant(A, LEASE_TTL_S_MAX + 1, 0), Err(Rejection::LeaseTtlTooLarge));
    assert_eq!(table.grant(A, 5, 0), Err(Rejection::LeaseExists));
    assert_eq!(table.grant(LeaseId(2), i64::MIN, 0), Ok(1));
}

/// etcd #14239: ids of either sign are one lease each, on every member.
#[test]
fn r29_ids_over_the_full_range() {
    let mut table = LeaseTable::default();
    for id in [i64::MIN, -1, 1, i64::MAX] {
        assert_eq!(table.grant(LeaseId(id), 5, 0), Ok(5));
        table.attach(LeaseId(id), b"k");
    }
    let ids: Vec<i64> = table.terms().iter_after(Some(LeaseId(-1))).map(|(id, _)| id.0).collect();
    assert_eq!(ids, [1, i64::MAX]);
    assert_eq!(table.terms().iter_after(Some(LeaseId(i64::MAX))).count(), 0);
    assert_eq!(table.terms().iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [i64::MIN, -1, 1, i64::MAX]);
    assert_eq!(table.remove(LeaseId(-1)).map(|keys| keys.len()), Some(1));
}

#[test]
fn what_was_left_is_kept_and_a_renewing_lease_gets_its_full_time_once() {
    let mut table = LeaseTable::default();
    let (quiet, renewed) = (LeaseId(1), LeaseId(2));
    table.grant(quiet, 100, 0).expect("new");
    table.grant(renewed, 100, 0).expect("new");
    table.checkpoint(&[(renewed, 100_000), (LeaseId(3), 5)], 10_000);
    assert_eq!(table.get(renewed).map(|lease| lease.ends_at_ms), Some(110_000));
    table.change_office(60_000);
    assert_eq!(table.get(quiet).map(|lease| lease.ends_at_ms), Some(100_000));
    assert_eq!(table.get(renewed).map(|lease| lease.ends_at_ms), Some(160_000));
    // Nobody renewed it under the second leader: further changes give it nothing (etcd #9888).
    for now_ms in [70_000, 80_000, 90_000] {
        table.change_office(now_ms);
        assert_eq!(table.get(renewed).map(|lease| lease.ends_at_ms), Some(160_000));
    }
}

#[test]
fn a_settled_lease_ends_where_it_was_written_down() {
    let mut table = LeaseTable::default();
    table.grant(A, 100, 0).expect("new");
    table.checkpoint(&[(A, 100_000)], 1_000);
    table.checkpoint(&[(A, 45_000)], 56_000);
    table.change_office(60_000);
    assert_eq!(table.get(A).map(|lease| lease.ends_at_ms), Some(101_000));
    table.checkpoint(&[(A, u64::MAX)], 61_000);
    assert_eq!(table.get(A).map(|lease| lease.ends_at_ms), Some(161_000), "no longer than it was granted");
}

#[derive(Debug, Clone)]
enum Step {
    Grant(i64, i64),
    Remove(i64),
    Attach(i64, u8),
    Detach(i64, u8),
    Checkpoint(i64, u64),
    Pass(u64),
    ChangeOffice,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4i64, -1..50i64).prop_map(|(id, ttl)| Step::Grant(id, ttl)),
        (0..4i64).prop_map(Step::Remove),
        (0..4i64, 0..3u8).prop_map(|(id, key)| Step::Attach(id, key)),
        (0..4i64, 0..3u8).prop_map(|(id, key)| Step::Detach(id, key)),
        (0..4i64, 0..60_000u64).prop_map(|(id, left)| Step::Checkpoint(id, left)),
        (0..20_000u64).prop_map(Step::Pass),
        Just(Step::ChangeOffice),
    ]
}

proptest! {
    /// The table does what a map of (ttl, end, renewing, keys) does.
    #[test]
    fn the_table_follows_its_model(steps in proptest::collection::vec(step(), 0..60)) {
        let mut table = LeaseTable::default();
        let mut model: HashMap<i64, (i64, u64, bool, Vec<u8>)> = HashMap::new();
        let mut now = 0;
        for step in steps {
            match step {
                Step::Grant(id, ttl) => {
                    let granted = table.grant(LeaseId(id), ttl, now).is_ok();
                    prop_assert_eq!(granted, id != 0 && !model.contains_key(&id));
                    if granted {
                        let ttl = ttl.max(1);
                        model.insert(id, (ttl, now + ttl as u64 * 1000, false, vec![]));
                    }
                }
                Step::Remove(id) => {
                    let keys = table.remove(LeaseId(id)).map(|keys| keys.iter().map(|key| key[0]).collect::<Vec<u8>>());
                    let expected = model.remove(&id).map(|(_, _, _, mut keys)| { keys.sort(); keys });
                    prop_assert_eq!(keys, expected);
                }
                Step::Attach(id, key) => {
                    table.attach(LeaseId(id), &[key]);
                    if let Some(lease) = model.get_mut(&id) && !lease.3.contains(&key) {
                        lease.3.push(key);
                    }
                }
                Step::Detach(id, key) => {
                    table.detach(LeaseId(id), &[key]);
                    if let Some(lease) = model.get_mut(&id) {
                        lease.3.retain(|&other| other != key);
                    }
                }
                Step::Checkpoint(id, left) => {
                    table.checkpoint(&[(LeaseId(id), left)], now);
                    if let Some((ttl, ends, renewing, _)) = model.get_mut(&id) {
                        let full = *ttl as u64 * 1000;
                        *ends = now + left.min(full);
                        *renewing = left >= full;
                    }
                }
                Step::Pass(ms) => now += ms,
                Step::ChangeOffice => {
                    table.change_office(now);
                    for (ttl, ends, renewing, _) in model.values_mut() {
                        if std::mem::take(renewing) {
                            *ends = (*ends).max(now + *ttl as u64 * 1000);
                        }
                    }
                }
            }
            prop_assert_eq!(table.terms().len(), model.len());
            for (id, terms) in table.terms().iter() {
                let (ttl, ends, renewing, keys) = &model[&id.0];
                prop_assert_eq!((terms.ttl_s, terms.ends_at_ms, terms.renewing), (*ttl, *ends, *renewing));
                prop_assert_eq!(table.keys_after(id, None).count(), keys.len());
            }
        }
    }
}
