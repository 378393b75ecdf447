//! Space, as `mvcc` gives it back: nothing in it is state, so that members may differ in when they do it.

use crate::fault::Result;
use crate::state::State;
use model::SpaceSettle;
use mvcc::{CleanJob, Cleaned};
use store::Room;

impl State {
    /// A job that empties segments, for another thread, if files are longer than they should be. To be answered with
    /// `finish_clean` or `abandon_clean`.
    pub fn begin_clean(&mut self) -> Result<Option<CleanJob>> {
        Ok(self.mvcc.begin_clean()?)
    }

    /// Takes the job's copies in; `relocation_step` makes the key index follow.
    pub fn finish_clean(&mut self, cleaned: Cleaned) {
        self.mvcc.finish_clean(cleaned);
    }

    /// The job failed and was dropped.
    pub fn abandon_clean(&mut self) {
        self.mvcc.abandon_clean();
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

    /// Bytes that writers may write before the files are too long for reclaim to keep up. O(1).
    pub fn write_window(&self) -> u64 {
        self.mvcc.write_window()
    }

    /// Of the retained bytes, what compactions dropped and what is not settled yet.
    pub fn unsettled_bytes(&self) -> u64 {
        self.mvcc.unsettled_bytes()
    }

    /// What the files allow to be settled, if it is worth a log entry: to be proposed by the member that leads. O(1).
    /// `gives_back`: something is under way that makes the files shorter; without that all is settled, as waiting would
    /// not help.
    pub fn settleable(&self, gives_back: bool) -> Option<SpaceSettle> {
        self.mvcc.settleable(gives_back)
    }

    /// The disk's room for records.
    pub fn room(&self) -> Room {
        self.mvcc.room()
    }

    /// Space for a record was lacking, and there is not much again: growth is to be refused before it is proposed.
    pub fn is_short_of_space(&self) -> bool {
        self.shortage().is_some()
    }

    /// What the lack of space was, while there is one.
    pub fn shortage(&self) -> Option<&store::Fault> {
        self.mvcc.shortage()
    }

    /// After a lack of space: looks whether there is some again.
    pub fn look_for_space(&mut self) -> Result<()> {
        Ok(self.mvcc.look_for_space()?)
    }

    /// As `flush`, with all of the store's reserve if the disk is full.
    pub fn flush_with_reserve(&mut self) -> Result<()> {
        Ok(self.mvcc.flush_with_reserve()?)
    }

    /// Lets others have the space of the store's reserve: the log, if it cannot take what shrinks the store.
    pub fn give_up_reserve(&mut self) {
        self.mvcc.give_up_reserve();
    }

    /// True if records of so many bytes, headers included, have space that is allocated already.
    pub fn is_allocated(&self, record_bytes: u64) -> bool {
        self.mvcc.is_allocated(record_bytes)
    }
}
