//! The checks in etcd's order, case by case, and the overlap rules with etcd's blind spots.

use super::*;
use pb::request_op::Request;
use proptest::prelude::*;
use prost::Message;

proptest! {
    /// Whatever decodes is checked without a panic, and what passes stays within the bounds that execution relies on.
    #[test]
    fn arbitrary_txns_are_refused_or_bounded(ops in proptest::collection::vec(any_op(3), 0..6), bytes: Vec<u8>) {
        let _ = txn(of(ops), 128);
        if let Ok(request) = pb::TxnRequest::decode(bytes.as_slice()) {
            let _ = txn(request, 128);
        }
    }
}

fn any_op(depth: u32) -> impl Strategy<Value = pb::RequestOp> {
    let text = || prop_oneof![Just(""), Just("a"), Just("b"), Just("\0")];
    let leaf = (text(), text(), 0..4).prop_map(|(key, end, kind)| match kind {
        0 => put_op(key),
        1 => delete_op(key, end),
        2 => range_op(key, false),
        _ => pb::RequestOp { request: None },
    });
    leaf.prop_recursive(depth, 24, 4, |inner| {
        let list = proptest::collection::vec(inner, 0..4);
        (list.clone(), list).prop_map(|(success, failure)| txn_op(success, failure))
    })
}

fn put_op(key: &'static str) -> pb::RequestOp {
    op(Request::RequestPut(pb::PutRequest { key: key.into(), value: "v".into(), ..Default::default() }))
}

fn delete_op(key: &'static str, range_end: &'static str) -> pb::RequestOp {
    let request = pb::DeleteRangeRequest { key: key.into(), range_end: range_end.into(), prev_kv: false };
    op(Request::RequestDeleteRange(request))
}

fn range_op(key: &'static str, serializable: bool) -> pb::RequestOp {
    op(Request::RequestRange(pb::RangeRequest { key: key.into(), serializable, ..Default::default() }))
}

fn txn_op(success: Vec<pb::RequestOp>, failure: Vec<pb::RequestOp>) -> pb::RequestOp {
    op(Request::RequestTxn(pb::TxnRequest { compare: vec![], success, failure }))
}

fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn of(success: Vec<pb::RequestOp>) -> pb::TxnRequest {
    pb::TxnRequest { compare: vec![], success, failure: vec![] }
}

fn refusal(request: pb::TxnRequest) -> Option<Status> {
    txn(request, 128).err()
}

#[test]
fn an_empty_key_comes_before_a_wrong_sort_option() {
    let wrong_sort = pb::RangeRequest { sort_order: 3, ..Default::default() };
    assert_eq!(range(wrong_sort.clone()), Err(status::EMPTY_KEY));
    let with_key = pb::RangeRequest { key: "k".into(), ..wrong_sort };
    assert_eq!(range(with_key), Err(status::INVALID_SORT_OPTION));
    let wrong_target = pb::RangeRequest { key: "k".into(), sort_target: 5, ..Default::default() };
    assert_eq!(range(wrong_target), Err(status::INVALID_SORT_OPTION));
}

#[test]
fn default_orders_need_no_sort() {
    let sorted = |order, target| {
        range(pb::RangeRequest { key: "k".into(), sort_order: order, sort_target: target, ..Default::default() })
            .expect("valid")
            .sort
    };
    assert_eq!(sorted(0, 0), None);
    assert_eq!(sorted(1, 0), None);
    assert_eq!(sorted(2, 0), Some(Sort { target: SortTarget::Key, order: SortOrder::Descend }));
    assert_eq!(sorted(0, 3), Some(Sort { target: SortTarget::Mod, order: SortOrder::Unspecified }));
    assert_eq!(sorted(1, 3), Some(Sort { target: SortTarget::Mod, order: SortOrder::Ascend }));
    assert_eq!(sorted(2, 4), Some(Sort { target: SortTarget::Value, order: SortOrder::Descend }));
}

#[test]
fn a_negative_limit_is_no_limit() {
    let request = pb::RangeRequest { key: "k".into(), limit: -1, ..Default::default() };
    assert_eq!(range(request).expect("valid").limit, 0);
}

#[test]
fn a_streamed_range_is_neither_sorted_nor_filtered() {
    let request = |change: fn(&mut pb::RangeRequest)| {
        let mut request = pb::RangeRequest { key: "k".into(), ..Default::default() };
        change(&mut request);
        range_stream(request).err()
    };
    assert_eq!(request(|_| ()), None);
    assert_eq!(request(|r| r.sort_order = 1), None);
    assert_eq!(request(|r| r.sort_target = 2), None);
    assert_eq!(request(|r| r.sort_order = 2), Some(status::STREAM_SORT));
    assert_eq!(request(|r| (r.sort_order, r.sort_target) = (1, 1)), Some(status::STREAM_SORT));
    assert_eq!(request(|r| r.min_mod_revision = 1), Some(status::STREAM_FILTER));
    assert_eq!(request(|r| r.max_create_revision = 1), Some(status::STREAM_FILTER));
    assert_eq!(request(|r| r.key = Bytes::new()), Some(status::EMPTY_KEY));
}

#[test]
fn put_checks_key_then_value_then_lease() {
    let all_wrong = pb::PutRequest {
        key: Bytes::new(),
        value: "v".into(),
        lease: 1,
        ignore_value: true,
        ignore_lease: true,
        prev_kv: false,
    };
    assert_eq!(put(all_wrong.clone()), Err(status::EMPTY_KEY));
    let with_key = pb::PutRequest { key: "k".into(), ..all_wrong };
    assert_eq!(put(with_key.clone()), Err(status::VALUE_PROVIDED));
    let without_value = pb::PutRequest { value: Bytes::new(), ..with_key };
    assert_eq!(put(without_value.clone()), Err(status::LEASE_PROVIDED));
    let right = put(pb::PutRequest { lease: 0, ..without_value }).expect("valid");
    assert_eq!((right.value, right.lease), (PutValue::Keep, PutLease::Keep));
}

#[test]
fn delete_needs_a_key() {
    assert_eq!(delete_range(pb::DeleteRangeRequest::default()), Err(status::EMPTY_KEY));
}

#[test]
fn operations_are_counted_per_list_and_nested_ones_have_what_is_left() {
    let puts = |count: usize| -> Vec<pb::RequestOp> { (0..count).map(|_| range_op("k", false)).collect() };
    assert!(txn(of(puts(4)), 4).is_ok());
    assert_eq!(txn(of(puts(5)), 4).err(), Some(status::TOO_MANY_OPS));
    let compares = vec![pb::Compare { key: "k".into(), ..Default::default() }; 5];
    let request = pb::TxnRequest { compare: compares, ..Default::default() };
    assert_eq!(txn(request, 4).err(), Some(status::TOO_MANY_OPS));
    assert!(txn(of(vec![txn_op(puts(3), puts(3))]), 4).is_ok());
    assert_eq!(txn(of(vec![txn_op(puts(4), vec![])]), 4).err(), Some(status::TOO_MANY_OPS));
    assert_eq!(txn(of(vec![txn_op(vec![], puts(4))]), 4).err(), Some(status::TOO_MANY_OPS));
}

#[test]
fn nesting_is_bounded_even_where_nothing_is_counted() {
    let nested = |depth| (1..depth).fold(of(vec![]), |inner, _| of(vec![op(Request::RequestTxn(inner))]));
    assert!(txn(nested(model::TXN_DEPTH_MAX), usize::MAX).is_ok());
    assert_eq!(txn(nested(model::TXN_DEPTH_MAX + 1), usize::MAX).err(), Some(status::TOO_MANY_OPS));
}

#[test]
fn too_many_operations_come_before_an_empty_key() {
    let request = pb::TxnRequest { compare: vec![pb::Compare::default(); 5], ..Default::default() };
    assert_eq!(txn(request.clone(), 4).err(), Some(status::TOO_MANY_OPS));
    assert_eq!(txn(request, 5).err(), Some(status::EMPTY_KEY));
}

#[test]
fn compares_come_before_operations_and_success_before_failure() {
    let unset = pb::RequestOp { request: None };
    let no_key =
        pb::TxnRequest { compare: vec![pb::Compare::default()], success: vec![unset.clone()], failure: vec![] };
    assert_eq!(refusal(no_key), Some(status::EMPTY_KEY));
    let both = pb::TxnRequest { compare: vec![], success: vec![unset.clone()], failure: vec![put_op("")] };
    assert_eq!(refusal(both), Some(status::KEY_NOT_FOUND));
    let failure_only = pb::TxnRequest { compare: vec![], success: vec![], failure: vec![put_op("")] };
    assert_eq!(refusal(failure_only), Some(status::EMPTY_KEY));
}

#[test]
fn duplicate_keys_come_after_all_shapes() {
    let request = pb::TxnRequest {
        compare: vec![],
        success: vec![put_op("a"), put_op("a")],
        failure: vec![pb::RequestOp { request: None }],
    };
    assert_eq!(refusal(request), Some(status::KEY_NOT_FOUND));
    assert_eq!(refusal(of(vec![put_op("a"), put_op("a")])), Some(status::DUPLICATE_KEY));
}

#[test]
fn puts_and_deletes_of_one_branch_must_not_meet() {
    let duplicate = Some(status::DUPLICATE_KEY);
    assert_eq!(refusal(of(vec![put_op("b"), delete_op("b", "")])), duplicate);
    assert_eq!(refusal(of(vec![delete_op("a", "c"), put_op("b")])), duplicate);
    assert_eq!(refusal(of(vec![put_op("c"), delete_op("a", "c")])), None);
    assert_eq!(refusal(of(vec![delete_op("a", "d"), delete_op("b", "c")])), None);
    let other_branch = pb::TxnRequest { compare: vec![], success: vec![put_op("a")], failure: vec![put_op("a")] };
    assert_eq!(refusal(other_branch), None);
}

/// Seen on etcd 3.7.3: `put b; del a --from-key` in one txn is carried out, and so is a delete whose end is at or below
/// its key.
#[test]
fn deletes_of_everything_from_a_key_on_are_not_seen() {
    assert_eq!(refusal(of(vec![put_op("b"), delete_op("a", "\0")])), None);
    assert_eq!(refusal(of(vec![put_op("b"), delete_op("b", "a")])), None);
}

#[test]
fn nested_puts_conflict_with_outer_ones_but_not_between_their_branches() {
    let duplicate = Some(status::DUPLICATE_KEY);
    assert_eq!(refusal(of(vec![put_op("a"), txn_op(vec![put_op("a")], vec![])])), duplicate);
    assert_eq!(refusal(of(vec![delete_op("a", ""), txn_op(vec![], vec![put_op("a")])])), duplicate);
    assert_eq!(refusal(of(vec![put_op("a"), txn_op(vec![delete_op("a", "")], vec![])])), duplicate);
    assert_eq!(refusal(of(vec![txn_op(vec![put_op("a")], vec![put_op("a")])])), None);
    let twice = vec![txn_op(vec![put_op("a")], vec![]), txn_op(vec![], vec![put_op("a")])];
    assert_eq!(refusal(of(twice)), duplicate);
}

/// Earlier nested deletes are held against later nested puts, but not the other way round.
#[test]
fn nested_txns_are_compared_in_order() {
    let put = || txn_op(vec![put_op("a")], vec![]);
    let delete = || txn_op(vec![delete_op("a", "")], vec![]);
    assert_eq!(refusal(of(vec![delete(), put()])), Some(status::DUPLICATE_KEY));
    assert_eq!(refusal(of(vec![put(), delete()])), None);
}

#[test]
fn only_ranges_make_a_txn_read_only() {
    let read = |success, failure| {
        let checked = txn(pb::TxnRequest { compare: vec![], success, failure }, 128).expect("valid");
        (checked.read_only, checked.serializable)
    };
    assert_eq!(read(vec![], vec![]), (true, true));
    assert_eq!(read(vec![range_op("a", true)], vec![range_op("b", true)]), (true, true));
    assert_eq!(read(vec![range_op("a", true)], vec![range_op("b", false)]), (true, false));
    assert_eq!(read(vec![range_op("a", true)], vec![put_op("b")]), (false, false));
    assert_eq!(read(vec![txn_op(vec![range_op("a", true)], vec![])], vec![]), (false, false));
}

#[test]
fn a_compare_outside_of_the_enums_behaves_as_etcds() {
    use pb::compare::TargetUnion;
    let of = |result, target, target_union| {
        compare(pb::Compare { result, target, key: "k".into(), range_end: Bytes::new(), target_union })
            .map(|compare| (compare.result, compare.target))
    };
    let version = |version| Some(TargetUnion::Version(version));
    assert_eq!(of(0, 0, version(7)), Some((CompareResult::Equal, CompareTarget::Version(7))));
    assert_eq!(of(1, 0, Some(TargetUnion::Lease(7))), Some((CompareResult::Greater, CompareTarget::Version(0))));
    assert_eq!(of(0, 3, None), Some((CompareResult::Equal, CompareTarget::Value(Bytes::new()))));
    assert_eq!(of(9, 0, version(7)), None);
    assert_eq!(of(9, 3, None), Some((CompareResult::NotEqual, CompareTarget::Version(0))));
    assert_eq!(of(0, 9, version(7)), None);
    assert_eq!(of(3, 9, version(7)), Some((CompareResult::Less, CompareTarget::Version(i64::MIN))));
}
