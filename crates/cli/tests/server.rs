//! A member as a process: start, the ready line, the port's answers, signals, restart, refusals at start.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::Duration;

/// Longer than anything here should take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct Member {
    child: Child,
    records: BufReader<ChildStderr>,
    seen: Vec<serde_json::Value>,
}

impl Member {
    fn start(arguments: &[String], variables: &[(&str, &str)]) -> Member {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bowline"));
        command.arg("server").args(arguments).env_clear().envs(variables.iter().copied());
        let mut child = command.stderr(Stdio::piped()).stdin(Stdio::null()).spawn().expect("the binary runs");
        let records = BufReader::new(child.stderr.take().expect("it was asked to be piped"));
        Member { child, records, seen: Vec::new() }
    }

    /// Reads records until one has this message. The end of the output before it fails the test.
    fn wait_for(&mut self, message: &str) -> serde_json::Value {
        loop {
            let Some(record) = self.next_record() else { panic!("no {message:?} in {:#?}", self.seen) };
            if record["msg"] == message {
                return record;
            }
        }
    }

    fn next_record(&mut self) -> Option<serde_json::Value> {
        let mut line = String::new();
        self.records.read_line(&mut line).expect("the output can be read");
        if line.is_empty() {
            return None;
        }
        let record: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        self.seen.push(record.clone());
        Some(record)
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// What it ended with, after reading all that it still says.
    fn end(&mut self) -> ExitStatus {
        while self.next_record().is_some() {}
        self.child.wait().expect("it ends")
    }

    fn has_level(&self, level: &str) -> bool {
        self.seen.iter().any(|record| record["level"] == level)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn arguments(data: &Path, more: &[&str]) -> Vec<String> {
    let client = "http://127.0.0.1:0";
    let data = data.to_str().expect("a plain path");
    let common = [
        "--data-dir",
        data,
        "--listen-client-urls",
        client,
        "--advertise-client-urls",
        client,
        "--listen-peer-urls",
        client,
    ];
    common.iter().chain(more).map(|argument| (*argument).to_owned()).collect()
}

/// Reads until the member is ready; returns the address of its client port.
fn ready(member: &mut Member) -> String {
    let serving = member.wait_for("serving client traffic insecurely; this is strongly discouraged!");
    member.wait_for("ready to serve client requests");
    serving["address"].as_str().expect("an address").to_owned()
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

#[test]
fn a_member_starts_answers_and_stops() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    let mut member = Member::start(&arguments(&data, &["--log-level=debug"]), &[("ETCD_VERIFY", "all")]);
    let address = ready(&mut member);
    let health = get(&address, "/health");
    assert!(
        health.starts_with("HTTP/1.1 200") && health.ends_with("{\"health\":\"true\",\"reason\":\"\"}"),
        "{health}"
    );
    assert!(get(&address, "/version").contains(&format!("\"etcdserver\":\"{}\"", model::ETCD_VERSION)));
    member.signal("TERM");
    assert_eq!(member.end().signal(), Some(15));
    assert!(!member.has_level("error") && !member.has_level("fatal"), "{:#?}", member.seen);
}

#[test]
fn it_starts_again_after_any_end() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    for signal in ["KILL", "INT", "KILL", "TERM"] {
        let mut member = Member::start(&arguments(&data, &["--initial-cluster-state=new"]), &[]);
        ready(&mut member);
        member.signal(signal);
        // A shell says 128 more: 137, 130, 143.
        let number = [("KILL", 9), ("INT", 2), ("TERM", 15)].into_iter().find(|(name, _)| *name == signal);
        assert_eq!(member.end().signal(), number.map(|(_, number)| number));
    }
    let mut member = Member::start(&arguments(&data, &["--initial-cluster-state=existing"]), &[]);
    ready(&mut member);
}

/// Those that a program of etcd's kind does not end with, the real-time ones among them, and one more: SIGHUP.
#[test]
fn signals_that_ask_for_nothing_end_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut member = Member::start(&arguments(&folder.path().join("data"), &[]), &[]);
    let address = ready(&mut member);
    let named = [
        "HUP", "USR1", "USR2", "PIPE", "ALRM", "CHLD", "CONT", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
        "PWR",
    ];
    for signal in named.into_iter().map(str::to_owned).chain((34..=64).map(|number| number.to_string())) {
        member.signal(&signal);
        assert!(get(&address, "/health").starts_with("HTTP/1.1 200"), "after SIG{signal}");
    }
    member.signal("TERM");
    assert_eq!(member.end().signal(), Some(15));
}

/// etcd's own sample file, with the values that its comments go with, on ports of our own.
#[test]
fn etcds_sample_file_starts() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("etcd.conf.yml");
    let text = "name: 'default'\ndata-dir: DIR/data\nwal-dir:\nsnapshot-count: 10000\nheartbeat-interval: 100\n\
        election-timeout: 1000\nquota-backend-bytes: 0\nlisten-peer-urls: http://localhost:0\n\
        listen-client-urls: http://localhost:0\nmax-snapshots: 5\nmax-wals: 5\ncors:\n\
        initial-advertise-peer-urls: http://localhost:2380\nadvertise-client-urls: http://localhost:2379\ndiscovery:\n\
        discovery-fallback: 'proxy'\ndiscovery-proxy:\ndiscovery-srv:\ninitial-cluster:\n\
        initial-cluster-token: 'etcd-cluster'\ninitial-cluster-state: 'new'\nstrict-reconfig-check: false\n\
        enable-pprof: true\nproxy: 'off'\nproxy-failure-wait: 5000\nproxy-refresh-interval: 30000\n\
        proxy-dial-timeout: 1000\nproxy-write-timeout: 5000\nproxy-read-timeout: 0\n\nclient-transport-security:\n  \
        cert-file:\n  key-file:\n  client-cert-auth: false\n  trusted-ca-file:\n  auto-tls: false\n\n\
        peer-transport-security:\n  cert-file:\n  key-file:\n  client-cert-auth: false\n  trusted-ca-file:\n  \
        auto-tls: false\n\nself-signed-cert-validity: 1\nlog-level: debug\nlogger: zap\nlog-outputs: [stderr]\n\
        force-new-cluster: false\nauto-compaction-mode: periodic\nauto-compaction-retention: \"1\"\ncipher-suites: [\n  \
        TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,\n  TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384\n]\n\
        tls-min-version: 'TLS1.2'\ntls-max-version: 'TLS1.3'\n";
    std::fs::write(&file, text.replace("DIR", folder.path().to_str().expect("a plain path"))).expect("writable");
    let mut member = Member::start(&["--config-file".to_owned(), file.display().to_string()], &[]);
    member.wait_for("ready to serve client requests");
    assert!(!member.has_level("error"), "{:#?}", member.seen);
}

/// Starts that etcd allows, and what it says then.
#[test]
fn generous_and_odd_numbers_start() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (at, more) in [
        &["--log-level=warning"][..],
        &["--snapshot-count=0", "--snapshot-catchup-entries=1_234", "--bootstrap-defrag-threshold-megabytes=7"],
        &[
            "--snapshot-count=99999999999",
            "--max-request-bytes=104857600",
            "--max-concurrent-streams=0",
            "--max-txn-ops=0",
        ],
        &["--cipher-suites=TLS_RSA_WITH_AES_128_CBC_SHA,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
    ]
    .into_iter()
    .enumerate()
    {
        // At this level nothing says that it is ready.
        let manager = UnixDatagram::bind(folder.path().join(at.to_string())).expect("a free path");
        manager.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let socket = folder.path().join(at.to_string()).display().to_string();
        let data = folder.path().join(format!("data{at}"));
        let mut member = Member::start(&arguments(&data, more), &[("NOTIFY_SOCKET", &socket)]);
        let length = manager.recv(&mut [0; 32]).expect("a datagram");
        assert_eq!(length, b"READY=1".len(), "{more:?}");
        member.signal("INT");
        assert_eq!(member.end().signal(), Some(2));
        if at == 1 {
            let find = |message| member.seen.iter().find(|record| record["msg"] == message).expect("logged");
            assert_eq!(find("starting a member")["snapshot-catchup-entries"], 1234);
            assert_eq!(find("Skipping defragmentation")["bootstrap-defrag-threshold-bytes"], 7 << 20);
        }
    }
}

/// The pair is made where etcd makes it, once, and serves clients of both protocols; a start that comes to nothing
/// leaves none.
#[test]
fn certificates_of_its_own_making_serve() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    let line = |client: &str| {
        [
            format!("--data-dir={}", data.display()),
            format!("--listen-client-urls={client}"),
            "--advertise-client-urls=https://127.0.0.1:2379".to_owned(),
            "--listen-peer-urls=https://127.0.0.1:0".to_owned(),
            "--auto-tls=true".to_owned(),
            "--peer-auto-tls=true".to_owned(),
            "--self-signed-cert-validity=2".to_owned(),
        ]
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = format!("https://{}", taken.local_addr().expect("bound"));
    let mut refused = Member::start(&line(&taken), &[]);
    assert_eq!(refused.end().code(), Some(1));
    assert!(!data.exists(), "a refused start leaves nothing");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut made = Vec::new();
    for _ in 0..2 {
        let mut member = Member::start(&line("https://127.0.0.1:0"), &[]);
        let address = member.wait_for("serving client traffic securely")["address"].clone();
        member.wait_for("ready to serve client requests");
        let generated =
            member.seen.iter().filter(|record| record["msg"] == "automatically generate certificates").count();
        assert_eq!(generated, if made.is_empty() { 2 } else { 0 });
        let certificate = std::fs::read(data.join("fixtures/client/cert.pem")).expect("there");
        assert!(data.join("fixtures/peer/key.pem").exists());
        made.push(certificate);
        let options = client::Options {
            endpoints: vec![address.as_str().expect("an address").to_owned()],
            tls: client::Tls { insecure_skip_verify: true, ..Default::default() },
            timeout: PATIENCE,
            ..Default::default()
        };
        let asked = runtime.block_on(async { client::Client::connect(&options).await?.status().await });
        assert!(asked.is_ok(), "{:?}", asked.err().map(|error| error.to_string()));
        member.signal("TERM");
        member.end();
    }
    assert_eq!(made[0], made[1], "the pair is used again");
}

#[test]
fn the_service_manager_is_told_when_it_serves() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let socket = folder.path().join("notify.sock");
    let manager = UnixDatagram::bind(&socket).expect("a free path");
    manager.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let variables = [("NOTIFY_SOCKET", socket.to_str().expect("a plain path"))];
    let mut member = Member::start(&arguments(&folder.path().join("data"), &[]), &variables);
    let address = ready(&mut member);
    let mut buffer = [0; 32];
    let length = manager.recv(&mut buffer).expect("a datagram");
    assert_eq!(&buffer[..length], b"READY=1");
    assert!(get(&address, "/readyz").starts_with("HTTP/1.1 200"));
    member.signal("TERM");
    let length = manager.recv(&mut buffer).expect("a datagram");
    assert_eq!(&buffer[..length], b"STOPPING=1");
    assert_eq!(member.end().signal(), Some(15));
}

#[test]
fn what_keeps_it_from_starting_is_said_and_leaves_no_data() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = format!("http://{}", other.local_addr().expect("bound"));
    let listen = format!("--listen-metrics-urls={taken}");
    let tls = [
        "--listen-metrics-urls=https://127.0.0.1:0",
        "--cert-file=/nonexistent/a.crt",
        "--key-file=/nonexistent/a.key",
    ];
    for (more, words) in [
        (&["--initial-cluster-state=existing"][..], "joining a cluster is not there yet"),
        (&[listen.as_str()], taken.trim_start_matches("http://")),
        (&tls, "/nonexistent/a.crt"),
    ] {
        let data = folder.path().join("data");
        let mut member = Member::start(&arguments(&data, more), &[]);
        assert_eq!(member.end().code(), Some(1), "{more:?}");
        let last = member.seen.last().expect("a record");
        assert_eq!((&last["level"], &last["msg"]), (&"fatal".into(), &"the member could not start".into()));
        assert!(last["error"].as_str().is_some_and(|error| error.contains(words)), "{last}");
        assert!(!data.exists(), "{more:?}");
    }
}

#[test]
fn two_members_cannot_share_a_directory() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    let mut first = Member::start(&arguments(&data, &[]), &[]);
    ready(&mut first);
    let mut second = Member::start(&arguments(&data, &[]), &[]);
    assert_eq!(second.end().code(), Some(1));
    assert!(second.has_level("fatal"));
}

#[test]
fn a_config_file_is_enough() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("etcd.yaml");
    let log = folder.path().join("member.log");
    let text = format!(
        "name: from-file\ndata-dir: {0}/data\nlisten-client-urls: unix://{0}/client.sock\nlisten-peer-urls: http://127.0.0.1:0\n\
         listen-metrics-urls: http://127.0.0.1:0\nlog-outputs: [stderr, {1}]\nunknown: 1\n",
        folder.path().display(),
        log.display()
    );
    std::fs::write(&file, text).expect("writable");
    let file = file.to_str().expect("a plain path").to_owned();
    let mut member = Member::start(&["--config-file".to_owned(), file], &[("ETCD_NAME", "ignored")]);
    let metrics = member.wait_for("serving metrics");
    member.wait_for("ready to serve client requests");
    let metrics = get(metrics["address"].as_str().expect("an address"), "/metrics");
    assert!(metrics.contains(&format!("etcd_server_version{{server_version=\"{}\"}} 1", model::ETCD_VERSION)));
    assert!(folder.path().join("client.sock").exists());
    member.signal("TERM");
    assert_eq!(member.end().signal(), Some(15));
    assert_eq!(std::fs::read_to_string(log).expect("written").lines().count(), member.seen.len());
}

/// What kubeadm writes into its static pod for one control plane, with ports of our own.
#[test]
fn kubeadms_command_line_starts_with_its_certificates() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    for (name, text) in [("cert", key.cert.pem()), ("key", key.signing_key.serialize_pem())] {
        std::fs::write(folder.path().join(name), text).expect("writable");
    }
    let line = [
        "--advertise-client-urls=https://127.0.0.1:2379",
        "--cert-file=PKI/cert",
        "--client-cert-auth=true",
        "--data-dir=PKI/data",
        "--feature-gates=InitialCorruptCheck=true",
        "--initial-advertise-peer-urls=https://127.0.0.1:2380",
        "--initial-cluster=control-plane=https://127.0.0.1:2380",
        "--key-file=PKI/key",
        "--listen-client-urls=https://127.0.0.1:0",
        "--listen-metrics-urls=http://127.0.0.1:0",
        "--listen-peer-urls=https://127.0.0.1:0",
        "--name=control-plane",
        "--peer-cert-file=PKI/cert",
        "--peer-client-cert-auth=true",
        "--peer-key-file=PKI/key",
        "--peer-trusted-ca-file=PKI/cert",
        "--snapshot-count=10000",
        "--trusted-ca-file=PKI/cert",
        "--watch-progress-notify-interval=5s",
    ];
    let pki = folder.path().to_str().expect("a plain path");
    let mut member = Member::start(&line.map(|argument| argument.replace("PKI", pki)), &[]);
    member.wait_for("serving client traffic securely");
    let metrics = member.wait_for("serving metrics")["address"].clone();
    member.wait_for("ready to serve client requests");
    for probe in ["/livez", "/readyz", "/health?serializable=false"] {
        assert!(get(metrics.as_str().expect("an address"), probe).starts_with("HTTP/1.1 200"), "{probe}");
    }
    assert!(!member.has_level("warn"), "{:#?}", member.seen);
    member.signal("TERM");
    assert_eq!(member.end().signal(), Some(15));
}

#[test]
fn top_shows_who_fills_the_store_and_says_what_is_wrong() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut member = Member::start(&arguments(&directory.path().join("data"), &[]), &[]);
    let address = ready(&mut member);
    let top = |endpoints: &str| {
        let program = env!("CARGO_BIN_EXE_bowline");
        Command::new(program).args(["top", "--once", "-o", "json", "--endpoints", endpoints]).output().expect("it runs")
    };
    // The first endpoint answers nobody.
    let shown = top(&format!("127.0.0.1:1,http://{address}"));
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!((&shown["accounts_total"], &shown["alarm"]), (&0.into(), &false.into()));
    assert_eq!(shown["quota_bytes"], 2_u64 << 30);
    let failed = top("127.0.0.1:1");
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&failed.stderr).starts_with("connect to 127.0.0.1:1: "));
}

/// Certificates of the server and of the client, a CA that signed neither, and no certificate at all.
#[test]
fn the_client_trusts_whom_it_is_told_to() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let certificate = |name: &str| {
        let key = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
        for (end, text) in [("pem", key.cert.pem()), ("key", key.signing_key.serialize_pem())] {
            std::fs::write(folder.path().join(format!("{name}.{end}")), text).expect("writable");
        }
    };
    for name in ["server", "user", "other"] {
        certificate(name);
    }
    let path = |name: &str| Some(folder.path().join(name));
    let line = [
        "--advertise-client-urls=https://127.0.0.1:2379",
        "--data-dir=FOLDER/data",
        "--cert-file=FOLDER/server.pem",
        "--key-file=FOLDER/server.key",
        "--client-cert-auth=true",
        "--trusted-ca-file=FOLDER/user.pem",
        "--listen-client-urls=https://127.0.0.1:0",
        "--listen-peer-urls=http://127.0.0.1:0",
    ];
    let pki = folder.path().to_str().expect("a plain path");
    let mut member = Member::start(&line.map(|argument| argument.replace("FOLDER", pki)), &[]);
    let address = member.wait_for("serving client traffic securely")["address"].clone();
    member.wait_for("ready to serve client requests");
    let address = address.as_str().expect("an address").to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let ask = |tls: client::Tls| {
        let options =
            client::Options { endpoints: vec![address.clone()], tls, timeout: PATIENCE, ..Default::default() };
        runtime.block_on(async { client::Client::connect(&options).await?.status().await.map(|status| status.leader) })
    };
    let shown = |tls: client::Tls| client::Tls { cert_file: path("user.pem"), key_file: path("user.key"), ..tls };
    let trusting = |ca: &str| client::Tls { ca_file: path(ca), ..Default::default() };
    let blind = client::Tls { insecure_skip_verify: true, ..Default::default() };
    assert!(ask(shown(trusting("server.pem"))).is_ok());
    assert!(ask(shown(blind.clone())).is_ok());
    let refused = ask(shown(trusting("other.pem"))).expect_err("signed by somebody else").to_string();
    assert!(refused.contains("invalid peer certificate"), "{refused}");
    // Who the server is does not matter to it, but who we are does to the server.
    assert!(ask(blind).is_err());
    let no_ca = ask(shown(client::Tls::default())).expect_err("no CA");
    assert_eq!(no_ca.kind(), client::ErrorKind::Options);
    let half =
        ask(client::Tls { cert_file: path("user.pem"), ..trusting("server.pem") }).expect_err("half an identity");
    assert_eq!(half.to_string(), "--cert and --key belong together: one of them is missing");
}

#[test]
fn budgets_are_set_listed_and_removed_and_survive_a_restart() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let data = directory.path().join("data");
    let mut member = Member::start(&arguments(&data, &[]), &[]);
    let address = ready(&mut member);
    let budget = |address: &str, line: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bowline"));
        command.arg("budget").args(line).args(["--endpoints", address]).output().expect("it runs")
    };
    let done = |address: &str, line: &[&str]| {
        let output = budget(address, line);
        assert!(output.status.success(), "{line:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let refused = |address: &str, line: &[&str]| {
        let output = budget(address, line);
        assert!(!output.status.success(), "{line:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    let listed = |address: &str| -> serde_json::Value {
        serde_json::from_str(&done(address, &["list", "-o", "json"])).expect("JSON")
    };
    let prefix = "/registry/reports.kyverno.io/ephemeralreports";
    let with_slash = format!("{prefix}/");
    assert_eq!(done(&address, &["set", &with_slash, "--hard-bytes=512MiB", "--hard-keys", "1000"]), "");
    assert_eq!(done(&address, &["set", prefix, "--hard-keys=none", "--soft-bytes", "256MiB", "--hard-writes=50"]), "");
    let expected = serde_json::json!({
        "prefix": prefix,
        "soft": { "bytes": 256 << 20, "keys": null, "writes_per_second": null },
        "hard": { "bytes": 512 << 20, "keys": null, "writes_per_second": 50 },
        "used": { "bytes": 0, "keys": 0, "writes_per_second": 0 },
        "writes_left": 50,
        "refused": 0,
    });
    assert_eq!(listed(&address)["budgets"], serde_json::json!([expected]));
    assert!(done(&address, &["list"]).lines().last().is_some_and(|line| line.ends_with(prefix)));
    assert!(refused(&address, &["set", "/registry/pods/default", "--hard-keys=5"]).contains("--space-account-depth=3"));
    assert!(refused(&address, &["set", prefix]).contains("no limit is given"));
    assert!(refused(&address, &["set", prefix, "--hard-bytes=1mb"]).contains("unknown unit"));
    assert!(refused(&address, &["remove", "/registry/nothing"]).contains("budget not found"));
    member.signal("KILL");
    member.end();
    let mut member = Member::start(&arguments(&data, &[]), &[]);
    let address = ready(&mut member);
    assert_eq!(listed(&address)["budgets"], serde_json::json!([expected]), "after kill -9");
    member.signal("TERM");
    member.end();
    let mut member = Member::start(&arguments(&data, &[]), &[]);
    let address = ready(&mut member);
    assert_eq!(listed(&address)["budgets"], serde_json::json!([expected]), "after an orderly end");
    assert_eq!(done(&address, &["remove", &with_slash]), "");
    assert_eq!(listed(&address)["budgets"], serde_json::json!([]));
}

/// SIGHUP reads the file again: what can change does, what cannot is named, and a broken file changes nothing.
#[test]
fn the_config_file_is_read_again_on_request() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("etcd.yaml");
    let write = |more: &str| {
        let text = format!(
            "data-dir: {}/data\nlisten-client-urls: http://127.0.0.1:0\nlisten-peer-urls: http://127.0.0.1:0\n{more}",
            folder.path().display()
        );
        std::fs::write(&file, text).expect("writable");
    };
    write("");
    let mut member = Member::start(&["--config-file".to_owned(), file.display().to_string()], &[]);
    let address = ready(&mut member);
    let read_again = |member: &mut Member, more: &str, message: &str| {
        write(more);
        member.signal("HUP");
        member.wait_for(message)
    };
    let same = read_again(&mut member, "", "read the config file again");
    assert_eq!(same["changes"], 0);
    let changeable =
        "log-level: debug\nauto-compaction-retention: 5m\nquota-backend-bytes: 1_000_000\nspace-strict-etcd: true\n";
    let more = format!("{changeable}max-txn-ops: 5\n");
    assert_eq!(read_again(&mut member, &more, "read the config file again")["changes"], 5);
    let of = |member: &Member, message: &str| {
        let found = member.seen.iter().filter(|record| record["msg"] == message);
        found.map(|record| (record["flag"].clone(), record["from"].clone(), record["to"].clone())).collect::<Vec<_>>()
    };
    let text = |parts: [&str; 3]| (parts[0].into(), parts[1].into(), parts[2].into());
    let changed = [
        text(["auto-compaction-retention", "0", "5m"]),
        text(["log-level", "info", "debug"]),
        text(["quota-backend-bytes", "0", "1000000"]),
        text(["space-strict-etcd", "false", "true"]),
    ];
    let mut found = of(&member, "changed");
    found.sort_by_key(|(flag, _, _): &(serde_json::Value, _, _)| flag.to_string());
    assert_eq!(found, changed);
    let waits = "does not change while the member runs: restart it";
    assert_eq!(of(&member, waits), [text(["max-txn-ops", "128", "5"])]);
    let set = "the space quota is set";
    let set = match member.seen.iter().find(|record| record["msg"] == set) {
        Some(record) => record.clone(),
        None => member.wait_for(set),
    };
    assert_eq!((&set["quota-size-bytes"], &set["strict-latch"]), (&1_000_000.into(), &true.into()));
    // Behind a linearizable read, what was applied is seen.
    assert!(get(&address, "/health?serializable=false").starts_with("HTTP/1.1 200"));
    let metrics = get(&address, "/metrics");
    let shown = metrics.lines().find(|line| line.starts_with("etcd_server_quota_backend_bytes "));
    assert_eq!(shown, Some("etcd_server_quota_backend_bytes 1e+06"));
    for (broken, words) in
        [("name: [", "not valid YAML"), ("heartbeat-interval: 0\n", "must be >0"), ("name: 5\n", "name: ")]
    {
        let record = read_again(&mut member, broken, "the config file cannot be used: nothing is changed");
        assert!(record["error"].as_str().is_some_and(|error| error.contains(words)), "{record}");
    }
    // What changed stays changed, and is not reported again.
    assert_eq!(read_again(&mut member, changeable, "read the config file again")["changes"], 0);
    member.signal("TERM");
    assert_eq!(member.end().signal(), Some(15));
}
