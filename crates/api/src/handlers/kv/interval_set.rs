//! A set of byte-string intervals that answers "is this key inside" in logarithmic time, however many were put in.
//!
//! Used to find puts covered by deletes of the same txn, where up to thousands of each may come in one request.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;

/// Disjoint intervals, by start. An interval ends before its end key; single keys end at their successor.
#[derive(Default, Debug)]
pub(crate) struct IntervalSet {
    ends: BTreeMap<Bytes, Bytes>,
}

impl IntervalSet {
    /// Adds `[start, end)`, or the key `start` alone if `end` is empty. An end at or below the start adds nothing.
    pub(crate) fn insert(&mut self, start: &Bytes, end: &Bytes) {
        if end.is_empty() {
            self.insert_interval(start.clone(), successor(start));
        } else if start < end {
            self.insert_interval(start.clone(), end.clone());
        }
    }

    pub(crate) fn union(&mut self, other: IntervalSet) {
        for (start, end) in other.ends {
            self.insert_interval(start, end);
        }
    }

    pub(crate) fn contains(&self, key: &Bytes) -> bool {
        self.at_or_before(key).is_some_and(|(_, end)| key < end)
    }

    fn at_or_before(&self, key: &Bytes) -> Option<(&Bytes, &Bytes)> {
        self.ends.range::<Bytes, _>((Bound::Unbounded, Bound::Included(key))).next_back()
    }

    fn insert_interval(&mut self, mut start: Bytes, mut end: Bytes) {
        if let Some((before, before_end)) = self.at_or_before(&start)
            && *before_end >= start
        {
            start = before.clone();
            end = end.max(before_end.clone());
        }
        let swallowed: Vec<Bytes> =
            self.ends.range(start.clone()..=end.clone()).map(|(start, _)| start.clone()).collect();
        for inner in swallowed {
            if let Some(inner_end) = self.ends.remove(&inner) {
                end = end.max(inner_end);
            }
        }
        self.ends.insert(start, end);
    }
}

fn successor(key: &Bytes) -> Bytes {
    [key.as_ref(), &[0]].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(0u8..4, 0..3).prop_map(Bytes::from)
    }

    proptest! {
        #[test]
        fn a_key_is_inside_if_it_is_inside_any_interval(
            intervals in proptest::collection::vec((key(), key()), 0..12), probes in proptest::collection::vec(key(), 20),
        ) {
            let mut set = IntervalSet::default();
            let (first, second) = intervals.split_at(intervals.len() / 2);
            first.iter().for_each(|(start, end)| set.insert(start, end));
            let mut other = IntervalSet::default();
            second.iter().for_each(|(start, end)| other.insert(start, end));
            set.union(other);
            for probe in probes {
                let inside = intervals.iter().any(|(start, end)| {
                    if end.is_empty() { probe == *start } else { *start <= probe && probe < *end }
                });
                prop_assert_eq!(set.contains(&probe), inside, "{:?} {:?}", probe, intervals);
            }
        }
    }
}
