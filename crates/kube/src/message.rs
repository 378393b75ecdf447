//! A message by its table of fields, as the JSON that the API shows. Fields that no table names are passed over.
//!
//! When a field is shown follows Go's rules for the type that it has in Kubernetes: see `Shown`.

use crate::schema::{Field, Shown, Type};
use crate::wire::{self, LENGTH_DELIMITED, VARINT, WireError, fields};
use base64::Engine as _;
use serde_json::{Map, Value};

/// How deep tables nest at most; they are ours, so this is a bound on our mistakes.
const DEPTH_MAX: usize = 16;
/// Messages within one object. An empty one takes two bytes in the store and hundreds here; no object of the size that
/// an API server accepts comes near.
const MESSAGES_MAX: usize = 200_000;

/// The JSON form of a message.
pub(crate) fn to_json(bytes: &[u8], table: &'static [Field]) -> Result<Map<String, Value>, WireError> {
    convert(bytes, table, &mut Bounds { depth: 0, messages: 0 })
}

/// How far reading an object has got.
struct Bounds {
    depth: usize,
    messages: usize,
}

fn convert(bytes: &[u8], table: &'static [Field], bounds: &mut Bounds) -> Result<Map<String, Value>, WireError> {
    bounds.messages += 1;
    if bounds.messages > MESSAGES_MAX {
        return Err(WireError { at: 0, why: "one of more than 200000 messages" });
    }
    let mut object = Map::new();
    for found in fields(bytes) {
        let found = found?;
        let Some(field) = table.iter().find(|field| field.number == found.number) else { continue };
        if found.wire_type != wire_type(&field.of) || bounds.depth >= DEPTH_MAX {
            continue;
        }
        bounds.depth += 1;
        add(&mut object, field, &found, bounds)?;
        bounds.depth -= 1;
    }
    for field in table.iter().filter(|field| field.shown == Shown::Always) {
        object.entry(field.name).or_insert_with(|| absent(field));
    }
    Ok(object)
}

fn wire_type(of: &Type) -> u8 {
    match of {
        Type::Integer | Type::Bool => VARINT,
        _ => LENGTH_DELIMITED,
    }
}

fn add(
    object: &mut Map<String, Value>,
    field: &Field,
    found: &wire::Field<'_>,
    bounds: &mut Bounds,
) -> Result<(), WireError> {
    if let Type::TextMap = field.of {
        let (key, value) = map_entry(found.content)?;
        let map = object.entry(field.name).or_insert_with(|| Map::new().into());
        if let Value::Object(map) = map {
            map.insert(key, value.into());
        }
        return Ok(());
    }
    let value = match &field.of {
        Type::Inline(table) => {
            object.extend(convert(found.content, table, bounds)?);
            return Ok(());
        }
        Type::Message(table) => convert(found.content, table, bounds)?.into(),
        other => scalar(other, found)?,
    };
    if field.repeated {
        let list = object.entry(field.name).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(list) = list {
            list.push(value);
        }
    } else if field.shown != Shown::NotEmpty || !is_empty(&value) {
        object.insert(field.name.to_owned(), value);
    } else {
        object.remove(field.name);
    }
    Ok(())
}

fn scalar(of: &Type, found: &wire::Field<'_>) -> Result<Value, WireError> {
    Ok(match of {
        Type::Text => text(found.content).into(),
        Type::Bytes => base64::engine::general_purpose::STANDARD.encode(found.content).into(),
        Type::Integer => (found.varint as i64).into(),
        Type::Bool => (found.varint != 0).into(),
        Type::Time => time(found.content, "%Y-%m-%dT%H:%M:%SZ")?,
        Type::MicroTime => time(found.content, "%Y-%m-%dT%H:%M:%S.%6fZ")?,
        Type::IntOrString => int_or_string(found.content)?,
        Type::Json => {
            let raw = last(found.content, 1)?.unwrap_or_default();
            serde_json::from_slice(raw).unwrap_or(Value::Null)
        }
        // Handled by who calls.
        Type::TextMap | Type::Message(_) | Type::Inline(_) => Value::Null,
    })
}

/// As Go would show what was never written.
fn absent(field: &Field) -> Value {
    match field.of {
        _ if field.repeated => Value::Null,
        Type::Text => "".into(),
        Type::Integer => 0.into(),
        Type::Bool => false.into(),
        _ => Value::Null,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(_) | Value::Object(_) => false,
    }
}

/// Kubernetes does not check that its text is UTF-8 either.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn map_entry(bytes: &[u8]) -> Result<(String, String), WireError> {
    Ok((text(last(bytes, 1)?.unwrap_or_default()), text(last(bytes, 2)?.unwrap_or_default())))
}

/// The content of the last field with this number.
fn last(bytes: &[u8], number: u32) -> Result<Option<&[u8]>, WireError> {
    let mut content = None;
    for field in fields(bytes) {
        let field = field?;
        if field.number == number && field.wire_type == LENGTH_DELIMITED {
            content = Some(field.content);
        }
    }
    Ok(content)
}

/// Null for the zero time, which is an empty message.
fn time(bytes: &[u8], form: &str) -> Result<Value, WireError> {
    let (mut seconds, mut nanos) = (None, 0);
    for field in fields(bytes) {
        let field = field?;
        match (field.number, field.wire_type) {
            (1, VARINT) => seconds = Some(field.varint as i64),
            (2, VARINT) => nanos = field.varint as i32,
            _ => {}
        }
    }
    let Some(seconds) = seconds else { return Ok(Value::Null) };
    // What no calendar shows is not shown.
    let Ok(timestamp) = jiff::Timestamp::new(seconds, nanos) else { return Ok(Value::Null) };
    Ok(timestamp.strftime(form).to_string().into())
}

fn int_or_string(bytes: &[u8]) -> Result<Value, WireError> {
    let (mut is_text, mut number) = (false, 0);
    for field in fields(bytes) {
        let field = field?;
        match (field.number, field.wire_type) {
            (1, VARINT) => is_text = field.varint == 1,
            (2, VARINT) => number = field.varint as i64,
            _ => {}
        }
    }
    Ok(if is_text { text(last(bytes, 3)?.unwrap_or_default()).into() } else { number.into() })
}
