//! What once went wrong in etcd's state machine, as far as it can be said at this level; named after the row in its
//! history.

use crate::world::{End, World};
use bytes::Bytes;
use model::{
    Alarm, AlarmAction, AlarmKind, Command, Compact, DeleteRange, KeyRange, LeaseCheckpoint, LeaseGrant, LeaseId,
    MemberId, MemberPublish, Operation, Put, PutLease, PutValue, Range, Rejection, Revision, Txn,
};
use state::Quota;

fn put(key: &str, lease: i64) -> Put {
    Put {
        key: Bytes::from(key.to_string()),
        value: PutValue::Set(Bytes::from_static(b"value")),
        lease: PutLease::Set(LeaseId(lease)),
        prev_kv: false,
    }
}

fn put_command(key: &str) -> Command {
    Command::Put(put(key, 0))
}

fn delete_command(key: &str) -> Command {
    Command::DeleteRange(DeleteRange { range: KeyRange::single(key.to_string()), prev_kv: false })
}

fn grant(id: i64, ttl_s: i64) -> Command {
    Command::LeaseGrant(LeaseGrant { id: LeaseId(id), ttl_s })
}

fn txn(success: Vec<Operation>) -> Command {
    Command::Txn(Txn { success, ..Txn::default() })
}

fn raise(kind: AlarmKind) -> Command {
    Command::Alarm(Alarm { action: AlarmAction::Activate, member: MemberId(1), kind })
}

fn compact(revision: i64) -> Command {
    Command::Compact(Compact { revision: Revision(revision), physical: false })
}

fn world() -> World {
    World::new(Quota(None))
}

/// etcd #14429, #13946: a restart after some kind of administrative change failed or lost it.
#[test]
fn r12_a_restart_after_each_kind_of_change() {
    let member = world().state.membership().members().next().expect("one member").id;
    let publish = MemberPublish { member, name: "new".into(), client_urls: vec!["http://localhost:2379".into()] };
    let changes = [
        put_command("a"),
        delete_command("a"),
        txn(vec![Operation::Put(put("a", 0))]),
        compact(2),
        grant(1, 60),
        Command::LeaseRevoke(LeaseId(1)),
        Command::LeaseCheckpoint(LeaseCheckpoint { remaining: vec![(LeaseId(1), 5)] }),
        raise(AlarmKind::NoSpace),
        raise(AlarmKind::Corrupt),
        Command::MemberPublish(publish),
        Command::ClusterVersionSet("3.7.0".into()),
    ];
    for with_checkpoint in [false, true] {
        let mut world = world();
        world.apply(put_command("before"));
        world.apply(put_command("before"));
        for change in &changes {
            world.apply(change.clone());
            if with_checkpoint {
                world.checkpoint();
            }
            let before = world.dump();
            for end in [End::Killed, End::PowerCut(7)] {
                world.restart(end);
                assert_eq!(world.dump(), before, "after {change:?}");
            }
        }
    }
}

/// etcd #14019, #13205: leases were never revoked after a restart. Their clock is whole again, and honours what was
/// left.
#[test]
fn r54_leases_run_out_after_a_restart() {
    let mut world = world();
    world.apply(grant(1, 60));
    world.apply(grant(2, 600));
    world.leader_time_ms = 50_000;
    world.apply(put_command("time passes"));
    world.checkpoint();
    world.restart(End::PowerCut(1));
    let mut clock = world.state.lease_clock();
    let now = world.state.leader_time_ms();
    assert_eq!(now, 50_000);
    assert_eq!(clock.remaining_ms(LeaseId(1), now), Some(10_000));
    assert_eq!(clock.expired(59_999, 10), []);
    assert_eq!(clock.expired(60_000, 10), [LeaseId(1)]);
    assert_eq!(clock.expired(600_000, 10), [LeaseId(1), LeaseId(2)], "the first one was not revoked yet");
}

/// etcd #17780: the revision went down when the process ended while the last revision was compacted away.
#[test]
fn r60_the_revision_never_goes_down() {
    for steps in 0..12 {
        let mut world = world();
        for key in ["a", "b", "c", "d"] {
            world.apply(put_command(key));
        }
        world.checkpoint();
        for key in ["a", "b", "c", "d"] {
            world.apply(delete_command(key));
        }
        let last = world.state.revision();
        world.apply(compact(last.0));
        for step in 0..steps {
            if step % 3 == 0 {
                world.checkpoint();
            }
            world.reclaim(1);
        }
        world.restart(End::PowerCut(steps));
        assert_eq!(world.state.revision(), last);
        while world.reclaim(1) {}
        world.checkpoint();
        world.restart(End::Killed);
        assert_eq!(world.state.revision(), last);
        assert_eq!(world.apply(put_command("a")).revision, Revision(last.0 + 1));
    }
}

/// etcd #14884, #22139: alarms refused what does no harm, and nested txns were not counted. Each operation against each
/// alarm.
#[test]
fn r61_alarms_refuse_exactly_what_they_should() {
    let nested = Operation::Txn(Txn { success: vec![Operation::Put(put("a", 0))], ..Txn::default() });
    let untaken = Command::Txn(Txn { failure: vec![Operation::Put(put("a", 0))], ..Txn::default() });
    let delete = DeleteRange { range: KeyRange::single("x"), prev_kv: false };
    // The command, and whether it grows the store and whether it changes data.
    let commands = [
        (put_command("a"), true, true),
        (txn(vec![Operation::Put(put("a", 0))]), true, true),
        (txn(vec![nested]), true, true),
        (untaken, true, true),
        (txn(vec![Operation::Range(Range::new(KeyRange::all()))]), false, true),
        (txn(vec![Operation::DeleteRange(delete)]), false, true),
        (delete_command("b"), false, true),
        (grant(5, 60), true, true),
        (Command::LeaseRevoke(LeaseId(1)), false, true),
        (Command::LeaseCheckpoint(LeaseCheckpoint::default()), false, false),
        (compact(2), false, true),
        (Command::ClusterVersionSet("3.7.0".into()), false, false),
    ];
    for kinds in
        [vec![], vec![AlarmKind::NoSpace], vec![AlarmKind::Corrupt], vec![AlarmKind::NoSpace, AlarmKind::Corrupt]]
    {
        for (command, grows, changes) in &commands {
            let mut world = world();
            world.apply(grant(1, 60));
            world.apply(put_command("b"));
            kinds.iter().for_each(|kind| drop(world.apply(raise(*kind))));
            let expected = if *changes && kinds.contains(&AlarmKind::Corrupt) {
                Some(Rejection::Corrupt)
            } else if *grows && kinds.contains(&AlarmKind::NoSpace) {
                Some(Rejection::NoSpace)
            } else {
                None
            };
            assert_eq!(world.apply(command.clone()).answer.err(), expected, "{command:?} under {kinds:?}");
        }
    }
}

/// etcd #18055: two snapshots in short order. Checkpoints one after the other, also with nothing between them.
#[test]
fn r62_checkpoints_in_short_order() {
    let mut world = world();
    for round in 0..30 {
        if round % 3 != 0 {
            world.apply(put_command(&format!("key-{}", round % 5)));
        }
        world.checkpoint();
        if round % 7 == 0 {
            let before = world.dump();
            world.restart(End::PowerCut(round));
            assert_eq!(world.dump(), before);
        }
    }
}
