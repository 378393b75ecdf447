//! Reads of whole ranges: they answer what short ones do, others of their rim are served meanwhile, and nobody goes on
//! with one whose client is gone.

use crate::framing::{call, connect};
use crate::server::{Server, Setup, put, range};
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::Request;
use pb::range_request::{SortOrder, SortTarget};
use pb::request_op::Request as Op;
use pb::response_op::Response as Answer;
use prost::Message;
use proto::etcdserverpb as pb;
use std::time::Duration;

const KEYS: usize = 6_000;
const KEYS_PER_TXN: usize = 100;

fn one_rim() -> Server {
    let mut setup = Setup::default();
    setup.api.rims = 1;
    Server::start_with(setup)
}

async fn fill(server: &Server, value_bytes: usize) {
    let mut kv = server.kv().await;
    for first in (0..KEYS).step_by(KEYS_PER_TXN) {
        let op = |key: usize| {
            let value = vec![b'a' + (key % 17) as u8; value_bytes];
            pb::RequestOp { request: Some(Op::RequestPut(put(format!("key/{:05}", key * 7919 % KEYS), value))) }
        };
        let success = (first..first + KEYS_PER_TXN).map(op).collect();
        kv.txn(pb::TxnRequest { success, ..Default::default() }).await.expect("written");
    }
}

fn everything() -> pb::RangeRequest {
    range("\0", "\0")
}

fn sorted_by_value(limit: i64) -> pb::RangeRequest {
    let (sort_target, sort_order) = (SortTarget::Value.into(), SortOrder::Descend.into());
    pb::RangeRequest { sort_target, sort_order, limit, ..everything() }
}

#[tokio::test]
async fn long_ranges_answer_in_every_order_and_txns_answer_the_same() {
    let server = one_rim();
    fill(&server, 40).await;
    let mut kv = server.kv().await;
    let all = kv.range(everything()).await.expect("listed").into_inner();
    assert_eq!((all.kvs.len(), all.count, all.more), (KEYS, KEYS as i64, false));
    assert!(all.kvs.is_sorted_by(|one, other| one.key < other.key));
    let keys_only = pb::RangeRequest { keys_only: true, limit: 3000, ..everything() };
    let found = kv.range(keys_only.clone()).await.expect("listed").into_inner();
    assert_eq!((found.kvs.len(), found.count, found.more), (3000, KEYS as i64, true));
    assert!(found.kvs.iter().zip(&all.kvs).all(|(found, all)| found.key == all.key && found.value.is_empty()));
    let mut expected = all.kvs.clone();
    expected.sort_by(|one, other| other.value.cmp(&one.value));
    for limit in [0, 5, 2000] {
        let found = kv.range(sorted_by_value(limit)).await.expect("sorted").into_inner();
        let expected = if limit == 0 { &expected } else { &expected[..limit as usize] };
        assert_eq!(found.kvs, *expected, "limit {limit}");
        assert_eq!((found.count, found.more), (KEYS as i64, limit > 0));
    }
    let counted = pb::RangeRequest { count_only: true, ..everything() };
    let requests = [everything(), keys_only, sorted_by_value(5), counted, range("key/00007", "")];
    let success = requests.iter().map(|request| pb::RequestOp { request: Some(Op::RequestRange(request.clone())) });
    let compare = pb::Compare {
        target: pb::compare::CompareTarget::Version.into(),
        result: pb::compare::CompareResult::Greater.into(),
        key: "\0".into(),
        range_end: "\0".into(),
        target_union: Some(pb::compare::TargetUnion::Version(0)),
    };
    let txn = pb::TxnRequest { compare: vec![compare], success: success.collect(), ..Default::default() };
    let answer = kv.txn(txn).await.expect("read").into_inner();
    assert!(answer.succeeded);
    assert_eq!(answer.responses.len(), requests.len());
    for (request, response) in requests.into_iter().zip(answer.responses) {
        let Some(Answer::ResponseRange(found)) = response.response else { panic!("a range") };
        let alone = kv.range(request).await.expect("read").into_inner();
        let header = |response: &pb::RangeResponse| response.header.map(|header| header.revision);
        assert_eq!(header(&found), header(&alone));
        assert_eq!((found.kvs, found.count, found.more), (alone.kvs, alone.count, alone.more));
    }
}

async fn begin(client: &SendRequest<Bytes>, request: &pb::RangeRequest) -> ResponseFuture {
    let message = request.encode_to_vec();
    let framed = [&[0], &(message.len() as u32).to_be_bytes()[..], &message].concat();
    let head = call("/etcdserverpb.KV/Range").body(()).expect("a request");
    let (answer, mut body) = client.clone().ready().await.expect("ready").send_request(head, false).expect("sent");
    body.send_data(framed.into(), true).expect("sent");
    answer
}

async fn health(client: &SendRequest<Bytes>) {
    let request = Request::get("http://localhost:2379/health").body(()).expect("a request");
    let (answer, _) = client.clone().ready().await.expect("ready").send_request(request, true).expect("sent");
    assert_eq!(answer.await.expect("answered").status(), 200);
}

/// How many times others are served is counted, not how long that takes: each of them may wait for a slice, and not for
/// a whole read.
#[tokio::test]
async fn others_of_a_rim_are_served_while_one_client_reads_everything_in_order_of_values() {
    let server = one_rim();
    fill(&server, 100).await;
    let (flood, other) = (connect(server.address()).await, connect(server.address()).await);
    health(&other).await;
    let mut answers = Vec::new();
    for _ in 0..40 {
        answers.push(tokio::spawn(begin(&flood, &sorted_by_value(1)).await));
    }
    let mut served = 0;
    while answers.iter().any(|answer| !answer.is_finished()) {
        health(&other).await;
        served += 1;
    }
    // Each of the 40 reads takes more than 20 slices; one that ran through would let one request in.
    assert!(served > 100, "{served} requests of another client were served beside the flood");
    for answer in answers {
        assert_eq!(answer.await.expect("no panic").expect("answered").status(), 200);
    }
}

#[tokio::test]
async fn a_read_ends_with_its_client() {
    let server = one_rim();
    fill(&server, 100).await;
    let (gone, other) = (connect(server.address()).await, server.kv().await);
    let mut answers = Vec::new();
    for _ in 0..200 {
        answers.push(begin(&gone, &sorted_by_value(1)).await);
    }
    // It comes behind them, and is not behind their work.
    health(&gone).await;
    let canceled = async || {
        let text = crate::http::get(server.address(), "/metrics").await.body;
        let line = "grpc_server_handled_total{grpc_code=\"Canceled\",grpc_method=\"Range\",";
        text.lines().find(|text| text.starts_with(line)).and_then(|text| text.rsplit(' ').next()?.parse::<f64>().ok())
    };
    drop((answers, gone));
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while canceled().await.unwrap_or_default() < 1.0 {
            other.clone().range(range("key/00007", "")).await.expect("served");
        }
    });
    waited.await.expect("those that were not answered are given up");
}
