//! The threads of one member: who steps which part, who wakes whom, who waits for the disk.
//!
//! ```text
//! driver, standby   one of the two holds the driver and pumps: driver, apply if one small entry came alone, log
//! apply             steps apply whenever something is there, and between batches while history is worked off
//! background        works off jobs, at a lower priority
//! ```
//! Handing an entry to a sleeping thread costs more than applying it, and so does handing the log's sync to one: two
//! switches of context, and on a virtual machine the waking of an idle core. So the thread that pumps does both by
//! itself. Before each it puts the driver down (`relay`), so that when a disk keeps it the other thread takes over:
//! ticks, expiry, refusals and the stop go on.
//!
//! Invariants: a part is stepped by one thread at a time. The pump never waits for another thread: it steps the log or
//! apply only if nobody else does, and who does looks again afterwards.

use crate::apply::Next;
use crate::limits::{BACKGROUND_INTERVAL, DISK_RETRY_INTERVAL, STOP_THREADS_MAX};
use crate::messages::{ApplyMessage, DriverMessage};
use crate::parts::{ApplySeat, BackgroundSeat, DriverSeat, LogSeat, Parts, Queues};
use crate::relay::Relay;
use crate::shared::Shared;
use crate::sync::lock;
use crate::workplace::Workplace;
use state::State;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

pub(crate) struct Threads {
    shell: Arc<Shell>,
    joins: Vec<JoinHandle<()>>,
}

struct Shell {
    queues: Queues,
    relay: Relay<Box<DriverSeat>>,
    /// How long the driver may lie while whoever put it down waits for a disk.
    patience: Duration,
    log: Workplace<LogSeat>,
    apply: Workplace<ApplySeat>,
    running: Running,
}

impl Threads {
    pub(crate) fn start(parts: Parts, queues: Queues, tick: Duration) -> std::io::Result<Threads> {
        let Parts { driver, log, apply, background } = parts;
        let shell = Arc::new(Shell {
            queues,
            relay: Relay::new(),
            patience: tick / 2,
            log: Workplace::new(log),
            apply: Workplace::new(apply),
            running: Running::default(),
        });
        let mut threads = Threads { shell, joins: Vec::new() };
        threads.spawn("background", move |shell| shell.work(background))?;
        threads.spawn("apply", |shell| shell.apply())?;
        threads.spawn("standby", |shell| shell.drive(None))?;
        threads.spawn("driver", move |shell| shell.drive(Some(Box::new(driver))))?;
        Ok(threads)
    }

    fn spawn(&mut self, name: &str, run: impl FnOnce(&Shell) + Send + 'static) -> std::io::Result<()> {
        let shell = self.shell.clone();
        shell.running.add();
        let run = move || {
            run(&shell);
            shell.running.remove();
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
        self.joins.push(thread?);
        Ok(())
    }

    /// Refuses new requests, answers what is in flight, and ends the threads. Returns the state for a last checkpoint,
    /// unless its disk failed or keeps a thread for too long: such a thread ends with the process.
    pub(crate) fn stop(self) -> Option<State> {
        let Threads { shell, joins } = self;
        shell.shared().inbox.push_always(DriverMessage::Stop);
        if !shell.running.wait_for_end(STOP_THREADS_MAX) {
            tracing::warn!("stop: a disk does not return; the next start applies the log instead of a last checkpoint");
            return None;
        }
        for thread in joins {
            // A thread that died has said why.
            let _ = thread.join();
        }
        let seat = shell.apply.with(Option::take);
        seat.map(|seat| seat.part.into_state())
    }
}

impl Shell {
    fn shared(&self) -> &Shared {
        &self.queues.shared
    }

    fn now(&self) -> Duration {
        self.shared().clock.monotonic()
    }

    /// The driver's thread and its standby.
    fn drive(&self, mut holding: Option<Box<DriverSeat>>) {
        loop {
            let seat = holding.take().or_else(|| self.relay.take_over(self.patience, || self.now()));
            let Some(seat) = seat else { return };
            if self.pump(seat) == Pumped::Stopped {
                return;
            }
        }
    }

    fn pump(&self, mut seat: Box<DriverSeat>) -> Pumped {
        loop {
            let mut wait = seat.part.due().saturating_sub(self.now());
            if seat.part.log_is_stalled() {
                wait = wait.min(DISK_RETRY_INTERVAL);
            }
            self.shared().inbox.wait(wait);
            let step = self.queues.step_driver(&mut seat, self.now());
            if step.stopped {
                self.end(*seat);
                return Pumped::Stopped;
            }
            let to_log = seat.part.log_is_stalled() || !self.queues.log.is_empty();
            if step.has_turn || to_log {
                self.relay.put_down(seat, self.now());
                // Apply first: its thread works while this one waits for the disk.
                if step.has_turn {
                    self.run_apply();
                }
                if to_log {
                    self.run_log();
                }
                let Some(taken) = self.relay.pick_up() else { return Pumped::Lost };
                seat = taken;
            }
        }
    }

    /// Does what the log is asked for, unless somebody is at it. While it is stalled, trying again is for later.
    fn run_log(&self) {
        self.log.work_off(|| !self.queues.log.is_empty(), |seat| !self.queues.step_log(seat));
    }

    /// Applies a lone small entry, and leaves everything else to the apply thread.
    fn run_apply(&self) {
        self.apply.try_with(|cell| self.queues.step_apply_lone(cell));
        self.queues.apply.wake();
    }

    /// Everything taken is durable, or cannot be made so.
    fn end(&self, seat: DriverSeat) {
        self.shared().inbox.abandon();
        self.queues.apply.push_always(ApplyMessage::Stop);
        self.relay.end();
        // What was not committed is answered.
        drop(seat);
        match self.log.try_with(Option::take) {
            Some(log) => log.into_iter().for_each(|log| log.part.close()),
            None => self.running.leave_one(),
        }
    }

    fn apply(&self) {
        let mut next = Next::Wait;
        loop {
            let wait = match next {
                Next::Again => Duration::ZERO,
                Next::Retry => DISK_RETRY_INTERVAL,
                Next::Wait => Duration::from_secs(3600),
                Next::Stop => break,
            };
            self.queues.apply.wait(wait);
            // Taken from the queue only with the part in hand, so that nobody steps it with what came later.
            next = self.apply.with(|cell| self.queues.step_apply(cell));
        }
        self.queues.jobs.abandon();
    }

    fn work(&self, mut seat: BackgroundSeat) {
        io::give_way();
        loop {
            let wait = if seat.part.has_work() { Duration::ZERO } else { BACKGROUND_INTERVAL };
            if !self.queues.jobs.wait(wait) || !self.queues.step_background(&mut seat) {
                return;
            }
        }
    }
}

/// How a thread's turn at the driver ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pumped {
    /// The other thread has it.
    Lost,
    Stopped,
}

/// Counts threads that have not ended.
#[derive(Default)]
struct Running {
    count: Mutex<Count>,
    changed: Condvar,
}

#[derive(Default)]
struct Count {
    running: usize,
    /// A disk keeps the other thread of the driver: it ends with the process.
    leaves_one: bool,
}

impl Running {
    fn add(&self) {
        lock(&self.count).running += 1;
    }

    fn remove(&self) {
        lock(&self.count).running -= 1;
        self.changed.notify_all();
    }

    fn leave_one(&self) {
        lock(&self.count).leaves_one = true;
        self.changed.notify_all();
    }

    /// True once all threads have ended, false when one is to be left or after `timeout`.
    fn wait_for_end(&self, timeout: Duration) -> bool {
        let is_waiting = |count: &mut Count| count.running > usize::from(count.leaves_one);
        let waited = self.changed.wait_timeout_while(lock(&self.count), timeout, is_waiting);
        waited.map_or_else(|poisoned| poisoned.into_inner().0.running, |(count, _)| count.running) == 0
    }
}
