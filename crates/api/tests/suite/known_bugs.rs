//! What once went wrong in etcd at the rim, seen from the wire; named after the row in docs/known-bugs.md.

use crate::framing::{call, connect, send};
use crate::server::{Server, put, range};
use crate::watch::{Stream, prefix, watchers};
use pb::lease_client::LeaseClient;
use pb::maintenance_client::MaintenanceClient;
use pb::watch_request::RequestUnion;
use proto::etcdserverpb as pb;
use simdisk::Random;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Everything served that takes a message; the two that never end by themselves are tried with the end of their stream.
const METHODS: &[&str] = &[
    "/etcdserverpb.KV/Txn",
    "/etcdserverpb.KV/Range",
    "/etcdserverpb.KV/Put",
    "/etcdserverpb.KV/DeleteRange",
    "/etcdserverpb.KV/RangeStream",
    "/etcdserverpb.KV/Compact",
    "/etcdserverpb.Watch/Watch",
    "/etcdserverpb.Lease/LeaseGrant",
    "/etcdserverpb.Lease/LeaseRevoke",
    "/etcdserverpb.Lease/LeaseKeepAlive",
    "/etcdserverpb.Lease/LeaseTimeToLive",
    "/etcdserverpb.Lease/LeaseLeases",
    "/etcdserverpb.Cluster/MemberList",
    "/etcdserverpb.Maintenance/Alarm",
    "/etcdserverpb.Maintenance/Status",
    "/etcdserverpb.Maintenance/Defragment",
    "/etcdserverpb.Maintenance/Hash",
    "/etcdserverpb.Maintenance/HashKV",
    "/etcdserverpb.Auth/Authenticate",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/List",
];

const NUMBERS: [i64; 9] = [i64::MIN, i64::MIN + 1, -2, -1, 0, 1, 2, i64::MAX - 1, i64::MAX];

/// etcd #14239: a negative lease id put members out of step. Every number of the wire at every edge: an answer or a
/// refusal, never the end of the server, and what was asked for is what is told back.
#[tokio::test]
async fn r29_every_number_may_be_anything() {
    let server = Server::start();
    let channel = server.channel().await;
    let mut kv = server.kv().await;
    let (mut lease, mut maintenance) = (LeaseClient::new(channel.clone()), MaintenanceClient::new(channel));
    for n in NUMBERS {
        let one = range("k", "l");
        for request in [
            pb::RangeRequest { revision: n, ..one.clone() },
            pb::RangeRequest { limit: n, ..one.clone() },
            pb::RangeRequest { min_mod_revision: n, max_create_revision: n, ..one.clone() },
            pb::RangeRequest { min_create_revision: n, max_mod_revision: n, ..one.clone() },
            pb::RangeRequest { sort_order: n as i32, sort_target: n as i32, ..one },
        ] {
            let _ = kv.range(request).await;
        }
        let _ = maintenance.hash_kv(pb::HashKvRequest { revision: n }).await;
        let granted = lease.lease_grant(pb::LeaseGrantRequest { id: n, ttl: 100 }).await.expect("granted").into_inner();
        assert!(granted.id == n || n == 0 && granted.id > 0, "{n} became {}", granted.id);
        kv.put(pb::PutRequest { lease: granted.id, ..put(format!("k{n}"), "v") }).await.expect("put");
        let ask = pb::LeaseTimeToLiveRequest { id: granted.id, keys: true };
        let told = lease.lease_time_to_live(ask).await.expect("answered").into_inner();
        assert_eq!((told.id, told.keys), (granted.id, vec![format!("k{n}").into()]));
        lease.lease_revoke(pb::LeaseRevokeRequest { id: granted.id }).await.expect("revoked");
        let found = kv.range(range(&format!("k{n}"), "")).await.expect("range").into_inner();
        assert_eq!(found.count, 0, "the key went with lease {n}");
        let _ = lease.lease_grant(pb::LeaseGrantRequest { id: 5, ttl: n }).await;
        let _ = lease.lease_revoke(pb::LeaseRevokeRequest { id: 5 }).await;
    }
    for n in NUMBERS {
        // Ascending, so that the last ones meet a compacted store.
        let _ = kv.compact(pb::CompactionRequest { revision: n, physical: true }).await;
    }
    kv.put(put("k", "v")).await.expect("the server goes on");
}

/// etcd #20707, #14563, #8283: start revisions and ids at every edge. Each creation is answered, whether or not it is a
/// watch then, and the stream goes on.
#[tokio::test]
async fn r47_any_creation_is_answered_and_the_stream_goes_on() {
    let server = Server::start();
    let mut stream = Stream::open(&server).await;
    for n in NUMBERS {
        for request in [
            pb::WatchCreateRequest { start_revision: n, ..prefix("a") },
            pb::WatchCreateRequest { watch_id: n, ..prefix("a") },
            pb::WatchCreateRequest { filters: vec![n as i32; 3], ..prefix("a") },
        ] {
            stream.create(request);
            creation_is_answered(&mut stream).await;
        }
        stream.send(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: n }));
    }
    stream.create(prefix("b"));
    creation_is_answered(&mut stream).await;
}

/// Between the answers to creations come those to cancellations.
async fn creation_is_answered(stream: &mut Stream) {
    while !stream.next().await.created {}
}

/// etcd #18784, #20067: tasks and numbers that stayed behind when watches went.
#[tokio::test]
async fn r47_ten_thousand_watches_come_and_go() {
    let server = Server::start();
    let mut stream = Stream::open(&server).await;
    for _ in 0..10 {
        for watch_id in 1..=1000 {
            stream.create(pb::WatchCreateRequest { watch_id, ..prefix("a") });
        }
        for _ in 0..1000 {
            assert!(stream.next().await.created);
        }
        assert_eq!(watchers(&server).await, 1000.0);
        for watch_id in 1..=1000 {
            stream.send(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id }));
        }
        for _ in 0..1000 {
            assert!(stream.next().await.canceled);
        }
        assert_eq!(watchers(&server).await, 0.0);
    }
}

/// ADA-etcd-22, etcd #9379, #9174: malformed requests that ended the server. Arbitrary bytes to every method, and valid
/// messages of other methods with a few bits turned.
#[tokio::test]
async fn r82_arbitrary_bytes_to_every_method() {
    let server = Server::start();
    let client = connect(server.address()).await;
    let mut random = Random::new(7);
    let valid = prost::Message::encode_to_vec(&pb::PutRequest { lease: 3, prev_kv: true, ..put("key", "value") });
    for path in METHODS {
        for round in 0..60 {
            let mut body = valid.clone();
            if round % 2 == 0 {
                body = (0..random.below(64)).map(|_| random.next_u64() as u8).collect();
            }
            for _ in 0..round % 5 {
                let at = random.below(body.len() as u64 + 1) as usize;
                if let Some(byte) = body.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            let message = [&[0], &(body.len() as u32).to_be_bytes()[..], &body].concat();
            let answer = send(&client, call(path), &[&message], true).await;
            assert_eq!(answer.http, 200, "{path}: {body:02x?}");
        }
    }
    // Some of it may have been an alarm.
    let mut maintenance = MaintenanceClient::new(server.channel().await);
    let all = pb::AlarmRequest { action: 2, member_id: server.node.member().0, alarm: 0 };
    maintenance.alarm(all).await.expect("the server goes on");
    assert!(server.kv().await.range(range("k", "")).await.is_ok(), "the server goes on");
}

/// etcd #12342: large answers ended the process for lack of memory. 128 clients ask for 16 MiB each and read none of
/// it; what is held for them is a fraction of it, and others are served.
#[tokio::test]
async fn r80_large_lists_that_nobody_reads_hold_no_memory() {
    let server = Server::start();
    let mut kv = server.kv().await;
    for n in 0..16 {
        kv.put(put(format!("big/{n:02}"), vec![n; 1 << 20])).await.expect("put");
    }
    let body = prost::Message::encode_to_vec(&range("big/", "big0"));
    let message = [&[0], &(body.len() as u32).to_be_bytes()[..], &body].concat();
    let before = resident_bytes();
    let mut readers = Vec::new();
    for _ in 0..128 {
        let mut client = connect(server.address()).await.ready().await.expect("ready");
        let request = call("/etcdserverpb.KV/Range").body(()).expect("valid");
        let (response, mut requests) = client.send_request(request, false).expect("sent");
        requests.send_data(message.clone().into(), true).expect("sent");
        let body = response.await.expect("answered").into_body();
        readers.push((client, body));
    }
    let mut first_bytes = Vec::new();
    for (_, body) in &mut readers {
        first_bytes.push(body.data().await.expect("no end").expect("bytes").len());
        kv.put(put("small", "v")).await.expect("others are served");
    }
    let held = resident_bytes().saturating_sub(before);
    assert!(held < 512 << 20, "{} MiB are held for 2 GiB that nobody reads", held >> 20);
    // One of them reads on, and gets everything.
    let (_client, mut body) = readers.pop().expect("there are some");
    let mut read = first_bytes.pop().expect("there are some");
    body.flow_control().release_capacity(read).expect("was read");
    while let Some(bytes) = body.data().await {
        let bytes = bytes.expect("it goes on");
        read += bytes.len();
        body.flow_control().release_capacity(bytes.len()).expect("was read");
    }
    assert!(read > 16 << 20, "{read} bytes");
}

/// etcd #13932, #14087: a renewal sent while the grant or the revocation was on its way failed for good, or succeeded
/// on a lease that was gone. What was answered counts: granted is there, revoked is gone, in between it is one of the
/// two.
#[tokio::test]
async fn r53_renewals_race_with_grants_and_revocations() {
    let server = Server::start();
    let mut lease = LeaseClient::new(server.channel().await);
    let mut other = LeaseClient::new(server.channel().await);
    for id in 1..=200 {
        let (granted, early) =
            tokio::join!(lease.lease_grant(pb::LeaseGrantRequest { id, ttl: 30 }), renewed(other.clone(), id, 3),);
        granted.expect("granted");
        assert!(early.iter().all(|&ttl| ttl == 0 || ttl == 30), "{early:?}");
        assert!(early.is_sorted(), "granted, and not there afterwards: {early:?}");
        let ask = pb::LeaseTimeToLiveRequest { id, keys: false };
        let told = lease.lease_time_to_live(ask).await.expect("answered").into_inner();
        assert_eq!((told.granted_ttl, renewed(other.clone(), id, 1).await), (30, vec![30]));
        let (revoked, late) =
            tokio::join!(lease.lease_revoke(pb::LeaseRevokeRequest { id }), renewed(other.clone(), id, 3),);
        revoked.expect("revoked");
        assert!(late.is_sorted_by(|before, after| before >= after), "revoked, and there again: {late:?}");
        let told = other.lease_time_to_live(ask).await.expect("answered").into_inner();
        assert_eq!((told.ttl, renewed(other.clone(), id, 1).await), (-1, vec![0]));
    }
}

/// The time to live that each renewal was answered with; 0 for a lease that is not there.
async fn renewed(mut client: LeaseClient<tonic::transport::Channel>, id: i64, times: usize) -> Vec<i64> {
    let requests = vec![pb::LeaseKeepAliveRequest { id }; times];
    let mut answers = client.lease_keep_alive(tokio_stream::iter(requests)).await.expect("a stream").into_inner();
    let mut seen = Vec::new();
    while let Some(answer) = answers.message().await.expect("a message") {
        assert_eq!(answer.id, id);
        seen.push(answer.ttl);
    }
    seen
}

/// etcd #20492: revocations starved behind writes. Under as many writes as fit, leases that run out are gone within a
/// stated time, and one that is revoked is too.
#[tokio::test]
async fn r55_leases_end_in_time_under_saturating_writes() {
    const LAG_MAX: Duration = Duration::from_secs(10);
    let server = Server::start();
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..64 {
        let mut kv = server.kv().await;
        writers.spawn(async move { while kv.put(put(format!("load/{n}"), vec![0; 512])).await.is_ok() {} });
    }
    let (mut kv, mut lease) = (server.kv().await, LeaseClient::new(server.channel().await));
    let mut ttl = 0;
    for id in 1..=20 {
        ttl = lease.lease_grant(pb::LeaseGrantRequest { id, ttl: 1 }).await.expect("granted").into_inner().ttl;
        kv.put(pb::PutRequest { lease: id, ..put(format!("leased/{id}"), "v") }).await.expect("put");
    }
    let granted = Instant::now();
    lease.lease_grant(pb::LeaseGrantRequest { id: 99, ttl: 1000 }).await.expect("granted");
    let asked = Instant::now();
    lease.lease_revoke(pb::LeaseRevokeRequest { id: 99 }).await.expect("revoked under load");
    assert!(asked.elapsed() < LAG_MAX, "{:?} to revoke", asked.elapsed());
    while kv.range(range("leased/", "leased0")).await.expect("range").into_inner().count > 0 {
        assert!(granted.elapsed() < Duration::from_secs(ttl as u64) + LAG_MAX, "a lease of {ttl} s is still there");
    }
    writers.abort_all();
}

/// CVE-2026-33186: a path without its slash went past the checks of the one with it. Odd heads, as bytes: none reaches
/// a method.
#[tokio::test]
async fn r106_odd_heads_reach_no_method() {
    let server = Server::start();
    let good = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/etcdserverpb.KV/Put"),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
    ];
    let with = |name: &'static str, value: &'static str| {
        good.map(|field| if field.0 == name { (name, value) } else { field }).to_vec()
    };
    let paths =
        ["etcdserverpb.KV/Put", "", "*", "/etcdserverpb.KV//Put", "/ETCDSERVERPB.KV/PUT", "/etcdserverpb.KV/Put%20"];
    let mut heads: Vec<Vec<(&str, &str)>> = paths.iter().map(|path| with(":path", path)).collect();
    heads.push(good.iter().copied().filter(|field| field.0 != ":path").collect());
    heads.push(good.iter().copied().filter(|field| field.0 != ":method").collect());
    heads.push([&good[..], &[(":path", "/etcdserverpb.KV/Put")]].concat());
    heads.push([&good[..], &[("connection", "keep-alive")]].concat());
    heads.push([&good[..], &[("TE", "trailers")]].concat());
    heads.push([&good[..], &[("te", "gzip")]].concat());
    heads.push([&good[1..], &[good[0]]].concat());
    heads.push(with(":authority", "a b"));
    heads.push(with(":method", "post"));
    heads.push(with("content-type", "application/grpcx"));
    for fields in heads {
        let before = server.node.view().revision();
        answered_somehow(&server, &fields).await;
        let wrote = server.node.view().revision() != before;
        // What grpc-go serves, and so does etcd: `te` and `:authority` say nothing about the method.
        let is_harmless = fields.contains(&("te", "gzip")) || fields.contains(&(":authority", "a b"));
        assert!(!wrote || is_harmless, "{fields:?}");
    }
    let before = server.node.view().revision();
    answered_somehow(&server, &good).await;
    assert!(server.node.view().revision() > before, "the plain one is served");
}

/// Sends a call of a put with this head, and waits for the server to answer it, reset it or end the connection.
async fn answered_somehow(server: &Server, fields: &[(&str, &str)]) {
    let mut head = Vec::new();
    for (name, value) in fields {
        head.extend([&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat());
    }
    let body = prost::Message::encode_to_vec(&put("k", "v"));
    let message = [&[0], &(body.len() as u32).to_be_bytes()[..], &body].concat();
    let frame = |kind: u8, flags: u8, payload: &[u8]| {
        [&(payload.len() as u32).to_be_bytes()[1..], &[kind, flags, 0, 0, 0, u8::from(kind != 4)], payload].concat()
    };
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let sent = [&preface[..], &frame(4, 0, &[]), &frame(1, 4, &head), &frame(0, 1, &message)].concat();
    let mut socket = tokio::net::TcpStream::connect(server.address()).await.expect("connected");
    socket.write_all(&sent).await.expect("written");
    let answered = async {
        let mut head = [0; 9];
        while socket.read_exact(&mut head).await.is_ok() {
            let [a, b, c, kind, flags, ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            let ends = (kind == 1 || kind == 0) && flags & 1 == 1;
            if socket.read_exact(&mut payload).await.is_err() || ends || kind == 3 || kind == 7 {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), answered).await.expect("in time");
}

/// Of this process, which is the server too.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has resident memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}
