//! Kills the real process with SIGKILL at random moments under load, many times on one data directory, and checks after
//! each restart what a client may rely on:
//!
//! - every acknowledged write is there (its value, or that of a later write whose answer was lost);
//! - revisions never step back: the store's revision is at least the highest ever acknowledged;
//! - a watch resumed behind the last event it saw delivers every later event once, in order.
//!
//! A page cache survives SIGKILL, so this proves the process's logic, not the disk's syncs: those are tested on the
//! simulated disk. Usage: `crashloop --server PATH [--kills N] [--seed N]`.

mod history;

use harness::{Kind, Server};
use history::History;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::watch_client::WatchClient;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{PutRequest, RangeRequest, WatchCreateRequest, WatchRequest};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tonic::transport::Channel;

/// Concurrent writers, each with keys of its own.
const WRITERS: usize = 16;
const KEYS_PER_WRITER: usize = 20;
/// Checkpoints come often, so that kills meet them too.
const FLAGS: &[&str] = &["--snapshot-count", "500"];

struct Arguments {
    server: std::path::PathBuf,
    kills: usize,
    seed: u64,
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments { server: "target/release/bowline".into(), kills: 100, seed: 1 };
    let mut given = std::env::args().skip(1);
    while let Some(flag) = given.next() {
        let value = given.next().ok_or_else(|| format!("{flag}: value missing"))?;
        match flag.as_str() {
            "--server" => arguments.server = value.into(),
            "--kills" => arguments.kills = value.parse().map_err(|e| format!("--kills {value}: {e}"))?,
            "--seed" => arguments.seed = value.parse().map_err(|e| format!("--seed {value}: {e}"))?,
            _ => return Err(format!("unknown flag {flag}; known are --server, --kills, --seed")),
        }
    }
    Ok(arguments)
}

#[tokio::main]
async fn main() {
    let arguments = arguments().unwrap_or_else(|message| {
        eprintln!("{message}");
        std::process::exit(2);
    });
    let started = Instant::now();
    let mut random = Random(arguments.seed | 1);
    let mut server = Server::new(Kind::Bowline, &arguments.server, &std::env::temp_dir(), FLAGS);
    let history = Arc::new(Mutex::new(History::default()));
    let (mut passed, mut failed, mut slowest) = (0, 0, Duration::ZERO);
    for kill in 1..=arguments.kills {
        slowest = slowest.max(server.start().await);
        let problems = check(&server, &history).await;
        for problem in &problems {
            eprintln!("before kill {kill}: {problem}");
        }
        if problems.is_empty() {
            passed += 1
        } else {
            failed += 1
        }
        load_until_kill(&mut server, &history, random.below(180)).await;
    }
    slowest = slowest.max(server.start().await);
    let problems = check(&server, &history).await;
    for problem in &problems {
        eprintln!("after the last kill: {problem}");
    }
    if problems.is_empty() {
        passed += 1
    } else {
        failed += 1
    }
    server.kill();
    let history = history.lock().expect("no writer panics");
    println!(
        "{} kills in {:.0?}, seed {}: {} writes acknowledged, {} events watched, slowest start {:.0?}",
        arguments.kills,
        started.elapsed(),
        arguments.seed,
        history.acknowledged(),
        history.watched(),
        slowest
    );
    println!("crashloop: {passed} passed, {failed} failed");
    if failed > 0 {
        std::process::exit(1);
    }
}

/// Writes and watches until the process is killed, at least until `after_writes` more writes were acknowledged.
async fn load_until_kill(server: &mut Server, history: &Arc<Mutex<History>>, after_writes: usize) {
    let channel = server.channel().await;
    let mut tasks = vec![tokio::spawn(watch(channel.clone(), history.clone()))];
    for writer in 0..WRITERS {
        tasks.push(tokio::spawn(write(channel.clone(), history.clone(), writer)));
    }
    let goal = history.lock().expect("no writer panics").acknowledged() + after_writes;
    while history.lock().expect("no writer panics").acknowledged() < goal {
        tokio::task::yield_now().await;
    }
    server.kill();
    for task in tasks {
        task.await.expect("writers and watcher end with the connection");
    }
}

/// Puts ever new values until the connection breaks.
async fn write(channel: Channel, history: Arc<Mutex<History>>, writer: usize) {
    let mut client = KvClient::new(channel);
    loop {
        let (key, value) = history.lock().expect("no writer panics").begin(writer, KEYS_PER_WRITER);
        let put = PutRequest { key: key.clone().into(), value: value.to_string().into(), ..PutRequest::default() };
        match client.put(put).await {
            Ok(answer) => {
                let revision = answer.into_inner().header.map_or(0, |header| header.revision);
                history.lock().expect("no writer panics").acknowledge(&key, value, revision);
            }
            Err(_) => return,
        }
    }
}

/// Watches everything from behind the last event seen, until the connection breaks.
async fn watch(channel: Channel, history: Arc<Mutex<History>>) {
    let start_revision = history.lock().expect("no writer panics").next_watched();
    let create = WatchCreateRequest {
        key: b"k".to_vec().into(),
        range_end: b"l".to_vec().into(),
        start_revision,
        ..WatchCreateRequest::default()
    };
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let requests = tokio_stream::StreamExt::chain(tokio_stream::once(request), tokio_stream::pending());
    let Ok(responses) = WatchClient::new(channel).watch(requests).await else { return };
    let mut responses = responses.into_inner();
    while let Ok(Some(response)) = responses.message().await {
        let mut history = history.lock().expect("no writer panics");
        for event in response.events {
            let Some(kv) = event.kv else { continue };
            history.watch_saw(kv.mod_revision, &kv.key, &kv.value);
        }
    }
}

/// Everything a client may rely on after a restart.
async fn check(server: &Server, history: &Arc<Mutex<History>>) -> Vec<String> {
    let mut client = KvClient::new(server.channel().await).max_decoding_message_size(usize::MAX);
    let all = RangeRequest { key: b"k".to_vec().into(), range_end: b"l".to_vec().into(), ..RangeRequest::default() };
    let answer = client.range(all).await.expect("a restarted server answers").into_inner();
    let revision = answer.header.map_or(0, |header| header.revision);
    let mut history = history.lock().expect("no writer panics");
    history.check(revision, answer.kvs.iter().map(|kv| (kv.key.as_ref(), kv.value.as_ref(), kv.mod_revision)))
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound) as usize
    }
}
