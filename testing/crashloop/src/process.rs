//! The server process on one data directory: start until it answers, kill.

use proto::etcdserverpb::RangeRequest;
use proto::etcdserverpb::kv_client::KvClient;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tonic::transport::{Channel, Endpoint};

const READY_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(2);

pub struct Process {
    binary: PathBuf,
    data: tempfile::TempDir,
    client_port: u16,
    peer_port: u16,
    child: Option<Child>,
}

impl Process {
    pub fn new(binary: &Path) -> Process {
        Process {
            binary: binary.to_owned(),
            data: tempfile::tempdir().expect("a temporary directory can be made"),
            client_port: free_port(),
            peer_port: free_port(),
            child: None,
        }
    }

    /// Starts the process and waits for its first linearizable read; how long that took.
    pub async fn start(&mut self) -> Duration {
        let started = Instant::now();
        let (client, peer) =
            (format!("http://127.0.0.1:{}", self.client_port), format!("http://127.0.0.1:{}", self.peer_port));
        let log = self.data.path().join("log");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("the directory is writable");
        let child = Command::new(&self.binary)
            .args(["server", "--name", "crash", "--snapshot-count", "500"])
            .arg("--data-dir")
            .arg(self.data.path().join("data"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("crash={peer}")])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", self.binary.display()));
        self.child = Some(child);
        while started.elapsed() < READY_WITHIN {
            if let Ok(channel) = self.endpoint().connect().await {
                let request = RangeRequest { key: b"ready".to_vec().into(), ..RangeRequest::default() };
                if KvClient::new(channel).range(request).await.is_ok() {
                    return started.elapsed();
                }
            }
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                panic!("the server ended with {status}:\n{}", self.log_tail());
            }
            tokio::time::sleep(POLL).await;
        }
        panic!("the server did not answer within {READY_WITHIN:?}:\n{}", self.log_tail());
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.data.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::from_shared(format!("http://127.0.0.1:{}", self.client_port))
            .expect("a loopback address is a valid endpoint")
    }

    pub async fn channel(&self) -> Channel {
        self.endpoint().connect().await.expect("a started server accepts connections")
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}
