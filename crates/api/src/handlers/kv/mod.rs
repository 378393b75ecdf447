//! KV: decode, check, hand to the node, answer.

mod find;
mod interval_set;
mod nesting;
mod request;
mod txn_answer;
mod txn_read;
mod write_answer;

use crate::call::{
    Answer, Done, Handled, Rim, Stored, StreamCall, StreamEnd, StreamMessage, StreamTail, Trace, Wait, after_write,
    check_size, decode, decode_streamed, items_len, propose, range as read_range, reading,
};
use crate::in_flight::Account;
use crate::metrics::RequestType;
use crate::refusals::Limit;
use crate::status::{self, Status};
use crate::wire::{self, Stamp};
use bytes::Bytes;
use model::{Command, KeyRange, Range, Txn};
use proto::etcdserverpb as pb;
use state::{StateView, TxnOutcome};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use txn_answer::{txn_response, wrote};

/// A view for a linearizable read.
async fn linearizable(rim: &Rim, trace: &Trace) -> Result<Arc<StateView>, Status> {
    Ok(trace.waiting(Wait::ReadIndex, rim.node.read_barrier()).await?)
}

/// Answers a range if that takes no waiting.
pub(crate) fn range_now(rim: &Rim, message: &Bytes, trace: &Trace) -> Option<Result<Answer, Status>> {
    let request = match checked_range(message.clone(), trace) {
        Ok(request) => request,
        Err(status) => return Some(Err(status)),
    };
    let view = if request.serializable { Some(rim.node.view()) } else { rim.node.read_now() };
    find::begin(rim, &view?, &request.range).map_or_else(|status| Some(Err(status)), |begun| begun.answer(rim, trace))
}

pub(crate) async fn range(rim: &Rim, account: &Rc<Account>, message: Bytes, trace: &Trace) -> Result<Answer, Status> {
    let request = checked_range(message, trace)?;
    let view = if request.serializable { rim.node.view() } else { linearizable(rim, trace).await? };
    find::in_steps(rim, account, &view, &request.range, trace).await
}

struct RangeCall {
    range: Range,
    serializable: bool,
}

fn checked_range(message: Bytes, trace: &Trace) -> Result<RangeCall, Status> {
    let request: pb::RangeRequest = decode(message)?;
    let serializable = request.serializable;
    let range = request::range(request)?;
    trace.request.set(Some(RequestType::Range));
    Ok(RangeCall { range, serializable })
}

pub(crate) async fn put(rim: &Rim, message: Bytes, trace: &Trace) -> Result<Answer, Status> {
    let request_bytes = message.len();
    let put = request::put(decode(message)?)?;
    trace.request.set(Some(RequestType::Put));
    check_size(rim, request_bytes)?;
    let Done { answer: prev, stamp, stored } = propose(rim, put, trace).await?;
    let prev = after_write(stamp.revision, stored.load(prev.as_slice()))?;
    let response = wire::put_response(rim.identity(), stamp, prev.first().map(AsRef::as_ref));
    Ok(Answer::Message(response))
}

pub(crate) async fn delete_range(
    rim: &Rim,
    account: &Rc<Account>,
    message: Bytes,
    trace: &Trace,
) -> Result<Answer, Status> {
    let request_bytes = message.len();
    let delete = request::delete_range(decode(message)?)?;
    trace.request.set(Some(RequestType::DeleteRange));
    check_size(rim, request_bytes)?;
    let Done { answer, stamp, stored } = propose(rim, delete, trace).await?;
    trace.answer_count.set(answer.keys);
    let bytes = write_answer::pairs_bytes(&answer.prev);
    let _charge = write_answer::charge_answer(account, stamp.revision, bytes).await?;
    let prev = after_write(stamp.revision, stored.load(&answer.prev))?;
    let response = wire::delete_range_response(rim.identity(), stamp, answer.keys, &prev);
    Ok(Answer::Message(response.into()))
}

/// How long a compaction waits until watches are told how far they came before it.
const ANNOUNCEMENT_WAIT_MAX: Duration = Duration::from_millis(100);

pub(crate) async fn compact(rim: &Rim, message: Bytes, trace: &Trace) -> Result<Answer, Status> {
    let compact = request::compact(decode(message)?);
    trace.request.set(Some(RequestType::Compaction));
    // Whoever is late, or sends to a client that does not read, keeps nobody waiting.
    let _ = tokio::time::timeout(ANNOUNCEMENT_WAIT_MAX, rim.node.announce_compaction(compact.revision)).await;
    let done = propose(rim, Command::Compact(compact), trace).await?;
    Ok(Answer::Message(wire::header_only(rim.identity(), done.stamp)))
}

/// A txn that was checked.
pub(crate) struct TxnCall {
    checked: request::CheckedTxn,
    request_bytes: usize,
}

impl TxnCall {
    pub(crate) fn decode(rim: &Rim, message: Bytes) -> Result<TxnCall, Status> {
        let request_bytes = message.len();
        let ops_max = rim.config().txn_ops_max;
        let request = nesting::decode_txn(message)?;
        let ops = request::operations(&request);
        let checked = request::txn(request, ops_max).inspect_err(|status| {
            if *status == status::TOO_MANY_OPS {
                rim.shared.refusals.note(Limit::TxnOps, "operations", ops, ops_max as u64);
            }
        })?;
        Ok(TxnCall { checked, request_bytes })
    }

    /// It reads so much that others get their turns meanwhile.
    pub(crate) fn is_long_read(&self) -> bool {
        self.checked.read_only && txn_read::is_long(&self.checked.txn)
    }
}

/// Answers a long read.
pub(crate) async fn read_long_txn(
    rim: &Rim,
    account: &Rc<Account>,
    call: TxnCall,
    trace: &Trace,
) -> Result<Answer, Status> {
    trace.request.set(Some(RequestType::ReadonlyTxn));
    let view = if call.checked.serializable { rim.node.view() } else { linearizable(rim, trace).await? };
    txn_read::read(rim, account, view, call.checked.txn).await
}

pub(crate) async fn txn(rim: &Rim, account: &Rc<Account>, call: TxnCall, trace: &Trace) -> Result<Answer, Status> {
    let TxnCall { checked, request_bytes } = call;
    let mut charges = [None, None];
    let (outcome, stored, stamp) = if checked.read_only {
        trace.request.set(Some(RequestType::ReadonlyTxn));
        let view = if checked.serializable { rim.node.view() } else { linearizable(rim, trace).await? };
        let outcome = read_txn(rim, &view, &checked.txn)?;
        let stamp = rim.stamp(view.revision());
        (outcome, Stored::of_view(view), stamp)
    } else {
        trace.request.set(Some(RequestType::Txn));
        check_size(rim, request_bytes)?;
        charges[0] = write_answer::charge_places(account, &rim.node.view(), &checked.txn).await?;
        let done = propose(rim, checked.txn, trace).await?;
        let bytes = write_answer::txn_bytes(&done.answer);
        charges[1] = write_answer::charge_answer(account, done.stamp.revision, bytes).await?;
        (done.answer, done.stored, done.stamp)
    };
    let response = txn_response(rim.identity(), stamp, &stored, &outcome);
    drop(charges);
    let response = if wrote(&outcome) { after_write(stamp.revision, response) } else { response };
    response.map(Answer::Message)
}

fn read_txn(rim: &Rim, view: &StateView, txn: &Txn) -> Result<TxnOutcome, Status> {
    let read = reading(|| rim.node.read_txn(view, txn));
    let read = read.map_err(|fault| Status::new(status::Code::DataLoss, format!("read: {fault}")))?;
    Ok(read?)
}

/// Keys in the first message of a streamed range.
const STREAM_KEYS_FIRST: u64 = 10;
/// And in any.
const STREAM_KEYS_MAX: u64 = 16 << 10;
/// A view older than this is not read any further: it pins memory and files. The newest one has the same keys at the
/// stream's revision, unless that was compacted.
const STREAM_VIEW_AGE_MAX: Duration = Duration::from_secs(10);

pub(crate) async fn range_stream(mut call: StreamCall) -> Handled {
    let result = stream_range(&mut call).await;
    (call.answers, result)
}

async fn stream_range(call: &mut StreamCall) -> Result<(), StreamEnd> {
    let message = call.receive_only().await?;
    call.trace.received(&message);
    let request: pb::RangeRequest = decode_streamed(message)?;
    let serializable = request.serializable;
    let range = request::range_stream(request)?;
    let rim = call.rim.clone();
    let view = if serializable { rim.node.view() } else { linearizable(&rim, &call.trace.trace).await? };
    call.trace.trace.answered();
    let pinned = if range.revision.0 <= 0 { view.revision() } else { range.revision };
    let stream = RangeStream {
        stamp: rim.stamp(view.revision()),
        left: if range.limit == 0 { u64::MAX } else { range.limit },
        keys: STREAM_KEYS_FIRST,
        sent: 0,
        view,
        viewed_at: Instant::now(),
        next: Range { revision: pinned, ..range },
    };
    stream.run(call).await
}

/// A streamed range on its way: messages of keys at one revision, sized by what the one before weighed.
struct RangeStream {
    view: Arc<StateView>,
    viewed_at: Instant,
    /// What is left to read.
    next: Range,
    /// Keys that may still be sent.
    left: u64,
    /// Keys to ask for next.
    keys: u64,
    sent: u64,
    stamp: Stamp,
}

impl RangeStream {
    async fn run(mut self, call: &mut StreamCall) -> Result<(), StreamEnd> {
        let rim = call.rim.clone();
        let account = call.answers.account().clone();
        let of = account.id();
        if self.next.count_only {
            let count = rim.lane.slice(of, || read_range(&rim, &self.view, &self.next)).await?.result.count;
            let tail = StreamTail { identity: rim.identity(), stamp: self.stamp, more: false, count };
            let message = StreamMessage::new(&self.view, &[])?.build(Some(tail))?;
            return Ok(call.send(message).await?);
        }
        loop {
            self.next.limit = self.keys.min(self.left);
            // Nothing is read for a client that takes nothing.
            poll_fn(|context| call.answers.poll_ready(context, 1)).await?;
            let answer = rim.lane.slice(of, || read_range(&rim, &self.view, &self.next)).await?;
            let _charge = account.charge_begun(items_len(&answer.result.items)).await;
            let (found, more) = (answer.result.items.len() as u64, answer.result.more);
            let message = rim.lane.slice(of, || StreamMessage::new(&answer.view, &answer.result.items)).await?;
            self.sent += found;
            self.left -= found.min(self.left);
            let Some(last_key) = message.last_key()?.filter(|_| more) else {
                let tail = self.tail(&rim, false, 0);
                return Ok(call.send(message.build(Some(tail))?).await?);
            };
            let next_key = [last_key.as_ref(), &[0]].concat();
            if self.left == 0 {
                let tail = self.tail(&rim, true, self.rest(&rim, next_key)?);
                return Ok(call.send(message.build(Some(tail))?).await?);
            }
            call.send(message.build(None)?).await?;
            self.advance(&rim, next_key, message.pairs_len());
        }
    }

    fn tail<'a>(&self, rim: &'a Rim, more: bool, rest: u64) -> StreamTail<'a> {
        StreamTail { identity: rim.identity(), stamp: self.stamp, more, count: self.sent + rest }
    }

    /// Keys behind the last one sent.
    fn rest(&self, rim: &Rim, next_key: Vec<u8>) -> Result<u64, Status> {
        let range = KeyRange { start: next_key.into(), end: self.next.range.end.clone() };
        let count = Range { count_only: true, revision: self.next.revision, ..Range::new(range) };
        Ok(read_range(rim, &self.view, &count)?.result.count)
    }

    fn advance(&mut self, rim: &Rim, next_key: Vec<u8>, bytes: usize) {
        let target = rim.config().request_bytes_max;
        if bytes < target / 2 {
            self.keys = self.keys.saturating_mul(2).min(STREAM_KEYS_MAX);
        } else if bytes > target * 2 {
            self.keys = (self.keys / 2).max(1);
        }
        self.next.range.start = next_key.into();
        if self.viewed_at.elapsed() > STREAM_VIEW_AGE_MAX {
            self.view = rim.node.view();
            self.viewed_at = Instant::now();
        }
    }
}
