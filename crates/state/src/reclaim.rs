//! Giving space back, as `mvcc` does it: nothing in it is state, so that members may differ in when they do it.

use crate::fault::Result;
use crate::state::State;
use model::SpaceRelease;
use mvcc::{ReclaimJob, Relocated};

impl State {
    /// A job that empties segments, for another thread, if files are longer than they should be. To be answered with
    /// `finish_reclaim` or `abandon_reclaim`.
    pub fn begin_reclaim(&mut self) -> Result<Option<ReclaimJob>> {
        Ok(self.mvcc.begin_reclaim()?)
    }

    /// Takes the job's copies in; `relocation_step` makes the key index follow.
    pub fn finish_reclaim(&mut self, relocated: Relocated) {
        self.mvcc.finish_reclaim(relocated);
    }

    /// The job failed and was dropped.
    pub fn abandon_reclaim(&mut self) {
        self.mvcc.abandon_reclaim();
    }

    /// Follows up to so many copied records. True if there are more.
    pub fn relocation_step(&mut self, records: usize) -> bool {
        self.mvcc.relocation_step(records)
    }

    /// A checkpoint would give back space that is needed.
    pub fn wants_checkpoint(&self) -> bool {
        self.mvcc.wants_checkpoint()
    }

    /// The files are longer than they should be. O(1).
    pub fn is_over_target(&self) -> bool {
        self.mvcc.is_over_target()
    }

    /// Bytes that may be written before the files are too long for reclaim to keep up. O(1).
    pub fn growth_room(&self) -> u64 {
        self.mvcc.growth_room()
    }

    /// Of the retained bytes, what compactions dropped and no release took off yet.
    pub fn unreleased_bytes(&self) -> u64 {
        self.mvcc.unreleased_bytes()
    }

    /// The release that the files allow, if it is worth a log entry: to be proposed by the member that leads. O(1).
    /// `gives_back`: something is under way that makes the files shorter; without that all is released, as waiting would not help.
    pub fn releasable(&self, gives_back: bool) -> Option<SpaceRelease> {
        self.mvcc.releasable(gives_back)
    }

    /// What the record of a key's pair takes now; 0 if there is no such key.
    pub fn record_bytes(&self, key: &[u8]) -> u64 {
        self.mvcc.record_bytes(key)
    }

    /// Makes room for records whose payloads have `bytes` together, so that applying what writes them will not wait for
    /// space. Fails with a lack of space if the disk is full: then it must not be applied yet.
    pub fn make_room(&mut self, bytes: u64) -> Result<()> {
        Ok(self.mvcc.make_room(bytes)?)
    }
}
