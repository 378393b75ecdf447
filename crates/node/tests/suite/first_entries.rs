//! A start on a disk that fails while the log's entries are applied again. Both were found by the simulated world.

use crate::member::config;
use crate::unwritten::{Member, TICK};
use model::{Command, Compact};
use node::{Config, Part};
use simdisk::SimDisk;
use std::future::Future;
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

/// Steps of the disk that a start and its first entries take, and some more.
const STEPS: u64 = 60;

/// A disk with a checkpoint, and a log that holds acknowledged entries behind it.
fn disk() -> SimDisk {
    let disk = SimDisk::new();
    let mut member = Member::open(&disk).expect("it starts");
    member.node.begin_stop();
    member.settle();
    member.node.finish();
    let disk = disk.after_kill();
    let mut member = Member::open(&disk).expect("it starts");
    for key in ["a", "b", "c"] {
        member.put(key, "v").expect("it is put");
    }
    disk.after_kill()
}

/// An office lets reads be answered from the view, and began when the disk was too full for the first one to be
/// published.
#[test]
fn nobody_reads_before_what_was_acknowledged_is_published() {
    for step in 0..STEPS {
        let disk = disk();
        disk.fail_at(disk.steps() + step, ErrorKind::StorageFull);
        let Some(mut member) = Member::start(&disk, config("/data")) else { continue };
        let mut reads = 0;
        for _ in 0..40 {
            member.pass(TICK);
            for part in Part::ALL {
                member.node.step(part);
                if let Some(view) = member.node.handle().read_now() {
                    assert!(view.kv().get(b"c").is_some(), "a lack of space at step {step}");
                    reads += 1;
                }
            }
        }
        assert!(reads > 0, "it leads in the end, a lack of space at step {step}");
    }
}

/// A physical compaction whose history was worked off was answered while the disk was too full for its batch to be
/// published.
#[test]
fn a_physical_compaction_is_answered_behind_what_its_batch_published() {
    for step in 0..STEPS {
        let mut member = Member::open(&SimDisk::new()).expect("it starts");
        let before = member.node.handle().view().revision();
        member.fail_at(step, ErrorKind::StorageFull);
        let _put = member.propose("d", &"v".repeat(100_000));
        let compact = Command::Compact(Compact { revision: before, physical: true });
        let mut compacted = pin!(member.node.handle().propose(compact));
        for _ in 0..40 {
            member.pass(TICK);
            for part in Part::ALL {
                member.node.step(part);
                if let Poll::Ready(answer) = compacted.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    let revision = answer.map_or(before, |reply| reply.revision);
                    assert!(member.node.handle().view().revision() >= revision, "a lack of space at step {step}");
                }
            }
        }
    }
}

/// Nothing was reported as applied by a store that failed with the first entries, and an assert ended the process.
#[test]
fn a_store_that_fails_with_the_first_entries_ends_nothing() {
    for step in 0..STEPS {
        let disk = disk();
        disk.fail_at(disk.steps() + step, ErrorKind::Other);
        let ended = Arc::new(AtomicBool::new(false));
        let seen = ended.clone();
        let on_fault = Arc::new(move |_| seen.store(true, Ordering::Relaxed));
        let Some(mut member) = Member::start(&disk, Config { on_fault, ..config("/data") }) else { continue };
        for _ in 0..40 {
            member.tick(TICK);
        }
        assert!(!ended.load(Ordering::Relaxed), "a failure at step {step}");
    }
}
