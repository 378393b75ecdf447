//! A member on a temporary directory, and ways to talk to it.

use api::{Address, Config, Listen, Serves};
use io::{Clock, Disk, OsClock, OsDisk, OsRng};
use node::Node;
use proto::etcdserverpb as pb;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

const NAME: &str = "default";
const CLIENT_URL: &str = "http://localhost:2379";

pub struct Server {
    pub addresses: Vec<SocketAddr>,
    pub node: node::Handle,
    running: Option<(api::Server, Node)>,
    dir: tempfile::TempDir,
}

/// Settings of a test: the rim's, the quota, the disk, and what else the member is to be told.
pub struct Setup {
    pub api: Config,
    pub quota_bytes: Option<u64>,
    pub disk: Arc<dyn Disk>,
    pub adjust: fn(&mut node::Config),
}

impl Default for Setup {
    fn default() -> Setup {
        let listen = plain(Serves::Everything);
        let api =
            Config { listen: vec![listen], rims: 2, request_timeout: Duration::from_secs(5), ..Config::default() };
        Setup { api, quota_bytes: None, disk: Arc::new(OsDisk), adjust: |_| {} }
    }
}

/// A listener on a port that the system chooses.
pub fn plain(serves: Serves) -> Listen {
    let address = Address::Tcp("127.0.0.1:0".parse().expect("an address"));
    Listen { address, plain: true, tls: false, serves }
}

impl Server {
    pub fn start() -> Server {
        Server::start_with(Setup::default())
    }

    pub fn start_with(setup: Setup) -> Server {
        let server = Server::start_unready(setup);
        let publish = || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
            runtime.block_on(server.node.publish(NAME, &[CLIENT_URL.to_string()])).expect("the member gets ready");
        };
        // A test is asynchronous itself, and there is no waiting for a runtime inside of another.
        std::thread::scope(|scope| scope.spawn(publish).join().expect("no panic"));
        server
    }

    /// Does not wait until the member leads, which may be never.
    pub fn start_unready(setup: Setup) -> Server {
        let dir = tempfile::tempdir().expect("temporary directory");
        let clock: Arc<dyn Clock> = Arc::new(OsClock::default());
        let mut config = node_config(dir.path(), setup.quota_bytes);
        (setup.adjust)(&mut config);
        let node = Node::start(config, setup.disk, clock, &mut OsRng).expect("the member starts");
        let bound = api::bind(setup.api).expect("bound");
        let address = |listen: &Listen| match listen.address {
            Address::Tcp(address) => Some(address),
            Address::Unix(_) => None,
        };
        let addresses = bound.listeners().filter_map(address).collect();
        let server = bound.serve(node.handle().clone()).expect("serving");
        Server { addresses, node: node.handle().clone(), running: Some((server, node)), dir }
    }

    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub async fn channel(&self) -> Channel {
        let endpoint = Endpoint::new(format!("http://{}", self.address())).expect("a url");
        endpoint.connect().await.expect("connected")
    }

    pub async fn kv(&self) -> pb::kv_client::KvClient<Channel> {
        pb::kv_client::KvClient::new(self.channel().await).max_decoding_message_size(1 << 30)
    }

    pub fn stop(&mut self) {
        if let Some((server, node)) = self.running.take() {
            server.stop();
            node.stop();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        // The directory goes after everything that uses it.
        let _ = self.dir.path();
    }
}

fn node_config(dir: &std::path::Path, quota_bytes: Option<u64>) -> node::Config {
    node::Config {
        name: NAME.to_string(),
        data_dir: dir.join("data"),
        wal_dir: None,
        peer_urls: vec!["http://localhost:2380".to_string()],
        client_urls: vec![CLIENT_URL.to_string()],
        cluster_token: "etcd-cluster".to_string(),
        tick: Duration::from_millis(100),
        election_ticks: 10,
        request_timeout: Duration::from_secs(5),
        checkpoint_entries: 10_000,
        quota_bytes,
        strict_latch: false,
        auto_compaction: None,
        pressure_retention: None,
        account_depth: mvcc::AccountDepth::default(),
        request_bytes_max: 1536 << 10,
        scrub_bytes_per_s: 1 << 20,
        warning_apply_duration: Duration::from_secs(10),
        no_sync: true,
        on_fault: Arc::new(|fault| panic!("{fault}")),
    }
}

pub fn put(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> pb::PutRequest {
    pb::PutRequest { key: key.into().into(), value: value.into().into(), ..Default::default() }
}

pub fn range(key: &str, range_end: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.to_string().into(), range_end: range_end.to_string().into(), ..Default::default() }
}

/// Code and text of a refusal.
pub fn refusal<T: std::fmt::Debug>(result: Result<T, tonic::Status>) -> (i32, String) {
    let status = result.expect_err("refused");
    (status.code() as i32, status.message().to_string())
}
