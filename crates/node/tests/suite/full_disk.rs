//! A disk that is full of live data: growth is refused with a word that says so, everything else is served, the member
//! starts on it, and it is writable again once something was deleted and compacted.

use crate::member::{block_on, config, get, propose_put, put, start};
use model::{
    Alarm, AlarmAction, AlarmKind, Command, Compact, DeleteRange, KeyRange, LeaseGrant, LeaseId, MemberId, Put,
    PutLease, PutValue,
};
use node::{Ailment, Handle, Node, Refused};
use simdisk::SimDisk;
use std::sync::Arc;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
const DISK_BYTES: u64 = 64 * MIB;

fn apply(handle: &Handle, command: Command) -> Result<(), Refused> {
    block_on(handle.propose(command)).map(|reply| assert!(reply.answer.is_ok(), "{:?}", reply.answer))
}

fn delete(handle: &Handle, range: KeyRange) -> Result<(), Refused> {
    apply(handle, Command::DeleteRange(DeleteRange { range, prev_kv: false }))
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::yield_now();
    }
}

/// Puts new keys, `at_a_time` of them in flight, until one is refused. Returns how many were put.
fn fill(handle: &Handle, prefix: &str, value_bytes: usize, at_a_time: usize) -> usize {
    let value: bytes::Bytes = vec![b'v'; value_bytes].into();
    let mut done = 0;
    for round in 0.. {
        let puts = (0..at_a_time)
            .map(|n| propose_put(handle, &format!("{prefix}/{:06}", round * at_a_time + n), value.clone()));
        for pending in puts.collect::<Vec<_>>() {
            match block_on(pending) {
                Ok(reply) => done += usize::from(reply.answer.is_ok()),
                Err(Refused::Disk(trouble)) => {
                    assert_eq!(trouble.ailment, Ailment::Full);
                    assert!(trouble.to_string().contains("disk"));
                    return done;
                }
                Err(other) => panic!("refused after {done}: {other}"),
            }
        }
    }
    done
}

fn member(disk: &SimDisk) -> Node {
    disk.set_capacity(Some(DISK_BYTES));
    start(Arc::new(disk.clone()), config("/data"))
}

fn check_served(node: &Node, key: &str) {
    let handle = node.handle();
    let value = get(handle, key).expect("reads are served");
    // A checkpoint may have the reserve for a moment.
    until("a rewrite of the same size is served", || put(handle, key, &value).is_ok());
    let lease = LeaseGrant { id: LeaseId(7), ttl_s: 600 };
    apply(handle, Command::LeaseGrant(lease)).expect("a lease is granted");
    let leased =
        Put { key: key.to_owned().into(), value: PutValue::Keep, lease: PutLease::Set(LeaseId(7)), prev_kv: false };
    until("a put that keeps the value is served", || apply(handle, Command::Put(leased.clone())).is_ok());
    apply(handle, Command::LeaseRevoke(LeaseId(7))).expect("a lease is revoked");
    assert_eq!(get(handle, key), None, "its key goes with it");
    let alarm = Alarm { action: AlarmAction::Deactivate, kind: AlarmKind::NoSpace, member: MemberId(1) };
    apply(handle, Command::Alarm(alarm)).expect("alarms can be disarmed");
}

#[test]
fn a_disk_full_of_live_data_serves_all_but_growth_and_starts_and_is_dug_out() {
    for (value_bytes, at_a_time) in [(1 << 20, 1), (300 << 10, 8), (20 << 10, 64)] {
        let mut disk = SimDisk::new();
        let mut node = member(&disk);
        let done = fill(node.handle(), "key", value_bytes, at_a_time);
        // The log may hold as much, until a checkpoint lets it trim that.
        let live = (done * value_bytes) as u64;
        assert!(live > 16 * MIB, "{live} bytes of values of {value_bytes}");
        check_served(&node, "key/000000");
        for life in 1..8 {
            disk = disk.after_kill();
            std::mem::replace(&mut node, member(&disk)).stop();
            let handle = node.handle();
            let key = format!("key/{:06}", life + 10);
            assert!(get(handle, &key).is_some(), "reads are served in life {life}");
            delete(handle, KeyRange::single(key.clone())).expect("deletions are served");
            assert_eq!(get(handle, &key), None);
        }
        delete(node.handle(), KeyRange::all()).expect("deletions are served");
        let revision = node.handle().view().revision();
        apply(node.handle(), Command::Compact(Compact { revision, physical: false })).expect("compactions are served");
        let value = "v".repeat(value_bytes);
        until("it is writable again", || put(node.handle(), "after", &value).is_ok());
        until("and well", || !node.handle().status().is_sick());
        // Nobody waits between puts: the log may be full of them until it is trimmed.
        let (mut again, mut round) = (0, 0);
        until("what was given back can be used again", || {
            round += 1;
            again += fill(node.handle(), &format!("again/{round}"), value_bytes, at_a_time);
            (again * value_bytes) as u64 > 16 * MIB
        });
        node.stop();
        let node = member(&disk.after_kill());
        assert_eq!(get(node.handle(), "after"), Some(value));
        node.stop();
    }
}
