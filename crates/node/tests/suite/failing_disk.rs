//! A disk that fails at one thing: the member says which disk and how, goes on with what it can, and is well again by
//! itself when the disk is.

use crate::member::{block_on, config, get, put};
use crate::unwritten::{Member, PAUSE};
use io::{Clock, OsClock};
use node::{Ailment, Config, DiskTrouble, DiskUse, Node, Refused};
use simdisk::{FileOperation, HookedDisk, Random, SimDisk};
use std::io::{Error, ErrorKind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::yield_now();
    }
}

fn start(disk: HookedDisk, config: Config) -> Node {
    let clock: Arc<dyn Clock> = Arc::new(OsClock::default());
    let config = Config { on_fault: Arc::new(|fault| panic!("the member ended itself: {fault}")), ..config };
    let node = Node::start(config, Arc::new(disk), clock, &mut Random::new(1)).expect("it starts");
    block_on(node.handle().publish("one", &[])).expect("it gets ready");
    node
}

/// A member on a disk that fails with what `fails` says, while it is told to.
fn failing(
    disk: &SimDisk,
    config: Config,
    fails: impl Fn(FileOperation, &Path) -> Option<Error> + Send + Sync + 'static,
) -> (Node, Arc<AtomicBool>) {
    let is_on = Arc::new(AtomicBool::new(false));
    let on = is_on.clone();
    let hook = move |operation: FileOperation, path: &Path| match fails(operation, path) {
        Some(error) if on.load(Ordering::SeqCst) => Err(error),
        _ => Ok(()),
    };
    (start(HookedDisk::new(Arc::new(disk.clone()), hook), config), is_on)
}

fn is_log(path: &Path) -> bool {
    path.parent().is_some_and(|parent| parent.ends_with("wal"))
}

#[test]
fn a_log_disk_that_fails_is_named_and_written_again_once_it_works() {
    let kinds = [(ErrorKind::Other, Ailment::Failing), (ErrorKind::ReadOnlyFilesystem, Ailment::ReadOnly)];
    for (kind, ailment) in kinds {
        for all in [false, true] {
            let (node, fails) = failing(&SimDisk::new(), config("/data"), move |operation, path| {
                let meant = if all { operation != FileOperation::Read } else { operation == FileOperation::Sync };
                (meant && is_log(path)).then(|| kind.into())
            });
            put(node.handle(), "before", "1").expect("the disk works");
            fails.store(true, Ordering::SeqCst);
            // The first is on its way when the disk fails; what becomes of it shows later.
            let trouble = DiskTrouble { disk: DiskUse::Log, ailment };
            let refused = [put(node.handle(), "first", "1").err(), put(node.handle(), "second", "1").err()];
            assert!(refused.contains(&Some(Refused::Disk(trouble))), "{refused:?}");
            let [log, store] = node.handle().status().sick_disks;
            assert_eq!((log.map(|sick| sick.trouble), store), (Some(trouble), None));
            assert_eq!(get(node.handle(), "before").as_deref(), Some("1"), "reads go on");
            fails.store(false, Ordering::SeqCst);
            until("it is written again", || put(node.handle(), "after", "1").is_ok());
            assert!(!node.handle().status().is_sick());
            node.stop();
        }
    }
}

/// Expiry does not depend on the disk that keeps apply.
#[test]
fn a_store_disk_that_does_not_return_keeps_no_request() {
    let gate: Arc<(Mutex<bool>, Condvar)> = Arc::default();
    let hook_gate = gate.clone();
    let hook = move |operation: FileOperation, path: &Path| {
        let is_segment = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("segment-"));
        if operation == FileOperation::Write && is_segment {
            let (is_stuck, changed) = &*hook_gate;
            let held = is_stuck.lock().unwrap_or_else(PoisonError::into_inner);
            drop(changed.wait_while(held, |is_stuck| *is_stuck));
        }
        Ok(())
    };
    let set = |is_stuck: bool| {
        *gate.0.lock().unwrap_or_else(PoisonError::into_inner) = is_stuck;
        gate.1.notify_all();
    };
    let config = Config { request_timeout: Duration::from_secs(4), ..config("/data") };
    let node = start(HookedDisk::new(Arc::new(SimDisk::new()), hook), config);
    put(node.handle(), "before", "1").expect("the disk works");
    set(true);
    // Too large to wait in memory for a tick.
    let value = "v".repeat(100 << 10);
    let trouble = DiskTrouble { disk: DiskUse::Store, ailment: Ailment::Stuck };
    assert_eq!(put(node.handle(), "first", &value).err(), Some(Refused::TimedOutByDisk(trouble)));
    assert_eq!(node.handle().status().sick_disks[1].map(|sick| sick.trouble), Some(trouble));
    assert_eq!(get(node.handle(), "before").as_deref(), Some("1"), "reads go on");
    set(false);
    until("it goes on", || put(node.handle(), "after", "1").is_ok());
    assert_eq!(get(node.handle(), "first"), Some(value), "what was taken is applied");
    until("and well", || !node.handle().status().is_sick());
    node.stop();
}

/// What fails at a checkpoint's own files is tried again, and writes go on meanwhile.
#[test]
fn a_disk_that_fails_at_upkeep_stops_nothing_and_upkeep_goes_on_once_it_works() {
    type Fails = fn(FileOperation, &str) -> Option<ErrorKind>;
    let cases: [(&str, Fails); 5] = [
        ("no space for the manifest's name", |operation, path| {
            (operation == FileOperation::Rename && path.ends_with("manifest.tmp")).then_some(ErrorKind::StorageFull)
        }),
        ("the manifest's name", |operation, path| {
            (operation == FileOperation::Rename && path.ends_with("manifest.tmp")).then_some(ErrorKind::Other)
        }),
        ("the manifest's sync", |operation, path| {
            (operation == FileOperation::Sync && path.ends_with("manifest.tmp")).then_some(ErrorKind::StorageFull)
        }),
        ("a run's sync", |operation, path| {
            (operation == FileOperation::Sync && path.contains("/run-")).then_some(ErrorKind::Other)
        }),
        ("the manifest's write", |operation, path| {
            (operation == FileOperation::Write && path.ends_with("manifest.tmp"))
                .then_some(ErrorKind::ReadOnlyFilesystem)
        }),
    ];
    for (what, fails) in cases {
        let disk = SimDisk::new();
        let (is_on, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (on, noted) = (is_on.clone(), failed.clone());
        let hook = move |operation: FileOperation, path: &Path| match fails(operation, &path.to_string_lossy()) {
            Some(kind) if on.load(Ordering::SeqCst) => {
                noted.store(true, Ordering::SeqCst);
                Err(kind.into())
            }
            _ => Ok(()),
        };
        let seen = Arc::new(HookedDisk::new(Arc::new(disk.clone()), hook));
        let mut member = Member::open_on(&disk, seen).expect("it starts");
        let churn = |member: &mut Member, round: u32| {
            for n in 0..60 {
                let put = member.put(&format!("key/{}", n % 4), &format!("{round} {n}"));
                put.unwrap_or_else(|refused| panic!("{what}: {refused}"));
            }
            member.tick(PAUSE).tick(PAUSE);
        };
        churn(&mut member, 0);
        is_on.store(true, Ordering::SeqCst);
        for round in 1..4 {
            churn(&mut member, round);
        }
        assert!(failed.load(Ordering::SeqCst), "{what}: nothing failed");
        is_on.store(false, Ordering::SeqCst);
        for round in 4..7 {
            churn(&mut member, round);
        }
        let status = member.node.handle().status();
        assert!(!status.is_sick(), "{what}: {:?}", status.sick_disks);
        drop(member);
        // Nothing but the checkpoint's files and what lies behind it.
        let runs = disk.image().into_iter().filter(|(path, _)| path.to_string_lossy().contains("/run-")).count();
        assert!(runs < 12, "{what}: {runs} runs are left");
        for after in [disk.after_kill(), disk.after_power_cut(&mut Random::new(1))] {
            let member = Member::open(&after).expect("it starts");
            assert_eq!(member.get("key/3").as_deref(), Some("6 59"), "{what}");
        }
    }
}
