//! Streams on which a client sends thousands of small messages and reads nothing meanwhile, as clients with many leases
//! or watches do: each is answered, and the connection goes on.

use crate::framing::{call, send};
use crate::server::Server;
use bytes::{Buf, Bytes, BytesMut};
use prost::Message;
use proto::etcdserverpb as pb;
use std::time::Duration;
use tokio::net::TcpStream;

/// Many times what HTTP/2 lets wait as small frames.
const MESSAGES: i64 = 30_000;
const PATIENCE: Duration = Duration::from_secs(60);

fn framed(message: &impl Message) -> Bytes {
    let body = message.encode_to_vec();
    [&[0], &(body.len() as u32).to_be_bytes()[..], &body].concat().into()
}

/// Sends each request in a frame of its own, and all of them before it reads any answer.
async fn answers<A: Message + Default>(server: &Server, path: &str, requests: impl Iterator<Item = Bytes>) -> Vec<A> {
    let socket = TcpStream::connect(server.address()).await.expect("connected");
    // This client's own library would end the connection for the same reason.
    let mut builder = h2::client::Builder::new();
    let (client, connection) = builder.data_frame_budget(1 << 30).handshake(socket).await.expect("handshake");
    tokio::spawn(connection);
    let request = call(path).body(()).expect("valid request");
    let (response, mut stream) =
        client.clone().ready().await.expect("ready").send_request(request, false).expect("sent");
    for request in requests {
        stream.send_data(request, false).expect("the stream is open");
    }
    stream.send_data(Bytes::new(), true).expect("the stream is open");
    let read = async {
        let mut body = response.await.expect("answered").into_body();
        let (mut bytes, mut answers) = (BytesMut::new(), Vec::new());
        while answers.len() < MESSAGES as usize {
            let data = body.data().await.expect("there are more answers").expect("the connection is open");
            let _ = body.flow_control().release_capacity(data.len());
            bytes.extend_from_slice(&data);
            while let Some(&[_, a, b, c, d]) = bytes.first_chunk::<5>() {
                let length = u32::from_be_bytes([a, b, c, d]) as usize;
                if bytes.len() < 5 + length {
                    break;
                }
                bytes.advance(5);
                answers.push(A::decode(bytes.split_to(length)).expect("an answer"));
            }
        }
        answers
    };
    let answers = tokio::time::timeout(PATIENCE, read).await.expect("all are answered in time");
    let status = framed(&pb::StatusRequest::default());
    let other = send(&client, call("/etcdserverpb.Maintenance/Status"), &[&status], true).await;
    assert_eq!(other.code.as_deref(), Some("0"), "the connection goes on");
    answers
}

#[tokio::test]
async fn thousands_of_keep_alives_on_one_stream_are_answered() {
    let server = Server::start();
    let requests = (1..=MESSAGES).map(|id| framed(&pb::LeaseKeepAliveRequest { id }));
    let answers: Vec<pb::LeaseKeepAliveResponse> =
        answers(&server, "/etcdserverpb.Lease/LeaseKeepAlive", requests).await;
    assert!(answers.iter().map(|answer| answer.id).eq(1..=MESSAGES), "in their order");
}

#[tokio::test]
async fn thousands_of_watches_on_one_stream_are_created() {
    use pb::watch_request::RequestUnion;
    let server = Server::start();
    let create = |id: i64| {
        let create = pb::WatchCreateRequest { key: format!("key {id}").into(), watch_id: id, ..Default::default() };
        framed(&pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) })
    };
    let answers: Vec<pb::WatchResponse> =
        answers(&server, "/etcdserverpb.Watch/Watch", (1..=MESSAGES).map(create)).await;
    assert!(answers.iter().all(|answer| answer.created && !answer.canceled));
    assert!(answers.iter().map(|answer| answer.watch_id).eq(1..=MESSAGES), "in their order");
}
