//! A graceful stop: open streams end with a status, calls in flight are answered, new connections are not taken.

use crate::server::{Server, put, refusal};
use pb::watch_client::WatchClient;
use proto::etcdserverpb as pb;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

#[tokio::test]
async fn r83_streams_end_and_the_stop_does_not_wait_for_idle_clients() {
    let mut server = Server::start();
    let address = server.address();
    let mut kv = server.kv().await;
    kv.put(put("k", "v")).await.expect("put");
    let (requests, receiver) = mpsc::unbounded_channel();
    let create = pb::WatchCreateRequest { key: "k".into(), ..Default::default() };
    let union = pb::watch_request::RequestUnion::CreateRequest(create);
    requests.send(pb::WatchRequest { request_union: Some(union) }).expect("sent");
    let mut client = WatchClient::new(server.channel().await);
    let mut watch = client.watch(UnboundedReceiverStream::new(receiver)).await.expect("a stream").into_inner();
    assert!(watch.message().await.expect("a message").expect("created").created);
    let began = Instant::now();
    let stopping = tokio::task::spawn_blocking(move || {
        server.stop();
        server
    });
    assert_eq!(refusal(watch.message().await), (14, "etcdserver: server stopped".to_string()));
    stopping.await.expect("stopped");
    assert!(began.elapsed() < Duration::from_secs(4), "well before the request timeout");
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
