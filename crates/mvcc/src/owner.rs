//! The owner of all revisioned keys: one writer, driven by the apply thread.

use crate::accounts::{AccountDepth, Accounts, AccountsReader, MeterId};
use crate::checkpoint::{CheckpointDone, CheckpointJob, Checkpoints};
use crate::compaction::{Compaction, Removed};
use crate::fault::Result;
use crate::hash::CompactionHashes;
use crate::index::Index;
use crate::load::{self, Loaded};
use crate::range::live_at;
use crate::space::{Reclaim, Unsettled};
use crate::superseded::Superseded;
use crate::txn::{NOTHING_AHEAD, Records, Txn};
use crate::version::Version;
use crate::view::View;
use bytes::Bytes;
use model::{KeyRange, LeaseId, Rejection, Revision};
use std::fmt;
use std::sync::Arc;
use store::{Leftovers, Room, Run, SegmentStat, Store};

/// The revision of an empty store.
const FIRST_REVISION: Revision = Revision(1);
/// What etcd calls the compacted revision of a store that never was.
const NEVER_COMPACTED: Revision = Revision(-1);

/// See the file's head.
pub struct Mvcc {
    pub(crate) store: Store,
    pub(crate) index: Index,
    pub(crate) revision: Revision,
    pub(crate) compacted: Revision,
    /// Without what is unsettled.
    pub(crate) retained: u64,
    pub(crate) unsettled: Unsettled,
    pub(crate) superseded: Superseded,
    pub(crate) accounts: AccountsReader,
    compaction: Compaction,
    versions_removed: u64,
    hashes: Arc<CompactionHashes>,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) reclaim: Reclaim,
    /// A transaction wrote and did not commit.
    pub(crate) broken: bool,
    /// Scratch space of transactions.
    pub(crate) packed: Vec<u8>,
    pub(crate) record: Vec<u8>,
}

impl Mvcc {
    /// Continues from a checkpoint (its part of the meta, and the runs), or starts empty.
    /// Compactions that were not worked off are as done after it.
    pub fn open(store: Store, checkpoint: Option<(Bytes, Vec<Run>)>) -> Result<Mvcc> {
        Mvcc::open_with_accounts(store, checkpoint, AccountDepth::default())
    }

    /// The same with accounts of another depth.
    pub fn open_with_accounts(
        mut store: Store,
        checkpoint: Option<(Bytes, Vec<Run>)>,
        depth: AccountDepth,
    ) -> Result<Mvcc> {
        let empty = || Loaded::empty(FIRST_REVISION, NEVER_COMPACTED, Accounts::new(depth));
        let (loaded, checkpoints) = match checkpoint {
            Some((meta, runs)) => {
                let mut checkpoints = Checkpoints::continued(&meta, &runs)?;
                let loaded = load::load(&mut store, &meta, runs, Accounts::new(depth))?;
                checkpoints.loaded(store.live_bytes());
                (loaded, checkpoints)
            }
            None => (empty(), Checkpoints::default()),
        };
        let Loaded { index, revision, compacted, retained, superseded, accounts } = loaded;
        let mvcc = Mvcc {
            store,
            index,
            revision,
            compacted,
            retained,
            unsettled: Unsettled::default(),
            superseded,
            accounts: AccountsReader::new(accounts),
            compaction: Compaction::default(),
            versions_removed: 0,
            hashes: Arc::default(),
            checkpoints,
            reclaim: Reclaim::default(),
            broken: false,
            packed: Vec::new(),
            record: Vec::new(),
        };
        mvcc.assert_consistent();
        Ok(mvcc)
    }

    /// Makes a store that was only looked at ready to be written, see `Store::claim`.
    pub fn claim(&mut self, owner: u64) -> Result<()> {
        Ok(self.store.claim(owner)?)
    }

    /// What holds between transactions; looks at every account.
    fn assert_consistent(&self) {
        let sum = self.accounts.lock().total();
        let keys = self.index.keys.summary();
        assert_eq!(sum.retained_bytes, self.retained, "what is retained is what all accounts retain");
        assert_eq!(sum.keys, keys.live, "the keys that exist are those of all accounts");
        assert!(self.broken || keys.newest <= self.revision, "the index holds nothing of revisions to come");
        assert!(self.compacted <= self.revision, "a compaction is of a revision that was reached");
    }

    /// The revision of the last change; 1 if there was none.
    pub fn current_revision(&self) -> Revision {
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

    /// Bytes of the records of all versions that may still be read, deletions counted as records of their key, and what
    /// is unsettled. The same on every member after the same commands, whatever was removed already.
    pub fn retained_bytes(&self) -> u64 {
        self.retained.saturating_add(self.unsettled.bytes())
    }

    /// Keys and retained bytes by prefix.
    pub fn accounts(&self) -> &AccountsReader {
        &self.accounts
    }

    /// Sums up what is below `prefix` from now on; a look at every account. `None` if accounts are not as deep as the
    /// prefix, see `AccountDepth::needed_by`.
    pub fn meter(&mut self, prefix: &Bytes) -> Option<MeterId> {
        self.accounts.lock().meter(prefix)
    }

    /// Ends the meter of exactly this prefix, which must be there.
    pub fn unmeter(&mut self, prefix: &Bytes) {
        self.accounts.lock().unmeter(prefix);
    }

    /// Bytes of the store's files.
    pub fn physical_bytes(&self) -> u64 {
        self.store.physical_bytes()
    }

    /// Starts write-back of records once they are flushed, on any thread.
    pub fn write_back(&self) -> store::WriteBack {
        self.store.write_back()
    }

    /// True if records of so many bytes can be written without asking the disk for space.
    pub fn is_allocated(&self, bytes: u64) -> bool {
        self.store.is_allocated(bytes)
    }

    /// Live and all bytes of each segment.
    pub fn segments(&self) -> impl Iterator<Item = SegmentStat> + '_ {
        self.store.segments()
    }

    /// Every key that names a lease now, in key order: from which the lease table's lists are made at start.
    pub fn for_each_leased(&self, mut visit: impl FnMut(LeaseId, Bytes)) {
        for (key, meta) in live_at(&self.index, &KeyRange::all(), self.revision) {
            if !meta.lease.is_none() {
                visit(meta.lease, key.to_vec().into());
            }
        }
    }

    pub fn begin(&mut self) -> Txn<'_> {
        Txn::new(self, &NOTHING_AHEAD)
    }

    /// The same, with records that need not be read again.
    pub fn begin_with<'a>(&'a mut self, ahead: &'a Records) -> Txn<'a> {
        Txn::new(self, ahead)
    }

    /// Writes the records of all transactions since the last call to their file, in one go. A view taken after it can
    /// load all that it shows.
    pub fn flush(&mut self) -> Result<()> {
        Ok(self.store.flush()?)
    }

    /// Lets views taken after it load the same without writing it: what is little may wait in memory for the next
    /// `flush`.
    pub fn publish(&mut self) -> Result<()> {
        Ok(self.store.publish()?)
    }

    /// Bytes of records that wait for `flush`.
    pub fn unwritten_bytes(&self) -> u64 {
        self.store.unwritten_bytes()
    }

    /// The store as it is now. O(1).
    pub fn view(&self) -> View {
        assert!(self.compacted <= self.revision, "a view can be read at its own revision");
        View {
            index: self.index.clone(),
            revision: self.revision,
            compacted: self.compacted,
            reader: self.store.reader(),
            hashes: self.hashes.clone(),
        }
    }

    /// Drops history below `at`: for readers and in the accounts at once, in memory and in the store by
    /// `compaction_step`, in the retained bytes at once if it is not much (see `space::settle`). Fails if `at` is
    /// compacted already or lies in the future.
    pub fn compact(&mut self, at: Revision) -> std::result::Result<(), Rejection> {
        if at <= self.compacted {
            return Err(Rejection::Compacted);
        }
        if at > self.revision {
            return Err(Rejection::FutureRevision);
        }
        self.hashes.add(at, self.compacted, self.index.clone());
        self.compacted = at;
        let mut dropped = 0;
        let mut accounts = self.accounts.lock();
        self.superseded.compact(at, |account, bytes| {
            dropped += bytes;
            accounts.drop_history(account, bytes);
        });
        drop(accounts);
        assert!(dropped <= self.retained, "a compaction drops what is retained");
        self.retained -= dropped;
        self.unsettled.add(dropped);
        self.compaction.schedule();
        Ok(())
    }

    /// Removes what compactions dropped, looking at about `budget_keys` keys; to be called between batches until it
    /// answers false. A thousand keys take less than half a millisecond.
    pub fn compaction_step(&mut self, budget_keys: usize) -> bool {
        let Mvcc { index, store, compaction, checkpoints, compacted, versions_removed, .. } = self;
        compaction.step(index, *compacted, budget_keys, &mut Discard { store, checkpoints, versions_removed });
        compaction.is_pending()
    }

    /// Versions and deletions that `compaction_step` removed since this was opened.
    pub fn versions_removed(&self) -> u64 {
        self.versions_removed
    }

    pub(crate) fn has_compaction_to_do(&self) -> bool {
        self.compaction.is_pending()
    }

    /// The disk's room for records.
    pub fn room(&self) -> Room {
        self.store.room()
    }

    /// What the lack of space was, while there is one.
    pub fn shortage(&self) -> Option<&store::Fault> {
        self.store.shortage()
    }

    /// After a lack of space: looks whether there is some again.
    pub fn look_for_space(&mut self) -> Result<()> {
        Ok(self.store.look_for_space()?)
    }

    /// As `flush`, with all of the store's reserve if the disk is full.
    pub fn flush_with_reserve(&mut self) -> Result<()> {
        Ok(self.store.flush_with_reserve()?)
    }

    /// Lets others have the space of the store's reserve.
    pub fn give_up_reserve(&mut self) {
        self.store.give_up_reserve();
    }

    /// Captures what a checkpoint of this moment holds: O(1), the rest is the job's, on another thread. One at a time:
    /// the next may be taken after `finish_checkpoint`, or after the job was dropped.
    pub fn take_checkpoint(&mut self) -> Result<CheckpointJob> {
        self.assert_consistent();
        let occupancy = self.occupancy();
        let writer = self.store.begin_checkpoint()?;
        Ok(self.checkpoints.take(writer, self.index.clone(), self.revision, self.compacted, occupancy))
    }

    /// The job's checkpoint is durable: what only the one before named is to go.
    pub fn finish_checkpoint(&mut self, done: CheckpointDone) -> Leftovers {
        let done = self.checkpoints.finish(done);
        self.store.finish_checkpoint(done)
    }
}

struct Discard<'a> {
    store: &'a mut Store,
    checkpoints: &'a mut Checkpoints,
    versions_removed: &'a mut u64,
}

impl Removed for Discard<'_> {
    fn version(&mut self, version: &Version) {
        *self.versions_removed += 1;
        if let Some(location) = version.location() {
            self.store.mark_garbage(location);
        }
    }

    fn hiding_deletion(&mut self, key: &[u8], version: &Version) {
        self.checkpoints.note_hiding(key, version);
    }
}

impl fmt::Debug for Mvcc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mvcc at revision {}, compacted at {}, {} keys", self.revision, self.compacted, self.key_count())
    }
}
