//! Walks the fields of header blocks (RFC 7541) and leaves out those that h2 refuses and etcd does not.
//!
//! Who sends a field with incremental indexing counts on an entry for it in the table of the connection. h2 has none
//! for a field that was left out, so indices behind such an entry are less by one for h2. `Fields` knows the size and
//! the kind of every entry of the client's table, not what is in it, and puts other indices in the place of these.
//!
//! Invariants: a block never gets longer; one without such fields and indices stays what it was, byte for byte, and
//! nothing is allocated for it; h2's table holds every entry of the client's but those left out, because it is never
//! fuller. What does not decode is told so, and is for h2 to refuse.

use super::huffman;
use http::uri::Authority;
use std::collections::VecDeque;

/// What h2 tells clients, and theirs unless they ask for less.
const TABLE_BYTES_MAX: usize = 4096;
/// What an entry counts beyond its name and its value.
const ENTRY_BYTES: usize = 32;
const STATIC_ENTRIES: usize = 61;
const STATIC_AUTHORITY: usize = 1;
const STATIC_TRANSFER_ENCODING: usize = 57;
/// `:status`, which no request may have.
const REFUSED: u8 = 0x88;
/// A longer buffer for decoded text is not kept.
const TEXT_BYTES_KEPT: usize = 1 << 10;

/// Lengths of the names of the static table.
const STATIC_NAMES: [u8; STATIC_ENTRIES] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14, 16, 13, 12, 6, 4,
    4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10, 25, 17, 10, 4, 3, 16,
];

/// What a name means here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Authority,
    Te,
    /// A field about the connection, which h2 refuses and grpc-go takes no notice of.
    Connection,
    Other,
}

impl Kind {
    fn of(name: &[u8]) -> Kind {
        match name {
            b":authority" => Kind::Authority,
            b"te" => Kind::Te,
            b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => Kind::Connection,
            _ => Kind::Other,
        }
    }

    /// True if etcd takes a field of this kind with this value and h2 does not.
    fn is_left_out(self, value: &[u8]) -> bool {
        let is_odd = match self {
            Kind::Authority => !is_plain(value) && Authority::try_from(value).is_err(),
            Kind::Te => value != b"trailers",
            Kind::Connection => true,
            Kind::Other => false,
        };
        // What both refuse stays.
        is_odd && value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f))
    }
}

/// True of the usual authorities: a name or an IPv4 address, with a port or without.
fn is_plain(authority: &[u8]) -> bool {
    let mut parts = authority.splitn(2, |byte| *byte == b':');
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let mut next = || parts.next().map(|part| !part.is_empty() && part.iter().all(is_plain));
    next() == Some(true) && next() != Some(false)
}

#[derive(Debug, Clone, Copy)]
struct Name {
    kind: Kind,
    bytes: usize,
}

/// An entry of the client's table.
#[derive(Debug)]
struct Entry {
    name: Name,
    bytes: usize,
    /// h2 does not have it.
    is_left_out: bool,
}

/// What is known of the fields that a client has sent.
#[derive(Debug)]
pub(super) struct Fields {
    /// The newest first.
    entries: VecDeque<Entry>,
    bytes: usize,
    bytes_max: usize,
    left_out: usize,
    /// Space to decode a text in.
    text: Vec<u8>,
}

/// A block does not decode.
#[derive(Debug, PartialEq)]
pub(super) struct Malformed;

impl Fields {
    pub(super) fn new() -> Fields {
        Fields { entries: VecDeque::new(), bytes: 0, bytes_max: TABLE_BYTES_MAX, left_out: 0, text: Vec::new() }
    }

    /// True if h2's table differs from the client's.
    pub(super) fn has_left_out(&self) -> bool {
        self.left_out > 0
    }

    /// Takes in a whole block; what h2 is to get instead of it, if it is something else.
    pub(super) fn filter(&mut self, block: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
        let filtered = self.walk(block).ok_or(Malformed);
        if self.text.capacity() > TEXT_BYTES_KEPT {
            self.text = Vec::new();
        }
        filtered
    }

    fn walk(&mut self, block: &[u8]) -> Option<Option<Vec<u8>>> {
        let mut output = Output { block, copied: None };
        let mut input = Input { bytes: block };
        let (mut has_fields, mut authorities, mut has_odd_authority) = (false, 0, false);
        while let Some(first) = input.bytes.first() {
            let at = block.len() - input.bytes.len();
            if first & 0xe0 == 0x20 {
                self.resize(input.integer(5)?, has_fields)?;
                output.keep(at, input.bytes);
                continue;
            }
            has_fields = true;
            let (kind, is_left_out) = match first & 0x80 {
                0 => self.literal(&mut input, at, &mut output)?,
                _ => self.indexed(&mut input, at, &mut output)?,
            };
            // A second authority is an error, also if the first was left out or this one is.
            authorities += usize::from(kind == Kind::Authority);
            has_odd_authority |= kind == Kind::Authority && is_left_out;
            if authorities == 2 && kind == Kind::Authority && has_odd_authority {
                output.change(at).push(REFUSED);
            }
        }
        Some(output.copied)
    }

    /// The client changes the size of its table, which it may in front of all fields only.
    fn resize(&mut self, bytes_max: usize, has_fields: bool) -> Option<()> {
        if has_fields || bytes_max > TABLE_BYTES_MAX {
            return None;
        }
        self.bytes_max = bytes_max;
        self.evict(0);
        Some(())
    }

    /// A field out of a table; its kind, and if it was left out.
    fn indexed(&mut self, input: &mut Input<'_>, at: usize, output: &mut Output<'_>) -> Option<(Kind, bool)> {
        let index = input.integer(7)?;
        let (name, is_left_out) = match index.checked_sub(STATIC_ENTRIES + 1) {
            None => (static_name(index)?, matches!(index, STATIC_AUTHORITY | STATIC_TRANSFER_ENCODING)),
            Some(nth) => self.entries.get(nth).map(|entry| (entry.name, entry.is_left_out))?,
        };
        if is_left_out {
            output.change(at);
        } else {
            let for_h2 = self.index_for_h2(index);
            if for_h2 == index {
                output.keep(at, input.bytes);
            } else {
                put_integer(output.change(at), 0x80, 7, for_h2);
            }
        }
        Some((name.kind, is_left_out))
    }

    /// A field that is written out, with or without its name; its kind, and if it was left out.
    fn literal(&mut self, input: &mut Input<'_>, at: usize, output: &mut Output<'_>) -> Option<(Kind, bool)> {
        let first = *input.bytes.first()?;
        let is_indexed = first & 0x40 != 0;
        let (pattern, bits) = if is_indexed { (0x40, 6) } else { (first & 0xf0, 4) };
        let index = input.integer(bits)?;
        let mut is_name_left_out = false;
        let name = match index.checked_sub(STATIC_ENTRIES + 1) {
            _ if index == 0 => {
                let name = self.decode(input.text()?)?;
                Name { kind: Kind::of(name), bytes: name.len() }
            }
            None => static_name(index)?,
            Some(nth) => {
                let entry = self.entries.get(nth)?;
                is_name_left_out = entry.is_left_out;
                entry.name
            }
        };
        let text_at = output.block.len() - input.bytes.len();
        let text = input.text()?;
        let (mut value_bytes, mut is_left_out) = (0, false);
        if is_indexed || name.kind != Kind::Other {
            let value = self.decode(text)?;
            value_bytes = value.len();
            // A name that h2 does not have is left out with any value, but for an authority.
            is_left_out = name.kind.is_left_out(value) || (is_name_left_out && name.kind != Kind::Authority);
        }
        let for_h2 = if is_name_left_out { STATIC_AUTHORITY } else { self.index_for_h2(index) };
        if is_left_out {
            output.change(at);
        } else if for_h2 == index {
            output.keep(at, input.bytes);
        } else {
            put_integer(output.change(at), pattern, bits, for_h2);
            output.keep(text_at, input.bytes);
        }
        if is_indexed {
            self.insert(Entry { name, bytes: name.bytes + value_bytes + ENTRY_BYTES, is_left_out });
        }
        Some((name.kind, is_left_out))
    }

    /// What an index of the client is in h2's table.
    fn index_for_h2(&self, index: usize) -> usize {
        match index.checked_sub(STATIC_ENTRIES + 1) {
            Some(nth) if self.left_out > 0 => {
                index - self.entries.iter().take(nth).filter(|entry| entry.is_left_out).count()
            }
            _ => index,
        }
    }

    fn insert(&mut self, entry: Entry) {
        self.evict(entry.bytes);
        if entry.bytes <= self.bytes_max {
            self.bytes += entry.bytes;
            self.left_out += usize::from(entry.is_left_out);
            self.entries.push_front(entry);
        }
    }

    /// Makes space for an entry, or for none if it is larger than the table.
    fn evict(&mut self, bytes: usize) {
        while self.bytes + bytes > self.bytes_max
            && let Some(entry) = self.entries.pop_back()
        {
            self.bytes -= entry.bytes;
            self.left_out -= usize::from(entry.is_left_out);
        }
    }

    fn decode<'a>(&'a mut self, text: Text<'a>) -> Option<&'a [u8]> {
        if !text.is_huffman {
            return Some(text.bytes);
        }
        self.text.clear();
        huffman::decode(text.bytes, &mut self.text)?;
        Some(&self.text)
    }
}

fn static_name(index: usize) -> Option<Name> {
    let bytes = usize::from(*STATIC_NAMES.get(index.checked_sub(1)?)?);
    let kind = match index {
        STATIC_AUTHORITY => Kind::Authority,
        STATIC_TRANSFER_ENCODING => Kind::Connection,
        _ => Kind::Other,
    };
    Some(Name { kind, bytes })
}

/// A text as it is written.
#[derive(Clone, Copy)]
struct Text<'a> {
    bytes: &'a [u8],
    is_huffman: bool,
}

/// What is left of a block.
struct Input<'a> {
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    /// An integer that begins in the last `bits` of the next byte, of as many bytes as h2 takes.
    fn integer(&mut self, bits: u32) -> Option<usize> {
        let most = (1usize << bits) - 1;
        let first = usize::from(self.byte()?) & most;
        if first < most {
            return Some(first);
        }
        let mut number = first;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            number += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn text(&mut self) -> Option<Text<'a>> {
        let is_huffman = self.bytes.first()? & 0x80 != 0;
        let length = self.integer(7)?;
        let (bytes, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(Text { bytes, is_huffman })
    }
}

fn put_integer(out: &mut Vec<u8>, pattern: u8, bits: u32, number: usize) {
    let most = (1usize << bits) - 1;
    if number < most {
        return out.push(pattern | number as u8);
    }
    out.push(pattern | most as u8);
    let mut rest = number - most;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// A block as h2 is to get it, which is a copy from the first change on.
struct Output<'a> {
    block: &'a [u8],
    copied: Option<Vec<u8>>,
}

impl Output<'_> {
    /// The copy, with everything in front of `at`.
    fn change(&mut self, at: usize) -> &mut Vec<u8> {
        self.copied.get_or_insert_with(|| self.block.get(..at).unwrap_or_default().to_vec())
    }

    /// What begins at `at` and ends where `rest` begins stays as it is.
    fn keep(&mut self, at: usize, rest: &[u8]) {
        if let Some(copied) = &mut self.copied {
            copied.extend_from_slice(self.block.get(at..self.block.len() - rest.len()).unwrap_or_default());
        }
    }
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
