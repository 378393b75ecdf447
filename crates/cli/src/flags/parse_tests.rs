//! The command line and the environment, case by case; complaints as the real etcd 3.7.3 prints them.

use super::*;

fn parse_with(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Request, Refusal> {
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let variables: Vec<_> = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    parse(&arguments, &variables)
}

fn settings_with(arguments: &[&str], variables: &[(&str, &str)]) -> Settings {
    match parse_with(arguments, variables) {
        Ok(Request::Start(settings)) => settings,
        other => panic!("{arguments:?} {variables:?}: {other:?}"),
    }
}

fn settings(arguments: &[&str]) -> Settings {
    settings_with(arguments, &[])
}

fn usage(arguments: &[&str]) -> String {
    match parse_with(arguments, &[]) {
        Err(Refusal::Usage(complaint)) => complaint,
        other => panic!("{arguments:?}: {other:?}"),
    }
}

#[test]
fn dashes_and_values_are_gos() {
    for arguments in [&["--name", "a"][..], &["-name", "a"], &["--name=a"], &["-name=a"], &["--name=b", "-name", "a"]] {
        assert_eq!(settings(arguments).text("name"), "a", "{arguments:?}");
    }
    assert_eq!(settings(&["--name", "--pre-vote"]).text("name"), "--pre-vote");
    assert_eq!(settings(&["--initial-cluster=a=http://b:1"]).text("initial-cluster"), "a=http://b:1");
    assert!(settings(&["--force-new-cluster"]).bool("force-new-cluster"));
    assert!(!settings(&["--pre-vote=F"]).bool("pre-vote"));
}

#[test]
fn complaints_are_etcds() {
    for (argument, complaint) in [
        ("--nope", "flag provided but not defined: -nope"),
        ("---x", "bad flag syntax: ---x"),
        ("--=x", "bad flag syntax: --=x"),
        ("-=", "bad flag syntax: -="),
        ("--heartbeat-interval", "flag needs an argument: -heartbeat-interval"),
        ("--max-txn-ops=abc", "invalid value \"abc\" for flag -max-txn-ops: parse error"),
        ("--max-txn-ops=-1", "invalid value \"-1\" for flag -max-txn-ops: parse error"),
        (
            "--quota-backend-bytes=9223372036854775808",
            "invalid value \"9223372036854775808\" for flag -quota-backend-bytes: value out of range",
        ),
        ("--pre-vote=maybe", "invalid boolean value \"maybe\" for -pre-vote: parse error"),
        ("--grpc-keepalive-interval=5", "invalid value \"5\" for flag -grpc-keepalive-interval: parse error"),
        ("--initial-cluster-state=bogus", "invalid value \"bogus\" for flag -initial-cluster-state: invalid value"),
        ("--v2-deprecation=not-yet", "invalid value \"not-yet\" for flag -v2-deprecation: invalid value \"not-yet\""),
        (
            "--feature-gates=Foo=true",
            "invalid value \"Foo=true\" for flag -feature-gates: unrecognized feature gate: Foo",
        ),
        (
            "--listen-client-urls=foo",
            "invalid value \"foo\" for flag -listen-client-urls: URL scheme must be http, https, unix, or unixs: foo",
        ),
        (
            "--cors=foo,bar",
            "invalid value \"foo,bar\" for flag -cors: URL scheme must be http, https, unix, or unixs: foo",
        ),
    ] {
        assert_eq!(usage(&[argument]), complaint);
    }
}

#[test]
fn what_follows_the_flags_is_refused() {
    for (arguments, left) in
        [(&["pos"][..], "pos"), (&["--pre-vote", "false"], "false"), (&["--", "-x"], "-x"), (&["-"], "-")]
    {
        let expected = Refusal::Invalid(format!("\"{left}\" is not a valid flag"));
        assert_eq!(parse_with(arguments, &[]).expect_err("refused"), expected);
    }
    settings(&["--"]);
}

#[test]
fn help_and_version_need_no_sense_behind_them() {
    for arguments in [&["-h"][..], &["--help"], &["--name", "a", "-help", "--nope"], &["--help=false"]] {
        assert!(matches!(parse_with(arguments, &[]), Ok(Request::Help)), "{arguments:?}");
    }
    assert!(matches!(parse_with(&["--version"], &[("ETCD_NAME", "x")]), Ok(Request::Version)));
    settings(&["--version=false"]);
}

#[test]
fn variables_fill_in() {
    let variables = [("ETCD_NAME", "a"), ("ETCD_PRE_VOTE", "false"), ("ETCD_DATA_DIR", ""), ("PATH", "/bin")];
    let settings = settings_with(&["--max-txn-ops=7"], &variables);
    assert_eq!((settings.text("name"), settings.bool("pre-vote"), settings.number("max-txn-ops")), ("a", false, 7));
    assert_eq!(settings.source("name"), Source::Environment);
    assert!(!settings.is_set("data-dir") && settings.warnings.is_empty());
}

#[test]
fn a_variable_and_a_flag_conflict_even_if_they_agree() {
    let refusal = parse_with(&["--name", "x"], &[("ETCD_NAME", "x")]).expect_err("a conflict");
    assert_eq!(refusal, Refusal::Shadowed { variable: "ETCD_NAME".to_owned() });
}

#[test]
fn unknown_variables_only_warn() {
    let settings = settings_with(&[], &[("ETCD_PROXY", "off"), ("ETCD_UNSUPPORTED_ARCH", "arm"), ("ETCD_name", "x")]);
    let fields: Vec<_> = settings.warnings.iter().map(|warning| warning.field.1.as_str()).collect();
    assert_eq!(fields, ["ETCD_PROXY=off", "ETCD_UNSUPPORTED_ARCH=arm", "ETCD_name=x"]);
    assert_eq!(settings.warnings[0].message, "unrecognized environment variable");
}

#[test]
fn bad_variables_name_themselves() {
    let expected = "invalid value \"abc\" for ETCD_HEARTBEAT_INTERVAL: parse error";
    let refusal = parse_with(&[], &[("ETCD_HEARTBEAT_INTERVAL", "abc")]).expect_err("no number");
    assert_eq!(refusal, Refusal::Invalid(expected.to_owned()));
}

#[test]
fn removed_names_map_and_warn() {
    let arguments = ["--experimental-watch-progress-notify-interval=5s", "--experimental-initial-corrupt-check=true"];
    let settings = settings(&arguments);
    assert_eq!(settings.number("watch-progress-notify-interval"), 5_000_000_000);
    assert_eq!(settings.gates(), [GateChoice { name: "InitialCorruptCheck", on: true }]);
    assert_eq!(settings.warnings.len(), 2);
    let settings = settings_with(&[], &[("ETCD_EXPERIMENTAL_COMPACT_HASH_CHECK_ENABLED", "true")]);
    assert_eq!(settings.gates(), [GateChoice { name: "CompactHashCheck", on: true }]);
    assert_eq!(settings.warnings.len(), 1);
}

#[test]
fn names_without_meaning_are_taken_as_etcd_takes_them() {
    let settings = settings(&["--v", "-vv=3", "--snapshot=true", "--cluster-active-size=9"]);
    assert_eq!(settings.warnings.len(), 4);
}

#[test]
fn names_without_successor_are_unknown_and_say_why() {
    assert_eq!(
        usage(&["--enable-v2=true"]),
        "flag provided but not defined: -enable-v2\n(etcd removed its v2 API in 3.6; drop the flag)"
    );
}

#[test]
fn r87_every_numeric_flag_at_its_ends() {
    for flag in FLAGS {
        let (min, max) = match flag.kind {
            Kind::Signed => (i128::from(i64::MIN), i128::from(i64::MAX)),
            Kind::Unsigned => (0, i128::from(u64::MAX)),
            Kind::Unsigned32 => (0, i128::from(u32::MAX)),
            _ => continue,
        };
        for number in [min, max, -1, min - 1, max + 1, i128::MIN, i128::MAX] {
            let parsed = parse_with(&[&format!("--{}={number}", flag.name)], &[]);
            let fits = min <= number && number <= max;
            assert_eq!(parsed.is_ok(), fits, "--{}={number}: {parsed:?}", flag.name);
        }
    }
}
