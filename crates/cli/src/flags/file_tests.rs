//! The config file, case by case, each tried on the real etcd 3.7.3.

use super::*;
use crate::flags::parse::{Request, parse as parse_line};

fn settings(text: &str) -> Settings {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn k3s_writes_such_a_file() {
    let settings = settings(
        "name: node-1
advertise-client-urls: https://10.0.0.1:2379
client-transport-security:
  cert-file: /tls/server.crt
  client-cert-auth: true
  key-file: /tls/server.key
  trusted-ca-file: /tls/ca.crt
data-dir: /var/lib/db/etcd
election-timeout: 5000
experimental-initial-corrupt-check: true
experimental-watch-progress-notify-interval: 5000000000
heartbeat-interval: 500
initial-advertise-peer-urls: https://10.0.0.1:2380
initial-cluster: node-1=https://10.0.0.1:2380
initial-cluster-state: new
listen-client-http-urls: https://127.0.0.1:2382
listen-client-urls: https://127.0.0.1:2379,https://10.0.0.1:2379
listen-metrics-urls: http://127.0.0.1:2381
listen-peer-urls: https://127.0.0.1:2380,https://10.0.0.1:2380
log-outputs:
- stderr
logger: zap
peer-transport-security:
  cert-file: /tls/peer.crt
  client-cert-auth: true
snapshot-count: 10000
socket-options:
  reuse-address: true
  reuse-port: true
unknown-to-everybody: 3
",
    );
    assert_eq!(settings.text("name"), "node-1");
    assert_eq!(settings.number("election-timeout"), 5000);
    assert_eq!(settings.urls("listen-client-urls").len(), 2);
    assert_eq!(settings.text("cert-file"), "/tls/server.crt");
    assert_eq!(settings.text("peer-cert-file"), "/tls/peer.crt");
    assert!(settings.bool("socket-reuse-port") && settings.bool("peer-client-cert-auth"));
    assert_eq!(settings.list("log-outputs"), ["stderr"]);
    assert_eq!(settings.number("watch-progress-notify-interval"), 5_000_000_000);
    assert_eq!(settings.gates(), [GateChoice { name: "InitialCorruptCheck", on: true }]);
    let keys: Vec<_> = settings.warnings.iter().map(|warning| warning.field.1.as_str()).collect();
    assert_eq!(keys, ["experimental-watch-progress-notify-interval", "experimental-initial-corrupt-check"]);
}

#[test]
fn json_is_yaml_and_keys_have_no_case() {
    assert_eq!(settings("{\"Name\": \"a\", \"pre-vote\": false}").text("name"), "a");
    assert!(!settings("pre-vote: off\nstrict-reconfig-check: yes").bool("pre-vote"));
}

#[test]
fn nothing_in_the_file_is_nothing_set() {
    for text in ["", "# only a comment\n", "name:\nlisten-client-urls: ''\ninitial-cluster-state: ''\nlog-outputs: ~\n"]
    {
        let settings = settings(text);
        assert!(settings.iter().all(|(_, _, source)| source == Source::Default), "{text:?}");
    }
}

#[test]
fn numbers_may_be_written_as_whole_reals() {
    assert_eq!(settings("quota-backend-bytes: 1e9").number("quota-backend-bytes"), 1_000_000_000);
}

#[test]
fn types_are_strict() {
    for (text, complaint) in [
        ("name: 5", "name: expected a string, found a number"),
        ("auto-compaction-retention: 1", "auto-compaction-retention: expected a string, found a number"),
        ("heartbeat-interval: 100ms", "heartbeat-interval: expected a whole number, found a string"),
        ("heartbeat-interval: -5", "heartbeat-interval: -5: parse error"),
        ("heartbeat-interval: 1.5", "heartbeat-interval: expected a whole number, found a number"),
        (
            "warning-apply-duration: 10ms",
            "warning-apply-duration: expected a whole number of nanoseconds, found a string",
        ),
        ("strict-reconfig-check: 'true'", "strict-reconfig-check: expected true or false, found a string"),
        ("log-outputs: stderr", "log-outputs: expected a list of strings, found a string"),
        ("log-outputs: [1]", "log-outputs: expected a list of strings, found a list"),
        ("feature-gates: Foo=true", "feature-gates: unrecognized feature gate: Foo"),
        ("initial-cluster-state: bogus", "initial-cluster-state: invalid value"),
        ("- a", "expected a mapping of keys to values, found a list"),
    ] {
        assert_eq!(parse(text).map(|_| ()), Err(complaint.to_owned()), "{text}");
    }
    assert!(parse("name: [1").is_err_and(|error| error.starts_with("not valid YAML: ")));
}

#[test]
fn r87_numbers_beyond_every_width() {
    for number in
        ["18446744073709551616", "-9223372036854775809", "99999999999999999999999999", "1e300", ".inf", ".nan"]
    {
        for key in ["max-txn-ops", "quota-backend-bytes", "grpc-keepalive-timeout", "max-concurrent-streams"] {
            assert!(parse(&format!("{key}: {number}")).is_err(), "{key}: {number}");
        }
    }
}

#[test]
fn the_file_replaces_flags_and_variables() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), "name: from-file\n").expect("writable");
    let path = file.path().to_str().expect("a plain path").to_owned();
    let flag = ["--config-file".to_owned(), path.clone(), "--name=from-flag".to_owned()];
    let variables = [("ETCD_NAME".to_owned(), "from-variable".to_owned())];
    let by_variable = [("ETCD_CONFIG_FILE".to_owned(), path)];
    for request in [parse_line(&flag, &variables), parse_line(&["--name=from-flag".to_owned()], &by_variable)] {
        match request {
            Ok(Request::Start(settings)) => assert_eq!(settings.text("name"), "from-file"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_file_that_cannot_be_one_is_named() {
    for path in ["/nonexistent/etcd.yaml", "/dev/zero", "/"] {
        match load(Path::new(path)) {
            Err(error) => assert!(error.starts_with(&format!("config file {path}: ")), "{error}"),
            other => panic!("{path}: {other:?}"),
        }
    }
}
