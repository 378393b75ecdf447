//! Values, what can be taken out of them, and how they compare.

use serde_json::Value as Json;
use std::cmp::Ordering;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Failure {
    Error(String),
    Unknown(String),
}

pub(super) type Outcome = Result<Value, Failure>;

impl Failure {
    pub(super) fn error(text: &str) -> Failure {
        Failure::Error(text.to_owned())
    }

    pub(super) fn unknown(text: &str) -> Failure {
        Failure::Unknown(text.to_owned())
    }
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    /// In no order that matters.
    Map(Vec<(Value, Value)>),
    /// A map of which only some keys are known to be there or not: `(key, none if it is not there)`.
    Partial {
        known: Vec<(String, Option<Value>)>,
        is_open: bool,
    },
    Optional(Option<Box<Value>>),
    Type(&'static str),
}

/// Of an object's metadata: what the requests here are sure of.
const SURE: &[&str] =
    &["name", "generateName", "namespace", "labels", "deletionTimestamp", "finalizers", "ownerReferences"];

impl Value {
    pub(super) fn from_json(json: &Json) -> Value {
        match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => match number.as_i64() {
                Some(whole) => Value::Int(whole),
                None => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::Text(text.clone()),
            Json::Array(items) => Value::List(items.iter().map(Value::from_json).collect()),
            Json::Object(map) => {
                Value::Map(map.iter().map(|(key, value)| (Value::Text(key.clone()), Value::from_json(value))).collect())
            }
        }
    }

    fn entries(&self) -> Vec<(String, Option<Value>)> {
        let Value::Map(entries) = self else { return Vec::new() };
        let text = |key: &Value| if let Value::Text(text) = key { Some(text.clone()) } else { None };
        entries.iter().filter_map(|(key, value)| Some((text(key)?, Some(value.clone())))).collect()
    }

    /// An object of which only the metadata is known, and of that not all.
    pub(super) fn with_unknown_parts(self) -> Value {
        if !matches!(self, Value::Map(_)) {
            return self;
        }
        let mut known = self.entries();
        for (name, value) in &mut known {
            if name == "metadata"
                && let Some(metadata) = value
            {
                let mut fields = metadata.entries();
                let absent: Vec<_> = SURE.iter().filter(|sure| !fields.iter().any(|(name, _)| name == *sure)).collect();
                fields.extend(absent.into_iter().map(|name| ((*name).to_owned(), None)));
                *metadata = Value::Partial { known: fields, is_open: true };
            }
        }
        Value::Partial { known, is_open: true }
    }

    /// A request: its options, and what else is known of its user, are not in any store.
    pub(super) fn request(json: &Json) -> Value {
        let mut fields = Value::from_json(json).entries();
        for (name, value) in &mut fields {
            if name == "userInfo"
                && let Some(user) = value
            {
                *user = Value::hiding(user.entries(), &["uid", "extra"]);
            }
        }
        Value::hiding(fields, &["options"])
    }

    /// A map of which some keys are not known.
    fn hiding(mut known: Vec<(String, Option<Value>)>, keys: &[&str]) -> Value {
        known.extend(keys.iter().map(|key| (UNKNOWN_KEY.to_owned(), Some(Value::Text((*key).to_owned())))));
        Value::Partial { known, is_open: false }
    }

    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::Text(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::List(_) => "list",
            Value::Map(_) | Value::Partial { .. } => "map",
            Value::Optional(_) => "optional_type",
            Value::Type(_) => "type",
        }
    }

    pub(super) fn type_named(name: &str) -> Option<Value> {
        const NAMES: &[&str] =
            &["null_type", "bool", "int", "uint", "double", "string", "bytes", "list", "map", "type"];
        NAMES.iter().find(|known| **known == name).map(|known| Value::Type(known))
    }

    /// None: it is not there.
    fn find(&self, key: &Value) -> Result<Option<Value>, Failure> {
        match self {
            Value::Map(entries) => Ok(entries.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone())),
            Value::Partial { known, is_open } => {
                let Value::Text(wanted) = key else { return Ok(None) };
                match known.iter().find(|(name, _)| name == wanted) {
                    Some((_, value)) => Ok(value.clone()),
                    None if *is_open || self.hides(wanted) => {
                        Err(Failure::Unknown(format!("what {wanted:?} will hold is not known here")))
                    }
                    None => Ok(None),
                }
            }
            other => Err(Failure::Error(format!("no such overload: {} has no fields", other.type_name()))),
        }
    }

    fn hides(&self, key: &str) -> bool {
        let Value::Partial { known, .. } = self else { return false };
        known.iter().any(|(name, value)| name == UNKNOWN_KEY && *value == Some(Value::Text(key.to_owned())))
    }

    pub(super) fn select(&self, field: &str) -> Outcome {
        if let Value::Optional(inner) = self {
            return match inner {
                Some(inner) => Ok(Value::optional(inner.find(&Value::Text(field.to_owned()))?)),
                None => Ok(Value::Optional(None)),
            };
        }
        let found = self.find(&Value::Text(field.to_owned()))?;
        found.ok_or_else(|| Failure::Error(format!("no such key: {field}")))
    }

    pub(super) fn has(&self, field: &str) -> Outcome {
        let target = match self {
            Value::Optional(None) => return Ok(Value::Bool(false)),
            Value::Optional(Some(inner)) => inner,
            // What has no fields has not this one: so it is in cel-go.
            other if !matches!(other, Value::Map(_) | Value::Partial { .. } | Value::List(_)) => {
                return Ok(Value::Bool(false));
            }
            other => other,
        };
        Ok(Value::Bool(target.find(&Value::Text(field.to_owned()))?.is_some()))
    }

    pub(super) fn optional(value: Option<Value>) -> Value {
        Value::Optional(value.map(Box::new))
    }

    /// `a[b]`; none if there is no such key or place.
    pub(super) fn at(&self, index: &Value) -> Result<Option<Value>, Failure> {
        let Value::List(items) = self else { return self.find(index) };
        let place = match index {
            Value::Int(place) => usize::try_from(*place).ok(),
            Value::Uint(place) => usize::try_from(*place).ok(),
            Value::Double(place) if place.fract() == 0.0 && *place >= 0.0 => Some(*place as usize),
            other => return Err(Failure::Error(format!("no such overload: a list at {}", other.type_name()))),
        };
        Ok(place.and_then(|place| items.get(place)).cloned())
    }

    /// `x in y`.
    pub(super) fn contains(&self, item: &Value) -> Outcome {
        match self {
            Value::List(items) => {
                let mut unknown = None;
                for known in items {
                    match known.equals(item) {
                        Ok(true) => return Ok(Value::Bool(true)),
                        Ok(false) => {}
                        Err(why) => unknown = Some(why),
                    }
                }
                unknown.map_or(Ok(Value::Bool(false)), Err)
            }
            Value::Map(_) | Value::Partial { .. } => Ok(Value::Bool(self.find(item)?.is_some())),
            other => Err(Failure::Error(format!("no such overload: in {}", other.type_name()))),
        }
    }

    /// Values of different types are different; numbers are numbers.
    pub(super) fn equals(&self, other: &Value) -> Result<bool, Failure> {
        if let Some(order) = self.compare_numbers(other) {
            return Ok(order == Some(Ordering::Equal));
        }
        match (self, other) {
            (Value::Partial { .. }, Value::Map(_) | Value::Partial { .. }) | (Value::Map(_), Value::Partial { .. }) => {
                Err(Failure::unknown("not all of the object is known here"))
            }
            (Value::List(one), Value::List(other)) => {
                if one.len() != other.len() {
                    return Ok(false);
                }
                one.iter().zip(other).try_fold(true, |equal, (one, other)| Ok(equal & one.equals(other)?))
            }
            (Value::Map(one), Value::Map(other)) => {
                if one.len() != other.len() {
                    return Ok(false);
                }
                for (key, value) in one {
                    match other.iter().find(|(name, _)| name == key) {
                        Some((_, found)) if value.equals(found)? => {}
                        _ => return Ok(false),
                    }
                }
                Ok(true)
            }
            (Value::Optional(one), Value::Optional(other)) => match (one, other) {
                (Some(one), Some(other)) => one.equals(other),
                (one, other) => Ok(one.is_none() == other.is_none()),
            },
            (Value::Null, Value::Null) => Ok(true),
            (Value::Bool(one), Value::Bool(other)) => Ok(one == other),
            (Value::Text(one), Value::Text(other)) => Ok(one == other),
            (Value::Bytes(one), Value::Bytes(other)) => Ok(one == other),
            (Value::Type(one), Value::Type(other)) => Ok(one == other),
            _ => Ok(false),
        }
    }

    /// `<` and its like.
    pub(super) fn compare(&self, other: &Value) -> Result<Option<Ordering>, Failure> {
        if let Some(order) = self.compare_numbers(other) {
            return Ok(order);
        }
        match (self, other) {
            (Value::Bool(one), Value::Bool(other)) => Ok(Some(one.cmp(other))),
            (Value::Text(one), Value::Text(other)) => Ok(Some(one.cmp(other))),
            (Value::Bytes(one), Value::Bytes(other)) => Ok(Some(one.cmp(other))),
            _ => Err(Failure::Error(format!(
                "no such overload: {} compared with {}",
                self.type_name(),
                other.type_name()
            ))),
        }
    }

    /// None if one of them is no number; some none if they have no order.
    fn compare_numbers(&self, other: &Value) -> Option<Option<Ordering>> {
        let whole = |value: &Value| match value {
            Value::Int(number) => Some(i128::from(*number)),
            Value::Uint(number) => Some(i128::from(*number)),
            _ => None,
        };
        let any = |value: &Value| match value {
            Value::Double(number) => Some(*number),
            other => whole(other).map(|number| number as f64),
        };
        match (whole(self), whole(other)) {
            (Some(one), Some(other)) => Some(Some(one.cmp(&other))),
            _ => Some(any(self)?.partial_cmp(&any(other)?)),
        }
    }
}

/// No field has this name.
const UNKNOWN_KEY: &str = "\0unknown";

/// Where it only matters whether two values are known to be the same.
impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        self.equals(other) == Ok(true)
    }
}
