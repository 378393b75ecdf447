//! Edits in every encoding: what they change, and that they change nothing else.

use super::*;
use crate::value::decode;
use crate::wire::put_field;
use proptest::prelude::*;
use serde_json::json;

fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_field(number, content, &mut out);
    out
}

/// A protobuf value whose webhooks have the given names, fields of the future around and inside them.
fn protobuf(kind: &str, names: &[&str]) -> Vec<u8> {
    let mut object = field(1, &field(1, b"kyverno"));
    object.extend(field(99, b"of the future"));
    for name in names {
        let webhook =
            [field(1, name.as_bytes()), field(2, &[]), field(5, &[]), field(98, b"unknown"), field(6, b"None")];
        object.extend(field(2, &webhook.concat()));
    }
    let type_meta = [field(1, b"admissionregistration.k8s.io/v1"), field(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), field(1, &type_meta), field(2, &object), field(3, b""), field(4, b"")].concat()
}

fn json_text(pretty: bool) -> Vec<u8> {
    let value = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "kyverno", "futureField": [1, {"a": "}"}]},
        "webhooks": [
            {"name": "a", "failurePolicy": "Fail", "matchConditions": [{"name": "one", "expression": "true"}]},
            {"name": "b", "matchConditions": []}, {"name": "c", "matchConditions": null},
        ],
    });
    if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.expect("JSON can be written")
}

fn set(webhook: &str, policy: FailurePolicy) -> Edit {
    Edit::SetFailurePolicy { webhook: webhook.to_owned(), policy }
}

fn add(webhook: &str, name: &str, expression: &str) -> Edit {
    Edit::AddMatchCondition { webhook: webhook.to_owned(), name: name.to_owned(), expression: expression.to_owned() }
}

/// What the same edits make of the JSON form.
fn model(content: &mut Value, edits: &[Edit]) {
    for edit in edits {
        for webhook in content["webhooks"].as_array_mut().expect("there are webhooks") {
            match edit {
                Edit::SetFailurePolicy { webhook: wanted, policy } if wanted == "*" || webhook["name"] == **wanted => {
                    webhook["failurePolicy"] = policy.as_str().into();
                }
                Edit::AddMatchCondition { webhook: wanted, name, expression }
                    if wanted == "*" || webhook["name"] == **wanted =>
                {
                    let condition = json!({"name": name, "expression": expression});
                    match &mut webhook["matchConditions"] {
                        Value::Array(list) => list.push(condition),
                        absent => *absent = json!([condition]),
                    }
                }
                _ => {}
            }
        }
    }
}

fn check(value: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut expected = decode(value).expect("it is an object").content;
    model(&mut expected, edits);
    let changed = apply(value, edits).expect("it can be edited");
    assert_eq!(decode(&changed).expect("it is still an object").content, expected);
    assert_eq!(apply(&changed, edits).expect("again"), changed, "twice is once");
    changed
}

fn contains(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}

#[test]
fn protobuf_keeps_what_nobody_knows() {
    for kind in ["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"] {
        let value = protobuf(kind, &["a", "b"]);
        let changed = check(&value, &[set("b", FailurePolicy::Ignore), add("*", "boot", "false")]);
        assert!(contains(&changed, &field(99, b"of the future")));
        assert_eq!(changed.windows(7).filter(|window| window == b"unknown").count(), 2);
        assert!(changed.ends_with(&[0x1a, 0, 0x22, 0]));
    }
}

#[test]
fn the_longest_lengths_grow_with_their_content() {
    let value = protobuf("ValidatingWebhookConfiguration", &["a"]);
    check(&value, &[add("a", "long", &"x".repeat(70_000))]);
}

#[test]
fn json_keeps_its_spaces() {
    for pretty in [false, true] {
        let value = json_text(pretty);
        let changed = check(&value, &[set("*", FailurePolicy::Ignore), add("*", "\"boot\"", "!(a && \"b\")")]);
        let back = String::from_utf8(changed).expect("text");
        assert!(back.contains("futureField"));
        assert_eq!(back.lines().count(), String::from_utf8(value).expect("text").lines().count());
    }
}

#[test]
fn cbor_of_known_and_unknown_length_grows() {
    let text = |text: &str| [vec![0x40 | text.len() as u8], text.as_bytes().to_vec()].concat();
    let long = |text: &str| [vec![0x58, text.len() as u8], text.as_bytes().to_vec()].concat();
    let webhook = |open: u8, close: &[u8]| [vec![open], text("name"), text("a"), close.to_vec()].concat();
    for (webhooks, count) in [
        ([vec![0x81], webhook(0xa1, &[])].concat(), 1),
        ([vec![0x9f], webhook(0xbf, &[0xff]), webhook(0xa1, &[]), vec![0xff]].concat(), 2),
    ] {
        let value = [
            vec![0xd9, 0xd9, 0xf7, 0xa3],
            text("kind"),
            long("ValidatingWebhookConfiguration"),
            text("webhooks"),
            webhooks,
            text("apiVersion"),
            long("admissionregistration.k8s.io/v1"),
        ]
        .concat();
        let changed = check(&value, &[set("*", FailurePolicy::Ignore), add("*", "boot", "false")]);
        assert_eq!(decode(&changed).expect("valid").content["webhooks"].as_array().map(Vec::len), Some(count));
        check(&changed, &[add("*", "another", "true"), set("a", FailurePolicy::Fail)]);
    }
}

#[test]
fn what_cannot_be_changed_is_refused_by_name() {
    let value = protobuf("ValidatingWebhookConfiguration", &["a", "b"]);
    let refused = |value: &[u8], edit| apply(value, &[edit]).expect_err("refused").to_string();
    assert_eq!(
        refused(&value, set("c", FailurePolicy::Ignore)),
        "no webhook \"c\" in this configuration; there are a, b"
    );
    assert_eq!(
        refused(&json_text(false), add("a", "one", "false")),
        "webhook \"a\" has a match condition \"one\" already: true"
    );
    assert_eq!(
        refused(b"k8s:enc:aescbc:v1:key1:xxxx", set("*", FailurePolicy::Ignore)),
        "the value is encrypted by aescbc:v1 with key \"key1\"; only kube-apiserver can read it"
    );
    assert_eq!(
        refused(&protobuf("Pod", &[]), set("*", FailurePolicy::Ignore)),
        r#"the object is a Pod of "admissionregistration.k8s.io/v1", not a webhook configuration"#
    );
    let foreign =
        br#"{"apiVersion":"example.com/v1","kind":"ValidatingWebhookConfiguration","webhooks":[{"name":"a"}]}"#;
    assert!(refused(foreign, set("a", FailurePolicy::Ignore)).contains("example.com/v1"));
    let edits: Vec<_> = (0..64).map(|n| add("a", &format!("c{n}"), "true")).collect();
    let full = apply(&value, &edits).expect("64 are allowed");
    assert!(refused(&full, add("a", "more", "true")).contains("64 match conditions"));
}

#[test]
fn a_value_of_endless_messages_is_damage() {
    let webhooks =
        |count: usize| [protobuf("ValidatingWebhookConfiguration", &[]), field(2, &[0x12, 0].repeat(count))].concat();
    assert!(decode(&webhooks(1000)).is_ok());
    assert!(decode(&webhooks(300_000)).expect_err("too many").to_string().contains("200000"));
}

fn any_value() -> impl Strategy<Value = Vec<u8>> {
    let magic =
        prop_oneof![Just(b"k8s\0".to_vec()), Just(b"{".to_vec()), Just(vec![0xd9, 0xd9, 0xf7]), Just(Vec::new())];
    (magic, proptest::collection::vec(any::<u8>(), 0..200)).prop_map(|(magic, rest)| [magic, rest].concat())
}

proptest! {
    #[test]
    fn random_bytes_are_an_error_at_worst(value in any_value()) {
        let _ = decode(&value);
        let _ = apply(&value, &[set("*", FailurePolicy::Ignore), add("*", "boot", "false")]);
    }

    #[test]
    fn a_flipped_byte_is_an_error_at_worst(at in 0usize..150, to: u8, text: bool) {
        let mut value = if text { json_text(true) } else { protobuf("MutatingWebhookConfiguration", &["a", "b"]) };
        let at = at % value.len();
        value[at] = to;
        let _ = apply(&value, &[set("*", FailurePolicy::Ignore), add("*", "boot", "false")]);
    }

    /// A configuration that says "Fail" with all its letters gets its bytes back.
    #[test]
    fn setting_a_policy_and_setting_it_back_gives_the_same_bytes(names in proptest::collection::vec("[a-c]{1,3}", 1..5)) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let value = protobuf("ValidatingWebhookConfiguration", &names);
        let fail = apply(&value, &[set("*", FailurePolicy::Fail)]).expect("valid");
        let ignore = apply(&fail, &[set("*", FailurePolicy::Ignore)]).expect("valid");
        prop_assert_ne!(&ignore, &fail);
        prop_assert_eq!(apply(&ignore, &[set("*", FailurePolicy::Fail)]).expect("valid"), fail);
    }
}
