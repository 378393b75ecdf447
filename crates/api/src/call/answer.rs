//! What a unary handler hands back, and what it notes about itself on the way.

use super::range_answer::RangeBody;
use crate::metrics::RequestType;
use bytes::Bytes;
use std::cell::Cell;
use std::time::Duration;

/// What a unary handler answers with.
pub(crate) enum Answer {
    /// A whole message with its prefix.
    Message(Bytes),
    /// A message that is made while it is sent.
    Range(RangeBody),
}

/// Where a call's time went, as far as its handler knows.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    pub(crate) request: Cell<Option<RequestType>>,
    /// The log took no entry for it.
    pub(crate) is_refused: Cell<bool>,
    pub(crate) read_index: Cell<Duration>,
    pub(crate) proposed: Cell<node::Timings>,
    /// Until the answer was made.
    pub(crate) answered: Cell<Duration>,
}
