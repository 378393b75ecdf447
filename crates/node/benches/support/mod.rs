//! What the benches of a whole member share: its settings, and waiting for its answers.

use node::Config;
use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

/// Puts on their way at a time.
pub const IN_FLIGHT: usize = 32;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

pub fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

pub fn config(data_dir: PathBuf) -> Config {
    Config {
        name: "one".to_owned(),
        data_dir,
        wal_dir: None,
        peer_urls: vec!["http://localhost:2380".to_owned()],
        client_urls: vec!["http://localhost:2379".to_owned()],
        cluster_token: "etcd-cluster".to_owned(),
        tick: Duration::from_millis(100),
        election_ticks: 10,
        request_timeout: Duration::from_secs(7),
        checkpoint_entries: 10_000,
        quota_bytes: None,
        strict_latch: false,
        auto_compaction: None,
        pressure_retention: None,
        account_depth: mvcc::AccountDepth::default(),
        request_bytes_max: 1536 << 10,
        scrub_bytes_per_s: 0,
        warning_apply_duration: Duration::from_secs(10),
        no_sync: false,
        on_fault: Arc::new(|fault| panic!("{fault}")),
    }
}
