//! The client against a running member: guarded changes, leases, what errors say.

use client::pb::{AlarmMember, LeaseTimeToLiveResponse, PutRequest};
use client::{Bytes, Change, Client, ErrorKind, Guarded, LeaseOfPut, Options, To, range_of_prefix};
use harness::{Kind, Server};
use std::path::Path;
use std::time::Duration;

struct Running {
    // Ends the server when dropped.
    _server: Server,
    _folder: tempfile::TempDir,
    client: Client,
}

async fn running() -> Running {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut server = Server::new(Kind::Bowline, Path::new(env!("CARGO_BIN_EXE_bowline")), folder.path(), &[]);
    server.start().await;
    let client = Client::connect(&options(&server.url())).await.expect("it answers");
    Running { _server: server, _folder: folder, client }
}

fn options(endpoint: &str) -> Options {
    Options { endpoints: vec![endpoint.to_owned()], timeout: Duration::from_secs(10), ..Options::default() }
}

async fn put(client: &Client, key: &'static str, value: &'static str, lease: i64) -> i64 {
    let put = PutRequest { key: key.into(), value: value.into(), lease, ..PutRequest::default() };
    client.put(put).await.expect("written").header.expect("every answer has one").revision
}

fn delete(key: &'static str, mod_revision: i64) -> Change {
    Change { key: key.into(), mod_revision, to: To::Delete }
}

#[tokio::test]
async fn a_guarded_change_keeps_the_lease_and_does_all_or_nothing() {
    let Running { client, .. } = &running().await;
    let lease = client.lease_grant(600, 0).await.expect("granted");
    let (a, b) = (put(client, "a", "1", lease).await, put(client, "b", "1", 0).await);
    let kept = client.put_if("a".into(), a, "2".into(), LeaseOfPut::Keep).await;
    assert_eq!(kept, Ok(Guarded::Done(b + 1)));
    let now = client.get(b"a").await.expect("read").expect("is there");
    assert_eq!((now.lease, now.version, now.create_revision, &now.value[..]), (lease, 2, a, &b"2"[..]));
    // One key moved: neither is deleted, and each is told where it is.
    let stale = client.change(vec![delete("b", b), delete("a", a), delete("c", 0)]).await;
    assert_eq!(stale, Ok(Guarded::Conflict(vec![b, b + 1, 0])));
    assert_eq!(client.count(b"").await, Ok(2));
    assert_eq!(client.change(vec![delete("b", b), delete("a", b + 1)]).await, Ok(Guarded::Done(b + 2)));
    assert_eq!(client.count(b"").await, Ok(0));
    // Back from the dead, as an undo does it: only if nobody else was quicker.
    let again = client.put_if("a".into(), 0, "1".into(), LeaseOfPut::Attach(lease)).await;
    assert_eq!(again, Ok(Guarded::Done(b + 3)));
    let late = client.put_if("a".into(), 0, "1".into(), LeaseOfPut::Attach(0)).await;
    assert_eq!(late, Ok(Guarded::Conflict(vec![b + 3])));
    let LeaseTimeToLiveResponse { granted_ttl, keys, .. } =
        client.lease_time_to_live(lease, true).await.expect("it lives");
    assert_eq!((granted_ttl, keys), (600, vec![Bytes::from("a")]));
    assert_eq!(client.lease_leases().await, Ok(vec![lease]));
    client.lease_revoke(lease).await.expect("revoked");
    assert_eq!(client.count(b"a").await, Ok(0));
}

#[tokio::test]
async fn errors_say_what_can_be_done() {
    let Running { client, .. } = &running().await;
    let first = put(client, "k", "1", 0).await;
    let last = put(client, "k", "2", 0).await;
    client.compact(last, true).await.expect("compacted");
    let at = |revision| {
        let mut request = range_of_prefix(b"k");
        request.revision = revision;
        client.range(request)
    };
    assert_eq!(at(first).await.expect_err("gone").kind(), ErrorKind::Compacted);
    assert_eq!(at(last + 9).await.expect_err("not yet").kind(), ErrorKind::FutureRevision);
    assert_eq!(client.compact(last, false).await.expect_err("was done").kind(), ErrorKind::Compacted);
    let no_lease = client.lease_revoke(1).await.expect_err("there is none");
    assert_eq!(no_lease.kind(), ErrorKind::NotFound);
    assert_eq!(
        no_lease.to_string(),
        format!("revoke a lease at {}: etcdserver: requested lease not found", client.endpoint())
    );
    let none = Client::connect(&options("127.0.0.1:1")).await.expect_err("nobody is there");
    assert_eq!(none.kind(), ErrorKind::Unreachable);
}

#[tokio::test]
async fn a_member_tells_of_itself() {
    let Running { client, .. } = &running().await;
    put(client, "k", "1", 0).await;
    let members = client.member_list(true).await.expect("listed");
    let [member] = &members[..] else { panic!("{members:?}") };
    let own = client.at(&member.client_ur_ls[0]).await.expect("it answers");
    let status = own.status().await.expect("it tells");
    assert_eq!(status.leader, member.id);
    let hash = own.hash_kv(0).await.expect("it counts");
    assert_eq!(hash.hash_revision, 2);
    own.defragment().await.expect("done");
    assert_eq!(client.alarm_list().await, Ok(vec![]));
    let all = AlarmMember { member_id: 0, alarm: 1 };
    assert_eq!(client.alarm_disarm(all).await, Ok(vec![]));
}
