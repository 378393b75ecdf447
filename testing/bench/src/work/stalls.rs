//! The longest time without an acknowledged put while the server does something big, under 500 puts a second.

use super::{key, kv, load, seconds, value};
use crate::report::{Figure, quantile};
use harness::Server;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::{CompactionRequest, DefragmentRequest, PutRequest, RangeRequest};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const PUTS_PER_SECOND: u32 = 500;

/// Nothing else runs.
pub async fn idle(server: &mut Server, scale: f64) -> Vec<Figure> {
    load(server, 100_000, 256).await;
    let foreground = Foreground::start(server).await;
    tokio::time::sleep(seconds(scale, 5.0)).await;
    foreground.stop().await
}

/// A compaction that drops a million revisions.
pub async fn compaction(server: &mut Server, _scale: f64) -> Vec<Figure> {
    for _ in 0..11 {
        load(server, 100_000, 100).await;
    }
    let foreground = Foreground::start(server).await;
    let channel = server.channel().await;
    let now = kv(&channel).range(RangeRequest { key: key(0), ..Default::default() }).await.expect("get succeeds");
    let revision = now.into_inner().header.map_or(0, |header| header.revision);
    let compact = CompactionRequest { revision, physical: true };
    kv(&channel).compact(compact).await.expect("compaction succeeds");
    foreground.stop().await
}

/// One list of a gigabyte.
pub async fn list(server: &mut Server, _scale: f64) -> Vec<Figure> {
    load(server, 100_000, 10 * 1024).await;
    let foreground = Foreground::start(server).await;
    let channel = server.channel().await;
    let all = RangeRequest { key: "/registry/pods/".into(), range_end: "/registry/pods0".into(), ..Default::default() };
    let answer = kv(&channel).range(all).await.expect("list succeeds").into_inner();
    assert_eq!(answer.kvs.len(), 100_000);
    foreground.stop().await
}

/// `defrag` of a gigabyte.
pub async fn defragment(server: &mut Server, _scale: f64) -> Vec<Figure> {
    load(server, 100_000, 10 * 1024).await;
    let foreground = Foreground::start(server).await;
    let channel = server.channel().await;
    MaintenanceClient::new(channel).defragment(DefragmentRequest {}).await.expect("defragment succeeds");
    foreground.stop().await
}

/// Steady puts on a connection of their own.
struct Foreground {
    stop: Arc<AtomicBool>,
    task: JoinHandle<(Vec<f64>, f64)>,
}

impl Foreground {
    async fn start(server: &Server) -> Foreground {
        let endpoint = server.endpoint();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        // A thread and a connection of its own: decoding a gigabyte must not look like a stall of the server.
        let (first, began) = tokio::sync::oneshot::channel();
        let task = tokio::task::spawn_blocking(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
            runtime.block_on(puts(endpoint, stopped, first))
        });
        began.await.expect("the foreground begins");
        Foreground { stop, task }
    }

    async fn stop(self) -> Vec<Figure> {
        tokio::time::sleep(Duration::from_millis(500)).await;
        self.stop.store(true, Ordering::Relaxed);
        let (mut latencies, longest) = self.task.await.expect("foreground ends");
        vec![
            Figure::new("longest time without an acknowledged put", "ms", longest),
            Figure::new("put p99", "ms", quantile(&mut latencies, 0.99)),
            Figure::new("put p99.9", "ms", quantile(&mut latencies, 0.999)),
        ]
    }
}

async fn puts(
    endpoint: tonic::transport::Endpoint,
    stop: Arc<AtomicBool>,
    first: tokio::sync::oneshot::Sender<()>,
) -> (Vec<f64>, f64) {
    let channel = endpoint.connect().await.expect("the server accepts connections");
    let (mut client, mut latencies, mut longest) = (kv(&channel), Vec::new(), 0.0f64);
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / PUTS_PER_SECOND);
    let mut last_acknowledged = Instant::now();
    let mut first = Some(first);
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let put = PutRequest { key: key(number % 1000), value: value(256, number), ..PutRequest::default() };
        let started = Instant::now();
        client.put(put).await.expect("put succeeds");
        latencies.push(started.elapsed().as_secs_f64() * 1e3);
        if first.is_none() {
            longest = longest.max(last_acknowledged.elapsed().as_secs_f64() * 1e3);
        }
        last_acknowledged = Instant::now();
        if let Some(first) = first.take() {
            let _ = first.send(());
        }
        number += 1;
    }
    (latencies, longest)
}
