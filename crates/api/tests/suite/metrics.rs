//! Every metric that is exported moves: two members are driven through everything that they measure, and each name has
//! shown another picture at some look than at another. What cannot move on a lone member is listed with its reason.

use crate::framing::{call, connect, send};
use crate::full_log::{FullLog, LOG};
use crate::http::get;
use crate::in_flight::begin_put;
use crate::server::{Server, Setup, put, range};
use crate::watch::prefix;
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use pb::maintenance_client::MaintenanceClient;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;
use proto::bowline::space_client::SpaceClient;
use proto::bowline::{Budget, BudgetSetRequest, Limits};
use proto::etcdserverpb as pb;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tonic::transport::Channel;

/// Names that stay as they are, and why.
const STILL: &[(&str, &str)] = &[
    ("bowline_server_version", "the release"),
    ("bowline_in_flight_limit_bytes", "set at the start"),
    ("etcd_server_version", "the release of etcd that is served"),
    ("etcd_server_id", "the member"),
    ("etcd_server_feature_enabled", "gates are set at the start"),
    ("etcd_server_quota_backend_bytes", "the quota that the flags say"),
    ("etcd_cluster_version", "agreed on before anybody is served"),
    ("etcd_server_is_learner", "a lone member is none"),
    ("etcd_server_learner_promote_successes", "a lone member has no learners"),
    ("etcd_server_heartbeat_send_failures_total", "a lone member sends none"),
    ("etcd_server_snapshot_apply_in_progress_total", "a lone member is sent none"),
    (
        "etcd_server_read_indexes_failed_total",
        "a round that is lost is asked again, and what comes too late counts as slow",
    ),
    ("etcd_disk_defrag_inflight", "there is nothing to defragment"),
    ("bowline_connections_cut_off_total", "takes a client that sends more small frames than its budget"),
    ("bowline_connections_evicted_total", "takes a process without file descriptors: `descriptors` of cli"),
    ("bowline_connections_refused_total", "takes a process without file descriptors: `descriptors` of cli"),
    ("process_start_time_seconds", "the process starts once"),
    ("process_max_fds", "the system's limit"),
    ("process_virtual_memory_max_bytes", "the system's limit"),
    ("os_fd_limit", "the system's limit"),
];

/// Moves while the second member starts, or before the first look at it.
const EITHER: &[&str] = &["etcd_server_has_leader", "etcd_server_is_leader", "etcd_server_leader_changes_seen_total"];

/// Longer than anything here should take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const MIB: usize = 1 << 20;
/// A value that is damaged on the disk later on.
const MARK: &[u8] = b"the record that is damaged";

/// What a member's `/metrics` said, by name: every distinct picture of a name's samples.
struct Watched {
    address: SocketAddr,
    pictures: BTreeMap<String, BTreeSet<String>>,
    looks: u32,
}

impl Watched {
    fn new(address: SocketAddr) -> Watched {
        Watched { address, pictures: BTreeMap::new(), looks: 0 }
    }

    async fn look(&mut self) {
        let text = get(self.address, "/metrics").await.body;
        let mut pictures: BTreeMap<&str, String> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().expect("there is a first part");
            *pictures.entry(name).or_default() += line;
        }
        for (name, picture) in pictures {
            let seen = self.pictures.entry(name.to_owned()).or_insert_with(|| {
                // A name that was not there before was empty.
                (0..self.looks.min(1)).map(|_| String::new()).collect()
            });
            seen.insert(picture);
        }
        self.looks += 1;
    }

    fn still<'a>(&self, names: &[&'a str]) -> Vec<&'a str> {
        let is_still = |name: &&&str| self.pictures.get(**name).is_none_or(|pictures| pictures.len() < 2);
        names.iter().filter(is_still).copied().collect()
    }

    /// Looks until all of these have moved.
    async fn until_moved(&mut self, names: &[&str]) {
        let started = Instant::now();
        loop {
            self.look().await;
            let still = self.still(names);
            if still.is_empty() {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "still where they were: {still:?}");
        }
    }
}

fn setup(disk: &FullLog) -> Setup {
    let mut setup = Setup { quota_bytes: Some(128 * MIB as u64), disk: disk.disk(), ..Setup::default() };
    setup.api.extensive_metrics = true;
    setup.api.in_flight_bytes_max = 16 * MIB;
    setup.api.feature_gates = vec![("Gate".to_owned(), "ALPHA".to_owned(), false)];
    setup.api.request_timeout = Duration::from_secs(2);
    // Leases may be short, and slow watchers are counted often.
    setup.api.election_timeout = Duration::from_millis(100);
    setup.adjust = |config| {
        config.data_dir = "/data".into();
        config.wal_dir = Some(LOG.into());
        config.tick = Duration::from_millis(10);
        config.scrub_bytes_per_s = 1 << 30;
        config.request_timeout = Duration::from_secs(2);
        config.pressure_retention = Some(Duration::from_secs(1));
        // Every entry takes longer.
        config.warning_apply_duration = Duration::ZERO;
    };
    setup
}

#[tokio::test]
async fn every_metric_moves() {
    let disk = FullLog::new();
    let mut server = Server::start_with(setup(&disk));
    let mut watched = Watched::new(server.address());
    watched.look().await;
    keys(&server, &mut watched).await;
    leases(&server, &mut watched).await;
    watches(&server, &mut watched).await;
    budgets(&server, &mut watched).await;
    health(&server, &mut watched).await;
    wrong_requests(&server, &mut watched).await;
    scrapes(&mut watched).await;
    in_flight(&mut watched).await;
    reclaim(&server, &disk, &mut watched).await;
    full_store(&server, &mut watched).await;
    full_log(&server, &disk, &mut watched).await;
    server.stop();

    let second = start_with_a_full_log(&disk).await;
    let names: BTreeSet<&str> = watched.pictures.keys().chain(second.pictures.keys()).map(String::as_str).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let mut still = second.still(&watched.still(&names));
    still.retain(|name| !EITHER.contains(name));
    still.sort_unstable();
    let mut expected: Vec<&str> = STILL.iter().map(|(name, _)| *name).collect();
    expected.sort_unstable();
    assert_eq!(still, expected, "metrics that never moved, and those that are known not to");
}

async fn keys(server: &Server, watched: &mut Watched) {
    let (mut kv, mut maintenance) = (server.kv().await, MaintenanceClient::new(server.channel().await));
    for value in ["one", "two", "three"] {
        kv.put(put("k", value)).await.expect("put");
    }
    watched.look().await;
    let text = get(server.address(), "/metrics").await.body;
    let size = "etcd_debugging_mvcc_total_put_size_in_bytes 14";
    assert!(text.lines().any(|line| line == size), "three keys of one byte, and their values");
    let in_txn = |request| pb::RequestOp { request: Some(request) };
    let txn = pb::TxnRequest {
        success: vec![in_txn(pb::request_op::Request::RequestPut(put("t", "four")))],
        ..Default::default()
    };
    kv.txn(txn).await.expect("txn");
    let reading = pb::TxnRequest {
        success: vec![in_txn(pb::request_op::Request::RequestRange(range("k", "")))],
        ..Default::default()
    };
    kv.txn(reading).await.expect("read");
    let twice = |request: fn() -> pb::request_op::Request| vec![in_txn(request()), in_txn(request())];
    let reading = || pb::request_op::Request::RequestRange(range("k", ""));
    kv.txn(pb::TxnRequest { success: twice(reading), ..Default::default() }).await.expect("read twice");
    kv.range(range("k", "")).await.expect("range");
    let future = pb::RangeRequest { revision: 1000, ..range("k", "") };
    kv.range(future).await.expect_err("in the future");
    kv.delete_range(pb::DeleteRangeRequest { key: "k".into(), ..Default::default() }).await.expect("deleted");
    maintenance.hash(pb::HashRequest {}).await.expect("hashed");
    maintenance.hash_kv(pb::HashKvRequest { revision: 0 }).await.expect("hashed");
    // Revisions 2 to 4 are puts of k, 5 one of another key, 6 the deletion, 7 a later put.
    kv.put(put("t", "five")).await.expect("put");
    kv.compact(pb::CompactionRequest { revision: 7, physical: true }).await.expect("compacted");
    let text = get(server.address(), "/metrics").await.body;
    let removed = "etcd_debugging_mvcc_db_compaction_keys_total 5";
    assert!(text.lines().any(|line| line == removed), "three versions of k and its deletion, and one of t: {text}");
    watched.look().await;
    assert_eq!(watched.still(&["etcd_mvcc_put_total", "etcd_server_slow_apply_total"]), [""; 0]);
}

async fn leases(server: &Server, watched: &mut Watched) {
    let mut leases = LeaseClient::new(server.channel().await);
    let granted = async |leases: &mut LeaseClient<Channel>, ttl| {
        let request = pb::LeaseGrantRequest { ttl, id: 0 };
        leases.lease_grant(request).await.expect("granted").into_inner().id
    };
    let (short, long) = (granted(&mut leases, 1).await, granted(&mut leases, 100).await);
    assert_ne!(short, long);
    let request = pb::LeaseKeepAliveRequest { id: long };
    let mut answers = leases.lease_keep_alive(tokio_stream::iter([request])).await.expect("a stream").into_inner();
    answers.message().await.expect("a message").expect("renewed");
    leases.lease_revoke(pb::LeaseRevokeRequest { id: long }).await.expect("revoked");
    watched.until_moved(&["etcd_debugging_server_lease_expired_total", "etcd_debugging_lease_renewed_total"]).await;
}

/// One that nobody reads, so that its events wait.
async fn watches(server: &Server, watched: &mut Watched) {
    let mut watches = WatchClient::new(server.channel().await);
    let request = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(prefix("event/"))) };
    let requests = tokio_stream::StreamExt::chain(tokio_stream::iter([request]), tokio_stream::pending());
    let answers = watches.watch(requests).await.expect("a stream").into_inner();
    let mut kv = server.kv().await;
    watched.until_moved(&["etcd_debugging_mvcc_watcher_total", "etcd_debugging_mvcc_watch_stream_total"]).await;
    // More than the client's window takes and the stream queues: its watcher has to wait.
    for number in 0..400 {
        kv.put(put(format!("event/{number}"), vec![7; 20_000])).await.expect("put");
    }
    let names = [
        "etcd_debugging_mvcc_pending_events_total",
        "etcd_debugging_mvcc_events_total",
        "etcd_debugging_mvcc_slow_watcher_total",
    ];
    watched.until_moved(&names).await;
    drop(answers);
}

async fn budgets(server: &Server, watched: &mut Watched) {
    let (mut kv, mut space) = (server.kv().await, SpaceClient::new(server.channel().await));
    let limit = |keys| Some(Limits { keys: Some(keys), ..Limits::default() });
    let budget = Budget { prefix: "/registry/pods".into(), soft: limit(1), hard: limit(2) };
    space.budget_set(BudgetSetRequest { budget: Some(budget) }).await.expect("set");
    watched.look().await;
    for name in ["one", "two"] {
        kv.put(put(format!("/registry/pods/{name}"), "pod")).await.expect("put");
    }
    kv.put(put("/registry/pods/three", "pod")).await.expect_err("over its budget");
    let names = [
        "bowline_budget_limit",
        "bowline_budget_usage",
        "bowline_budget_over_soft",
        "bowline_budget_refused_total",
        "bowline_refused_total",
        "bowline_refused_excess",
    ];
    watched.until_moved(&names).await;
}

async fn health(server: &Server, watched: &mut Watched) {
    let mut maintenance = MaintenanceClient::new(server.channel().await);
    for path in ["/health", "/livez", "/readyz"] {
        assert_eq!(get(server.address(), path).await.status, 200, "{path}");
    }
    watched.look().await;
    let corrupt = |action| pb::AlarmRequest { action, member_id: server.node.member().0, alarm: 2 };
    maintenance.alarm(corrupt(1)).await.expect("raised");
    for path in ["/health", "/readyz"] {
        assert_eq!(get(server.address(), path).await.status, 503, "{path}");
    }
    watched.look().await;
    maintenance.alarm(corrupt(2)).await.expect("cleared");
}

/// A message that is no request ends its stream.
async fn wrong_requests(server: &Server, watched: &mut Watched) {
    let client = connect(server.address()).await;
    send(&client, call("/etcdserverpb.Watch/Watch"), &[&[0, 0, 0, 0, 1, 0xff]], true).await;
    watched.until_moved(&["etcd_network_server_stream_failures_total"]).await;
}

/// A scrape sees itself, and others only beside it.
async fn scrapes(watched: &mut Watched) {
    let done = Arc::new(AtomicBool::new(false));
    let (address, until) = (watched.address, done.clone());
    let others = tokio::spawn(async move {
        while !until.load(Ordering::Relaxed) {
            get(address, "/metrics").await;
        }
    });
    watched.until_moved(&["promhttp_metric_handler_requests_in_flight"]).await;
    done.store(true, Ordering::Relaxed);
    others.await.expect("no panic");
}

/// Two bodies take all that a connection may have; the third waits, and is refused.
async fn in_flight(watched: &mut Watched) {
    let client = connect(watched.address).await;
    let _two = [begin_put(&client).await, begin_put(&client).await];
    let (answer, _body) = begin_put(&client).await;
    watched.until_moved(&["bowline_in_flight_waiting", "bowline_in_flight_waits_total"]).await;
    let answer = answer.await.expect("answered");
    assert_eq!(answer.headers().get("grpc-status").expect("a status"), "8");
    watched.until_moved(&["bowline_in_flight_refused_total"]).await;
}

async fn fill(kv: &mut KvClient<Channel>, count: usize) -> usize {
    for number in 0..count {
        let value = vec![number as u8; MIB];
        // Small ones among them stay, so that their segments have to be copied.
        let kept = kv.put(put(format!("kept/{number}"), vec![7; 4096])).await;
        if kept.is_err() || kv.put(put(format!("large/{number}"), value)).await.is_err() {
            return number;
        }
    }
    count
}

async fn delete_large(kv: &mut KvClient<Channel>) -> i64 {
    let all = pb::DeleteRangeRequest { key: "large/".into(), range_end: "large0".into(), ..Default::default() };
    kv.delete_range(all).await.expect("deleted").into_inner().header.expect("a header").revision
}

async fn reclaim(server: &Server, disk: &FullLog, watched: &mut Watched) {
    let mut kv = server.kv().await;
    assert_eq!(fill(&mut kv, 40).await, 40);
    kv.put(put("marked", MARK)).await.expect("put");
    assert_eq!(fill(&mut kv, 40).await, 40);
    damage(disk);
    let revision = delete_large(&mut kv).await;
    kv.compact(pb::CompactionRequest { revision, physical: false }).await.expect("compacted");
    // Writes of this size wait while the files are longer than they should be.
    let done = Arc::new(AtomicBool::new(false));
    let until = done.clone();
    let writer = tokio::spawn(async move {
        while !until.load(Ordering::Relaxed) {
            // One that waits too long is refused.
            let _ = kv.put(put("waits", vec![7; 64 << 10])).await;
        }
    });
    let names = [
        "bowline_reclaim_backpressure_bytes",
        "bowline_unsettled_bytes",
        "bowline_reclaim_relocated_records_total",
        "bowline_reclaim_relocated_bytes_total",
        "bowline_reclaim_segments_removed_total",
        "bowline_reclaim_pinned_bytes",
        "bowline_reclaim_segments_damaged",
        "bowline_scrub_bytes_total",
        "bowline_scrub_rounds_total",
        "bowline_damaged_records",
        "bowline_checkpoint_duration_seconds_count",
        "etcd_disk_backend_commit_duration_seconds_count",
    ];
    watched.until_moved(&names).await;
    done.store(true, Ordering::Relaxed);
    writer.await.expect("no panic");
}

/// Flips a bit of the marked record in the store; the log keeps its copy.
fn damage(disk: &FullLog) {
    for (path, content) in disk.disk.image() {
        let at = content.windows(MARK.len()).position(|window| window == MARK);
        if let Some(at) = at.filter(|_| !path.starts_with(LOG)) {
            disk.disk.damage(&path, |content| content[at] ^= 1);
        }
    }
}

/// Full, and helped by deletions and the compactions under pressure.
async fn full_store(server: &Server, watched: &mut Watched) {
    let mut kv = server.kv().await;
    assert!(fill(&mut kv, 200).await < 200, "the quota is met");
    watched.until_moved(&["bowline_space_alarms_raised_total", "bowline_space_seconds_to_full"]).await;
    delete_large(&mut kv).await;
    let names = ["bowline_space_alarms_cleared_total", "bowline_space_pressure_compactions_total"];
    watched.until_moved(&names).await;
}

/// The first write waits for the log, later ones are refused.
async fn full_log(server: &Server, disk: &FullLog, watched: &mut Watched) {
    let mut kv = server.kv().await;
    disk.set_full(true);
    gives_up(server, watched).await;
    let done = Arc::new(AtomicBool::new(false));
    let until = done.clone();
    let writer = tokio::spawn(async move {
        while !until.load(Ordering::Relaxed) {
            // Refused or not is not the matter here.
            let _ = kv.put(put("waits", "v")).await;
        }
    });
    watched.until_moved(&["etcd_server_proposals_pending", "etcd_server_proposals_failed_total"]).await;
    disk.set_full(false);
    done.store(true, Ordering::Relaxed);
    writer.await.expect("no panic");
}

/// etcd counts a put whose client went away as cancelled, and its proposal as failed, whether it is done or not.
async fn gives_up(server: &Server, watched: &mut Watched) {
    let mut kv = server.kv().await;
    let canceled = "grpc_server_handled_total{grpc_code=\"Canceled\",grpc_method=\"Put\"";
    let counts = async || {
        let text = get(server.address(), "/metrics").await.body;
        let of = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).expect("exported");
            line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok()).expect("a number")
        };
        (of(canceled), of("etcd_server_proposals_failed_total"))
    };
    let before = counts().await;
    let waits = tokio::spawn(async move { kv.put(put("given up", "v")).await });
    watched.until_moved(&["etcd_server_proposals_pending"]).await;
    waits.abort();
    let started = Instant::now();
    while counts().await != (before.0 + 1, before.1 + 1) {
        assert!(started.elapsed() < PATIENCE, "{before:?} became {:?}", counts().await);
        tokio::task::yield_now().await;
    }
}

/// A member that cannot write its first entry knows nothing as committed: reads wait in vain until it can.
async fn start_with_a_full_log(disk: &FullLog) -> Watched {
    disk.set_full(true);
    let server = Server::start_unready(setup(disk));
    let mut watched = Watched::new(server.address());
    watched.look().await;
    let asked = get(server.address(), "/readyz/linearizable_read").await;
    assert_eq!(asked.status, 503, "{}", asked.body);
    watched.until_moved(&["etcd_server_slow_read_indexes_total"]).await;
    disk.set_full(false);
    watched.until_moved(&["etcd_server_proposals_applied_total"]).await;
    watched
}
