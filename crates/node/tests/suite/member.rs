//! A member of its own for each test: how it is started, written to and read.

use io::{Clock, Disk, OsClock};
use model::{Command, KeyRange, KeyValue, LeaseId, Put, PutLease, PutValue, Range};
use mvcc::AccountDepth;
use node::{Config, Handle, Node, Pending, Refused, Reply};
use simdisk::Random;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

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

pub fn config(data_dir: &str) -> Config {
    Config {
        name: "one".to_owned(),
        data_dir: data_dir.into(),
        wal_dir: None,
        peer_urls: vec!["http://localhost:2380".to_owned()],
        client_urls: vec!["http://localhost:2379".to_owned()],
        cluster_token: "etcd-cluster".to_owned(),
        tick: Duration::from_millis(10),
        election_ticks: 10,
        request_timeout: Duration::from_secs(7),
        checkpoint_entries: 100,
        quota_bytes: None,
        strict_latch: false,
        auto_compaction: None,
        pressure_retention: None,
        account_depth: AccountDepth::default(),
        request_bytes_max: 1536 << 10,
        scrub_bytes_per_s: 0,
        warning_apply_duration: Duration::from_secs(10),
        no_sync: false,
        on_fault: Arc::new(|fault| eprintln!("fault: {fault}")),
    }
}

pub fn start(disk: Arc<dyn Disk>, config: Config) -> Node {
    let clock: Arc<dyn Clock> = Arc::new(OsClock::default());
    let node = Node::start(config, disk, clock, &mut Random::new(1)).expect("the member starts");
    block_on(node.handle().publish("one", &["http://localhost:2379".to_owned()])).expect("the member gets ready");
    node
}

pub fn put(handle: &Handle, key: &str, value: &str) -> Result<Reply, Refused> {
    block_on(propose_put(handle, key, value.to_owned().into()))
}

/// Does not wait for the answer.
pub fn propose_put(handle: &Handle, key: &str, value: bytes::Bytes) -> Pending<Reply> {
    let put = Put {
        key: key.to_owned().into(),
        value: PutValue::Set(value),
        lease: PutLease::Set(LeaseId::NONE),
        prev_kv: false,
    };
    handle.propose(Command::Put(put))
}

pub fn get(handle: &Handle, key: &str) -> Option<String> {
    let view = block_on(handle.read_barrier()).expect("a leader reads");
    let answer = handle.range(&view, &Range::new(KeyRange::single(key.to_owned()))).expect("the range is read");
    let meta = answer.view.kv().get(key.as_bytes())?;
    let record = answer.view.kv().read(meta.location).expect("the record is read");
    let kv = KeyValue::decode(&record).expect("a record is a pair");
    Some(String::from_utf8_lossy(&kv.value).into_owned())
}
