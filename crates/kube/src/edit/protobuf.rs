//! The change on the wire: the webhook's message is written anew from its fields, each with its own bytes, and so is
//! what holds it.

use super::{Change, EditError};
use crate::value::Envelope;
use crate::wire::{LENGTH_DELIMITED, WireError, fields, put_field};

/// Of the envelope: the object.
const RAW: u32 = 2;
const WEBHOOKS: u32 = 2;
const FAILURE_POLICY: u32 = 4;

pub(super) fn change(value: &[u8], kind: &str, targets: &[usize], change: &Change<'_>) -> Result<Vec<u8>, EditError> {
    let conditions = if kind == "MutatingWebhookConfiguration" { 12 } else { 11 };
    let (magic, envelope) = value.split_at(Envelope::MAGIC_BYTES.min(value.len()));
    let mut objects = 0;
    let changed = rewrite(envelope, RAW, &mut |place, object| {
        objects = place + 1;
        rewrite(object, WEBHOOKS, &mut |place, webhook| {
            if targets.binary_search(&place).is_ok() {
                change_webhook(webhook, conditions, change)
            } else {
                Ok(webhook.to_vec())
            }
        })
    });
    let changed = changed.map_err(|error| EditError::Unchangeable(error.to_string()))?;
    // Which of them counts is a matter of the reader's.
    if objects != 1 {
        return Err(EditError::Unchangeable(format!("{objects} objects in one envelope")));
    }
    Ok([magic, &changed].concat())
}

type Rewrite<'a> = &'a mut dyn FnMut(usize, &[u8]) -> Result<Vec<u8>, WireError>;

/// The message with each field of this number given to `edit`, which is also told the how-manieth it is.
fn rewrite(message: &[u8], number: u32, edit: Rewrite<'_>) -> Result<Vec<u8>, WireError> {
    let (mut out, mut place) = (Vec::with_capacity(message.len() + 64), 0);
    for field in fields(message) {
        let field = field?;
        if field.number != number || field.wire_type != LENGTH_DELIMITED {
            out.extend_from_slice(field.raw);
            continue;
        }
        let content = edit(place, field.content)?;
        place += 1;
        // What did not change keeps even the spelling of its length.
        if content == field.content { out.extend_from_slice(field.raw) } else { put_field(number, &content, &mut out) }
    }
    Ok(out)
}

fn change_webhook(webhook: &[u8], conditions: u32, change: &Change<'_>) -> Result<Vec<u8>, WireError> {
    match change {
        Change::FailurePolicy(policy) => {
            let mut found = false;
            let changed = rewrite(webhook, FAILURE_POLICY, &mut |_, _| {
                found = true;
                Ok(policy.as_bytes().to_vec())
            })?;
            if found { Ok(changed) } else { insert(webhook, FAILURE_POLICY, policy.as_bytes()) }
        }
        Change::Condition { name, expression } => {
            let mut condition = Vec::new();
            put_field(1, name.as_bytes(), &mut condition);
            put_field(2, expression.as_bytes(), &mut condition);
            insert(webhook, conditions, &condition)
        }
    }
}

/// Fields go in ascending order, and a new one behind others of its number.
fn insert(message: &[u8], number: u32, content: &[u8]) -> Result<Vec<u8>, WireError> {
    let (mut at, mut end) = (0, 0);
    for field in fields(message) {
        let field = field?;
        end += field.raw.len();
        if field.number <= number {
            at = end;
        }
    }
    let (before, behind) = message.split_at(at);
    let mut out = before.to_vec();
    put_field(number, content, &mut out);
    out.extend_from_slice(behind);
    Ok(out)
}
