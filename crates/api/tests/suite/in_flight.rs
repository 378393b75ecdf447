//! Clients that do not read, and bodies that do not end: what they hold is bounded, others are served meanwhile, and
//! in the end everything is given back.

use crate::framing::{call, connect};
use crate::server::{Server, Setup, put};
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::Request;
use prost::Message;
use std::time::Duration;

const MIB: usize = 1 << 20;

fn small() -> Setup {
    let mut setup = Setup::default();
    setup.api.in_flight_bytes_max = 16 * MIB;
    setup.api.body_timeout = Duration::from_millis(500);
    setup
}

/// The value of a metric, as the server itself says.
async fn metric(server: &Server, name: &str) -> f64 {
    let client = connect(server.address()).await;
    let request = Request::get("http://localhost:2379/metrics").body(()).expect("a request");
    let (answer, _) = client.ready().await.expect("ready").send_request(request, true).expect("sent");
    let mut body = answer.await.expect("answered").into_body();
    let mut text = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.expect("data");
        let _ = body.flow_control().release_capacity(chunk.len());
        text.extend_from_slice(&chunk);
    }
    let text = String::from_utf8(text).expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).expect("the metric is there");
    line.parse().expect("a number")
}

async fn wait_until(mut holds: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.expect("it holds in the end");
}

/// A put of almost two MiB whose last kilobyte does not come.
pub async fn begin_put(client: &SendRequest<Bytes>) -> (ResponseFuture, h2::SendStream<Bytes>) {
    let message = put("k", vec![7; 2 * MIB - (8 << 10)]).encode_to_vec();
    let framed = [&[0], &(message.len() as u32).to_be_bytes()[..], &message].concat();
    let request = call("/etcdserverpb.KV/Put").body(()).expect("a request");
    let (answer, mut body) = client.clone().ready().await.expect("ready").send_request(request, false).expect("sent");
    let short = Bytes::from(framed).slice(..message.len() - 1024);
    body.send_data(short, false).expect("sent");
    (answer, body)
}

#[tokio::test]
async fn bodies_that_do_not_end_are_bounded_and_given_up() {
    let server = Server::start_with(small());
    let (one, other) = (connect(server.address()).await, connect(server.address()).await);
    let mut begun = Vec::new();
    for _ in 0..4 {
        for client in [&one, &other] {
            begun.push(begin_put(client).await);
        }
    }
    wait_until(async || metric(&server, "bowline_in_flight_waiting").await > 0.0).await;
    assert!(metric(&server, "bowline_in_flight_bytes").await <= 16e6);
    // What is small is served while others have taken all that they may.
    server.kv().await.put(put("small", "value")).await.expect("served");
    for (answer, _body) in begun {
        let answer = answer.await.expect("answered");
        assert_eq!(answer.headers().get("grpc-status").expect("a status"), "4");
        let text = answer.headers().get("grpc-message").expect("a text").to_str().expect("text");
        assert!(text.starts_with("bowline: ") && text.contains(" bytes came within 0.5s"), "{text}");
    }
    wait_until(async || metric(&server, "bowline_in_flight_bytes").await == 0.0).await;
}

#[tokio::test]
async fn scrapes_that_nobody_reads_hold_neither_threads_nor_texts() {
    let threads = || std::fs::read_dir("/proc/self/task").expect("the process's threads").count();
    let server = Server::start_with(small());
    let client = connect(server.address()).await;
    let _ = metric(&server, "bowline_in_flight_bytes").await;
    let before = threads();
    let mut unread = Vec::new();
    for _ in 0..150 {
        let request = Request::get("http://localhost:2379/metrics").body(()).expect("a request");
        let (answer, _) = client.clone().ready().await.expect("ready").send_request(request, true).expect("sent");
        unread.push(answer.await.expect("answered").into_body());
    }
    // Two for each of two rims, whatever others do in this process.
    assert!(threads() < before + 40, "{before} threads became {}", threads());
    assert!(metric(&server, "bowline_in_flight_bytes").await < 8e6);
    drop((unread, client));
    wait_until(async || metric(&server, "bowline_in_flight_bytes").await == 0.0).await;
}
