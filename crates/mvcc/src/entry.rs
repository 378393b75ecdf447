//! What the key index holds for one key: its versions, newest first, one packed behind the other.
//!
//! ```text
//! entry: newest version │ older version │ …
//!        bits of the first byte: 0x40 older ones follow, 0x80 oldest ones are deep
//! ```
//! An entry that would grow over `ENTRY_BYTES_MAX` moves its versions into the deep history (`history`) and starts
//! again with the newest alone, so that a leaf stays small however often a key is written.

use crate::tree::{LEAF_BYTES_MAX, Summary};
use crate::version::{FOREIGN_BITS, Version, peek};
use model::Revision;

/// Bytes of packed versions that an entry holds before they go to the deep history; about six versions.
pub(crate) const ENTRY_BYTES_MAX: usize = if cfg!(test) { 64 } else { 128 };

const OLDER: u8 = 0x40;
const DEEP: u8 = 0x80;

const _: () = assert!(OLDER | DEEP == FOREIGN_BITS, "versions leave these bits to entries");
const _: () = assert!(ENTRY_BYTES_MAX < LEAF_BYTES_MAX, "a leaf holds several entries");

/// What the key index knows of a subtree of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct KeySummary {
    /// Keys that exist now.
    pub(crate) live: u64,
    /// Entries that a compaction might take something from: with older versions, or deleted.
    pub(crate) compactable: u64,
    /// No version below is newer.
    pub(crate) newest: Revision,
}

impl Summary for KeySummary {
    fn of(value: &[u8]) -> KeySummary {
        let entry = Entry(value);
        let live = entry.is_live();
        let compactable = !live || entry.has_history();
        KeySummary { live: live.into(), compactable: compactable.into(), newest: entry.newest() }
    }

    fn add(&mut self, other: &KeySummary) {
        self.live += other.live;
        self.compactable += other.compactable;
        self.newest = self.newest.max(other.newest);
    }

    fn exchange(&mut self, old: &KeySummary, new: &KeySummary) {
        assert!(self.live + new.live >= old.live, "a subtree counts the live keys below it");
        assert!(self.compactable + new.compactable >= old.compactable, "a subtree counts the entries below it");
        self.live = self.live + new.live - old.live;
        self.compactable = self.compactable + new.compactable - old.compactable;
        self.newest = self.newest.max(new.newest);
    }
}

/// One key's packed versions. What the index holds was packed by us, so that reading it cannot fail.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a>(pub(crate) &'a [u8]);

const PACKED_BY_US: &str = "the key index holds what was packed into it";

impl<'a> Entry<'a> {
    /// The newest version.
    pub(crate) fn current(self) -> Version {
        Version::unpack(&mut { self.0 }).expect(PACKED_BY_US)
    }

    pub(crate) fn is_live(self) -> bool {
        !peek(self.0).expect(PACKED_BY_US).0
    }

    pub(crate) fn newest(self) -> Revision {
        Revision(peek(self.0).expect(PACKED_BY_US).1)
    }

    fn has(self, bit: u8) -> bool {
        self.0.first().is_some_and(|flags| flags & bit != 0)
    }

    /// Older versions exist, here or deep.
    pub(crate) fn has_history(self) -> bool {
        self.has(OLDER | DEEP)
    }

    /// The oldest versions are in the deep history.
    pub(crate) fn is_deep(self) -> bool {
        self.has(DEEP)
    }

    /// The versions packed here, newest first.
    pub(crate) fn versions(self) -> Versions<'a> {
        Versions(self.0)
    }
}

/// Packed versions one behind the other.
#[derive(Debug, Clone)]
pub(crate) struct Versions<'a>(pub(crate) &'a [u8]);

impl Iterator for Versions<'_> {
    type Item = Version;

    fn next(&mut self) -> Option<Version> {
        (!self.0.is_empty()).then(|| Version::unpack(&mut self.0).expect(PACKED_BY_US))
    }
}

/// Appends the entry of these versions, newest first; nothing if there are none.
pub(crate) fn pack_entry(versions: &[Version], deep: bool, out: &mut Vec<u8>) {
    assert!(versions.is_sorted_by(|newer, older| newer.at > older.at), "an entry has its newest version first");
    let start = out.len();
    versions.iter().for_each(|version| version.pack(out));
    if let Some(flags) = out.get_mut(start) {
        *flags |= if versions.len() > 1 { OLDER } else { 0 } | if deep { DEEP } else { 0 };
    }
}

/// Appends `old` with `version` as its newest. Answers the packed versions that no longer fit and belong into the deep
/// history.
pub(crate) fn push_version<'a>(old: Option<&'a [u8]>, version: &Version, out: &mut Vec<u8>) -> Option<Versions<'a>> {
    let start = out.len();
    version.pack(out);
    let old = old?;
    let deep = old.first().map_or(0, |flags| flags & DEEP);
    let spilled = old.len() + (out.len() - start) > ENTRY_BYTES_MAX;
    if !spilled {
        // The foreign bits of the version that is no longer the first are left behind.
        out.push(old.first().map_or(0, |flags| flags & !(OLDER | DEEP)));
        out.extend_from_slice(old.get(1..).unwrap_or_default());
    }
    let flags = out.get_mut(start).expect("a version was packed");
    *flags |= if spilled { DEEP } else { OLDER | deep };
    spilled.then_some(Versions(old))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::tests::version;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pushed_versions_come_back_newest_first(mut pushed in proptest::collection::vec(version(), 1..20)) {
            pushed.sort_by_key(|version| version.at);
            pushed.dedup_by_key(|version| version.at);
            let mut entry: Option<Vec<u8>> = None;
            let mut deep: Vec<Version> = Vec::new();
            for version in &pushed {
                let mut out = Vec::new();
                if let Some(spilled) = push_version(entry.as_deref(), version, &mut out) {
                    deep.splice(0..0, spilled);
                }
                let old = entry.as_deref().map(KeySummary::of).unwrap_or_default();
                let mut sum = old;
                sum.exchange(&old, &KeySummary::of(&out));
                prop_assert_eq!(sum.live, u64::from(!version.is_tombstone()));
                prop_assert_eq!(Entry(&out).is_deep(), !deep.is_empty());
                entry = Some(out);
            }
            let entry = entry.unwrap();
            let inline: Vec<Version> = Entry(&entry).versions().collect();
            let mut packed = Vec::new();
            pack_entry(&inline, !deep.is_empty(), &mut packed);
            prop_assert_eq!(&packed, &entry);
            let all: Vec<Version> = inline.into_iter().chain(deep).collect();
            prop_assert!(all.iter().eq(pushed.iter().rev()));
            prop_assert_eq!(Entry(&entry).current(), *pushed.last().unwrap());
            prop_assert_eq!(Entry(&entry).has_history(), pushed.len() > 1);
        }
    }
}
