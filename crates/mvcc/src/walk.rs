//! A range read in steps. Each looks at a bounded number of keys, so that who reads a large range gives others their
//! turn between two of them, and what is found is measured and not kept: pages of it are read again when there is
//! somewhere to put them.
//!
//! ```text
//! Walk::step … step ──▶ Found: how many pairs, how long, more, count ──▶ Pages::page … page, of this view or newer
//! ```
//!
//! Invariants: what steps find together is what `View::range` finds; pages hold the same pairs in the same order, byte
//! for byte, from whatever view that still has the revision.
//! Not here: orders other than by key (`sorted`).

use crate::entry::Entry;
use crate::fault::ReadError;
use crate::index::Index;
use crate::range::{RangeItem, is_in_key_order, read_revision, without_value};
use crate::sorted::Sorted;
use crate::tree::Key;
use crate::version::Meta;
use crate::view::View;
use bytes::Bytes;
use model::{KeyRange, Range, Rejection, Revision, SortOrder};
use stdx::codec::varint_len;

/// What a walk found.
#[derive(Debug)]
pub struct Found {
    /// In the order asked for; `None` if these are many, and `pages` has them.
    pub items: Option<Vec<RangeItem>>,
    /// An order other than by key, for which there are no pages.
    pub is_sorted: bool,
    pub pages: Pages,
    /// Pairs, and their bytes as fields with a tag of one byte and a length.
    pub pairs: u64,
    pub pairs_bytes: usize,
    /// As in `RangeResult`.
    pub more: bool,
    pub count: u64,
}

/// So few pairs are kept as they are found.
const KEPT_ITEMS_MAX: usize = 128;

/// See the file's head.
#[derive(Debug)]
pub struct Walk {
    request: Range,
    at: Revision,
    limit: u64,
    /// Pairs looked for; those behind them are counted.
    take: u64,
    rest: KeyRange,
    stage: Stage,
    /// Keys that exist, and of them those that the filters let through.
    seen: u64,
    passed: u64,
    /// Keys behind what was looked for.
    behind: u64,
    pairs_bytes: usize,
    /// `None` once there were more.
    kept: Option<Vec<RangeItem>>,
    sorted: Option<Sorted>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Look,
    Count,
    Sort,
    Done,
}

impl Walk {
    /// Begins to read `request` on `view`.
    pub fn new(view: &View, request: &Range) -> Result<Walk, Rejection> {
        let at = read_revision(request.revision, view.revision, view.compacted)?;
        let limit = if request.limit == 0 { u64::MAX } else { request.limit };
        let order = request.sort.filter(|sort| !is_in_key_order(*sort));
        let is_unbounded = request.mod_bounds.is_unset() && request.create_bounds.is_unset();
        let takes_first = is_unbounded && order.is_some_and(|sort| sort.order == SortOrder::Unspecified);
        let take = match order {
            None if is_unbounded => limit,
            Some(_) if takes_first => limit.saturating_add(1),
            _ => u64::MAX,
        };
        Ok(Walk {
            at,
            limit,
            take,
            rest: request.range.clone(),
            stage: if request.count_only { Stage::Count } else { Stage::Look },
            seen: 0,
            passed: 0,
            behind: 0,
            pairs_bytes: 0,
            kept: Some(Vec::new()),
            sorted: order.map(|sort| Sorted::new(sort, limit, request.keys_only)),
            request: request.clone(),
        })
    }

    /// True if values have to be read for the order.
    pub fn reads_values(&self) -> bool {
        self.sorted.as_ref().is_some_and(Sorted::is_by_value)
    }

    /// Bytes that it keeps for the order.
    pub fn held_bytes(&self) -> usize {
        self.sorted.as_ref().map_or(0, Sorted::held_bytes)
    }

    /// Looks at up to `keys_max` keys of the view that it was begun with. True once everything is found.
    pub fn step(&mut self, view: &View, keys_max: usize) -> Result<bool, ReadError> {
        match self.stage {
            Stage::Look => self.look(view, keys_max)?,
            Stage::Count => {
                let (live, rest) = view.index.count_some(&self.rest, self.at, keys_max);
                self.behind += live;
                self.go_on(rest, Stage::Sort);
            }
            Stage::Sort => {
                let is_sorted = self.sorted.as_mut().is_none_or(|sorted| sorted.merge(keys_max));
                self.stage = if is_sorted { Stage::Done } else { Stage::Sort };
            }
            Stage::Done => {}
        }
        if self.stage == Stage::Sort && self.sorted.is_none() {
            self.stage = Stage::Done;
        }
        Ok(self.stage == Stage::Done)
    }

    fn go_on(&mut self, rest: Option<Bytes>, or_else: Stage) {
        match rest {
            Some(key) => self.rest.start = key,
            None => self.stage = or_else,
        }
    }

    fn look(&mut self, view: &View, keys_max: usize) -> Result<(), ReadError> {
        let Walk { request, at, limit, take, rest, seen, passed, pairs_bytes, kept, sorted, .. } = self;
        let mut has_enough = false;
        let next = visit(&view.index, rest, *at, keys_max, |key, meta| {
            if sorted.as_ref().is_some_and(Sorted::is_full) {
                return false;
            }
            if *passed == *take {
                has_enough = true;
                return false;
            }
            *seen += 1;
            if is_let_through(request, &meta) {
                *passed += 1;
                match sorted {
                    Some(sorted) => sorted.add(key, meta),
                    None if *passed <= *limit => {
                        *pairs_bytes += field_len(pair_len(request, key, &meta));
                        match kept.as_mut() {
                            Some(items) if items.len() < KEPT_ITEMS_MAX => items.push(item(request, key, &meta)),
                            _ => *kept = None,
                        }
                    }
                    None => {}
                }
            }
            true
        });
        if let Some(sorted) = sorted {
            sorted.take_in(|locations, out| view.load(locations, out))?;
        }
        self.go_on(next, Stage::Sort);
        if has_enough {
            self.stage = Stage::Count;
        }
        Ok(())
    }

    /// What was found, once `step` has said that it is everything.
    pub fn finish(self) -> Found {
        assert_eq!(self.stage, Stage::Done, "everything is found");
        let Walk { request, at, limit, rest: _, seen, passed, behind, pairs_bytes, kept, sorted, .. } = self;
        let count = seen + behind;
        // All that passed the filters was looked at, or what is behind it passes too.
        let is_filtered = !(request.mod_bounds.is_unset() && request.create_bounds.is_unset());
        let more = if request.count_only {
            false
        } else if is_filtered || sorted.is_some() {
            passed > limit
        } else {
            count > passed
        };
        let pairs = if request.count_only { 0 } else { passed.min(limit) };
        let is_sorted = sorted.is_some();
        let sorted = sorted.map(Sorted::finish);
        let pairs_bytes = match &sorted {
            Some(items) => items.iter().map(|item| field_len(item.encoded_len())).sum(),
            None => pairs_bytes,
        };
        let pages = Pages { at, left: pairs, rest: request.range.clone(), request };
        Found { items: sorted.or(kept), is_sorted, pages, pairs, pairs_bytes, more, count }
    }
}

/// The pairs that a walk in key order found, page by page.
#[derive(Debug)]
pub struct Pages {
    request: Range,
    at: Revision,
    left: u64,
    rest: KeyRange,
}

impl Pages {
    /// The revision that is read.
    pub fn at(&self) -> Revision {
        self.at
    }

    /// Pairs that no page had yet.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The next pairs: up to `keys_max` keys are looked at, and about `bytes_max` bytes taken, of one pair at least if
    /// there is one among the keys. The view is the one that was walked or a newer one; fails if the revision was
    /// compacted in it.
    pub fn page(&mut self, view: &View, keys_max: usize, bytes_max: usize) -> Result<Vec<RangeItem>, Rejection> {
        read_revision(self.at, view.revision, view.compacted)?;
        let Pages { request, at, left, rest } = self;
        let (mut items, mut bytes) = (Vec::new(), 0);
        let next = visit(&view.index, rest, *at, keys_max, |key, meta| {
            if *left == 0 || bytes >= bytes_max {
                return false;
            }
            if is_let_through(request, &meta) {
                let item = item(request, key, &meta);
                bytes += item.encoded_len();
                items.push(item);
                *left -= 1;
            }
            true
        });
        match next {
            Some(key) => self.rest.start = key,
            None => assert_eq!(self.left, 0, "pages hold what was found"),
        }
        Ok(items)
    }
}

fn is_let_through(request: &Range, meta: &Meta) -> bool {
    request.mod_bounds.contains(meta.mod_revision()) && request.create_bounds.contains(meta.create_revision)
}

fn item(request: &Range, key: Key<'_>, meta: &Meta) -> RangeItem {
    if !request.keys_only {
        return RangeItem::Stored(meta.location);
    }
    let mut encoded = Vec::new();
    without_value(key, meta).encode(&mut encoded);
    RangeItem::Encoded(encoded.into())
}

fn pair_len(request: &Range, key: Key<'_>, meta: &Meta) -> usize {
    if request.keys_only { without_value(key, meta).encoded_len() } else { meta.location.length as usize }
}

fn field_len(length: usize) -> usize {
    1 + varint_len(length as u64) + length
}

/// Shows the keys of `range` that exist at `at` to `take`, in order, until it says no or `keys_max` were looked at,
/// those that do not exist then too. Returns the key to go on at.
fn visit(
    index: &Index,
    range: &KeyRange,
    at: Revision,
    keys_max: usize,
    mut take: impl FnMut(Key<'_>, Meta) -> bool,
) -> Option<Bytes> {
    let mut entries = index.entries(range);
    let mut looked_at = 0;
    while let Some((key, packed)) = entries.next_wanted(|summary| summary.live > 0 || summary.newest > at) {
        if looked_at == keys_max {
            return Some(key.to_vec().into());
        }
        looked_at += 1;
        let entry = Entry(packed);
        let version = if entry.newest() <= at { Some(entry.current()) } else { index.entry_at(key, entry, at) };
        if let Some(meta) = version.and_then(|version| version.meta())
            && !take(key, meta)
        {
            return Some(key.to_vec().into());
        }
    }
    None
}
