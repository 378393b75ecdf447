//! Watch fan-out: every watcher sees every event, with prev_kv, and the time from the put's start to the delivery
//! counts.

use super::{CONNECTIONS, key, kv, seconds, value};
use crate::report::{Figure, quantile};
use harness::Server;
use proto::etcdserverpb::watch_client::WatchClient;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{PutRequest, WatchCreateRequest, WatchRequest};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Keys that change; each has a previous value from the start.
const KEYS: usize = 100;

pub async fn fan_out(server: &mut Server, scale: f64, watchers: usize, events_per_second: u32) -> Vec<Figure> {
    let origin = Instant::now();
    let channels = server.channels(CONNECTIONS).await;
    let mut client = kv(&channels[0]);
    for number in 0..KEYS {
        put(&mut client, number, origin).await;
    }
    let (ready, mut readies) = mpsc::channel::<()>(watchers);
    let delivered = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for watcher in 0..watchers {
        let channel = channels[watcher % channels.len()].clone();
        let (ready, delivered) = (ready.clone(), delivered.clone());
        tasks.push(tokio::spawn(async move {
            let (requests, stream) = mpsc::channel(4);
            let create = WatchCreateRequest {
                key: "/registry/pods/".into(),
                range_end: "/registry/pods0".into(),
                prev_kv: true,
                ..WatchCreateRequest::default()
            };
            let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
            requests.send(create).await.expect("stream is open");
            let mut responses =
                WatchClient::new(channel).watch(ReceiverStream::new(stream)).await.expect("watch opens").into_inner();
            let mut latencies = Vec::new();
            while let Ok(Some(response)) = responses.message().await {
                if response.created {
                    ready.send(()).await.expect("the measurement waits");
                }
                let now = origin.elapsed();
                for event in &response.events {
                    assert!(event.prev_kv.is_some());
                    let value = event.kv.as_ref().map(|kv| kv.value.as_ref()).unwrap_or_default();
                    let sent = value.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
                    if sent == 0 {
                        return latencies;
                    }
                    latencies.push(now.saturating_sub(Duration::from_nanos(sent)).as_secs_f64() * 1e6);
                    delivered.fetch_add(1, Ordering::Relaxed);
                }
            }
            latencies
        }));
    }
    for _ in 0..watchers {
        readies.recv().await.expect("every watcher reports");
    }
    let (cpu, started) = (server.cpu(), Instant::now());
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / events_per_second);
    let duration = seconds(scale, 5.0);
    let mut number = 0;
    while started.elapsed() < duration {
        ticks.tick().await;
        put(&mut client, number % KEYS, origin).await;
        number += 1;
    }
    // A put whose value says 0 ends every watcher.
    let end = PutRequest { key: key(0), value: vec![0; 256].into(), ..PutRequest::default() };
    client.put(end).await.expect("put succeeds");
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.append(&mut task.await.expect("watcher ends"));
    }
    let cpu = (server.cpu() - cpu).as_secs_f64() * 1e6;
    assert_eq!(latencies.len(), number * watchers, "every watcher sees every event once");
    vec![
        Figure::new("server CPU per delivered event", "µs", cpu / latencies.len() as f64),
        Figure::new("put to delivery, p50", "µs", quantile(&mut latencies, 0.5)),
        Figure::new("put to delivery, p99", "µs", quantile(&mut latencies, 0.99)),
    ]
}

/// Puts a value that begins with the time of sending.
async fn put(
    client: &mut proto::etcdserverpb::kv_client::KvClient<tonic::transport::Channel>,
    number: usize,
    origin: Instant,
) {
    let mut bytes = value(256, number).to_vec();
    bytes[..8].copy_from_slice(&(origin.elapsed().as_nanos() as u64).max(1).to_le_bytes());
    let put = PutRequest { key: key(number), value: bytes.into(), ..PutRequest::default() };
    client.put(put).await.expect("put succeeds");
}
