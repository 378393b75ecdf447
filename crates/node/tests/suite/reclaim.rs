//! A member gives space back by itself: under churn, after everything was deleted, and on a full disk.

use crate::member::{block_on, config, get, propose_put, put, start};
use io::OsDisk;
use model::{Command, Compact, DeleteRange, KeyRange, LeaseId, Put, PutLease, PutValue, Revision};
use node::{Config, Handle};
use simdisk::{Random, SimDisk};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

fn compact(handle: &Handle) {
    let command = Command::Compact(Compact { revision: handle.view().revision(), physical: false });
    block_on(handle.propose(command)).expect("it is applied").answer.expect("the revision is not compacted");
}

/// Bytes of the store's files; one that goes while they are counted counts nothing.
fn files(data_dir: &Path) -> u64 {
    let files = std::fs::read_dir(data_dir.join("member/store")).expect("the store is there");
    files.filter_map(|file| file.ok()?.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// Removed segments that this process has open.
fn held_open(data_dir: &Path) -> usize {
    let data_dir = data_dir.to_string_lossy();
    let open =
        std::fs::read_dir("/proc/self/fd").expect("linux").filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
    let names = open.map(|path| path.to_string_lossy().into_owned());
    names
        .filter(|name| name.starts_with(&*data_dir) && name.contains("segment-") && name.ends_with("(deleted)"))
        .count()
}

/// The member does it by itself; how soon is for measurements on a quiet machine to say.
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn files_stay_within_the_bound_under_overwrites_and_go_when_everything_is_deleted() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let data_dir = directory.path().join("one.etcd");
    let path = data_dir.to_string_lossy().into_owned();
    let node = start(Arc::new(OsDisk), Config { no_sync: true, ..config(&path) });
    let handle = node.handle();
    let mut random = Random::new(1);
    let value = "v".repeat(64 << 10);
    for round in 0..20 {
        for _ in 0..200 {
            put(handle, &format!("key/{}", random.below(500)), &value).expect("it is applied");
        }
        compact(handle);
        let retained = handle.view().retained_bytes();
        until(&format!("round {round}, {retained} bytes retained"), || {
            files(&data_dir) * 10 <= retained * 13 + 640 * MIB
        });
    }
    let delete = DeleteRange { range: KeyRange::all(), prev_kv: false };
    block_on(handle.propose(Command::DeleteRange(delete))).expect("it is applied").answer.expect("it is not refused");
    compact(handle);
    until("no write follows, and the files go", || files(&data_dir) < 20 * MIB);
    until("what is told is what is there", || handle.view().physical_bytes() == files(&data_dir));
    until("nothing holds a removed file open", || held_open(&data_dir) == 0);
    put(handle, "after", "1").expect("it is applied");
    node.stop();
    let node = start(Arc::new(OsDisk), config(&path));
    assert_eq!(get(node.handle(), "after").as_deref(), Some("1"));
    assert_eq!(node.handle().view().kv().key_count(), 1);
    node.stop();
}

/// What a compaction drops at once counts as retained until the files have followed.
#[test]
fn files_stay_within_the_bound_while_everything_goes_at_once() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let data_dir = directory.path().join("one.etcd");
    let node = start(Arc::new(OsDisk), Config { no_sync: true, ..config(&data_dir.to_string_lossy()) });
    let handle = node.handle();
    let value = "v".repeat(64 << 10);
    for n in 0..3200 {
        put(handle, &format!("key/{n}"), &value).expect("it is applied");
    }
    let mut longest = 0;
    let mut look = || {
        let view = handle.view();
        longest = longest.max(view.physical_bytes().saturating_sub(view.retained_bytes() * 13 / 10));
        view
    };
    let delete = DeleteRange { range: KeyRange::all(), prev_kv: false };
    block_on(handle.propose(Command::DeleteRange(delete))).expect("it is applied").answer.expect("it is not refused");
    let compact = |revision, physical| handle.propose(Command::Compact(Compact { revision, physical }));
    let revision = handle.view().revision();
    let applied = block_on(compact(revision, false)).expect("it is applied");
    assert!(applied.view.unsettled_bytes() > 100 * MIB, "it is not given back before the files are gone");
    put(handle, "after", "1").expect("it is applied");
    let mut answer = Box::pin(compact(Revision(revision.0 + 1), true));
    until("a physical compaction is answered when all is released", || {
        look();
        answer.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    });
    assert!(look().retained_bytes() < MIB);
    until("the files are gone", || look().physical_bytes() < 40 * MIB);
    assert!(longest <= 64 * MIB, "{longest} bytes more than 1.3 times what was retained");
    node.stop();
}

/// Nobody waits for an answer before the next write, so nothing but the member itself slows them down.
#[test]
fn files_stay_within_the_bound_whatever_comes_in_at_once() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let data_dir = directory.path().join("one.etcd");
    let node = start(Arc::new(OsDisk), Config { no_sync: true, ..config(&data_dir.to_string_lossy()) });
    let handle = node.handle();
    let value: bytes::Bytes = vec![b'v'; 1 << 20].into();
    let mut longest = 0;
    let mut answers = std::collections::VecDeque::new();
    for n in 0..600 {
        answers.push_back(propose_put(handle, &format!("key/{}", n % 4), value.clone()));
        if n % 4 == 3 {
            let revision = Revision(i64::from(n - 3));
            answers.push_back(handle.propose(Command::Compact(Compact { revision, physical: false })));
        }
        while answers.len() > 100 {
            let answer = block_on(answers.pop_front().expect("there are a hundred"));
            drop(answer.expect("it is applied").answer);
            let view = handle.view();
            longest = longest.max(view.physical_bytes().saturating_sub(view.retained_bytes() * 13 / 10));
        }
    }
    assert!(longest <= 64 * MIB, "{longest} bytes more than 1.3 times what was retained");
    node.stop();
}

#[test]
fn a_full_disk_gets_room_from_garbage() {
    let disk = SimDisk::new();
    let node = start(Arc::new(disk.clone()), config("/data"));
    let handle = node.handle();
    let value = "v".repeat(1 << 20);
    for round in 0..2 {
        for n in 0..10 {
            put(handle, &format!("key/{}", n + round * 5), &value).expect("there is room");
        }
    }
    compact(handle);
    // Less than the target, so nothing would be reclaimed; but now there is no room for anything else.
    disk.set_capacity(Some(disk.used()));
    for n in 0..8 {
        until("garbage becomes room", || put(handle, &format!("new/{n}"), &value).is_ok());
    }
    // Each writes its mebibyte anew.
    let keep = Put { key: "key/9".into(), value: PutValue::Keep, lease: PutLease::Set(LeaseId::NONE), prev_kv: false };
    for _ in 0..20 {
        compact(handle);
        until("a put that keeps its value waits for room", || {
            block_on(handle.propose(Command::Put(keep.clone()))).is_ok_and(|applied| applied.answer.is_ok())
        });
    }
    until("the reserve is there again", || !handle.status().disk_full());
    let before = handle.view().kv().key_count();
    node.stop();
    let node = start(Arc::new(disk.after_kill()), config("/data"));
    assert_eq!(node.handle().view().kv().key_count(), before);
    node.stop();
}
