//! A damaged record, met by every call that reads: the code is DATA_LOSS, the text names file and offset, and nobody is
//! left to guess whether a write was done.

use crate::server::{Server, Setup, put, range, refusal};
use crate::watch::{Stream, prefix};
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::request_op::Request;
use proto::etcdserverpb as pb;
use simdisk::SimDisk;
use std::sync::Arc;
use std::time::Duration;

const DATA_LOSS: i32 = 15;
const MARK: &[u8] = b"the value that is damaged";

/// A member with large values around a small one, whose record is damaged.
async fn damaged() -> (Server, SimDisk) {
    let disk = SimDisk::new();
    let server = Server::start_with(Setup { disk: Arc::new(disk.clone()), ..Setup::default() });
    let mut kv = server.kv().await;
    for key in ["a/1", "a/2", "a/3"] {
        kv.put(put(key, vec![b'x'; 400 << 10])).await.expect("put");
    }
    kv.put(put("k", MARK)).await.expect("put");
    for key in ["z/1", "z/2", "z/3"] {
        kv.put(put(key, vec![b'x'; 400 << 10])).await.expect("put");
    }
    while !flip(&disk) {
        // It is written with the next tick.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (server, disk)
}

/// Damages the marked record in the store, or heals it; false if it is not in its file.
fn flip(disk: &SimDisk) -> bool {
    let rest = &MARK[1..];
    let mut found = false;
    for (path, content) in disk.image() {
        let at = content.windows(rest.len()).position(|window| window == rest);
        if let Some(at) = at.filter(|_| path.to_string_lossy().contains("segment-")) {
            disk.damage(&path, |content| content[at - 1] ^= 1);
            found = true;
        }
    }
    found
}

#[track_caller]
fn assert_lost<T: std::fmt::Debug>(result: Result<T, tonic::Status>, begins: &str) {
    let (code, text) = refusal(result);
    assert_eq!(code, DATA_LOSS, "{text}");
    assert!(text.starts_with(begins), "{text}");
    assert!(text.contains("/segment-00000001 at byte ") && text.contains("record fails its checksum"), "{text}");
}

fn operation(request: Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

#[tokio::test]
async fn a_read_of_a_damaged_record_is_data_loss_whatever_it_is_read_for() {
    let (server, _disk) = damaged().await;
    let mut kv = server.kv().await;
    assert_lost(kv.range(range("k", "")).await, "read value: ");
    // Behind much that was sent already, with nothing before it, and with nothing behind it.
    for (from, to) in [("\0", "\0"), ("k", "\0"), ("\0", "l")] {
        assert_lost(kv.range(range(from, to)).await, "read value: ");
    }
    let sorted = pb::RangeRequest { sort_target: 4, sort_order: 1, ..range("\0", "\0") };
    assert_lost(kv.range(sorted).await, "read: ");
    let reads = pb::TxnRequest {
        success: vec![operation(Request::RequestRange(range("\0", "\0")))],
        ..pb::TxnRequest::default()
    };
    assert_lost(kv.txn(reads).await, "read value: ");
    let mut stream = kv.range_stream(range("\0", "\0")).await.expect("a stream").into_inner();
    let ended = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            ended => break ended,
        }
    };
    assert_lost(ended, "read value: ");
    let around = kv.range(pb::RangeRequest { keys_only: true, ..range("\0", "\0") }).await.expect("keys are there");
    assert_eq!(around.into_inner().kvs.len(), 7);
    assert_eq!(kv.range(range("z/", "z0")).await.expect("the others are there").into_inner().kvs.len(), 3);
    let mut watch = Stream::open(&server).await;
    watch.create(pb::WatchCreateRequest { start_revision: 1, ..prefix("k") });
    let ended = loop {
        match watch.try_next().await {
            Ok(Some(_)) => {}
            ended => break ended,
        }
    };
    assert_lost(ended, "read events: ");
}

#[tokio::test]
async fn a_write_that_needs_a_damaged_record_is_not_done() {
    let (server, disk) = damaged().await;
    let mut kv = server.kv().await;
    let before = server.node.view().revision();
    let compare = |key: &str, range_end: &str| pb::Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Value.into(),
        key: key.to_string().into(),
        range_end: range_end.to_string().into(),
        target_union: Some(TargetUnion::Value("x".into())),
    };
    let write = || operation(Request::RequestPut(put("new", "1")));
    let txn = |compare, operations| pb::TxnRequest { compare, success: operations, failure: vec![write()] };
    let sorted = pb::RangeRequest { sort_target: 4, sort_order: 1, ..range("\0", "\0") };
    let nothing = "bowline: nothing was done: the value of k at revision ";
    for request in [
        txn(vec![compare("k", "")], vec![write()]),
        txn(vec![compare("\0", "\0")], vec![write()]),
        txn(vec![], vec![write(), operation(Request::RequestRange(sorted))]),
        txn(vec![], vec![operation(Request::RequestPut(pb::PutRequest { prev_kv: true, ..put("k", "1") }))]),
    ] {
        assert_lost(kv.txn(request).await, nothing);
    }
    assert_lost(kv.put(pb::PutRequest { ignore_value: true, ..put("k", "") }).await, nothing);
    assert_lost(kv.put(pb::PutRequest { prev_kv: true, ..put("k", "1") }).await, nothing);
    let delete = pb::DeleteRangeRequest { key: "k".into(), prev_kv: true, ..pb::DeleteRangeRequest::default() };
    assert_lost(kv.delete_range(delete).await, nothing);
    assert_eq!(server.node.view().revision(), before);
    // What is done all the same says so.
    let both = txn(vec![], vec![write(), operation(Request::RequestRange(range("k", "")))]);
    assert_lost(kv.txn(both).await, &format!("bowline: done at revision {}, its answer is lost: ", before.0 + 1));
    assert_eq!(kv.range(range("new", "")).await.expect("it was done").into_inner().count, 1);
    // Nothing of this keeps anybody from writing, the damaged key included.
    kv.put(put("k", "whole again")).await.expect("put");
    assert_eq!(kv.range(range("k", "")).await.expect("read").into_inner().kvs[0].value, "whole again");
    drop(disk);
}
