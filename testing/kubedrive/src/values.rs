//! The verbs about values: `decode`, `edit` and `encoding`.
//!
//! ```text
//! {"verb": "encoding", "value": "6b38…"}  ->  {"ok": {"encrypted": {"provider": "aescbc:v1", "keyName": "key1"}}}
//! {"verb": "decode", "value": "6b38…"}    ->  {"ok": {"apiVersion": …, "kind": …, "encoding": "protobuf",
//!                                                     "whole": true, "content": {…}}}
//! {"verb": "edit", "value": "6b38…", "edits": […]}  ->  {"ok": "6b38…"}
//! ```
//!
//! An edit is `{"setFailurePolicy": {"webhook": …, "policy": "Ignore"}}` or
//! `{"addMatchCondition": {"webhook": …, "name": …, "expression": …}}`.

use crate::verbs::{bytes, hex, text};
use kube::{Edit, Encoding, FailurePolicy};
use serde_json::{Value, json};

pub fn encoding(request: &Value) -> Result<Value, String> {
    Ok(encoding_name(&kube::encoding(&bytes(request, "value")?)))
}

pub fn decode(request: &Value) -> Result<Value, String> {
    let object = kube::decode(&bytes(request, "value")?).map_err(|error| error.to_string())?;
    Ok(json!({
        "apiVersion": object.api_version,
        "kind": object.kind,
        "encoding": encoding_name(&object.encoding),
        "whole": object.whole,
        "content": object.content,
    }))
}

pub fn edit(request: &Value) -> Result<Value, String> {
    let edits = request["edits"].as_array().ok_or("request: edits is missing or no list")?;
    let edits = edits.iter().map(one_edit).collect::<Result<Vec<_>, _>>()?;
    let changed = kube::edit::apply(&bytes(request, "value")?, &edits).map_err(|error| error.to_string())?;
    Ok(hex(&changed).into())
}

fn one_edit(edit: &Value) -> Result<Edit, String> {
    if let Some(edit) = edit.get("setFailurePolicy") {
        let webhook = text(edit, "webhook")?.to_owned();
        let policy = match text(edit, "policy")? {
            "Fail" => FailurePolicy::Fail,
            "Ignore" => FailurePolicy::Ignore,
            other => return Err(format!("request: {other} is no failure policy; there are Fail and Ignore")),
        };
        return Ok(Edit::SetFailurePolicy { webhook, policy });
    }
    let edit = edit.get("addMatchCondition").ok_or_else(|| format!("request: {edit} is no edit"))?;
    let member = |name| text(edit, name).map(str::to_owned);
    Ok(Edit::AddMatchCondition {
        webhook: member("webhook")?,
        name: member("name")?,
        expression: member("expression")?,
    })
}

fn encoding_name(encoding: &Encoding) -> Value {
    match encoding {
        Encoding::Protobuf => "protobuf".into(),
        Encoding::Json => "json".into(),
        Encoding::Cbor => "cbor".into(),
        Encoding::Unknown => "unknown".into(),
        Encoding::Encrypted { provider, key_name } => {
            json!({"encrypted": {"provider": provider, "keyName": key_name}})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIGURATION: &str = r#"{"apiVersion":"admissionregistration.k8s.io/v1",
        "kind":"MutatingWebhookConfiguration","webhooks":[{"name":"a"}]}"#;

    #[test]
    fn a_value_is_decoded_and_edited() {
        let value = hex(CONFIGURATION.as_bytes());
        let edits = json!([
            {"setFailurePolicy": {"webhook": "*", "policy": "Ignore"}},
            {"addMatchCondition": {"webhook": "a", "name": "boot", "expression": "false"}},
        ]);
        let changed = edit(&json!({"value": value, "edits": edits})).expect("there is a webhook a");
        let decoded = decode(&json!({"value": changed})).expect("it is still an object");
        assert_eq!(decoded["encoding"], "json");
        assert_eq!(
            decoded["content"]["webhooks"],
            json!([{"name": "a", "failurePolicy": "Ignore", "matchConditions": [{"name": "boot", "expression": "false"}]}])
        );
    }

    #[test]
    fn what_is_no_edit_is_refused() {
        let value = hex(CONFIGURATION.as_bytes());
        for edits in [
            json!(7),
            json!([{"guess": {}}]),
            json!([{"setFailurePolicy": {"webhook": "a", "policy": "Maybe"}}]),
            json!([{"addMatchCondition": {"webhook": "a", "name": "boot"}}]),
        ] {
            assert!(edit(&json!({"value": value, "edits": edits})).is_err(), "{edits}");
        }
    }
}
