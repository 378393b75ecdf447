//! Command lines from the field, and every rule of the validation.

use super::*;
use crate::flags::parse::{Request, parse};
use crate::flags::{FLAGS, Kind};

fn read(arguments: &[&str]) -> Result<(Config, Vec<Warning>), String> {
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    match parse(&arguments, &[]) {
        Ok(Request::Start(settings)) => Config::from_settings(&settings),
        other => panic!("{arguments:?}: {other:?}"),
    }
}

fn config(arguments: &[&str]) -> Config {
    read(arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}")).0
}

fn complaint(arguments: &[&str]) -> String {
    read(arguments).expect_err("refused")
}

fn texts(urls: &[Url]) -> Vec<&str> {
    urls.iter().map(Url::as_str).collect()
}

#[test]
fn no_flags_are_etcds_defaults() {
    let config = config(&[]);
    assert_eq!((config.name.as_str(), config.data_dir.to_str()), ("default", Some("default.etcd")));
    assert_eq!(texts(&config.listen.client_urls), ["http://localhost:2379"]);
    assert_eq!(texts(&config.cluster.peer_urls), ["http://localhost:2380"]);
    assert_eq!(config.cluster.token, "etcd-cluster");
    assert_eq!((config.timing.tick, config.timing.election_ticks), (Duration::from_millis(100), 10));
    assert_eq!(config.timing.request_timeout, Duration::from_secs(7));
    assert_eq!(config.timing.watch_progress_interval, Duration::from_secs(600));
    assert_eq!(config.limits.quota_bytes, Some(2 << 30));
    assert_eq!(config.limits.request_bytes_max, 1_572_864);
    assert_eq!((config.limits.txn_operations_max, config.limits.concurrent_streams_max), (128, u32::MAX));
    assert_eq!(config.http.cors, ["*"]);
    assert!(config.client_tls.is_none() && config.peer_tls.is_none() && !config.unsafe_no_sync);
}

/// The files need not be there for clients' listeners, which report them, but must be for peers.
fn kubeadm_line(pki: &str) -> Vec<String> {
    [
        "--advertise-client-urls=https://192.168.1.10:2379",
        "--cert-file=PKI/server.crt",
        "--client-cert-auth=true",
        "--data-dir=/var/lib/etcd",
        "--feature-gates=InitialCorruptCheck=true",
        "--initial-advertise-peer-urls=https://192.168.1.10:2380",
        "--initial-cluster=control-plane=https://192.168.1.10:2380",
        "--key-file=PKI/server.key",
        "--listen-client-urls=https://127.0.0.1:2379,https://192.168.1.10:2379",
        "--listen-metrics-urls=http://127.0.0.1:2381",
        "--listen-peer-urls=https://192.168.1.10:2380",
        "--name=control-plane",
        "--peer-cert-file=PKI/peer.crt",
        "--peer-client-cert-auth=true",
        "--peer-key-file=PKI/peer.key",
        "--peer-trusted-ca-file=PKI/ca.crt",
        "--snapshot-count=10000",
        "--trusted-ca-file=PKI/ca.crt",
        "--watch-progress-notify-interval=5s",
    ]
    .map(|argument| argument.replace("PKI", pki))
    .to_vec()
}

#[test]
fn kubeadms_static_pod_starts_unchanged() {
    let pki = tempfile::tempdir().expect("a temporary folder");
    for name in ["server.crt", "server.key", "peer.crt", "peer.key", "ca.crt"] {
        std::fs::write(pki.path().join(name), "").expect("writable");
    }
    let line = kubeadm_line(pki.path().to_str().expect("a plain path"));
    let (config, warnings) = read(&line.iter().map(String::as_str).collect::<Vec<_>>()).expect("valid");
    let tls = config.client_tls.expect("https is listened on");
    assert!(tls.client_cert_auth && tls.trusted_ca.is_some() && tls.crl.is_none());
    assert_eq!((tls.min_version, tls.max_version), (TlsVersion::V12, None));
    assert_eq!(config.timing.watch_progress_interval, Duration::from_secs(5));
    assert!(config.gates.iter().any(|(gate, on)| gate.name == "InitialCorruptCheck" && *on));
    assert_eq!(warnings, []);
    std::fs::remove_file(pki.path().join("peer.key")).expect("it is there");
    assert!(complaint(&line.iter().map(String::as_str).collect::<Vec<_>>()).starts_with("--peer-key-file: open "));
}

#[test]
fn kubernetes_integration_tests_start_it_like_this() {
    let url = "http://127.0.0.1:41234";
    let arguments = ["--data-dir", "/tmp/x", "--listen-client-urls", url, "--advertise-client-urls", url];
    let config = config(&[&arguments[..], &["--listen-peer-urls", "http://127.0.0.1:0"]].concat());
    assert_eq!(texts(&config.listen.peer_urls), ["http://127.0.0.1:0"]);
    assert_eq!(texts(&config.cluster.peer_urls), ["http://localhost:2380"]);
}

#[test]
fn times_keep_etcds_rules_and_words() {
    for (arguments, words) in [
        (
            &["--election-timeout=400"][..],
            "--election-timeout[400ms] should be at least as 5 times as --heartbeat-interval[100ms]",
        ),
        (&["--election-timeout=60000"], "--election-timeout[60000ms] is too long, and should be set less than 50000ms"),
        (&["--heartbeat-interval=0"], "--heartbeat-interval must be >0 (set to 0ms)"),
        (&["--compact-hash-check-time=0s"], "--compact-hash-check-time must be >0 (set to 0s)"),
        (&["--compact-hash-check-time=-1500ms"], "--compact-hash-check-time must be >0 (set to -1500ms)"),
    ] {
        assert_eq!(complaint(arguments), words);
    }
    assert_eq!(config(&["--election-timeout=50000"]).timing.election_ticks, 500);
    assert_eq!(config(&["--heartbeat-interval=10", "--election-timeout=57"]).timing.election_ticks, 5);
    let progress = config(&["--watch-progress-notify-interval=10ms"]).timing.watch_progress_interval;
    assert_eq!(progress, Duration::from_millis(100));
    let keepalive = config(&["--grpc-keepalive-interval=0s", "--grpc-keepalive-timeout=3s"]).keepalive;
    assert_eq!((keepalive.interval, keepalive.timeout), (None, Some(Duration::from_secs(3))));
}

#[test]
fn addresses_keep_etcds_rules_and_words() {
    let advertised = "--advertise-client-urls=http://a:1";
    for (arguments, words) in [
        (
            &["--listen-client-urls=http://example.com:1", advertised][..],
            "expected IP in URL for binding (http://example.com:1)",
        ),
        (
            &["--listen-client-urls=http://127.0.0.1:1"],
            "--advertise-client-urls is required when --listen-client-urls is set explicitly",
        ),
        (
            &["--advertise-client-urls=http://:2379"],
            "--advertise-client-urls \"http://:2379\" must be in the format \"host:port\", \"unix:/path/to/socket\" or \
             \"unixs:/path/to/socket\" (unexpected empty host (http://:2379))",
        ),
        (
            &["--listen-client-urls=https://127.0.0.1:1", advertised],
            "TLS key/cert (--cert-file, --key-file) must be provided for client url https://127.0.0.1:1 with HTTPS scheme",
        ),
        (
            &["--listen-metrics-urls=https://127.0.0.1:1"],
            "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url https://127.0.0.1:1",
        ),
        (
            &["--listen-peer-urls=https://127.0.0.1:1"],
            "TLS key/cert (--peer-cert-file, --peer-key-file) must be provided for peer url https://127.0.0.1:1 with \
             HTTPS scheme",
        ),
    ] {
        assert_eq!(complaint(arguments), words);
    }
    config(&["--listen-client-urls=unix:///run/x.sock,http://[::1]:1,http://localhost:2", advertised]);
    let tls = config(&["--listen-client-urls=unixs://x:1", advertised, "--cert-file=c", "--key-file=k"]).client_tls;
    assert!(tls.is_some());
}

#[test]
fn certificates_beside_plain_urls_are_remarked_on() {
    let (config, warnings) = read(&["--cert-file=x", "--key-file=y"]).expect("valid");
    assert!(config.client_tls.is_none());
    assert_eq!(warnings.len(), 1);
}

#[test]
fn the_initial_cluster_must_be_this_member() {
    let peer = "--initial-advertise-peer-urls=http://127.0.0.1:2380";
    for (arguments, words) in [
        (
            &["--name=foo", "--initial-cluster=bar=http://localhost:2380"][..],
            "couldn't find local name \"foo\" in the initial cluster configuration",
        ),
        (
            &["--initial-cluster=default"],
            "error setting up initial cluster: URL scheme must be http, https, unix, or unixs: ",
        ),
        (
            &[
                "--name=a",
                "--initial-cluster=a=http://127.0.0.1:2380",
                "--initial-advertise-peer-urls=http://127.0.0.1:4380",
            ],
            "--initial-cluster has a=http://127.0.0.1:2380 but --initial-advertise-peer-urls=http://127.0.0.1:4380 \
             (they resolve to different addresses)",
        ),
        (
            &["--name=a", "--initial-cluster=a=http://127.0.0.1:2380,a=http://127.0.0.2:2380", peer],
            "--initial-cluster has a=http://127.0.0.1:2380,a=http://127.0.0.2:2380 but \
             --initial-advertise-peer-urls=http://127.0.0.1:2380 (2 URLs against 1)",
        ),
        (
            &["--name=a", "--initial-cluster=a=http://127.0.0.1:2380,b=http://127.0.0.1:3380", peer],
            "--initial-cluster names another member, \"b\": clusters of several members are not there yet, start with \
             \"a\" alone",
        ),
        (
            &["--initial-cluster=a=http://x:1", "--discovery-srv=foo"],
            "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \"discovery-endpoints\" or \
             \"discovery-srv\"",
        ),
        (&["--name="], "--name is empty; give the member a name"),
    ] {
        assert_eq!(complaint(arguments), words);
    }
    config(&["--name=a", "--initial-cluster=a=http://127.0.0.1:2380", peer]);
    // Names are as good as the addresses that they resolve to.
    config(&["--initial-cluster=default=http://localhost:2380", peer]);
    assert_eq!(config(&["--initial-cluster-state=existing"]).cluster.state, ClusterState::Existing);
}

#[test]
fn tls_versions_keep_etcds_rules_and_words() {
    for (arguments, words) in [
        (&["--tls-min-version=TLS1.1"][..], "unexpected TLS version \"TLS1.1\" (must be one of: TLS1.2, TLS1.3)"),
        (
            &["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"],
            "min version (TLS1.3) is greater than max version (TLS1.2)",
        ),
        (
            &["--tls-min-version=TLS1.3", "--cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
            "cipher suites cannot be configured when only TLS1.3 is enabled",
        ),
    ] {
        assert_eq!(complaint(arguments), words);
    }
}

#[test]
fn certificates_are_generated_where_etcd_keeps_them() {
    let https = ["--listen-client-urls=https://127.0.0.1:0,https://localhost:1", "--advertise-client-urls=https://a:1"];
    let with = |more: &[&str]| read(&[&https[..], &["--data-dir=/d", "--auto-tls"], more].concat());
    let (config, warnings) = with(&["--self-signed-cert-validity=3"]).expect("valid");
    let hosts = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let generated = Pair::Generated { directory: "/d/fixtures/client".into(), hosts, years: 3 };
    assert_eq!((config.client_tls.expect("https is listened on").pair, warnings), (generated, vec![]));
    let given = with(&["--cert-file=c", "--key-file=k"]).expect("valid");
    let pair = given.0.client_tls.expect("https is listened on").pair;
    assert_eq!(pair, Pair::Files { cert: "c".into(), key: "k".into() });
    assert_eq!(given.1[0].message, "ignoring client auto TLS since certs given");
    let none = with(&["--self-signed-cert-validity=0"]).expect_err("no year");
    assert_eq!(none, "selfSignedCertValidity is invalid,it should be greater than 0");
    // Without an authority nobody could be verified; with one, clients are.
    let tls = with(&["--client-cert-auth"]).expect("valid").0.client_tls.expect("https is listened on");
    assert!(!tls.client_cert_auth);
    let tls = with(&["--client-cert-auth", "--trusted-ca-file=ca"])
        .expect("valid")
        .0
        .client_tls
        .expect("https is listened on");
    assert!(tls.client_cert_auth && tls.trusted_ca.is_some());
    // Nothing listens with TLS: nothing is generated.
    assert!(read(&["--auto-tls", "--peer-auto-tls"]).expect("valid").0.client_tls.is_none());
}

#[test]
fn numbers_beyond_what_is_here_are_cut_with_a_warning() {
    let (config, warnings) = read(&["--max-request-bytes=104857600", "--snapshot-count=20000000"]).expect("valid");
    assert_eq!((config.limits.request_bytes_max, config.limits.checkpoint_entries), (32 << 20, 10_000_000));
    assert_eq!(warnings.len(), 3, "etcd's own warning, and one for each: {warnings:?}");
    let (config, warnings) = read(&["--snapshot-count=0", "--max-concurrent-streams=0"]).expect("valid");
    assert_eq!((config.limits.checkpoint_entries, config.limits.concurrent_streams_max), (10_000, u32::MAX));
    assert_eq!(warnings, []);
    let (_, warnings) =
        read(&["--cipher-suites=TLS_RSA_WITH_AES_128_CBC_SHA,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]).expect("valid");
    assert_eq!(warnings[0].field, ("cipher-suite", "TLS_RSA_WITH_AES_128_CBC_SHA".to_owned()));
    let lacking = complaint(&["--cipher-suites=TLS_RSA_WITH_AES_128_CBC_SHA"]);
    assert!(lacking.starts_with("none of the cipher suites TLS_RSA_WITH_AES_128_CBC_SHA is offered"), "{lacking}");
}

#[test]
fn what_is_missing_is_refused_with_a_sentence() {
    for (argument, words) in [
        ("--auth-token=jwt,pub-key=x", "--auth-token cannot be set: users and roles are not there yet"),
        (
            "--feature-gates=PriorityRequest=true",
            "feature gate PriorityRequest cannot be enabled: lease revocations have no priority under overload yet",
        ),
    ] {
        assert_eq!(complaint(&[argument]), words);
    }
    for argument in [
        "--discovery-token=x",
        "--discovery-endpoints=http://a:1",
        "--discovery-srv=example.com",
        "--enable-distributed-tracing=true",
        "--enable-log-rotation=true",
        "--client-cert-allowed-hostname=a",
    ] {
        assert!(complaint(&[argument]).contains(" cannot be set: "), "{argument}");
    }
    // Naming the default is harmless: harnesses do.
    for argument in [
        "--auto-tls=false",
        "--auth-token=simple",
        "--auto-compaction-retention=0",
        "--auto-compaction-retention=0h",
        "--auto-compaction-retention=",
        "--auto-compaction-mode=revision",
        "--discovery-fallback=exit",
        "--cors=*",
        "--host-whitelist=*",
    ] {
        config(&[argument]);
    }
    assert_eq!(complaint(&["--auto-compaction-mode=foo"]), "unknown auto-compaction-mode \"foo\"");
    assert_eq!(complaint(&["--metrics=foo"]), "unknown --metrics level \"foo\", supported values basic, extensive");
}

#[test]
fn what_has_no_effect_is_said_to_have_none() {
    let warnings = read(&["--max-wals=3", "--memory-mlock=false"]).expect("valid").1;
    let reason = "max-wals (log segments behind a checkpoint are recycled, so that their number is bounded anyway)";
    assert_eq!(warnings, [Warning { message: "flag has no effect", field: ("flag", reason.to_owned()) }]);
}

#[test]
fn what_etcd_will_remove_is_named_in_its_words_even_at_its_default() {
    let warnings = read(&["--max-snapshots=5", "--v2-deprecation=gone"]).expect("valid").1;
    let messages: Vec<_> = warnings.iter().map(|warning| warning.message).collect();
    assert_eq!(
        messages,
        [
            "flag has no effect",
            "--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8.",
            "--v2-deprecation is deprecated and scheduled for removal in v3.8. The default value is enforced, ignoring \
             user input.",
        ]
    );
}

#[test]
fn empty_url_lists_are_none() {
    let config = config(&["--initial-advertise-peer-urls=", "--advertise-client-urls="]);
    assert_eq!(texts(&config.cluster.peer_urls), ["http://localhost:2380"]);
    assert_eq!(texts(&config.cluster.client_urls), ["http://localhost:2379"]);
}

#[test]
fn the_gateway_is_missed_only_by_those_who_ask() {
    assert_eq!(read(&[]).expect("valid").1, []);
    assert_eq!(read(&["--enable-grpc-gateway=false"]).expect("valid").1, []);
    assert_eq!(read(&["--enable-grpc-gateway=true"]).expect("valid").1.len(), 1);
}

#[test]
fn sizes_beyond_advice_are_warned_about() {
    assert_eq!(config(&["--quota-backend-bytes=-1"]).limits.quota_bytes, None);
    assert_eq!(config(&["--quota-backend-bytes=53248"]).limits.quota_bytes, Some(53_248));
    for argument in ["--quota-backend-bytes=8589934593", "--max-request-bytes=10485761"] {
        assert_eq!(read(&[argument]).expect("valid").1.len(), 1, "{argument}");
    }
}

/// etcd #13066: members that never synced disagreed after a crash. Whoever asks for that is told what it means.
#[test]
fn r16_not_syncing_is_asked_for_and_warned_of() {
    assert!(!config(&[]).unsafe_no_sync);
    let (config, warnings) = read(&["--unsafe-no-fsync"]).expect("valid");
    let [warning] = warnings.as_slice() else { panic!("one warning, not {warnings:?}") };
    assert!(config.unsafe_no_sync && warning.message.contains("lose acknowledged writes"), "{warning:?}");
}

#[test]
fn hosts_and_origins_are_lists() {
    let http = config(&["--cors=http://a:1,http://b:2", "--host-whitelist=a, b"]).http;
    assert_eq!(
        (http.cors, http.host_whitelist),
        (vec!["http://a:1".into(), "http://b:2".into()], vec!["a".into(), "b".into()])
    );
    assert_eq!(config(&["--cors=", "--host-whitelist="]).http.host_whitelist, ["*"]);
}

#[test]
fn log_options_keep_etcds_rules_and_words() {
    let options = |argument: &str| match parse(&[argument.to_owned()], &[]) {
        Ok(Request::Start(settings)) => log_options(&settings),
        other => panic!("{argument}: {other:?}"),
    };
    assert_eq!(options("--logger=foo"), Err("unknown logger option \"foo\"".into()));
    assert_eq!(options("--log-format=foo"), Err("unknown log format: foo, supported values json, console".into()));
    assert_eq!(
        options("--log-outputs=default,stderr"),
        Err("multi logoutput for \"default\" is not supported yet".into())
    );
    assert!(options("--log-level=foo").is_err() && options("--log-outputs=systemd/journal").is_err());
    let outputs = options("--log-outputs=stderr,stdout,./x.log").expect("valid").outputs;
    assert_eq!(outputs, [log::Output::Stderr, log::Output::Stdout, log::Output::File("./x.log".into())]);
}

/// Whatever number is given, the answer is a configuration or a sentence, never a panic; what is accepted is within
/// bounds.
#[test]
fn r87_every_number_at_every_edge() {
    for flag in FLAGS {
        let duration = flag.kind == Kind::Duration;
        if !duration && !matches!(flag.kind, Kind::Signed | Kind::Unsigned | Kind::Unsigned32) {
            continue;
        }
        let limits = [i128::from(i64::MIN), i128::from(i64::MAX), i128::from(u32::MAX), i128::from(u64::MAX)];
        let edges = [flag.bounds.min, flag.bounds.max].into_iter().chain(limits).chain([-1, 0, 1]);
        for number in edges.flat_map(|edge| [edge.saturating_sub(1), edge, edge.saturating_add(1)]) {
            let unit = if duration { "ns" } else { "" };
            let argument = format!("--{}={number}{unit}", flag.name);
            let Ok(Request::Start(settings)) = parse(std::slice::from_ref(&argument), &[]) else { continue };
            let read = Config::from_settings(&settings);
            assert!(flag.bounds.contain(number) || read.is_err(), "{argument} was taken");
        }
    }
}
