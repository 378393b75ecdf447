//! A server or a cluster with a small quota, and the doctor's commands against it.

use crate::fill::{self, Picture};
use client::pb::alarm_request::AlarmAction;
use client::pb::maintenance_client::MaintenanceClient;
use client::pb::{AlarmRequest, AlarmType, DeleteRangeRequest, PutRequest};
use client::{Client, ErrorKind, Options};
use harness::{Kind, Server};
use serde_json::Value;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const QUOTA: &str = "16777216";
const WRITES_BACK_WITHIN: Duration = Duration::from_secs(30);

pub struct Store {
    servers: Vec<Server>,
    client: Client,
    runtime: Runtime,
    /// The program with the doctor in it.
    bowline: PathBuf,
}

/// What a command printed, on both ways, and how it ended.
pub struct Said {
    pub code: Option<i32>,
    pub text: String,
    errors: String,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, errors {:?}", self.text, self.errors)
    }
}

impl Store {
    pub fn etcd(etcd: &Path, bowline: &Path, folder: &Path, members: usize) -> Store {
        let new = |_| Server::new(Kind::Etcd, etcd, folder, &["--quota-backend-bytes", QUOTA]);
        let mut servers: Vec<Server> = (0..members).map(new).collect();
        let named = |(number, server): (usize, &Server)| format!("m{number}={}", server.peer_url());
        let cluster = servers.iter().enumerate().map(named).collect::<Vec<_>>().join(",");
        for (number, server) in servers.iter_mut().enumerate() {
            server.add_flags(&["--name", &format!("m{number}"), "--initial-cluster", &cluster]);
        }
        Store::started(servers, bowline)
    }

    pub fn bowline(bowline: &Path, folder: &Path) -> Store {
        let server = Server::new(Kind::Bowline, bowline, folder, &["--quota-backend-bytes", QUOTA]);
        Store::started(vec![server], bowline)
    }

    fn started(servers: Vec<Server>, bowline: &Path) -> Store {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let servers = runtime.block_on(async {
            // None answers before most of them are there.
            let starting = servers.into_iter().map(|mut server| {
                tokio::spawn(async move {
                    server.start().await;
                    server
                })
            });
            let mut servers = Vec::new();
            for starting in starting.collect::<Vec<_>>() {
                servers.push(starting.await.expect("it starts"));
            }
            servers
        });
        let endpoints = servers.iter().map(Server::url).collect();
        let options = Options { endpoints, timeout: Duration::from_secs(30), ..Options::default() };
        let client = runtime.block_on(Client::connect(&options)).expect("it answers");
        Store { servers, client, runtime, bowline: bowline.to_owned() }
    }

    pub fn fill(&mut self) {
        self.runtime.block_on(fill::fill(&self.client)).expect("nothing but the quota ends the filling");
    }

    pub fn picture(&self) -> Picture {
        self.runtime.block_on(fill::picture(&self.client)).expect("reads are served")
    }

    /// One key, a new one: an empty value would pass where a growing one does not.
    pub fn takes_writes(&self) -> bool {
        let put = PutRequest { key: "/written".into(), value: vec![b'w'; 4096].into(), ..PutRequest::default() };
        match self.runtime.block_on(self.client.put(put)) {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::NoSpace => false,
            Err(error) => panic!("{error}"),
        }
    }

    pub fn takes_writes_soon(&self) -> Result<(), String> {
        let began = Instant::now();
        while !self.takes_writes() {
            if began.elapsed() > WRITES_BACK_WITHIN {
                return Err(format!("refused for {WRITES_BACK_WITHIN:?}"));
            }
            self.pause();
        }
        Ok(())
    }

    /// Between two looks at the store.
    fn pause(&self) {
        self.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(20)).await });
    }

    pub fn count(&self, prefix: &str) -> i64 {
        self.runtime.block_on(self.client.count(prefix.as_bytes())).expect("reads are served")
    }

    pub fn delete(&self, key: &str) {
        let delete = DeleteRangeRequest { key: key.to_owned().into(), ..DeleteRangeRequest::default() };
        self.runtime.block_on(self.client.delete_range(delete)).expect("deletions are served");
    }

    /// As a member does that finds its data differing.
    pub fn raise_corrupt(&self) {
        let Some(server) = self.servers.first() else { return };
        let raised = self.runtime.block_on(async {
            let (action, alarm) = (AlarmAction::Activate.into(), AlarmType::Corrupt.into());
            MaintenanceClient::new(server.channel().await).alarm(AlarmRequest { action, member_id: 7, alarm }).await
        });
        raised.expect("an alarm can be raised by hand");
    }

    pub fn has_corrupt(&self) -> bool {
        let alarms = self.runtime.block_on(self.client.alarm_list()).expect("it tells");
        alarms.iter().any(|alarm| alarm.alarm == i32::from(AlarmType::Corrupt))
    }

    /// Bytes of each member's file.
    pub fn sizes(&self) -> Vec<i64> {
        let size = |server: &Server| {
            let status = self.runtime.block_on(async { self.client.at(&server.url()).await?.status().await });
            status.expect("it tells").db_size
        };
        self.servers.iter().map(size).collect()
    }

    /// `bowline doctor` with these arguments, told of the first member only: it must find the others.
    pub fn doctor(&self, arguments: &[&str]) -> Said {
        said(self.start_doctor(arguments))
    }

    fn start_doctor(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new(&self.bowline);
        command.arg("doctor").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        for server in self.servers.iter().take(1) {
            command.args(["--endpoints", &server.url()]);
        }
        command.spawn().unwrap_or_else(|error| panic!("run {}: {error}", self.bowline.display()))
    }

    /// The same, and `then` is done as soon as something below `prefix` was deleted.
    pub fn doctor_and(&self, arguments: &[&str], prefix: &str, then: impl FnOnce(&Child)) -> Said {
        let before = self.count(prefix);
        let mut child = self.start_doctor(arguments);
        while self.count(prefix) == before && matches!(child.try_wait(), Ok(None)) {
            self.pause();
        }
        then(&child);
        said(child)
    }

    /// By the members' own logs: each was defragmented once, one after the other, and the leader at the end.
    pub fn leader_was_last(&self) -> Result<(), String> {
        let status = self.runtime.block_on(self.client.status()).map_err(|error| error.to_string())?;
        let mut turns = Vec::new();
        for server in &self.servers {
            let own = self.runtime.block_on(async { self.client.at(&server.url()).await?.status().await });
            let id = own.map_err(|error| error.to_string())?.header.map_or(0, |header| header.member_id);
            let [began] = &times(&server.log(), "starting defragment")[..] else {
                return Err(format!("{id:x} was not defragmented once"));
            };
            let [ended] = &times(&server.log(), "finished defragment")[..] else {
                return Err(format!("{id:x} did not end its defragmentation"));
            };
            turns.push((began.clone(), ended.clone(), id));
        }
        turns.sort();
        if turns.windows(2).any(|pair| pair[1].0 < pair[0].1) {
            return Err(format!("two at a time: {turns:?}"));
        }
        match turns.last() {
            Some((_, _, id)) if *id == status.leader => Ok(()),
            _ => Err(format!("leader {:x}, in turns {turns:x?}", status.leader)),
        }
    }
}

fn said(child: Child) -> Said {
    let output = child.wait_with_output().expect("it was started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code(), text: text(&output.stdout), errors: text(&output.stderr) }
}

/// As control-c does.
pub fn interrupt(child: &Child) {
    let sent = Command::new("kill").arg("-INT").arg(child.id().to_string()).status();
    assert!(sent.is_ok_and(|status| status.success()), "the signal was sent");
}

/// When a member logged a message.
fn times(log: &str, message: &str) -> Vec<String> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let said = lines.filter(|line| line["msg"] == message);
    said.filter_map(|line| line["ts"].as_str().map(str::to_owned)).collect()
}
