//! Operators and functions on values. What Kubernetes has and this has not is unknown, by name.

use super::value::{Failure, Outcome, Value};
use ::cel::common::ast::operators;
use std::cmp::Ordering;

/// Namespaces of functions that are not carried out here.
pub(super) const LIBRARIES: &[&str] =
    &["math", "ip", "cidr", "format", "semver", "sets", "base64", "strings", "optional"];

/// A regular expression takes this much memory at most, compiled.
const REGEX_BYTES_MAX: usize = 1 << 20;
/// A text or list that is made.
const MADE_MAX: usize = 1 << 20;
/// Repetitions that Go's regular expressions allow.
const REPETITIONS_MAX: u32 = 1000;
/// Loops that the parser leaves as calls: those with two variables.
const MACROS: &[&str] =
    &["all", "exists", "exists_one", "existsOne", "transformList", "transformMap", "transformMapEntry"];

pub(super) fn is_macro(name: &str) -> bool {
    MACROS.contains(&name)
}

pub(super) fn not_here(name: &str) -> Failure {
    Failure::Unknown(format!("function {name} is not evaluated here"))
}

/// `values` begin with the target, if there is one.
pub(super) fn call(name: &str, is_member: bool, values: Vec<Value>) -> Outcome {
    match (name, &values[..]) {
        (operators::EQUALS, [one, other]) => Ok(Value::Bool(one.equals(other)?)),
        (operators::NOT_EQUALS, [one, other]) => Ok(Value::Bool(!one.equals(other)?)),
        (operators::LESS, [one, other]) => ordered(one, other, Ordering::is_lt),
        (operators::LESS_EQUALS, [one, other]) => ordered(one, other, Ordering::is_le),
        (operators::GREATER, [one, other]) => ordered(one, other, Ordering::is_gt),
        (operators::GREATER_EQUALS, [one, other]) => ordered(one, other, Ordering::is_ge),
        (operators::LOGICAL_NOT, [Value::Bool(truth)]) => Ok(Value::Bool(!truth)),
        (operators::NEGATE, [Value::Int(number)]) => whole(number.checked_neg()),
        (operators::NEGATE, [Value::Double(number)]) => Ok(Value::Double(-number)),
        (operators::IN, [item, all]) => all.contains(item),
        (operators::INDEX, [all, index]) => match all {
            Value::Optional(Some(inner)) => Ok(Value::optional(inner.at(index)?)),
            Value::Optional(None) => Ok(Value::Optional(None)),
            all => all.at(index)?.ok_or_else(|| Failure::error("no such key or place")),
        },
        (operators::OPT_INDEX | operators::OPT_SELECT, [all, index]) => match all {
            Value::Optional(Some(inner)) => Ok(Value::optional(inner.at(index)?)),
            Value::Optional(None) | Value::Null => Ok(Value::Optional(None)),
            all => Ok(Value::optional(all.at(index)?)),
        },
        (
            operators::ADD | operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO,
            [one, other],
        ) => arithmetic(name, one, other),
        ("size", [value]) => size(value),
        ("dyn", [value]) if !is_member => Ok(value.clone()),
        ("type", [value]) if !is_member => Ok(Value::Type(value.type_name())),
        ("string" | "int" | "uint" | "double" | "bool", [value]) if !is_member => convert(name, value),
        (_, [Value::Optional(inner), rest @ ..]) if is_member => optional(name, inner.as_deref(), rest),
        (_, [Value::Text(text), rest @ ..]) if is_member => text_function(name, text, rest),
        (_, [Value::List(list), rest @ ..]) if is_member => list_function(name, list, rest),
        _ if name.starts_with(|first: char| first.is_ascii_alphabetic()) => Err(not_here(name)),
        _ => {
            let types: Vec<_> = values.iter().map(Value::type_name).collect();
            Err(Failure::Error(format!("no such overload: {name} of {}", types.join(", "))))
        }
    }
}

fn ordered(one: &Value, other: &Value, wanted: fn(Ordering) -> bool) -> Outcome {
    Ok(Value::Bool(one.compare(other)?.is_some_and(wanted)))
}

fn whole(number: Option<i64>) -> Outcome {
    number.map(Value::Int).ok_or_else(|| Failure::error("integer overflow"))
}

fn arithmetic(operator: &str, one: &Value, other: &Value) -> Outcome {
    match (one, other) {
        (Value::Int(one), Value::Int(other)) => whole(match operator {
            operators::ADD => one.checked_add(*other),
            operators::SUBSTRACT => one.checked_sub(*other),
            operators::MULTIPLY => one.checked_mul(*other),
            _ if *other == 0 => return Err(Failure::error("division by zero")),
            operators::DIVIDE => one.checked_div(*other),
            _ => one.checked_rem(*other),
        }),
        (Value::Uint(one), Value::Uint(other)) => {
            let number = match operator {
                operators::ADD => one.checked_add(*other),
                operators::SUBSTRACT => one.checked_sub(*other),
                operators::MULTIPLY => one.checked_mul(*other),
                operators::DIVIDE => one.checked_div(*other),
                _ => one.checked_rem(*other),
            };
            number.map(Value::Uint).ok_or_else(|| Failure::error("unsigned integer overflow, or division by zero"))
        }
        (Value::Double(one), Value::Double(other)) => match operator {
            operators::ADD => Ok(Value::Double(one + other)),
            operators::SUBSTRACT => Ok(Value::Double(one - other)),
            operators::MULTIPLY => Ok(Value::Double(one * other)),
            operators::DIVIDE => Ok(Value::Double(one / other)),
            _ => Err(Failure::error("no such overload: the rest of a division of doubles")),
        },
        (Value::Text(one), Value::Text(other)) if operator == operators::ADD => made_text(format!("{one}{other}")),
        (Value::List(one), Value::List(other)) if operator == operators::ADD => {
            if one.len() + other.len() > MADE_MAX {
                return Err(Failure::unknown("the expression makes too long a list"));
            }
            Ok(Value::List(one.iter().chain(other).cloned().collect()))
        }
        _ => Err(Failure::Error(format!(
            "no such overload: {operator} of {} and {}",
            one.type_name(),
            other.type_name()
        ))),
    }
}

fn made_text(text: String) -> Outcome {
    if text.len() > MADE_MAX {
        return Err(Failure::unknown("the expression makes too long a text"));
    }
    Ok(Value::Text(text))
}

fn size(value: &Value) -> Outcome {
    let size = match value {
        Value::Text(text) => text.chars().count(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) => items.len(),
        Value::Map(entries) => entries.len(),
        Value::Partial { .. } => return Err(Failure::unknown("not all of the object is known here")),
        other => return Err(Failure::Error(format!("no such overload: size of {}", other.type_name()))),
    };
    Ok(Value::Int(size as i64))
}

fn convert(to: &str, value: &Value) -> Outcome {
    let failed = || Failure::Error(format!("no such conversion: {} to {to}", value.type_name()));
    match (to, value) {
        ("string", Value::Text(_)) | ("int", Value::Int(_)) | ("uint", Value::Uint(_)) => Ok(value.clone()),
        ("double", Value::Double(_)) | ("bool", Value::Bool(_)) => Ok(value.clone()),
        ("string", Value::Int(number)) => Ok(Value::Text(number.to_string())),
        ("string", Value::Uint(number)) => Ok(Value::Text(number.to_string())),
        ("string", Value::Bool(truth)) => Ok(Value::Text(truth.to_string())),
        ("int", Value::Text(text)) => text.parse().map(Value::Int).map_err(|_| failed()),
        ("int", Value::Uint(number)) => i64::try_from(*number).map(Value::Int).map_err(|_| failed()),
        ("uint", Value::Int(number)) => u64::try_from(*number).map(Value::Uint).map_err(|_| failed()),
        ("uint", Value::Text(text)) => text.parse().map(Value::Uint).map_err(|_| failed()),
        ("double", Value::Int(number)) => Ok(Value::Double(*number as f64)),
        ("bool", Value::Text(text)) => match text.as_str() {
            "true" | "True" | "TRUE" | "t" | "T" | "1" => Ok(Value::Bool(true)),
            "false" | "False" | "FALSE" | "f" | "F" | "0" => Ok(Value::Bool(false)),
            _ => Err(failed()),
        },
        // How numbers with a fraction are written and read has corners.
        ("string" | "int" | "double", _) => Err(not_here(to)),
        _ => Err(failed()),
    }
}

fn optional(name: &str, inner: Option<&Value>, rest: &[Value]) -> Outcome {
    match (name, rest) {
        ("hasValue", []) => Ok(Value::Bool(inner.is_some())),
        ("value", []) => inner.cloned().ok_or_else(|| Failure::error("optional.none() dereference")),
        ("orValue", [other]) => Ok(inner.unwrap_or(other).clone()),
        ("or", [other]) => Ok(inner.map_or_else(|| other.clone(), |inner| Value::optional(Some(inner.clone())))),
        _ => Err(not_here(name)),
    }
}

fn text_function(name: &str, text: &str, rest: &[Value]) -> Outcome {
    match (name, rest) {
        ("startsWith", [Value::Text(part)]) => Ok(Value::Bool(text.starts_with(part.as_str()))),
        ("endsWith", [Value::Text(part)]) => Ok(Value::Bool(text.ends_with(part.as_str()))),
        ("contains", [Value::Text(part)]) => Ok(Value::Bool(text.contains(part.as_str()))),
        ("matches", [Value::Text(pattern)]) if !is_portable(pattern, text) => {
            Err(Failure::Unknown(format!("the pattern {pattern:?} may mean something else to Go")))
        }
        ("matches", [Value::Text(pattern)]) => {
            let regex = regex::RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build();
            match regex {
                Ok(regex) => Ok(Value::Bool(regex.is_match(text))),
                // Ours and Kubernetes' do not refuse quite the same.
                Err(_) => Err(Failure::Unknown(format!("the pattern {pattern:?} is not understood here"))),
            }
        }
        ("lowerAscii", []) => Ok(Value::Text(text.to_ascii_lowercase())),
        ("upperAscii", []) => Ok(Value::Text(text.to_ascii_uppercase())),
        ("trim", []) => Ok(Value::Text(text.trim().to_owned())),
        ("replace", [Value::Text(from), Value::Text(to)]) if !from.is_empty() => {
            made_text(text.replace(from.as_str(), to))
        }
        ("split", [Value::Text(separator)]) if !separator.is_empty() => {
            Ok(Value::List(text.split(separator.as_str()).map(|part| Value::Text(part.to_owned())).collect()))
        }
        ("substring", [Value::Int(from)]) => substring(text, *from, None),
        ("substring", [Value::Int(from), Value::Int(to)]) => substring(text, *from, Some(*to)),
        ("startsWith" | "endsWith" | "contains" | "matches", [other]) => {
            Err(Failure::Error(format!("no such overload: {name} of {}", other.type_name())))
        }
        _ => Err(not_here(name)),
    }
}

/// Means the same to Go's regular expressions as to Rust's: classes are ASCII there and Unicode here, which is no
/// difference on ASCII; sets of sets are only known here, and long repetitions are refused there.
fn is_portable(pattern: &str, text: &str) -> bool {
    let has_class = pattern.contains(['\\', '(']);
    let sets = ["&&", "--", "~~", "[["];
    let nested =
        sets.iter().any(|set| pattern.contains(set)) || pattern.matches('[').count() > pattern.matches(']').count();
    let repetitions = pattern.split('{').skip(1).flat_map(|rest| rest.split(['}', ',']).take(2));
    let is_long = |count: &str| count.parse::<u32>().is_ok_and(|count| count > REPETITIONS_MAX);
    (text.is_ascii() || !has_class) && !nested && !repetitions.into_iter().any(is_long)
}

/// In characters.
fn substring(text: &str, from: i64, to: Option<i64>) -> Outcome {
    let characters: Vec<char> = text.chars().collect();
    let place = |place: i64| usize::try_from(place).ok().filter(|place| *place <= characters.len());
    let range = place(from).zip(place(to.unwrap_or(characters.len() as i64)));
    match range {
        Some((from, to)) if from <= to => Ok(Value::Text(characters[from..to].iter().collect())),
        _ => Err(Failure::error("index out of range")),
    }
}

fn list_function(name: &str, list: &[Value], rest: &[Value]) -> Outcome {
    match (name, rest) {
        ("join", []) => join(list, ""),
        ("join", [Value::Text(separator)]) => join(list, separator),
        ("indexOf", [item]) => {
            let place = list.iter().position(|known| known == item);
            Ok(Value::Int(place.map_or(-1, |place| place as i64)))
        }
        _ => Err(not_here(name)),
    }
}

fn join(list: &[Value], separator: &str) -> Outcome {
    let mut parts = Vec::new();
    for item in list {
        let Value::Text(text) = item else {
            return Err(Failure::Error(format!("no such overload: join of {}", item.type_name())));
        };
        parts.push(text.as_str());
    }
    made_text(parts.join(separator))
}
