//! Driver, log and apply with the hand-overs of `node::threads`, as small as they can be: whatever the schedule, each
//! proposal is logged and applied, in order, and nothing waits for ever, although the standby may take the driver over
//! at any moment.

use crate::inbox::Inbox;
use crate::relay::Relay;
use crate::sync::Arc;
use crate::workplace::Workplace;
use shuttle::thread;
use std::time::Duration;

const SCHEDULES: usize = 3000;
const PROPOSALS: u32 = 4;
const FOREVER: Duration = Duration::from_secs(3600);

enum Message {
    Propose(u32),
    Logged(Vec<u32>),
    Stop,
}

/// Counts what it has seen; stops when all that was proposed is on its way to apply.
#[derive(Default)]
struct Driver {
    proposed: u32,
    committed: u32,
    stopping: bool,
}

struct Member {
    inbox: Inbox<Message>,
    to_log: Inbox<u32>,
    to_apply: Inbox<Option<u32>>,
    relay: Relay<Driver>,
    log: Workplace<()>,
    apply: Workplace<Vec<u32>>,
}

impl Member {
    fn pump(&self, mut driver: Driver) -> bool {
        let mut taken = Vec::new();
        loop {
            self.inbox.wait(FOREVER);
            self.inbox.take(&mut taken);
            let mut has_turn = false;
            for message in taken.drain(..) {
                match message {
                    Message::Propose(n) => {
                        driver.proposed += 1;
                        self.to_log.leave(|queue| queue.push(n));
                    }
                    Message::Logged(entries) => {
                        has_turn = true;
                        driver.committed += entries.len() as u32;
                        self.to_apply.leave(|queue| queue.extend(entries.into_iter().map(Some)));
                    }
                    Message::Stop => driver.stopping = true,
                }
            }
            if driver.stopping && driver.committed == driver.proposed {
                self.to_apply.push_always(None);
                self.relay.end();
                return true;
            }
            self.relay.put_down(driver, Duration::ZERO);
            if has_turn {
                self.apply.try_with(|cell| self.step_apply_lone(cell));
                self.to_apply.wake();
            }
            self.log.work_off(|| !self.to_log.is_empty(), |()| self.step_log());
            let Some(still_down) = self.relay.pick_up() else { return false };
            driver = still_down;
        }
    }

    fn step_log(&self) -> bool {
        let mut entries = Vec::new();
        self.to_log.take(&mut entries);
        if !entries.is_empty() {
            // A sync takes a while.
            thread::yield_now();
            self.inbox.push_always(Message::Logged(entries));
        }
        true
    }

    fn step_apply_lone(&self, cell: &mut Option<Vec<u32>>) {
        let mut taken = Vec::new();
        if self.to_apply.take_if(&mut taken, |queue| queue.len() == 1 && queue[0].is_some()) {
            cell.as_mut().expect("it is there").extend(taken.into_iter().flatten());
        }
    }

    fn drive(&self, mut holding: Option<Driver>) {
        while let Some(driver) = holding.take().or_else(|| self.take_over()) {
            if self.pump(driver) {
                return;
            }
        }
    }

    /// Shuttle's waits do not time out, so the standby looks again and again, and takes over whenever it finds the
    /// driver down.
    fn take_over(&self) -> Option<Driver> {
        loop {
            match self.relay.take_now(Duration::ZERO, || Duration::ZERO) {
                crate::relay::Looked::Taken(driver) => return Some(driver),
                crate::relay::Looked::Ended => return None,
                crate::relay::Looked::Nothing => thread::yield_now(),
            }
        }
    }

    fn run_apply(&self) {
        let mut stop = false;
        while !stop {
            self.to_apply.wait(FOREVER);
            self.apply.with(|cell| {
                let mut taken = Vec::new();
                self.to_apply.take(&mut taken);
                stop = taken.iter().any(Option::is_none);
                cell.as_mut().expect("it is there").extend(taken.into_iter().flatten());
            });
        }
    }
}

pub fn every_proposal_is_applied_in_order_whoever_holds_the_driver() {
    shuttle::check_random(
        || {
            let member = Arc::new(Member {
                inbox: Inbox::new(100, 100),
                to_log: Inbox::new(100, 100),
                to_apply: Inbox::new(100, 100),
                relay: Relay::new(),
                log: Workplace::new(()),
                apply: Workplace::new(Vec::new()),
            });
            let spawn = |run: fn(&Member)| {
                let member = member.clone();
                thread::spawn(move || run(&member))
            };
            let threads = [
                spawn(|member| member.drive(Some(Driver::default()))),
                spawn(|member| member.drive(None)),
                spawn(Member::run_apply),
            ];
            for n in 0..PROPOSALS {
                member.inbox.push_always(Message::Propose(n));
            }
            member.inbox.push_always(Message::Stop);
            threads.into_iter().for_each(|thread| thread.join().expect("it ends"));
            let applied = member.apply.with(Option::take).expect("it is there");
            assert_eq!(applied, (0..PROPOSALS).collect::<Vec<_>>());
        },
        SCHEDULES,
    );
}
