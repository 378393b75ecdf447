//! What a watch stream has on its way: its watches, and one bounded queue of answers and events in front of the
//! client's window.
//!
//! Invariants:
//! - Answers are sent in the order in which they were queued.
//! - A stream that is full has its watchers paused; who empties it resumes them.

use super::response::{self, Fields, Response};
use crate::call::{Rim, StreamEnd, sent};
use crate::grpc::{Answers, Gone};
use crate::in_flight::{Charge, Piece};
use crate::method::Method;
use crate::status::{Code, Status};
use bytes::Bytes;
use model::Revision;
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt::Display;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};
use watch::{Delivery, WatcherId};

/// Answers and events that a stream queues before its watchers are paused and its requests left unread.
const QUEUED_ANSWERS_MAX: usize = 128;
const QUEUED_EVENTS_MAX: usize = 4096;
/// What queued events may come to hold.
const QUEUED_BYTES_MAX: u64 = 1 << 20;
/// Events up to this size are encoded at once, and once for all watchers; more are encoded as the client takes them.
const ENCODED_AT_ONCE_BYTES: usize = 64 << 10;
/// Bytes of events encoded for one stream at a time.
const PART_BYTES: usize = 64 << 10;
/// A client that takes nothing for this long has its events forgotten: they are read again when it does.
pub(super) const STALL_MAX: Duration = Duration::from_secs(10);
/// The events of an answer that has begun cannot be: after this its stream ends.
const STALL_LIMIT: Duration = Duration::from_secs(60);

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

    /// What was queued is not sent, so that it is not known from where the client would go on.
    fn forget(&mut self) {
        (self.is_queued, self.resumes_at) = (false, Revision(0));
    }

    /// Its client could not watch anew behind this compaction.
    pub(super) fn is_cut_off_by(&self, compaction: Revision) -> bool {
        self.resumes_at < compaction
    }
}

#[derive(Debug)]
pub(super) enum Queued {
    Control { message: Bytes, is_progress: bool },
    Progress { watch_id: i64, revision: Revision },
    Events { watch_id: i64, prev_kv: bool, fragment: bool, delivery: Delivery },
}

/// The front of what is sent.
pub(super) enum Part {
    Piece(Piece),
    /// Events of an answer that has begun.
    Events {
        delivery: Delivery,
        prev_kv: bool,
        events: Range<usize>,
    },
}

impl Part {
    /// Bytes that are encoded.
    fn len(&self) -> usize {
        if let Part::Piece(piece) = self { piece.len() } else { 0 }
    }
}

type Charging = Pin<Box<dyn Future<Output = Charge>>>;

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
    queued_bytes: u64,
    /// Parts of messages that the window has not taken yet, in front of the queue.
    pub(super) sending: VecDeque<Part>,
    charging: Option<Charging>,
    /// When the client last took something, or had nothing to take.
    moved_at: Instant,
    pub(super) is_paused: bool,
    pub(super) failed: Option<Status>,
    pub(super) waker: Option<Waker>,
}

impl WatchStream {
    pub(super) fn new(answers: Answers) -> WatchStream {
        WatchStream { inner: RefCell::new(Inner::new(Some(answers))) }
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
        inner.queued_bytes += delivery.events.weight();
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
        inner.control(rim, Revision(0), fields, false);
        inner.send_now(rim);
    }
}

impl Inner {
    fn new(answers: Option<Answers>) -> Inner {
        Inner {
            answers,
            watches: HashMap::new(),
            next_id: 0,
            queue: VecDeque::new(),
            queued_events: 0,
            queued_bytes: 0,
            sending: VecDeque::new(),
            charging: None,
            moved_at: Instant::now(),
            is_paused: false,
            failed: None,
            waker: None,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.queue.len() > QUEUED_ANSWERS_MAX
            || self.queued_events > QUEUED_EVENTS_MAX
            || self.queued_bytes > QUEUED_BYTES_MAX
    }

    /// Nothing waits for the client to take it.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty()
            && self.sending.is_empty()
            && self.answers.as_ref().is_some_and(|answers| !answers.account().is_crowded())
    }

    pub(super) fn control(&mut self, rim: &Rim, revision: Revision, fields: Fields<'_>, is_progress: bool) {
        let message = response::control(rim.identity(), rim.stamp(revision), fields);
        self.queue.push_back(Queued::Control { message, is_progress });
    }

    /// How long the client has taken nothing of what waits.
    pub(super) fn stalled(&self) -> Duration {
        let waits = !self.queue.is_empty() || !self.sending.is_empty();
        if waits { self.moved_at.elapsed() } else { Duration::ZERO }
    }

    /// Forgets the events that wait, which pin memory and removed files. Returns for each watcher of whom there were
    /// some from where on; the caller has paused all of them.
    pub(super) fn forget_events(&mut self, rim: &Rim) -> Result<Vec<(WatcherId, Revision)>, Status> {
        let is_begun = self.sending.iter().any(|part| matches!(part, Part::Events { .. }));
        if is_begun && self.stalled() >= STALL_LIMIT {
            let text = format!(
                "bowline: the events of this watch were not read for {}s; watch again from the revision after the last one \
                 that was read",
                STALL_LIMIT.as_secs()
            );
            return Err(Status::new(Code::ResourceExhausted, text));
        }
        let mut forgotten: Vec<(WatcherId, Revision)> = Vec::new();
        // A progress answer that was queued behind events must not come without them.
        self.queue.retain(|queued| match queued {
            Queued::Control { is_progress, .. } => !is_progress,
            Queued::Progress { .. } => false,
            Queued::Events { delivery, .. } => {
                if !forgotten.iter().any(|(watcher, _)| *watcher == delivery.watcher) {
                    forgotten.push((delivery.watcher, delivery.events.first_revision()));
                }
                false
            }
        });
        self.watches.values_mut().filter_map(|watch| watch.progress.as_mut()).for_each(Progress::forget);
        rim.metrics.pending_events.add(-(self.queued_events as i64));
        (self.queued_events, self.queued_bytes) = (0, 0);
        Ok(forgotten)
    }

    /// The events of a watch that is gone.
    pub(super) fn drop_events_of(&mut self, rim: &Rim, watch_id: i64) {
        let (mut events, mut bytes) = (0, 0);
        self.queue.retain(|queued| match queued {
            Queued::Events { watch_id: of, delivery, .. } if *of == watch_id => {
                events += delivery.events.len();
                bytes += delivery.events.weight();
                false
            }
            Queued::Progress { watch_id: of, .. } => *of != watch_id,
            _ => true,
        });
        self.queued_events -= events;
        self.queued_bytes -= bytes;
        rim.metrics.pending_events.add(-(events as i64));
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
            if self.queue.is_empty() {
                return;
            }
            let Some(answers) = &mut self.answers else { return };
            if !answers.takes(1) {
                break;
            }
            self.begin(rim);
            let bytes = self.sending.iter().map(Part::len).sum();
            let Some(answers) = &mut self.answers else { return };
            if answers.takes(bytes) {
                while let Some(Part::Piece(_)) = self.sending.front() {
                    let Some(Part::Piece(piece)) = self.sending.pop_front() else { break };
                    // A client that is gone ends the stream's task.
                    if answers.send_now(piece).is_err() {
                        break;
                    }
                }
                self.moved_at = Instant::now();
            }
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Turns the front of the queue into what is sent.
    fn begin(&mut self, rim: &Rim) {
        match self.queue.pop_front() {
            None => {}
            Some(Queued::Control { message, .. }) => {
                sent(rim, Method::Watch, message.len());
                self.put_in_front(message);
            }
            Some(Queued::Progress { watch_id, revision }) => {
                if let Some(progress) = self.watches.get_mut(&watch_id).and_then(|watch| watch.progress.as_mut()) {
                    progress.is_queued = false;
                }
                let fields = Fields { watch_id, ..Fields::default() };
                let message = response::control(rim.identity(), rim.stamp(revision), fields);
                sent(rim, Method::Watch, message.len());
                self.put_in_front(message);
            }
            Some(Queued::Events { watch_id, prev_kv, fragment, delivery }) => {
                let events = delivery.events.len();
                self.queued_events -= events;
                self.queued_bytes -= delivery.events.weight();
                rim.metrics.pending_events.add(-(events as i64));
                rim.metrics.watch_events.add(events as u64);
                if prev_kv {
                    rim.node.metrics().ranges.add(reads_before(&delivery));
                }
                let bytes: usize = delivery.events.encoded_lengths(prev_kv).sum();
                if bytes > ENCODED_AT_ONCE_BYTES {
                    return self.begin_large(rim, watch_id, prev_kv, fragment, delivery);
                }
                match encode(rim, watch_id, prev_kv, fragment, &delivery) {
                    Ok(responses) => responses.into_iter().for_each(|response| self.begin_response(rim, response)),
                    Err(status) => self.failed = Some(status),
                }
            }
        }
    }

    /// The answers are as `encode` makes them, their events encoded later.
    fn begin_large(&mut self, rim: &Rim, watch_id: i64, prev_kv: bool, fragment: bool, delivery: Delivery) {
        let lengths: Vec<usize> = delivery.events.encoded_lengths(prev_kv).collect();
        let bytes_max = fragment.then(|| rim.config().message_bytes_max());
        let stamp = rim.stamp(delivery.revision);
        for cut in response::cuts(rim.identity(), stamp, watch_id, &lengths, bytes_max) {
            sent(rim, Method::Watch, cut.head.len() + cut.events_bytes);
            self.put_in_front(cut.head);
            self.sending.push_back(Part::Events { delivery: delivery.clone(), prev_kv, events: cut.events });
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
            self.sending.push_back(Part::Piece(answers.piece(bytes)));
        }
    }

    /// Sends as the window opens; ready when all is sent.
    pub(super) fn poll_send(&mut self, rim: &Rim, context: &mut Context<'_>) -> Poll<Result<(), StreamEnd>> {
        loop {
            if let Some(status) = self.failed.take() {
                return Poll::Ready(Err(status.into()));
            }
            let Some(answers) = &mut self.answers else { return Poll::Ready(Err(StreamEnd::Gone)) };
            if self.sending.is_empty() && self.queue.is_empty() {
                self.moved_at = Instant::now();
                return Poll::Ready(Ok(()));
            }
            // Nothing is encoded for a client that takes nothing.
            if let Err(gone) = ready!(answers.poll_ready(context, PART_BYTES)) {
                return Poll::Ready(Err(gone.into()));
            }
            self.moved_at = Instant::now();
            match self.sending.front_mut() {
                None => self.begin(rim),
                Some(Part::Piece(piece)) => match ready!(answers.poll_send(context, piece)) {
                    Ok(()) => drop(self.sending.pop_front()),
                    Err(gone) => return Poll::Ready(Err(gone.into())),
                },
                Some(Part::Events { .. }) => ready!(self.poll_encode(context)),
            }
        }
    }

    /// Encodes the next events of the answer that has begun, once there is memory for them.
    fn poll_encode(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(answers) = &mut self.answers else { return Poll::Ready(()) };
        let Some(Part::Events { delivery, prev_kv, events }) = self.sending.front_mut() else { return Poll::Ready(()) };
        let mut lengths = delivery.events.encoded_lengths(*prev_kv).skip(events.start);
        let bytes = lengths.next().unwrap_or_default().max(PART_BYTES);
        drop(lengths);
        let charge = match self.charging.as_mut() {
            Some(charging) => Some(ready!(charging.as_mut().poll(context))),
            None => answers.account().charge_now(bytes),
        };
        self.charging = None;
        let Some(charge) = charge else {
            let account = answers.account().clone();
            self.charging = Some(Box::pin(async move { account.charge_begun(bytes).await }));
            return Poll::Ready(());
        };
        match delivery.events.encoded_part(*prev_kv, events.start, events.end, PART_BYTES) {
            Ok((encoded, next)) => {
                events.start = next;
                if events.start == events.end {
                    self.sending.pop_front();
                }
                self.sending.push_front(Part::Piece(Piece::new(encoded, charge)));
            }
            Err(fault) => self.failed = Some(unreadable(&fault)),
        }
        Poll::Ready(())
    }

    pub(super) fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<Gone> {
        self.answers.as_mut().map_or(Poll::Ready(Gone), |answers| answers.poll_gone(context))
    }
}

/// Events for which etcd reads the pair before: all but creations.
fn reads_before(delivery: &Delivery) -> u64 {
    delivery.events.iter().filter(|event| event.has_before()).count() as u64
}

fn unreadable(fault: &impl Display) -> Status {
    Status::new(Code::DataLoss, format!("read events: {fault}"))
}

fn encode(
    rim: &Rim,
    watch_id: i64,
    prev_kv: bool,
    fragment: bool,
    delivery: &Delivery,
) -> Result<Vec<Response>, Status> {
    let unreadable = |fault| unreadable(&fault);
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
        let mut inner = Inner::new(None);
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
