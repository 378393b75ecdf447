//! What can be asked: one function for each verb, and this table. A verb answers with JSON, or with the message of an
//! error; it keeps nothing between two requests.

use crate::{keys, matching, values};
use serde_json::{Value, json};

/// From a whole request to its answer.
pub type Verb = fn(&Value) -> Result<Value, String>;

/// Every verb by name. A new one is a row here and a module of its own.
const VERBS: &[(&str, Verb)] = &[
    ("decode", values::decode),
    ("edit", values::edit),
    ("encoding", values::encoding),
    ("key", keys::parse),
    ("key_of", keys::key_of),
    ("likely_meant", keys::likely_meant),
    ("match", matching::matches),
    ("verbs", names),
];

/// Answers one request by its member `verb`.
pub fn answer(request: &Value) -> Result<Value, String> {
    let name = text(request, "verb")?;
    let (_, verb) = VERBS
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| format!("unknown verb {name}; `verbs` lists those there are"))?;
    verb(request)
}

fn names(_: &Value) -> Result<Value, String> {
    Ok(json!(VERBS.iter().map(|(name, _)| *name).collect::<Vec<_>>()))
}

/// The string `member` of a request.
pub fn text<'a>(request: &'a Value, member: &str) -> Result<&'a str, String> {
    request[member].as_str().ok_or_else(|| format!("request: {member} is missing or no string"))
}

/// The bytes that `member` of a request spells.
pub fn bytes(request: &Value, member: &str) -> Result<Vec<u8>, String> {
    let digits = text(request, member)?.as_bytes();
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2 && !pair.starts_with('+'));
        pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())
    };
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    bytes.ok_or_else(|| format!("request: {member} is not hexadecimal"))
}

/// As `bytes` reads it.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_that_does_not_exist_is_named() {
        let error = answer(&json!({"verb": "guess"})).expect_err("there is no such verb");
        assert!(error.contains("guess"), "{error}");
        assert!(answer(&json!({})).is_err());
    }

    #[test]
    fn bytes_are_hexadecimal() {
        let value = |value: &str| bytes(&json!({"value": value}), "value");
        assert_eq!(value("00ff7B"), Ok(vec![0, 255, 123]));
        assert_eq!(value(&hex(b"k8s\0")), Ok(b"k8s\0".to_vec()));
        for wrong in ["0", "0g", "+1", "é"] {
            assert!(value(wrong).is_err(), "{wrong}");
        }
    }
}
