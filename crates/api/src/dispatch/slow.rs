//! The line about a call that was slow. Message and fields that etcd has too are etcd's, because log searches know
//! them; the stages say where the time went, and together they are the whole.

use super::content;
use crate::call::{Remote, Rim, Stages, Trace};
use crate::method::Method;
use crate::status::Code;
use bytes::Bytes;
use std::rc::Rc;
use std::time::Duration;

/// A request as the line names it is read from at most so many of its bytes.
const KEPT_BYTES_MAX: usize = 16 << 10;

/// What is kept of a request until its call has ended: all of it, or the beginning of one that is large.
pub(super) fn kept(message: &Bytes) -> Bytes {
    if message.len() <= KEPT_BYTES_MAX { message.clone() } else { Bytes::copy_from_slice(&message[..KEPT_BYTES_MAX]) }
}

pub(super) struct Slow<'a> {
    pub(super) rim: &'a Rc<Rim>,
    pub(super) method: Method,
    pub(super) remote: Remote,
    pub(super) request: &'a Bytes,
    pub(super) request_bytes: usize,
    pub(super) answer_bytes: usize,
    pub(super) code: Code,
    pub(super) trace: &'a Trace,
    pub(super) took: Duration,
}

impl Slow<'_> {
    /// Writes the line, unless there are many.
    pub(super) fn log(self) {
        let lines = self.rim.shared.slow_lines.clone();
        lines.limited("request stats", || self.write());
    }

    fn write(self) {
        let Stages { receive, queue, read_index, sync, apply, read, send, other } =
            self.trace.stages(&self.rim.node, self.took);
        tracing::warn!(
            "response type" = self.method.path(),
            remote = %self.remote,
            code = self.code.name(),
            "time spent" = ?self.took,
            "request size" = self.request_bytes,
            "request content" = content::of(self.method, self.request, self.request_bytes),
            "response count" = self.trace.answer_count.get(),
            "response size" = self.answer_bytes,
            receive = ?receive,
            queue = ?queue,
            "read index" = ?read_index,
            sync = ?sync,
            apply = ?apply,
            read = ?read,
            send = ?send,
            other = ?other,
            "request stats"
        );
    }
}
