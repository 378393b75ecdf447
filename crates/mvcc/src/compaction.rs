//! Which versions a compaction leaves, and taking the others out of the key index in small steps.
//!
//! ```text
//! compacted at 6:    2 put   5 put │ 6    8 put        5 is what a read at 6 finds: kept. 2 is dropped.
//!                    2 put   4 del │ 6    8 put        nothing is there at 6: both are dropped.
//!                    2 put           6 del   8 put     a deletion at 6 itself is kept: watches may start at 6.
//! ```
//! The effect for readers is immediate: nobody may ask for what a compaction drops. So the steps may take their time,
//! may be cut short by a restart (loading applies the same rule), and their pace shows nowhere but in memory and in the
//! store's garbage.

use crate::entry::{Entry, pack_entry};
use crate::index::Index;
use crate::tree::{Edit, Key};
use crate::version::Version;
use model::Revision;
use std::collections::VecDeque;

/// How many of these versions (newest first, of one key) remain after a compaction at `at`.
pub(crate) fn retained(versions: &[Version], at: Revision) -> usize {
    let newer = versions.iter().take_while(|version| version.at.main > at).count();
    match versions.get(newer) {
        Some(version) if !version.is_tombstone() || version.at.main == at => newer + 1,
        _ => newer,
    }
}

/// The deletion that a compaction at `at` drops and that hides everything older, if it does. An older checkpoint run
/// may still hold what it hides, so that the next run has to tell of it.
fn hiding(versions: &[Version], at: Revision) -> Option<&Version> {
    let boundary = versions.iter().find(|version| version.at.main <= at)?;
    (boundary.is_tombstone() && boundary.at.main < at).then_some(boundary)
}

/// What a step took out.
pub(crate) trait Removed {
    fn version(&mut self, version: &Version);
    /// See `hiding`.
    fn hiding_deletion(&mut self, key: &[u8], version: &Version);
}

/// Progress of taking out what compactions dropped.
#[derive(Debug, Default)]
pub(crate) struct Compaction {
    pass: Option<Pass>,
    /// A later compaction came while a pass was under way: another one is due.
    again: bool,
}

#[derive(Debug, Default)]
struct Pass {
    /// Leaves before this key are done; `None` once all are.
    next: Option<Vec<u8>>,
    /// Keys met whose deep history is still to be looked at.
    deep: VecDeque<Vec<u8>>,
}

/// Chunks of deep history removed at a time; each holds about as many versions as an entry.
const DEEP_CHUNKS: usize = if cfg!(test) { 2 } else { 16 };
/// What removing one chunk counts as, in keys.
const DEEP_CHUNK_KEYS: usize = 8;

const _: () = assert!(DEEP_CHUNKS > 0 && DEEP_CHUNK_KEYS > 0, "a step makes progress, and costs something");

impl Compaction {
    /// There is more to take out.
    pub(crate) fn schedule(&mut self) {
        match self.pass {
            Some(_) => self.again = true,
            None => self.pass = Some(Pass { next: Some(Vec::new()), ..Pass::default() }),
        }
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.pass.is_some()
    }

    /// Looks at about `budget_keys` keys. `at` is the newest compacted revision.
    pub(crate) fn step(&mut self, index: &mut Index, at: Revision, budget_keys: usize, removed: &mut impl Removed) {
        let mut left = budget_keys.max(1);
        while left > 0 {
            let Some(pass) = &mut self.pass else { return };
            let used = if let Some(key) = pass.deep.front() {
                let (used, finished) = compact_deep(index, key, at, removed);
                if finished {
                    pass.deep.pop_front();
                }
                used
            } else if let Some(from) = &pass.next {
                let (next, used) = compact_leaf(index, from, at, &mut pass.deep, removed);
                pass.next = next;
                used
            } else {
                self.pass = None;
                if std::mem::take(&mut self.again) {
                    self.schedule();
                }
                continue;
            };
            left = left.saturating_sub(used.max(1));
        }
    }
}

/// Compacts the entries of one leaf that have no deep history, and lists those that have. Answers where the next leaf
/// begins and what that cost.
fn compact_leaf(
    index: &mut Index,
    from: &[u8],
    at: Revision,
    deep: &mut VecDeque<Vec<u8>>,
    removed: &mut impl Removed,
) -> (Option<Vec<u8>>, usize) {
    let rewritten = index.keys.rewrite_leaf(
        from,
        |summary| summary.compactable > 0,
        |key, packed, out| {
            let entry = Entry(packed);
            if entry.is_deep() {
                deep.push_back(key.to_vec());
                return Edit::Keep;
            }
            if entry.is_live() && !entry.has_history() {
                return Edit::Keep;
            }
            compact_entry(key, entry, at, out, removed)
        },
    );
    rewritten.unwrap_or((None, 0))
}

fn compact_entry(key: &Key<'_>, entry: Entry<'_>, at: Revision, out: &mut Vec<u8>, removed: &mut impl Removed) -> Edit {
    let versions: Vec<Version> = entry.versions().collect();
    let kept = retained(&versions, at);
    if kept == versions.len() {
        return Edit::Keep;
    }
    if let Some(deletion) = hiding(&versions, at) {
        removed.hiding_deletion(&key.to_vec(), deletion);
    }
    assert!(entry.newest() <= at || kept > 0, "what is newer than a compaction stays");
    let (keep, drop) = versions.split_at(kept);
    drop.iter().for_each(|version| removed.version(version));
    pack_entry(keep, false, out);
    if keep.is_empty() { Edit::Remove } else { Edit::Replace }
}

/// Some of the work on a key with deep history, oldest versions first: whatever is dropped late still hides what was
/// dropped before. Answers its cost and whether the key is done.
fn compact_deep(index: &mut Index, key: &[u8], at: Revision, removed: &mut impl Removed) -> (usize, bool) {
    let Some(packed) = index.keys.get(key) else { return (1, true) };
    let entry = Entry(packed);
    let versions: Vec<Version> = entry.versions().collect();
    let here = versions.iter().any(|version| version.at.main <= at);
    let behind = if here { None } else { Some(at) };
    let dropped = index.history.drop_behind(key, behind, DEEP_CHUNKS, &mut |version| removed.version(version));
    let cost = 1 + dropped * DEEP_CHUNK_KEYS;
    if dropped == DEEP_CHUNKS {
        return (cost, false);
    }
    let (kept, deep) = if here {
        if let Some(deletion) = hiding(&versions, at) {
            removed.hiding_deletion(key, deletion);
        }
        let kept = retained(&versions, at);
        versions.iter().skip(kept).for_each(|version| removed.version(version));
        (kept, false)
    } else {
        let boundary = index.history.versions_from(key, at).next();
        if let Some(deletion) = boundary.as_ref().and_then(|version| hiding(std::slice::from_ref(version), at)) {
            removed.hiding_deletion(key, deletion);
        }
        let keep = |chunk: &[Version]| retained(chunk, at);
        (versions.len(), index.history.cut(key, at, keep, &mut |version| removed.version(version)))
    };
    let mut out = Vec::new();
    pack_entry(versions.get(..kept).unwrap_or(&versions), deep, &mut out);
    if out.is_empty() {
        index.keys.remove(key);
    } else if index.keys.get(key) != Some(&out) {
        let Ok::<(), std::convert::Infallible>(()) = index.keys.upsert(key, &mut Vec::new(), |_, packed| {
            packed.extend_from_slice(&out);
            Ok(())
        });
    }
    (cost, true)
}
