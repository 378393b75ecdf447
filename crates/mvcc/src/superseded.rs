//! How many retained bytes each revision superseded, so that a compaction takes them off at once, before anything is removed.
//!
//! A version counts until the revision that replaced it is compacted; a deletion counts until a later revision is.
//! Bounded by the history itself: one pair of numbers for each revision above the compacted one that superseded something.

use model::Revision;
use std::collections::VecDeque;

/// Pairs in one piece: pieces are never moved, so that adding to a long queue costs no more than adding to a short one.
const PIECE: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Superseded {
    /// By revision, each once.
    pieces: VecDeque<Vec<(Revision, u64)>>,
}

impl Superseded {
    /// `bytes` stop counting when `revision` is compacted. The revision is one of the last two, or above them.
    pub(crate) fn add(&mut self, revision: Revision, bytes: u64) {
        if bytes == 0 {
            return;
        }
        if let Some(known) = self.recent(revision) {
            *known += bytes;
            return;
        }
        let full = self.pieces.back().is_none_or(|piece| piece.len() >= PIECE);
        if full {
            self.pieces.push_back(Vec::with_capacity(PIECE));
        }
        let piece = self.pieces.back_mut().expect("a piece was added");
        assert!(piece.last().is_none_or(|(last, _)| *last < revision), "revisions come in ascending order");
        piece.push((revision, bytes));
    }

    /// Undoes `add` of `bytes` for one of the last two revisions.
    pub(crate) fn take_back(&mut self, revision: Revision, bytes: u64) {
        let known = self.recent(revision).expect("the bytes were added just before");
        *known -= bytes;
    }

    fn recent(&mut self, revision: Revision) -> Option<&mut u64> {
        let pieces = self.pieces.iter_mut().rev().take(2);
        let mut last = pieces.flat_map(|piece| piece.iter_mut().rev()).take(2);
        last.find(|(known, _)| *known == revision).map(|(_, bytes)| bytes)
    }

    /// All bytes that stop counting when `at` is compacted; they are forgotten.
    pub(crate) fn compact(&mut self, at: Revision) -> u64 {
        let mut sum = 0;
        while let Some(piece) = self.pieces.front_mut() {
            let gone = piece.partition_point(|(revision, _)| *revision <= at);
            sum += piece.drain(..gone).map(|(_, bytes)| bytes).sum::<u64>();
            if !piece.is_empty() {
                break;
            }
            self.pieces.pop_front();
        }
        sum
    }

    /// From pairs in any order.
    pub(crate) fn from_pairs(mut pairs: Vec<(Revision, u64)>) -> Superseded {
        pairs.sort_unstable();
        let mut superseded = Superseded::default();
        pairs.into_iter().for_each(|(revision, bytes)| superseded.add(revision, bytes));
        superseded
    }

    /// All pairs with their bytes, in order.
    #[cfg(test)]
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (Revision, u64)> + '_ {
        self.pieces.iter().flatten().copied().filter(|(_, bytes)| *bytes > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stop_counting_with_their_revision() {
        let mut superseded = Superseded::default();
        for revision in 1..10_000 {
            superseded.add(Revision(revision), 10);
            superseded.add(Revision(revision + 1), 1);
            superseded.add(Revision(revision), 2);
        }
        superseded.add(Revision(10_000), 2);
        superseded.take_back(Revision(10_000), 2);
        assert_eq!(superseded.compact(Revision(1)), 12);
        assert_eq!(superseded.compact(Revision(5000)), 4999 * 13);
        assert_eq!(superseded.compact(Revision(5000)), 0);
        let pairs: Vec<_> = superseded.pairs().collect();
        assert_eq!(pairs.first(), Some(&(Revision(5001), 13)));
        assert_eq!(pairs.last(), Some(&(Revision(10_000), 1)));
        assert!(Superseded::from_pairs(pairs.clone()).pairs().eq(pairs));
        assert_eq!(superseded.compact(Revision(i64::MAX)), 4999 * 13 + 1);
    }
}
