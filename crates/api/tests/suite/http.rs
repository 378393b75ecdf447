//! The HTTP endpoints over plain sockets: codes, headers, bodies.

use crate::server::{Server, Setup, plain, put};
use api::Serves;
use proto::etcdserverpb as pb;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Status line, headers (as they came) and body of one request.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

pub async fn request(address: SocketAddr, head: &str) -> Answer {
    let mut socket = TcpStream::connect(address).await.expect("connected");
    let request = format!("{head}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("written");
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).await.expect("read");
    let text = String::from_utf8(bytes).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_string(), body: body.to_string() }
}

pub async fn get(address: SocketAddr, target: &str) -> Answer {
    request(address, &format!("GET {target} HTTP/1.1\r\nHost: localhost:2379")).await
}

/// The value of a metric without labels.
pub async fn metric(server: &Server, name: &str) -> f64 {
    let text = get(server.address(), "/metrics").await.body;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} is measured"))
}

#[tokio::test]
async fn r84_health_says_what_is_wrong() {
    let server = Server::start();
    let good = get(server.address(), "/health").await;
    assert_eq!((good.status, good.body.as_str()), (200, r#"{"health":"true","reason":""}"#));
    assert_eq!(good.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(good.header("access-control-allow-origin"), Some("*"));
    let wrong = request(server.address(), "POST /health HTTP/1.1\r\nHost: h").await;
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("GET")));
    assert_eq!(wrong.body, "Method Not Allowed\n");
    let mut maintenance = pb::maintenance_client::MaintenanceClient::new(server.channel().await);
    let raise = |alarm| pb::AlarmRequest { action: 1, member_id: server.node.member().0, alarm };
    maintenance.alarm(raise(1)).await.expect("raised");
    let full = get(server.address(), "/health").await;
    assert_eq!((full.status, full.body.as_str()), (503, "{\"health\":\"false\",\"reason\":\"ALARM NOSPACE\"}\n"));
    assert_eq!(full.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(get(server.address(), "/health?exclude=NOSPACE").await.status, 200);
    assert_eq!(get(server.address(), "/health?serializable=true").await.status, 503);
    assert_eq!(get(server.address(), "/readyz").await.status, 200, "a full store is ready to read");
    maintenance.alarm(raise(2)).await.expect("raised");
    let ready = get(server.address(), "/readyz").await;
    assert_eq!(ready.status, 503);
    assert_eq!(
        ready.body,
        "[-]data_corruption failed: alarm activated: CORRUPT\n[+]serializable_read ok\n[+]linearizable_read ok\n\
         [+]non_learner ok\n\n"
    );
    assert_eq!(get(server.address(), "/readyz?exclude=data_corruption").await.body, "ok\n");
    assert_eq!(get(server.address(), "/livez?verbose").await.body, "[+]serializable_read ok\nok\n");
    assert_eq!(metric(&server, "etcd_server_health_success").await, 2.0);
}

#[tokio::test]
async fn version_and_variables() {
    let server = Server::start();
    let version = get(server.address(), "/version").await;
    assert_eq!(version.body, r#"{"etcdserver":"3.7.3","etcdcluster":"3.7.0","storage":"3.7.0"}"#);
    assert_eq!(version.header("content-type"), Some("application/json"));
    let vars = get(server.address(), "/debug/vars").await;
    assert!(vars.body.starts_with("{\n\"cmdline\": [\"") && vars.body.contains("\"raft.status\": {"));
    let missing = get(server.address(), "/nothing/here").await;
    assert_eq!((missing.status, missing.body.as_str()), (404, "404 page not found\n"));
}

/// An operator must learn which limit it was, and what it should have been.
#[tokio::test]
async fn refusals_say_which_limit_and_by_how_much() {
    let server = Server::start();
    let mut kv = server.kv().await;
    let operation =
        |key: u32| pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put(key.to_string(), "v"))) };
    let txn = pb::TxnRequest { success: (0..131).map(operation).collect(), ..Default::default() };
    kv.txn(txn).await.expect_err("128 are the most");
    let max = api::Config::default().request_bytes_max;
    kv.put(put("k", vec![7; max + 1000])).await.expect_err("too large for the log");
    let message_max = max + (512 << 10);
    kv.put(put("k", vec![7; message_max])).await.expect_err("too large to be taken in");
    let text = get(server.address(), "/metrics").await.body;
    // Of the fields around the value, and of the header that etcd's entry has, with an id made of the member's.
    let id: u64 = server.node.member().0 << 48 | 1 << 47;
    let overhead = 15 + (64 - id.leading_zeros()).div_ceil(7);
    for line in [
        "bowline_refused_total{limit=\"txn_ops\"} 1",
        "bowline_refused_excess{limit=\"txn_ops\"} 3",
        "bowline_refused_total{limit=\"request_size\"} 1",
        &format!("bowline_refused_excess{{limit=\"request_size\"}} {}", 1000 + overhead),
        "bowline_refused_total{limit=\"message_size\"} 1",
        "bowline_refused_excess{limit=\"message_size\"} 8",
        "bowline_refused_total{limit=\"quota\"} 0",
    ] {
        let found: Vec<_> = text.lines().filter(|line| line.starts_with("bowline_refused")).collect();
        assert!(found.contains(&line), "{line} in {found:#?}");
    }
}

#[tokio::test]
async fn metrics_are_compressed_for_who_asks() {
    let server = Server::start();
    let head = "GET /metrics HTTP/1.1\r\nHost: localhost:2379\r\nAccept-Encoding: gzip";
    let mut socket = TcpStream::connect(server.address()).await.expect("connected");
    socket.write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes()).await.expect("written");
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).await.expect("read");
    let at = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let (head, body) = (String::from_utf8_lossy(&bytes[..at]).to_lowercase(), &bytes[at + 4..]);
    assert!(head.contains("content-encoding: gzip") && head.contains("content-type: text/plain"), "{head}");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(body), &mut text).expect("gzip");
    assert!(text.contains("etcd_server_has_leader 1\n"), "{text}");
    assert!(body.len() * 4 < text.len(), "{} bytes for {}", body.len(), text.len());
    let plain = get(server.address(), "/metrics").await;
    assert_eq!(plain.header("content-encoding"), None);
}

#[tokio::test]
async fn calls_are_counted_by_method_and_code() {
    let server = Server::start();
    let mut kv = server.kv().await;
    kv.put(put("k", "v")).await.expect("put");
    let _ = kv.put(put("", "v")).await.expect_err("refused");
    let metrics = get(server.address(), "/metrics").await;
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8; escaping=underscores"));
    let labels = r#"grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary""#;
    for line in [
        format!("grpc_server_started_total{{{labels}}} 2"),
        format!("grpc_server_handled_total{{grpc_code=\"OK\",{labels}}} 1"),
        format!("grpc_server_handled_total{{grpc_code=\"InvalidArgument\",{labels}}} 1"),
        format!("grpc_server_handled_total{{grpc_code=\"DataLoss\",{labels}}} 0"),
        format!("grpc_server_msg_received_total{{{labels}}} 2"),
        format!("grpc_server_msg_sent_total{{{labels}}} 2"),
        "etcd_server_has_leader 1".to_string(),
        "etcd_mvcc_put_total 1".to_string(),
        "etcd_debugging_mvcc_current_revision 2".to_string(),
        "etcd_server_client_requests_total{client_api_version=\"unknown\",type=\"unary\"} 2".to_string(),
        "etcd_cluster_version{cluster_version=\"3.7\"} 1".to_string(),
    ] {
        assert!(metrics.body.lines().any(|found| found == line), "{line}");
    }
    assert!(!metrics.body.contains("grpc_server_handling_seconds"), "only with extensive metrics");
}

#[tokio::test]
async fn listeners_answer_only_what_they_are_for() {
    let mut setup = Setup::default();
    setup.api.listen = vec![plain(Serves::Grpc), plain(Serves::Http), plain(Serves::Metrics)];
    let server = Server::start_with(setup);
    let [grpc, http, metrics] = server.addresses.as_slice() else { panic!("three listeners") };
    assert!(server.kv().await.put(put("k", "v")).await.is_ok());
    let mut socket = TcpStream::connect(grpc).await.expect("connected");
    socket.write_all(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n").await.expect("written");
    let mut bytes = Vec::new();
    let _ = socket.read_to_end(&mut bytes).await;
    assert!(bytes.is_empty(), "HTTP has its own listener");
    assert_eq!(get(*http, "/version").await.status, 200);
    assert_eq!(get(*metrics, "/health").await.status, 200);
    assert_eq!(get(*metrics, "/metrics").await.status, 200);
    assert_eq!(get(*metrics, "/metrics").await.header("access-control-allow-origin"), None);
    assert_eq!(get(*metrics, "/version").await.status, 404);
}

#[tokio::test]
async fn r99_foreign_hosts_and_origins_are_kept_out_if_lists_are_set() {
    let mut setup = Setup::default();
    setup.api.host_whitelist = vec!["localhost".to_string()];
    setup.api.cors = vec!["https://good".to_string()];
    let server = Server::start_with(setup);
    let foreign = request(server.address(), "GET /health HTTP/1.1\r\nHost: evil:2379").await;
    assert_eq!(foreign.status, 421);
    assert!(foreign.body.contains("etcd --host-whitelist \"evil\""));
    let asked = |origin: &str| {
        let head = format!("OPTIONS /health HTTP/1.1\r\nHost: localhost:2379\r\nOrigin: {origin}");
        let address = server.address();
        async move { request(address, &head).await }
    };
    let good = asked("https://good").await;
    assert_eq!((good.status, good.header("access-control-allow-origin")), (200, Some("https://good")));
    assert_eq!(asked("https://evil").await.header("access-control-allow-origin"), None);
}
