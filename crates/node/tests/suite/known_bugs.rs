//! What once went wrong in etcd, as far as one whole member can show it; named after the row in docs/known-bugs.md.

use crate::member::{block_on, config, get, put, start};
use io::{Clock, OsClock};
use model::{Command, Compact};
use node::{Config, Node, Refused};
use simdisk::{Random, SimDisk};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Who waits for a member whose disk is gone need not wait long.
fn short(data_dir: &str) -> Config {
    Config { request_timeout: Duration::from_millis(100), ..config(data_dir) }
}

/// Nothing may be acknowledged before it is synced, and nothing applied may be lost or come twice.
#[test]
fn r01_r02_acknowledged_writes_survive_a_power_cut_at_any_step() {
    for seed in 0..15 {
        let mut random = Random::new(seed);
        let disk = SimDisk::new();
        let steps = 20 + random.below(700);
        disk.power_off_at(steps);
        let mut acknowledged: Vec<usize> = Vec::new();
        let clock: Arc<dyn Clock> = Arc::new(OsClock::default());
        if let Ok(node) = Node::start(short("/data"), Arc::new(disk.clone()), clock, &mut random) {
            let _ = block_on(node.handle().publish("one", &[]));
            for n in 0..400 {
                if disk.is_off() || put(node.handle(), &format!("k{n}"), &n.to_string()).is_err() {
                    break;
                }
                acknowledged.push(n);
            }
            node.stop();
        }
        let after = disk.after_power_cut(&mut random);
        let node = start(Arc::new(after), config("/data"));
        for n in &acknowledged {
            assert_eq!(get(node.handle(), &format!("k{n}")), Some(n.to_string()), "seed {seed}, {steps} steps");
        }
        let revision = node.handle().view().revision().0;
        assert!(revision > acknowledged.len() as i64, "seed {seed}: revision {revision} stepped back");
        node.stop();
    }
}

#[test]
fn r13_a_full_disk_refuses_writes_serves_reads_and_heals_without_restart() {
    let disk = SimDisk::new();
    let node = start(Arc::new(disk.clone()), config("/data"));
    put(node.handle(), "before", "1").expect("there is room");
    disk.set_capacity(Some(disk.used()));
    let value = "x".repeat(1 << 20);
    let refused = (0..200).find_map(|n| put(node.handle(), &format!("big{n}"), &value).err());
    assert!(matches!(refused, Some(Refused::Disk(_) | Refused::TimedOutByDisk(_))), "{refused:?}");
    assert_eq!(get(node.handle(), "before"), Some("1".to_owned()));
    assert!(node.handle().status().disk_full());
    disk.set_capacity(None);
    while put(node.handle(), "after", "2").is_err() {
        std::thread::yield_now();
    }
    assert_eq!(get(node.handle(), "after"), Some("2".to_owned()));
    assert!(!node.handle().status().disk_full());
    node.stop();
}

/// r17: after a failed write or sync of the log the member goes on in another file; of the store's, it serves reads
/// until it is started again.
#[test]
fn r17_nothing_acknowledged_is_lost_when_writes_and_syncs_fail() {
    let config = || Config { on_fault: Arc::new(|fault| panic!("{fault}")), ..config("/data") };
    let mut disk = SimDisk::new();
    let mut node = start(Arc::new(disk.clone()), config());
    for n in 0..24 {
        disk.fail_at(disk.steps() + n % 4, std::io::ErrorKind::Other);
        while put(node.handle(), &format!("k{n}"), "v").is_err() {
            if node.handle().status().store_failed {
                let known = get(node.handle(), "k0");
                assert_eq!(known, (n > 0).then(|| "v".to_owned()), "reads go on");
                node.stop();
                disk = disk.after_kill();
                node = start(Arc::new(disk.clone()), config());
            }
        }
    }
    for n in 0..24 {
        assert_eq!(get(node.handle(), &format!("k{n}")), Some("v".to_owned()));
    }
    node.stop();
}

/// Runs a member for a moment on a disk that may end under it.
fn run_once(disk: &SimDisk) {
    let clock: Arc<dyn Clock> = Arc::new(OsClock::default());
    if let Ok(node) = Node::start(short("/data"), Arc::new(disk.clone()), clock, &mut Random::new(1)) {
        let _ = block_on(node.handle().publish("one", &[]));
        let _ = put(node.handle(), "k", "v");
        node.stop();
    }
}

fn assert_works(disk: SimDisk, what: &str) {
    let node = start(Arc::new(disk), config("/data"));
    put(node.handle(), "after", "1").unwrap_or_else(|refused| panic!("{what}: {refused:?}"));
    assert_eq!(get(node.handle(), "after"), Some("1".to_owned()), "{what}");
    node.stop();
}

/// etcd #16596: a power cut during the first start, and the member never started again.
#[test]
fn r11_a_first_start_cut_off_at_any_step_is_begun_again() {
    for step in 0.. {
        let disk = SimDisk::new();
        disk.power_off_at(step);
        run_once(&disk);
        if !disk.is_off() {
            assert!(step > 20, "a first start takes more than {step} steps");
            break;
        }
        assert_works(disk.after_power_cut(&mut Random::new(step)), &format!("power cut at step {step}"));
    }
}

/// etcd #10688: what a failed first start had made counted as initialised. The second start succeeds, with the same
/// flags and after each failure.
#[test]
fn r14_a_first_start_that_failed_at_any_step_is_begun_again() {
    for step in 0.. {
        let disk = SimDisk::new();
        disk.fail_at(step, std::io::ErrorKind::Other);
        run_once(&disk);
        if disk.steps() <= step {
            assert!(step > 20, "a first start takes more than {step} steps");
            break;
        }
        assert_works(disk.after_kill(), &format!("failure at step {step}"));
    }
}

/// etcd #18842, #18854: an error while storage was rewritten ended the process, or left its files behind. Here
/// checkpoints and compactions meet a full disk at every step once, and the member goes on.
#[test]
fn r15_a_lack_of_space_at_any_step_is_waited_for_and_leaves_nothing_behind() {
    let disk = SimDisk::new();
    let faults = Arc::new(AtomicBool::new(false));
    let fault = faults.clone();
    let on_fault = Arc::new(move |_| fault.store(true, Ordering::SeqCst));
    let node = start(Arc::new(disk.clone()), Config { checkpoint_entries: 5, on_fault, ..config("/data") });
    for n in 0..100 {
        disk.fail_at(disk.steps() + n % 25, std::io::ErrorKind::StorageFull);
        while put(node.handle(), &format!("k{}", n % 7), &n.to_string()).is_err() {}
        if n % 10 == 9 {
            let revision = node.handle().view().revision();
            let compact = Command::Compact(Compact { revision, physical: false });
            while block_on(node.handle().propose(compact.clone())).is_err() {}
        }
        assert_eq!(get(node.handle(), &format!("k{}", n % 7)), Some(n.to_string()));
    }
    node.stop();
    assert!(!faults.load(Ordering::SeqCst), "a lack of space is no reason to stop");
    // Another life of the member takes away what its log left, and no file of a store is left half-made.
    let disk = disk.after_kill();
    let node = start(Arc::new(disk.clone()), Config { checkpoint_entries: 5, ..config("/data") });
    while disk.used() > 4 * LOG_SEGMENT_BYTES {
        put(node.handle(), "k", "v").expect("there is space");
    }
    node.stop();
    for (path, _) in disk.image() {
        let is_temporary = path.extension().is_some_and(|extension| extension == "tmp");
        assert!(!is_temporary, "{} was left behind", path.display());
    }
}

const LOG_SEGMENT_BYTES: u64 = 64 << 20;
