//! Random commands: what state answers and becomes is what the model says; refused commands change nothing; what is
//! asked for in an answer changes nothing either.

use crate::model_state::ModelState;
use crate::world::{Said, World};
use bytes::Bytes;
use model::{
    Command, Compact, Compare, CompareResult, CompareTarget, DeleteRange, KeyRange, LeaseGrant, LeaseId, Operation,
    Put, PutLease, PutValue, Range, Revision, RevisionBounds, Sort, SortOrder, SortTarget, Txn,
};
use proptest::prelude::*;
use state::{Operations, Quota};
use std::collections::BTreeSet;

fn key() -> impl Strategy<Value = Bytes> {
    (0..5u8).prop_map(|number| Bytes::from(vec![b'a' + number]))
}

fn key_range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        3 => key().prop_map(KeyRange::single),
        2 => (key(), key()).prop_map(|(start, end)| KeyRange::from_wire(start, end)),
        1 => key().prop_map(|start| KeyRange::from_wire(start, Bytes::from_static(&[0]))),
    ]
}

fn lease() -> impl Strategy<Value = LeaseId> {
    prop_oneof![4 => Just(0i64), 2 => Just(7), 2 => Just(-9), 1 => Just(404)].prop_map(LeaseId)
}

fn put() -> impl Strategy<Value = Put> {
    let value = prop_oneof![4 => (0..4u8).prop_map(|n| PutValue::Set(vec![b'v'; usize::from(n)].into())), 1 => Just(PutValue::Keep)];
    let lease = prop_oneof![4 => lease().prop_map(PutLease::Set), 1 => Just(PutLease::Keep)];
    (key(), value, lease, any::<bool>()).prop_map(|(key, value, lease, prev_kv)| Put { key, value, lease, prev_kv })
}

fn delete() -> impl Strategy<Value = DeleteRange> {
    (key_range(), any::<bool>()).prop_map(|(range, prev_kv)| DeleteRange { range, prev_kv })
}

fn revision() -> impl Strategy<Value = Revision> {
    prop_oneof![3 => Just(0i64), 4 => 1..25i64, 1 => Just(-1), 1 => Just(-7)].prop_map(Revision)
}

fn range() -> impl Strategy<Value = Range> {
    let sort = (0..5usize, any::<bool>()).prop_map(|(target, descend)| Sort {
        target: [SortTarget::Key, SortTarget::Version, SortTarget::Create, SortTarget::Mod, SortTarget::Value][target],
        order: if descend { SortOrder::Descend } else { SortOrder::Ascend },
    });
    let bounds = || (0..6i64, 0..6i64).prop_map(|(min, max)| RevisionBounds { min: Revision(min), max: Revision(max) });
    (key_range(), revision(), 0..3u64, proptest::option::weighted(0.2, sort), prop::bool::weighted(0.2), bounds())
        .prop_map(|(range, revision, limit, sort, count_only, mod_bounds)| Range {
            revision,
            limit,
            // Pairs that sort alike come in no particular order; by key they never do.
            sort: sort.filter(|sort| sort.target == SortTarget::Key),
            count_only,
            mod_bounds: if revision.0 % 3 == 0 { mod_bounds } else { RevisionBounds::default() },
            ..Range::new(range)
        })
}

fn compare() -> impl Strategy<Value = Compare> {
    let target = prop_oneof![
        (0..4i64).prop_map(CompareTarget::Version),
        (0..9i64).prop_map(|revision| CompareTarget::Create(Revision(revision))),
        (0..9i64).prop_map(|revision| CompareTarget::Mod(Revision(revision))),
        (0..3u8).prop_map(|n| CompareTarget::Value(vec![b'v'; usize::from(n)].into())),
        lease().prop_map(CompareTarget::Lease),
    ];
    (key_range(), 0..4usize, target).prop_map(|(range, result, target)| Compare {
        range,
        result: [CompareResult::Equal, CompareResult::Greater, CompareResult::Less, CompareResult::NotEqual][result],
        target,
    })
}

fn txn() -> impl Strategy<Value = Txn> {
    let operation = prop_oneof![
        3 => range().prop_map(Operation::Range),
        4 => put().prop_map(Operation::Put),
        2 => delete().prop_map(Operation::DeleteRange),
    ];
    let build = |(compares, success, failure)| Txn { compares, success, failure };
    let compares = || proptest::collection::vec(compare(), 0..3);
    let operations = proptest::collection::vec(operation.clone(), 0..4);
    let leaf = (compares(), operations.clone(), operations).prop_map(build);
    leaf.prop_recursive(3, 16, 4, move |inner| {
        let operation = prop_oneof![3 => operation.clone(), 1 => inner.prop_map(Operation::Txn)];
        let operations = proptest::collection::vec(operation, 0..4);
        (proptest::collection::vec(compare(), 0..3), operations.clone(), operations).prop_map(build)
    })
    .prop_map(without_clashes)
}

fn read_only_txn() -> impl Strategy<Value = Txn> {
    let reads = || proptest::collection::vec(range().prop_map(Operation::Range), 0..3);
    let compares = proptest::collection::vec(compare(), 0..3);
    (compares, reads(), reads()).prop_map(|(compares, success, failure)| Txn { compares, success, failure })
}

/// Takes out what the edge would refuse: a key that is put twice or put and deleted, whatever the branches.
fn without_clashes(mut txn: Txn) -> Txn {
    let (mut puts, mut deletes) = (BTreeSet::new(), Vec::new());
    drop_clashes(&mut txn, &mut puts, &mut deletes);
    txn
}

fn drop_clashes(txn: &mut Txn, puts: &mut BTreeSet<Bytes>, deletes: &mut Vec<KeyRange>) {
    for branch in [&mut txn.success, &mut txn.failure] {
        branch.retain_mut(|operation| match operation {
            Operation::Put(put) => {
                !deletes.iter().any(|range| range.contains(&put.key)) && puts.insert(put.key.clone())
            }
            Operation::DeleteRange(delete) => {
                let fits = !puts.iter().any(|key| delete.range.contains(key));
                if fits {
                    deletes.push(delete.range.clone());
                }
                fits
            }
            Operation::Txn(inner) => {
                drop_clashes(inner, puts, deletes);
                true
            }
            Operation::Range(_) => true,
        });
    }
}

pub fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        4 => put().prop_map(Command::Put),
        2 => delete().prop_map(Command::DeleteRange),
        8 => txn().prop_map(Command::Txn),
        2 => (lease(), 1..100i64).prop_map(|(id, ttl_s)| Command::LeaseGrant(LeaseGrant { id, ttl_s })),
        1 => lease().prop_map(Command::LeaseRevoke),
        1 => (0..25i64).prop_map(|at| Command::Compact(Compact { revision: Revision(at), physical: false })),
        1 => (0..25i64).prop_map(|at| Command::SpaceCompact(Revision(at))),
    ]
}

fn commands() -> impl Strategy<Value = Vec<Command>> {
    proptest::collection::vec(command(), 0..40)
}

/// The same command, asking for the opposite of what it asks to be told.
fn flipped(command: &Command) -> Command {
    fn flip(txn: &Txn) -> Txn {
        let operations = |branch: &[Operation]| {
            let flip_one = |operation: &Operation| match operation {
                Operation::Put(put) => Operation::Put(Put { prev_kv: !put.prev_kv, ..put.clone() }),
                Operation::DeleteRange(delete) => {
                    Operation::DeleteRange(DeleteRange { prev_kv: !delete.prev_kv, ..delete.clone() })
                }
                Operation::Txn(inner) => Operation::Txn(flip(inner)),
                Operation::Range(range) => {
                    Operation::Range(Range { keys_only: !range.keys_only, limit: 1, ..range.clone() })
                }
            };
            branch.iter().map(flip_one).collect()
        };
        Txn { compares: txn.compares.clone(), success: operations(&txn.success), failure: operations(&txn.failure) }
    }
    match command {
        Command::Put(put) => Command::Put(Put { prev_kv: !put.prev_kv, ..put.clone() }),
        Command::DeleteRange(delete) => {
            Command::DeleteRange(DeleteRange { prev_kv: !delete.prev_kv, ..delete.clone() })
        }
        Command::Txn(txn) => Command::Txn(flip(txn)),
        other => other.clone(),
    }
}

fn on_model(model: &mut ModelState, command: &Command) -> Result<Said, model::Rejection> {
    match command {
        Command::Put(put) => model.put(put),
        Command::DeleteRange(delete) => {
            let txn = Txn { success: vec![Operation::DeleteRange(delete.clone())], ..Txn::default() };
            match model.txn(&txn)? {
                Said::Txn(_, mut said) => Ok(said.remove(0)),
                other => panic!("{other:?} is no txn's answer"),
            }
        }
        Command::Txn(txn) => model.txn(txn),
        Command::LeaseGrant(grant) => {
            if grant.id.0 == 0 {
                return Err(model::Rejection::LeaseNotFound);
            }
            let is_new = model.leases.insert(grant.id.0);
            let said = format!("LeaseGrant {{ id: {:?}, ttl_s: {} }}", grant.id, grant.ttl_s);
            is_new.then_some(Said::Other(said)).ok_or(model::Rejection::LeaseExists)
        }
        Command::LeaseRevoke(id) => model.revoke(id.0).map(|()| Said::Other("LeaseRevoke".into())),
        Command::Compact(compact) => model.compact(compact.revision.0).map(|()| Said::Other("Compact".into())),
        Command::SpaceCompact(at) => model.compact_for_space(at.0).map(|()| Said::Other("Compact".into())),
        other => panic!("{other:?} is not generated"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// etcd #18799 (r24): whatever is refused changed nothing; whatever is not did all of it.
    #[test]
    fn r24_commands_do_what_the_model_says_or_nothing(commands in commands()) {
        let mut world = World::new(Quota(None));
        let mut model = ModelState::new();
        for command in commands {
            let (before, revision_before) = (world.dump(), model.revision());
            let said_by_model = on_model(&mut model, &command);
            let applied = world.apply(command.clone());
            let said = applied.answer.as_ref().map(|outcome| world.say(outcome)).map_err(Clone::clone);
            prop_assert_eq!(&said, &said_by_model, "{:?}", command);
            if said.is_err() {
                // The dump's first line is how far the log is applied.
                let without_first = |dump: &str| dump.split_once('\n').map(|(_, rest)| rest.to_string());
                prop_assert_eq!(without_first(&world.dump()), without_first(&before));
            }
            prop_assert_eq!(applied.revision.0, model.revision());
            let changed = applied.change.as_ref().map(|change| change.revision.0);
            prop_assert_eq!(changed, (model.revision() > revision_before).then(|| model.revision()));
            for lease in [7, -9] {
                let keys = world.live().leases().keys(LeaseId(lease));
                prop_assert!(keys.iter().map(|key| key.as_ref()).eq(model.keys_of(lease).iter().map(|key| key.as_ref())));
            }
        }
    }

    /// etcd #18667 (r23): what a member is asked to tell must not change what it does.
    #[test]
    fn r23_state_does_not_depend_on_what_is_asked_to_be_told(commands in commands()) {
        let (mut one, mut other) = (World::new(Quota(None)), World::new(Quota(None)));
        for command in commands {
            let answer = one.apply(command.clone()).answer;
            let flipped = other.apply(flipped(&command)).answer;
            prop_assert_eq!(answer.err(), flipped.err());
            prop_assert_eq!(one.dump(), other.dump());
        }
    }

    /// A txn that only reads is answered alike from a view and through the log.
    #[test]
    fn read_only_txns_are_answered_alike_from_a_view(commands in commands(), txn in read_only_txn()) {
        let mut world = World::new(Quota(None));
        commands.into_iter().for_each(|command| drop(world.apply(command)));
        let view = world.view();
        let from_view = view.txn(&txn, &mut Operations::default()).expect("the disk works").map(|outcome| crate::world::say_txn(&view, &outcome));
        let applied = world.apply(Command::Txn(txn));
        prop_assert!(applied.change.is_none());
        prop_assert_eq!(from_view, applied.answer.map(|outcome| world.say(&outcome)));
    }
}
