//! What once went wrong in etcd's watches, as far as it can be said at this level; named after the row in its history.

use crate::world::{World, delete, put, seen};
use model::{KeyRange, Revision};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use watch::{CreateError, Delivery, Limits, Registry, Spec, Standing, WatcherId};

fn all_keys(start_revision: i64) -> Spec {
    Spec { range: KeyRange::all(), start_revision: Revision(start_revision), no_put: false, no_delete: false }
}

fn advance(world: &mut World) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    while world.registry.advance(&mut deliveries) {}
    deliveries
}

/// Lets everybody catch up: what was handed out, and who was cancelled.
fn catch_up(world: &mut World) -> (Vec<Delivery>, Vec<(WatcherId, Revision)>) {
    let (mut deliveries, mut cancelled) = (Vec::new(), Vec::new());
    let view = world.mvcc.view();
    while let Some(piece) = world.registry.catch_up(&view).expect("the disk works") {
        deliveries.extend(piece.delivery);
        if let Standing::Cancelled(at) = piece.standing {
            cancelled.push((piece.watcher, at));
        }
    }
    (deliveries, cancelled)
}

fn revisions(deliveries: &[Delivery]) -> Vec<i64> {
    deliveries.iter().flat_map(|delivery| delivery.events.iter().map(|event| event.revision().0)).collect()
}

/// etcd #17529, #17612: a starved watcher behind the compaction lost events and was not told.
#[test]
fn r40_a_watcher_that_fell_behind_compaction_is_told() {
    let mut world = World::new(Limits { events_max: 2, ..Limits::default() });
    let slow = world.registry.create(all_keys(0), world.revision()).expect("creates");
    world.put("a", "1");
    assert_eq!(revisions(&advance(&mut world)), [2]);
    world.registry.pause(slow);
    for value in 0..10 {
        world.put("a", &value.to_string());
    }
    advance(&mut world);
    world.mvcc.compact(Revision(8)).expect("compacts");
    world.registry.resume(slow);
    let (deliveries, cancelled) = catch_up(&mut world);
    assert_eq!((deliveries.len(), cancelled), (0, vec![(slow, Revision(8))]));
    assert!(!world.registry.cancel(slow), "it is gone");
}

/// etcd #18089, #19179: a deletion was missing when the watch began at the compacted revision and that was the
/// deletion.
#[test]
fn r41_a_tombstone_at_the_compacted_revision_is_seen() {
    let mut world = World::new(Limits { events_max: 1, ..Limits::default() });
    world.put("a", "1");
    world.delete("a");
    world.put("b", "1");
    world.mvcc.compact(Revision(3)).expect("compacts");
    while world.mvcc.compaction_step(1) {}
    let id = world.registry.create(all_keys(3), world.revision()).expect("creates");
    let (deliveries, cancelled) = catch_up(&mut world);
    assert_eq!(cancelled, []);
    assert_eq!(revisions(&deliveries), [3, 4]);
    let first = &seen(&deliveries[0].events, true)[0];
    assert!(first.is_delete && first.prev.is_none(), "the pair before the compacted revision is not history any more");
    assert!(advance(&mut world).is_empty());
    assert_eq!(world.registry.progress(id), Some(Revision(4)));
}

/// etcd #15220: a progress answer overtook events that were not delivered.
#[test]
fn r43_progress_never_overtakes_events() {
    let mut world = World::new(Limits::default());
    let current = world.registry.create(all_keys(0), world.revision()).expect("creates");
    world.put("a", "1");
    assert_eq!(world.registry.progress(current), Some(Revision(1)), "the event at 2 was not handed out");
    advance(&mut world);
    assert_eq!(world.registry.progress(current), Some(Revision(2)));
    let late = world.registry.create(all_keys(1), world.revision()).expect("creates");
    assert_eq!(world.registry.progress(late), None, "it is behind");
    world.registry.pause(current);
    assert_eq!(world.registry.progress(current), None, "it is paused");
    world.put("a", "2");
    advance(&mut world);
    world.registry.resume(current);
    assert_eq!(world.registry.progress(current), None, "it is behind");
    catch_up(&mut world);
    assert_eq!(world.registry.progress(current), Some(Revision(3)));
    assert_eq!(world.registry.progress(late), Some(Revision(3)));
}

/// etcd #20221: a watch from a future revision got earlier events and notifications.
#[test]
fn r44_a_watch_from_the_future_gets_nothing_before() {
    let mut world = World::new(Limits::default());
    for ahead in 1..=20 {
        world.registry.create(all_keys(1 + ahead), world.revision()).expect("creates");
    }
    let last = world.registry.create(all_keys(12), world.revision()).expect("creates");
    for value in 0..10 {
        world.put("a", &value.to_string());
        let revision = world.revision().0;
        let deliveries = advance(&mut world);
        assert_eq!(deliveries.len() as i64, revision - 1, "those from 2 up to {revision}");
        assert_eq!(world.registry.progress(last).is_some(), revision >= 12);
    }
    world.put("a", "last");
    advance(&mut world);
    assert_eq!(world.registry.progress(last), Some(Revision(12)));
}

/// The same through a pause and with a log that forgot.
#[test]
fn r44_a_future_watch_that_was_paused_gets_nothing_before() {
    let mut world = World::new(Limits { events_max: 1, ..Limits::default() });
    let id = world.registry.create(all_keys(5), world.revision()).expect("creates");
    world.registry.pause(id);
    for value in 0..6 {
        world.put("a", &value.to_string());
    }
    world.registry.resume(id);
    let mut deliveries = advance(&mut world);
    deliveries.extend(catch_up(&mut world).0);
    assert_eq!(revisions(&deliveries), [5, 6, 7]);
}

/// etcd #15274, #17247, #21443: events came twice.
#[test]
fn r45_no_event_comes_twice_around_catching_up() {
    let mut world = World::new(Limits { events_max: 4, ..Limits::default() });
    for value in 0..8 {
        world.put("a", &value.to_string());
    }
    // Created before the registry looked at the log; it overruns.
    let id = world.registry.create(all_keys(3), world.revision()).expect("creates");
    let mut deliveries = catch_up(&mut world).0;
    world.put("a", "new");
    deliveries.extend(advance(&mut world));
    world.registry.pause(id);
    world.registry.resume(id);
    deliveries.extend(catch_up(&mut world).0);
    deliveries.extend(advance(&mut world));
    assert_eq!(revisions(&deliveries), [3, 4, 5, 6, 7, 8, 9, 10]);
}

/// etcd #15402, #16839: stalled watchers held memory without bound and starved others.
#[test]
fn r46_stalled_watchers_cost_the_others_nothing() {
    let mut world = World::new(Limits { events_max: 100, bytes_max: 1 << 20 });
    let ids: Vec<_> =
        (0..1000).map(|_| world.registry.create(all_keys(0), world.revision()).expect("creates")).collect();
    for &id in &ids[..10] {
        world.registry.pause(id);
    }
    for value in 0..2_000 {
        world.put("a", &value.to_string());
        if value % 50 == 0 {
            assert!(advance(&mut world).iter().all(|delivery| !ids[..10].contains(&delivery.watcher)));
        }
    }
    advance(&mut world);
    let (events, bytes) = world.log.size();
    assert!(events <= 100 && bytes <= 1 << 20, "{events} events, {bytes} bytes");
    assert_eq!(world.registry.slow(), 10);
    assert!(ids[10..].iter().all(|&id| world.registry.progress(id) == Some(world.revision())));
    ids[..10].iter().for_each(|&id| world.registry.resume(id));
    let (deliveries, cancelled) = catch_up(&mut world);
    assert_eq!(cancelled, []);
    assert_eq!(revisions(&deliveries).len(), 20_000);
}

/// etcd #20707, #14563, #18784: negative start revisions; ids; leaks of cancelled watchers.
#[test]
fn r47_creation_and_cancellation() {
    let mut world = World::new(Limits::default());
    assert_eq!(world.registry.create(all_keys(-1), world.revision()), Err(CreateError::Compacted));
    let empty = Spec { range: KeyRange::from_wire("b".into(), "a".into()), ..all_keys(0) };
    assert_eq!(world.registry.create(empty, world.revision()), Err(CreateError::EmptyRange));
    let mut ids = HashSet::new();
    for round in 0..10_000i64 {
        let spec = Spec { range: KeyRange::prefix(format!("{}", round % 7)), ..all_keys(round % 3) };
        let id = world.registry.create(spec, world.revision()).expect("creates");
        assert!(ids.insert(id), "ids are not used again");
        assert!(id.slot() < 1, "places are");
        assert!(world.registry.cancel(id));
        assert!(!world.registry.cancel(id));
    }
    assert!(world.registry.is_empty());
    assert_eq!(world.registry.distinct_ranges(), 0);
    catch_up(&mut world);
    assert!(!world.registry.is_behind());
}

/// etcd #8427, #17529: one txn's events must come together and in order, whatever path they take.
#[test]
fn r49_the_events_of_one_revision_come_together() {
    for events_max in [1, 1000] {
        let mut world = World::new(Limits { events_max, ..Limits::default() });
        let live = world.registry.create(all_keys(0), world.revision()).expect("creates");
        world.write(|txn| {
            put(txn, "b", "1");
            put(txn, "a", "1");
            put(txn, "c", "1");
        });
        world.write(|txn| delete(txn, &KeyRange::all()));
        let late = world.registry.create(all_keys(2), world.revision()).expect("creates");
        let mut deliveries = advance(&mut world);
        deliveries.extend(catch_up(&mut world).0);
        for id in [live, late] {
            let mine = deliveries.iter().filter(|delivery| delivery.watcher == id);
            let events: Vec<_> = mine.flat_map(|delivery| seen(&delivery.events, true)).collect();
            let keys: Vec<_> = events.iter().map(|event| event.kv.key.as_ref()).collect();
            assert_eq!(keys, [b"b", b"a", b"c", b"a", b"b", b"c"]);
            assert!(events[3..].iter().all(|event| event.is_delete && event.prev.is_some()));
        }
    }
}

/// etcd #13541, #11817: locks of the hub. Rims read while the apply thread pushes; each sees every event once and in
/// order, or fetches it.
#[test]
fn r48_rims_read_while_events_are_pushed() {
    const EVENTS: i64 = 3_000;
    let mut world = World::new(Limits { events_max: 64, ..Limits::default() });
    let (log, view) = (world.log.clone(), Arc::new(Mutex::new(world.mvcc.view())));
    let rims: Vec<_> = (0..3)
        .map(|_| {
            let mut registry = Registry::new(log.clone());
            let view = view.clone();
            std::thread::spawn(move || {
                let id = registry.create(all_keys(0), Revision(1)).expect("creates");
                let mut got: Vec<i64> = Vec::new();
                while got.last() != Some(&(EVENTS + 1)) {
                    let mut deliveries = Vec::new();
                    registry.advance(&mut deliveries);
                    let newest = view.lock().expect("nobody dies").clone();
                    let piece = registry.catch_up(&newest).expect("the disk works");
                    deliveries.extend(piece.and_then(|piece| piece.delivery));
                    assert!(deliveries.iter().all(|delivery| delivery.watcher == id));
                    got.extend(revisions(&deliveries));
                }
                got
            })
        })
        .collect();
    for value in 0..EVENTS {
        let mut txn = world.mvcc.begin();
        put(&mut txn, "a", &value.to_string());
        let change = txn.commit();
        world.mvcc.flush().expect("the disk works");
        let newest = world.mvcc.view();
        *view.lock().expect("nobody dies") = newest.clone();
        log.push(change, &newest);
    }
    for rim in rims {
        assert!(rim.join().expect("nobody dies").into_iter().eq(2..=EVENTS + 1));
    }
}
