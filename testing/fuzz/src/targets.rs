//! The decoders, each with valid inputs to start from.

use crate::{conditions, etcd_files, files, objects};
use bytes::Bytes;
use consensus::{Entry as LogEntry, EntryKind};
use model::{
    Budget, Command, Compare, CompareResult, CompareTarget, Entry, KeyRange, KeyValue, Operation, Put, PutLease,
};
use model::{
    DeleteRange, LeaseCheckpoint, LeaseId, Limits, PutValue, QuotaSet, Range, RequestId, Revision, SpaceSettle, Txn,
};
use prost::Message;
use stdx::codec::Reader;

pub struct Target {
    pub name: &'static str,
    pub seeds: fn() -> Vec<Vec<u8>>,
    pub run: fn(&[u8]),
}

pub const TARGETS: &[Target] = &[
    Target { name: "log-entry", seeds: log_entry_seeds, run: log_entry },
    Target { name: "key-value", seeds: key_value_seeds, run: key_value },
    Target { name: "raft-entries", seeds: raft_entries_seeds, run: raft_entries },
    Target { name: "grpc-txn", seeds: grpc_txn_seeds, run: grpc_txn },
    Target { name: "log-segments", seeds: files::log_segments, run: files::log },
    Target { name: "log-record", seeds: files::log_segments, run: files::log_record },
    Target { name: "log-batch", seeds: files::log_batches, run: files::log_batch },
    Target { name: "manifest", seeds: files::manifests, run: files::manifest },
    Target { name: "segment", seeds: files::segments, run: files::segment },
    Target { name: "run-block", seeds: files::run_blocks, run: files::run_block },
    Target { name: "state-tables", seeds: files::state_tables, run: files::state_tables_bytes },
    Target { name: "etcd-file", seeds: etcd_files::seeds, run: etcd_files::file },
    Target { name: "etcd-file-pages", seeds: etcd_files::edit_seeds, run: etcd_files::edited },
    Target { name: "kube-value", seeds: objects::values, run: objects::value },
    Target { name: "kube-key", seeds: objects::keys, run: objects::key },
    Target { name: "condition", seeds: conditions::expressions, run: conditions::expression },
];

fn put() -> Put {
    Put { key: "k".into(), value: PutValue::Set("v".into()), lease: PutLease::Set(LeaseId(7)), prev_kv: true }
}

fn txn(depth: usize) -> Txn {
    let nested = if depth > 0 { vec![Operation::Txn(txn(depth - 1))] } else { vec![] };
    let range = Range { revision: Revision(3), limit: 9, ..Range::new(KeyRange::prefix("p")) };
    Txn {
        compares: vec![Compare {
            range: KeyRange::all(),
            result: CompareResult::Less,
            target: CompareTarget::Value("x".into()),
        }],
        success: [vec![Operation::Put(put()), Operation::Range(range)], nested].concat(),
        failure: vec![Operation::DeleteRange(DeleteRange { range: KeyRange::single("d"), prev_kv: false })],
    }
}

pub fn budget() -> Budget {
    let soft = Limits { bytes: Some(1 << 20), keys: None, writes_per_second: Some(5) };
    let hard = Limits { bytes: None, keys: Some(300), writes_per_second: Some(1000) };
    Budget { prefix: "/registry/pods".into(), soft, hard }
}

fn log_entry_seeds() -> Vec<Vec<u8>> {
    let checkpoint = LeaseCheckpoint { remaining: vec![(LeaseId(1), 1000), (LeaseId(-1), 0)] };
    let commands = [
        Command::Put(put()),
        Command::Txn(txn(3)),
        Command::LeaseCheckpoint(checkpoint),
        Command::ClusterVersionSet("3.7.0".to_owned()),
        Command::BudgetSet(budget()),
        Command::BudgetRemove("/registry/pods".into()),
        Command::SpaceCompact(Revision(-7)),
        Command::SpaceSettle(SpaceSettle { compacted: Revision(7), unsettled_bytes: 1 << 30 }),
        Command::QuotaSet(QuotaSet { bytes: Some(2 << 30), strict_latch: true }),
    ];
    let encode = |command| model::encode_entry(&Entry { request: RequestId(1), leader_time_ms: 2, command });
    commands.into_iter().map(encode).collect()
}

fn log_entry(input: &[u8]) {
    if let Ok(entry) = model::decode_entry(Bytes::copy_from_slice(input)) {
        assert_eq!(model::decode_entry(model::encode_entry(&entry).into()), Ok(entry));
    }
}

fn key_value_seeds() -> Vec<Vec<u8>> {
    let kv = KeyValue { key: "key".into(), version: 300, value: "value".into(), ..KeyValue::default() };
    let mut out = Vec::new();
    kv.encode(&mut out);
    vec![out]
}

fn key_value(input: &[u8]) {
    if let Ok(kv) = KeyValue::decode(&Bytes::copy_from_slice(input)) {
        let mut out = Vec::new();
        kv.encode(&mut out);
        assert_eq!(KeyValue::decode(&out.into()), Ok(kv));
    }
}

fn raft_entries_seeds() -> Vec<Vec<u8>> {
    let entry = |index| LogEntry { term: 2, index, kind: EntryKind::Normal, data: "data".into() };
    let mut out = Vec::new();
    consensus::put_entries(&mut out, &[entry(5), entry(6), entry(7)]);
    vec![out]
}

fn raft_entries(input: &[u8]) {
    if let Ok(entries) = consensus::read_entries(&mut Reader::new(Bytes::copy_from_slice(input))) {
        let mut out = Vec::new();
        consensus::put_entries(&mut out, &entries);
        assert_eq!(consensus::read_entries(&mut Reader::new(out.into())), Ok(entries));
    }
}

fn grpc_txn_seeds() -> Vec<Vec<u8>> {
    use proto::etcdserverpb::{PutRequest, RangeRequest, RequestOp, TxnRequest, request_op::Request};
    let operation = |request| RequestOp { request: Some(request) };
    let put = PutRequest { key: "k".into(), value: "v".into(), lease: 1, ..PutRequest::default() };
    let range = RangeRequest { key: "a".into(), range_end: "b".into(), limit: 5, ..RangeRequest::default() };
    let inner = TxnRequest { success: vec![operation(Request::RequestPut(put))], ..TxnRequest::default() };
    let outer = TxnRequest {
        success: vec![operation(Request::RequestTxn(inner)), operation(Request::RequestRange(range))],
        ..TxnRequest::default()
    };
    vec![outer.encode_to_vec()]
}

fn grpc_txn(input: &[u8]) {
    let _ = proto::etcdserverpb::TxnRequest::decode(Bytes::copy_from_slice(input));
}
