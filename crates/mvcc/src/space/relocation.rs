//! Relocation: the key index follows copied records to where they lie now.
//!
//! A version's location is exchanged only if it is still the old one. So a copy of what was dropped meanwhile is
//! garbage, and nothing that anybody can read changes, and no number that members compare.

use crate::entry::{Entry, pack_entry};
use crate::history::History;
use crate::index::Index;
use crate::version::Version;
use bytes::Bytes;
use model::{Revision, VersionedRevision};
use store::Location;

/// A copied record: where a version lies now, and where it is to lie.
#[derive(Debug)]
pub(super) struct Move {
    pub(super) key: Bytes,
    pub(super) at: VersionedRevision,
    pub(super) from: Location,
    pub(super) to: Location,
}

impl Index {
    /// The place in its revision of the version of `key` that lies at `location`, if one does.
    pub(crate) fn place_of(&self, key: &[u8], revision: Revision, location: Location) -> Option<VersionedRevision> {
        let entry = Entry(self.keys.get(key)?);
        let deep = entry.is_deep().then(|| self.history.versions_from(key, revision));
        let mut versions = entry.versions().chain(deep.into_iter().flatten());
        let found = versions.find(|version| version.at.main < revision || version.location() == Some(location))?;
        (found.location() == Some(location)).then_some(found.at)
    }

    /// Exchanges the location of a version. False, and nothing changes, if the version is gone or lies elsewhere.
    pub(super) fn relocate(&mut self, moved: &Move, packed: &mut Vec<u8>) -> bool {
        let Index { keys, history } = self;
        let Some(entry) = keys.get(&moved.key).map(Entry) else { return false };
        let deep = entry.is_deep();
        let mut versions: Vec<Version> = entry.versions().collect();
        if !exchange(&mut versions, moved) {
            return deep && history.relocate(moved);
        }
        let Ok::<(), std::convert::Infallible>(()) = keys.upsert(&moved.key, packed, |_, out| {
            pack_entry(&versions, deep, out);
            Ok(())
        });
        true
    }
}

impl History {
    fn relocate(&mut self, moved: &Move) -> bool {
        self.change_chunk(&moved.key, moved.at, |versions| exchange(versions, moved))
    }
}

fn exchange(versions: &mut [Version], moved: &Move) -> bool {
    let wanted = |version: &&mut Version| version.at == moved.at && version.location() == Some(moved.from);
    let Some(put) = versions.iter_mut().find(wanted).and_then(|version| version.put.as_mut()) else { return false };
    assert_eq!(put.location.length, moved.to.length, "a version keeps its length when it is moved");
    put.location = moved.to;
    true
}
