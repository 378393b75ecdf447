//! What a watch stream has on its way: its watches, and one bounded queue of answers and events in front of the
//! client's window.
//!
//! Invariants:
//! - Answers are sent in the order in which they were queued.
//! - A stream that is full has its watchers paused; who empties it resumes them.

use super::response::{self, Fields, Response};
use crate::call::{Rim, StreamEnd, sent};
use crate::grpc::{Answers, Gone};
use crate::in_flight::Piece;
use crate::method::Method;
use crate::status::{Code, Status};
use bytes::Bytes;
use model::Revision;
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::task::{Context, Poll, Waker};
use watch::{Delivery, WatcherId};

/// Answers and events that a stream queues before its watchers are paused and its requests left unread.
const QUEUED_ANSWERS_MAX: usize = 128;
const QUEUED_EVENTS_MAX: usize = 4096;

/// One watch of a stream.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) watcher: WatcherId,
    pub(super) prev_kv: bool,
    pub(super) fragment: bool,
    /// If it wants progress notifications.
    pub(super) progress: Option<Progress>,
}

/// What a watch that wants progress notifications was told.
#[derive(Debug)]
pub(super) struct Progress {
    /// Nothing was sent for it since the last tick.
    pub(super) is_quiet: bool,
    /// A notification is in the queue: a client that does not read has one there, not one for each tick.
    is_queued: bool,
    /// From where its client goes on if it has to watch anew.
    resumes_at: Revision,
}

impl Progress {
    pub(super) fn new(resumes_at: Revision) -> Progress {
        Progress { is_quiet: true, is_queued: false, resumes_at }
    }

    /// Its client could not watch anew behind this compaction.
    pub(super) fn is_cut_off_by(&self, compaction: Revision) -> bool {
        self.resumes_at < compaction
    }
}

#[derive(Debug)]
pub(super) enum Queued {
    Control(Bytes),
    Progress { watch_id: i64, revision: Revision },
    Events { watch_id: i64, prev_kv: bool, fragment: bool, delivery: Delivery },
}

/// What the stream's own task and the hub's pump share.
pub(crate) struct WatchStream {
    pub(super) inner: RefCell<Inner>,
}

pub(super) struct Inner {
    /// Taken when the stream has ended.
    pub(super) answers: Option<Answers>,
    pub(super) watches: HashMap<i64, Watch>,
    pub(super) next_id: i64,
    pub(super) queue: VecDeque<Queued>,
    pub(super) queued_events: usize,
    /// Parts of messages that the window has not taken yet, in front of the queue.
    pub(super) sending: VecDeque<Piece>,
    pub(super) is_paused: bool,
    pub(super) failed: Option<Status>,
    pub(super) waker: Option<Waker>,
}

impl WatchStream {
    pub(super) fn new(answers: Answers) -> WatchStream {
        let inner = Inner {
            answers: Some(answers),
            watches: HashMap::new(),
            next_id: 0,
            queue: VecDeque::new(),
            queued_events: 0,
            sending: VecDeque::new(),
            is_paused: false,
            failed: None,
            waker: None,
        };
        WatchStream { inner: RefCell::new(inner) }
    }

    /// Takes events for one of its watches. Returns the watchers to pause if that filled the stream.
    #[must_use]
    pub(super) fn deliver(&self, rim: &Rim, watch_id: i64, delivery: Delivery) -> Vec<WatcherId> {
        let inner = &mut *self.inner.borrow_mut();
        let Some(watch) = inner.watches.get_mut(&watch_id) else { return Vec::new() };
        if let Some(progress) = &mut watch.progress {
            progress.is_quiet = false;
            progress.resumes_at = Revision(delivery.events.last_revision().0 + 1);
        }
        let (prev_kv, fragment) = (watch.prev_kv, watch.fragment);
        rim.metrics.pending_events.add(delivery.events.len() as i64);
        inner.queued_events += delivery.events.len();
        inner.queue.push_back(Queued::Events { watch_id, prev_kv, fragment, delivery });
        inner.send_now(rim);
        if inner.is_full() && !inner.is_paused {
            inner.is_paused = true;
            return inner.watches.values().map(|watch| watch.watcher).collect();
        }
        Vec::new()
    }

    /// Tells a watch that wants to hear of it how far it came, if its client could not go on behind the compaction.
    pub(super) fn progress_before(&self, rim: &Rim, watch_id: i64, compaction: Revision, revision: Revision) {
        let inner = &mut *self.inner.borrow_mut();
        let progress = inner.watches.get(&watch_id).and_then(|watch| watch.progress.as_ref());
        if progress.is_some_and(|progress| progress.is_cut_off_by(compaction)) {
            inner.progress(watch_id, revision);
            inner.send_now(rim);
        }
    }

    /// The history that a watch needs is gone. Its id stays taken, and progress of the stream unanswered, until the
    /// client cancels it: so does etcd.
    pub(super) fn cancel_compacted(&self, rim: &Rim, watch_id: i64, compacted: Revision) {
        let inner = &mut *self.inner.borrow_mut();
        let fields = Fields { watch_id, canceled: true, compact_revision: compacted.0, ..Fields::default() };
        inner.control(rim, Revision(0), fields);
        inner.send_now(rim);
    }
}

impl Inner {
    pub(super) fn is_full(&self) -> bool {
        self.queue.len() > QUEUED_ANSWERS_MAX || self.queued_events > QUEUED_EVENTS_MAX
    }

    pub(super) fn control(&mut self, rim: &Rim, revision: Revision, fields: Fields<'_>) {
        let message = response::control(rim.identity(), rim.stamp(revision), fields);
        self.queue.push_back(Queued::Control(message));
    }

    /// Queues a notification, unless one is there.
    pub(super) fn progress(&mut self, watch_id: i64, revision: Revision) {
        let progress = self.watches.get_mut(&watch_id).and_then(|watch| watch.progress.as_mut());
        if let Some(progress) = progress.filter(|progress| !progress.is_queued) {
            progress.is_queued = true;
            progress.resumes_at = Revision(revision.0 + 1);
            self.queue.push_back(Queued::Progress { watch_id, revision });
        }
    }

    /// Sends what the window takes, without waiting; wakes the stream's task to do the rest.
    fn send_now(&mut self, rim: &Rim) {
        while self.sending.is_empty() && self.failed.is_none() {
            let Some(queued) = self.queue.pop_front() else { return };
            self.begin(rim, queued);
            let bytes = self.sending.iter().map(Piece::len).sum();
            let Some(answers) = &mut self.answers else { return };
            if answers.takes(bytes) {
                while let Some(part) = self.sending.pop_front() {
                    // A client that is gone ends the stream's task.
                    if answers.send_now(part).is_err() {
                        break;
                    }
                }
            }
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Turns the front of the queue into bytes.
    fn begin(&mut self, rim: &Rim, queued: Queued) {
        match queued {
            Queued::Control(message) => {
                sent(rim, Method::Watch, message.len());
                self.put_in_front(message);
            }
            Queued::Progress { watch_id, revision } => {
                if let Some(progress) = self.watches.get_mut(&watch_id).and_then(|watch| watch.progress.as_mut()) {
                    progress.is_queued = false;
                }
                let fields = Fields { watch_id, ..Fields::default() };
                let message = response::control(rim.identity(), rim.stamp(revision), fields);
                self.begin(rim, Queued::Control(message));
            }
            Queued::Events { watch_id, prev_kv, fragment, delivery } => {
                let events = delivery.events.len();
                self.queued_events -= events;
                rim.metrics.pending_events.add(-(events as i64));
                rim.metrics.watch_events.add(events as u64);
                if prev_kv {
                    rim.node.metrics().ranges.add(reads_before(&delivery));
                }
                match encode(rim, watch_id, prev_kv, fragment, &delivery) {
                    Ok(responses) => responses.into_iter().for_each(|response| self.begin_response(rim, response)),
                    Err(status) => self.failed = Some(status),
                }
            }
        }
    }

    fn begin_response(&mut self, rim: &Rim, response: Response) {
        sent(rim, Method::Watch, response.bytes());
        self.put_in_front(response.head);
        if !response.events.is_empty() {
            self.put_in_front(response.events);
        }
    }

    fn put_in_front(&mut self, bytes: Bytes) {
        if let Some(answers) = &self.answers {
            self.sending.push_back(answers.piece(bytes));
        }
    }

    /// Sends as the window opens; ready when all is sent.
    pub(super) fn poll_send(&mut self, rim: &Rim, context: &mut Context<'_>) -> Poll<Result<(), StreamEnd>> {
        loop {
            if let Some(status) = self.failed.take() {
                return Poll::Ready(Err(status.into()));
            }
            let Some(answers) = &mut self.answers else { return Poll::Ready(Err(StreamEnd::Gone)) };
            if let Some(part) = self.sending.front_mut() {
                match answers.poll_send(context, part) {
                    Poll::Ready(Ok(())) => drop(self.sending.pop_front()),
                    Poll::Ready(Err(gone)) => return Poll::Ready(Err(gone.into())),
                    Poll::Pending => return Poll::Pending,
                }
            } else if let Some(queued) = self.queue.pop_front() {
                self.begin(rim, queued);
            } else {
                return Poll::Ready(Ok(()));
            }
        }
    }

    pub(super) fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<Gone> {
        self.answers.as_mut().map_or(Poll::Ready(Gone), |answers| answers.poll_gone(context))
    }
}

/// Events for which etcd reads the pair before: all but creations.
fn reads_before(delivery: &Delivery) -> u64 {
    delivery.events.iter().filter(|event| event.has_before()).count() as u64
}

fn encode(
    rim: &Rim,
    watch_id: i64,
    prev_kv: bool,
    fragment: bool,
    delivery: &Delivery,
) -> Result<Vec<Response>, Status> {
    let unreadable = |fault| Status::new(Code::DataLoss, format!("read events: {fault}"));
    let stamp = rim.stamp(delivery.revision);
    if fragment {
        let events = delivery.events.encoded_each(prev_kv).map_err(unreadable)?;
        let bytes_max = rim.config().message_bytes_max();
        return Ok(response::fragments(rim.identity(), stamp, watch_id, &events, bytes_max));
    }
    let events = delivery.events.encoded(prev_kv).map_err(unreadable)?;
    let fields = Fields { watch_id, ..Fields::default() };
    Ok(vec![response::whole(rim.identity(), stamp, fields, events)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::KeyRange;
    use watch::{EventLog, Limits, Registry, Spec};

    /// Its client does not read, and time goes on.
    #[test]
    fn of_notifications_that_are_not_sent_one_is_queued_for_each_watch() {
        let mut registry = Registry::new(EventLog::new(Revision(1), Limits::default()).into());
        let mut inner = Inner {
            answers: None,
            watches: HashMap::new(),
            next_id: 0,
            queue: VecDeque::new(),
            queued_events: 0,
            sending: VecDeque::new(),
            is_paused: false,
            failed: None,
            waker: None,
        };
        for watch_id in 0..3 {
            let range = KeyRange::all();
            let spec = Spec { range, start_revision: Revision(0), no_put: false, no_delete: false };
            let watcher = registry.create(spec, Revision(1)).expect("created");
            let progress = (watch_id > 0).then(|| Progress::new(Revision(1)));
            inner.watches.insert(watch_id, Watch { watcher, prev_kv: false, fragment: false, progress });
        }
        for revision in 2..100 {
            (0..4).for_each(|watch_id| inner.progress(watch_id, Revision(revision)));
        }
        let queued: Vec<_> = inner.queue.iter().map(|queued| format!("{queued:?}")).collect();
        let expected = [1, 2].map(|watch_id| format!("Progress {{ watch_id: {watch_id}, revision: Revision(2) }}"));
        assert_eq!(queued, expected);
    }
}
