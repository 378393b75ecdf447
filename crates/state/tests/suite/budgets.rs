//! Random histories under budgets: what grows stays within its limits, nobody else is refused, and a state that was
//! opened again, or another member, decides the same.

use crate::world::{End, World};
use bytes::Bytes;
use model::{
    Budget, BudgetFigure, Command, Compact, DeleteRange, Entry, KeyRange, LeaseId, Limits, LogIndex, Operation,
    OverBudget, Put, PutLease, PutValue, Rejection, RequestId, Term, Txn,
};
use proptest::prelude::*;
use state::{BudgetState, Quota};
use std::collections::BTreeMap;

/// Directories; some have budgets above them.
const DIRECTORIES: [&str; 5] = ["/r/pods", "/r/a.io/reports", "/r/a.io/events", "/free/x", "/r"];
const PREFIXES: [&str; 4] = ["/r/pods", "/r/a.io/reports", "/r/a.io", "/r"];

#[derive(Debug, Clone)]
enum Step {
    Apply(Command),
    Pass(u64),
    CompactAll,
    Checkpoint,
    Restart,
}

fn key() -> impl Strategy<Value = Bytes> {
    (0..DIRECTORIES.len(), 0..4u8).prop_map(|(at, n)| format!("{}/{n}", DIRECTORIES[at]).into())
}

fn put() -> impl Strategy<Value = Put> {
    let value = prop_oneof![
        5 => (0..4000usize).prop_map(|bytes| PutValue::Set(vec![b'v'; bytes].into())),
        1 => Just(PutValue::Keep),
    ];
    (key(), value).prop_map(|(key, value)| Put { key, value, lease: PutLease::Set(LeaseId::NONE), prev_kv: false })
}

fn txn() -> impl Strategy<Value = Txn> {
    let puts = || proptest::collection::btree_map(key(), put(), 0..4);
    let operations = |puts: BTreeMap<Bytes, Put>| {
        puts.into_iter().map(|(key, put)| Operation::Put(Put { key, ..put })).collect::<Vec<_>>()
    };
    let exists = key().prop_map(|key| model::Compare {
        range: KeyRange::single(key),
        result: model::CompareResult::Greater,
        target: model::CompareTarget::Version(0),
    });
    (proptest::option::of(exists), puts(), puts()).prop_map(move |(compare, success, failure)| {
        let (success, failure) = (operations(success), operations(failure));
        Txn { compares: compare.into_iter().collect(), success, failure }
    })
}

fn limits() -> impl Strategy<Value = Limits> {
    let bytes = proptest::option::of(0..20_000u64);
    let (keys, writes_per_second) = (proptest::option::of(0..6u64), proptest::option::of(0..6u64));
    (bytes, keys, writes_per_second).prop_map(|(bytes, keys, writes_per_second)| Limits {
        bytes,
        keys,
        writes_per_second,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let budget = (0..PREFIXES.len(), limits()).prop_map(|(at, hard)| {
        Command::BudgetSet(Budget { prefix: PREFIXES[at].into(), soft: Limits::default(), hard })
    });
    let delete = key().prop_map(|key| DeleteRange { range: KeyRange::single(key), prev_kv: false });
    prop_oneof![
        12 => put().prop_map(|put| Step::Apply(Command::Put(put))),
        8 => txn().prop_map(|txn| Step::Apply(Command::Txn(txn))),
        4 => delete.prop_map(|delete| Step::Apply(Command::DeleteRange(delete))),
        3 => budget.prop_map(Step::Apply),
        1 => (0..PREFIXES.len()).prop_map(|at| Step::Apply(Command::BudgetRemove(PREFIXES[at].into()))),
        4 => (0..1500u64).prop_map(Step::Pass),
        2 => Just(Step::CompactAll),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Restart),
    ]
}

fn budgets(world: &World) -> BTreeMap<Bytes, BudgetState> {
    let states = world.live().budgets().list(world.leader_time_ms);
    states.into_iter().map(|state| (state.budget.prefix.clone(), state)).collect()
}

/// What is below a prefix, counted key by key and account by account.
fn counted(world: &World, prefix: &str) -> (u64, u64) {
    let below = |account: &[u8]| account == prefix.as_bytes() || account.starts_with(format!("{prefix}/").as_bytes());
    let accounts = world.live().accounts().all().into_iter().filter(|stat| below(&stat.prefix));
    accounts.fold((0, 0), |(keys, bytes), stat| (keys + stat.keys, bytes + stat.retained_bytes()))
}

fn has_put_outside(command: &Command) -> bool {
    let is_outside = |put: &Put| put.key.starts_with(b"/free/");
    let outside = |operations: &[Operation]| {
        operations.iter().all(|operation| matches!(operation, Operation::Put(put) if is_outside(put)))
    };
    match command {
        Command::Put(put) => is_outside(put),
        Command::Txn(txn) => outside(&txn.success) && outside(&txn.failure),
        _ => false,
    }
}

/// A command that was carried out kept to the limits: what grew is within them.
fn kept_to_limits(before: &BTreeMap<Bytes, BudgetState>, after: &BTreeMap<Bytes, BudgetState>) {
    for (prefix, after) in after {
        let Some(before) = before.get(prefix) else { continue };
        if let Some(limit) = after.budget.hard.keys.filter(|_| after.usage.keys > before.usage.keys) {
            assert!(after.usage.keys <= limit, "{after:?}");
            let bytes = after.budget.hard.bytes.unwrap_or(u64::MAX);
            assert!(after.usage.retained_bytes <= bytes, "a create kept to the bytes too: {after:?}");
        }
        if let (Some(left), Some(limit)) = (after.writes_left, after.budget.hard.writes_per_second) {
            assert!(left <= limit, "{after:?}");
        }
    }
}

fn refusal_is_true(over: &OverBudget, before: &BTreeMap<Bytes, BudgetState>) {
    let budget = &before[&over.prefix];
    let limit =
        budget.budget.hard.each().into_iter().find(|(figure, _)| *figure == over.figure).and_then(|(_, limit)| limit);
    assert_eq!(Some(over.limit), limit);
    assert!(over.used + over.adds > over.limit && over.adds > 0, "{over:?}");
    if over.figure != BudgetFigure::WritesPerSecond {
        assert_eq!(over.used, budget.used(over.figure), "{over:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn what_grows_stays_within_its_budget_and_nobody_else_is_refused(steps in proptest::collection::vec(step(), 0..80)) {
        let (mut world, mut other) = (World::new(Quota(None)), World::new(Quota(None)));
        for step in steps {
            match step {
                Step::Apply(command) => {
                    let before = budgets(&world);
                    let asked = world.live().refusal(&world.view(), &command, world.leader_time_ms);
                    let asked = asked.expect("the disk works");
                    prop_assert_eq!(&budgets(&world), &before, "the question changes nothing, not even a count");
                    let applied = world.apply(command.clone());
                    let over = applied.answer.as_ref().err().filter(|error| matches!(error, Rejection::OverBudget(_)));
                    prop_assert_eq!(asked.as_ref(), over, "a leader may say so beforehand");
                    prop_assert_eq!(other.apply(command.clone()).answer.err(), applied.answer.as_ref().err().cloned());
                    let after = budgets(&world);
                    match &applied.answer {
                        Ok(_) if !matches!(command, Command::BudgetSet(_)) => kept_to_limits(&before, &after),
                        Err(Rejection::OverBudget(over)) => {
                            prop_assert!(applied.change.is_none() && !has_put_outside(&command), "{:?}", command);
                            prop_assert!(matches!(command, Command::Put(_) | Command::Txn(_)));
                            refusal_is_true(over, &before);
                        }
                        _ => {}
                    }
                }
                Step::Pass(ms) => {
                    world.leader_time_ms += ms;
                    other.leader_time_ms += ms;
                }
                Step::CompactAll => {
                    let compact = Command::Compact(Compact { revision: world.state.revision(), physical: false });
                    world.apply(compact.clone());
                    other.apply(compact);
                }
                Step::Checkpoint => world.checkpoint(),
                Step::Restart => world.restart(End::Killed),
            }
            for (prefix, state) in budgets(&world) {
                let prefix = std::str::from_utf8(&prefix).expect("one of ours");
                prop_assert_eq!((state.usage.keys, state.usage.retained_bytes), counted(&world, prefix), "{}", prefix);
            }
        }
        prop_assert_eq!(world.dump(), other.dump());
        world.restart(End::Killed);
        prop_assert_eq!(world.dump(), other.dump());
    }
}

fn put_bytes(key: &'static str, bytes: usize) -> Command {
    let value = PutValue::Set(vec![b'x'; bytes].into());
    Command::Put(Put { key: key.into(), value, lease: PutLease::Set(LeaseId::NONE), prev_kv: false })
}

/// The demand is exact: what fits to the byte is carried out, and fills the limit to the byte.
#[test]
fn a_limit_can_be_filled_to_the_byte() {
    let mut world = World::new(Quota(None));
    let hard = Limits { bytes: Some(5000), ..Limits::default() };
    world.apply(Command::BudgetSet(Budget { prefix: "/p".into(), soft: Limits::default(), hard }));
    world.apply(put_bytes("/p/a", 2000)).answer.expect("it fits");
    let left = 5000 - budgets(&world)[&b"/p"[..]].usage.retained_bytes;
    let Err(Rejection::OverBudget(over)) = world.apply(put_bytes("/p/b", left as usize)).answer else {
        panic!("the record is larger than its value")
    };
    let overhead = over.adds - left;
    world.apply(put_bytes("/p/b", (left - overhead) as usize)).answer.expect("it fits to the byte");
    assert_eq!(budgets(&world)[&b"/p"[..]].usage.retained_bytes, 5000);
}

/// Refusals are counted by whoever refuses, and nothing else comes of them.
#[test]
fn refusals_ahead_of_the_log_and_in_apply_are_counted_together() {
    let mut world = World::new(Quota(None));
    let hard = Limits { keys: Some(0), ..Limits::default() };
    world.apply(Command::BudgetSet(Budget { prefix: "/p".into(), soft: Limits::default(), hard }));
    let refused = |world: &World| budgets(world)[&b"/p"[..]].refused;
    let before = world.dump();
    let (live, view) = (world.live(), world.view());
    let asked = live.refusal(&view, &put_bytes("/p/a", 1), 0).expect("the disk works");
    let Some(Rejection::OverBudget(asked)) = asked else { panic!("it is a create: {asked:?}") };
    assert_eq!(refused(&world), 0, "nobody refused anything");
    live.budgets().count_refused(&asked);
    live.budgets().count_refused(&asked);
    assert_eq!((refused(&world), world.dump()), (2, before));
    assert_eq!(world.apply(put_bytes("/p/a", 1)).answer.err(), Some(Rejection::OverBudget(asked.clone())));
    assert_eq!(refused(&world), 3);
    world.apply(Command::BudgetRemove("/p".into())).answer.expect("it is there");
    live.budgets().count_refused(&asked);
    world.apply(Command::BudgetSet(Budget { prefix: "/p".into(), soft: Limits::default(), hard }));
    assert_eq!(refused(&world), 0, "another budget of that prefix begins anew");
}

/// A budget deeper than the accounts of the next start: accounts are as deep as it needs then.
#[test]
fn accounts_are_as_deep_as_the_budgets_of_the_checkpoint() {
    let mut world = World::with_depth(3);
    let hard = Limits { keys: Some(1), ..Limits::default() };
    world.apply(Command::BudgetSet(Budget { prefix: "/r/pods/ns".into(), soft: Limits::default(), hard }));
    world.apply(put_bytes("/r/pods/ns/a", 1)).answer.expect("it fits");
    world.checkpoint();
    world.account_depth = 2;
    world.restart(End::Killed);
    assert!(matches!(world.apply(put_bytes("/r/pods/ns/b", 1)).answer, Err(Rejection::OverBudget(_))));
    world.apply(put_bytes("/r/pods/other/b", 1)).answer.expect("it is not below the budget");
}

/// In the log, but with a flag that makes accounts less deep than when it was accepted: no answer, since others have
/// another.
#[test]
fn a_budget_that_accounts_are_too_shallow_for_stops_the_member_and_names_the_flag() {
    let mut world = World::with_depth(2);
    let hard = Limits { keys: Some(1), ..Limits::default() };
    let budget = Budget { prefix: "/r/pods/ns".into(), soft: Limits::default(), hard };
    let entry = Entry { request: RequestId(1), leader_time_ms: 0, command: Command::BudgetSet(budget) };
    let fault = world.state.apply(LogIndex(1), Term(1), &entry.into()).expect_err("a fault");
    assert!(fault.to_string().ends_with("start with --space-account-depth=3 or more"), "{fault}");
    assert!(!fault.is_io());
}

#[test]
fn there_are_a_thousand_budgets_at_most() {
    let mut world = World::new(Quota(None));
    let hard = Limits { keys: Some(1), ..Limits::default() };
    let set = |n: usize| Command::BudgetSet(Budget { prefix: format!("/r/{n}").into(), soft: Limits::default(), hard });
    for n in 0..Budget::COUNT_MAX {
        world.apply(set(n)).answer.expect("there are few enough");
    }
    assert_eq!(world.apply(set(Budget::COUNT_MAX)).answer.err(), Some(Rejection::TooManyBudgets));
    world.apply(set(7)).answer.expect("it is set already");
    world.apply(Command::BudgetRemove("/r/8".into())).answer.expect("it is there");
    world.apply(set(Budget::COUNT_MAX)).answer.expect("there is one less");
    world.checkpoint();
    world.restart(End::Killed);
    assert_eq!(budgets(&world).len(), Budget::COUNT_MAX);
    world.apply(put_bytes("/r/1000/a", 1)).answer.expect("it fits");
    assert!(matches!(world.apply(put_bytes("/r/1000/b", 1)).answer, Err(Rejection::OverBudget(_))));
}
