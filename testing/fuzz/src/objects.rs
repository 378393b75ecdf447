//! Kubernetes objects as a store may hold them, and their keys. What can be edited must still be readable, say what the
//! edit said, and not change again when the edit is repeated.

use kube::edit::{self, ALL_WEBHOOKS};
use kube::{Edit, FailurePolicy, key};
use serde_json::{Value, json};

fn configuration() -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "kyverno", "labels": {"a": "b"}, "generation": -7, "future": [1.5, null, true]},
        "webhooks": [
            {"name": "one.kyverno.svc", "failurePolicy": "Fail", "timeoutSeconds": 300, "matchConditions": [
                {"name": "nodes", "expression": "request.kind.kind != 'Node'"},
            ]},
            {"name": "two.kyverno.svc", "rules": [{"operations": ["*"], "scope": "*"}]},
        ],
    })
}

/// The same object in every encoding, and an encrypted value.
pub fn values() -> Vec<Vec<u8>> {
    let object = configuration();
    let text = serde_json::to_vec(&object).expect("JSON can be written");
    let indented = serde_json::to_vec_pretty(&object).expect("JSON can be written");
    let mut cbor = vec![0xd9, 0xd9, 0xf7];
    put_cbor(&object, &mut cbor);
    let values = vec![protobuf("Validating", 11), protobuf("Mutating", 12), text, indented, cbor];
    for value in &values {
        edit::apply(value, &edits()).expect("a value as it is written can be edited");
    }
    [values, vec![b"k8s:enc:aescbc:v1:key1:0123456789".to_vec()]].concat()
}

fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).expect("a short one");
    let mut out = vec![number << 3 | 2, length & 0x7f];
    if length > 0x7f {
        out[1] |= 0x80;
        out.push(1);
    }
    [out, content.to_vec()].concat()
}

fn protobuf(kind: &str, conditions: u8) -> Vec<u8> {
    let type_meta =
        [field(1, b"admissionregistration.k8s.io/v1"), field(2, format!("{kind}WebhookConfiguration").as_bytes())];
    let condition = [field(1, b"nodes"), field(2, b"true")].concat();
    let one = [field(1, b"one"), field(2, &[]), field(4, b"Fail"), vec![7 << 3, 10], field(conditions, &condition)];
    let two = [field(1, b"two"), field(3, &field(1, b"*")), field(5, &[])];
    // Seconds since 1970.
    let created = [8, 0x80, 0xa8, 0xd6, 0xb9, 0x06];
    let metadata = [field(1, b"kyverno"), field(8, &created), field(11, &[field(1, b"a"), field(2, b"b")].concat())];
    let object = [field(1, &metadata.concat()), field(2, &one.concat()), field(2, &two.concat()), field(15, b"future")];
    [b"k8s\0".to_vec(), field(1, &type_meta.concat()), field(2, &object.concat()), field(3, &[]), field(4, &[])]
        .concat()
}

/// As Kubernetes writes it: text as bytes.
fn put_cbor(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(0xf6),
        Value::Bool(set) => out.push(0xf4 | u8::from(*set)),
        Value::Number(number) => match number.as_i64() {
            Some(number) if number < 0 => put_head(1, number.unsigned_abs() - 1, out),
            Some(number) => put_head(0, number.unsigned_abs(), out),
            // One and a half, in 16 bits.
            None => out.extend([0xf9, 0x3e, 0x00]),
        },
        Value::String(text) => put_text(text, out),
        Value::Array(list) => {
            put_head(4, list.len() as u64, out);
            list.iter().for_each(|item| put_cbor(item, out));
        }
        Value::Object(map) => {
            put_head(5, map.len() as u64, out);
            for (name, member) in map {
                put_text(name, out);
                put_cbor(member, out);
            }
        }
    }
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    put_head(2, text.len() as u64, out);
    out.extend(text.as_bytes());
}

fn put_head(major: u8, number: u64, out: &mut Vec<u8>) {
    match number {
        0..24 => out.push(major << 5 | number as u8),
        24..0x100 => out.extend([major << 5 | 24, number as u8]),
        _ => out.extend([major << 5 | 25, (number >> 8) as u8, number as u8]),
    }
}

fn edits() -> [Edit; 2] {
    let (webhook, policy) = (ALL_WEBHOOKS.to_owned(), FailurePolicy::Ignore);
    let condition = Edit::AddMatchCondition {
        webhook: webhook.clone(),
        name: "boot".to_owned(),
        expression: "request.userInfo.username != \"system:apiserver\"".to_owned(),
    };
    [Edit::SetFailurePolicy { webhook, policy }, condition]
}

pub fn value(input: &[u8]) {
    let decoded = kube::decode(input);
    let Ok(changed) = edit::apply(input, &edits()) else { return };
    let before = decoded.expect("what can be edited can be read").content;
    let after = kube::decode(&changed).expect("what was edited can be read").content;
    let (before, after) = (&before["webhooks"], &after["webhooks"]);
    assert_eq!(before.as_array().map(Vec::len), after.as_array().map(Vec::len));
    for webhook in after.as_array().expect("there was something to edit") {
        assert_eq!(webhook["failurePolicy"], "Ignore");
        let conditions = webhook["matchConditions"].as_array().expect("one was added");
        assert!(conditions.iter().any(|condition| condition["name"] == "boot"));
    }
    assert_eq!(edit::apply(&changed, &edits()), Ok(changed), "an edit that is repeated changes nothing");
}

pub fn keys() -> Vec<Vec<u8>> {
    [
        &b"/registry/validatingwebhookconfigurations/kyverno"[..],
        b"/registry/admissionregistration.k8s.io/validatingwebhookconfigurations/kyverno",
        b"/registry/services/specs/default/kubernetes",
        b"/registry/kyverno.io/updaterequests/kyverno/ur-1",
        b"/registry/apps/deployments/a/b",
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}

/// What is meant by a wrong key is right, and a key that is read can be written.
pub fn key(input: &[u8]) {
    if let Some(meant) = key::likely_meant(key::DEFAULT_PREFIX, input) {
        assert_eq!(key::likely_meant(key::DEFAULT_PREFIX, &meant), None);
    } else if let Some(read) = key::parse(key::DEFAULT_PREFIX, input) {
        let namespace = read.namespace.as_deref();
        let written = key::key_of(key::DEFAULT_PREFIX, &read.group, &read.resource, namespace, &read.name);
        assert_eq!(written, input);
    }
}
