//! The body of a request as HTTP/2 hands it over, in whatever frames the client sent.
//!
//! The body of a streaming call can be collected while its handler is busy. HTTP/2 holds a frame for a handler at a
//! cost that does not depend on its size, and ends the connection if too many small ones wait; collected, they cost
//! their bytes. How many those are is bounded by the window, which opens again only as the handler takes them.

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// What of the collected bytes is handed over at once: as much as a frame may be.
const PIECE_BYTES: usize = 16 << 10;

pub(crate) enum Body {
    Direct(RecvStream),
    Collected(Rc<RefCell<Collected>>),
}

/// See the file's head.
pub(crate) struct Collected {
    stream: RecvStream,
    bytes: BytesMut,
    end: Option<End>,
    /// The handler waits for more and will be woken.
    is_awaited: bool,
}

#[derive(Clone, Copy)]
enum End {
    Whole,
    Broken,
}

/// The client is gone or gave up the call.
pub(crate) struct Broken;

/// Collects a body while its handler is busy.
pub(crate) struct Collector(Rc<RefCell<Collected>>);

impl Body {
    /// The next bytes, of at most a frame; `None` at the end. To be released once they are taken in.
    pub(crate) fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        match self {
            Body::Direct(stream) => stream.poll_data(context).map(|data| data.map(|data| data.map_err(|_| Broken))),
            Body::Collected(collected) => collected.borrow_mut().poll_data(context),
        }
    }

    /// Lets the client send so many bytes more.
    pub(crate) fn release(&mut self, bytes: usize) {
        // It fails for more than was received, and no more is released.
        let _ = match self {
            Body::Direct(stream) => stream.flow_control().release_capacity(bytes),
            Body::Collected(collected) => collected.borrow_mut().stream.flow_control().release_capacity(bytes),
        };
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        match self {
            Body::Direct(stream) => stream.is_end_stream(),
            Body::Collected(collected) => {
                let collected = collected.borrow();
                collected.bytes.is_empty() && (collected.end.is_some() || collected.stream.is_end_stream())
            }
        }
    }

    /// As the body of a call whose handler may be busy while more comes.
    pub(crate) fn collected(self) -> (Body, Collector) {
        let collected = match self {
            Body::Direct(stream) => {
                let collected = Collected { stream, bytes: BytesMut::new(), end: None, is_awaited: false };
                Rc::new(RefCell::new(collected))
            }
            Body::Collected(collected) => collected,
        };
        (Body::Collected(collected.clone()), Collector(collected))
    }
}

impl Collector {
    /// Runs a handler to its end, and collects what it does not take.
    pub(crate) async fn collect_during<T>(self, handler: impl Future<Output = T>) -> T {
        let mut handler = pin!(handler);
        poll_fn(|context| {
            self.0.borrow_mut().is_awaited = false;
            let polled = handler.as_mut().poll(context);
            if polled.is_pending() {
                self.0.borrow_mut().collect(context);
            }
            polled
        })
        .await
    }
}

impl Collected {
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if !self.bytes.is_empty() {
            let piece = self.bytes.len().min(PIECE_BYTES);
            return Poll::Ready(Some(Ok(self.bytes.split_to(piece).freeze())));
        }
        match self.end {
            Some(End::Whole) => return Poll::Ready(None),
            Some(End::Broken) => return Poll::Ready(Some(Err(Broken))),
            None => {}
        }
        let data = self.stream.poll_data(context);
        self.is_awaited = data.is_pending();
        data.map(|data| data.map(|data| data.map_err(|_| Broken)))
    }

    /// Takes in what is there, unless the handler waits for it, and has this task woken when there is more.
    fn collect(&mut self, context: &mut Context<'_>) {
        while !self.is_awaited && self.end.is_none() {
            match self.stream.poll_data(context) {
                Poll::Pending => return,
                Poll::Ready(Some(Ok(data))) => self.bytes.extend_from_slice(&data),
                Poll::Ready(Some(Err(_))) => self.end = Some(End::Broken),
                Poll::Ready(None) => self.end = Some(End::Whole),
            }
        }
    }
}
