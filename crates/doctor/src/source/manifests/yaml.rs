//! YAML documents as JSON, as kubectl reads them: YAML 1.1's words for true and false, octal numbers with a leading
//! zero.
//!
//! The parser is pulled event by event, so that depth is counted here and not in the stack. What an alias repeats
//! counts again: a file cannot become larger than the bound.

use serde_json::{Map, Number, Value};
use std::collections::BTreeMap;
use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::scanner::TScalarStyle;

/// Of objects and lists in each other; serde_json takes no more either.
const DEPTH_MAX: usize = 120;
/// Scalars, lists and objects of a file, what aliases repeat included.
const NODES_MAX: usize = 4_000_000;
const TEXT_BYTES_PER_NODE: usize = 32;
const MERGE: &str = "<<";

/// A document and the line it begins at.
pub type Document = (usize, Value);

/// A list or an object whose end is still to come.
struct Open {
    anchor: usize,
    line: usize,
    /// Absent: a list.
    key: Option<Option<String>>,
    list: Vec<Value>,
    object: Map<String, Value>,
    nodes: usize,
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: BTreeMap<usize, (Value, usize)>,
    nodes: usize,
    documents: Vec<Document>,
}

/// All documents of a text; empty ones are left out.
pub fn documents(text: &str) -> Result<Vec<Document>, String> {
    let mut parser = Parser::new_from_str(text);
    let mut builder = Builder::default();
    loop {
        let (event, mark) =
            parser.next_token().map_err(|error| format!("line {}: {}", error.marker().line(), error.info()))?;
        let line = mark.line();
        let failed = |why: String| format!("line {line}: {why}");
        match event {
            Event::StreamEnd => return Ok(builder.documents),
            Event::DocumentStart => builder.anchors.clear(),
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = style != TScalarStyle::Plain || tag.is_some_and(|tag| tag.suffix == "str");
                // Long texts weigh more: repeated, they fill memory too.
                let nodes = 1 + text.len() / TEXT_BYTES_PER_NODE;
                let value = if is_text { Value::String(text) } else { plain(text) };
                builder.put(anchor, line, value, nodes).map_err(failed)?;
            }
            Event::SequenceStart(anchor, _) => builder.begin(anchor, line, None).map_err(failed)?,
            Event::MappingStart(anchor, _) => builder.begin(anchor, line, Some(None)).map_err(failed)?,
            Event::SequenceEnd | Event::MappingEnd => builder.end().map_err(failed)?,
            Event::Alias(anchor) => {
                let unknown = || failed("an alias of nothing that ended before".to_owned());
                let (value, nodes) = builder.anchors.get(&anchor).ok_or_else(unknown)?;
                // Counted before it is copied.
                builder.nodes = builder.nodes.saturating_add(*nodes);
                if builder.nodes > NODES_MAX {
                    return Err(failed(format!("more than {NODES_MAX} values, with what aliases repeat")));
                }
                let (value, nodes) = (value.clone(), *nodes);
                builder.put(0, line, value, nodes).map_err(failed)?;
            }
            Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
        }
    }
}

impl Builder {
    fn begin(&mut self, anchor: usize, line: usize, key: Option<Option<String>>) -> Result<(), String> {
        if self.open.len() >= DEPTH_MAX {
            return Err(format!("more than {DEPTH_MAX} lists and objects in each other"));
        }
        self.open.push(Open { anchor, line, key, list: Vec::new(), object: Map::new(), nodes: 1 });
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        let Some(open) = self.open.pop() else { return Err("an end without a beginning".to_owned()) };
        let value = match open.key {
            None => Value::Array(open.list),
            Some(_) => Value::Object(merged(open.object)),
        };
        self.put(open.anchor, open.line, value, open.nodes)
    }

    fn put(&mut self, anchor: usize, line: usize, value: Value, nodes: usize) -> Result<(), String> {
        self.nodes = self.nodes.saturating_add(1);
        if self.nodes > NODES_MAX {
            return Err(format!("more than {NODES_MAX} values, with what aliases repeat"));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, (value.clone(), nodes));
            self.nodes = self.nodes.saturating_add(nodes);
        }
        let Some(open) = self.open.last_mut() else {
            if !value.is_null() {
                self.documents.push((line, value));
            }
            return Ok(());
        };
        open.nodes = open.nodes.saturating_add(nodes);
        match &mut open.key {
            None => open.list.push(value),
            Some(key) => match key.take() {
                Some(key) => drop(open.object.insert(key, value)),
                None => *key = Some(name(value)?),
            },
        }
        Ok(())
    }
}

/// Keys of JSON are texts.
fn name(key: Value) -> Result<String, String> {
    match key {
        Value::String(key) => Ok(key),
        Value::Bool(_) | Value::Number(_) => Ok(key.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => Err("a key that is no text".to_owned()),
    }
}

/// What is merged gives only what is not there.
fn merged(mut object: Map<String, Value>) -> Map<String, Value> {
    let from = match object.remove(MERGE) {
        Some(Value::Array(list)) => list,
        Some(value) => vec![value],
        None => return object,
    };
    for value in from {
        if let Value::Object(other) = value {
            for (key, value) in other {
                object.entry(key).or_insert(value);
            }
        }
    }
    object
}

fn plain(text: String) -> Value {
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Value::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Value::Bool(false),
        _ => {}
    }
    number(&text).map_or(Value::String(text), Value::Number)
}

fn number(text: &str) -> Option<Number> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    let radix = [("0x", 16), ("0o", 8), ("0b", 2)].into_iter().find_map(|(prefix, radix)| {
        let rest = digits.strip_prefix(prefix)?;
        i64::from_str_radix(rest, radix).ok()
    });
    let octal =
        || digits.strip_prefix('0').filter(|rest| !rest.is_empty()).and_then(|rest| i64::from_str_radix(rest, 8).ok());
    if let Some(found) = radix.or_else(octal) {
        return Some(if text.starts_with('-') { found.checked_neg()? } else { found }.into());
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    let whole = text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from));
    whole.ok().or_else(|| Number::from_f64(text.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scalars_are_what_kubectl_takes_them_for() {
        let text = "a: yes\nb: 'yes'\nc: 0644\nd: 1.5\ne: 1.2.3\nf: ~\ng: 12\nh: -3\ni: 0x10\nj: 1e3\nk: .\n1: true\nl: 089x\n";
        let expected = json!({
            "a": true, "b": "yes", "c": 420, "d": 1.5, "e": "1.2.3", "f": null, "g": 12, "h": -3, "i": 16, "j": 1000.0,
            "k": ".", "1": true, "l": "089x"
        });
        assert_eq!(documents(text), Ok(vec![(1, expected)]));
    }

    #[test]
    fn documents_know_their_lines_and_aliases_and_merges_are_filled_in() {
        let text = "# empty\n---\na: &x {b: 1, c: 2}\nd: *x\n---\n---\n- <<: {e: 1, f: 1}\n  f: 2\n";
        let first = json!({"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 2}});
        assert_eq!(documents(text), Ok(vec![(3, first), (7, json!([{"e": 1, "f": 2}]))]));
    }

    #[test]
    fn hostile_texts_end_with_a_line() {
        let deep = "- ".repeat(100_000);
        assert_eq!(documents(&deep), Err(format!("line 1: more than {DEPTH_MAX} lists and objects in each other")));
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let before = format!("*a{}, ", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{before}]\n"));
        }
        let error = documents(&bomb).expect_err("it would be a million million");
        assert!(error.contains("with what aliases repeat"), "{error}");
        assert!(documents("a: [1\nb: 2").expect_err("never closed").starts_with("line "));
        assert!(documents("a: *b").is_err());
        assert!(documents("{[1]: 2}").expect_err("a list as a key").ends_with("a key that is no text"));
    }
}
