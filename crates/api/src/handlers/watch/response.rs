//! WatchResponses: the fields in front of the events, and the events, which come encoded from the event log and are
//! shared by everybody who gets them.

use crate::wire::{self, Identity, Stamp};
use bytes::Bytes;
use std::ops::Range;

/// Watch id of answers that belong to no watch, or to all of a stream.
pub(crate) const NO_WATCH: i64 = -1;

/// What a response says beside its header and events. Zero and empty fields are not sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Fields<'a> {
    pub(crate) watch_id: i64,
    pub(crate) created: bool,
    pub(crate) canceled: bool,
    pub(crate) compact_revision: i64,
    pub(crate) cancel_reason: &'a str,
    pub(crate) fragment: bool,
}

impl Fields<'_> {
    fn len(&self) -> usize {
        let reason = if self.cancel_reason.is_empty() { 0 } else { wire::framed_len(6, self.cancel_reason.len()) };
        wire::number_len(2, self.watch_id as u64)
            + wire::number_len(3, self.created.into())
            + wire::number_len(4, self.canceled.into())
            + wire::number_len(5, self.compact_revision as u64)
            + reason
            + wire::number_len(7, self.fragment.into())
    }

    fn put(&self, out: &mut Vec<u8>) {
        wire::put_number(out, 2, self.watch_id as u64);
        wire::put_number(out, 3, self.created.into());
        wire::put_number(out, 4, self.canceled.into());
        wire::put_number(out, 5, self.compact_revision as u64);
        if !self.cancel_reason.is_empty() {
            wire::put_framed(out, 6, self.cancel_reason.as_bytes());
        }
        wire::put_number(out, 7, self.fragment.into());
    }
}

/// A response without events, with its prefix.
pub(crate) fn control(identity: &Identity, stamp: Stamp, fields: Fields<'_>) -> Bytes {
    head(identity, stamp, fields, 0, 0).into()
}

/// The prefix and everything in front of `events_len` bytes of events; `spare` more bytes are reserved.
fn head(identity: &Identity, stamp: Stamp, fields: Fields<'_>, events_len: usize, spare: usize) -> Vec<u8> {
    let own = identity.header_len(stamp) + fields.len();
    let mut out = Vec::with_capacity(wire::PREFIX_BYTES + own + spare);
    wire::put_prefix(&mut out, own + events_len);
    identity.put_header(&mut out, stamp);
    fields.put(&mut out);
    out
}

/// Events up to this size are copied behind their head: one buffer costs less than two.
const COPIED_BYTES_MAX: usize = 8 << 10;

/// A response on its way: one or two buffers.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) head: Bytes,
    /// Empty if the events are in `head`.
    pub(crate) events: Bytes,
}

impl Response {
    pub(crate) fn bytes(&self) -> usize {
        self.head.len() + self.events.len()
    }
}

/// A response with all these events.
pub(crate) fn whole(identity: &Identity, stamp: Stamp, fields: Fields<'_>, events: Bytes) -> Response {
    if events.len() > COPIED_BYTES_MAX {
        return Response { head: head(identity, stamp, fields, events.len(), 0).into(), events };
    }
    let mut head = head(identity, stamp, fields, events.len(), events.len());
    head.extend_from_slice(&events);
    Response { head: head.into(), events: Bytes::new() }
}

/// The same events in as many responses as it takes to keep each below `bytes_max` (or at one event), all but the last
/// marked as fragments.
pub(crate) fn fragments(
    identity: &Identity,
    stamp: Stamp,
    watch_id: i64,
    events: &[Bytes],
    bytes_max: usize,
) -> Vec<Response> {
    let fields = |fragment| Fields { watch_id, fragment, ..Fields::default() };
    let own = identity.header_len(stamp) + fields(false).len();
    let total: usize = events.iter().map(Bytes::len).sum();
    if own + total < bytes_max || events.len() < 2 {
        return vec![whole(identity, stamp, fields(false), events.concat().into())];
    }
    let own = identity.header_len(stamp) + fields(true).len();
    let mut responses = Vec::new();
    let mut rest = events;
    while !rest.is_empty() {
        let (part, after) = rest.split_at(fragment_len(rest, own, bytes_max));
        responses.push(whole(identity, stamp, fields(!after.is_empty()), part.concat().into()));
        rest = after;
    }
    responses
}

/// A response whose events are encoded while it is sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Everything in front of the events.
    pub(crate) head: Bytes,
    /// Positions of its events.
    pub(crate) events: Range<usize>,
    pub(crate) events_bytes: usize,
}

/// The same as `whole`, or as `fragments` with a limit, for events of these lengths that are not encoded yet.
pub(crate) fn cuts(
    identity: &Identity,
    stamp: Stamp,
    watch_id: i64,
    lengths: &[usize],
    bytes_max: Option<usize>,
) -> Vec<Cut> {
    let own = |fragment| {
        let fields = Fields { watch_id, fragment, ..Fields::default() };
        (identity.header_len(stamp) + fields.len(), fields)
    };
    let total: usize = lengths.iter().sum();
    let bytes_max = bytes_max.filter(|&bytes_max| own(false).0 + total >= bytes_max && lengths.len() >= 2);
    let (mut cuts, mut from) = (Vec::new(), 0);
    while from < lengths.len() {
        let rest = lengths.get(from..).unwrap_or_default();
        let count = bytes_max.map_or(rest.len(), |bytes_max| fitting(rest.iter().copied(), own(true).0, bytes_max));
        let events = from..from + count;
        let events_bytes = lengths.get(events.clone()).unwrap_or_default().iter().sum();
        let (_, fields) = own(events.end < lengths.len());
        cuts.push(Cut {
            head: head(identity, stamp, fields, events_bytes, 0).into(),
            events: events.clone(),
            events_bytes,
        });
        from = events.end;
    }
    cuts
}

/// Number of events that fit a fragment; at least one.
fn fragment_len(events: &[Bytes], own: usize, bytes_max: usize) -> usize {
    fitting(events.iter().map(Bytes::len), own, bytes_max)
}

fn fitting(lengths: impl Iterator<Item = usize>, own: usize, bytes_max: usize) -> usize {
    let mut bytes = own;
    let fitting = lengths.take_while(|length| {
        bytes += length;
        bytes < bytes_max
    });
    fitting.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{ClusterId, MemberId, Revision, Term};
    use prost::Message;
    use proto::etcdserverpb as pb;

    const STAMP: Stamp = Stamp { revision: Revision(300), term: Term(2) };

    fn identity() -> Identity {
        Identity::new(ClusterId(0xcdf8_1818_1818_1818), MemberId(0x8e9e_05c5_2164_694d))
    }

    fn event(size: usize) -> proto::mvccpb::Event {
        let kv = proto::mvccpb::KeyValue { key: "k".into(), value: vec![1; size].into(), ..Default::default() };
        proto::mvccpb::Event { r#type: 0, kv: Some(kv), prev_kv: None }
    }

    /// An event as the event log hands it out: a field of a WatchResponse.
    fn encoded(event: &proto::mvccpb::Event) -> Bytes {
        pb::WatchResponse { events: vec![event.clone()], ..Default::default() }.encode_to_vec().into()
    }

    fn decoded(response: &Response) -> pb::WatchResponse {
        let bytes = [response.head.as_ref(), &response.events].concat();
        assert_eq!(bytes[1..5], ((bytes.len() - 5) as u32).to_be_bytes());
        let decoded = pb::WatchResponse::decode(&bytes[5..]).expect("decodes");
        assert_eq!(decoded.encode_to_vec(), bytes[5..], "as prost encodes it");
        decoded
    }

    #[test]
    fn controls_equal_prosts() {
        let identity = identity();
        let table = [
            Fields { created: true, ..Fields::default() },
            Fields { watch_id: 7, canceled: true, ..Fields::default() },
            Fields { watch_id: 1 << 40, canceled: true, compact_revision: 9, ..Fields::default() },
            Fields { watch_id: NO_WATCH, created: true, canceled: true, cancel_reason: "because", ..Fields::default() },
        ];
        for fields in table {
            let response = Response { head: control(&identity, STAMP, fields), events: Bytes::new() };
            let expected = pb::WatchResponse {
                header: identity.header(STAMP),
                watch_id: fields.watch_id,
                created: fields.created,
                canceled: fields.canceled,
                compact_revision: fields.compact_revision,
                cancel_reason: fields.cancel_reason.to_string(),
                ..Default::default()
            };
            assert_eq!(decoded(&response), expected);
        }
    }

    #[test]
    fn small_and_large_events_look_alike_on_the_wire() {
        for size in [10, COPIED_BYTES_MAX + 1] {
            let fields = Fields { watch_id: 3, ..Fields::default() };
            let response = decoded(&whole(&identity(), STAMP, fields, encoded(&event(size))));
            assert_eq!((response.watch_id, response.events), (3, vec![event(size)]));
        }
    }

    #[test]
    fn fragments_stay_below_the_limit_and_lose_nothing() {
        let events: Vec<_> = [400, 10, 500, 2000, 300, 300, 20].map(event).into();
        let fields: Vec<Bytes> = events.iter().map(encoded).collect();
        let responses: Vec<_> = fragments(&identity(), STAMP, 3, &fields, 1000).iter().map(decoded).collect();
        for (position, response) in responses.iter().enumerate() {
            assert_eq!(response.fragment, position + 1 < responses.len());
            assert!(response.encoded_len() < 1000 || response.events.len() == 1);
            assert_eq!((response.watch_id, response.header), (3, identity().header(STAMP)));
        }
        let all: Vec<_> = responses.into_iter().flat_map(|response| response.events).collect();
        assert_eq!(all, events);
    }

    #[test]
    fn what_is_encoded_later_is_cut_as_what_is_encoded() {
        let events: Vec<_> = [400, 10, 500, 2000, 300, 300, 20].map(event).into();
        let fields: Vec<Bytes> = events.iter().map(encoded).collect();
        let lengths: Vec<usize> = fields.iter().map(Bytes::len).collect();
        for bytes_max in [None, Some(100), Some(1000), Some(1 << 20)] {
            let expected = match bytes_max {
                Some(bytes_max) => fragments(&identity(), STAMP, 3, &fields, bytes_max),
                None => {
                    let events = fields.concat().into();
                    vec![whole(&identity(), STAMP, Fields { watch_id: 3, ..Fields::default() }, events)]
                }
            };
            let expected: Vec<Vec<u8>> =
                expected.iter().map(|response| [response.head.as_ref(), &response.events].concat()).collect();
            let cuts = cuts(&identity(), STAMP, 3, &lengths, bytes_max);
            let found: Vec<Vec<u8>> =
                cuts.iter().map(|cut| [cut.head.as_ref(), &fields[cut.events.clone()].concat()].concat()).collect();
            assert_eq!(found, expected, "{bytes_max:?}");
        }
    }

    #[test]
    fn what_fits_or_cannot_be_cut_is_sent_whole() {
        let one = [encoded(&event(5000))];
        assert_eq!(fragments(&identity(), STAMP, 3, &one, 1000).len(), 1);
        let two = [encoded(&event(100)), encoded(&event(100))];
        let whole = fragments(&identity(), STAMP, 3, &two, 1000);
        assert_eq!(whole.len(), 1);
        assert!(!decoded(&whole[0]).fragment);
    }
}
