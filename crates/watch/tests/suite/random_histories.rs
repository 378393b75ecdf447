//! Random histories, watchers and schedules: what each watcher got is exactly its slice of the history, or it was
//! cancelled for good reason; and progress never said too much.

use crate::world::{Seen, World, seen};
use bytes::Bytes;
use model::{KeyRange, LeaseId, Revision};
use proptest::prelude::*;
use std::collections::BTreeMap;
use watch::{Delivery, Limits, Spec, Standing, WatcherId};

#[derive(Debug, Clone)]
enum Step {
    /// Puts (true) and deletions of keys, in one revision.
    Txn(Vec<(bool, u8)>),
    Compact(u8),
    Reclaim,
    /// The log lets go of the events up to here.
    Forget(u8),
    Hold,
    Publish,
    Watch {
        range: (u8, u8),
        start: u8,
        no_put: bool,
        no_delete: bool,
    },
    Cancel(u8),
    Pause(u8),
    Resume(u8),
    /// The client's connection breaks; it watches again from the revision after the last event it got.
    Reconnect(u8),
    Advance,
    CatchUp,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => proptest::collection::vec((prop::bool::weighted(0.6), 0..4u8), 1..4).prop_map(Step::Txn),
        1 => (0..20u8).prop_map(Step::Compact),
        1 => Just(Step::Reclaim),
        1 => (0..24u8).prop_map(Step::Forget),
        1 => Just(Step::Hold),
        2 => Just(Step::Publish),
        3 => ((0..4u8, 0..6u8), 0..24u8, prop::bool::weighted(0.2), prop::bool::weighted(0.2))
            .prop_map(|(range, start, no_put, no_delete)| Step::Watch { range, start, no_put, no_delete }),
        1 => (0..8u8).prop_map(Step::Cancel),
        2 => (0..8u8).prop_map(Step::Pause),
        3 => (0..8u8).prop_map(Step::Resume),
        1 => (0..8u8).prop_map(Step::Reconnect),
        4 => Just(Step::Advance),
        3 => Just(Step::CatchUp),
    ]
}

/// 4 is unbounded, 5 a single key.
fn range((start, end): (u8, u8)) -> KeyRange {
    match end {
        4 => KeyRange::from_wire(key(start), Bytes::from_static(&[0])),
        5 => KeyRange::single(key(start)),
        _ => KeyRange::from_wire(key(start), key(end)),
    }
}

fn key(number: u8) -> Bytes {
    Bytes::from(vec![b'a' + number])
}

struct Watched {
    spec: Spec,
    /// First revision it must get.
    from: Revision,
    got: Vec<Seen>,
    compacted: Option<Revision>,
}

struct Run {
    world: World,
    /// Every event that ever happened.
    history: Vec<Seen>,
    watched: BTreeMap<usize, (WatcherId, Watched)>,
    created: usize,
}

impl Run {
    fn txn(&mut self, operations: &[(bool, u8)]) {
        let revision = Revision(self.world.revision().0 + 1);
        let mut happened = Vec::new();
        let history = &self.history;
        self.world.write(|txn| {
            for &(is_put, number) in operations {
                let key = key(number);
                // A txn changes no key twice.
                if happened.iter().any(|event: &Seen| event.kv.key == key) {
                    continue;
                }
                let last = history.iter().rev().find(|event| event.kv.key == key);
                let prev = last.filter(|event| !event.is_delete).map(|event| event.kv.clone());
                let mut kv = model::KeyValue { key: key.clone(), mod_revision: revision, ..Default::default() };
                if is_put {
                    kv.value = Bytes::from(format!("{revision}"));
                    kv.create_revision = prev.as_ref().map_or(revision, |prev| prev.create_revision);
                    kv.version = prev.as_ref().map_or(1, |prev| prev.version + 1);
                    txn.put(key.clone(), kv.value.clone(), LeaseId::NONE).expect("the disk works");
                } else if prev.is_some() {
                    txn.delete_range(&KeyRange::single(key));
                } else {
                    continue;
                }
                happened.push(Seen { is_delete: !is_put, kv, prev });
            }
        });
        self.history.extend(happened);
    }

    fn watch(&mut self, spec: Spec) {
        let current = self.world.revision();
        let Ok(id) = self.world.registry.create(spec.clone(), current) else {
            assert!(spec.range.is_empty());
            return;
        };
        let from = if spec.start_revision.0 == 0 { Revision(current.0 + 1) } else { spec.start_revision };
        self.watched.insert(self.created, (id, Watched { spec, from, got: Vec::new(), compacted: None }));
        self.created += 1;
    }

    fn reconnect(&mut self, number: u8) {
        let at = usize::from(number) % self.watched.len().max(1);
        let current = self.world.revision();
        let Some((id, watched)) = self.watched.values_mut().nth(at) else { return };
        if watched.compacted.is_some() {
            return;
        }
        let next = watched.got.last().map_or(watched.from, |event| Revision(event.kv.mod_revision.0 + 1));
        self.world.registry.cancel(*id);
        let spec = Spec { start_revision: next, ..watched.spec.clone() };
        *id = self.world.registry.create(spec, current).expect("it was created before");
        watched.spec.start_revision = next;
    }

    fn chosen(&self, number: u8) -> Option<WatcherId> {
        let at = usize::from(number) % self.watched.len().max(1);
        self.watched.values().nth(at).map(|(id, _)| *id)
    }

    fn take(&mut self, delivery: &Delivery) {
        let (_, watched) =
            self.watched.values_mut().find(|(id, _)| *id == delivery.watcher).expect("delivered to a watcher");
        let events = seen(&delivery.events, true);
        assert!(!events.is_empty());
        // All of one revision comes together.
        if let (Some(last), Some(first)) = (watched.got.last(), events.first()) {
            assert!(last.kv.mod_revision < first.kv.mod_revision);
        }
        assert!(delivery.revision >= delivery.events.last_revision());
        watched.got.extend(events);
    }

    fn advance(&mut self) {
        let mut deliveries = Vec::new();
        while self.world.registry.advance(&mut deliveries) {}
        deliveries.iter().for_each(|delivery| self.take(delivery));
    }

    fn catch_up(&mut self, pieces: usize) {
        for _ in 0..pieces {
            let view = self.world.mvcc.view();
            let Some(piece) = self.world.registry.catch_up(&view).expect("the disk works") else { break };
            if let Some(delivery) = &piece.delivery {
                self.take(delivery);
            }
            if let Standing::Cancelled(at) = piece.standing {
                let (_, watched) = self.watched.values_mut().find(|(id, _)| *id == piece.watcher).expect("a watcher");
                watched.compacted = Some(at);
            }
        }
    }

    /// What of the history a watcher must have got up to a revision.
    fn slice(&self, watched: &Watched, up_to: Revision) -> Vec<Seen> {
        let spec = &watched.spec;
        let wanted = |event: &&Seen| {
            let at = event.kv.mod_revision;
            at >= watched.from
                && at <= up_to
                && spec.range.contains(&event.kv.key)
                && !(event.is_delete && spec.no_delete)
                && (event.is_delete || !spec.no_put)
        };
        self.history.iter().filter(wanted).cloned().collect()
    }

    fn check_progress(&self) {
        for (id, watched) in self.watched.values() {
            if let Some(at) = self.world.registry.progress(*id) {
                assert!(at >= watched.spec.start_revision);
                assert_same(&watched.got, &self.slice(watched, at));
            }
        }
    }
}

/// The same events; the pair before may be missing where compaction took it.
fn assert_same(got: &[Seen], expected: &[Seen]) {
    let without_prev =
        |events: &[Seen]| events.iter().map(|event| Seen { prev: None, ..event.clone() }).collect::<Vec<_>>();
    assert_eq!(without_prev(got), without_prev(expected));
    for (got, expected) in got.iter().zip(expected) {
        assert!(got.prev.is_none() || got.prev == expected.prev, "{got:?} {expected:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn r41_r45_r49_a_watcher_gets_its_slice_of_history(
        steps in proptest::collection::vec(step(), 0..120),
        events_max in prop_oneof![Just(1usize), Just(5), Just(1000)],
    ) {
        let world = World::new(Limits { events_max, ..Limits::default() });
        let mut run = Run { world, history: Vec::new(), watched: BTreeMap::new(), created: 0 };
        for step in steps {
            match step {
                Step::Txn(operations) => run.txn(&operations),
                // Refused below the last one and above the current one.
                Step::Compact(revision) => drop(run.world.mvcc.compact(Revision(i64::from(revision)))),
                Step::Reclaim => drop(run.world.mvcc.compaction_step(2)),
                Step::Forget(revision) => run.world.log.forget(Revision(i64::from(revision))),
                Step::Hold => run.world.hold(),
                Step::Publish => run.world.publish(),
                Step::Watch { range: keys, start, no_put, no_delete } => run.watch(Spec {
                    range: range(keys), start_revision: Revision(i64::from(start)), no_put, no_delete,
                }),
                Step::Cancel(number) => if let Some(id) = run.chosen(number) {
                    run.world.registry.cancel(id);
                    run.watched.retain(|_, (other, _)| *other != id);
                },
                Step::Pause(number) => if let Some(id) = run.chosen(number) {
                    run.world.registry.pause(id);
                },
                Step::Resume(number) => if let Some(id) = run.chosen(number) {
                    run.world.registry.resume(id);
                },
                Step::Reconnect(number) => run.reconnect(number),
                Step::Advance => run.advance(),
                Step::CatchUp => run.catch_up(1),
            }
            run.check_progress();
        }
        run.world.publish();
        let ids: Vec<_> = run.watched.values().map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| run.world.registry.resume(id));
        run.advance();
        run.catch_up(usize::MAX);
        let (current, compacted) = (run.world.revision(), run.world.mvcc.compacted_revision());
        for (_, watched) in run.watched.values() {
            match watched.compacted {
                None => assert_same(&watched.got, &run.slice(watched, current)),
                Some(at) => {
                    prop_assert!(at <= compacted && watched.from.max(watched.spec.start_revision) < at);
                    // What it got before is the beginning of its slice.
                    let slice = run.slice(watched, current);
                    prop_assert!(watched.got.len() <= slice.len());
                    assert_same(&watched.got, &slice[..watched.got.len()]);
                }
            }
        }
    }
}
