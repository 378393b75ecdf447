//! File descriptors, by a real process under a low limit: clients that say nothing take none from those that talk,
//! files come before connections, a lack of descriptors ends nothing, and a limit that is too low is refused at the
//! start.

use harness::{Kind, Server};
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::{PutRequest, RangeRequest};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};
use tonic::transport::Channel;

/// Longer than anything here should take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const LIMIT: u32 = 256;
/// What silent clients send before they fall silent: nothing, and beginnings of every protocol.
const BEGINNINGS: [&[u8]; 4] =
    [b"", b"\x16\x03\x01\x02", b"GET /health HT", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"];

fn server(folder: &Path, flags: &[&str]) -> Server {
    let mut server = Server::new(Kind::Bowline, Path::new(env!("CARGO_BIN_EXE_bowline")), folder, flags);
    server.limit_descriptors(LIMIT);
    server
}

/// This process needs a descriptor for each client that it plays.
fn raise_own_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("the soft limit can be raised");
}

async fn put(channel: &Channel, key: &str, value: Vec<u8>) -> Result<(), tonic::Status> {
    let request = PutRequest { key: key.to_owned().into(), value: value.into(), ..PutRequest::default() };
    KvClient::new(channel.clone()).put(request).await.map(|_| ())
}

/// Over a new connection.
fn get(url: &str, path: &str) -> String {
    let mut socket = TcpStream::connect(url.trim_start_matches("http://")).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(socket, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    match socket.read_to_string(&mut answer) {
        Ok(_) => answer,
        Err(error) => format!("{path}: {error} behind {answer:?}"),
    }
}

fn open_descriptors(server: &Server) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.id())).expect("it runs").count()
}

#[tokio::test]
async fn thousands_of_silent_connections_take_nothing_from_those_that_talk() {
    raise_own_limit();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let metrics_url = format!("http://127.0.0.1:{}", harness::free_port());
    let mut server = server(folder.path(), &["--listen-metrics-urls", &metrics_url]);
    server.start().await;
    let channel = server.channel().await;
    let mut silent = Vec::new();
    for round in 0..40 {
        let (address, of_metrics) = (server.url(), metrics_url.clone());
        let more = tokio::task::spawn_blocking(move || {
            let begin = |n: usize| {
                // The other listener has its share of them.
                let url = if n % 10 == 9 { &of_metrics } else { &address };
                let mut socket = TcpStream::connect(url.trim_start_matches("http://")).expect("it listens");
                // It may be closed already.
                let _ = socket.write_all(BEGINNINGS[n % BEGINNINGS.len()]);
                socket
            };
            (0..50).map(begin).collect::<Vec<TcpStream>>()
        });
        silent.extend(more.await.expect("they connect"));
        // Values that fill segments of the log, so that new files are needed.
        put(&channel, &format!("key {round}"), vec![7; 256 << 10]).await.expect("it is written");
        let (address, of_metrics) = (server.url(), metrics_url.clone());
        let answers = tokio::task::spawn_blocking(move || [get(&address, "/health"), get(&of_metrics, "/livez")]);
        for answer in answers.await.expect("both are asked") {
            assert!(answer.starts_with("HTTP/1.1 200"), "round {round}: {answer}\n{}", server.log_tail());
        }
    }
    assert!(silent.len() >= 2000 && open_descriptors(&server) <= LIMIT as usize);
    let request = RangeRequest { key: b"key 39".to_vec().into(), ..RangeRequest::default() };
    let found = KvClient::new(channel).range(request).await.expect("the connection that talks is there still");
    assert_eq!(found.into_inner().count, 1);
    let metrics = get(&metrics_url, "/metrics");
    let count = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim().parse::<f64>().unwrap_or_default()
    };
    let evicted = |state: &str| count(&format!("bowline_connections_evicted_total{{state=\"{state}\"}}"));
    assert!(evicted("silent") > 500.0 && evicted("resting") > 0.0, "{metrics}");
    assert_eq!(count("bowline_connections_refused_total"), 0.0);
    assert!(server.log().contains("closed a connection that said nothing for the longest"));
    assert!(server.log().lines().count() < 500, "what clients cause is logged with a limit");
}

#[tokio::test]
async fn a_lack_of_descriptors_ends_nothing_and_passes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut server = server(folder.path(), &[]);
    server.start().await;
    let channel = server.channel().await;
    put(&channel, "before", b"value".to_vec()).await.expect("it is written");

    let process = Pid::from_raw(i32::try_from(server.id()).expect("an id"));
    let limit = |soft: u32| Rlimit { current: Some(soft.into()), maximum: Some(LIMIT.into()) };
    prlimit(process, Resource::Nofile, limit(3)).expect("the limit of an own process can be changed");
    let started = Instant::now();
    let mut refused = false;
    while !refused {
        assert!(started.elapsed() < PATIENCE, "no file was needed:\n{}", server.log_tail());
        // Not all of them are answered: what waits for a file waits for its time.
        let writes = (0..8).map(|n| {
            let channel = channel.clone();
            tokio::spawn(async move { put(&channel, &format!("lacking {n}"), vec![7; 1 << 20]).await })
        });
        for write in writes.collect::<Vec<_>>() {
            refused |= write.await.expect("it is answered").is_err();
        }
    }
    prlimit(process, Resource::Nofile, limit(LIMIT)).expect("the limit of an own process can be changed");
    while put(&channel, "after", b"value".to_vec()).await.is_err() {
        assert!(started.elapsed() < 2 * PATIENCE, "writes do not go on:\n{}", server.log_tail());
    }
    assert!(server.log().contains("Too many open files"), "{}", server.log());
    server.kill();
    server.start().await;
    for key in ["before", "after"] {
        let request = RangeRequest { key: key.as_bytes().to_vec().into(), ..RangeRequest::default() };
        let found = KvClient::new(server.channel().await).range(request).await.expect("it answers");
        assert_eq!(found.into_inner().count, 1, "{key}");
    }
}

#[test]
fn a_limit_that_is_too_low_is_refused_with_the_number_that_is_wanted() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    let command = "ulimit -n 100 && exec \"$@\"";
    let output = std::process::Command::new("/bin/sh")
        .args(["-c", command, "sh", env!("CARGO_BIN_EXE_bowline"), "server", "--listen-client-urls=http://127.0.0.1:0"])
        .args(["--listen-peer-urls=http://127.0.0.1:0", "--advertise-client-urls=http://127.0.0.1:0"])
        .arg(format!("--data-dir={}", data.display()))
        .output()
        .expect("the shell runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("too low; please set higher: the limit is 100, at least 1"), "{said}");
    assert!(!data.exists(), "nothing is made");
}

#[tokio::test]
async fn a_check_of_the_peer_port_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut server = server(folder.path(), &[]);
    server.start().await;
    let address = server.peer_url().trim_start_matches("http://").to_owned();
    let checks = tokio::task::spawn_blocking(move || {
        for _ in 0..2 * LIMIT {
            let mut socket = TcpStream::connect(&address).expect("it listens");
            socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            assert_eq!(socket.read(&mut [0; 8]).expect("it is closed"), 0);
        }
    });
    checks.await.expect("all are closed");
    let log = server.log();
    let lines = log.lines().filter(|line| line.contains("rejected connection on peer endpoint")).count();
    assert!(lines >= 1 && lines < 2 * LIMIT as usize / 4, "{lines} lines");
}
