//! A server process under measurement: start, connect, read its CPU time and memory, restart, stop.

use proto::etcdserverpb::RangeRequest;
use proto::etcdserverpb::kv_client::KvClient;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tonic::transport::{Channel, Endpoint};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Etcd,
    Bowline,
}

pub struct Server {
    pub kind: Kind,
    binary: PathBuf,
    data: tempfile::TempDir,
    port: u16,
    child: Child,
}

const READY_WITHIN: Duration = Duration::from_secs(60);

impl Server {
    /// Starts on an empty directory below `parent` and waits until it answers a linearizable read.
    pub async fn start(kind: Kind, binary: &Path, parent: &Path) -> Server {
        let data = tempfile::Builder::new().prefix("bench-").tempdir_in(parent).expect("bench directory is writable");
        let port = free_port();
        let child = spawn(kind, binary, data.path(), port);
        let server = Server { kind, binary: binary.to_owned(), data, port, child };
        server.wait_ready(&[]).await;
        server
    }

    /// Waits for the first linearizable read of `key`.
    async fn wait_ready(&self, key: &[u8]) {
        let deadline = Instant::now() + READY_WITHIN;
        let key = if key.is_empty() { b"ready".to_vec() } else { key.to_vec() };
        while Instant::now() < deadline {
            if let Ok(channel) = self.endpoint().connect().await {
                let request = RangeRequest { key: key.clone().into(), ..Default::default() };
                if KvClient::new(channel).range(request).await.is_ok() {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("{:?} did not answer within {READY_WITHIN:?}", self.kind);
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::from_shared(format!("http://127.0.0.1:{}", self.port))
            .expect("a loopback address is a valid endpoint")
            .tcp_nodelay(true)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
    }

    pub async fn channel(&self) -> Channel {
        self.endpoint().connect().await.expect("the server accepts connections")
    }

    pub async fn channels(&self, count: usize) -> Vec<Channel> {
        let mut channels = Vec::new();
        for _ in 0..count {
            channels.push(self.channel().await);
        }
        channels
    }

    /// User and system time the process has used so far.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("the server runs");
        // The command may hold spaces; the fields start behind its closing parenthesis.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: u64 = [11, 12].iter().map(|&i| fields.get(i).and_then(|f| f.parse().ok()).unwrap_or(0u64)).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Anonymous memory in bytes.
    pub fn anonymous_bytes(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the server runs");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or("0");
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(f64::NAN) * 1024.0
    }

    /// Highest resident memory since the process began or since `reset_peak`, in bytes.
    pub fn peak_bytes(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the server runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(f64::NAN) * 1024.0
    }

    /// Starts counting the peak anew.
    pub fn reset_peak(&self) {
        let _ = std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5");
    }

    /// Kills the process, starts it again on its data and waits for the first linearizable read; how long that took.
    pub async fn restart(&mut self) -> Duration {
        self.kill();
        let started = Instant::now();
        self.child = spawn(self.kind, &self.binary, self.data.path(), self.port);
        self.wait_ready(&[]).await;
        started.elapsed()
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn stop(mut self) {
        self.kill();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

fn spawn(kind: Kind, binary: &Path, data: &Path, port: u16) -> Child {
    let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{}", free_port()));
    let mut command = Command::new(binary);
    if kind == Kind::Bowline {
        command.arg("server");
    }
    let log = std::fs::File::create(data.join("log")).expect("bench directory is writable");
    command
        .args(["--name", "bench", "--log-level", "warn", "--quota-backend-bytes", "8589934592"])
        .arg("--data-dir")
        .arg(data.join("data"))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("bench={peer}")])
        .stdout(Stdio::null())
        .stderr(log);
    command.spawn().unwrap_or_else(|error| panic!("start {}: {error}", binary.display()))
}
