//! The watch protocol of one stream: requests in, one ordered queue of answers out.
//!
//! ```text
//! create, cancel, progress ──▶ answers ──┐
//! events from the hub ───────────────────┴──▶ queue ──▶ the client's window
//! ```
//!
//! Invariants:
//! - The answer to a creation is queued before the watcher can have any event, so that it is also sent before.
//! - Answers are sent in the order in which they were queued; a progress answer is queued only when all events up to
//!   its revision were.
//! - The queue is bounded: a stream that is full pauses its watchers, which go on from where they were once it is
//!   empty, and its requests are not read meanwhile.

mod hub;
mod notice;
mod response;
mod stream;

pub(crate) use hub::{WatchHub, pump};

use crate::call::{Handled, Rim, StreamCall, StreamEnd, decode_streamed, received};
use crate::grpc::Messages;
use crate::method::Method;
use crate::metrics::StreamApi;
use bytes::Bytes;
use model::{KeyRange, Revision};
use proto::etcdserverpb as pb;
use response::{Fields, NO_WATCH};
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use stream::{Progress, STALL_MAX, Watch, WatchStream};
use tokio::time::{Instant, Sleep};
use watch::{CreateError, Spec};

/// Shortest time between progress notifications.
const PROGRESS_INTERVAL_MIN: Duration = Duration::from_millis(100);

const DUPLICATE_ID: &str = "mvcc: duplicate watch ID provided on the WatchStream";
const EMPTY_RANGE: &str = "mvcc: watcher range is empty";
const NEGATIVE_REVISION: &str = "etcdserver: mvcc: required revision has been compacted";

/// Serves a stream to its end.
pub(crate) async fn serve(call: StreamCall, hub: &Rc<WatchHub>) -> Handled {
    let StreamCall { rim, messages, answers, mut outside, .. } = call;
    let stream = Rc::new(WatchStream::new(answers));
    rim.metrics.watch_streams.add(1);
    let mut task = Task {
        rim: rim.clone(),
        hub: hub.clone(),
        stream: stream.clone(),
        messages,
        requests_ended: false,
        ticker: Ticker::new(rim.config().watch_progress_interval),
        stall: None,
    };
    let result = tokio::select! {
        biased;
        status = outside.wait() => Err(StreamEnd::Refused(status)),
        end = poll_fn(|context| task.poll(context)) => Err(end),
    };
    drop(task);
    if matches!(&result, Err(StreamEnd::Refused(_))) {
        rim.metrics.stream_failed(StreamApi::Watch, false);
    }
    let inner = &mut *stream.inner.borrow_mut();
    for (_, watch) in inner.watches.drain() {
        hub.cancel(watch.watcher);
        hub.add_progress(-i64::from(watch.progress.is_some()));
    }
    rim.metrics.pending_events.add(-(inner.queued_events as i64));
    rim.metrics.watch_streams.add(-1);
    let answers = inner.answers.take().expect("only this function takes it");
    (answers, result)
}

/// A stream's own task.
struct Task {
    rim: Rc<Rim>,
    hub: Rc<WatchHub>,
    stream: Rc<WatchStream>,
    messages: Messages,
    requests_ended: bool,
    ticker: Ticker,
    /// Runs while the client takes nothing.
    stall: Option<Pin<Box<Sleep>>>,
}

impl Task {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<StreamEnd> {
        loop {
            let sent = {
                let inner = &mut *self.stream.inner.borrow_mut();
                // While requests are read, that tells of a client that is gone. Asking the sending side too would have
                // this task woken with every event that is sent.
                if self.requests_ended
                    && let Poll::Ready(gone) = inner.poll_gone(context)
                {
                    return Poll::Ready(gone.into());
                }
                let sent = inner.poll_send(&self.rim, context);
                if let Poll::Ready(Err(end)) = sent {
                    return Poll::Ready(end);
                }
                inner.waker = Some(context.waker().clone());
                if sent.is_ready() && std::mem::take(&mut inner.is_paused) {
                    self.hub.resume(inner.watches.values().map(|watch| watch.watcher));
                }
                sent
            };
            if self.ticker.poll(context).is_ready() {
                self.tick();
                continue;
            }
            if let Poll::Ready(Err(end)) = self.poll_stalled(sent.is_ready(), context) {
                return Poll::Ready(end);
            }
            if self.requests_ended || (sent.is_pending() && self.stream.inner.borrow().is_full()) {
                return Poll::Pending;
            }
            match self.messages.poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(Some(message))) => {
                    received(&self.rim, Method::Watch, message.len());
                    match decode_streamed(message) {
                        Ok(request) => self.request(request),
                        Err(status) => return Poll::Ready(status.into()),
                    }
                }
                // A client that has no more requests still gets its events.
                Poll::Ready(Ok(None)) => self.requests_ended = true,
                Poll::Ready(Err(error)) => return Poll::Ready(error.into()),
            }
        }
    }

    /// While the client takes nothing: forgets its events every now and then.
    fn poll_stalled(&mut self, is_sent: bool, context: &mut Context<'_>) -> Poll<Result<(), StreamEnd>> {
        if is_sent {
            self.stall = None;
            return Poll::Pending;
        }
        loop {
            let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALL_MAX)));
            ready!(stall.as_mut().poll(context));
            self.stall = None;
            let inner = &mut *self.stream.inner.borrow_mut();
            if inner.stalled() < STALL_MAX {
                continue;
            }
            self.hub.pause(inner.watches.values().map(|watch| watch.watcher));
            inner.is_paused = true;
            match inner.forget_events(&self.rim) {
                Ok(forgotten) => self.hub.rewind(forgotten),
                Err(status) => return Poll::Ready(Err(status.into())),
            }
        }
    }

    fn request(&mut self, request: pb::WatchRequest) {
        use pb::watch_request::RequestUnion;
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => self.create(request),
            Some(RequestUnion::CancelRequest(request)) => self.cancel(request.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => self.progress_of_all(),
            None => {}
        }
    }

    fn create(&mut self, request: pb::WatchCreateRequest) {
        let current = self.rim.node.view().revision();
        let (watch_id, cancel_reason) = match self.try_create(request, current) {
            Ok(watch_id) => (watch_id, ""),
            Err(reason) => (NO_WATCH, reason),
        };
        let canceled = !cancel_reason.is_empty();
        let fields = Fields { watch_id, created: true, canceled, cancel_reason, ..Fields::default() };
        self.stream.inner.borrow_mut().control(&self.rim, current, fields, false);
    }

    /// The id of the new watch, or why there is none.
    fn try_create(&mut self, request: pb::WatchCreateRequest, current: Revision) -> Result<i64, &'static str> {
        use pb::watch_create_request::FilterType;
        if request.start_revision < 0 {
            return Err(NEGATIVE_REVISION);
        }
        let key = if request.key.is_empty() { Bytes::from_static(&[0]) } else { request.key.clone() };
        let range = KeyRange::from_wire(key, request.range_end.clone());
        if range.is_empty() {
            return Err(EMPTY_RANGE);
        }
        let watch_id = self.choose_id(request.watch_id)?;
        let spec = Spec {
            range,
            start_revision: Revision(request.start_revision),
            no_put: request.filters().any(|filter| filter == FilterType::Noput),
            no_delete: request.filters().any(|filter| filter == FilterType::Nodelete),
        };
        let created = self.hub.create(spec, current, &self.stream, watch_id);
        let watcher = created.map_err(|error| match error {
            CreateError::EmptyRange => EMPTY_RANGE,
            CreateError::Compacted => NEGATIVE_REVISION,
        })?;
        let inner = &mut *self.stream.inner.borrow_mut();
        let resumes_at = if request.start_revision == 0 { current } else { Revision(request.start_revision) };
        let progress = request.progress_notify.then(|| Progress::new(resumes_at));
        if inner.is_paused {
            self.hub.pause([watcher].into_iter());
        }
        inner
            .watches
            .insert(watch_id, Watch { watcher, prev_kv: request.prev_kv, fragment: request.fragment, progress });
        if request.progress_notify {
            self.ticker.start();
            self.hub.add_progress(1);
        }
        Ok(watch_id)
    }

    fn choose_id(&self, asked: i64) -> Result<i64, &'static str> {
        let inner = &mut *self.stream.inner.borrow_mut();
        if asked != 0 {
            return if inner.watches.contains_key(&asked) { Err(DUPLICATE_ID) } else { Ok(asked) };
        }
        while inner.watches.contains_key(&inner.next_id) {
            inner.next_id += 1;
        }
        let id = inner.next_id;
        inner.next_id += 1;
        Ok(id)
    }

    fn cancel(&mut self, watch_id: i64) {
        let inner = &mut *self.stream.inner.borrow_mut();
        let Some(watch) = inner.watches.remove(&watch_id) else { return };
        self.hub.cancel(watch.watcher);
        self.hub.add_progress(-i64::from(watch.progress.is_some()));
        inner.drop_events_of(&self.rim, watch_id);
        let current = self.rim.node.view().revision();
        inner.control(&self.rim, current, Fields { watch_id, canceled: true, ..Fields::default() }, false);
    }

    /// Answered only if every watch of the stream is in step; otherwise the client asks again.
    fn progress_of_all(&mut self) {
        self.hub.deliver_new(&self.rim);
        let inner = &mut *self.stream.inner.borrow_mut();
        let progress: Option<Vec<Revision>> =
            inner.watches.values().map(|watch| self.hub.progress(watch.watcher)).collect();
        let Some(revision) = progress.and_then(|revisions| revisions.into_iter().min()) else { return };
        inner.control(&self.rim, revision, Fields { watch_id: NO_WATCH, ..Fields::default() }, true);
    }

    /// Tells the progress of watches that asked for it and heard nothing since the last tick. What would wait for a
    /// client that does not read would be old when it came, and without end.
    fn tick(&mut self) {
        self.hub.deliver_new(&self.rim);
        let inner = &mut *self.stream.inner.borrow_mut();
        if !inner.is_idle() {
            return;
        }
        let mut notified = Vec::new();
        for (&watch_id, watch) in &mut inner.watches {
            let Some(progress) = &mut watch.progress else { continue };
            if std::mem::replace(&mut progress.is_quiet, true)
                && let Some(revision) = self.hub.progress(watch.watcher)
            {
                notified.push((watch_id, revision));
            }
        }
        for (watch_id, revision) in notified {
            inner.progress(watch_id, revision);
        }
    }
}

/// Ticks in a rhythm that begins with the stream; sleeps until somebody wants to hear it.
struct Ticker {
    period: Duration,
    next: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Ticker {
    /// Up to a tenth is added, so that streams that begin together do not tick together.
    fn new(interval: Duration) -> Ticker {
        let interval = interval.max(PROGRESS_INTERVAL_MIN);
        let jitter_ms_max = u64::try_from(interval.as_millis() / 10).unwrap_or(u64::MAX).max(1);
        let jitter = Duration::from_millis(RandomState::new().build_hasher().finish() % jitter_ms_max);
        let period = interval + jitter;
        Ticker { period, next: Instant::now() + period, sleep: None }
    }

    fn start(&mut self) {
        if self.sleep.is_none() {
            self.skip_past();
            self.sleep = Some(Box::pin(tokio::time::sleep_until(self.next)));
        }
    }

    fn skip_past(&mut self) {
        let now = Instant::now();
        while self.next <= now {
            self.next += self.period;
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(sleep) = &mut self.sleep else { return Poll::Pending };
        match sleep.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                self.skip_past();
                if let Some(sleep) = &mut self.sleep {
                    sleep.as_mut().reset(self.next);
                }
                Poll::Ready(())
            }
        }
    }
}
