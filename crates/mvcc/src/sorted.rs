//! Puts what a walk finds in an order other than by key, in steps: runs that are sorted as they come, then merged.
//!
//! With a small limit only as many are kept as it lets through; without one everything is, values included if the
//! order is by them: `held_bytes` says how much that is.

use crate::fault::{Fault, ReadError};
use crate::range::{RangeItem, without_value};
use crate::tree::Key;
use crate::version::Meta;
use bytes::Bytes;
use model::{KeyValue, Sort, SortOrder, SortTarget};
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::vec;
use store::Location;

/// Up to this limit only the first so many are kept.
const LIMIT_MAX: u64 = 1024;
/// Records and bytes of them that are read for one step.
const LOAD_RECORDS_MAX: usize = 256;
const LOAD_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum By {
    Number(i64),
    Value(Bytes),
}

#[derive(Debug, PartialEq, Eq)]
struct Ordered {
    by: By,
    is_descending: bool,
    /// In key order.
    place: u64,
    item: RangeItem,
}

impl Ord for Ordered {
    /// Stable in both directions; etcd's is so for up to twelve keys, and its order among equals is arbitrary beyond.
    fn cmp(&self, other: &Ordered) -> Ordering {
        let by = self.by.cmp(&other.by);
        let by = if self.is_descending { by.reverse() } else { by };
        by.then_with(|| self.place.cmp(&other.place))
    }
}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Ordered) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ordered {
    fn held_bytes(&self) -> usize {
        let value = if let By::Value(value) = &self.by { value.len() } else { 0 };
        let encoded = if let RangeItem::Encoded(encoded) = &self.item { encoded.len() } else { 0 };
        size_of::<Ordered>() + value + encoded
    }
}

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Sorted {
    sort: Sort,
    limit: u64,
    keys_only: bool,
    places: u64,
    /// To be taken in.
    added: Vec<(Ordered, Location)>,
    added_bytes: usize,
    runs: Vec<vec::IntoIter<Ordered>>,
    /// The first of each run that has one, once runs are merged.
    heads: Option<BinaryHeap<Reverse<(Ordered, usize)>>>,
    merged: Vec<RangeItem>,
    held_bytes: usize,
}

impl Sorted {
    pub(crate) fn new(sort: Sort, limit: u64, keys_only: bool) -> Sorted {
        Sorted {
            sort,
            limit,
            keys_only,
            places: 0,
            added: Vec::new(),
            added_bytes: 0,
            runs: Vec::new(),
            heads: None,
            merged: Vec::new(),
            held_bytes: 0,
        }
    }

    pub(crate) fn is_by_value(&self) -> bool {
        self.sort.target == SortTarget::Value
    }

    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// As many were added as are taken in at a time.
    pub(crate) fn is_full(&self) -> bool {
        self.is_by_value() && (self.added.len() >= LOAD_RECORDS_MAX || self.added_bytes >= LOAD_BYTES_MAX)
    }

    pub(crate) fn add(&mut self, key: Key<'_>, meta: Meta) {
        let by = match self.sort.target {
            SortTarget::Key => i64::try_from(self.places).unwrap_or(i64::MAX),
            SortTarget::Version => meta.version,
            SortTarget::Create => meta.create_revision.0,
            SortTarget::Mod => meta.at.main.0,
            SortTarget::Value => 0,
        };
        let item = if self.keys_only && !self.is_by_value() {
            let mut encoded = Vec::new();
            without_value(key, &meta).encode(&mut encoded);
            RangeItem::Encoded(encoded.into())
        } else {
            RangeItem::Stored(meta.location)
        };
        let is_descending = self.sort.order == SortOrder::Descend;
        self.added_bytes += meta.location.length as usize;
        self.added.push((Ordered { by: By::Number(by), is_descending, place: self.places, item }, meta.location));
        self.places += 1;
    }

    /// Makes a run of what was added.
    pub(crate) fn take_in(
        &mut self,
        load: impl Fn(&[Location], &mut Vec<Bytes>) -> Result<(), Fault>,
    ) -> Result<(), ReadError> {
        self.added_bytes = 0;
        let added = std::mem::take(&mut self.added);
        let mut run: Vec<Ordered> = if self.is_by_value() {
            let locations: Vec<Location> = added.iter().map(|(_, location)| *location).collect();
            let mut payloads = Vec::with_capacity(locations.len());
            load(&locations, &mut payloads)?;
            assert_eq!(payloads.len(), locations.len(), "each record has its payload");
            let valued = added.into_iter().zip(&payloads).map(|((ordered, _), payload)| self.valued(ordered, payload));
            valued.collect::<Result<_, Fault>>()?
        } else {
            added.into_iter().map(|(ordered, _)| ordered).collect()
        };
        if self.limit <= LIMIT_MAX {
            run.extend(self.runs.drain(..).flatten());
            self.held_bytes = 0;
        }
        run.sort_unstable();
        if self.limit <= LIMIT_MAX {
            run.truncate(self.limit as usize);
        }
        self.held_bytes += run.iter().map(Ordered::held_bytes).sum::<usize>();
        if !run.is_empty() {
            self.runs.push(run.into_iter());
        }
        Ok(())
    }

    /// What etcd makes of a sort by value with `keys_only` is read from the record, so that the lease is there.
    fn valued(&self, ordered: Ordered, payload: &Bytes) -> Result<Ordered, Fault> {
        let kv = KeyValue::decode(payload).map_err(|_| Fault::NotAPair)?;
        // A copy: the payload is a part of a larger buffer.
        let by = By::Value(Bytes::copy_from_slice(&kv.value));
        let item = if self.keys_only {
            let mut encoded = Vec::new();
            KeyValue { value: Bytes::new(), ..kv }.encode(&mut encoded);
            RangeItem::Encoded(encoded.into())
        } else {
            ordered.item
        };
        Ok(Ordered { by, item, ..ordered })
    }

    /// Merges up to `max` more; true once as many are merged as the limit lets through.
    pub(crate) fn merge(&mut self, max: usize) -> bool {
        let Sorted { runs, heads, merged, limit, .. } = self;
        let heads = heads.get_or_insert_with(|| {
            let first = runs.iter_mut().enumerate().filter_map(|(run, rest)| Some(Reverse((rest.next()?, run))));
            first.collect()
        });
        for _ in 0..max {
            if merged.len() as u64 >= *limit {
                return true;
            }
            let Some(Reverse((ordered, run))) = heads.pop() else { return true };
            merged.push(ordered.item);
            if let Some(next) = runs.get_mut(run).and_then(Iterator::next) {
                heads.push(Reverse((next, run)));
            }
        }
        false
    }

    pub(crate) fn finish(self) -> Vec<RangeItem> {
        self.merged
    }
}
