//! KV over the wire: answers field by field, refusals, large answers, streams.

use crate::server::{Server, put, range, refusal};
use proto::etcdserverpb as pb;
use proto::mvccpb::KeyValue;

fn pair(key: &str, value: &str, create: i64, modified: i64, version: i64) -> KeyValue {
    KeyValue {
        key: key.to_string().into(),
        value: value.to_string().into(),
        create_revision: create,
        mod_revision: modified,
        version,
        lease: 0,
    }
}

#[tokio::test]
async fn a_put_is_read_back_with_its_numbers() {
    let server = Server::start();
    let mut kv = server.kv().await;
    let first = kv.put(put("k", "v1")).await.expect("put").into_inner();
    let header = first.header.expect("a header");
    assert_eq!((header.cluster_id, header.member_id), (server.node.cluster().0, server.node.member().0));
    assert_eq!((header.revision, first.prev_kv), (2, None));
    assert!(header.raft_term > 0);
    let second = kv.put(pb::PutRequest { prev_kv: true, ..put("k", "v2") }).await.expect("put").into_inner();
    assert_eq!(second.prev_kv, Some(pair("k", "v1", 2, 2, 1)));
    let read = kv.range(range("k", "")).await.expect("range").into_inner();
    assert_eq!((read.kvs, read.count, read.more), (vec![pair("k", "v2", 2, 3, 2)], 1, false));
    let old = kv.range(pb::RangeRequest { revision: 2, ..range("k", "") }).await.expect("range").into_inner();
    assert_eq!(old.kvs, [pair("k", "v1", 2, 2, 1)]);
    assert_eq!(old.header.expect("a header").revision, 3, "the current revision, not the one asked for");
}

#[tokio::test]
async fn refusals_have_etcds_codes_and_texts() {
    let server = Server::start();
    let mut kv = server.kv().await;
    let invalid = |text: &str| (3, text.to_string());
    assert_eq!(refusal(kv.put(put("", "v")).await), invalid("etcdserver: key is not provided"));
    let keep = pb::PutRequest { ignore_value: true, ..put("none", "") };
    assert_eq!(refusal(kv.put(keep).await), invalid("etcdserver: key not found"));
    let leased = pb::PutRequest { lease: 7, ..put("k", "v") };
    assert_eq!(refusal(kv.put(leased).await), (5, "etcdserver: requested lease not found".to_string()));
    let future = pb::RangeRequest { revision: 99, ..range("k", "") };
    let text = "etcdserver: mvcc: required revision is a future revision";
    assert_eq!(refusal(kv.range(future).await), (11, text.to_string()));
    let compact = pb::CompactionRequest { revision: 99, physical: false };
    assert_eq!(refusal(kv.compact(compact).await), (11, text.to_string()));
}

#[tokio::test]
async fn a_request_above_the_limit_is_too_large_and_above_the_message_limit_not_taken() {
    let server = Server::start();
    let mut kv = server.kv().await.max_encoding_message_size(1 << 30);
    let limit = 1536 << 10;
    assert!(kv.put(put("k", vec![1; limit - 100])).await.is_ok());
    let too_large = refusal(kv.put(put("k", vec![1; limit])).await);
    assert_eq!(too_large, (3, "etcdserver: request is too large".to_string()));
    let message = put("k", vec![1; 3 << 20]);
    let length = prost::Message::encoded_len(&message);
    let text = format!("grpc: received message larger than max ({length} vs. {})", limit + (512 << 10));
    assert_eq!(refusal(kv.put(message).await), (8, text));
    assert!(kv.put(put("k", "v")).await.is_ok(), "the connection is still good");
}

#[tokio::test]
async fn deletions_answer_what_they_deleted() {
    let server = Server::start();
    let mut kv = server.kv().await;
    for key in ["a", "b", "c"] {
        kv.put(put(key, key)).await.expect("put");
    }
    let delete = |prev_kv| pb::DeleteRangeRequest { key: "a".into(), range_end: "c".into(), prev_kv };
    let deleted = kv.delete_range(delete(true)).await.expect("deleted").into_inner();
    assert_eq!((deleted.deleted, deleted.header.expect("a header").revision), (2, 5));
    assert_eq!(deleted.prev_kvs, [pair("a", "a", 2, 2, 1), pair("b", "b", 3, 3, 1)]);
    let nothing = kv.delete_range(delete(true)).await.expect("deleted").into_inner();
    assert_eq!((nothing.deleted, nothing.header.expect("a header").revision), (0, 5));
}

fn op(request: pb::request_op::Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

#[tokio::test]
async fn a_txns_answers_nest_like_its_operations() {
    use pb::request_op::Request;
    use pb::response_op::Response;
    let server = Server::start();
    let mut kv = server.kv().await;
    kv.put(put("old", "v")).await.expect("put");
    let inner = pb::TxnRequest {
        compare: vec![pb::Compare { key: "none".into(), ..Default::default() }],
        success: vec![op(Request::RequestRange(range("new", "")))],
        failure: vec![],
    };
    let txn = pb::TxnRequest {
        compare: vec![pb::Compare {
            key: "old".into(),
            result: pb::compare::CompareResult::Greater.into(),
            ..Default::default()
        }],
        success: vec![
            op(Request::RequestPut(pb::PutRequest { prev_kv: true, ..put("new", "n") })),
            op(Request::RequestTxn(inner)),
            op(Request::RequestDeleteRange(pb::DeleteRangeRequest {
                key: "old".into(),
                prev_kv: true,
                ..Default::default()
            })),
            op(Request::RequestRange(pb::RangeRequest { keys_only: true, ..range("a", "z") })),
        ],
        failure: vec![],
    };
    let answer = kv.txn(txn).await.expect("txn").into_inner();
    assert!(answer.succeeded);
    assert_eq!(answer.header.expect("a header").revision, 3);
    let responses: Vec<Response> = answer.responses.into_iter().map(|op| op.response.expect("set")).collect();
    let at = |revision| Some(pb::ResponseHeader { revision, ..Default::default() });
    let keys_only = KeyValue { value: Default::default(), ..pair("new", "", 3, 3, 1) };
    let read = pb::RangeResponse { header: at(3), kvs: vec![pair("new", "n", 3, 3, 1)], more: false, count: 1 };
    let nested = pb::TxnResponse {
        header: Some(pb::ResponseHeader::default()),
        succeeded: true,
        responses: vec![pb::ResponseOp { response: Some(Response::ResponseRange(read)) }],
    };
    let expected = [
        Response::ResponsePut(pb::PutResponse { header: at(3), prev_kv: None }),
        Response::ResponseTxn(nested),
        Response::ResponseDeleteRange(pb::DeleteRangeResponse {
            header: at(3),
            deleted: 1,
            prev_kvs: vec![pair("old", "v", 2, 2, 1)],
        }),
        Response::ResponseRange(pb::RangeResponse { header: at(3), kvs: vec![keys_only], more: false, count: 1 }),
    ];
    assert_eq!(responses, expected);
}

#[tokio::test]
async fn a_read_only_txn_uses_no_revision() {
    use pb::request_op::Request;
    let server = Server::start();
    let mut kv = server.kv().await;
    kv.put(put("k", "v")).await.expect("put");
    let committed = server.node.status().committed;
    let txn = pb::TxnRequest { success: vec![op(Request::RequestRange(range("k", "")))], ..Default::default() };
    let answer = kv.txn(txn).await.expect("txn").into_inner();
    assert_eq!(answer.header.expect("a header").revision, 2);
    assert_eq!(answer.responses.len(), 1);
    assert_eq!(server.node.status().committed, committed, "answered without the log");
}

/// Large answers go out in pieces that are read while the client takes them.
#[tokio::test]
async fn a_large_list_is_whole() {
    let server = Server::start();
    let mut kv = server.kv().await;
    let keys: Vec<String> = (0..300).map(|number| format!("key-{number:05}")).collect();
    for key in &keys {
        kv.put(put(key.as_str(), vec![b'v'; 5000])).await.expect("put");
    }
    let all = kv.range(range("key-", "key.")).await.expect("range").into_inner();
    assert_eq!((all.count, all.more), (300, false));
    assert!(all.kvs.iter().map(|kv| kv.key.as_ref()).eq(keys.iter().map(|key| key.as_bytes())));
    assert!(all.kvs.iter().all(|kv| kv.value.as_ref() == vec![b'v'; 5000]));
    let page = kv.range(pb::RangeRequest { limit: 7, ..range("key-", "key.") }).await.expect("range").into_inner();
    assert_eq!((page.kvs.len(), page.count, page.more), (7, 300, true));
    let count = kv.range(pb::RangeRequest { count_only: true, ..range("key-", "key.") }).await.expect("range");
    assert_eq!(count.into_inner().count, 300);
    let keys_only = kv.range(pb::RangeRequest { keys_only: true, ..range("key-", "key.") }).await.expect("range");
    assert!(keys_only.into_inner().kvs.iter().all(|kv| kv.value.is_empty() && kv.mod_revision > 0));
}

#[tokio::test]
async fn a_streamed_range_merges_to_the_unary_answer() {
    let server = Server::start();
    let mut kv = server.kv().await;
    for number in 0..200 {
        kv.put(put(format!("key-{number:05}"), vec![b'v'; 20_000])).await.expect("put");
    }
    for request in [
        range("key-", "key."),
        pb::RangeRequest { limit: 55, ..range("key-", "key.") },
        pb::RangeRequest { limit: 3, ..range("key-", "key.") },
        pb::RangeRequest { revision: 100, ..range("key-", "key.") },
        pb::RangeRequest { count_only: true, ..range("key-", "key.") },
        pb::RangeRequest { keys_only: true, ..range("key-", "key.") },
        range("none", ""),
    ] {
        let unary = kv.range(request.clone()).await.expect("range").into_inner();
        let mut stream = kv.range_stream(request.clone()).await.expect("stream").into_inner();
        let mut merged = pb::RangeResponse::default();
        let mut messages = 0;
        while let Some(message) = stream.message().await.expect("a message") {
            let part = message.range_response.expect("set");
            assert!(merged.header.is_none(), "only the last message has a header");
            merged.kvs.extend(part.kvs);
            (merged.header, merged.more, merged.count) = (part.header, part.more, part.count);
            messages += 1;
        }
        assert_eq!(merged, unary, "{request:?}");
        assert!(request.limit > 0 || request.count_only || unary.kvs.len() < 50 || messages > 2);
    }
    let sorted = pb::RangeRequest { sort_order: 2, ..range("key-", "key.") };
    let text = "RangeStream does not support custom sort orders".to_string();
    assert_eq!(refusal(kv.range_stream(sorted).await.expect("stream").into_inner().message().await), (12, text));
}

#[tokio::test]
async fn compaction_makes_history_unreadable() {
    let server = Server::start();
    let mut kv = server.kv().await;
    for value in ["1", "2", "3"] {
        kv.put(put("k", value)).await.expect("put");
    }
    let compact = |revision| pb::CompactionRequest { revision, physical: true };
    assert_eq!(kv.compact(compact(3)).await.expect("compacted").into_inner().header.expect("a header").revision, 4);
    let text = "etcdserver: mvcc: required revision has been compacted".to_string();
    assert_eq!(refusal(kv.compact(compact(3)).await), (11, text.clone()));
    let at = |revision| pb::RangeRequest { revision, ..range("k", "") };
    assert_eq!(refusal(kv.range(at(2)).await), (11, text));
    assert_eq!(kv.range(at(3)).await.expect("range").into_inner().kvs[0].value.as_ref(), b"2");
}

#[tokio::test]
async fn a_used_up_quota_refuses_growth_and_nothing_else() {
    let setup = crate::server::Setup { quota_bytes: Some(20_000), ..Default::default() };
    let server = Server::start_with(setup);
    let mut kv = server.kv().await;
    kv.put(put("k", vec![1; 15_000])).await.expect("put");
    let no_space = (8, "etcdserver: mvcc: database space exceeded".to_string());
    assert_eq!(refusal(kv.put(put("l", vec![1; 15_000])).await), no_space);
    assert!(kv.range(range("k", "")).await.is_ok());
    assert!(kv.delete_range(pb::DeleteRangeRequest { key: "k".into(), ..Default::default() }).await.is_ok());
}
