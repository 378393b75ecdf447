//! Every message survives its encoding, and no bytes make the decoder panic.

use super::*;
use crate::entry::{EntryKind, INDEX_MAX};
use proptest::prelude::*;

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..300, 0..=INDEX_MAX]
}

fn position() -> impl Strategy<Value = Position> {
    (number(), number()).prop_map(|(term, index)| Position { term, index })
}

fn context() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn stage() -> impl Strategy<Value = VoteStage> {
    prop_oneof![Just(VoteStage::Pre), Just(VoteStage::Real)]
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    (1u64..1 << 40, prop::collection::vec((0u64..2, context()), 0..10)).prop_map(|(first, steps)| {
        let mut term = 3;
        let entry = |((step, data), index)| {
            term += step;
            Entry { term, index, kind: EntryKind::Normal, data }
        };
        steps.into_iter().zip(first..).map(entry).collect()
    })
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        (position(), number(), entries()).prop_map(|(previous, commit, entries)| Body::Append {
            previous,
            commit,
            entries
        }),
        (number(), number()).prop_map(|(index, commit)| Body::Appended { index, commit }),
        (number(), number(), position()).prop_map(|(index, commit, hint)| Body::AppendRejected { index, commit, hint }),
        (stage(), position(), position(), any::<bool>()).prop_map(|(stage, last, commit, transfer)| Body::Vote {
            stage,
            last,
            commit,
            transfer
        }),
        (stage(), any::<bool>(), position()).prop_map(|(stage, granted, commit)| Body::VoteReply {
            stage,
            granted,
            commit
        }),
        (number(), context()).prop_map(|(commit, context)| Body::Heartbeat { commit, context }),
        (number(), context()).prop_map(|(commit, context)| Body::HeartbeatReply { commit, context }),
        Just(Body::TransferLeader),
        Just(Body::TimeoutNow),
        context().prop_map(|context| Body::ReadIndex { context }),
        (number(), context()).prop_map(|(index, context)| Body::ReadIndexReply { index, context }),
    ]
}

proptest! {
    #[test]
    fn messages_are_read_back(from: u64, to: u64, term in number(), body in body()) {
        let message = Message { from, to, term, body };
        let mut out = Vec::new();
        message.encode(&mut out);
        prop_assert_eq!(Message::decode(out.into()), Ok(message));
    }

    #[test]
    fn a_shortened_message_is_refused(term in number(), body in body(), cut in 1usize..8) {
        let mut out = Vec::new();
        Message { from: 1, to: 2, term, body }.encode(&mut out);
        out.truncate(out.len() - cut.min(out.len()));
        prop_assert!(Message::decode(out.into()).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(tag in 0u8..16, rest: Vec<u8>) {
        let mut input = vec![FORMAT, tag];
        input.extend(rest);
        let _ = Message::decode(input.into());
    }
}
