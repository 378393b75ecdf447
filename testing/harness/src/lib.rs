//! A real server process under test, Bowline or etcd, on a data directory of its own: start until it answers, connect,
//! read what the kernel counts for it, kill, start again on the same data.
//!
//! The directory goes and the process is killed when the value is dropped. Only for tests and measurements: whatever
//! keeps a server from starting panics with the end of its log.
//!
//! Not here: what is sent to it.
#![forbid(unsafe_code)]

use proto::etcdserverpb::RangeRequest;
use proto::etcdserverpb::kv_client::KvClient;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tonic::transport::{Channel, Endpoint};

/// Which command line and which data directory the binary has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Etcd,
    Bowline,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Etcd => "etcd",
            Kind::Bowline => "Bowline",
        }
    }
}

pub struct Server {
    kind: Kind,
    binary: PathBuf,
    flags: Vec<String>,
    data: tempfile::TempDir,
    client_port: u16,
    peer_port: u16,
    descriptors: Option<u32>,
    child: Option<Child>,
}

const READY_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(2);
/// Lines of the log that a panic shows.
const LOG_TAIL: usize = 20;

impl Server {
    /// A server that is not started yet, with an empty directory below `parent`. `flags` come on top of those for name,
    /// directory and addresses.
    pub fn new(kind: Kind, binary: &Path, parent: &Path, flags: &[&str]) -> Server {
        let data = tempfile::Builder::new().prefix("server-").tempdir_in(parent).expect("the directory is writable");
        Server {
            kind,
            binary: binary.to_owned(),
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            data,
            client_port: free_port(),
            peer_port: free_port(),
            descriptors: None,
            child: None,
        }
    }

    /// Starts the process and waits for its first linearizable read; how long that took.
    pub async fn start(&mut self) -> Duration {
        let started = Instant::now();
        self.child = Some(self.spawn());
        while started.elapsed() < READY_WITHIN {
            if let Ok(channel) = self.endpoint().connect().await {
                let request = RangeRequest { key: b"ready".to_vec().into(), ..RangeRequest::default() };
                if KvClient::new(channel).range(request).await.is_ok() {
                    return started.elapsed();
                }
            }
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                panic!("{} ended with {status}:\n{}", self.binary.display(), self.log_tail());
            }
            tokio::time::sleep(POLL).await;
        }
        panic!("{} did not answer within {READY_WITHIN:?}:\n{}", self.binary.display(), self.log_tail());
    }

    fn spawn(&self) -> Child {
        let (client, peer) = (self.url(), self.peer_url());
        let mut command = match self.descriptors {
            None => Command::new(&self.binary),
            Some(limit) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", "ulimit -n \"$0\" && exec \"$@\"", &limit.to_string()]).arg(&self.binary);
                shell
            }
        };
        if self.kind == Kind::Bowline {
            command.arg("server");
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path());
        command
            .args(["--name", "tested"])
            .arg("--data-dir")
            .arg(self.data_directory())
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("tested={peer}")])
            .args(&self.flags)
            .stdout(Stdio::null())
            .stderr(log.expect("the directory is writable"));
        command.spawn().unwrap_or_else(|error| panic!("start {}: {error}", self.binary.display()))
    }

    /// From the next start on: how many file descriptors the process may have.
    pub fn limit_descriptors(&mut self, limit: u32) {
        self.descriptors = Some(limit);
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// `http://` and the address for clients.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client_port)
    }

    /// The same for members.
    pub fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer_port)
    }

    /// For what is known only when all members have their addresses. Of a flag that comes twice, the last one counts.
    pub fn add_flags(&mut self, flags: &[&str]) {
        self.flags.extend(flags.iter().map(|&flag| flag.to_owned()));
    }

    pub fn data_directory(&self) -> PathBuf {
        self.data.path().join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.data.path().join("log")
    }

    /// All that the process wrote.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The last lines that the process wrote.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::from_shared(self.url())
            .expect("a loopback address is a valid endpoint")
            .tcp_nodelay(true)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
    }

    pub async fn channel(&self) -> Channel {
        self.endpoint().connect().await.expect("a started server accepts connections")
    }

    pub async fn channels(&self, count: usize) -> Vec<Channel> {
        let mut channels = Vec::new();
        for _ in 0..count {
            channels.push(self.channel().await);
        }
        channels
    }

    /// User and system time that the process has used.
    pub fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        // The command may hold spaces; the fields start behind its closing parenthesis.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: u64 = [11, 12].iter().map(|&i| fields.get(i).and_then(|f| f.parse().ok()).unwrap_or(0u64)).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Anonymous memory in bytes.
    pub fn anonymous_bytes(&self) -> f64 {
        number_behind(&self.proc("status"), "RssAnon:") * 1024.0
    }

    /// Highest resident memory since the process began or since `reset_peak`, in bytes.
    pub fn peak_bytes(&self) -> f64 {
        number_behind(&self.proc("status"), "VmHWM:") * 1024.0
    }

    /// Starts counting the peak anew.
    pub fn reset_peak(&self) {
        let _ = std::fs::write(format!("/proc/{}/clear_refs", self.id()), "5");
    }

    /// The kernel's counters of the process that runs now, for another thread.
    pub fn kernel(&self) -> Kernel {
        Kernel { id: self.id() }
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.id())).expect("the server runs")
    }

    /// Of the process that runs now.
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("the server was started").id()
    }

    /// SIGKILL; nothing if it does not run.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Kills the process and starts it again on its data; how long until the first linearizable read.
    pub async fn restart(&mut self) -> Duration {
        self.kill();
        self.start().await
    }
}

/// What the kernel counts for one process.
#[derive(Debug, Clone, Copy)]
pub struct Kernel {
    id: u32,
}

impl Kernel {
    /// Bytes that the process has given to write calls, sockets excepted; NaN once it is gone. Not `write_bytes`: with
    /// large folios a write of 1 KB counts there as the whole folio that it dirties, half a megabyte of which goes
    /// nowhere.
    pub fn written_bytes(self) -> f64 {
        let io = std::fs::read_to_string(format!("/proc/{}/io", self.id)).unwrap_or_default();
        number_behind(&io, "wchar:")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The first number behind `name` at the start of a line; NaN if there is none.
fn number_behind(text: &str, name: &str) -> f64 {
    let rest = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    rest.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(f64::NAN)
}

/// Below the kernel's range for outgoing connections: none of those takes the port while its server is down, least of
/// all one that looks for the server and would connect to itself. Counted up, so that no two servers of this process
/// get the same.
pub fn free_port() -> u16 {
    const FIRST: u32 = 8_100;
    const COUNT: u32 = 3_800;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let free = (0..COUNT).find_map(|_| {
        let place = (std::process::id() * 97).wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + place).ok()?;
        TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(port)
    });
    free.unwrap_or_else(|| panic!("no port is free from {FIRST} to {}", FIRST + COUNT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_behind_their_names() {
        assert_eq!(number_behind("wchar: 7\nwrite_bytes: 12\n", "wchar:"), 7.0);
        assert_eq!(number_behind("RssAnon:\t   345 kB\n", "RssAnon:"), 345.0);
        assert!(number_behind("", "VmHWM:").is_nan());
    }
}
