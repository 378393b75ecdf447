//! The change in the text: what is inserted is compact, what is there keeps its spaces.

use super::{Change, EditError, splice};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::json;
use serde_json::value::RawValue;
use std::fmt;
use std::ops::Range;

#[derive(Deserialize)]
struct Configuration<'a> {
    #[serde(borrow)]
    webhooks: Vec<&'a RawValue>,
}

/// An object's members in the order in which they are written.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<'a>, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(InOrder).map(Members)
    }
}

pub(super) fn change(value: &[u8], targets: &[usize], change: &Change<'_>) -> Result<Vec<u8>, EditError> {
    let unchangeable = |error: &dyn fmt::Display| EditError::Unchangeable(error.to_string());
    let text = std::str::from_utf8(value).map_err(|error| unchangeable(&error))?;
    let configuration: Configuration<'_> = serde_json::from_str(text).map_err(|error| unchangeable(&error))?;
    let mut parts = Vec::new();
    for target in targets {
        let Some(webhook) = configuration.webhooks.get(*target) else { continue };
        let Members(members) = serde_json::from_str(webhook.get()).map_err(|error| unchangeable(&error))?;
        let part = match change {
            Change::FailurePolicy(policy) => set(text, webhook, &members, "failurePolicy", &json!(policy).to_string()),
            Change::Condition { name, expression } => {
                // Name first, as the API shows it.
                let condition = format!(r#"{{"name":{},"expression":{}}}"#, json!(name), json!(expression));
                append(text, webhook, &members, "matchConditions", &condition).map_err(|error| unchangeable(&error))?
            }
        };
        parts.push(part);
    }
    Ok(splice(value, parts))
}

/// Where a part of the text lies in it.
fn range(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - text.as_ptr() as usize;
    start..start + part.len()
}

type Part = (Range<usize>, Vec<u8>);

fn set(text: &str, object: &RawValue, members: &[(String, &RawValue)], name: &str, value: &str) -> Part {
    // Of two members with one name the last one counts.
    match members.iter().rfind(|(member, _)| member == name) {
        Some((_, old)) => (range(text, old.get()), value.as_bytes().to_vec()),
        None => {
            let last = members.last().map(|(_, last)| *last);
            insert(text, object, last, &format!("{}:{value}", json!(name)))
        }
    }
}

fn append(
    text: &str,
    object: &RawValue,
    members: &[(String, &RawValue)],
    name: &str,
    item: &str,
) -> serde_json::Result<Part> {
    let list = members.iter().rfind(|(member, _)| member == name).map(|(_, list)| *list);
    let Some(list) = list.filter(|list| list.get().starts_with('[')) else {
        return Ok(set(text, object, members, name, &format!("[{item}]")));
    };
    let items: Vec<&RawValue> = serde_json::from_str(list.get())?;
    Ok(insert(text, list, items.last().copied(), item))
}

/// Behind the last part of an object or array, or at its beginning.
fn insert(text: &str, whole: &RawValue, last: Option<&RawValue>, new: &str) -> Part {
    match last {
        Some(last) => {
            let end = range(text, last.get()).end;
            (end..end, format!(",{new}").into_bytes())
        }
        None => {
            let begin = range(text, whole.get()).start + 1;
            (begin..begin, new.as_bytes().to_vec())
        }
    }
}
