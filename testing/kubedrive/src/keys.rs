//! The verbs about keys: `key`, `key_of` and `likely_meant`.
//!
//! ```text
//! {"verb": "key_of", "prefix": …, "group": "", "resource": "pods", "namespace": "a", "name": "b"}  ->  {"ok": "2f72…"}
//! {"verb": "key", "prefix": "/registry", "key": "2f72…"}           ->  {"ok": {"resource": "pods", …}}, or null
//! {"verb": "likely_meant", "prefix": "/registry", "key": "2f72…"}  ->  {"ok": "2f72…"}, or null
//! ```
//!
//! A `namespace` of null, or none, belongs to an object outside of namespaces.

use crate::verbs::{bytes, hex, text};
use kube::{ResourceKey, key};
use serde_json::{Value, json};

pub fn key_of(request: &Value) -> Result<Value, String> {
    let member = |name| text(request, name);
    let namespace = request["namespace"].as_str();
    let key = key::key_of(member("prefix")?, member("group")?, member("resource")?, namespace, member("name")?);
    Ok(hex(&key).into())
}

pub fn parse(request: &Value) -> Result<Value, String> {
    let parsed = key::parse(text(request, "prefix")?, &bytes(request, "key")?);
    Ok(parsed.map_or(Value::Null, |ResourceKey { group, resource, namespace, name }| {
        json!({"group": group, "resource": resource, "namespace": namespace, "name": name})
    }))
}

pub fn likely_meant(request: &Value) -> Result<Value, String> {
    let meant = key::likely_meant(text(request, "prefix")?, &bytes(request, "key")?);
    Ok(meant.map_or(Value::Null, |key| hex(&key).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_both_ways() {
        let named = json!({"prefix": "/registry", "group": "", "resource": "services", "namespace": "a", "name": "b"});
        let key = key_of(&named).expect("all members are there");
        assert_eq!(key, hex(b"/registry/services/specs/a/b").as_str());
        let parsed = parse(&json!({"prefix": "/registry", "key": key})).expect("all members are there");
        assert_eq!(parsed, json!({"group": "", "resource": "services", "namespace": "a", "name": "b"}));
        assert_eq!(parse(&json!({"prefix": "/other", "key": key})), Ok(Value::Null));
        assert_eq!(likely_meant(&json!({"prefix": "/registry", "key": key})), Ok(Value::Null));
    }
}
