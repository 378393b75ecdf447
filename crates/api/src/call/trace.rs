//! Where a call's time goes, and what else is told about it once it has ended.
//!
//! ```text
//! receive          headers ──▶ the whole request
//! queue sync apply a proposal, as the node says      read index   a linearizable read that waits for its round
//! read             keys looked up and values read from the store, on this thread
//! send             the client's window, behind the answer    other   the rest: the thread's other work, above all
//! ```
//! Invariants: the stages do not overlap, and `other` is what they leave: together they are the whole. What was waited
//! for when the client gave up is booked where it was waited for.
//!
//! The clock of reads belongs to the thread and goes on with every read of any call; a call takes the part of it that
//! passed while the call itself ran (`traced`).

use crate::metrics::RequestType;
use node::{Handle, Timings, Waiting};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::{Duration, Instant};

thread_local! {
    static READ: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Reads from the store, on the clock of reads.
pub(crate) fn reading<T>(read: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = read();
    READ.set(READ.get() + started.elapsed());
    result
}

/// See the file's head. Cells, because a call's parts hold it while others of its thread run.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) request: Cell<Option<RequestType>>,
    /// The log took no entry for it.
    pub(crate) is_refused: Cell<bool>,
    /// Keys in the answer, for the log.
    pub(crate) answer_count: Cell<u64>,
    started: Instant,
    received: Cell<Option<Instant>>,
    proposed: Cell<Timings>,
    read_index: Cell<Duration>,
    read: Cell<Duration>,
    /// What it waits for, since when.
    waits: Cell<Option<(Wait, Instant)>>,
    answered: Cell<Option<Instant>>,
    /// Spent on its thread since it was answered.
    busy: Cell<Duration>,
    /// While it runs: since when, and the clock of reads then.
    runs: Cell<Option<(Instant, Duration)>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    ReadIndex,
    Proposal,
}

/// How long each stage took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stages {
    pub(crate) receive: Duration,
    pub(crate) queue: Duration,
    pub(crate) read_index: Duration,
    pub(crate) sync: Duration,
    pub(crate) apply: Duration,
    pub(crate) read: Duration,
    pub(crate) send: Duration,
    pub(crate) other: Duration,
}

impl Trace {
    pub(crate) fn new(started: Instant) -> Trace {
        Trace {
            request: Cell::default(),
            is_refused: Cell::default(),
            answer_count: Cell::default(),
            started,
            received: Cell::default(),
            proposed: Cell::default(),
            read_index: Cell::default(),
            read: Cell::default(),
            waits: Cell::default(),
            answered: Cell::default(),
            busy: Cell::default(),
            runs: Cell::default(),
        }
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// The whole request is there.
    pub(crate) fn received(&self) {
        self.received.set(Some(Instant::now()));
    }

    /// The answer is made, or its first part: what it waits for now is its client.
    pub(crate) fn answered(&self) {
        let now = Instant::now();
        if let Some((_, read_clock)) = self.runs.get() {
            self.read.set(self.read.get() + (READ.get() - read_clock));
            self.runs.set(Some((now, READ.get())));
        }
        self.answered.set(Some(now));
    }

    pub(crate) fn proposed(&self, timings: Timings) {
        self.proposed.set(timings);
    }

    /// Waits for something that is not the call's own work.
    pub(crate) async fn waiting<T>(&self, wait: Wait, future: impl Future<Output = T>) -> T {
        let started = Instant::now();
        self.waits.set(Some((wait, started)));
        let result = future.await;
        self.waits.set(None);
        if wait == Wait::ReadIndex {
            self.read_index.set(self.read_index.get() + started.elapsed());
        }
        result
    }

    /// The call's own work begins.
    pub(crate) fn resume(&self) {
        self.runs.set(Some((Instant::now(), READ.get())));
    }

    /// It ends for now.
    pub(crate) fn pause(&self) {
        let Some((since, read_clock)) = self.runs.take() else { return };
        self.read.set(self.read.get() + (READ.get() - read_clock));
        if self.answered.get().is_some() {
            self.busy.set(self.busy.get() + since.elapsed());
        }
    }

    /// Drives a part of the call.
    pub(crate) async fn traced<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        poll_fn(|context| {
            self.resume();
            let polled = future.as_mut().poll(context);
            self.pause();
            polled
        })
        .await
    }

    /// The stages of a call that has taken so long.
    pub(crate) fn stages(&self, node: &Handle, took: Duration) -> Stages {
        self.pause();
        let Timings { mut queue, mut sync, mut apply } = self.proposed.get();
        let mut read_index = self.read_index.get();
        if let Some((wait, since)) = self.waits.get() {
            let stage = match wait {
                Wait::ReadIndex => &mut read_index,
                Wait::Proposal => match node.waiting(since.elapsed()) {
                    Waiting::Queue => &mut queue,
                    Waiting::Sync => &mut sync,
                    Waiting::Apply => &mut apply,
                },
            };
            *stage += since.elapsed();
        }
        let receive = self.received.get().map_or(took, |received| received - self.started);
        let read = self.read.get();
        let send = self.answered.get().map_or(Duration::ZERO, |answered| answered.elapsed());
        let send = send.saturating_sub(self.busy.get());
        let known = receive + queue + read_index + sync + apply + read + send;
        Stages { receive, queue, read_index, sync, apply, read, send, other: took.saturating_sub(known) }
    }
}
