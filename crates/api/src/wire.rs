//! Writing protobuf answers by hand: gRPC's five-byte prefix, known lengths, one buffer.
//!
//! Hot answers (a put's, a get's) are a few fields around bytes that are encoded already, so that writing them beats
//! building message structs. Everything here is checked in tests against prost's encoding of the same message.
//! Invariant: fields are written in ascending order and zero values left out, as every protobuf encoder does.

use bytes::Bytes;
use model::{ClusterId, MemberId, Revision, Term};
use stdx::codec::{put_varint, varint_len};

/// Bytes in front of a message on the wire: a flag (0: not compressed) and the length.
pub(crate) const PREFIX_BYTES: usize = 5;

/// Largest message that fits what every client can be told: Go's `math.MaxInt32`.
pub(crate) const MESSAGE_BYTES_MAX: usize = i32::MAX as usize;

/// The fields of a response header that never change, encoded once.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) cluster: ClusterId,
    pub(crate) member: MemberId,
    ids: Box<[u8]>,
}

/// The fields of a response header that change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) revision: Revision,
    pub(crate) term: Term,
}

impl Identity {
    pub(crate) fn new(cluster: ClusterId, member: MemberId) -> Identity {
        let mut ids = Vec::new();
        put_number(&mut ids, 1, cluster.0);
        put_number(&mut ids, 2, member.0);
        Identity { cluster, member, ids: ids.into() }
    }

    fn header_body_len(&self, stamp: Stamp) -> usize {
        self.ids.len() + number_len(3, stamp.revision.0 as u64) + number_len(4, stamp.term.0)
    }

    /// Bytes of the header as field 1 of a response.
    pub(crate) fn header_len(&self, stamp: Stamp) -> usize {
        framed_len(1, self.header_body_len(stamp))
    }

    /// Appends the header as field 1 of a response.
    pub(crate) fn put_header(&self, out: &mut Vec<u8>, stamp: Stamp) {
        put_frame(out, 1, self.header_body_len(stamp));
        out.extend_from_slice(&self.ids);
        put_number(out, 3, stamp.revision.0 as u64);
        put_number(out, 4, stamp.term.0);
    }

    /// The header as a message struct, for answers that are not written by hand.
    pub(crate) fn header(&self, stamp: Stamp) -> Option<proto::etcdserverpb::ResponseHeader> {
        Some(proto::etcdserverpb::ResponseHeader {
            cluster_id: self.cluster.0,
            member_id: self.member.0,
            revision: stamp.revision.0,
            raft_term: stamp.term.0,
        })
    }
}

/// Bytes of a varint field; none for zero. Field numbers below 16 only: their tag is one byte.
pub(crate) fn number_len(_field: u32, value: u64) -> usize {
    if value == 0 { 0 } else { 1 + varint_len(value) }
}

pub(crate) fn put_number(out: &mut Vec<u8>, field: u32, value: u64) {
    debug_assert!(field < 16, "longer tags are not needed");
    if value != 0 {
        out.push((field << 3) as u8);
        put_varint(out, value);
    }
}

/// Bytes of a length-delimited field whose content has `length` bytes; also of an empty one.
pub(crate) fn framed_len(_field: u32, length: usize) -> usize {
    1 + varint_len(length as u64) + length
}

/// Appends tag and length of a length-delimited field; the content follows.
pub(crate) fn put_frame(out: &mut Vec<u8>, field: u32, length: usize) {
    debug_assert!(field < 16, "longer tags are not needed");
    out.push((field << 3 | 2) as u8);
    put_varint(out, length as u64);
}

/// Appends a length-delimited field.
pub(crate) fn put_framed(out: &mut Vec<u8>, field: u32, content: &[u8]) {
    put_frame(out, field, content.len());
    out.extend_from_slice(content);
}

/// A buffer for a message of `length` bytes with its prefix in front.
pub(crate) fn message_buffer(length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(PREFIX_BYTES + length);
    put_prefix(&mut out, length);
    out
}

/// The prefix of a message of `length` bytes, at most `MESSAGE_BYTES_MAX`.
pub(crate) fn put_prefix(out: &mut Vec<u8>, length: usize) {
    debug_assert!(length <= MESSAGE_BYTES_MAX, "checked before anything is built");
    out.push(0);
    out.extend_from_slice(&(length as u32).to_be_bytes());
}

/// A prost message with its prefix.
pub(crate) fn message(message: &impl prost::Message) -> Bytes {
    let length = message.encoded_len();
    let mut out = message_buffer(length);
    message.encode_raw(&mut out);
    out.into()
}

/// A response that carries a header and nothing else.
pub(crate) fn header_only(identity: &Identity, stamp: Stamp) -> Bytes {
    let mut out = message_buffer(identity.header_len(stamp));
    identity.put_header(&mut out, stamp);
    out.into()
}

/// PutResponse: header #1, prev_kv #2.
pub(crate) fn put_response(identity: &Identity, stamp: Stamp, prev_kv: Option<&[u8]>) -> Bytes {
    let prev_len = prev_kv.map_or(0, |kv| framed_len(2, kv.len()));
    let mut out = message_buffer(identity.header_len(stamp) + prev_len);
    identity.put_header(&mut out, stamp);
    if let Some(kv) = prev_kv {
        put_framed(&mut out, 2, kv);
    }
    out.into()
}

/// DeleteRangeResponse: header #1, deleted #2, prev_kvs #3.
pub(crate) fn delete_range_response(identity: &Identity, stamp: Stamp, deleted: u64, prev_kvs: &[Bytes]) -> Vec<u8> {
    let prev_len: usize = prev_kvs.iter().map(|kv| framed_len(3, kv.len())).sum();
    let mut out = message_buffer(identity.header_len(stamp) + number_len(2, deleted) + prev_len);
    identity.put_header(&mut out, stamp);
    put_delete_range_body(&mut out, deleted, prev_kvs);
    out
}

/// The fields of a DeleteRangeResponse behind its header.
pub(crate) fn put_delete_range_body(out: &mut Vec<u8>, deleted: u64, prev_kvs: &[Bytes]) {
    put_number(out, 2, deleted);
    for kv in prev_kvs {
        put_framed(out, 3, kv);
    }
}

/// Bytes of what `put_inner_header` appends.
pub(crate) fn inner_header_len(revision: Revision) -> usize {
    framed_len(1, number_len(3, revision.0 as u64))
}

/// Appends a header that carries only a revision, as answers inside of a txn do.
pub(crate) fn put_inner_header(out: &mut Vec<u8>, revision: Revision) {
    put_frame(out, 1, number_len(3, revision.0 as u64));
    put_number(out, 3, revision.0 as u64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::KeyValue;
    use prost::Message;
    use proto::etcdserverpb as pb;

    fn identity() -> Identity {
        Identity::new(ClusterId(0xcdf8_1818_1818_1818), MemberId(0x8e9e_05c5_2164_694d))
    }

    fn stamps() -> impl Iterator<Item = Stamp> {
        [(1, 2), (0, 0), (300, 0), (i64::MAX, u64::MAX)]
            .into_iter()
            .map(|(revision, term)| Stamp { revision: Revision(revision), term: Term(term) })
    }

    fn body(message: &[u8]) -> Vec<u8> {
        let (prefix, body) = message.split_at(PREFIX_BYTES);
        assert_eq!(prefix[0], 0);
        assert_eq!(prefix[1..], (body.len() as u32).to_be_bytes());
        body.to_vec()
    }

    fn kv(key: &'static str) -> KeyValue {
        KeyValue {
            key: key.into(),
            value: vec![7; 300].into(),
            version: 3,
            create_revision: Revision(2),
            mod_revision: Revision(300),
            ..KeyValue::default()
        }
    }

    fn encoded(kv: &KeyValue) -> Vec<u8> {
        let mut out = Vec::new();
        kv.encode(&mut out);
        out
    }

    fn pb_kv(kv: &KeyValue) -> proto::mvccpb::KeyValue {
        proto::mvccpb::KeyValue::decode(encoded(kv).as_slice()).expect("the stored form is a protobuf message")
    }

    #[test]
    fn answers_written_by_hand_equal_prosts() {
        let identity = identity();
        for stamp in stamps() {
            let header = identity.header(stamp);
            let expected = pb::CompactionResponse { header };
            assert_eq!(body(&header_only(&identity, stamp)), expected.encode_to_vec());

            let expected = pb::PutResponse { header, prev_kv: None };
            assert_eq!(body(&put_response(&identity, stamp, None)), expected.encode_to_vec());
            let expected = pb::PutResponse { header, prev_kv: Some(pb_kv(&kv("k"))) };
            assert_eq!(body(&put_response(&identity, stamp, Some(&encoded(&kv("k"))))), expected.encode_to_vec());

            let prev_kvs = vec![pb_kv(&kv("a")), pb_kv(&kv("b"))];
            let expected = pb::DeleteRangeResponse { header, deleted: 2, prev_kvs };
            let stored: Vec<Bytes> = ["a", "b"].map(|key| encoded(&kv(key)).into()).into();
            assert_eq!(body(&delete_range_response(&identity, stamp, 2, &stored)), expected.encode_to_vec());
            assert_eq!(body(&message(&expected)), expected.encode_to_vec());
        }
    }

    #[test]
    fn a_buffer_is_as_long_as_was_said() {
        let stamp = Stamp { revision: Revision(1 << 40), term: Term(9) };
        let message = delete_range_response(&identity(), stamp, 0, &[]);
        assert_eq!(message.capacity(), message.len());
    }

    #[test]
    fn an_inner_header_without_revision_is_empty_but_there() {
        let mut out = Vec::new();
        put_inner_header(&mut out, Revision(0));
        assert_eq!(out.len(), inner_header_len(Revision(0)));
        let header = Some(pb::ResponseHeader::default());
        assert_eq!(out, pb::PutResponse { header, prev_kv: None }.encode_to_vec());
    }
}
