//! gRPC and HTTP/2 as clients get them wrong: every case ends with the status that grpc-go's server gives, and the
//! connection goes on.

use crate::server::{Server, Setup, put};
use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use prost::Message;
use proto::etcdserverpb as pb;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What came back: HTTP status, gRPC status and text, and the message bytes.
#[derive(Debug, PartialEq)]
pub struct Answer {
    pub http: u16,
    pub code: Option<String>,
    pub text: Option<String>,
    pub body: Vec<u8>,
}

pub async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let socket = TcpStream::connect(address).await.expect("connected");
    let (client, connection) = h2::client::handshake(socket).await.expect("handshake");
    tokio::spawn(connection);
    client
}

pub fn call(path: &str) -> http::request::Builder {
    Request::builder()
        .method("POST")
        .uri(format!("http://localhost:2379{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
}

/// Sends the chunks as DATA frames, ends the stream if told to, and waits for the answer.
pub async fn send(client: &SendRequest<Bytes>, request: http::request::Builder, chunks: &[&[u8]], end: bool) -> Answer {
    let mut client = client.clone().ready().await.expect("ready");
    let request = request.body(()).expect("valid request");
    let (response, mut stream) = client.send_request(request, false).expect("sent");
    for chunk in chunks {
        // A server that has answered already may refuse the rest.
        let _ = stream.send_data(Bytes::copy_from_slice(chunk), false);
    }
    if end {
        let _ = stream.send_data(Bytes::new(), true);
    }
    let response = tokio::time::timeout(Duration::from_secs(20), response).await.expect("in time").expect("answered");
    let (parts, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.expect("data");
        bytes.extend_from_slice(&chunk);
        let _ = body.flow_control().release_capacity(chunk.len());
    }
    let trailers = body.trailers().await.expect("trailers").unwrap_or_default();
    let field = |name: &str| {
        let of =
            |headers: &HeaderMap| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        of(&trailers).or(of(&parts.headers))
    };
    Answer { http: parts.status.as_u16(), code: field("grpc-status"), text: field("grpc-message"), body: bytes }
}

fn framed(message: &impl Message) -> Vec<u8> {
    let body = message.encode_to_vec();
    [&[0], &(body.len() as u32).to_be_bytes()[..], &body].concat()
}

fn refused(http: u16, code: u8, text: &str) -> Answer {
    Answer { http, code: Some(code.to_string()), text: Some(text.to_string()), body: Vec::new() }
}

const PUT: &str = "/etcdserverpb.KV/Put";

#[tokio::test]
async fn a_message_may_come_in_any_pieces() {
    let server = Server::start();
    let client = connect(server.address()).await;
    let message = framed(&put("k", "value"));
    for cut in [1, 2, 4, 5, 6, message.len()] {
        let chunks: Vec<&[u8]> = message.chunks(cut).collect();
        let answer = send(&client, call(PUT), &chunks, true).await;
        assert_eq!((answer.http, answer.code.as_deref()), (200, Some("0")), "cut into {cut}");
        assert!(pb::PutResponse::decode(&answer.body[5..]).expect("decodes").header.is_some());
    }
}

#[tokio::test]
async fn malformed_messages_end_their_call_only() {
    let server = Server::start();
    let client = connect(server.address()).await;
    let good = framed(&put("k", "v"));
    let compressed = [&[1], &good[1..]].concat();
    let strange = [&[7], &good[1..]].concat();
    let table: [(&[u8], Answer); 6] = [
        (&compressed, refused(200, 13, "grpc: compressed flag set with identity or empty encoding")),
        (&strange, refused(200, 13, "grpc: received unexpected payload format 7")),
        (&good[..good.len() - 1], refused(200, 2, "unexpected EOF")),
        (&good[..3], refused(200, 2, "EOF")),
        (
            &[0, 0, 0, 0, 2, 0xff, 0xff],
            refused(200, 13, "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data"),
        ),
        (
            &[0, 0xff, 0xff, 0xff, 0xff],
            refused(200, 8, "grpc: received message larger than max (4294967295 vs. 2097152)"),
        ),
    ];
    for (bytes, expected) in table {
        assert_eq!(send(&client, call(PUT), &[bytes], true).await, expected);
    }
    assert_eq!(send(&client, call(PUT), &[], true).await, refused(200, 2, "EOF"));
    let empty = send(&client, call("/etcdserverpb.KV/RangeStream"), &[], true).await;
    let text = "cardinality violation: received no request message from non-client-streaming RPC";
    assert_eq!((empty.code.as_deref(), empty.text.as_deref()), (Some("13"), Some(text)));
    // Of a stream the same is told with other codes and words.
    let streamed: [(&[u8], &str, Option<&str>); 3] = [
        (&good[..good.len() - 1], "13", Some("unexpected EOF")),
        (&good[..3], "0", None),
        (
            &[0, 0, 0, 0, 2, 0xff, 0xff],
            "13",
            Some("grpc: failed to unmarshal the received message: proto: cannot parse invalid wire-format data"),
        ),
    ];
    for (bytes, code, text) in streamed {
        let answer = send(&client, call("/etcdserverpb.Lease/LeaseKeepAlive"), &[bytes], true).await;
        assert_eq!((answer.code.as_deref(), answer.text.as_deref()), (Some(code), text));
    }
    assert_eq!(send(&client, call(PUT), &[&good], true).await.code.as_deref(), Some("0"));
}

/// As with etcd: the message is all that such a call has.
#[tokio::test]
async fn a_call_whose_stream_the_client_does_not_end_is_answered() {
    let server = Server::start();
    let client = connect(server.address()).await;
    let good = framed(&put("k", "v"));
    let answer = send(&client, call(PUT), &[&good], false).await;
    assert_eq!((answer.http, answer.code.as_deref()), (200, Some("0")));
    // One that sends no message has its own deadline.
    let answer = send(&client, call(PUT).header("grpc-timeout", "100m"), &[&good[..3]], false).await;
    assert_eq!(answer, refused(200, 4, "context deadline exceeded"));
}

#[tokio::test]
async fn requests_may_be_compressed_with_gzip() {
    let server = Server::start();
    let client = connect(server.address()).await;
    let message = put("k", vec![b'v'; 10_000]).encode_to_vec();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, &message).expect("memory takes it");
    let packed = encoder.finish().expect("memory takes it");
    let packed = [&[1], &(packed.len() as u32).to_be_bytes()[..], &packed].concat();
    for cut in [1, 7, packed.len()] {
        let chunks: Vec<&[u8]> = packed.chunks(cut).collect();
        let answer = send(&client, call(PUT).header("grpc-encoding", "gzip"), &chunks, true).await;
        assert_eq!((answer.http, answer.code.as_deref()), (200, Some("0")), "cut into {cut}");
    }
    let plain = framed(&put("k", "v"));
    let answer = send(&client, call(PUT).header("grpc-encoding", "gzip"), &[&plain], true).await;
    assert_eq!(answer.code.as_deref(), Some("0"), "not every message has to be");
}

/// Deeper ones than are served are refused with the same words whether our bound or the decoder's meets them first.
#[tokio::test]
async fn txns_nest_to_a_bound_and_deeper_ones_are_refused_in_etcds_words() {
    use pb::request_op::Request;
    let server = Server::start();
    let client = connect(server.address()).await;
    let nested = |txns: usize| {
        let compare = vec![pb::Compare { key: "none".into(), ..Default::default() }];
        let of = |request| pb::TxnRequest {
            compare: compare.clone(),
            success: vec![pb::RequestOp { request: Some(request) }],
            failure: vec![],
        };
        (1..txns).fold(of(Request::RequestPut(put("k", "v"))), |inner, _| of(Request::RequestTxn(inner)))
    };
    for txns in [1, 49, 50] {
        let answer = send(&client, call("/etcdserverpb.KV/Txn"), &[&framed(&nested(txns))], true).await;
        assert_eq!((answer.code.as_deref(), answer.text), (Some("0"), None), "{txns} deep");
    }
    for txns in [51, 52, 53, 64, 65, 128, 1000] {
        let answer = send(&client, call("/etcdserverpb.KV/Txn"), &[&framed(&nested(txns))], true).await;
        assert_eq!(answer, refused(200, 3, "etcdserver: too many operations in txn request"), "{txns} deep");
    }
}

/// More refusals on one connection than HTTP/2 libraries tolerate as errors of the peer.
#[tokio::test]
async fn refusals_do_not_wear_a_connection_out() {
    let server = Server::start();
    let client = connect(server.address()).await;
    for _ in 0..1500 {
        let answer = send(&client, call("/etcdserverpb.KV/Nothing"), &[&[0, 0, 0, 0, 0]], true).await;
        assert_eq!(answer.code.as_deref(), Some("12"));
    }
}

#[tokio::test]
async fn paths_lead_to_their_method_or_to_nothing() {
    let server = Server::start();
    let client = connect(server.address()).await;
    let message = framed(&put("k", "v"));
    let table = [
        ("/etcdserverpb.KV/Nothing", "unknown method Nothing for service etcdserverpb.KV"),
        ("/etcdserverpb.KV/put", "unknown method put for service etcdserverpb.KV"),
        ("/etcdserverpb.KV/Put/", "unknown service etcdserverpb.KV/Put"),
        ("//etcdserverpb.KV/Put", "unknown service /etcdserverpb.KV"),
        ("/etcdserverpb.KV/Put?x=1", "unknown method Put?x=1 for service etcdserverpb.KV"),
        ("/v3lockpb.Lock/Lock", "unknown service v3lockpb.Lock"),
        ("/nothing", "malformed method name: \"/nothing\""),
        ("/", "malformed method name: \"/\""),
    ];
    for (path, text) in table {
        assert_eq!(send(&client, call(path), &[&message], true).await, refused(200, 12, text), "{path}");
    }
    assert_eq!(server.node.view().revision().0, 1, "none of them wrote");
}

#[tokio::test]
async fn wrong_heads_are_refused_before_any_method() {
    let server = Server::start();
    let client = connect(server.address()).await;
    let message = framed(&put("k", "v"));
    let timeout = send(&client, call(PUT).header("grpc-timeout", "1x"), &[&message], true).await;
    let text = "malformed grpc-timeout: transport: timeout unit is not recognized: \"1x\"";
    assert_eq!(timeout, refused(400, 13, text));
    let expired = send(&client, call(PUT).header("grpc-timeout", "0S"), &[&message], true).await;
    assert_eq!(expired, refused(200, 4, "context deadline exceeded"));
    let method = send(&client, call(PUT).method("GET"), &[&message], true).await;
    assert_eq!(method, refused(405, 13, "Received a HEADERS frame with :method \"GET\" which should be POST"));
    let snappy = send(&client, call(PUT).header("grpc-encoding", "snappy"), &[&message], true).await;
    assert_eq!(snappy, refused(200, 12, "grpc: Decompressor is not installed for grpc-encoding \"snappy\""));
    let api = http::HeaderValue::from_bytes(&[0xff]).expect("opaque bytes");
    let version = send(&client, call(PUT).header("client-api-version", api), &[&message], true).await;
    assert_eq!(version, refused(200, 3, "etcdserver: invalid client api version"));
    let leader = send(&client, call(PUT).header("hasleader", "true"), &[&message], true).await;
    assert_eq!(leader.code.as_deref(), Some("0"), "there is a leader");
    let token = send(&client, call(PUT).header("token", "any"), &[&message], true).await;
    assert_eq!(token.code.as_deref(), Some("0"), "tokens mean nothing yet");
}

#[tokio::test]
async fn what_is_not_grpc_gets_the_http_endpoints() {
    let server = Server::start();
    let client = connect(server.address()).await;
    let request = Request::builder().uri("http://localhost:2379/health");
    let answer = send(&client, request, &[], true).await;
    assert_eq!((answer.http, answer.body.as_slice()), (200, br#"{"health":"true","reason":""}"#.as_slice()));
}

#[tokio::test]
async fn too_many_pings_are_told_so() {
    let server = Server::start();
    let mut socket = TcpStream::connect(server.address()).await.expect("connected");
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("written");
    let ping = b"\0\0\x08\x06\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let mut seen = Vec::new();
    let told = async {
        // The server's writes in between reset the count only if they were answers.
        for _ in 0..4 {
            socket.write_all(ping).await.expect("written");
        }
        let _ = socket.read_to_end(&mut seen).await;
    };
    tokio::time::timeout(Duration::from_secs(20), told).await.expect("the server ends the connection");
    let goodbye = b"\0\0\x16\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0btoo_many_pings";
    assert!(seen.windows(goodbye.len()).any(|window| window == goodbye), "{seen:?}");
}

#[tokio::test]
async fn headers_above_the_limit_are_refused_without_ending_the_connection() {
    let server = Server::start();
    let client = connect(server.address()).await;
    let mut ready = client.clone().ready().await.expect("ready");
    let long = "x".repeat(40 << 10);
    let request = call(PUT).header("long", long).body(()).expect("valid request");
    let (response, _) = ready.send_request(request, true).expect("sent");
    let answer = response.await;
    assert!(answer.is_err() || answer.is_ok_and(|response| response.status() == 431));
    let good = send(&client, call(PUT), &[&framed(&put("k", "v"))], true).await;
    assert_eq!(good.code.as_deref(), Some("0"));
}

#[tokio::test]
async fn clients_that_say_nothing_are_dropped() {
    let mut setup = Setup::default();
    setup.api.keepalive_interval = Duration::from_secs(3600);
    let server = Server::start_with(setup);
    let starts = [b"".as_slice(), b"PRI * HT", b"GET / HT"];
    let closed = starts.map(|start| {
        let address = server.address();
        tokio::spawn(async move {
            let mut socket = TcpStream::connect(address).await.expect("connected");
            socket.write_all(start).await.expect("written");
            let mut bytes = Vec::new();
            let closed = tokio::time::timeout(Duration::from_secs(15), socket.read_to_end(&mut bytes)).await;
            assert!(closed.is_ok(), "after {start:?}");
        })
    });
    for closed in closed {
        closed.await.expect("no panic");
    }
}

#[tokio::test]
async fn silent_connections_are_pinged_and_dropped_if_they_do_not_answer() {
    let mut setup = Setup::default();
    setup.api.keepalive_interval = Duration::from_millis(200);
    setup.api.keepalive_timeout = Duration::from_millis(300);
    let server = Server::start_with(setup);
    // This client answers pings, and stays.
    let client = connect(server.address()).await;
    let mut socket = TcpStream::connect(server.address()).await.expect("connected");
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("written");
    let mut seen = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(20), socket.read_to_end(&mut seen)).await;
    assert!(closed.is_ok());
    let ping_head = b"\0\0\x08\x06\0";
    assert!(seen.windows(ping_head.len()).any(|window| window == ping_head), "{seen:?}");
    let good = send(&client, call(PUT), &[&framed(&put("k", "v"))], true).await;
    assert_eq!(good.code.as_deref(), Some("0"));
}
