//! What a unary handler hands back.

use super::range_answer::RangeBody;
use bytes::Bytes;

/// What a unary handler answers with.
pub(crate) enum Answer {
    /// A whole message with its prefix.
    Message(Bytes),
    /// A message that is made while it is sent.
    Range(Box<RangeBody>),
}
