//! Leases over the wire.

use crate::server::{Server, put, range, refusal};
use pb::lease_client::LeaseClient;
use proto::etcdserverpb as pb;
use std::time::Duration;

#[tokio::test]
async fn a_lease_is_granted_asked_about_and_revoked_with_its_keys() {
    let server = Server::start();
    let (mut kv, mut lease) = (server.kv().await, LeaseClient::new(server.channel().await));
    let grant = |id, ttl| pb::LeaseGrantRequest { id, ttl };
    let granted = lease.lease_grant(grant(7, 100)).await.expect("granted").into_inner();
    assert_eq!((granted.id, granted.ttl, granted.error.as_str()), (7, 100, ""));
    let exists = (9, "etcdserver: lease already exists".to_string());
    assert_eq!(refusal(lease.lease_grant(grant(7, 100)).await), exists);
    let too_large = (11, "etcdserver: too large lease TTL".to_string());
    assert_eq!(refusal(lease.lease_grant(grant(8, 9_000_000_001)).await), too_large);
    assert_eq!(lease.lease_grant(grant(9, -5)).await.expect("granted").into_inner().ttl, 2, "raised to the least");
    let picked = lease.lease_grant(grant(0, 50)).await.expect("granted").into_inner().id;
    assert!(picked > 0);
    for key in ["b", "a"] {
        kv.put(pb::PutRequest { lease: 7, ..put(key, "v") }).await.expect("put");
    }
    let ask = |id| pb::LeaseTimeToLiveRequest { id, keys: true };
    let mut answer = lease.lease_time_to_live(ask(7)).await.expect("answered").into_inner();
    answer.keys.sort();
    assert_eq!((answer.granted_ttl, answer.keys), (100, vec!["a".into(), "b".into()]));
    assert!((98..=100).contains(&answer.ttl));
    let unknown = lease.lease_time_to_live(ask(404)).await.expect("answered").into_inner();
    assert_eq!((unknown.id, unknown.ttl, unknown.granted_ttl), (404, -1, 0));
    let all = lease.lease_leases(pb::LeaseLeasesRequest {}).await.expect("answered").into_inner();
    let ids: Vec<i64> = all.leases.into_iter().map(|lease| lease.id).collect();
    assert_eq!(ids, [9, picked, 7], "those that end first in front");
    let revoke = |id| pb::LeaseRevokeRequest { id };
    let revoked = lease.lease_revoke(revoke(7)).await.expect("revoked").into_inner();
    assert_eq!(revoked.header.expect("a header").revision, 4, "all keys in one revision");
    assert_eq!(kv.range(range("a", "z")).await.expect("range").into_inner().count, 0);
    let not_found = (5, "etcdserver: requested lease not found".to_string());
    assert_eq!(refusal(lease.lease_revoke(revoke(7)).await), not_found);
}

#[tokio::test]
async fn keep_alives_are_answered_in_order_and_unknown_leases_with_zero() {
    let server = Server::start();
    let mut lease = LeaseClient::new(server.channel().await);
    lease.lease_grant(pb::LeaseGrantRequest { id: 7, ttl: 30 }).await.expect("granted");
    let requests = tokio_stream::iter([7, 404, 7].map(|id| pb::LeaseKeepAliveRequest { id }));
    let mut answers = lease.lease_keep_alive(requests).await.expect("stream").into_inner();
    let mut seen = Vec::new();
    while let Some(answer) = answers.message().await.expect("a message") {
        assert_eq!(answer.header.expect("a header").revision, 1);
        seen.push((answer.id, answer.ttl));
    }
    assert_eq!(seen, [(7, 30), (404, 0), (7, 30)]);
}

#[tokio::test]
async fn an_expired_lease_takes_its_keys_with_it() {
    let server = Server::start();
    let (mut kv, mut lease) = (server.kv().await, LeaseClient::new(server.channel().await));
    lease.lease_grant(pb::LeaseGrantRequest { id: 7, ttl: 1 }).await.expect("granted");
    kv.put(pb::PutRequest { lease: 7, ..put("k", "v") }).await.expect("put");
    let gone = async {
        while kv.range(range("k", "")).await.expect("range").into_inner().count > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("the key goes with the lease");
}
