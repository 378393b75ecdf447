//! `HashKV`: etcd's hash of the history, bit by bit, from the checksums in the key index and without reading a value.
//!
//! etcd feeds CRC-32C with `key` and then, in order of revision, revision key and stored bytes of each change that it
//! holds and that this rule lets through. With C the compacted revision and R the one asked for:
//! - changes above R do not count;
//! - a deletion at C does not;
//! - a change at or below C counts if a read at R finds it (or if a read at R finds nothing at all).
//!
//! The hash at a compaction's revision is that of the history just before the compaction, with the C before it. It is
//! kept for the newest ten, because members compare these.

use crate::compaction::retained;
use crate::crc::combine;
use crate::entry::Entry;
use crate::index::Index;
use crate::version::Version;
use model::{KeyRange, REVISION_KEY_BYTES, Revision, VersionedRevision};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// A hash of the history up to `revision`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvHash {
    pub hash: u32,
    pub revision: Revision,
    /// The compacted revision that it was computed with; -1 if there was none.
    pub compact_revision: Revision,
}

/// Hashes of compactions kept.
const COMPACTION_HASHES_MAX: usize = 10;
/// Changes sorted at a time: what a hash may take of memory, 24 bytes each, twice.
const WINDOW: usize = if cfg!(test) { 16 } else { 1 << 20 };

/// The hashes at the newest compactions. Shared by the owner and all views.
#[derive(Default)]
pub(crate) struct CompactionHashes {
    /// By ascending revision.
    kept: Mutex<Vec<Arc<CompactionHash>>>,
}

struct CompactionHash {
    revision: Revision,
    compact_revision: Revision,
    /// The index just before, until the hash is computed.
    before: Mutex<Option<Index>>,
    hash: OnceLock<u32>,
}

impl CompactionHashes {
    /// `before` is the index as the compaction at `revision` finds it. Whoever asks first computes the hash.
    pub(crate) fn add(&self, revision: Revision, compact_revision: Revision, before: Index) {
        let before = Mutex::new(Some(before));
        let added = CompactionHash { revision, compact_revision, before, hash: OnceLock::new() };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(kept.last().is_none_or(|last| last.revision < revision), "compactions come in ascending order");
        kept.push(Arc::new(added));
        if kept.len() > COMPACTION_HASHES_MAX {
            kept.remove(0);
        }
        assert!(kept.len() <= COMPACTION_HASHES_MAX, "old hashes go");
    }

    pub(crate) fn at(&self, revision: Revision) -> Option<KvHash> {
        let found = self.list().into_iter().find(|kept| kept.revision == revision)?;
        Some(found.get())
    }

    /// Computes what is not computed yet, so that the indexes from before are let go. Answers all, oldest first.
    pub(crate) fn complete(&self) -> Vec<KvHash> {
        self.list().iter().map(|kept| kept.get()).collect()
    }

    fn list(&self) -> Vec<Arc<CompactionHash>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl CompactionHash {
    fn get(&self) -> KvHash {
        let CompactionHash { revision, compact_revision, .. } = *self;
        let hash = *self.hash.get_or_init(|| {
            let before = self.before.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
            // A compaction's own list of what it keeps names deletions at its revision too.
            let keeps = finds_any(&before, revision) || deletes_at(&before, revision);
            fold(&before, revision, compact_revision, keeps)
        });
        KvHash { hash, revision, compact_revision }
    }
}

/// The hash at `revision`, which is not below the compacted one.
pub(crate) fn hash_at(index: &Index, revision: Revision, compact_revision: Revision) -> KvHash {
    let hash = fold(index, revision, compact_revision, finds_any(index, revision));
    KvHash { hash, revision, compact_revision }
}

fn finds_any(index: &Index, revision: Revision) -> bool {
    index.count(&KeyRange::all(), revision) > 0
}

fn deletes_at(index: &Index, revision: Revision) -> bool {
    let mut entries = index.keys.iter();
    while let Some((key, packed)) = entries.next_wanted(|summary| summary.newest >= revision) {
        let version = index.entry_at(key, Entry(packed), revision);
        if version.is_some_and(|version| version.at.main == revision && version.is_tombstone()) {
            return true;
        }
    }
    false
}

/// One change to hash.
type Hashed = (VersionedRevision, u32, u32);

fn fold(index: &Index, revision: Revision, compacted: Revision, keeps_any: bool) -> u32 {
    let mut hash = crc32c::crc32c(b"key");
    let mut after = VersionedRevision::default();
    loop {
        let (mut window, complete) = next_window(index, revision, compacted, keeps_any, after);
        window.sort_unstable();
        for &(_, crc, length) in &window {
            hash = combine(hash, crc, length);
        }
        match window.last() {
            Some(&(last, ..)) if !complete => after = last,
            _ => return hash,
        }
    }
}

/// The first changes behind `after`, unordered, and whether these are all.
fn next_window(
    index: &Index,
    revision: Revision,
    compacted: Revision,
    keeps_any: bool,
    after: VersionedRevision,
) -> (Vec<Hashed>, bool) {
    let mut window: Vec<Hashed> = Vec::new();
    let mut up_to = VersionedRevision { main: revision, sub: u32::MAX };
    let mut complete = true;
    let mut versions: Vec<Version> = Vec::new();
    let mut entries = index.keys.iter();
    while let Some((key, packed)) = entries.next_wanted(|summary| summary.newest >= after.main) {
        versions.clear();
        versions.extend(index.versions(key, Entry(packed)));
        let found = versions.iter().find(|version| version.at.main <= revision).map(|version| version.at);
        for version in versions.iter().take(retained(&versions, compacted)) {
            let at = version.at;
            let counts = at.main > compacted || (!version.is_tombstone() && (found == Some(at) || !keeps_any));
            if counts && at > after && at <= up_to {
                let marked = REVISION_KEY_BYTES + usize::from(version.is_tombstone());
                window.push((at, version.crc, (marked + version.payload_len(|| key.len())) as u32));
            }
        }
        if window.len() >= 2 * WINDOW {
            let (_, &mut (last, ..), _) = window.select_nth_unstable(WINDOW - 1);
            window.truncate(WINDOW);
            up_to = last;
            complete = false;
        }
    }
    (window, complete)
}
