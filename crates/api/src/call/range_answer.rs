//! Answers to ranges. A stored record is an encoded pair already, so that an answer is its records with a few bytes
//! around each: sizes are known before anything is read, and a large answer is read while it is sent.
//!
//! Invariant: the bytes sent are as many as the prefix of the message said, also when a record cannot be read. Then the
//! call fails: clients look at its status only behind a message that is whole, so one that has begun is filled up.

use super::rim::Rim;
use super::trace::reading;
use crate::grpc::{Answers, Gone};
use crate::in_flight::{Charge, Piece};
use crate::status::{Code, Status};
use crate::wire::{self, Identity, MESSAGE_BYTES_MAX, Stamp};
use bytes::Bytes;
use mvcc::{Found, Location, Pages, RangeItem, RangeResult};
use state::StateView;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::vec;

/// Answers up to this size are built at once; larger ones while they are sent.
const BUILT_AT_ONCE_BYTES: usize = 32 << 10;
/// Bytes read, built and sent at a time; at least so many, whatever the client's window, unless the memory is short.
const PIECE_BYTES: usize = 256 << 10;
const PIECE_BYTES_MIN: usize = 16 << 10;
/// Keys that one turn looks at.
pub(crate) const KEYS_PER_SLICE: usize = 1024;
/// A view older than this is not read any further if a newer one has the same pairs; and none longer than that.
const VIEW_AGE_MAX: Duration = Duration::from_secs(10);
const VIEW_AGE_LIMIT: Duration = Duration::from_secs(60);

/// A disk that failed, or a record that is not what the index says.
fn unreadable(reason: impl std::fmt::Display) -> Status {
    Status::new(Code::DataLoss, format!("read value: {reason}"))
}

/// Reads the records at these locations.
pub(super) fn load(view: &StateView, locations: &[Location]) -> Result<Vec<Bytes>, Status> {
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

/// A RangeResponse, or a TxnResponse of ranges, that is made while it is sent.
pub(crate) struct RangeBody {
    view: Arc<StateView>,
    viewed_at: Instant,
    /// What was not sent yet.
    sections: VecDeque<Section>,
    length: usize,
    /// For what the sections hold.
    charges: Vec<Charge>,
}

/// The answer to one range, with what stands around its pairs.
struct Section {
    /// The first one begins with the message's prefix; empty once it was sent.
    front: Vec<u8>,
    pairs: Pairs,
    tail: Vec<u8>,
    /// Bytes of all three that were not sent.
    unsent: usize,
}

/// The pairs that were not sent yet.
enum Pairs {
    Items(vec::IntoIter<RangeItem>),
    /// Found again when there is somewhere to put them.
    Pages(Pages),
}

/// What a slice makes for a piece.
enum Made {
    Piece(Piece),
    /// The values are not loaded: they are more than was charged.
    Unpaid(Vec<RangeItem>),
}

impl RangeBody {
    /// `charges` are for what was found. Fails if the answer is longer than a message may be.
    pub(crate) fn new(
        identity: &Identity,
        stamp: Stamp,
        view: Arc<StateView>,
        found: Found,
        charges: Vec<Charge>,
    ) -> Result<RangeBody, Status> {
        let length = identity.header_len(stamp) + found.pairs_bytes + tail_len(found.more, found.count);
        check_length(length)?;
        let mut front = Vec::with_capacity(wire::PREFIX_BYTES + identity.header_len(stamp));
        wire::put_prefix(&mut front, length);
        identity.put_header(&mut front, stamp);
        let sections = [Section::new(front, found, length)].into();
        Ok(RangeBody { view, viewed_at: Instant::now(), sections, length, charges })
    }

    /// The same for a txn whose branch reads these ranges.
    pub(crate) fn of_txn(
        identity: &Identity,
        stamp: Stamp,
        succeeded: bool,
        view: Arc<StateView>,
        found: Vec<Found>,
        charges: Vec<Charge>,
    ) -> Result<RangeBody, Status> {
        let response_len = |found: &Found| {
            wire::inner_header_len(stamp.revision) + found.pairs_bytes + tail_len(found.more, found.count)
        };
        let operation_len = |found: &Found| wire::framed_len(1, response_len(found));
        let operations: usize = found.iter().map(|found| wire::framed_len(3, operation_len(found))).sum();
        let length = identity.header_len(stamp) + wire::number_len(2, succeeded.into()) + operations;
        check_length(length)?;
        let mut front = Vec::new();
        wire::put_prefix(&mut front, length);
        identity.put_header(&mut front, stamp);
        wire::put_number(&mut front, 2, succeeded.into());
        let mut sections = VecDeque::with_capacity(found.len().max(1));
        for found in found {
            wire::put_frame(&mut front, 3, operation_len(&found));
            wire::put_frame(&mut front, 1, response_len(&found));
            wire::put_inner_header(&mut front, stamp.revision);
            sections.push_back(Section::new(std::mem::take(&mut front), found, length));
        }
        if sections.is_empty() {
            let (unsent, pairs) = (front.len(), Pairs::Items(Vec::new().into_iter()));
            sections.push_back(Section { front, pairs, tail: Vec::new(), unsent });
        }
        Ok(RangeBody { view, viewed_at: Instant::now(), sections, length, charges })
    }

    /// Bytes of the message with its prefix.
    pub(crate) fn message_bytes(&self) -> usize {
        wire::PREFIX_BYTES + self.length
    }

    /// The whole message if it is small; else this itself, for `send`.
    pub(crate) fn into_message(mut self) -> Result<Result<Bytes, Box<RangeBody>>, Status> {
        let is_at_hand = |section: &Section| matches!(section.pairs, Pairs::Items(_));
        if self.length > BUILT_AT_ONCE_BYTES || !self.sections.iter().all(is_at_hand) {
            return Ok(Err(Box::new(self)));
        }
        let mut out = Vec::with_capacity(wire::PREFIX_BYTES + self.length);
        for section in std::mem::take(&mut self.sections) {
            out.extend_from_slice(&section.front);
            if let Pairs::Items(items) = section.pairs {
                put_items(&mut out, &self.view, items.as_slice())?;
            }
            out.extend_from_slice(&section.tail);
        }
        assert_eq!(out.len(), wire::PREFIX_BYTES + self.length, "an answer is as long as its prefix says");
        Ok(Ok(out.into()))
    }

    /// Sends the message piece by piece, each cut to the client's window and made in a turn of its own. Fails with the
    /// status that the call is to end with if a value cannot be read, without one if the client is gone.
    pub(crate) async fn send(mut self, rim: &Rim, answers: &mut Answers) -> Result<(), Option<Status>> {
        let sent = self.send_sections(rim, answers).await;
        if let Err(Some(_)) = &sent {
            self.fill_up(answers).await.map_err(|_| None)?;
        }
        sent
    }

    /// Makes a message whole that has begun.
    async fn fill_up(&self, answers: &mut Answers) -> Result<(), Gone> {
        let unsent: usize = self.sections.iter().map(|section| section.unsent).sum();
        if unsent == self.message_bytes() {
            return Ok(());
        }
        // Of a section that has begun the rest belongs to that; whole ones are fields of the message.
        let begun = self.sections.front().filter(|section| section.front.is_empty());
        let begun = begun.map_or(0, |section| section.unsent);
        for bytes in [begun, unsent - begun].into_iter().filter(|bytes| *bytes > 0) {
            fill(answers, bytes).await?;
        }
        Ok(())
    }

    async fn send_sections(&mut self, rim: &Rim, answers: &mut Answers) -> Result<(), Option<Status>> {
        let account = answers.account().clone();
        while !self.sections.is_empty() {
            let window = self.ready(rim, answers).await?;
            let wanted = window.clamp(PIECE_BYTES_MIN, PIECE_BYTES);
            let mut charge = match account.charge_now(wanted).or_else(|| account.charge_now(PIECE_BYTES_MIN)) {
                Some(charge) => charge,
                None => account.charge_begun(PIECE_BYTES_MIN).await,
            };
            self.refresh(rim)?;
            let mut made = rim.lane.slice(account.id(), || self.page(&mut charge)).await.map_err(Some)?;
            if let Made::Unpaid(items) = made {
                // Nothing is held while more is waited for.
                drop(charge.split(usize::MAX));
                charge = account.charge_begun(self.piece_len(&items)).await;
                made = rim.lane.slice(account.id(), || self.make(items, &mut charge)).await.map_err(Some)?;
            }
            if let Made::Piece(piece) = made {
                answers.send(piece).await.map_err(|_| None)?;
            }
        }
        Ok(())
    }

    fn piece_len(&self, items: &[RangeItem]) -> usize {
        self.sections.front().map_or(0, |section| section.front.len() + section.tail.len()) + items_len(items)
    }

    /// The next piece, of about as many bytes as are charged.
    fn page(&mut self, charge: &mut Charge) -> Result<Made, Status> {
        let bytes_max = charge.bytes().saturating_sub(self.piece_len(&[]));
        let items = match self.sections.front_mut().map(|section| &mut section.pairs) {
            None => Vec::new(),
            Some(Pairs::Items(items)) => take_run(items, bytes_max),
            Some(Pairs::Pages(pages)) => {
                pages.page(self.view.kv(), KEYS_PER_SLICE, bytes_max).map_err(|_| too_late())?
            }
        };
        self.make(items, charge)
    }

    fn make(&mut self, items: Vec<RangeItem>, charge: &mut Charge) -> Result<Made, Status> {
        let length = self.piece_len(&items);
        if length > charge.bytes() + PIECE_BYTES_MIN {
            return Ok(Made::Unpaid(items));
        }
        let mut out = Vec::with_capacity(length);
        if let Some(section) = self.sections.front_mut() {
            out.extend_from_slice(&section.front);
            put_items(&mut out, &self.view, &items)?;
            section.front.clear();
            if section.has_no_more() {
                out.append(&mut section.tail);
                assert_eq!(section.unsent, out.len(), "a section is as long as its frame says");
                self.sections.pop_front();
            } else {
                section.unsent -= out.len();
            }
        }
        if self.sections.is_empty() {
            self.charges.clear();
        }
        Ok(Made::Piece(Piece::new(out.into(), charge.split(usize::MAX))))
    }

    /// Waits until the client takes something. A view is not kept for a client that does not read.
    async fn ready(&mut self, rim: &Rim, answers: &mut Answers) -> Result<usize, Option<Status>> {
        loop {
            let ready = poll_fn(|context| answers.poll_ready(context, PIECE_BYTES));
            match tokio::time::timeout(VIEW_AGE_MAX, ready).await {
                Ok(window) => return window.map_err(|_| None),
                Err(_) => self.refresh(rim)?,
            }
        }
    }

    /// Goes on with the newest view: one pins memory and the files that were removed since. It has the same pairs at
    /// the answer's revision, unless that was compacted.
    fn refresh(&mut self, rim: &Rim) -> Result<(), Option<Status>> {
        let age = self.viewed_at.elapsed();
        if age < VIEW_AGE_MAX {
            return Ok(());
        }
        let newest = rim.node.view();
        let is_in_newest = |section: &Section| match &section.pairs {
            Pairs::Items(items) => items.as_slice().is_empty(),
            Pairs::Pages(pages) => pages.at() >= newest.compacted_revision(),
        };
        match self.sections.iter().all(is_in_newest) {
            true => {
                (self.view, self.viewed_at) = (newest, Instant::now());
                Ok(())
            }
            _ if age < VIEW_AGE_LIMIT => Ok(()),
            _ => Err(Some(too_late())),
        }
    }
}

impl Section {
    /// Of a message of `length` bytes.
    fn new(front: Vec<u8>, found: Found, length: usize) -> Section {
        let Found { items, is_sorted, pages, more, count, pairs_bytes, .. } = found;
        let pairs = match items {
            Some(items) if is_sorted || length <= BUILT_AT_ONCE_BYTES => Pairs::Items(items.into_iter()),
            _ => Pairs::Pages(pages),
        };
        let mut tail = Vec::new();
        put_tail(&mut tail, more, count);
        let unsent = front.len() + pairs_bytes + tail.len();
        Section { front, pairs, tail, unsent }
    }

    fn has_no_more(&self) -> bool {
        match &self.pairs {
            Pairs::Items(items) => items.as_slice().is_empty(),
            Pairs::Pages(pages) => pages.left() == 0,
        }
    }
}

/// The revision of an answer was compacted while its client did not read it.
fn too_late() -> Status {
    let text = format!(
        "bowline: the answer was not read within {}s, and what is left of it was compacted meanwhile; ask again, for less \
         at a time (limit, pages)",
        VIEW_AGE_LIMIT.as_secs()
    );
    Status::new(Code::ResourceExhausted, text)
}

/// A field that no message has: what it holds is passed over.
const FILLER_TAG: u8 = 15 << 3 | 2;
static FILLER: [u8; 64 << 10] = [0; 64 << 10];

/// Sends what is left of a message as one field that means nothing.
async fn fill(answers: &mut Answers, left: usize) -> Result<(), Gone> {
    let head = filler_head(left);
    let mut zeros = left - head.len();
    let piece = answers.piece(head.into());
    answers.send(piece).await?;
    while zeros > 0 {
        let piece = answers.piece(Bytes::from_static(&FILLER[..zeros.min(FILLER.len())]));
        zeros -= zeros.min(FILLER.len());
        answers.send(piece).await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// The tag and length of a field that takes `bytes`, which are at least those of an empty field. The length is not
/// always written as short as it could be: not every size can be had with that.
fn filler_head(bytes: usize) -> Vec<u8> {
    assert!(bytes >= 2, "what is left has a pair");
    let fits = |length_bytes: &usize| bytes - 1 - length_bytes < 1 << (7 * length_bytes);
    let length_bytes = (1..=5).find(fits).expect("a message is shorter than 32 GiB");
    let length = bytes - 1 - length_bytes;
    let septet = |at: usize| {
        let more = if at + 1 < length_bytes { 0x80 } else { 0 };
        (length >> (7 * at)) as u8 & 0x7f | more
    };
    std::iter::once(FILLER_TAG).chain((0..length_bytes).map(septet)).collect()
}

/// The next items that make about `bytes_max`; at least one.
fn take_run(items: &mut vec::IntoIter<RangeItem>, bytes_max: usize) -> Vec<RangeItem> {
    let mut bytes = 0;
    let fitting = items.as_slice().iter().take(KEYS_PER_SLICE).take_while(|item| {
        let fits = bytes < bytes_max;
        bytes += item.encoded_len();
        fits
    });
    let count = fitting.count().max(1);
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

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn whatever_is_left_of_a_message_can_be_filled_with_nothing() {
        let pair = [0x12, 0x05, 0x0a, 0x03, b'k', b'e', b'y'];
        let sizes = (2..1000).chain((1 << 14) - 3..(1 << 14) + 8).chain((1 << 21) - 3..(1 << 21) + 8);
        for bytes in sizes {
            let mut message = pair.to_vec();
            let head = filler_head(bytes);
            message.extend_from_slice(&head);
            message.resize(pair.len() + bytes, 0);
            let decoded = proto::etcdserverpb::RangeResponse::decode(&*message);
            assert_eq!(decoded.map(|decoded| decoded.count), Ok(0), "{bytes} bytes");
        }
    }
}
