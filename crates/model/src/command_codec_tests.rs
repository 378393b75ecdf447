//! Every command is read back as it was written, and no bytes make the decoder panic or overflow its stack.

use super::*;
use bytes::Bytes;
use proptest::prelude::*;

fn bytes() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..6).prop_map(Bytes::from)
}

fn any_range() -> impl Strategy<Value = KeyRange> {
    (bytes(), bytes()).prop_map(|(key, end)| KeyRange::from_wire(key, end))
}

fn any_put() -> impl Strategy<Value = Put> {
    (bytes(), proptest::option::of(bytes()), proptest::option::of(any::<i64>()), any::<bool>()).prop_map(
        |(key, value, lease, prev_kv)| Put {
            key,
            value: value.map_or(PutValue::Keep, PutValue::Set),
            lease: lease.map_or(PutLease::Keep, |id| PutLease::Set(LeaseId(id))),
            prev_kv,
        },
    )
}

fn any_delete() -> impl Strategy<Value = DeleteRange> {
    (any_range(), any::<bool>()).prop_map(|(range, prev_kv)| DeleteRange { range, prev_kv })
}

fn any_range_request() -> impl Strategy<Value = Range> {
    let numbers = (any::<i64>(), any::<u64>(), any::<[i64; 4]>());
    (any_range(), numbers, 0u8..16, any::<bool>(), any::<bool>()).prop_map(
        |(range, (revision, limit, bounds), sort_code, keys_only, count_only)| Range {
            range,
            revision: Revision(revision),
            limit,
            sort: sort(sort_code).expect("codes below 16 are sorts"),
            keys_only,
            count_only,
            mod_bounds: RevisionBounds { min: Revision(bounds[0]), max: Revision(bounds[1]) },
            create_bounds: RevisionBounds { min: Revision(bounds[2]), max: Revision(bounds[3]) },
        },
    )
}

fn any_compare() -> impl Strategy<Value = Compare> {
    let result = prop_oneof![
        Just(CompareResult::Equal),
        Just(CompareResult::Greater),
        Just(CompareResult::Less),
        Just(CompareResult::NotEqual)
    ];
    let target = prop_oneof![
        any::<i64>().prop_map(CompareTarget::Version),
        any::<i64>().prop_map(|n| CompareTarget::Create(Revision(n))),
        any::<i64>().prop_map(|n| CompareTarget::Mod(Revision(n))),
        any::<i64>().prop_map(|n| CompareTarget::Lease(LeaseId(n))),
        bytes().prop_map(CompareTarget::Value),
    ];
    (any_range(), result, target).prop_map(|(range, result, target)| Compare { range, result, target })
}

fn any_txn() -> impl Strategy<Value = Txn> {
    let leaf = prop_oneof![
        any_range_request().prop_map(Operation::Range),
        any_put().prop_map(Operation::Put),
        any_delete().prop_map(Operation::DeleteRange),
    ];
    let operation = leaf.prop_recursive(3, 16, 3, |inner| {
        let branch = proptest::collection::vec(inner, 0..3);
        (proptest::collection::vec(any_compare(), 0..2), branch.clone(), branch)
            .prop_map(|(compares, success, failure)| Operation::Txn(Txn { compares, success, failure }))
    });
    let branch = proptest::collection::vec(operation, 0..3);
    (proptest::collection::vec(any_compare(), 0..3), branch.clone(), branch)
        .prop_map(|(compares, success, failure)| Txn { compares, success, failure })
}

fn any_limits() -> impl Strategy<Value = Limits> {
    let (bytes, keys, writes_per_second) = (any::<Option<u64>>(), any::<Option<u64>>(), any::<Option<u64>>());
    (bytes, keys, writes_per_second).prop_map(|(bytes, keys, writes_per_second)| Limits {
        bytes,
        keys,
        writes_per_second,
    })
}

fn any_command() -> impl Strategy<Value = Command> {
    let alarm_kind = prop_oneof![Just(AlarmKind::None), Just(AlarmKind::NoSpace), Just(AlarmKind::Corrupt)];
    let alarm_action = prop_oneof![Just(AlarmAction::Activate), Just(AlarmAction::Deactivate)];
    prop_oneof![
        any_put().prop_map(Command::Put),
        any_delete().prop_map(Command::DeleteRange),
        any_txn().prop_map(Command::Txn),
        (any::<i64>(), any::<bool>())
            .prop_map(|(revision, physical)| Command::Compact(Compact { revision: Revision(revision), physical })),
        any::<i64>().prop_map(|revision| Command::SpaceCompact(Revision(revision))),
        (any::<i64>(), any::<i64>()).prop_map(|(id, ttl_s)| Command::LeaseGrant(LeaseGrant { id: LeaseId(id), ttl_s })),
        any::<i64>().prop_map(|id| Command::LeaseRevoke(LeaseId(id))),
        proptest::collection::vec((any::<i64>().prop_map(LeaseId), any::<u64>()), 0..4)
            .prop_map(|remaining| Command::LeaseCheckpoint(LeaseCheckpoint { remaining })),
        (alarm_action, any::<u64>(), alarm_kind).prop_map(|(action, member, kind)| Command::Alarm(Alarm {
            action,
            member: MemberId(member),
            kind
        })),
        (any::<u64>(), ".{0,4}", proptest::collection::vec(".{0,4}", 0..3)).prop_map(|(member, name, client_urls)| {
            Command::MemberPublish(MemberPublish { member: MemberId(member), name, client_urls })
        }),
        ".{0,6}".prop_map(Command::ClusterVersionSet),
        (bytes(), any_limits(), any_limits()).prop_map(|(prefix, soft, hard)| Command::BudgetSet(Budget {
            prefix,
            soft,
            hard
        })),
        bytes().prop_map(Command::BudgetRemove),
        (any::<i64>(), any::<u64>()).prop_map(|(compacted, unsettled_bytes)| {
            Command::SpaceSettle(SpaceSettle { compacted: Revision(compacted), unsettled_bytes })
        }),
        (any::<Option<u64>>(), any::<bool>())
            .prop_map(|(bytes, strict_latch)| Command::QuotaSet(QuotaSet { bytes, strict_latch })),
    ]
}

proptest! {
    #[test]
    fn an_entry_is_read_back_as_written(request: u64, leader_time_ms: u64, command in any_command()) {
        let entry = Entry { request: RequestId(request), leader_time_ms, command };
        prop_assert_eq!(decode_entry(encode_entry(&entry).into()), Ok(entry));
    }

    #[test]
    fn a_cut_entry_is_an_error(command in any_command(), cut in 0.0..1.0f64) {
        let whole = encode_entry(&Entry { request: RequestId(1), leader_time_ms: 2, command });
        let length = (whole.len() as f64 * cut) as usize;
        prop_assert!(decode_entry(Bytes::from(whole).slice(..length)).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut input: Vec<u8>) {
        let _ = decode_entry(input.clone().into());
        input.insert(0, FORMAT);
        let _ = decode_entry(input.into());
    }
}

#[test]
fn nesting_beyond_the_limit_is_refused() {
    let nested = |depth: usize| {
        let mut txn = Txn::default();
        for _ in 0..depth {
            txn = Txn { success: vec![Operation::Txn(txn)], ..Txn::default() };
        }
        encode_entry(&Entry { request: RequestId(1), leader_time_ms: 0, command: Command::Txn(txn) })
    };
    assert!(decode_entry(nested(TXN_DEPTH_MAX - 1).into()).is_ok());
    assert_eq!(decode_entry(nested(TXN_DEPTH_MAX).into()), Err(DecodeError::TooDeep { limit: TXN_DEPTH_MAX }));
}
