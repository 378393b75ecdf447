//! What handlers do with a request: decode it, check its size, propose what it asks for.

use super::range_answer::load;
use super::rim::Rim;
use super::trace::{Trace, Wait, reading};
use crate::refusals::Limit;
use crate::status::{self, Code, Status};
use crate::wire::Stamp;
use bytes::Bytes;
use model::{Range, Rejection, Revision};
use mvcc::Location;
use node::{HandedOn, RangeAnswer, Refused, Reply};
use prost::Message;
use state::{Proposal, StateView};
use std::sync::Arc;
use std::time::Instant;
use stdx::codec::varint_len;

pub(crate) fn decode<M: Message + Default>(message: Bytes) -> Result<M, Status> {
    M::decode(message).map_err(|_| status::UNMARSHAL)
}

/// The same of a streaming call, whose refusal has other words.
pub(crate) fn decode_streamed<M: Message + Default>(message: Bytes) -> Result<M, Status> {
    M::decode(message).map_err(|_| status::UNMARSHAL_STREAMED)
}

/// Refuses a request whose entry in etcd's log would be longer than allowed: the request as one field, and a header
/// that holds a request id made of the member's and the time.
pub(crate) fn check_size(rim: &Rim, request_bytes: usize) -> Result<(), Status> {
    let id_len = varint_len(rim.identity().member.0 << 48 | 1 << 47);
    let header = 2 + 1 + 1 + id_len;
    let entry = header + 1 + varint_len(request_bytes as u64) + request_bytes;
    let max = rim.config().request_bytes_max;
    if entry <= max {
        return Ok(());
    }
    rim.shared.refusals.note(Limit::RequestSize, "bytes", entry as u64, max as u64);
    Err(status::REQUEST_TOO_LARGE)
}

/// Reads keys, and counts and measures that as etcd does.
pub(crate) fn range(rim: &Rim, view: &Arc<StateView>, range: &Range) -> Result<RangeAnswer, Status> {
    let started = Instant::now();
    let answer = reading(|| rim.node.range(view, range));
    rim.metrics.range(answer.is_ok(), started.elapsed());
    answer.map_err(status::read_error)
}

/// What a proposal did.
pub(crate) struct Done<T> {
    pub(crate) answer: T,
    pub(crate) stamp: Stamp,
    /// Loads what the answer points at.
    pub(crate) stored: Stored,
}

/// Where an answer's values come from.
pub(crate) struct Stored {
    pub(crate) view: Arc<StateView>,
    /// Need not be read again.
    read: Option<Arc<HandedOn>>,
}

impl Stored {
    pub(crate) fn of_view(view: Arc<StateView>) -> Stored {
        Stored { view, read: None }
    }

    /// Reads the records at these locations.
    pub(crate) fn load(&self, locations: &[Location]) -> Result<Vec<Bytes>, Status> {
        if let Some(read) = &self.read {
            let known = locations.iter().map(|location| read.records().get(location).cloned());
            if let Some(records) = known.collect() {
                return Ok(records);
            }
        }
        load(&self.view, locations)
    }
}

/// Says of an answer that cannot be read what was done all the same.
pub(crate) fn after_write<T>(revision: Revision, answer: Result<T, Status>) -> Result<T, Status> {
    answer.map_err(|status| match status.code {
        Code::DataLoss => {
            let why = status.message;
            Status::new(Code::DataLoss, format!("bowline: done at revision {revision}, its answer is lost: {why}"))
        }
        _ => status,
    })
}

/// A proposal that is waited for. Dropped before its answer came, it counts as failed: its client has given up. As in
/// etcd, it may be carried out all the same.
struct Unanswered<'a> {
    rim: &'a Rim,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.rim.node.metrics().proposals_failed.increment();
    }
}

/// What the command needs to read is read before it is proposed: a record that cannot be read refuses it, and nothing
/// is done.
pub(crate) async fn propose<P: Proposal>(rim: &Rim, proposal: P, trace: &Trace) -> Result<Done<P::Answer>, Status> {
    let command = proposal.into();
    let mut read = None;
    if let Some(mut ahead) = rim.node.read_ahead(&command) {
        let not_done = |fault| Status::new(Code::DataLoss, format!("bowline: nothing was done: {fault}"));
        while reading(|| ahead.step(&command)).map_err(not_done)? {
            // A long command must not keep the others of this thread waiting.
            tokio::task::yield_now().await;
        }
        read = rim.node.hand_on(ahead.finish());
    }
    let waiting = Unanswered { rim };
    let reply = trace.waiting(Wait::Proposal, rim.node.propose_read(command, read.clone())).await;
    std::mem::forget(waiting);
    let reply = reply.inspect_err(|refused| match refused {
        Refused::TimedOut => {}
        // etcd counts what it turns away at the door as no request.
        Refused::TooManyRequests => {
            trace.request.set(None);
            rim.shared.refusals.note_overload(rim.node.overload());
        }
        _ => trace.is_refused.set(true),
    })?;
    let Reply { answer, revision, term, view, timings } = reply;
    trace.proposed(timings);
    match &answer {
        Err(Rejection::NoSpace) => rim.shared.refusals.note_quota(&view),
        Err(Rejection::OverBudget(over)) => rim.shared.refusals.note_budget(over),
        _ => {}
    }
    Ok(Done { answer: answer?.answer_to::<P>(), stamp: Stamp { revision, term }, stored: Stored { view, read } })
}
