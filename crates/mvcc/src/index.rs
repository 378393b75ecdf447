//! The key index: every key with its versions. Two trees: entries by key, and the deep history behind the busiest of
//! them.
//!
//! Invariant: what a clone sees never changes. Deliberately not here: values (records in the store), which revision is
//! current, and compaction (`compaction`), which only takes away what nobody may ask for.

use crate::entry::{Entry, KeySummary, push_version};
use crate::history::History;
use crate::tree::{Fold, Iter, Key, Tree};
use crate::version::Version;
use bytes::Bytes;
use model::{KeyRange, RangeEnd, Revision};

#[derive(Clone, Default)]
pub(crate) struct Index {
    pub(crate) keys: Tree<KeySummary>,
    pub(crate) history: History,
}

impl Index {
    /// The key's newest version, a deletion included.
    pub(crate) fn newest(&self, key: &[u8]) -> Option<Version> {
        self.keys.get(key).map(|entry| Entry(entry).current())
    }

    /// The key's newest version up to `at`, a deletion included.
    pub(crate) fn version_at(&self, key: &[u8], at: Revision) -> Option<Version> {
        self.entry_at(key.into(), Entry(self.keys.get(key)?), at)
    }

    /// The same for an entry at hand.
    pub(crate) fn entry_at(&self, key: Key<'_>, entry: Entry<'_>, at: Revision) -> Option<Version> {
        if let Some(version) = entry.versions().find(|version| version.at.main <= at) {
            return Some(version);
        }
        if !entry.is_deep() {
            return None;
        }
        self.history.versions_from(&key.to_vec(), at).next()
    }

    /// All versions of an entry at hand, newest first.
    pub(crate) fn versions<'a>(&'a self, key: Key<'_>, entry: Entry<'a>) -> impl Iterator<Item = Version> + use<'a> {
        let deep = entry.is_deep().then(|| self.history.versions(&key.to_vec()));
        entry.versions().chain(deep.into_iter().flatten())
    }

    /// Adds the version that `make` makes of the newest one; if that fails, nothing changes. Answers both.
    pub(crate) fn push<E>(
        &mut self,
        key: &[u8],
        packed: &mut Vec<u8>,
        make: impl FnOnce(Option<Version>) -> Result<Version, E>,
    ) -> Result<(Option<Version>, Version), E> {
        let Index { keys, history } = self;
        keys.upsert(key, packed, |old, out| {
            let newest = old.map(|old| Entry(old).current());
            let version = make(newest)?;
            assert!(newest.is_none_or(|newest| newest.at < version.at), "a key's versions have ascending revisions");
            if let Some(spilled) = push_version(old, &version, out) {
                history.push(key, &spilled.collect::<Vec<_>>());
            }
            Ok((newest, version))
        })
    }

    pub(crate) fn entries<'a>(&'a self, range: &'a KeyRange) -> Iter<'a, KeySummary> {
        self.keys.range(&range.start, range.end_bound())
    }

    /// Number of keys in `range` that exist at `at`. O(log n) as far as nothing changed since.
    pub(crate) fn count(&self, range: &KeyRange, at: Revision) -> u64 {
        if range.end == RangeEnd::Single {
            return self.version_at(&range.start, at).is_some_and(|version| !version.is_tombstone()).into();
        }
        let (live, rest) = self.count_some(range, at, usize::MAX);
        assert!(rest.is_none(), "all are counted");
        live
    }

    /// The same for the first part of the range: up to `keys_max` keys are looked at one by one. The key to go on at,
    /// if something is left.
    pub(crate) fn count_some(&self, range: &KeyRange, at: Revision, keys_max: usize) -> (u64, Option<Bytes>) {
        let mut count = Count { index: self, at, live: 0, left: keys_max, rest: None };
        self.keys.fold(&range.start, range.end_bound(), &mut count);
        assert!(count.live <= self.keys.len() as u64, "no more keys exist than are known");
        (count.live, count.rest)
    }
}

struct Count<'a> {
    index: &'a Index,
    at: Revision,
    live: u64,
    /// Keys that may still be looked at.
    left: usize,
    rest: Option<Bytes>,
}

impl Fold<KeySummary> for Count<'_> {
    fn whole(&mut self, summary: &KeySummary) -> bool {
        if self.rest.is_some() {
            return true;
        }
        let unchanged = summary.newest <= self.at;
        if unchanged {
            self.live += summary.live;
        }
        unchanged
    }

    fn entry(&mut self, key: Key<'_>, entry: &[u8]) {
        if self.rest.is_some() {
            return;
        }
        if self.left == 0 {
            self.rest = Some(key.to_vec().into());
            return;
        }
        self.left -= 1;
        let entry = Entry(entry);
        let live = if entry.newest() <= self.at {
            entry.is_live()
        } else {
            self.index.entry_at(key, entry, self.at).is_some_and(|version| !version.is_tombstone())
        };
        self.live += u64::from(live);
    }
}
