//! YAML as etcd reads it, which is version 1.1: `yes` is a boolean, `1_000` and `0x10` are numbers, the last of equal
//! keys counts, `<<` merges a mapping into another, and only the first document is looked at.
//!
//! An alias shares the value that it names, so that a file of aliases of aliases takes no more memory than its text.
//! Bounds: the depth of values inside each other, and the keys that merging copies.

use std::collections::HashMap;
use std::rc::Rc;
use yaml_rust2::parser::{Event, Parser, Tag};
use yaml_rust2::scanner::TScalarStyle;

/// etcd's files are three deep.
const DEPTH_MAX: usize = 100;
const MERGED_KEYS_MAX: usize = 10_000;

#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    Null,
    Bool(bool),
    Integer(i128),
    Real(f64),
    Text(String),
    List(Vec<Rc<Node>>),
    /// In order, each key once. Keys that are no text are left out: none of etcd's is.
    Map(Vec<(String, Rc<Node>)>),
}

impl Node {
    /// The value under `key`; one that differs in case only if there is no other.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let Node::Map(entries) = self else { return None };
        let same = entries.iter().find(|(name, _)| name == key);
        let similar = || entries.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case(key));
        same.or_else(similar).map(|(_, value)| value.as_ref())
    }

    pub fn kind(&self) -> &'static str {
        match self {
            Node::Null => "nothing",
            Node::Bool(_) => "a boolean",
            Node::Integer(_) | Node::Real(_) => "a number",
            Node::Text(_) => "a string",
            Node::List(_) => "a list",
            Node::Map(_) => "a mapping",
        }
    }
}

/// The first document of `text`; nothing at all is `Null`.
pub fn parse(text: &str) -> Result<Node, String> {
    let mut parser = Parser::new_from_str(text);
    let mut builder = Builder::default();
    loop {
        let (event, _) = parser.next_token().map_err(|error| error.to_string())?;
        match event {
            Event::Nothing | Event::StreamStart | Event::DocumentStart => {}
            Event::StreamEnd | Event::DocumentEnd => {
                let root = builder.root.take().unwrap_or_else(|| Rc::new(Node::Null));
                // The anchors hold the rest.
                drop(builder);
                return Ok(Rc::unwrap_or_clone(root));
            }
            event => builder.take(event)?,
        }
    }
}

#[derive(Default)]
struct Builder {
    /// The values that are not complete, from the outside in.
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    merged_keys: usize,
    root: Option<Rc<Node>>,
}

struct Open {
    anchor: usize,
    value: Partial,
}

enum Partial {
    List(Vec<Rc<Node>>),
    /// The key whose value comes next; one that is no text is `Some(None)`.
    Map {
        entries: Vec<(String, Rc<Node>)>,
        key: Option<Option<String>>,
    },
}

impl Builder {
    fn take(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Scalar(text, style, anchor, tag) => self.add(anchor, Rc::new(scalar(text, style, tag.as_ref()))),
            Event::Alias(anchor) => {
                let value = self.anchors.get(&anchor).cloned();
                self.add(0, value.ok_or("an anchor's value contains itself")?)
            }
            Event::SequenceStart(anchor, _) => self.begin(anchor, Partial::List(Vec::new())),
            Event::MappingStart(anchor, _) => self.begin(anchor, Partial::Map { entries: Vec::new(), key: None }),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { anchor, value }) = self.open.pop() else { return Ok(()) };
                let value = match value {
                    Partial::List(items) => Node::List(items),
                    Partial::Map { entries, .. } => Node::Map(self.distinct(entries)?),
                };
                self.add(anchor, Rc::new(value))
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, anchor: usize, value: Partial) -> Result<(), String> {
        if self.open.len() == DEPTH_MAX {
            return Err(format!("more than {DEPTH_MAX} values inside each other"));
        }
        self.open.push(Open { anchor, value });
        Ok(())
    }

    fn add(&mut self, anchor: usize, node: Rc<Node>) -> Result<(), String> {
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        match self.open.last_mut().map(|open| &mut open.value) {
            None => self.root = Some(node),
            Some(Partial::List(items)) => items.push(node),
            Some(Partial::Map { entries, key }) => match key.take() {
                None => {
                    *key = Some(match node.as_ref() {
                        Node::Text(text) => Some(text.clone()),
                        _ => None,
                    });
                }
                Some(Some(key)) => entries.push((key, node)),
                Some(None) => {}
            },
        }
        Ok(())
    }

    /// Of equal keys the last one, and what the mapping merges where it has no key of its own.
    fn distinct(&mut self, entries: Vec<(String, Rc<Node>)>) -> Result<Vec<(String, Rc<Node>)>, String> {
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut kept: Vec<(String, Rc<Node>)> = Vec::new();
        let mut merges = Vec::new();
        for (key, value) in entries {
            if key == "<<" {
                merges.push(value);
            } else if let Some(&at) = places.get(&key) {
                kept[at].1 = value;
            } else {
                places.insert(key.clone(), kept.len());
                kept.push((key, value));
            }
        }
        for merge in merges {
            let sources = match merge.as_ref() {
                Node::List(items) => items.clone(),
                _ => vec![merge],
            };
            for source in sources {
                let Node::Map(entries) = source.as_ref() else {
                    return Err("map merge requires map or sequence of maps as the value".to_owned());
                };
                self.merged_keys += entries.len();
                if self.merged_keys > MERGED_KEYS_MAX {
                    return Err(format!("more than {MERGED_KEYS_MAX} merged keys"));
                }
                for (key, value) in entries {
                    if !places.contains_key(key) {
                        places.insert(key.clone(), kept.len());
                        kept.push((key.clone(), Rc::clone(value)));
                    }
                }
            }
        }
        Ok(kept)
    }
}

fn scalar(text: String, style: TScalarStyle, tag: Option<&Tag>) -> Node {
    let is_text = tag.is_some_and(|tag| tag.suffix == "str") || style != TScalarStyle::Plain;
    if is_text { Node::Text(text) } else { plain(text) }
}

/// What a word without quotes means.
fn plain(text: String) -> Node {
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => Node::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => Node::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => Node::Bool(false),
        ".nan" | ".NaN" | ".NAN" => Node::Real(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Node::Real(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Node::Real(f64::NEG_INFINITY),
        _ if text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first)) => number(text),
        _ => Node::Text(text),
    }
}

/// Underscores count nowhere in a number.
fn number(text: String) -> Node {
    let digits = text.replace('_', "");
    if let Ok(integer) = super::value::parse_integer(&digits) {
        return Node::Integer(integer);
    }
    let is_decimal = digits.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    match digits.parse() {
        Ok(real) if is_decimal => Node::Real(real),
        _ => Node::Text(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(text: &str, key: &str) -> Option<Node> {
        parse(text).expect("valid").get(key).cloned()
    }

    /// Each tried on the real etcd 3.7.3.
    #[test]
    fn words_and_numbers_are_those_of_version_one() {
        let cases = [
            ("1_000", Node::Integer(1000)),
            ("0x10_00", Node::Integer(4096)),
            ("010", Node::Integer(8)),
            ("0b11", Node::Integer(3)),
            ("-5", Node::Integer(-5)),
            ("1_000.5", Node::Real(1000.5)),
            ("1e9", Node::Real(1e9)),
            ("y", Node::Bool(true)),
            ("Off", Node::Bool(false)),
            ("~", Node::Null),
            ("'5'", Node::Text("5".to_owned())),
            ("!!str 5", Node::Text("5".to_owned())),
            ("10s", Node::Text("10s".to_owned())),
            ("1.2.3", Node::Text("1.2.3".to_owned())),
            ("-", Node::List(vec![Rc::new(Node::Null)])),
        ];
        for (text, node) in cases {
            let text = if text == "-" { "a:\n- " } else { &format!("a: {text}") };
            assert_eq!(get(text, "a"), Some(node), "{text}");
        }
    }

    #[test]
    fn of_equal_keys_the_last_one_counts() {
        assert_eq!(get("name: a\nname: b\nName: c\n", "name"), Some(Node::Text("b".to_owned())));
        assert_eq!(get("Name: a\nNAME: b\n", "name"), Some(Node::Text("b".to_owned())));
        let merged = "x: &x {a: 1, b: 2}\nz: {<<: *x, b: 3}\n";
        assert_eq!(get(merged, "z").expect("a mapping").get("a"), Some(&Node::Integer(1)));
        assert_eq!(get(merged, "z").expect("a mapping").get("b"), Some(&Node::Integer(3)));
        assert_eq!(get("a: 1\n---\na: 2\n", "a"), Some(Node::Integer(1)));
    }

    /// Aliases of aliases, of which a copy would take a gigabyte; they take a moment and no memory.
    #[test]
    fn aliases_are_shared_and_depth_is_bounded() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..100 {
            let below = format!("*a{}", level - 1);
            bomb += &format!("a{level}: &a{level} [{}]\n", vec![below; 9].join(", "));
        }
        assert_eq!(get(&(bomb + "name: b\n"), "name"), Some(Node::Text("b".to_owned())));
        let deep = |open: &str, close: &str| format!("a: {}{}", open.repeat(500_000), close.repeat(500_000));
        for text in [deep("[", "]"), deep("{a: ", "}"), deep("- ", ""), "- ".repeat(500_000)] {
            assert!(parse(&text).is_err());
        }
        let mut merges =
            format!("a0: &a0 {{{}}}\n", (0..100).map(|n| format!("k{n}: 1")).collect::<Vec<_>>().join(", "));
        for level in 1..1000 {
            merges += &format!("a{level}: &a{level} {{<<: [*a{0}, *a{0}]}}\n", level - 1);
        }
        assert_eq!(parse(&merges), Err("more than 10000 merged keys".to_owned()));
        assert_eq!(parse("a: &a [*a]"), Err("an anchor's value contains itself".to_owned()));
        assert!(parse("a: *nope").is_err());
    }
}
