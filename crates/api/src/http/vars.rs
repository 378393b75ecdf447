//! `/debug/vars`: what etcd publishes about its process, as far as this one has it.

use super::{error, process};
use crate::call::Rim;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use std::fmt::Write;

pub(super) fn vars(rim: &Rim) -> Response<Bytes> {
    let Ok(process) = process::read() else {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "the process could not be looked at\n".to_string());
    };
    let arguments: Vec<String> = std::env::args_os().map(|argument| quote(&argument.to_string_lossy())).collect();
    let status = rim.node.status();
    let (id, leader) = (status.member, status.leader.map_or(0, |leader| leader.0));
    let state = if leader == id.0 { "StateLeader" } else { "StateFollower" };
    let raft = format!(
        r#"{{"id":"{id:x}","term":{},"commit":{},"lead":"{leader:x}","raftState":"{state}","applied":{}}}"#,
        status.term, status.committed, status.applied
    );
    let body = format!(
        "{{\n\"cmdline\": [{}],\n\"file_descriptor_limit\": {},\n\"memstats\": {{\"Sys\":{}}},\n\"raft.status\": {raft}\n}}\n",
        arguments.join(","),
        process.fds_max,
        process.resident_bytes,
    );
    let mut response = Response::new(Bytes::from(body));
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// A JSON string.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control < ' ' => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{:04x}", control as u32);
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted() {
        assert_eq!(quote("a\"b\\c\n"), r#""a\"b\\c\u000a""#);
    }
}
