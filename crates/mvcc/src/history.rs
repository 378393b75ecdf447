//! The deep history: old versions of keys that are written so often that their entry in the key index would grow too
//! large.
//!
//! A second tree holds them in chunks, each under the key and the chunk's oldest revision, bits inverted, so that a
//! key's chunks come newest first and the chunk with the newest version up to some revision is the first at or behind
//! it:
//! ```text
//! key (0x00 written as 0x00 0xff) │ 0x00 0x00 │ !main, big-endian │ !sub, big-endian  →  packed versions, newest first
//! ```
//! Invariants: chunks of a key do not overlap and none is empty; all are older than what the key's entry holds.

use crate::entry::Versions;
use crate::tree::{Loader, Tree};
use crate::version::Version;
use model::{Revision, VersionedRevision};
use std::convert::Infallible;
use std::ops::Bound;

#[derive(Clone, Default)]
pub(crate) struct History {
    chunks: Tree<()>,
}

/// Where a key's chunks begin.
fn prefix(key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 2 + 12);
    for &byte in key {
        out.push(byte);
        if byte == 0 {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 0]);
    out
}

/// No key's chunk lies between its prefix and this.
fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    [&prefix[..prefix.len() - 1], &[1]].concat()
}

fn place(mut prefix: Vec<u8>, oldest: VersionedRevision) -> Vec<u8> {
    prefix.extend_from_slice(&(!oldest.main.0).to_be_bytes());
    prefix.extend_from_slice(&(!oldest.sub).to_be_bytes());
    prefix
}

fn last_up_to(revision: Revision) -> VersionedRevision {
    VersionedRevision { main: revision, sub: u32::MAX }
}

/// A chunk and its name in the tree.
struct Chunk {
    place: Vec<u8>,
    versions: Vec<Version>,
}

impl History {
    /// Adds a chunk of `versions`, newest first, all newer than what the key has here.
    pub(crate) fn push(&mut self, key: &[u8], versions: &[Version]) {
        let Some(oldest) = versions.last() else { return };
        assert!(versions.is_sorted_by(|newer, older| newer.at > older.at), "a chunk has its newest version first");
        let mut packed = Vec::new();
        let Ok::<(), Infallible>(()) = self.chunks.upsert(&place(prefix(key), oldest.at), &mut packed, |_, out| {
            versions.iter().for_each(|version| version.pack(out));
            Ok(())
        });
    }

    /// The key's versions from the newest one with a revision up to `at` on, newest first.
    pub(crate) fn versions_from<'a>(&'a self, key: &[u8], at: Revision) -> impl Iterator<Item = Version> + use<'a> {
        self.chunks_from(key, at).flat_map(Versions).skip_while(move |version| version.at.main > at)
    }

    pub(crate) fn versions<'a>(&'a self, key: &[u8]) -> impl Iterator<Item = Version> + use<'a> {
        self.versions_from(key, Revision(i64::MAX))
    }

    /// The packed chunks of the key from the one on that has a version up to `at`.
    fn chunks_from<'a>(&'a self, key: &[u8], at: Revision) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let prefix = prefix(key);
        let end = prefix_end(&prefix);
        let start = place(prefix, last_up_to(at));
        self.chunks
            .range(&start, Bound::Unbounded)
            .take_while(move |(place, _)| place.cmp_bytes(&end).is_lt())
            .map(|(_, packed)| packed)
    }

    fn chunk_list(&self, key: &[u8], at: Revision, limit: usize) -> Vec<Chunk> {
        let prefix = prefix(key);
        let end = prefix_end(&prefix);
        let start = place(prefix, last_up_to(at));
        let chunks = self.chunks.range(&start, Bound::Excluded(&end)).take(limit);
        chunks.map(|(place, packed)| Chunk { place: place.to_vec(), versions: Versions(packed).collect() }).collect()
    }

    /// Lets `change` exchange versions of the chunk that holds the one at `at`; it answers whether it did, and so does
    /// this.
    pub(crate) fn change_chunk(
        &mut self,
        key: &[u8],
        at: VersionedRevision,
        change: impl FnOnce(&mut Vec<Version>) -> bool,
    ) -> bool {
        let prefix = prefix(key);
        let end = prefix_end(&prefix);
        let found = self.chunks.range(&place(prefix, at), Bound::Excluded(&end)).next();
        let Some((place, packed)) = found else { return false };
        let (place, mut versions) = (place.to_vec(), Versions(packed).collect::<Vec<Version>>());
        let oldest = versions.last().map(|version| version.at);
        if !change(&mut versions) {
            return false;
        }
        assert_eq!(versions.last().map(|version| version.at), oldest, "a chunk keeps its place");
        let Ok::<(), Infallible>(()) = self.chunks.upsert(&place, &mut Vec::new(), |_, out| {
            versions.iter().for_each(|version| version.pack(out));
            Ok(())
        });
        true
    }

    fn has_chunks(&self, key: &[u8]) -> bool {
        self.chunks_from(key, Revision(i64::MAX)).next().is_some()
    }

    /// Removes up to `limit` chunks of the key that lie wholly behind its newest version up to `at` (behind all of its
    /// own, if the entry has that version), and tells `dropped` of each version. Answers how many chunks; fewer than
    /// `limit` means that none is left.
    pub(crate) fn drop_behind(
        &mut self,
        key: &[u8],
        at: Option<Revision>,
        limit: usize,
        dropped: &mut impl FnMut(&Version),
    ) -> usize {
        let from = at.unwrap_or(Revision(i64::MAX));
        let mut chunks = self.chunk_list(key, from, limit + usize::from(at.is_some()));
        if at.is_some() && !chunks.is_empty() {
            chunks.remove(0);
        }
        for chunk in &chunks {
            chunk.versions.iter().for_each(&mut *dropped);
            self.chunks.remove(&chunk.place);
        }
        chunks.len()
    }

    /// The last step after `drop_behind`: reduces the chunk with the newest version up to `at` to what `keep` says of
    /// its versions. Answers whether the key has chunks left.
    pub(crate) fn cut(
        &mut self,
        key: &[u8],
        at: Revision,
        keep: impl Fn(&[Version]) -> usize,
        dropped: &mut impl FnMut(&Version),
    ) -> bool {
        if let Some(chunk) = self.chunk_list(key, at, 1).pop() {
            let kept = keep(&chunk.versions);
            assert!(kept <= chunk.versions.len(), "what is kept was there");
            if kept < chunk.versions.len() {
                let (keep, drop) = chunk.versions.split_at(kept);
                drop.iter().for_each(dropped);
                self.chunks.remove(&chunk.place);
                self.push(key, keep);
            }
        }
        self.has_chunks(key)
    }
}

/// Builds a deep history from chunks in order: keys ascending, a key's chunks newest first.
#[derive(Default)]
pub(crate) struct HistoryLoader {
    chunks: Loader<()>,
}

impl HistoryLoader {
    pub(crate) fn push(&mut self, key: &[u8], versions: &[Version]) {
        let Some(oldest) = versions.last() else { return };
        let mut packed = Vec::new();
        versions.iter().for_each(|version| version.pack(&mut packed));
        self.chunks.push(&place(prefix(key), oldest.at), &packed);
    }

    pub(crate) fn finish(self) -> History {
        History { chunks: self.chunks.finish() }
    }
}
