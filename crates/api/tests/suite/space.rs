//! Who fills the store, and a quota that heals, over the wire.

use crate::server::{Server, Setup, put, refusal};
use pb::maintenance_client::MaintenanceClient;
use proto::bowline::space_client::SpaceClient;
use proto::bowline::{Account, Order, TopRequest};
use proto::etcdserverpb as pb;

const NO_SPACE: &str = "etcdserver: mvcc: database space exceeded";

#[tokio::test]
async fn accounts_are_told_by_what_was_asked_for() {
    let server = Server::start();
    let (mut kv, mut space) = (server.kv().await, SpaceClient::new(server.channel().await));
    for key in ["/registry/pods/a/x", "/registry/pods/b/y", "/registry/events/a/z"] {
        kv.put(put(key, vec![7; 100])).await.expect("put");
    }
    kv.put(put("/registry/events/a/z", vec![7; 5000])).await.expect("put");
    kv.delete_range(pb::DeleteRangeRequest { key: "/registry/pods/a/x".into(), ..Default::default() })
        .await
        .expect("deleted");
    let all = TopRequest { limit: 0, order: Order::RetainedBytes.into() };
    let top = space.top(all).await.expect("told").into_inner();
    let names: Vec<_> = top.accounts.iter().map(|account| account.prefix.clone()).collect();
    assert_eq!(names, ["/registry/events", "/registry/pods"]);
    let sum: u64 = top.accounts.iter().map(|account| account.live_bytes + account.history_bytes).sum();
    assert_eq!((top.retained_bytes, top.accounts_total, top.alarm), (sum, 2, false));
    assert!(top.physical_bytes >= sum);
    let by_keys = TopRequest { limit: 1, order: Order::Deletes.into() };
    let top = space.top(by_keys).await.expect("told").into_inner();
    let [Account { keys, writes, deletes, live_bytes, history_bytes, prefix }] = &top.accounts[..] else {
        panic!("one account was asked for: {top:?}")
    };
    assert_eq!((&prefix[..], *keys, *writes, *deletes), (&b"/registry/pods"[..], 1, 2, 1));
    assert!(*live_bytes > 100 && *history_bytes > 100);
}

#[tokio::test]
async fn a_full_store_serves_what_does_not_grow_and_heals_by_deletion_and_compaction() {
    let server = Server::start_with(Setup { quota_bytes: Some(1 << 20), ..Setup::default() });
    let (mut kv, mut maintenance) = (server.kv().await, MaintenanceClient::new(server.channel().await));
    let mut written = 0;
    let refused = loop {
        match kv.put(put(format!("/registry/reports/{written}"), vec![7; 10_000])).await {
            Ok(_) => written += 1,
            refused => break refusal(refused),
        }
    };
    assert_eq!(refused, (8, NO_SPACE.to_string()));
    let alarms = async |maintenance: &mut MaintenanceClient<_>| {
        maintenance.alarm(pb::AlarmRequest::default()).await.expect("listed").into_inner().alarms.len()
    };
    assert_eq!(alarms(&mut maintenance).await, 1);
    kv.put(put("/registry/reports/0", vec![8; 10_000])).await.expect("a rewrite does not grow");
    assert_eq!(refusal(kv.put(put("/registry/pods/new", "v")).await), (8, NO_SPACE.to_string()));
    let reports = pb::DeleteRangeRequest {
        key: "/registry/reports/".into(),
        range_end: "/registry/reports0".into(),
        ..Default::default()
    };
    let deleted = kv.delete_range(reports).await.expect("deletions are served").into_inner();
    assert_eq!(deleted.deleted, written);
    assert_eq!(alarms(&mut maintenance).await, 1, "what was deleted is history");
    let revision = deleted.header.expect("a header").revision;
    kv.compact(pb::CompactionRequest { revision, physical: false }).await.expect("compaction is served");
    assert_eq!(alarms(&mut maintenance).await, 0);
    kv.put(put("/registry/pods/new", "v")).await.expect("there is room");
}
