//! Runs `testscripts/`: stored objects, and what the doctor says of them. A script begins with a cluster that boots as
//! 1.34 without writing anything.
//!
//! - `kubelet VERSION`: what the cluster runs.
//! - `put GROUP RESOURCE NAME JSON`, `remove GROUP RESOURCE NAME`: objects without a namespace; `-` is the core group.
//! - `value KEY TEXT`: any bytes, with Rust's escapes `\0` and `\xNN`.
//! - `webhook NAME JSON`: one on `*` that fails closed, but for what the JSON says.
//! - `doctor [from=N] [to=N]`: a line for each finding. `report [from=N] [to=N]`: what people read.
//! - `each [from=N] [to=N]`: for every resource that a boot or healing writes, what a webhook on it alone would be.

use super::Memory;
use crate::boot::{Releases, collect, findings};
use crate::finding::Finding;
use crate::report::{severity_name, text};
use crate::source::Source as _;
use admission::bootstrap::{BootState, requests};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;

#[test]
fn scripts() {
    golden::check(env!("CARGO_MANIFEST_DIR"), 4, Memory::cluster, run);
}

fn run(store: &mut Memory, line: &str, out: &mut String) {
    let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
    let words: Vec<&str> = rest.split(' ').collect();
    match (command, &words[..]) {
        ("kubelet", [version]) => {
            store.put("", "nodes", None, "one", json!({"status": {"nodeInfo": {"kubeletVersion": version}}}));
        }
        ("put", [group, resource, name, ..]) => {
            store.put(group.trim_matches('-'), resource, None, name, json_of(rest, 3));
        }
        ("remove", [group, resource, name]) => store.remove(group.trim_matches('-'), resource, name),
        ("value", [key, ..]) => {
            store.0.insert(key.as_bytes().to_vec(), bytes_of(rest.split_once(' ').map_or("", |(_, text)| text)));
        }
        ("webhook", [name, ..]) => store.webhook(name, json_of(rest, 1)),
        ("doctor", words) => {
            for finding in found(store, words).1 {
                let subject = finding.subject.map_or(String::new(), |subject| format!("  {subject}"));
                let _ = writeln!(out, "{} {}{subject}", severity_name(finding.severity), finding.id);
            }
        }
        ("report", words) => {
            let (_, findings) = found(store, words);
            out.push_str(&text(&store.info(), &findings, false).replace("\n\n", "\n"));
        }
        ("each", words) => each(store, words, out),
        _ => panic!("no command: {line}"),
    }
}

fn found(store: &mut Memory, words: &[&str]) -> (Releases, Vec<Finding>) {
    let number = |name: &str| {
        let mut found = words.iter().filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        found.next().map(|number| number.parse().expect("a number"))
    };
    let facts = collect(store, "/registry").expect("memory can be read");
    let releases = Releases::of(&facts, number("from"), number("to"));
    (releases, findings(&facts, releases))
}

fn each(store: &mut Memory, words: &[&str], out: &mut String) {
    let (releases, _) = found(store, words);
    let everything = BootState { without_ip_address: vec!["10.96.0.1".to_owned()], ..BootState::default() };
    let mut seen = BTreeSet::new();
    for boot in requests(None, releases.to, &everything) {
        let gvr = &boot.request.resource;
        let sub = Some(boot.request.subresource.as_str()).filter(|sub| !sub.is_empty());
        let resource = sub.map_or(gvr.resource.clone(), |sub| format!("{}/{sub}", gvr.resource));
        if !seen.insert((gvr.group.clone(), resource.clone())) {
            continue;
        }
        let rule =
            json!({"operations": ["*"], "apiGroups": [gvr.group], "apiVersions": ["*"], "resources": [resource]});
        store.webhook("each", json!({"rules": [rule]}));
        let about = found(store, words)
            .1
            .into_iter()
            .filter(|finding| finding.subject.as_deref() == Some("each/validate.kyverno.svc-fail"));
        let ids: Vec<String> =
            about.map(|finding| format!("{} {}", severity_name(finding.severity), finding.id)).collect();
        let said = if ids.is_empty() { "nothing".to_owned() } else { ids.join(", ") };
        let _ = writeln!(out, "{resource}.{}: {said}", gvr.group);
    }
    store.remove("admissionregistration.k8s.io", "validatingwebhookconfigurations", "each");
}

/// What follows so many words.
fn json_of(rest: &str, words: usize) -> Value {
    rest.splitn(words + 1, ' ').nth(words).map_or(json!({}), |text| serde_json::from_str(text).expect("JSON"))
}

fn bytes_of(text: &str) -> Vec<u8> {
    let mut parts = text.split('\\');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (byte, rest) = match part.strip_prefix('x') {
            Some(hex) => (u8::from_str_radix(&hex[..2], 16).expect("two digits"), &hex[2..]),
            None => (0, part.strip_prefix('0').expect("\\0 or \\xNN")),
        };
        bytes.push(byte);
        bytes.extend(rest.as_bytes());
    }
    bytes
}
