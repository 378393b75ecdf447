//! Answers to ranges. A stored record is an encoded pair already, so that an answer is its records with a few bytes
//! around each: sizes are known before anything is read, and a large answer is read while it is sent.
//!
//! Invariant: the bytes sent are as many as the prefix of the message said; a record that cannot be read breaks the
//! call off and never shortens or changes the answer.

use super::trace::reading;
use crate::grpc::Answers;
use crate::status::{Code, Status};
use crate::wire::{self, Identity, MESSAGE_BYTES_MAX, Stamp};
use bytes::Bytes;
use mvcc::{Location, RangeItem, RangeResult};
use state::StateView;
use std::sync::Arc;
use std::vec;

/// Bytes read, built and sent at a time.
const PIECE_BYTES: usize = 256 << 10;

/// A disk that failed, or a record that is not what the index says.
fn unreadable(reason: impl std::fmt::Display) -> Status {
    Status::new(Code::DataLoss, format!("read value: {reason}"))
}

/// Reads the records at these locations.
pub(crate) fn load(view: &StateView, locations: &[Location]) -> Result<Vec<Bytes>, Status> {
    let mut records = Vec::with_capacity(locations.len());
    if locations.is_empty() {
        return Ok(records);
    }
    reading(|| view.kv().load(locations, &mut records)).map_err(unreadable)?;
    let as_said = records.len() == locations.len()
        && records.iter().zip(locations).all(|(record, at)| record.len() == at.length as usize);
    if as_said { Ok(records) } else { Err(unreadable("a record has another length than the index says")) }
}

/// Appends the pairs as `kvs` fields; the last pair in its encoded form.
fn put_items(out: &mut Vec<u8>, view: &StateView, items: &[RangeItem]) -> Result<Option<Bytes>, Status> {
    let stored = |item: &RangeItem| if let RangeItem::Stored(location) = item { Some(*location) } else { None };
    let locations: Vec<Location> = items.iter().filter_map(stored).collect();
    let mut records = load(view, &locations)?.into_iter();
    let mut last = None;
    for item in items {
        let pair = match item {
            RangeItem::Stored(_) => records.next().expect("a record for each location"),
            RangeItem::Encoded(encoded) => encoded.clone(),
        };
        wire::put_framed(out, 2, &pair);
        last = Some(pair);
    }
    Ok(last)
}

/// Bytes of the pairs in an answer.
pub(crate) fn items_len(items: &[RangeItem]) -> usize {
    items.iter().map(|item| wire::framed_len(2, item.encoded_len())).sum()
}

/// Bytes of the fields behind the pairs.
fn tail_len(more: bool, count: u64) -> usize {
    wire::number_len(3, more.into()) + wire::number_len(4, count)
}

fn put_tail(out: &mut Vec<u8>, more: bool, count: u64) {
    wire::put_number(out, 3, more.into());
    wire::put_number(out, 4, count);
}

/// Refuses a message that no client could be told the length of.
pub(crate) fn check_length(length: usize) -> Result<(), Status> {
    if length <= MESSAGE_BYTES_MAX {
        return Ok(());
    }
    let text = format!("grpc: trying to send message larger than max ({length} vs. {MESSAGE_BYTES_MAX})");
    Err(Status::new(Code::ResourceExhausted, text))
}

/// A RangeResponse that is made while it is sent.
pub(crate) struct RangeBody {
    view: Arc<StateView>,
    /// Prefix and header.
    head: Vec<u8>,
    items: Vec<RangeItem>,
    more: bool,
    count: u64,
    length: usize,
}

impl RangeBody {
    /// Fails if the answer is longer than a message may be.
    pub(crate) fn new(
        identity: &Identity,
        stamp: Stamp,
        view: Arc<StateView>,
        result: RangeResult,
    ) -> Result<RangeBody, Status> {
        let RangeResult { items, more, count, .. } = result;
        let length = identity.header_len(stamp) + items_len(&items) + tail_len(more, count);
        check_length(length)?;
        let mut head = Vec::with_capacity(wire::PREFIX_BYTES + identity.header_len(stamp));
        wire::put_prefix(&mut head, length);
        identity.put_header(&mut head, stamp);
        Ok(RangeBody { view, head, items, more, count, length })
    }

    /// Bytes of the message with its prefix.
    pub(crate) fn message_bytes(&self) -> usize {
        wire::PREFIX_BYTES + self.length
    }

    /// The whole message.
    pub(crate) fn build(self) -> Result<Bytes, Status> {
        let mut out = self.head;
        out.reserve_exact(wire::PREFIX_BYTES + self.length - out.len());
        put_items(&mut out, &self.view, &self.items)?;
        put_tail(&mut out, self.more, self.count);
        assert_eq!(out.len(), wire::PREFIX_BYTES + self.length, "an answer is as long as its prefix says");
        Ok(out.into())
    }

    /// Sends the message piece by piece. Fails with a status if a value cannot be read, without one if the client is
    /// gone.
    pub(crate) async fn send(self, answers: &mut Answers) -> Result<(), Option<Status>> {
        let RangeBody { view, head, items, more, count, .. } = self;
        let mut piece = head;
        let mut items = items.into_iter();
        loop {
            let run = take_run(&mut items);
            piece.reserve(items_len(&run) + tail_len(more, count));
            put_items(&mut piece, &view, &run).map_err(Some)?;
            let is_last = items.as_slice().is_empty();
            if is_last {
                put_tail(&mut piece, more, count);
            }
            let sent = answers.piece(std::mem::take(&mut piece).into());
            answers.send(sent).await.map_err(|_| None)?;
            if is_last {
                return Ok(());
            }
            // A client with a wide window must not keep the others of this thread waiting.
            tokio::task::yield_now().await;
        }
    }
}

/// The next items that make about `PIECE_BYTES`.
fn take_run(items: &mut vec::IntoIter<RangeItem>) -> Vec<RangeItem> {
    let mut bytes = 0;
    let fitting = items.as_slice().iter().take_while(|item| {
        let fits = bytes < PIECE_BYTES;
        bytes += item.encoded_len();
        fits
    });
    let count = fitting.count();
    items.by_ref().take(count).collect()
}

/// What ends a streamed range.
pub(crate) struct StreamTail<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) stamp: Stamp,
    pub(crate) more: bool,
    pub(crate) count: u64,
}

impl StreamTail<'_> {
    fn header_len(&self) -> usize {
        self.identity.header_len(self.stamp)
    }
}

/// One message of a streamed range, with its prefix. The last one carries what a whole answer has beside its pairs.
pub(crate) struct StreamMessage {
    /// The `kvs` fields.
    pairs: Vec<u8>,
    last_pair: Option<Bytes>,
}

impl StreamMessage {
    /// Reads the pairs.
    pub(crate) fn new(view: &StateView, items: &[RangeItem]) -> Result<StreamMessage, Status> {
        let length = items_len(items);
        check_length(length)?;
        let mut pairs = Vec::with_capacity(length);
        let last_pair = put_items(&mut pairs, view, items)?;
        Ok(StreamMessage { pairs, last_pair })
    }

    /// The key of the last pair, if there is one.
    pub(crate) fn last_key(&self) -> Result<Option<Bytes>, Status> {
        let Some(pair) = &self.last_pair else { return Ok(None) };
        model::KeyValue::decode(pair).map(|pair| Some(pair.key)).map_err(unreadable)
    }

    pub(crate) fn pairs_len(&self) -> usize {
        self.pairs.len()
    }

    pub(crate) fn build(&self, tail: Option<StreamTail<'_>>) -> Result<Bytes, Status> {
        let header_len = tail.as_ref().map_or(0, StreamTail::header_len);
        let inner = header_len + self.pairs.len() + tail.as_ref().map_or(0, |tail| tail_len(tail.more, tail.count));
        let length = wire::framed_len(1, inner);
        check_length(length)?;
        let mut out = wire::message_buffer(length);
        wire::put_frame(&mut out, 1, inner);
        if let Some(tail) = &tail {
            tail.identity.put_header(&mut out, tail.stamp);
        }
        out.extend_from_slice(&self.pairs);
        if let Some(tail) = &tail {
            put_tail(&mut out, tail.more, tail.count);
        }
        assert_eq!(out.len(), wire::PREFIX_BYTES + length, "an answer is as long as its prefix says");
        Ok(out.into())
    }
}

/// Appends a RangeResponse as it stands inside of a txn's answer.
pub(crate) fn put_inner(out: &mut Vec<u8>, view: &StateView, result: &RangeResult) -> Result<(), Status> {
    wire::put_inner_header(out, result.revision);
    check_length(out.len() + items_len(&result.items))?;
    put_items(out, view, &result.items)?;
    put_tail(out, result.more, result.count);
    Ok(())
}
