//! Decodes txns, and tells those that nest too deep from bytes that are no txn.
//!
//! The decoder follows a bounded number of messages inside of one another and does not say which of both it met. etcd
//! has no such bound: it refuses deep txns for the number of their operations. So the bytes of a txn that could not be
//! decoded are walked once more, in their order: if nothing is malformed before the first message that the decoder does
//! not follow, it was the bound.
//! Invariants: the walk costs no more than the bytes are long, and is no deeper than the decoder.

use crate::status::{self, Status};
use bytes::Bytes;
use prost::encoding::{self, DecodeContext, WireType};
use prost::{DecodeError, Message};
use proto::etcdserverpb as pb;
use std::ops::RangeInclusive;

/// Messages inside of one another that the decoder follows, the outermost not counted.
const DEPTH_MAX: usize = 100;

// A level is two messages, the operation and its txn.
const _: () = assert!(2 * model::TXN_DEPTH_MAX <= DEPTH_MAX, "whatever is served can be decoded");

pub(crate) fn decode_txn(mut message: Bytes) -> Result<pb::TxnRequest, Status> {
    pb::TxnRequest::decode(message.clone()).map_err(|_| match walk_txn(&mut message, 0, 0) {
        Ok(()) | Err(Stop::TooDeep) => status::TOO_MANY_OPS,
        Err(Stop::Malformed) => status::UNMARSHAL,
    })
}

enum Stop {
    TooDeep,
    Malformed,
}

impl From<DecodeError> for Stop {
    fn from(_: DecodeError) -> Stop {
        Stop::Malformed
    }
}

/// Walks the messages inside of a txn that ends where `end` bytes are left, and that lies in `depth` others.
fn walk_txn(bytes: &mut Bytes, end: usize, depth: usize) -> Result<(), Stop> {
    while let Some(tag) = next_message(bytes, end, depth, 1..=3)? {
        match tag {
            1 => check::<pb::Compare>(bytes)?,
            _ => {
                let end = end_of_message(bytes)?;
                walk_operation(bytes, end, depth + 1)?;
            }
        }
    }
    Ok(())
}

fn walk_operation(bytes: &mut Bytes, end: usize, depth: usize) -> Result<(), Stop> {
    while let Some(tag) = next_message(bytes, end, depth, 1..=4)? {
        match tag {
            1 => check::<pb::RangeRequest>(bytes)?,
            2 => check::<pb::PutRequest>(bytes)?,
            3 => check::<pb::DeleteRangeRequest>(bytes)?,
            _ => {
                let end = end_of_message(bytes)?;
                walk_txn(bytes, end, depth + 1)?;
            }
        }
    }
    Ok(())
}

/// The tag of the next message, one of `messages`, whose length comes next; `None` at the end.
fn next_message(
    bytes: &mut Bytes,
    end: usize,
    depth: usize,
    messages: RangeInclusive<u32>,
) -> Result<Option<u32>, Stop> {
    while bytes.len() > end {
        let (tag, wire_type) = encoding::decode_key(bytes)?;
        let is_message = messages.contains(&tag);
        if is_message {
            encoding::check_wire_type(WireType::LengthDelimited, wire_type)?;
        }
        if depth == DEPTH_MAX {
            return Err(Stop::TooDeep);
        }
        if is_message {
            return Ok(Some(tag));
        }
        skip(wire_type, tag, bytes, depth)?;
    }
    if bytes.len() == end { Ok(None) } else { Err(Stop::Malformed) }
}

/// Passes over a field that nobody knows. A group counts as a message that what is in it lies in.
fn skip(wire_type: WireType, tag: u32, bytes: &mut Bytes, depth: usize) -> Result<(), Stop> {
    if depth == DEPTH_MAX {
        return Err(Stop::TooDeep);
    }
    if wire_type != WireType::StartGroup {
        return Ok(encoding::skip_field(wire_type, tag, bytes, DecodeContext::default())?);
    }
    loop {
        match encoding::decode_key(bytes)? {
            (end, WireType::EndGroup) if end == tag => return Ok(()),
            (_, WireType::EndGroup) => return Err(Stop::Malformed),
            (inner, wire_type) => skip(wire_type, inner, bytes, depth + 1)?,
        }
    }
}

/// How many bytes are left behind the message whose length comes next. As for the decoder, that it ends within the one
/// around it is found out at the end of that.
fn end_of_message(bytes: &mut Bytes) -> Result<usize, Stop> {
    let length = encoding::decode_varint(bytes)?;
    usize::try_from(length).ok().and_then(|length| bytes.len().checked_sub(length)).ok_or(Stop::Malformed)
}

fn check<M: Message + Default>(bytes: &mut Bytes) -> Result<(), Stop> {
    let context = DecodeContext::default();
    Ok(encoding::message::merge(WireType::LengthDelimited, &mut M::default(), bytes, context)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proto::etcdserverpb::request_op::Request;

    fn txn_of(request: Request) -> pb::TxnRequest {
        pb::TxnRequest { success: vec![pb::RequestOp { request: Some(request) }], ..Default::default() }
    }

    fn nested(txns: usize, innermost: pb::TxnRequest) -> pb::TxnRequest {
        (1..txns).fold(innermost, |inner, _| txn_of(Request::RequestTxn(inner)))
    }

    fn put() -> pb::TxnRequest {
        txn_of(Request::RequestPut(pb::PutRequest { key: "k".into(), value: "v".into(), ..Default::default() }))
    }

    fn refusal(message: impl Into<Bytes>) -> Option<Status> {
        decode_txn(message.into()).err()
    }

    #[test]
    fn what_the_decoder_follows_is_decoded_and_what_it_does_not_is_too_deep() {
        for txns in [1, 2, model::TXN_DEPTH_MAX] {
            assert_eq!(decode_txn(nested(txns, put()).encode_to_vec().into()), Ok(nested(txns, put())), "{txns} deep");
        }
        // The last one that the decoder follows may not hold anything.
        let empty = nested(model::TXN_DEPTH_MAX + 1, pb::TxnRequest::default());
        assert_eq!(decode_txn(empty.encode_to_vec().into()), Ok(empty));
        for txns in [model::TXN_DEPTH_MAX + 1, 64, 1000] {
            assert_eq!(refusal(nested(txns, put()).encode_to_vec()), Some(status::TOO_MANY_OPS), "{txns} deep");
        }
    }

    /// What comes first decides, as it does for the decoder.
    #[test]
    fn malformed_bytes_are_no_txn_unless_they_stand_behind_what_is_too_deep() {
        let deep = nested(64, put()).encode_to_vec();
        for malformed in [&[0x12, 0x7f][..], &[0x00], &[0x10, 0x01], &[0x12, 0x02, 0x12, 0x05], &[0x0c], &[0xff; 11]] {
            assert_eq!(refusal(malformed.to_vec()), Some(status::UNMARSHAL), "{malformed:?}");
            assert_eq!(refusal([malformed, &deep].concat()), Some(status::UNMARSHAL), "{malformed:?}");
            assert_eq!(refusal([&deep, malformed].concat()), Some(status::TOO_MANY_OPS), "{malformed:?}");
        }
        let unknown = [0x2a, 0x01, 0x07, 0x30, 0x01];
        assert_eq!(refusal([&unknown[..], &deep].concat()), Some(status::TOO_MANY_OPS));
        assert_eq!(refusal(unknown.to_vec()), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]
        #[test]
        fn a_damaged_txn_is_refused_for_what_the_decoder_met(
            // Around the bound itself an unknown group in the innermost request counts for the decoder and not here:
            // both refuse, for either reason.
            txns in prop_oneof![1usize..47, 52usize..70],
            at in any::<proptest::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut bytes = nested(txns, put()).encode_to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let met = met_by_decoder(&bytes);
            prop_assert_eq!(refusal(bytes), met);
        }
    }

    /// Only its text tells what the decoder met: good enough for a test, which sees when it changes.
    fn met_by_decoder(bytes: &[u8]) -> Option<Status> {
        pb::TxnRequest::decode(bytes).err().map(|error| {
            if error.to_string().contains("recursion limit") { status::TOO_MANY_OPS } else { status::UNMARSHAL }
        })
    }

    #[test]
    fn groups_of_unknown_fields_nest_as_messages_do() {
        let (begin, end, other_end) = ([0xf3, 0x01], [0xf4, 0x01], [0xfc, 0x01]);
        for levels in 98..=103 {
            let whole = [begin.repeat(levels), vec![0x08, 0x01], end.repeat(levels)].concat();
            let crossed = [begin.repeat(levels), other_end.to_vec()].concat();
            for bytes in [whole, crossed] {
                let met = met_by_decoder(&bytes);
                assert_eq!(refusal(bytes), met, "{levels} groups");
            }
        }
    }
}
