//! Readers see one revision each, however long they take and whatever is written meanwhile.
//!
//! Every write is a txn that sets a left and a right key to the same value. A torn image shows a pair that differs, a
//! key too many or too few, or a revision beyond its header.

use crate::server::{Server, put, range};
use pb::request_op::Request;
use proto::etcdserverpb as pb;
use proto::mvccpb::KeyValue;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tonic::transport::Channel;

const PAIRS: usize = 4_000;
const PAIRS_PER_TXN: usize = 50;
/// Each kind of reader reads so often, and on until so many writes went on beside it.
const ROUNDS: usize = 3;
const WRITES_MIN: u64 = 500;

type Kv = pb::kv_client::KvClient<Channel>;

fn set_pairs(pairs: impl Iterator<Item = usize>, value: u64) -> pb::TxnRequest {
    let op = |key: String| pb::RequestOp { request: Some(Request::RequestPut(put(key, value.to_string()))) };
    let success = pairs.flat_map(|pair| [op(format!("left/{pair:05}")), op(format!("right/{pair:05}"))]).collect();
    pb::TxnRequest { success, ..Default::default() }
}

fn check(kvs: &[KeyValue], revision: i64, reader: &str) {
    assert!(kvs.iter().all(|kv| kv.mod_revision <= revision), "{reader}: a pair from after revision {revision}");
    let side = |side: &str| -> BTreeMap<Vec<u8>, &[u8]> {
        let mine = kvs.iter().filter(|kv| kv.key.starts_with(side.as_bytes()));
        mine.map(|kv| (kv.key[side.len()..].to_vec(), kv.value.as_ref())).collect()
    };
    let (left, right) = (side("left"), side("right"));
    assert_eq!((left.len(), kvs.len()), (PAIRS, 2 * PAIRS), "{reader} at revision {revision}");
    assert!(left == right, "{reader} at revision {revision}: half of a txn");
}

fn everything(limit: i64, key: &str, revision: i64) -> pb::RangeRequest {
    pb::RangeRequest { limit, revision, ..range(key, "\0") }
}

async fn list(kv: &mut Kv) {
    let answer = kv.range(everything(0, "\0", 0)).await.expect("listed").into_inner();
    check(&answer.kvs, answer.header.expect("a header").revision, "list");
}

async fn stream(kv: &mut Kv) {
    let mut parts = kv.range_stream(everything(0, "\0", 0)).await.expect("streamed").into_inner();
    let (mut kvs, mut header) = (Vec::new(), None);
    while let Some(message) = parts.message().await.expect("a message") {
        let part = message.range_response.expect("set");
        kvs.extend(part.kvs);
        header = part.header;
    }
    check(&kvs, header.expect("a header").revision, "stream");
}

/// As kube-apiserver pages: the later pages at the revision of the first, each with the count of what is left.
async fn pages(kv: &mut Kv) {
    let (mut kvs, mut revision, mut from) = (Vec::new(), 0, "\0".to_owned());
    loop {
        let page = kv.range(everything(500, &from, revision)).await.expect("a page").into_inner();
        if revision == 0 {
            revision = page.header.expect("a header").revision;
        }
        assert_eq!(page.count as usize, 2 * PAIRS - kvs.len(), "count at revision {revision}");
        kvs.extend(page.kvs);
        if !page.more {
            break;
        }
        let last = kvs.last().expect("a page with more has pairs").key.to_vec();
        from = String::from_utf8(last).expect("test keys are text") + "\0";
    }
    check(&kvs, revision, "pages");
}

#[tokio::test]
async fn lists_streams_and_pages_beside_writes_see_whole_revisions() {
    let server = Server::start();
    let mut kv = server.kv().await.max_decoding_message_size(64 << 20);
    for first in (0..PAIRS).step_by(PAIRS_PER_TXN) {
        kv.txn(set_pairs(first..first + PAIRS_PER_TXN, 0)).await.expect("written");
    }
    let (done, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writer = tokio::spawn({
        let (done, written, mut kv) = (done.clone(), written.clone(), kv.clone());
        async move {
            let mut value = 0;
            while !done.load(Ordering::Relaxed) {
                value += 1;
                let pair = (value as usize).wrapping_mul(7919) % PAIRS;
                kv.txn(set_pairs([pair, (pair + 1) % PAIRS].into_iter(), value)).await.expect("written");
                written.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let mut round = 0;
    while round < ROUNDS || written.load(Ordering::Relaxed) < WRITES_MIN {
        let (mut one, mut two, mut three) = (kv.clone(), kv.clone(), kv.clone());
        tokio::join!(list(&mut one), stream(&mut two), pages(&mut three));
        round += 1;
    }
    done.store(true, Ordering::Relaxed);
    writer.await.expect("the writer ends");
    list(&mut kv).await;
}
