//! A member without threads: whoever holds it says which part is stepped next. A simulation runs many of them in one
//! thread, in any order, from a seed; the parts and the queues between them are those that `threads` runs.
//!
//! A part that is not stepped stands for a thread that the machine does not run, and the log for a disk that does not
//! answer.

use crate::apply::Next;
use crate::handle::Handle;
use crate::messages::{ApplyMessage, DriverMessage};
use crate::open::StartError;
use crate::parts::{ApplySeat, BackgroundSeat, DriverSeat, LogSeat, Parts, Queues};
use crate::start::{Config, assemble, write_last_checkpoint};
use io::{Clock, Disk, Rng};
use std::sync::Arc;
use store::DataDir;

/// What can be stepped by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Driver,
    Log,
    Apply,
    Background,
}

impl Part {
    pub const ALL: [Part; 4] = [Part::Driver, Part::Log, Part::Apply, Part::Background];
}

/// See the file's head. Dropping it is what a kill does to a process.
pub struct Stepped {
    handle: Handle,
    queues: Queues,
    driver: DriverSeat,
    log: LogSeat,
    /// `None` once it failed.
    apply: Option<ApplySeat>,
    apply_next: Next,
    /// `None` once it failed.
    background: Option<BackgroundSeat>,
    stopped: bool,
    _data_dir: DataDir,
}

impl Stepped {
    /// Opens everything as `Node::start` does.
    pub fn open(
        config: Config,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        rng: &mut dyn Rng,
    ) -> Result<Stepped, StartError> {
        let (parts, queues, data_dir) = assemble(config, disk, clock, rng)?;
        let Parts { driver, log, apply, background } = parts;
        Ok(Stepped {
            handle: Handle::new(queues.shared.clone()),
            queues,
            driver,
            log,
            apply: Some(apply),
            apply_next: Next::Wait,
            background: Some(background),
            stopped: false,
            _data_dir: data_dir,
        })
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// True if a thread would step the part now.
    pub fn has_work(&self, part: Part) -> bool {
        let shared = &self.queues.shared;
        match part {
            Part::Driver => {
                !self.stopped && (!shared.inbox.is_empty() || shared.clock.monotonic() >= self.driver.part.due())
            }
            Part::Log => !self.stopped && (!self.queues.log.is_empty() || self.driver.part.log_is_stalled()),
            Part::Apply => {
                let works = matches!(self.apply_next, Next::Again | Next::Retry) || !self.queues.apply.is_empty();
                self.apply.is_some() && self.apply_next != Next::Stop && works
            }
            Part::Background => {
                let has_work = |seat: &BackgroundSeat| seat.part.has_work() || !self.queues.jobs.is_empty();
                self.background.as_ref().is_some_and(has_work)
            }
        }
    }

    /// Steps the part once, whether it has work or not.
    pub fn step(&mut self, part: Part) {
        match part {
            Part::Driver if self.stopped => {}
            Part::Driver => {
                let now = self.queues.shared.clock.monotonic();
                self.stopped = self.queues.step_driver(&mut self.driver, now).stopped;
                if self.stopped {
                    self.queues.shared.inbox.abandon();
                    self.queues.apply.push_always(ApplyMessage::Stop);
                }
            }
            Part::Log => {
                self.queues.step_log(&mut self.log);
            }
            Part::Apply => self.apply_next = self.queues.step_apply(&mut self.apply),
            Part::Background => {
                if let Some(seat) = &mut self.background
                    && !self.queues.step_background(seat)
                {
                    self.background = None;
                }
            }
        }
    }

    /// Steps apply as the thread of the driver does, if what waits for it is one small entry that came alone. False if
    /// not.
    pub fn step_apply_lone(&mut self) -> bool {
        self.queues.step_apply_lone(&mut self.apply)
    }

    /// Asks for an orderly stop; it is done when `is_stopped`.
    pub fn begin_stop(&mut self) {
        self.queues.shared.inbox.push_always(DriverMessage::Stop);
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped && (self.apply.is_none() || self.apply_next == Next::Stop)
    }

    /// What follows an orderly stop: a last checkpoint, and the end of the log.
    pub fn finish(self) {
        assert!(self.is_stopped(), "the parts were stepped until they stopped");
        self.log.part.close();
        if let Some(apply) = self.apply {
            write_last_checkpoint(apply.part.into_state());
        }
    }
}
