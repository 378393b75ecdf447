//! Names, plans and the way back.

use super::*;
use crate::boot::Encrypted;
use crate::change::{Plan, Record};
use crate::webhooks::plan::CONDITION_NAME;
use proptest::prelude::*;

const RELEASES: Releases = Releases { from: Some(32), to: 34 };

/// A configuration in protobuf, as kube-apiserver writes it: one webhook on everything, failing closed. `unknown` are
/// fields of a later release.
fn protobuf(kind: &str, name: &str, webhook: &str, unknown: &[u8]) -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| {
        let mut out = vec![number << 3 | 2];
        let mut length = bytes.len();
        while length > 127 {
            out.push(length as u8 | 128);
            length >>= 7;
        }
        out.push(length as u8);
        [out, bytes.to_vec()].concat()
    };
    let rule = [field(1, b"*"), field(2, &[field(1, b"*"), field(2, b"*"), field(3, b"*")].concat())].concat();
    let service = [field(1, b"kyverno"), field(2, b"kyverno-svc")].concat();
    let webhook = [
        field(1, webhook.as_bytes()),
        field(2, &field(1, &service)),
        field(3, &rule),
        field(4, b"Fail"),
        field(15, unknown),
    ];
    let raw = [field(1, &field(1, name.as_bytes())), field(2, &webhook.concat())].concat();
    let meta = [field(1, b"admissionregistration.k8s.io/v1"), field(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), field(1, &meta), field(2, &raw), field(3, b""), field(4, b"")].concat()
}

fn json_form(kind: &str, name: &str, webhook: &str, unknown: &[u8]) -> Vec<u8> {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "later": unknown,
        "webhooks": [{
            "name": webhook, "failurePolicy": "Fail",
            "clientConfig": {"service": {"namespace": "kyverno", "name": "kyverno-svc"}},
            "rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}],
        }],
    })
    .to_string()
    .into_bytes()
}

fn found(key: &str, value: Vec<u8>) -> Found {
    Found { key: key.to_owned().into(), value: value.into(), mod_revision: 7, lease: 0 }
}

fn validating(value: Vec<u8>) -> Found {
    found("/registry/validatingwebhookconfigurations/a", value)
}

const VALIDATING: &str = "ValidatingWebhookConfiguration";

fn target(text: &str) -> Target {
    Target::parse(text)
}

/// The value that a plan puts there, in its JSON form.
fn after(plan: &Plan) -> Value {
    let value = plan.after.as_ref().expect("it is a change");
    kube::decode(value).expect("a change can be read").content
}

#[test]
fn a_patch_keeps_what_a_boot_writes_out_and_a_second_one_has_nothing_to_do() {
    for value in [protobuf(VALIDATING, "a", "w", b""), json_form(VALIDATING, "a", "w", b"")] {
        let one = validating(value);
        let patched = plan(&one, &target("a/w"), Action::Patch(Patch::Minimal), RELEASES).expect("it blocks");
        let condition = &after(&patched)["webhooks"][0]["matchConditions"][0];
        assert_eq!(condition["name"], CONDITION_NAME);
        let expression = condition["expression"].as_str().expect("text");
        assert!(expression.contains("servicecidrs") && expression.contains("clusterroles"), "{expression}");
        assert!(diff(&patched).contains("+      \"matchConditions\""), "{}", diff(&patched));

        let again = Found { value: patched.after.expect("a change"), ..one };
        let refused = plan(&again, &target("a/w"), Action::Patch(Patch::Minimal), RELEASES).expect_err("it is patched");
        assert!(refused.contains("blocks nothing"), "{refused}");
    }
}

#[test]
fn a_patch_made_before_an_upgrade_holds_after_it() {
    let before = Releases { from: Some(32), to: 32 };
    let plan =
        plan(&validating(protobuf(VALIDATING, "a", "w", b"")), &target("a"), Action::Patch(Patch::Minimal), before);
    let condition = &after(&plan.expect("it blocks"))["webhooks"][0]["matchConditions"][0]["expression"];
    assert!(condition.as_str().expect("text").contains("servicecidrs"), "{condition}");
}

#[test]
fn a_release_that_drops_match_conditions_is_not_given_one() {
    let old = Releases { from: Some(26), to: 26 };
    let one = validating(protobuf(VALIDATING, "a", "w", b""));
    let refused = plan(&one, &target("a"), Action::Patch(Patch::ApiServer), old).expect_err("nobody would read it");
    assert_eq!(
        refused,
        "Kubernetes 1.26 does not know match conditions (1.28 does): bowline doctor webhooks disable a"
    );
    assert!(plan(&one, &target("a"), Action::Disable, old).is_ok());
}

#[test]
fn disabling_twice_is_refused_and_so_is_deleting_one_webhook() {
    let one = validating(protobuf(VALIDATING, "a", "w", b""));
    let disabled = plan(&one, &target("a"), Action::Disable, RELEASES).expect("it fails closed");
    assert_eq!(after(&disabled)["webhooks"][0]["failurePolicy"], "Ignore");
    let again = Found { value: disabled.after.expect("a change"), ..one.clone() };
    let refused = plan(&again, &target("a"), Action::Disable, RELEASES).expect_err("it is so");
    assert!(refused.ends_with("is already so; nothing is to be changed"), "{refused}");
    let refused = plan(&one, &target("a/w"), Action::Delete, RELEASES).expect_err("no part of it");
    assert!(refused.ends_with("for that: disable a/w"), "{refused}");
    let refused = plan(&one, &target("a/x"), Action::Disable, RELEASES).expect_err("no such webhook");
    assert!(refused.contains("no webhook \"x\" in this configuration; there are w"), "{refused}");
}

#[test]
fn what_is_encrypted_or_damaged_can_be_deleted_and_nothing_else() {
    for (value, why) in [
        (&b"k8s:enc:kms:v2:vault:xx"[..], "The ways out"),
        (b"k8s\0\x0a\xff", "/registry/validatingwebhookconfigurations/a: "),
        (b"", "/registry/validatingwebhookconfigurations/a: "),
    ] {
        let one = validating(value.to_vec());
        for action in [Action::Disable, Action::Patch(Patch::ApiServer)] {
            let refused = plan(&one, &target("a"), action, RELEASES).expect_err("it cannot be read");
            assert!(refused.contains(why), "{refused}");
        }
        let deleted = plan(&one, &target("a"), Action::Delete, RELEASES).expect("the way out");
        assert_eq!((deleted.before.as_deref(), deleted.after.as_deref()), (Some(value), None));
        // Showing it must not need to read it either.
        assert!(diff(&deleted).contains(&format!("-({} bytes: ", value.len())), "{}", diff(&deleted));
    }
}

#[test]
fn two_of_one_name_are_told_apart_by_the_webhook_or_by_the_kind() {
    let both = || {
        vec![
            validating(protobuf(VALIDATING, "a", "one", b"")),
            found(
                "/registry/mutatingwebhookconfigurations/a",
                protobuf("MutatingWebhookConfiguration", "a", "two", b""),
            ),
        ]
    };
    assert_eq!(target("a").keys("/registry").len(), 2);
    let refused = target("a").choose(both()).expect_err("two");
    assert!(refused.contains("--kind mutating"), "{refused}");
    assert_eq!(target("a/two").choose(both()), Ok(both().pop()));
    // A name that is in none of them is the plan's to refuse, not a reason to take one.
    assert!(target("a/three").choose(both()).is_err());
    let mutating = target("a").of_kind(Kind::find("mutating"));
    assert_eq!(mutating.keys("/p"), [b"/p/mutatingwebhookconfigurations/a".to_vec()]);
    assert_eq!(target("a").choose(Vec::new()), Ok(None));
}

/// Facts with stored configurations.
fn facts(stored: &[Found]) -> BootFacts {
    let admission = stored.iter().map(|one| {
        let object = kube::decode(&one.value).expect("it is whole");
        Stored {
            kind: object.kind.clone(),
            key: String::from_utf8_lossy(&one.key).into_owned(),
            mod_revision: one.mod_revision,
            object: object.content,
        }
    });
    BootFacts {
        prefix: "/registry".to_owned(),
        is_a_cluster: true,
        admission: admission.collect(),
        ..BootFacts::default()
    }
}

#[test]
fn the_list_tells_kinds_apart_and_names_what_it_could_not_read() {
    let mut facts = facts(&[
        validating(protobuf(VALIDATING, "a", "w", b"")),
        found(
            "/registry/mutatingwebhookconfigurations/a",
            br#"{"apiVersion":"admissionregistration.k8s.io/v1","kind":"MutatingWebhookConfiguration","metadata":{"name":"a"},
                "webhooks":[{"name":"w","clientConfig":{"url":"https://x"},"rules":[]}]}"#
                .to_vec(),
        ),
    ]);
    facts.encrypted.push(Encrypted {
        resource: "mutatingwebhookconfigurations".to_owned(),
        provider: "kms v2".to_owned(),
        key_name: "vault".to_owned(),
        keys: 3,
        example: "/registry/mutatingwebhookconfigurations/x".to_owned(),
    });
    assert_eq!(
        list(&facts, RELEASES),
        "CONFIGURATION/WEBHOOK  KIND        FAILS   BACKEND              BOOT\n\
         a/w                    validating  closed  kyverno/kyverno-svc  BLOCKS THE BOOT\n\
         a/w                    mutating    closed  https://x            safe\n\
         not judged: 3 mutatingwebhookconfigurations encrypted by kms v2 with key \"vault\", for one \
         /registry/mutatingwebhookconfigurations/x\n"
    );
    let json = list_json(&facts, RELEASES);
    assert_eq!(
        (&json["webhooks"][0]["finding"], &json["webhooks"][1]["finding"]),
        (&json!("webhook-blocks-boot"), &Value::Null)
    );
    let commands = &about(&facts, RELEASES, &target("a"))[0].fix;
    assert_eq!(commands[0], "bowline doctor webhooks patch a/w --kind validating --yes");
    let explained = explain(&facts, RELEASES, &target("a").of_kind(Kind::find("mutating")));
    assert!(explained.starts_with("mutating a/w, request by request:\n  safe "), "{explained}");
}

#[test]
fn who_names_a_key_that_nothing_reads_is_told() {
    let mut facts = facts(&[validating(protobuf(VALIDATING, "b", "w", b""))]);
    let wrong = "/registry/admissionregistration.k8s.io/validatingwebhookconfigurations/a";
    let right = "/registry/validatingwebhookconfigurations/a";
    let by_key = not_found("/registry", wrong, &facts);
    assert!(by_key.contains("never used") && by_key.contains(right) && by_key.ends_with("there are b"), "{by_key}");
    facts.wrong_keys.push((wrong.to_owned(), right.to_owned()));
    let by_name = not_found("/registry", "a", &facts);
    assert!(by_name.contains("deleting it deletes nothing. The API server reads /registry/validating"), "{by_name}");
}

proptest! {
    #[test]
    fn a_change_undone_gives_the_same_bytes(
        name in "[a-z]{1,40}",
        webhook in "[a-z.]{1,200}",
        unknown in prop::collection::vec(any::<u8>(), 0..300),
        form in 0..2,
        kind in prop::sample::select(vec![VALIDATING, "MutatingWebhookConfiguration"]),
        action in prop::sample::select(vec![
            Action::Disable, Action::Patch(Patch::Minimal), Action::Patch(Patch::ApiServer), Action::Delete,
        ]),
    ) {
        let encode = if form == 0 { protobuf } else { json_form };
        let value = encode(kind, &name, &webhook, &unknown);
        let one = validating(value.clone());
        let plan = plan(&one, &target(&name), action, RELEASES).expect("it can be done");
        prop_assert_ne!(plan.after.as_deref(), Some(&value[..]));
        if let (Some(after), Action::Disable) = (&plan.after, action) {
            // Two bytes more, by which some lengths are longer, too; all others stay.
            prop_assert!(after.len() - value.len() <= 2 + 4);
        }
        let record = Record::new(&plan, "127.0.0.1:2379", jiff::Timestamp::UNIX_EPOCH);
        let record = Record::from_json(&record.to_json().expect("JSON"), "here").expect("its own");
        let back = record.reverse(8).expect("bytes");
        prop_assert_eq!((back.before, back.after.as_deref()), (plan.after, Some(&value[..])));
        prop_assert_eq!((back.key, back.mod_revision), (one.key, 8));
    }
}
