//! Changes of keys as watchers see them: of one transaction as it commits, and out of the history for who comes late.

use crate::entry::Entry;
use crate::index::Index;
use crate::tree::Key;
use crate::version::Version;
use crate::view::View;
use bytes::Bytes;
use model::{KeyRange, Revision, VersionedRevision};
use store::Location;

/// What one transaction did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub revision: Revision,
    /// In the order they were made; never empty.
    pub events: Vec<Event>,
}

/// A put or a deletion of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub key: Bytes,
    pub at: VersionedRevision,
    /// The new version's record; none for a deletion.
    pub kv: Option<Location>,
    /// Of the new version; 0 for a deletion.
    pub create_revision: Revision,
    /// The record that the key had at the revision before, if it existed and that is not compacted.
    pub prev: Option<Location>,
}

/// Changes out of the history: all with revisions from the one asked for up to, and without, `next`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPage {
    /// In order of revision.
    pub events: Vec<Event>,
    /// Where to go on.
    pub next: Revision,
}

pub(crate) fn event(key: Bytes, version: &Version, prev: Option<Location>) -> Event {
    let create_revision = version.put.map_or(Revision(0), |put| put.create_revision);
    Event { key, at: version.at, kv: version.location(), create_revision, prev }
}

/// Events gathered beyond what was asked for before the newest are dropped again: bounds memory and the number of
/// sorts.
const SURPLUS_EVENTS: usize = if cfg!(test) { 8 } else { 4096 };

/// Changes of a range with revisions `from` to `to` (inclusive), at most `limit` distinct revisions of them, gathered
/// in steps.
pub struct EventWalk {
    page: Page,
    rest: KeyRange,
    from: Revision,
}

impl EventWalk {
    pub(crate) fn new(range: &KeyRange, from: Revision, to: Revision, limit: usize) -> EventWalk {
        let page = Page { events: Vec::new(), to, limit: limit.max(1), prune_at: SURPLUS_EVENTS.max(2 * limit) };
        EventWalk { page, rest: range.clone(), from }
    }

    /// Looks at up to `keys_max` keys of the view that it was begun with. True once it was all over the range.
    pub fn step(&mut self, view: &View, keys_max: usize) -> bool {
        let EventWalk { page, rest, from, .. } = self;
        let mut entries = view.index.entries(rest);
        let mut looked_at = 0;
        let mut next: Option<Bytes> = None;
        while let Some((key, packed)) = entries.next_wanted(|summary| summary.newest >= *from) {
            if looked_at == keys_max {
                next = Some(key.to_vec().into());
                break;
            }
            looked_at += 1;
            let entry = Entry(packed);
            if entry.newest() >= *from {
                page.add_key(&view.index, key, entry, *from, view.compacted);
                page.prune_surplus();
            }
        }
        let is_done = next.is_none();
        if let Some(next) = next {
            rest.start = next;
        }
        is_done
    }

    /// What was gathered.
    pub fn finish(self) -> EventPage {
        let EventWalk { mut page, from, .. } = self;
        page.prune();
        assert!(page.events.first().is_none_or(|event| event.at.main >= from), "a page begins where it was asked to");
        assert!(page.events.last().is_none_or(|event| event.at.main <= page.to), "a page ends before the next");
        EventPage { events: page.events, next: Revision(page.to.0.saturating_add(1)) }
    }
}

struct Page {
    events: Vec<Event>,
    /// Newer revisions do not fit.
    to: Revision,
    limit: usize,
    prune_at: usize,
}

impl Page {
    fn add_key(&mut self, index: &Index, key: Key<'_>, entry: Entry<'_>, from: Revision, compacted: Revision) {
        let to = self.to;
        let deep = entry.is_deep().then(|| index.history.versions_from(&key.to_vec(), to));
        let versions = entry.versions().chain(deep.into_iter().flatten());
        let key: Bytes = key.to_vec().into();
        let mut last: Option<Revision> = None;
        // Events of the revision at hand wait from here on for the version before it: a transaction may put a key and
        // delete it again, and both show what was there before the transaction.
        let mut waiting = self.events.len();
        for version in versions.skip_while(|version| version.at.main > to) {
            let main = version.at.main;
            if let Some(last) = last
                && main < last
            {
                self.events.iter_mut().skip(waiting).for_each(|event| event.prev = version.location());
                self.prune_surplus();
                waiting = self.events.len();
            }
            if main < from {
                return;
            }
            self.events.push(event(key.clone(), &version, None));
            if main <= compacted {
                // Older ones are compacted, though they may not be removed yet.
                return;
            }
            last = Some(main);
        }
    }

    fn prune_surplus(&mut self) {
        if self.events.len() >= self.prune_at {
            self.prune();
            self.prune_at = SURPLUS_EVENTS.max(2 * self.events.len());
        }
    }

    /// Puts what was gathered in order and cuts it behind the last revision that fits.
    fn prune(&mut self) {
        self.events.sort_unstable_by_key(|event| event.at);
        let mut revisions = 0;
        let mut last = None;
        let fits = self.events.iter().take_while(|event| {
            let main = event.at.main;
            if last != Some(main) {
                revisions += 1;
                last = Some(main);
            }
            revisions <= self.limit
        });
        let fits = fits.count();
        if fits < self.events.len() {
            self.events.truncate(fits);
            if let Some(event) = self.events.last() {
                self.to = event.at.main;
            }
        }
    }
}
