//! What a `key` and `range_end` of a request select. Normalised once, at the edge; authorisation, execution and watches
//! all use this type, so that no layer reads the conventions differently.

use bytes::Bytes;
use std::ops::Bound;

/// Keys selected by a request, in byte order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyRange {
    pub start: Bytes,
    pub end: RangeEnd,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RangeEnd {
    /// Exactly the start key.
    Single,
    /// Up to but without this key; at or below the start selects nothing.
    Before(Bytes),
    /// Every key from the start on.
    Unbounded,
}

impl KeyRange {
    /// Reads etcd's wire convention: an empty `range_end` is one key, a single zero byte is everything from `key` on.
    pub fn from_wire(key: Bytes, range_end: Bytes) -> KeyRange {
        let end = match range_end.as_ref() {
            [] => RangeEnd::Single,
            [0] => RangeEnd::Unbounded,
            _ => RangeEnd::Before(range_end),
        };
        KeyRange { start: key, end }
    }

    pub fn single(key: impl Into<Bytes>) -> KeyRange {
        KeyRange { start: key.into(), end: RangeEnd::Single }
    }

    pub fn all() -> KeyRange {
        KeyRange { start: Bytes::new(), end: RangeEnd::Unbounded }
    }

    /// Every key that starts with `prefix`.
    pub fn prefix(prefix: impl Into<Bytes>) -> KeyRange {
        let start = prefix.into();
        let end = prefix_end(&start).map_or(RangeEnd::Unbounded, |end| RangeEnd::Before(end.into()));
        KeyRange { start, end }
    }

    pub fn is_single(&self) -> bool {
        self.end == RangeEnd::Single
    }

    /// True if no key can be in it.
    pub fn is_empty(&self) -> bool {
        matches!(&self.end, RangeEnd::Before(end) if *end <= self.start)
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            RangeEnd::Single => key == self.start,
            RangeEnd::Before(end) => key >= self.start.as_ref() && key < end.as_ref(),
            RangeEnd::Unbounded => key >= self.start.as_ref(),
        }
    }

    /// The upper bound for an ordered walk that starts at `start` (inclusive).
    pub fn end_bound(&self) -> Bound<&[u8]> {
        match &self.end {
            RangeEnd::Single => Bound::Included(self.start.as_ref()),
            RangeEnd::Before(end) => Bound::Excluded(end.as_ref()),
            RangeEnd::Unbounded => Bound::Unbounded,
        }
    }
}

/// The first key after every key with this prefix; `None` if there is none (empty, or all bytes 0xff).
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut end = prefix.get(..=last)?.to_vec();
    *end.last_mut()? += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn small_key() -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xff)], 0..3).prop_map(Bytes::from)
    }

    proptest! {
        #[test]
        fn prefix_selects_what_starts_with_it(prefix in small_key(), key in small_key()) {
            prop_assert_eq!(KeyRange::prefix(prefix.clone()).contains(&key), key.starts_with(&prefix));
        }
    }

    #[test]
    fn wire_conventions() {
        let range = |key: &'static str, end: &'static str| KeyRange::from_wire(key.into(), end.into());
        assert!(range("a", "").is_single());
        assert_eq!(range("a", "\0").end, RangeEnd::Unbounded);
        assert!(range("b", "a").is_empty());
        assert!(range("b", "b").is_empty());
        assert!(!range("a", "b").is_empty());
    }
}
