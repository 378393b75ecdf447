//! What can be asked: one function for each verb, and this table. A verb answers with JSON, or with the message of an
//! error; it keeps nothing between two requests.

use serde_json::{Value, json};

/// From a whole request to its answer.
pub type Verb = fn(&Value) -> Result<Value, String>;

/// Every verb by name. A new one is a row here and a module of its own.
const VERBS: &[(&str, Verb)] = &[("verbs", names)];

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_that_does_not_exist_is_named() {
        let error = answer(&json!({"verb": "guess"})).expect_err("there is no such verb");
        assert!(error.contains("guess"), "{error}");
        assert!(answer(&json!({})).is_err());
    }
}
