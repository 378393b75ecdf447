//! What a handler works with: the rim it runs on, who calls, a stream's messages, and what it hands back.
//!
//! Handlers stand above this and beside each other. Not here: which handler serves a call (`dispatch`).

mod answer;
mod lane;
mod peer;
mod range_answer;
mod request;
mod rim;
mod stream;
mod trace;
mod view;

pub(crate) use answer::Answer;
pub(crate) use peer::{Peer, Remote};
pub(crate) use range_answer::{
    KEYS_PER_SLICE, RangeBody, StreamMessage, StreamTail, check_length, items_len, put_inner,
};
pub(crate) use request::{Done, Stored, after_write, check_size, decode, decode_streamed, propose, range};
pub(crate) use rim::{Rim, Shared, StreamSignal};
pub(crate) use stream::{Handled, OutsideEnd, StreamCall, StreamEnd, StreamTrace, received, sent};
pub(crate) use trace::{Stages, Trace, Wait, reading};
pub(crate) use view::{current_revision, database_bytes, header};
