//! Headers and texts; framing over a real connection is in `tests/`.

use super::*;

#[test]
fn timeouts_are_read_as_grpc_go_reads_them() {
    let parse = |text: &str| parse_timeout(text.as_bytes());
    assert_eq!(parse("7S"), Ok(Duration::from_secs(7)));
    assert_eq!(parse("99999999H"), Ok(Duration::from_secs(99_999_999 * 3600)));
    assert_eq!(parse("100m"), Ok(Duration::from_millis(100)));
    assert_eq!(parse("5u"), Ok(Duration::from_micros(5)));
    assert_eq!(parse("5n"), Ok(Duration::from_nanos(5)));
    assert_eq!(parse("2M"), Ok(Duration::from_secs(120)));
    for (text, reason) in [
        ("", "transport: timeout string is too short: \"\""),
        ("S", "transport: timeout string is too short: \"S\""),
        ("123456789S", "transport: timeout string is too long: \"123456789S\""),
        ("7x", "transport: timeout unit is not recognized: \"7x\""),
        ("-7S", "strconv.ParseUint: parsing \"-7\": invalid syntax"),
    ] {
        assert_eq!(parse(text), Err(reason.to_string()));
    }
}

#[test]
fn content_types_of_grpc() {
    let is = |content_type: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, content_type.parse().expect("valid header"));
        is_grpc(&headers)
    };
    for yes in ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"] {
        assert!(is(yes), "{yes}");
    }
    for no in ["application/grpcx", "application/json", ""] {
        assert!(!is(no), "{no}");
    }
    assert!(!is_grpc(&HeaderMap::new()));
}

#[test]
fn a_path_is_split_at_its_last_slash() {
    assert_eq!(split_path("/etcdserverpb.KV/Put"), Ok(("etcdserverpb.KV", "Put")));
    assert_eq!(split_path("/a/b/c"), Ok(("a/b", "c")));
    for malformed in ["etcdserverpb.KV/Put", "/etcdserverpb.KV", "", "*"] {
        let status = split_path(malformed).expect_err("malformed");
        assert_eq!(status.code, Code::Unimplemented);
        assert_eq!(status.message, format!("malformed method name: {malformed:?}"));
    }
}

#[test]
fn only_what_headers_cannot_hold_is_percent_encoded() {
    assert_eq!(percent_encode("etcdserver: no leader"), "etcdserver: no leader");
    assert_eq!(percent_encode("100% ü\n"), "100%25 %C3%BC%0A");
}

#[test]
fn the_first_value_of_a_repeated_header_counts() {
    let mut headers = HeaderMap::new();
    headers.append("hasleader", HeaderValue::from_static("true"));
    headers.append("hasleader", HeaderValue::from_static("false"));
    headers.append("client-api-version", HeaderValue::from_static("3.7"));
    headers.append("client-api-version", HeaderValue::from_static("3.6"));
    let head = CallHead::parse(&headers).expect("valid");
    assert!(head.require_leader);
    assert_eq!(head.client_api_version, Some(HeaderValue::from_static("3.7")));
}

#[test]
fn a_compressor_is_known_or_refused_by_name() {
    let check = |encoding: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-encoding", HeaderValue::from_static(encoding));
        CallHead::parse(&headers).expect("valid").is_gzip()
    };
    assert_eq!(check("identity"), Ok(false));
    assert_eq!(check(""), Ok(false));
    assert_eq!(check("gzip"), Ok(true));
    let refused = check("snappy").expect_err("refused");
    assert_eq!(refused.message, "grpc: Decompressor is not installed for grpc-encoding \"snappy\"");
    assert_eq!(refused.code, Code::Unimplemented);
}

#[test]
fn a_malformed_timeout_is_a_bad_request() {
    let mut headers = HeaderMap::new();
    headers.insert("grpc-timeout", HeaderValue::from_static("7x"));
    let abort = CallHead::parse(&headers).expect_err("refused");
    assert_eq!(abort.http, StatusCode::BAD_REQUEST);
    assert_eq!(abort.status.message, "malformed grpc-timeout: transport: timeout unit is not recognized: \"7x\"");
}
