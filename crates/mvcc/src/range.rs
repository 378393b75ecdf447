//! Range reads, with etcd's rules for counts, limits, filters and orders. One evaluation serves views and open
//! transactions.
//!
//! Values are not read here, except to sort by them: an item says where its record is, and how long.

use crate::entry::Entry;
use crate::fault::{Fault, ReadError};
use crate::index::Index;
use crate::tree::Key;
use crate::version::Meta;
use bytes::Bytes;
use model::{KeyRange, KeyValue, Range, Rejection, Revision, Sort, SortOrder, SortTarget};
use std::cmp::Ordering;
use store::Location;

/// What a range read found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeResult {
    /// In the order asked for.
    pub items: Vec<RangeItem>,
    /// More keys passed the filters than the limit let through.
    pub more: bool,
    /// Keys in the range at the revision asked for, whatever limit and filters say.
    pub count: u64,
    /// The store's current revision, for the answer's header; in a transaction that wrote, the one it is writing.
    pub revision: Revision,
}

/// One key of an answer: an encoded `mvccpb.KeyValue`, or the record whose payload that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RangeItem {
    Stored(Location),
    /// Without a value, for `keys_only`.
    Encoded(Bytes),
}

impl RangeItem {
    /// Bytes of the encoded `KeyValue`.
    pub fn encoded_len(&self) -> usize {
        match self {
            RangeItem::Stored(location) => location.length as usize,
            RangeItem::Encoded(encoded) => encoded.len(),
        }
    }
}

/// Appends the payloads of records in the order asked for.
type Load<'a> = dyn Fn(&[Location], &mut Vec<Bytes>) -> Result<(), Fault> + 'a;

/// What a range is read from.
pub(crate) struct Source<'a> {
    pub(crate) index: &'a Index,
    pub(crate) revision: Revision,
    pub(crate) compacted: Revision,
    pub(crate) load: &'a Load<'a>,
}

/// The revision that a request reads at; 0 and below mean the current one.
pub(crate) fn read_revision(asked: Revision, current: Revision, compacted: Revision) -> Result<Revision, Rejection> {
    assert!(compacted <= current, "a compaction is of a revision that was reached");
    if asked > current {
        return Err(Rejection::FutureRevision);
    }
    let at = if asked.0 <= 0 { current } else { asked };
    if at < compacted { Err(Rejection::Compacted) } else { Ok(at) }
}

/// The keys of `range` that exist at `at`, in order.
pub(crate) fn live_at<'a>(
    index: &'a Index,
    range: &'a KeyRange,
    at: Revision,
) -> impl Iterator<Item = (Key<'a>, Meta)> + 'a {
    let mut entries = index.entries(range);
    std::iter::from_fn(move || {
        loop {
            // A key that exists no more may have existed then, unless nothing below changed since.
            let (key, packed) = entries.next_wanted(|summary| summary.live > 0 || summary.newest > at)?;
            let entry = Entry(packed);
            let version = if entry.newest() <= at { Some(entry.current()) } else { index.entry_at(key, entry, at) };
            if let Some(meta) = version.and_then(|version| version.meta()) {
                return Some((key, meta));
            }
        }
    })
}

impl Source<'_> {
    pub(crate) fn range(&self, request: &Range) -> Result<RangeResult, ReadError> {
        let at = read_revision(request.revision, self.revision, self.compacted)?;
        let result = |items, more, count| RangeResult { items, more, count, revision: self.revision };
        if request.count_only {
            return Ok(result(Vec::new(), false, self.index.count(&request.range, at)));
        }
        let limit = if request.limit == 0 { usize::MAX } else { usize::try_from(request.limit).unwrap_or(usize::MAX) };
        let filtered = !request.mod_bounds.is_unset() || !request.create_bounds.is_unset();
        let sort = request.sort.filter(|sort| *sort != IN_KEY_ORDER);
        if filtered || sort.is_some() {
            return self.range_whole(request, at, sort, limit).map(|(items, more, count)| result(items, more, count));
        }
        let found = live_at(self.index, &request.range, at).take(limit);
        let items = if request.keys_only {
            encode_keys(found)
        } else {
            found.map(|(_, meta)| RangeItem::Stored(meta.location)).collect()
        };
        let count = if items.len() < limit { items.len() as u64 } else { self.index.count(&request.range, at) };
        assert!(items.len() <= limit, "a page has no more items than asked for");
        assert!(count >= items.len() as u64, "all keys of a page are counted");
        let more = count > items.len() as u64;
        Ok(result(items, more, count))
    }

    /// Filters and orders other than by key look at the whole range before the limit applies.
    fn range_whole(
        &self,
        request: &Range,
        at: Revision,
        sort: Option<Sort>,
        limit: usize,
    ) -> Result<(Vec<RangeItem>, bool, u64), ReadError> {
        let unbounded = request.mod_bounds.is_unset() && request.create_bounds.is_unset();
        let takes_first = unbounded && sort.is_some_and(|sort| sort.order == SortOrder::Unspecified);
        let take = if takes_first { limit.saturating_add(1) } else { usize::MAX };
        let mut seen = 0;
        let found = live_at(self.index, &request.range, at).take(take).inspect(|_| seen += 1).filter(|(_, meta)| {
            request.mod_bounds.contains(meta.mod_revision()) && request.create_bounds.contains(meta.create_revision)
        });
        let mut found: Vec<(Key<'_>, Meta)> = found.collect();
        let count = if takes_first { self.index.count(&request.range, at) } else { seen };
        if let Some(sort) = sort {
            self.sort(&mut found, sort)?;
        }
        let more = found.len() > limit;
        found.truncate(limit);
        let by_value = sort.is_some_and(|sort| sort.target == SortTarget::Value);
        let items = match (request.keys_only, by_value) {
            (false, _) => found.iter().map(|(_, meta)| RangeItem::Stored(meta.location)).collect(),
            (true, false) => encode_keys(found.into_iter()),
            (true, true) => self.without_values(&found)?,
        };
        Ok((items, more, count))
    }

    /// Stable in both directions; etcd's is so for up to twelve keys, and its order among equals is arbitrary beyond.
    fn sort(&self, found: &mut Vec<(Key<'_>, Meta)>, sort: Sort) -> Result<(), ReadError> {
        let directed =
            |ordering: Ordering| if sort.order == SortOrder::Descend { ordering.reverse() } else { ordering };
        match sort.target {
            // Keys come in order and differ.
            SortTarget::Key if sort.order == SortOrder::Descend => found.reverse(),
            SortTarget::Key => {}
            SortTarget::Version => found.sort_by(|(_, one), (_, other)| directed(one.version.cmp(&other.version))),
            SortTarget::Create => {
                found.sort_by(|(_, one), (_, other)| directed(one.create_revision.cmp(&other.create_revision)));
            }
            SortTarget::Mod => found.sort_by(|(_, one), (_, other)| directed(one.at.main.cmp(&other.at.main))),
            SortTarget::Value => {
                let mut valued = Vec::with_capacity(found.len());
                for piece in found.chunks(LOAD_RECORDS_MAX) {
                    valued.extend(self.records(piece)?.into_iter().map(|kv| kv.value).zip(piece.iter().copied()));
                }
                valued.sort_by(|(one, _), (other, _)| directed(one.cmp(other)));
                *found = valued.into_iter().map(|(_, item)| item).collect();
            }
        }
        Ok(())
    }

    /// What etcd makes of a sort by value with `keys_only`: read from the records, so that the lease is there.
    fn without_values(&self, found: &[(Key<'_>, Meta)]) -> Result<Vec<RangeItem>, ReadError> {
        let mut items = Vec::with_capacity(found.len());
        for piece in found.chunks(LOAD_RECORDS_MAX) {
            for kv in self.records(piece)? {
                let mut encoded = Vec::new();
                KeyValue { value: Bytes::new(), ..kv }.encode(&mut encoded);
                items.push(RangeItem::Encoded(encoded.into()));
            }
        }
        Ok(items)
    }

    fn records(&self, found: &[(Key<'_>, Meta)]) -> Result<Vec<KeyValue>, ReadError> {
        let locations: Vec<Location> = found.iter().map(|(_, meta)| meta.location).collect();
        let mut payloads = Vec::with_capacity(locations.len());
        (self.load)(&locations, &mut payloads)?;
        assert_eq!(payloads.len(), locations.len(), "each record has its payload");
        let decoded = payloads.iter().map(KeyValue::decode).collect::<Result<_, _>>();
        Ok(decoded.map_err(|_| Fault::NotAPair)?)
    }
}

/// The order in which keys come anyway.
pub(crate) fn is_in_key_order(sort: Sort) -> bool {
    sort == IN_KEY_ORDER
}

const IN_KEY_ORDER: Sort = Sort { target: SortTarget::Key, order: SortOrder::Ascend };

/// Records loaded at a time where values are looked at.
const LOAD_RECORDS_MAX: usize = 256;

/// Pairs without value. All share one buffer.
fn encode_keys<'a>(found: impl Iterator<Item = (Key<'a>, Meta)>) -> Vec<RangeItem> {
    let mut buffer = Vec::new();
    let mut ends = Vec::new();
    for (key, meta) in found {
        without_value(key, &meta).encode(&mut buffer);
        ends.push(buffer.len());
    }
    let mut buffer = Bytes::from(buffer);
    let mut start = 0;
    let cut = |end: usize| {
        let item = buffer.split_to(end - start);
        start = end;
        RangeItem::Encoded(item)
    };
    ends.into_iter().map(cut).collect()
}

/// A pair without value and, as in etcd 3.7, without lease.
pub(crate) fn without_value(key: Key<'_>, meta: &Meta) -> KeyValue {
    KeyValue {
        key: key.to_vec().into(),
        create_revision: meta.create_revision,
        mod_revision: meta.at.main,
        version: meta.version,
        ..KeyValue::default()
    }
}
