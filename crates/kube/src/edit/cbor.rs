//! The change in CBOR: maps and arrays that say how long they are get a new head when they grow.

use super::{Change, EditError, splice};
use crate::cbor::{ends, text};
use minicbor::Decoder;
use minicbor::data::Type;
use minicbor::decode::Error;
use std::ops::Range;

const BYTES: u8 = 2;
const ARRAY: u8 = 4;
const MAP: u8 = 5;

type Part = (Range<usize>, Vec<u8>);

pub(super) fn change(value: &[u8], targets: &[usize], change: &Change<'_>) -> Result<Vec<u8>, EditError> {
    let parts = parts(value, targets, change).map_err(|error| EditError::Unchangeable(error.to_string()))?;
    Ok(splice(value, parts))
}

fn parts(value: &[u8], targets: &[usize], change: &Change<'_>) -> Result<Vec<Part>, Error> {
    let missing = |what: &'static str| Error::message(what);
    let object = Collection::map(value, 0)?;
    let webhooks = object.find("webhooks").ok_or_else(|| missing("no webhooks"))?;
    let webhooks = Collection::array(value, webhooks.start)?;
    let mut parts = Vec::new();
    for target in targets {
        let (_, webhook) = webhooks.items.get(*target).ok_or_else(|| missing("fewer webhooks than were read"))?;
        let webhook = Collection::map(value, webhook.start)?;
        match change {
            Change::FailurePolicy(policy) => set(&webhook, "failurePolicy", string(policy), &mut parts),
            Change::Condition { name, expression } => {
                let condition = [head(MAP, 2), string("name"), string(name), string("expression"), string(expression)];
                append(value, &webhook, "matchConditions", condition.concat(), &mut parts)?;
            }
        }
    }
    Ok(parts)
}

/// A map or an array, and where its parts lie.
struct Collection {
    /// What says that it is one, and how long.
    head: Range<usize>,
    /// `None`: it has an end mark instead.
    length: Option<u64>,
    major: u8,
    /// With their keys, if it is a map.
    items: Vec<(String, Range<usize>)>,
    /// Behind the last item, before an end mark.
    end: usize,
}

impl Collection {
    fn map(value: &[u8], at: usize) -> Result<Collection, Error> {
        Collection::read(value, at, MAP)
    }

    fn array(value: &[u8], at: usize) -> Result<Collection, Error> {
        Collection::read(value, at, ARRAY)
    }

    fn read(value: &[u8], at: usize, major: u8) -> Result<Collection, Error> {
        let mut decoder = Decoder::new(value);
        decoder.set_position(at);
        while decoder.datatype()? == Type::Tag {
            decoder.tag()?;
        }
        let start = decoder.position();
        let length = if major == MAP { decoder.map()? } else { decoder.array()? };
        let head = start..decoder.position();
        let (mut items, mut end) = (Vec::new(), decoder.position());
        while !ends(&mut decoder, length, items.len())? {
            let key = if major == MAP { text(&mut decoder)? } else { String::new() };
            let start = decoder.position();
            decoder.skip()?;
            end = decoder.position();
            items.push((key, start..end));
        }
        Ok(Collection { head, length, major, items, end })
    }

    /// Of two with one name the last one counts.
    fn find(&self, name: &str) -> Option<Range<usize>> {
        self.items.iter().rfind(|(key, _)| key == name).map(|(_, range)| range.clone())
    }

    fn push(&self, item: Vec<u8>, parts: &mut Vec<Part>) {
        if let Some(length) = self.length {
            parts.push((self.head.clone(), head(self.major, length + 1)));
        }
        parts.push((self.end..self.end, item));
    }
}

fn set(map: &Collection, name: &str, value: Vec<u8>, parts: &mut Vec<Part>) {
    match map.find(name) {
        Some(old) => parts.push((old, value)),
        None => map.push([string(name), value].concat(), parts),
    }
}

fn append(bytes: &[u8], map: &Collection, name: &str, item: Vec<u8>, parts: &mut Vec<Part>) -> Result<(), Error> {
    let list = map.find(name).map(|list| Collection::array(bytes, list.start));
    match list {
        Some(Ok(list)) => list.push(item, parts),
        // Null, or not there.
        _ => set(map, name, [head(ARRAY, 1), item].concat(), parts),
    }
    Ok(())
}

/// Kubernetes writes text as bytes.
fn string(text: &str) -> Vec<u8> {
    [head(BYTES, text.len() as u64), text.as_bytes().to_vec()].concat()
}

/// The shortest one.
fn head(major: u8, length: u64) -> Vec<u8> {
    let first = major << 5;
    let bytes = length.to_be_bytes();
    match length {
        0..24 => vec![first | length as u8],
        24..0x100 => vec![first | 24, bytes[7]],
        0x100..0x1_0000 => vec![first | 25, bytes[6], bytes[7]],
        0x1_0000..0x1_0000_0000 => [&[first | 26], &bytes[4..]].concat(),
        _ => [&[first | 27], &bytes[..]].concat(),
    }
}
