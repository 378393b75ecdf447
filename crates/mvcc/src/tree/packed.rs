//! Sorted keys with values in one allocation: the content of a leaf, and (with empty values) the separators of an inner
//! node.
//!
//! ```text
//! prefix │ table: count × (offset u32, head u32) │ record 0 │ record 1 │ …
//!                                          record: varint suffix length, suffix, value
//! ```
//! A head is the first four bytes of the suffix as a number, so that a search stays in the table until it is nearly
//! done.
//!
//! Invariants: keys strictly ascend; every key starts with the prefix, which is stored once; offsets ascend and point
//! at records. A `Packed` is never changed: an edit builds a new one, which is a few block copies, so that whoever
//! still reads the old one is not disturbed and no spare capacity is kept.

use std::cmp::Ordering;
use std::fmt;
use stdx::codec::{put_varint, read_varint, varint_len};

/// A key as it lies in the tree: two slices that belong together.
#[derive(Clone, Copy, Default)]
pub struct Key<'a> {
    prefix: &'a [u8],
    suffix: &'a [u8],
}

impl<'a> Key<'a> {
    pub fn len(&self) -> usize {
        self.prefix.len() + self.suffix.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn to_vec(&self) -> Vec<u8> {
        [self.prefix, self.suffix].concat()
    }

    /// Appends the key's bytes.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.prefix);
        out.extend_from_slice(self.suffix);
    }

    pub(crate) fn cmp_bytes(&self, other: &[u8]) -> Ordering {
        match other.split_at_checked(self.prefix.len()) {
            Some((head, tail)) => self.prefix.cmp(head).then_with(|| self.suffix.cmp(tail)),
            // Equal as far as `other` goes means that this key is the longer one.
            None => match self.prefix.split_at(other.len()).0.cmp(other) {
                Ordering::Equal => Ordering::Greater,
                order => order,
            },
        }
    }

    /// The bytes from `at` on, as the two slices that hold them.
    fn bytes_behind(&self, at: usize) -> (&'a [u8], &'a [u8]) {
        match self.prefix.get(at..) {
            Some(rest) => (rest, self.suffix),
            None => (&[], self.suffix.get(at - self.prefix.len()..).unwrap_or_default()),
        }
    }

    fn bytes(&self) -> impl Iterator<Item = &'a u8> {
        self.prefix.iter().chain(self.suffix)
    }

    pub(super) fn common_prefix_len(&self, other: &Key<'_>) -> usize {
        self.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count()
    }
}

impl<'a> From<&'a [u8]> for Key<'a> {
    fn from(key: &'a [u8]) -> Key<'a> {
        Key { prefix: key, suffix: &[] }
    }
}

impl fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}{}\"", self.prefix.escape_ascii(), self.suffix.escape_ascii())
    }
}

/// See the file's head.
#[derive(Clone, Default)]
pub(super) struct Packed {
    bytes: Box<[u8]>,
    count: u32,
    prefix_len: u32,
}

const SLOT_BYTES: usize = 8;
type Slot = [u8; SLOT_BYTES];

fn slot(offset: usize, head: u32) -> Slot {
    // The owner checks that all offsets fit.
    (u64::from(offset as u32) | u64::from(head) << 32).to_le_bytes()
}

fn head_of(slot: &Slot) -> u32 {
    (u64::from_le_bytes(*slot) >> 32) as u32
}

/// Orders suffixes as far as four bytes go; a suffix that ends earlier counts as if zeros followed.
fn head(suffix: &[u8]) -> u32 {
    match *suffix {
        [a, b, c, d, ..] => u32::from_be_bytes([a, b, c, d]),
        [a, b, c] => u32::from_be_bytes([a, b, c, 0]),
        [a, b] => u32::from_be_bytes([a, b, 0, 0]),
        [a] => u32::from_be_bytes([a, 0, 0, 0]),
        [] => 0,
    }
}

impl Packed {
    /// `items` strictly ascend. The prefix becomes the longest that all have in common.
    pub(super) fn build(items: &[(Key<'_>, &[u8])]) -> Packed {
        let (Some((first, _)), Some((last, _))) = (items.first(), items.last()) else { return Packed::default() };
        let prefix_len = first.common_prefix_len(last);
        let record_bytes = |(key, value): &(Key<'_>, &[u8])| {
            let suffix = key.len() - prefix_len;
            varint_len(suffix as u64) + suffix + value.len()
        };
        let mut offset = prefix_len + items.len() * SLOT_BYTES;
        let total = offset + items.iter().map(record_bytes).sum::<usize>();
        check_size(total);
        let mut bytes = Vec::with_capacity(total);
        bytes.extend(first.bytes().take(prefix_len));
        for item in items {
            let (front, behind) = item.0.bytes_behind(prefix_len);
            let mut four = [0; 4];
            four.iter_mut().zip(front.iter().chain(behind)).for_each(|(to, from)| *to = *from);
            bytes.extend_from_slice(&slot(offset, u32::from_be_bytes(four)));
            offset += record_bytes(item);
        }
        for (key, value) in items {
            let (front, behind) = key.bytes_behind(prefix_len);
            put_record(&mut bytes, front, behind, value);
        }
        assert_eq!(bytes.len(), total, "a packed node is as long as was computed");
        Packed { bytes: bytes.into(), count: items.len() as u32, prefix_len: prefix_len as u32 }
    }

    pub(super) fn count(&self) -> usize {
        self.count as usize
    }

    /// Bytes allocated.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    fn prefix(&self) -> &[u8] {
        &self.bytes[..self.prefix_len as usize]
    }

    fn table(&self) -> &[Slot] {
        let (table, _) = self.bytes[self.prefix_len as usize..self.records_start()].as_chunks();
        table
    }

    fn records_start(&self) -> usize {
        self.prefix_len as usize + self.count() * SLOT_BYTES
    }

    /// Where record `at` begins; the end of the last one for `count`.
    fn offset(&self, at: usize) -> usize {
        self.table().get(at).map_or(self.bytes.len(), |slot| u64::from_le_bytes(*slot) as u32 as usize)
    }

    /// Suffix and where the value behind it begins.
    #[inline]
    fn suffix_at(&self, at: usize) -> (&[u8], usize) {
        let start = self.offset(at);
        let (length, read) = match self.bytes.get(start) {
            Some(&byte) if byte < 0x80 => (usize::from(byte), 1),
            _ => {
                let (length, read) =
                    read_varint(&self.bytes[start..]).expect("a record starts with its suffix's length");
                (length as usize, read)
            }
        };
        let value = start + read + length;
        (&self.bytes[start + read..value], value)
    }

    pub(super) fn key(&self, at: usize) -> Key<'_> {
        Key { prefix: self.prefix(), suffix: self.suffix_at(at).0 }
    }

    pub(super) fn value(&self, at: usize) -> &[u8] {
        let (_, start) = self.suffix_at(at);
        &self.bytes[start..self.offset(at + 1)]
    }

    pub(super) fn get(&self, at: usize) -> (Key<'_>, &[u8]) {
        let (suffix, start) = self.suffix_at(at);
        (Key { prefix: self.prefix(), suffix }, &self.bytes[start..self.offset(at + 1)])
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (Key<'_>, &[u8])> {
        (0..self.count()).map(|at| self.get(at))
    }

    /// Position of `key`, or where it would be.
    pub(super) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let prefix = self.prefix();
        let Some((front, suffix)) = key.split_at_checked(prefix.len()) else {
            let before = key <= &prefix[..key.len()];
            return Err(if before { 0 } else { self.count() });
        };
        match front.cmp(prefix) {
            Ordering::Less => return Err(0),
            Ordering::Greater => return Err(self.count()),
            Ordering::Equal => {}
        }
        let wanted = head(suffix);
        let table = self.table();
        let (mut low, mut high) = (0, table.len());
        while low < high {
            let middle = (low + high) / 2;
            let order = head_of(&table[middle]).cmp(&wanted).then_with(|| self.suffix_at(middle).0.cmp(suffix));
            match order {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// Number of keys below `bound`, as an upper bound.
    pub(super) fn below(&self, bound: std::ops::Bound<&[u8]>) -> usize {
        match bound {
            std::ops::Bound::Unbounded => self.count(),
            std::ops::Bound::Excluded(end) => self.search(end).unwrap_or_else(|at| at),
            std::ops::Bound::Included(end) => self.search(end).map_or_else(|at| at, |at| at + 1),
        }
    }

    /// With another value at `at`.
    pub(super) fn replaced(&self, at: usize, value: &[u8]) -> Packed {
        let suffix = self.suffix_at(at).0;
        self.spliced(at, 1, Some((suffix, value)))
    }

    /// With one more key, which belongs at `at`.
    pub(super) fn inserted(&self, at: usize, key: &[u8], value: &[u8]) -> Packed {
        match key.strip_prefix(self.prefix()) {
            Some(suffix) if self.count > 0 => self.spliced(at, 0, Some((suffix, value))),
            _ => {
                let mut items: Vec<_> = self.iter().collect();
                items.insert(at, (key.into(), value));
                Packed::build(&items)
            }
        }
    }

    /// Without the key at `at`.
    pub(super) fn removed(&self, at: usize) -> Packed {
        if self.count == 1 { Packed::default() } else { self.spliced(at, 1, None) }
    }

    /// Puts `record` (suffix and value) in the place of `remove` records from `at` on; the prefix stays.
    fn spliced(&self, at: usize, remove: usize, record: Option<(&[u8], &[u8])>) -> Packed {
        let (cut_start, cut_end) = (self.offset(at), self.offset(at + remove));
        let insert = usize::from(record.is_some());
        let record_bytes =
            record.map_or(0, |(suffix, value)| varint_len(suffix.len() as u64) + suffix.len() + value.len());
        let (start, new_start) =
            (self.records_start(), self.records_start() + insert * SLOT_BYTES - remove * SLOT_BYTES);
        let total = self.bytes.len() - start - (cut_end - cut_start) + new_start + record_bytes;
        check_size(total);
        let mut bytes = Vec::with_capacity(total);
        bytes.extend_from_slice(self.prefix());
        let (before, behind) = self.table().split_at(at);
        put_slots_moved(&mut bytes, before, start, new_start);
        if let Some((suffix, _)) = record {
            bytes.extend_from_slice(&slot(cut_start - start + new_start, head(suffix)));
        }
        put_slots_moved(&mut bytes, &behind[remove..], start + cut_end, new_start + cut_start + record_bytes);
        bytes.extend_from_slice(&self.bytes[start..cut_start]);
        if let Some((suffix, value)) = record {
            put_record(&mut bytes, suffix, &[], value);
        }
        bytes.extend_from_slice(&self.bytes[cut_end..]);
        assert_eq!(bytes.len(), total, "a packed node is as long as was computed");
        let count = (self.count() - remove + insert) as u32;
        Packed { bytes: bytes.into(), count, prefix_len: self.prefix_len }
    }

    /// The keys before `at` and those from it on.
    pub(super) fn split(&self, at: usize) -> (Packed, Packed) {
        let items: Vec<_> = self.iter().collect();
        let (left, right) = items.split_at(at);
        (Packed::build(left), Packed::build(right))
    }

    /// Both, `right`'s keys behind this one's.
    pub(super) fn joined(&self, right: &Packed) -> Packed {
        let items: Vec<_> = self.iter().chain(right.iter()).collect();
        Packed::build(&items)
    }

    /// The position that parts the bytes most evenly, with at least one key on each side. Needs two keys.
    pub(super) fn middle(&self) -> usize {
        let half = self.bytes.len() / 2 + self.records_start() / 2;
        let (mut low, mut high) = (1, self.count() - 1);
        while low < high {
            let middle = (low + high) / 2;
            if self.offset(middle) < half { low = middle + 1 } else { high = middle }
        }
        low
    }
}

fn check_size(bytes: usize) {
    assert!(u32::try_from(bytes).is_ok(), "a node is split long before it reaches 4 GiB");
}

/// Copies slots, their offsets moved by `to - from`.
fn put_slots_moved(out: &mut Vec<u8>, slots: &[Slot], from: usize, to: usize) {
    if from == to {
        out.extend_from_slice(slots.as_flattened());
        return;
    }
    let by = (to as u32).wrapping_sub(from as u32);
    let start = out.len();
    out.resize(start + size_of_val(slots), 0);
    let (moved, _) = out[start..].as_chunks_mut::<SLOT_BYTES>();
    for (moved, known) in moved.iter_mut().zip(slots) {
        let known = u64::from_le_bytes(*known);
        let offset = (known as u32).wrapping_add(by);
        *moved = (known & !u64::from(u32::MAX) | u64::from(offset)).to_le_bytes();
    }
}

fn put_record(out: &mut Vec<u8>, front: &[u8], behind: &[u8], value: &[u8]) {
    put_varint(out, (front.len() + behind.len()) as u64);
    out.extend_from_slice(front);
    out.extend_from_slice(behind);
    out.extend_from_slice(value);
}

/// The shortest key that is above `left` and not above `right`; `left` < `right`.
pub(super) fn separator(left: &Key<'_>, right: &Key<'_>) -> Vec<u8> {
    let common = left.common_prefix_len(right);
    right.bytes().take(common + 1).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn key() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(0), Just(0xff)], 0..7)
    }

    fn packed(map: &BTreeMap<Vec<u8>, Vec<u8>>) -> Packed {
        let items: Vec<_> = map.iter().map(|(key, value)| (Key::from(key.as_slice()), value.as_slice())).collect();
        Packed::build(&items)
    }

    fn map(packed: &Packed) -> Vec<(Vec<u8>, Vec<u8>)> {
        packed.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
    }

    proptest! {
        #[test]
        fn edits_are_those_of_a_map(
            mut model in proptest::collection::btree_map(key(), key(), 1..20), edits in proptest::collection::vec((key(), key()), 0..20),
        ) {
            let mut node = packed(&model);
            for (key, value) in edits {
                match node.search(&key) {
                    Ok(at) if value.is_empty() => {
                        node = node.removed(at);
                        model.remove(&key);
                    }
                    Ok(at) => {
                        prop_assert_eq!(node.key(at).cmp_bytes(&key), Ordering::Equal);
                        node = node.replaced(at, &value);
                        model.insert(key, value);
                    }
                    Err(at) => {
                        prop_assert_eq!(at, model.range(..key.clone()).count());
                        node = node.inserted(at, &key, &value);
                        model.insert(key, value);
                    }
                }
                let expected: Vec<_> = model.clone().into_iter().collect();
                prop_assert_eq!(map(&node), expected);
            }
        }

        #[test]
        fn split_and_joined_again(model in proptest::collection::btree_map(key(), key(), 2..20)) {
            let node = packed(&model);
            let (left, right) = node.split(node.middle());
            prop_assert!(left.count() > 0 && right.count() > 0);
            let (last, first) = (left.key(left.count() - 1), right.key(0));
            let parting = separator(&last, &first);
            prop_assert_eq!(last.cmp_bytes(&parting), Ordering::Less);
            prop_assert!(first.cmp_bytes(&parting) != Ordering::Less);
            prop_assert_eq!(map(&left.joined(&right)), map(&node));
        }

        #[test]
        fn keys_compare_as_their_bytes(one in key(), other in key(), cut in 0usize..7) {
            let (prefix, suffix) = one.split_at(cut.min(one.len()));
            prop_assert_eq!(Key { prefix, suffix }.cmp_bytes(&other), one.cmp(&other));
        }
    }
}
