//! A disk that does not return from a sync of the log: whoever waits is answered in time, reads go on, and the member
//! can be stopped. When the disk returns, the member goes on.

use crate::member::{block_on, config, get, propose_put, put, start};
use crate::unwritten::{Member, answer};
use io::Disk;
use node::{Config, Part, Refused};
use simdisk::{FileOperation, HookedDisk, SimDisk};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A disk of which syncs wait while it is stuck.
struct StuckDisk {
    below: SimDisk,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    is_stuck: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_stuck.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, is_stuck: bool) {
        *self.lock() = is_stuck;
        self.changed.notify_all();
    }

    fn pass(&self) {
        drop(self.changed.wait_while(self.lock(), |is_stuck| *is_stuck));
    }
}

impl StuckDisk {
    fn new() -> StuckDisk {
        StuckDisk { below: SimDisk::new(), gate: Arc::default() }
    }

    fn disk(&self) -> Arc<dyn Disk> {
        let gate = self.gate.clone();
        let hook = move |operation, _: &Path| {
            if operation == FileOperation::Sync {
                gate.pass();
            }
            Ok(())
        };
        Arc::new(HookedDisk::new(Arc::new(self.below.clone()), hook))
    }
}

fn short() -> Config {
    Config { request_timeout: Duration::from_millis(700), ..config("/data") }
}

#[test]
fn requests_are_answered_in_time_and_the_member_goes_on_when_the_disk_returns() {
    let disk = StuckDisk::new();
    let node = start(disk.disk(), short());
    // A busy machine may take longer than the timeout.
    while put(node.handle(), "before", "1").is_err() {}
    for round in 0..3 {
        disk.gate.set(true);
        // The first is on its way to the disk, the others gather behind it.
        for n in 0..3 {
            let refused = put(node.handle(), &format!("k{n}"), &round.to_string()).err();
            assert_eq!(refused, Some(Refused::TimedOut));
            assert_eq!(get(node.handle(), "before").as_deref(), Some("1"), "reads go on");
        }
        disk.gate.set(false);
        while put(node.handle(), "after", &round.to_string()).is_err() {}
        for n in 0..3 {
            let value = get(node.handle(), &format!("k{n}"));
            assert_eq!(value, Some(round.to_string()), "what was taken is applied");
        }
    }
    // Three times three that were told nothing certain, and as often something after; each at most once.
    let revision = node.handle().view().revision().0;
    assert!(revision >= 1 + 1 + 9 + 3, "revision {revision}");
    node.stop();
}

#[test]
fn a_member_stops_while_its_disk_does_not_return() {
    let disk = StuckDisk::new();
    let node = start(disk.disk(), short());
    // A busy machine may take longer than the timeout.
    while put(node.handle(), "before", "1").is_err() {}
    disk.gate.set(true);
    let pending = propose_put(node.handle(), "stuck", "1".into());
    let started = Instant::now();
    node.stop();
    assert!(started.elapsed() < Duration::from_secs(60), "it waited for the disk");
    assert!(matches!(block_on(pending), Err(Refused::Stopped | Refused::TimedOut | Refused::TimedOutByDisk(_))));
    let survivor = start(Arc::new(disk.below.after_kill()), config("/data"));
    assert_eq!(get(survivor.handle(), "before").as_deref(), Some("1"));
    survivor.stop();
    disk.gate.set(false);
}

/// Under load: the log takes nothing, the driver goes on taking, and what waits behind it must not grow for ever.
#[test]
fn what_waits_for_a_disk_that_does_not_return_is_bounded() {
    const PROPOSALS: usize = 200_000;
    /// What `limits` lets wait in front of the driver, and as many behind it.
    const WAITING_MAX: usize = 2 * 65_536;
    let mut member = Member::open(&SimDisk::new()).expect("it starts");
    let mut pending = Vec::with_capacity(PROPOSALS);
    for n in 1..=PROPOSALS {
        pending.push(member.propose("key", "value"));
        if n % 10_000 == 0 {
            member.node.step(Part::Driver);
        }
    }
    let answers = pending.into_iter().map(answer);
    let refused = answers.filter(|answer| matches!(answer, Err(Refused::TooManyRequests))).count();
    assert!(refused > 0 && PROPOSALS - refused <= WAITING_MAX, "{refused} of {PROPOSALS} were refused");
    member.settle();
    let after = member.propose("after", "value");
    member.settle();
    answer(after).expect("it goes on");
}
