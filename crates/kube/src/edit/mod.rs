//! Changes to webhook configurations as they lie in the store. Only the field that is changed gets other bytes, and the
//! lengths around it: fields that nobody here knows stay, in their order and their spelling.
//!
//! A change that is there already changes nothing. What cannot be changed is refused by name: an encrypted value, an
//! object of another kind, a webhook that does not exist.

mod cbor;
mod json;
mod protobuf;

use crate::value::{DecodeError, Encoding, Object, decode};
use serde_json::Value;
use std::fmt;

/// Kubernetes' own bound.
pub(crate) const MATCH_CONDITIONS_MAX: usize = 64;
/// In place of a webhook's name: all of them.
pub const ALL_WEBHOOKS: &str = "*";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailurePolicy {
    Fail,
    Ignore,
}

impl FailurePolicy {
    pub fn as_str(self) -> &'static str {
        match self {
            FailurePolicy::Fail => "Fail",
            FailurePolicy::Ignore => "Ignore",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    SetFailurePolicy { webhook: String, policy: FailurePolicy },
    AddMatchCondition { webhook: String, name: String, expression: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EditError {
    Undecodable(DecodeError),
    /// Its kind and version.
    NotAWebhookConfiguration(String),
    NoSuchWebhook {
        wanted: String,
        existing: Vec<String>,
    },
    TooManyConditions {
        webhook: String,
    },
    /// There is one of this name that says something else.
    ConditionExists {
        webhook: String,
        condition: String,
        expression: String,
    },
    /// It can be read, but not so that one field of it could be changed.
    Unchangeable(String),
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EditError::Undecodable(error) => write!(f, "{error}"),
            EditError::NotAWebhookConfiguration(kind) => {
                write!(f, "the object is a {kind}, not a webhook configuration")
            }
            EditError::NoSuchWebhook { wanted, existing } => {
                write!(f, "no webhook {wanted:?} in this configuration; there are {}", existing.join(", "))
            }
            EditError::TooManyConditions { webhook } => {
                write!(
                    f,
                    "webhook {webhook:?} has {MATCH_CONDITIONS_MAX} match conditions, as many as Kubernetes allows"
                )
            }
            EditError::ConditionExists { webhook, condition, expression } => {
                write!(f, "webhook {webhook:?} has a match condition {condition:?} already: {expression}")
            }
            EditError::Unchangeable(why) => write!(f, "the value cannot be changed in place: {why}"),
        }
    }
}

impl std::error::Error for EditError {}

/// What is done to each of some webhooks.
enum Change<'a> {
    FailurePolicy(&'static str),
    Condition { name: &'a str, expression: &'a str },
}

/// The value with the edits, in their order.
pub fn apply(value: &[u8], edits: &[Edit]) -> Result<Vec<u8>, EditError> {
    let mut value = value.to_vec();
    for edit in edits {
        value = apply_one(&value, edit)?;
    }
    Ok(value)
}

fn apply_one(value: &[u8], edit: &Edit) -> Result<Vec<u8>, EditError> {
    let object = decode(value).map_err(EditError::Undecodable)?;
    let targets = targets(&object, edit)?;
    if targets.is_empty() {
        return Ok(value.to_vec());
    }
    let change = match edit {
        Edit::SetFailurePolicy { policy, .. } => Change::FailurePolicy(policy.as_str()),
        Edit::AddMatchCondition { name, expression, .. } => Change::Condition { name, expression },
    };
    match object.encoding {
        Encoding::Protobuf => protobuf::change(value, &object.kind, &targets, &change),
        Encoding::Json => json::change(value, &targets, &change),
        // An encrypted or unknown value was not decoded.
        _ => cbor::change(value, &targets, &change),
    }
}

/// Places of the webhooks that the edit changes, in ascending order.
fn targets(object: &Object, edit: &Edit) -> Result<Vec<usize>, EditError> {
    let is_one = matches!(object.kind.as_str(), "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration");
    if !is_one || object.group() != "admissionregistration.k8s.io" {
        return Err(EditError::NotAWebhookConfiguration(format!("{} of {:?}", object.kind, object.api_version)));
    }
    let webhooks = object.content["webhooks"].as_array().map_or(&[][..], Vec::as_slice);
    let (Edit::SetFailurePolicy { webhook: wanted, .. } | Edit::AddMatchCondition { webhook: wanted, .. }) = edit;
    let is_meant = |webhook: &Value| wanted == ALL_WEBHOOKS || webhook["name"] == **wanted;
    if !webhooks.iter().any(is_meant) {
        let existing = webhooks.iter().map(|webhook| name_of(webhook).to_owned()).collect();
        return Err(EditError::NoSuchWebhook { wanted: wanted.clone(), existing });
    }
    let mut targets = Vec::new();
    for (place, webhook) in webhooks.iter().enumerate().filter(|(_, webhook)| is_meant(webhook)) {
        if changes(webhook, edit)? {
            targets.push(place);
        }
    }
    Ok(targets)
}

/// False if the webhook is already as it is to be.
fn changes(webhook: &Value, edit: &Edit) -> Result<bool, EditError> {
    let (condition, wanted) = match edit {
        Edit::SetFailurePolicy { policy, .. } => return Ok(webhook["failurePolicy"] != policy.as_str()),
        Edit::AddMatchCondition { name, expression, .. } => (name, expression),
    };
    let conditions = webhook["matchConditions"].as_array().map_or(&[][..], Vec::as_slice);
    let Some(same) = conditions.iter().find(|existing| existing["name"] == **condition) else {
        if conditions.len() >= MATCH_CONDITIONS_MAX {
            return Err(EditError::TooManyConditions { webhook: name_of(webhook).to_owned() });
        }
        return Ok(true);
    };
    if same["expression"] == **wanted {
        return Ok(false);
    }
    Err(EditError::ConditionExists {
        webhook: name_of(webhook).to_owned(),
        condition: condition.clone(),
        expression: same["expression"].as_str().unwrap_or_default().to_owned(),
    })
}

fn name_of(webhook: &Value) -> &str {
    webhook["name"].as_str().unwrap_or_default()
}

/// Replaces ranges of `bytes`, which do not overlap.
fn splice(bytes: &[u8], mut parts: Vec<(std::ops::Range<usize>, Vec<u8>)>) -> Vec<u8> {
    parts.sort_by_key(|(range, _)| range.start);
    let mut out = Vec::with_capacity(bytes.len() + parts.iter().map(|(_, part)| part.len()).sum::<usize>());
    let mut at = 0;
    for (range, part) in parts {
        out.extend_from_slice(bytes.get(at..range.start).unwrap_or_default());
        out.extend_from_slice(&part);
        at = range.end;
    }
    out.extend_from_slice(bytes.get(at..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests;
