//! A consistent read: the store as it was when the view was taken, for as long as somebody holds it. No locks, no
//! waiting.

use crate::events::{EventPage, EventWalk};
use crate::fault::{ReadError, Result};
use crate::hash::{self, CompactionHashes, KvHash};
use crate::index::Index;
use crate::range::{RangeResult, Source, live_at, read_revision};
use crate::tree::Key;
use crate::version::Meta;
use bytes::Bytes;
use model::{KeyRange, Range, Rejection, Revision};
use std::fmt;
use std::sync::Arc;
use store::{Location, Reader};

/// See the file's head. Cheap to clone.
#[derive(Clone)]
pub struct View {
    pub(crate) index: Index,
    pub(crate) revision: Revision,
    pub(crate) compacted: Revision,
    pub(crate) reader: Reader,
    pub(crate) hashes: Arc<CompactionHashes>,
}

impl View {
    /// The revision of the last change in it; 1 if there was none.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// History below this is gone; -1 if there was no compaction.
    pub fn compacted_revision(&self) -> Revision {
        self.compacted
    }

    /// Keys that exist.
    pub fn key_count(&self) -> u64 {
        self.index.keys.summary().live
    }

    /// The key's current version.
    pub fn get(&self, key: &[u8]) -> Option<Meta> {
        self.index.newest(key)?.meta()
    }

    /// The keys of `range` that exist now, in ascending order.
    pub fn live<'a>(&'a self, range: &'a KeyRange) -> impl Iterator<Item = (Key<'a>, Meta)> + 'a {
        live_at(&self.index, range, self.revision)
    }

    /// The keys of `range` that existed at `at`, which is neither compacted nor in the future.
    pub fn live_as_of<'a>(&'a self, range: &'a KeyRange, at: Revision) -> impl Iterator<Item = (Key<'a>, Meta)> + 'a {
        live_at(&self.index, range, at)
    }

    /// Source: etcd API, RangeRequest. Reads values only to sort by them. A page costs the same in a small and in a
    /// large store, and so does its count, unless it reads a revision after which much was changed.
    pub fn range(&self, request: &Range) -> std::result::Result<RangeResult, ReadError> {
        let load = |locations: &[Location], out: &mut Vec<Bytes>| self.load(locations, out);
        let source = Source { index: &self.index, revision: self.revision, compacted: self.compacted, load: &load };
        source.range(request)
    }

    /// Number of keys in `range` at `revision` (0: now).
    pub fn count(&self, range: &KeyRange, revision: Revision) -> std::result::Result<u64, Rejection> {
        Ok(self.index.count(range, read_revision(revision, self.revision, self.compacted)?))
    }

    /// The payloads of these records (each an encoded `KeyValue`), appended to `out` in the order asked for.
    pub fn load(&self, locations: &[Location], out: &mut Vec<Bytes>) -> Result<()> {
        Ok(self.reader.read_many(locations, out)?)
    }

    /// True if the version of `key` at `revision` lies there.
    pub fn holds(&self, key: &[u8], revision: Revision, location: Location) -> bool {
        self.index.place_of(key, revision, location).is_some()
    }

    /// The payload of one record.
    pub fn read(&self, location: Location) -> Result<Bytes> {
        Ok(self.reader.read(location)?)
    }

    /// The changes of `range` from revision `from` to `to`, at most `limit` distinct revisions of them, for a watcher
    /// that comes late. Subtrees without newer changes are skipped. Fails with `Compacted` if some of them may be gone.
    pub fn events(
        &self,
        range: &KeyRange,
        from: Revision,
        to: Revision,
        limit: usize,
    ) -> std::result::Result<EventPage, ReadError> {
        let mut walk = self.walk_events(range, from, to, limit)?;
        while !walk.step(self, usize::MAX) {}
        Ok(walk.finish())
    }

    /// The same in steps.
    pub fn walk_events(
        &self,
        range: &KeyRange,
        from: Revision,
        to: Revision,
        limit: usize,
    ) -> std::result::Result<EventWalk, ReadError> {
        if from < self.compacted {
            return Err(Rejection::Compacted.into());
        }
        Ok(EventWalk::new(range, from, to.min(self.revision), limit))
    }

    /// etcd's hash of the history up to `revision` (0: all). Goes over the whole key index: not for a thread that
    /// serves.
    pub fn hash_kv(&self, revision: Revision) -> std::result::Result<KvHash, Rejection> {
        if let Some(kept) = self.hashes.at(revision) {
            return Ok(kept);
        }
        if revision.0 > 0 && revision < self.compacted {
            return Err(Rejection::Compacted);
        }
        if revision > self.revision {
            return Err(Rejection::FutureRevision);
        }
        let at = if revision.0 == 0 { self.revision } else { revision };
        Ok(hash::hash_at(&self.index, at, self.compacted))
    }

    /// Computes the hashes of compactions that are not computed yet and lets go of the history they were waiting with.
    /// To be called after each compaction from a thread that may take its time. Answers the hashes kept, oldest first.
    pub fn complete_compaction_hashes(&self) -> Vec<KvHash> {
        self.hashes.complete()
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View of revision {}, compacted at {}, {} keys", self.revision, self.compacted, self.key_count())
    }
}
