//! What is counted of a command is what etcd counts; `testing/conformance/differential` compares it with a real one.

use crate::world::World;
use model::{
    Command, Compact, Compare, CompareResult, CompareTarget, DeleteRange, KeyRange, LeaseGrant, LeaseId, Operation,
    Put, PutLease, PutValue, Revision, Txn,
};
use state::{Operations, Quota};

fn put(key: &'static str, lease: i64) -> Put {
    Put { key: key.into(), value: PutValue::Set("value".into()), lease: PutLease::Set(LeaseId(lease)), prev_kv: false }
}

fn version(key: &'static str, version: i64) -> Compare {
    let target = CompareTarget::Version(version);
    Compare { range: KeyRange::single(key), result: CompareResult::Equal, target }
}

fn counted(world: &mut World, command: Command) -> Operations {
    world.apply(command).operations
}

#[test]
fn reads_on_the_way_of_a_write_are_counted_and_so_is_what_was_kept() {
    let mut world = World::new(Quota(None));
    let one_put = Operations { puts: 1, put_bytes: 6, ..Operations::default() };
    assert_eq!(counted(&mut world, Command::Put(put("k", 0))), one_put);
    let with_read = Operations { ranges: 1, txns: 1, ..one_put };
    assert_eq!(counted(&mut world, Command::Put(Put { prev_kv: true, ..put("k", 0) })), with_read);
    let keep = |key| Command::Put(Put { value: PutValue::Keep, ..put(key, 0) });
    assert_eq!(counted(&mut world, keep("k")), with_read);
    assert_eq!(counted(&mut world, keep("none")), Operations { ranges: 1, ..Operations::default() });
    assert_eq!(counted(&mut world, Command::Put(put("k", 7))), Operations::default());
    let compact = Compact { revision: Revision(2), physical: false };
    assert_eq!(counted(&mut world, Command::Compact(compact)), Operations { ranges: 1, ..Operations::default() });
}

#[test]
fn a_txn_uses_the_store_to_decide_and_to_write() {
    let mut world = World::new(Quota(None));
    let create = Txn { compares: vec![version("k", 0)], success: vec![Operation::Put(put("k", 0))], failure: vec![] };
    let one_each = Operations { ranges: 1, puts: 1, put_bytes: 6, ..Operations::default() };
    assert_eq!(counted(&mut world, Command::Txn(create.clone())), one_each);
    // Compares behind the one that fails are not looked at.
    let compares = vec![version("k", 1), version("k", 7), version("k", 1)];
    let delete = Operation::DeleteRange(DeleteRange { range: KeyRange::single("k"), prev_kv: true });
    let failing = Txn { compares, success: vec![], failure: vec![delete, Operation::Txn(create)] };
    // The nested one's compare does not hold yet: before anything is written, the key is there.
    let expected = Operations { ranges: 3 + 1, deletes: 1, txns: 2, ..Operations::default() };
    assert_eq!(counted(&mut world, Command::Txn(failing)), expected);
    let refused =
        Txn { compares: vec![], success: vec![Operation::Put(Put { prev_kv: true, ..put("k", 7) })], failure: vec![] };
    assert_eq!(counted(&mut world, Command::Txn(refused)), Operations::default());
}

#[test]
fn each_key_of_a_lease_that_ends_is_a_deletion() {
    let mut world = World::new(Quota(None));
    counted(&mut world, Command::LeaseGrant(LeaseGrant { id: LeaseId(7), ttl_s: 60 }));
    for key in ["one", "two", "three"] {
        counted(&mut world, Command::Put(put(key, 7)));
    }
    let ended = counted(&mut world, Command::LeaseRevoke(LeaseId(7)));
    assert_eq!(ended, Operations { deletes: 3, txns: 1, ..Operations::default() });
}
