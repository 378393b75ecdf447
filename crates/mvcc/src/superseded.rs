//! Which retained bytes each revision superseded, by account, so that a compaction takes them off at once, before
//! anything is removed.
//!
//! A version counts until the revision that replaced it is compacted; a deletion counts until a later revision is.
//! Bounded by the history itself: 16 bytes for each revision and account above the compacted one that superseded
//! something.

use crate::accounts::AccountId;
use model::Revision;
use std::collections::VecDeque;

/// Shares in one piece: pieces are never moved, so that adding to a long queue costs no more than adding to a short
/// one.
const PIECE: usize = 4096;

/// Bytes that stop counting when a revision is compacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Share {
    revision: Revision,
    account: AccountId,
    /// At most; what is more goes into another share.
    bytes: u32,
}

/// Shares in the order of their revisions, which is the order they come in.
#[derive(Debug, Clone, Default)]
struct Queue {
    pieces: VecDeque<Vec<Share>>,
}

impl Queue {
    fn add(&mut self, revision: Revision, account: AccountId, mut bytes: u64) {
        if let Some(last) = self.pieces.back_mut().and_then(|piece| piece.last_mut()) {
            assert!(last.revision <= revision, "revisions come in ascending order");
            if (last.revision, last.account) == (revision, account) {
                let sum = u64::from(last.bytes) + bytes;
                last.bytes = u32::try_from(sum).unwrap_or(u32::MAX);
                bytes = sum - u64::from(last.bytes);
            }
        }
        while bytes > 0 {
            let part = u32::try_from(bytes).unwrap_or(u32::MAX);
            bytes -= u64::from(part);
            self.push(Share { revision, account, bytes: part });
        }
    }

    fn push(&mut self, share: Share) {
        if self.pieces.back().is_none_or(|piece| piece.len() >= PIECE) {
            self.pieces.push_back(Vec::with_capacity(PIECE));
        }
        self.pieces.back_mut().expect("a piece was added").push(share);
    }

    /// Undoes `add` of `bytes` for the last revision.
    fn take_back(&mut self, revision: Revision, account: AccountId, mut bytes: u64) {
        assert!(bytes > 0, "a deletion counts");
        let shares = self.pieces.iter_mut().rev().flat_map(|piece| piece.iter_mut().rev());
        for share in shares.take_while(|share| share.revision == revision) {
            if share.account == account {
                let part = share.bytes.min(u32::try_from(bytes).unwrap_or(u32::MAX));
                share.bytes -= part;
                bytes -= u64::from(part);
                if bytes == 0 {
                    return;
                }
            }
        }
        unreachable!("the bytes were added just before");
    }

    fn compact(&mut self, at: Revision, gone: &mut impl FnMut(AccountId, u64)) {
        while let Some(piece) = self.pieces.front_mut() {
            let count = piece.partition_point(|share| share.revision <= at);
            piece.drain(..count).for_each(|share| gone(share.account, share.bytes.into()));
            if !piece.is_empty() {
                break;
            }
            self.pieces.pop_front();
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Superseded {
    /// Versions by the revision that replaced them, which is the current one when they are added.
    versions: Queue,
    /// Deletions by the revision after them.
    deletions: Queue,
}

impl Superseded {
    /// A version of so many bytes is replaced by the change at `revision`.
    pub(crate) fn replaced(&mut self, revision: Revision, account: AccountId, bytes: u64) {
        self.versions.add(revision, account, bytes);
    }

    /// A deletion that counts as so many bytes was made at `revision`.
    pub(crate) fn deleted(&mut self, revision: Revision, account: AccountId, bytes: u64) {
        self.deletions.add(Revision(revision.0 + 1), account, bytes);
    }

    /// The deletion of `deleted` is replaced in its own revision.
    pub(crate) fn undeleted(&mut self, revision: Revision, account: AccountId, bytes: u64) {
        self.deletions.take_back(Revision(revision.0 + 1), account, bytes);
        self.versions.add(revision, account, bytes);
    }

    /// Tells of all bytes that stop counting when `at` is compacted; they are forgotten.
    pub(crate) fn compact(&mut self, at: Revision, mut gone: impl FnMut(AccountId, u64)) {
        self.versions.compact(at, &mut gone);
        self.deletions.compact(at, &mut gone);
    }

    /// From shares in any order: bytes that stop counting when a revision is compacted.
    pub(crate) fn from_shares(mut shares: Vec<(Revision, AccountId, u64)>) -> Superseded {
        shares.sort_unstable();
        let mut superseded = Superseded::default();
        for (revision, account, bytes) in shares {
            // The last of them may be deletions of the current revision: what comes is not before the revision after
            // it.
            superseded.versions.add(revision, account, bytes);
        }
        superseded
    }

    /// All bytes, in order of revision and account.
    #[cfg(test)]
    pub(crate) fn shares(&self) -> Vec<(Revision, AccountId, u64)> {
        let mut sums = std::collections::BTreeMap::new();
        for share in [&self.versions, &self.deletions].into_iter().flat_map(|queue| queue.pieces.iter().flatten()) {
            *sums.entry((share.revision, share.account)).or_default() += u64::from(share.bytes);
        }
        sums.into_iter().filter(|(_, bytes)| *bytes > 0).map(|((at, account), bytes)| (at, account, bytes)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Accounts;

    fn compacted(superseded: &mut Superseded, at: i64) -> u64 {
        let mut sum = 0;
        superseded.compact(Revision(at), |_, bytes| sum += bytes);
        sum
    }

    #[test]
    fn bytes_stop_counting_with_their_revision() {
        let mut accounts = Accounts::default();
        let (one, other) = (accounts.of(b"one/x"), accounts.of(b"other/x"));
        let mut superseded = Superseded::default();
        for revision in 1..10_000 {
            superseded.replaced(Revision(revision), one, 10);
            superseded.deleted(Revision(revision), other, 1);
            superseded.replaced(Revision(revision), other, 2);
        }
        superseded.deleted(Revision(10_000), one, 2);
        superseded.deleted(Revision(10_000), other, 7);
        superseded.undeleted(Revision(10_000), one, 2);
        assert_eq!(compacted(&mut superseded, 1), 12);
        assert_eq!(compacted(&mut superseded, 5000), 4999 * 13);
        assert_eq!(compacted(&mut superseded, 5000), 0);
        let shares = superseded.shares();
        assert_eq!(shares.first(), Some(&(Revision(5001), one, 10)));
        assert_eq!(shares.last(), Some(&(Revision(10_001), other, 7)));
        assert_eq!(Superseded::from_shares(shares.clone()).shares(), shares);
        assert_eq!(compacted(&mut superseded, i64::MAX), 4999 * 13 + 1 + 2 + 7);
    }

    #[test]
    fn more_than_a_share_holds_is_counted_whole() {
        let account = Accounts::default().of(b"one/x");
        let mut superseded = Superseded::default();
        let half = u64::from(u32::MAX) - 1;
        for _ in 0..3 {
            superseded.deleted(Revision(1), account, half);
        }
        superseded.undeleted(Revision(1), account, 2 * half);
        assert_eq!(compacted(&mut superseded, 1), 2 * half);
        assert_eq!(compacted(&mut superseded, 2), half);
    }
}
