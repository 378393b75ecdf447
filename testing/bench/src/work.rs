//! The measured works. Each runs on a fresh server and returns its figures; the table in `docs/performance.md` is their
//! list.

mod reads;
mod stalls;
mod watches;
mod writes;

use crate::report::Figure;
use bytes::Bytes;
use harness::Server;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::{PutRequest, RequestOp, TxnRequest, request_op::Request};
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};
use tonic::transport::Channel;

pub type Figures<'a> = Pin<Box<dyn Future<Output = Vec<Figure>> + 'a>>;

pub struct Work {
    pub name: &'static str,
    pub run: fn(&mut Server, f64) -> Figures<'_>,
}

pub const WORKS: &[Work] = &[
    Work { name: "put-256B-100", run: |server, scale| Box::pin(writes::puts(server, scale, 256, 100)) },
    Work { name: "put-256B-1000", run: |server, scale| Box::pin(writes::puts(server, scale, 256, 1000)) },
    Work { name: "put-2KiB-100", run: |server, scale| Box::pin(writes::puts(server, scale, 2048, 100)) },
    Work { name: "put-2KiB-1000", run: |server, scale| Box::pin(writes::puts(server, scale, 2048, 1000)) },
    Work { name: "kubernetes-txn-100", run: |server, scale| Box::pin(writes::kubernetes(server, scale, 100)) },
    Work { name: "put-one-at-a-time", run: |server, scale| Box::pin(writes::puts(server, scale, 256, 1)) },
    Work { name: "get-linearizable-100", run: |server, scale| Box::pin(reads::gets(server, scale, false)) },
    Work { name: "get-serializable-100", run: |server, scale| Box::pin(reads::gets(server, scale, true)) },
    Work { name: "page-10k", run: |server, scale| Box::pin(reads::pages(server, scale, 10_000)) },
    Work { name: "page-100k", run: |server, scale| Box::pin(reads::pages(server, scale, 100_000)) },
    Work { name: "page-1M", run: |server, scale| Box::pin(reads::pages(server, scale, 1_000_000)) },
    Work { name: "list-100k-1KiB", run: |server, scale| Box::pin(reads::full_list(server, scale)) },
    Work { name: "watch-100-at-200", run: |server, scale| Box::pin(watches::fan_out(server, scale, 100, 200)) },
    Work { name: "watch-1000-at-50", run: |server, scale| Box::pin(watches::fan_out(server, scale, 1000, 50)) },
    Work { name: "stall-idle", run: |server, scale| Box::pin(stalls::idle(server, scale)) },
    Work { name: "stall-compaction-1M", run: |server, scale| Box::pin(stalls::compaction(server, scale)) },
    Work { name: "stall-list-1GB", run: |server, scale| Box::pin(stalls::list(server, scale)) },
    Work { name: "stall-defrag-1GB", run: |server, scale| Box::pin(stalls::defragment(server, scale)) },
];

/// Connections that concurrent load is spread over.
pub const CONNECTIONS: usize = 10;

/// A Kubernetes-shaped key of 60 bytes; neighbours share all but the last dozen bytes.
pub fn key(number: usize) -> Bytes {
    let namespace = number / 1000;
    format!("/registry/pods/namespace-{namespace:06}/workload-{number:019}").into_bytes().into()
}

/// Bytes that do not compress to nothing: a counter-driven pattern.
pub fn value(size: usize, seed: usize) -> Bytes {
    let mut state = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(size + 8);
    while out.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(size);
    out.into()
}

pub fn kv(channel: &Channel) -> KvClient<Channel> {
    KvClient::new(channel.clone()).max_decoding_message_size(usize::MAX).max_encoding_message_size(usize::MAX)
}

/// Writes keys 0..total in an order that jumps about, 100 to a txn.
pub async fn load(server: &Server, total: usize, value_bytes: usize) {
    const BATCH: usize = 100;
    let channels = server.channels(4).await;
    // A stride coprime with every total used, so that each key is written once.
    let order = move |n: usize| n.wrapping_mul(611_953) % total;
    let mut tasks = Vec::new();
    for worker in 0..32 {
        let mut client = kv(&channels[worker % channels.len()]);
        tasks.push(tokio::spawn(async move {
            for batch in (worker..total.div_ceil(BATCH)).step_by(32) {
                let success = (batch * BATCH..((batch + 1) * BATCH).min(total))
                    .map(|n| {
                        let number = order(n);
                        let put =
                            PutRequest { key: key(number), value: value(value_bytes, number), ..PutRequest::default() };
                        RequestOp { request: Some(Request::RequestPut(put)) }
                    })
                    .collect();
                let txn = TxnRequest { success, ..TxnRequest::default() };
                client.txn(txn).await.expect("load txn succeeds");
            }
        }));
    }
    for task in tasks {
        task.await.expect("load task ends");
    }
}

/// What concurrent callers saw during one measurement.
pub struct Measured {
    pub operations: usize,
    pub elapsed: Duration,
    pub cpu: Duration,
    pub latencies_us: Vec<f64>,
}

impl Measured {
    pub fn figures(mut self) -> Vec<Figure> {
        let operations = self.operations as f64;
        vec![
            Figure::new("server CPU per operation", "µs", self.cpu.as_secs_f64() * 1e6 / operations),
            Figure::new("throughput", "op/s", operations / self.elapsed.as_secs_f64()),
            Figure::new("p50", "µs", crate::report::quantile(&mut self.latencies_us, 0.5)),
            Figure::new("p99", "µs", crate::report::quantile(&mut self.latencies_us, 0.99)),
            Figure::new("p99.9", "µs", crate::report::quantile(&mut self.latencies_us, 0.999)),
        ]
    }
}

/// Runs `in_flight` callers for `duration`, each one operation at a time. `call` makes one operation from a client and
/// a number that is unique over all callers.
pub async fn drive<F, O>(server: &Server, in_flight: usize, duration: Duration, call: F) -> Measured
where
    F: Fn(KvClient<Channel>, usize) -> O + Clone + Send + 'static,
    O: Future<Output = ()> + Send + 'static,
{
    let channels = server.channels(CONNECTIONS.min(in_flight)).await;
    // A short run first: connections, caches and the server's first allocations are not what is measured.
    drive_for(&channels, in_flight, duration / 10, 0, call.clone()).await;
    let (cpu, started) = (server.cpu(), Instant::now());
    let latencies_us = drive_for(&channels, in_flight, duration, 1 << 40, call).await;
    Measured { operations: latencies_us.len(), elapsed: started.elapsed(), cpu: server.cpu() - cpu, latencies_us }
}

async fn drive_for<F, O>(channels: &[Channel], in_flight: usize, duration: Duration, base: usize, call: F) -> Vec<f64>
where
    F: Fn(KvClient<Channel>, usize) -> O + Clone + Send + 'static,
    O: Future<Output = ()> + Send + 'static,
{
    let end = Instant::now() + duration;
    let mut tasks = Vec::new();
    for caller in 0..in_flight {
        let client = kv(&channels[caller % channels.len()]);
        let call = call.clone();
        tasks.push(tokio::spawn(async move {
            let mut latencies = Vec::new();
            let mut number = base + caller;
            while Instant::now() < end {
                let started = Instant::now();
                call(client.clone(), number).await;
                latencies.push(started.elapsed().as_secs_f64() * 1e6);
                number += in_flight;
            }
            latencies
        }));
    }
    let mut all = Vec::new();
    for task in tasks {
        all.append(&mut task.await.expect("caller ends"));
    }
    all
}

pub fn seconds(scale: f64, seconds: f64) -> Duration {
    Duration::from_secs_f64((seconds * scale).max(0.2))
}
