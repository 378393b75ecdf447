//! The binary from outside: what scripts and harnesses rely on before a server runs.

use std::process::{Command, Output};

/// Runs `bowline` through a link called `etcd`, in an environment as bare as harnesses make it.
fn etcd(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let link = folder.path().join("etcd");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_bowline"), &link).expect("a free name");
    let mut command = Command::new(link);
    command.args(arguments).env_clear().envs(variables.iter().copied()).current_dir(folder.path());
    command.output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("texts are UTF-8")
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

/// Every line must be a JSON object with etcd's keys; returns level, message and the whole record.
fn records(output: &Output) -> Vec<(String, String, serde_json::Value)> {
    assert_eq!(text(&output.stdout), "");
    let parse =
        |line: &str| -> serde_json::Value { serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")) };
    let records = text(&output.stderr).lines().map(parse).collect::<Vec<_>>();
    let of = |record: &serde_json::Value, key: &str| {
        record[key].as_str().unwrap_or_else(|| panic!("{key}: {record}")).to_owned()
    };
    let checked = records.into_iter().map(|record| {
        assert!(of(&record, "ts").ends_with('Z') && of(&record, "caller").contains(".rs:"), "{record}");
        (of(&record, "level"), of(&record, "msg"), record)
    });
    checked.collect()
}

#[test]
fn the_version_is_the_one_we_claim() {
    for arguments in [&["--version"][..], &["-version=true"]] {
        let output = etcd(arguments, &[]);
        assert_eq!(code(&output), Some(0));
        let text = text(&output.stdout);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[0], format!("etcd Version: {}", model::ETCD_VERSION));
        assert!(lines[1].starts_with("Git SHA: ") && lines[4].starts_with("Bowline Version: "));
    }
}

#[test]
fn help_lists_flags_for_harnesses_that_look() {
    let output = etcd(&["--help"], &[]);
    assert_eq!(code(&output), Some(0));
    let text = text(&output.stdout);
    assert!(text.starts_with("Usage:\n\n  etcd [flags]\n"));
    for flag in ["--unsafe-no-fsync", "--data-dir", "--listen-metrics-urls"] {
        assert!(text.contains(&format!("\n  {flag} '")), "{flag}");
    }
}

#[test]
fn bad_syntax_is_two_with_the_usage() {
    let output = etcd(&["--nope"], &[]);
    assert_eq!((code(&output), text(&output.stdout)), (Some(2), String::new()));
    assert!(text(&output.stderr).starts_with("flag provided but not defined: -nope\nUsage:\n\n  etcd [flags]\n"));
}

#[test]
fn bad_values_are_one_with_a_record() {
    for (arguments, variables, error) in [
        (&["stray"][..], &[][..], "\"stray\" is not a valid flag"),
        (&[], &[("ETCD_MAX_TXN_OPS", "x")], "invalid value \"x\" for ETCD_MAX_TXN_OPS: parse error"),
        (&["--log-format=x"], &[], "unknown log format: x, supported values json, console"),
        (
            &["--log-outputs=/nonexistent/x"],
            &[],
            "open log file /nonexistent/x: No such file or directory (os error 2)",
        ),
        (&["--config-file=nope.yaml"], &[], "config file nope.yaml: No such file or directory (os error 2)"),
        (&["--heartbeat-interval=0"], &[], "--heartbeat-interval must be >0 (set to 0ms)"),
        (
            &["--enable-log-rotation=true"],
            &[],
            "--enable-log-rotation cannot be set: log files are not rotated yet; rotate them from outside by copying and truncating",
        ),
        (&["--cipher-suites=nonsense"], &[], "unexpected TLS cipher suite \"nonsense\""),
    ] {
        let output = etcd(arguments, variables);
        assert_eq!(code(&output), Some(1), "{arguments:?}");
        let records = records(&output);
        let (level, message, record) = records.last().expect("a record");
        assert_eq!((level.as_str(), message.as_str()), ("warn", "failed to verify flags"));
        assert_eq!(record["error"], error);
    }
}

#[test]
fn a_variable_beside_its_flag_is_fatal() {
    let output = etcd(&["--name=x"], &[("ETCD_NAME", "x")]);
    assert_eq!(code(&output), Some(1));
    let records = records(&output);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].0, "fatal");
    assert!(
        records[0].1.starts_with("conflicting environment variable is shadowed by corresponding command-line flag")
    );
    assert_eq!(records[0].2["environment-variable"], "ETCD_NAME");
}

#[test]
fn sub_commands_are_there_under_our_own_name() {
    let bowline = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_bowline")).args(arguments).output().expect("the binary runs")
    };
    assert!(text(&bowline(&["version"]).stdout).starts_with("etcd Version: "));
    assert!(text(&bowline(&["server", "--help"]).stdout).starts_with("Usage:\n\n  bowline server [flags]\n"));
    assert!(text(&bowline(&["flags"]).stdout).starts_with("# Flags of `bowline server`\n"));
    assert_eq!(code(&bowline(&[])), Some(2));
    assert_eq!(code(&bowline(&["serve"])), Some(2));
}
