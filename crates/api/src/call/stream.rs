//! A streaming call as its handler sees it: what watches, lease keep-alives and streamed ranges have in common.
//!
//! The handler owns the order of messages. It ends with a status or without one; a client that is gone ends it too, by
//! its next send or by `Call::poll_gone`.

use super::rim::{Rim, StreamSignal};
use super::trace::Trace;
use crate::grpc::{Answers, Gone, Messages, ReadError};
use crate::method::Method;
use crate::status::{self, Status};
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;
use tokio::sync::watch;

/// Why a streaming call ended before its natural end.
#[derive(Debug)]
pub(crate) enum StreamEnd {
    Refused(Status),
    /// The client is gone or gave up.
    Gone,
}

impl From<Status> for StreamEnd {
    fn from(status: Status) -> StreamEnd {
        StreamEnd::Refused(status)
    }
}

impl From<Gone> for StreamEnd {
    fn from(_: Gone) -> StreamEnd {
        StreamEnd::Gone
    }
}

impl From<ReadError> for StreamEnd {
    fn from(error: ReadError) -> StreamEnd {
        match error {
            ReadError::Refused(status) => StreamEnd::Refused(status),
            ReadError::Gone => StreamEnd::Gone,
        }
    }
}

/// A streaming call as its handler sees it.
pub(crate) struct StreamCall {
    pub(crate) rim: Rc<Rim>,
    pub(crate) method: Method,
    pub(crate) messages: Messages,
    pub(crate) answers: Answers,
    pub(crate) outside: OutsideEnd,
    pub(crate) trace: Rc<StreamTrace>,
}

/// Of a stream that answers one request: where its time goes, and what the log is told of it.
#[derive(Debug)]
pub(crate) struct StreamTrace {
    pub(crate) trace: Trace,
    pub(crate) request: RefCell<Bytes>,
    pub(crate) sent_bytes: Cell<usize>,
}

impl StreamTrace {
    pub(crate) fn new(started: Instant) -> Rc<StreamTrace> {
        let (request, sent_bytes) = (RefCell::default(), Cell::default());
        Rc::new(StreamTrace { trace: Trace::new(started), request, sent_bytes })
    }

    pub(crate) fn received(&self, request: &Bytes) {
        self.trace.received();
        self.request.replace(request.clone());
    }
}

/// What a handler hands back: the stream to close, and how.
pub(crate) type Handled = (Answers, Result<(), StreamEnd>);

impl StreamCall {
    /// The next request; `None` once the client has sent its last. Fails when the stream has to end for a reason that
    /// lies outside of it.
    pub(crate) async fn receive(&mut self) -> Result<Option<Bytes>, StreamEnd> {
        let message = tokio::select! {
            biased;
            status = self.outside.wait() => return Err(status.into()),
            message = self.messages.next() => message?,
        };
        if let Some(message) = &message {
            received(&self.rim, self.method, message.len());
        }
        Ok(message)
    }

    /// The request of a call that has one; more than one is not looked at.
    pub(crate) async fn receive_only(&mut self) -> Result<Bytes, StreamEnd> {
        self.receive().await?.ok_or(StreamEnd::Refused(status::NO_REQUEST_MESSAGE))
    }

    /// Sends one message, waiting for the client's window.
    pub(crate) async fn send(&mut self, message: Bytes) -> Result<(), Gone> {
        let bytes = message.len();
        let piece = self.answers.piece(message);
        self.answers.send(piece).await?;
        sent(&self.rim, self.method, bytes);
        self.trace.sent_bytes.set(self.trace.sent_bytes.get() + bytes);
        Ok(())
    }
}

/// Reasons for a stream to end that lie outside of it: the server stops, or has had no leader for too long.
pub(crate) struct OutsideEnd {
    pub(crate) require_leader: bool,
    pub(crate) signal: watch::Receiver<StreamSignal>,
}

impl OutsideEnd {
    /// Resolves when the stream has to end.
    pub(crate) async fn wait(&mut self) -> Status {
        let require_leader = self.require_leader;
        let ends = |signal: &StreamSignal| signal.is_stopping || (require_leader && signal.leader_is_lost);
        match self.signal.wait_for(ends).await {
            Ok(signal) if !signal.is_stopping => status::NO_LEADER,
            // The sender lives as long as the rim.
            Ok(_) | Err(_) => status::STOPPED,
        }
    }
}

/// Counts a request message.
pub(crate) fn received(rim: &Rim, method: Method, bytes: usize) {
    rim.metrics.method(method).received.increment();
    rim.metrics.received_bytes.add(bytes as u64);
}

/// Counts an answer; `bytes` includes the prefix.
pub(crate) fn sent(rim: &Rim, method: Method, bytes: usize) {
    rim.metrics.method(method).sent.increment();
    rim.metrics.sent_bytes.add(bytes.saturating_sub(crate::wire::PREFIX_BYTES) as u64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn now(end: &mut OutsideEnd) -> Option<Status> {
        match pin!(end.wait()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(status) => Some(status),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_lost_leader_ends_the_streams_that_require_one_and_a_stop_ends_all() {
        let sender = watch::Sender::new(StreamSignal::default());
        let [mut requires, mut does_not] =
            [true, false].map(|require_leader| OutsideEnd { require_leader, signal: sender.subscribe() });
        assert_eq!((now(&mut requires), now(&mut does_not)), (None, None));
        sender.send_modify(|signal| signal.leader_is_lost = true);
        assert_eq!((now(&mut requires), now(&mut does_not)), (Some(status::NO_LEADER), None));
        sender.send_modify(|signal| signal.leader_is_lost = false);
        assert_eq!((now(&mut requires), now(&mut does_not)), (None, None), "a stream begun since goes on");
        sender.send_modify(|signal| signal.is_stopping = true);
        assert_eq!((now(&mut requires), now(&mut does_not)), (Some(status::STOPPED), Some(status::STOPPED)));
    }
}
