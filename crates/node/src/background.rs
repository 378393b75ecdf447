//! The background: work that must make no request wait, one job at a time. It writes checkpoints, copies what is live
//! out of segments that are to go, removes files, starts write-back of records, and prepares log segments.
//!
//! Stepped: a step does one piece of the job at hand, and looks after write-back, the log's next segment and removed
//! files. Whatever meets a full disk, or a lack of descriptors, is given up and tried again by apply, perhaps in
//! another order: a checkpoint is what lets the log be trimmed and empty segments go, copies are what empties them. Any
//! other fault ends the writing.

use crate::limits::{REMOVED_FILES_HELD_MAX, STORE_SYNC_INTERVAL};
use crate::messages::{Job, JobDone};
use crate::shared::Shared;
use model::{LogIndex, Revision};
use state::{CheckpointJob, CleanJob};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use store::{Leftovers, Unlinked, WriteBack};

pub(crate) struct Background {
    shared: Arc<Shared>,
    log: wal::Preparer,
    write_back: WriteBack,
    /// When the store was synced last.
    synced_at: Duration,
    jobs: VecDeque<Job>,
    removed: Removed,
}

/// Removed files that readers may still read: their space is free once the last handle is closed.
#[derive(Default)]
struct Removed {
    unlinked: Unlinked,
    /// Since when, and the newest event then: older ones are read with views that may hold the files.
    since: Option<(Duration, Revision)>,
}

impl Background {
    pub(crate) fn new(shared: Arc<Shared>, log: wal::Preparer, write_back: WriteBack) -> Background {
        let synced_at = shared.clock.monotonic();
        Background { shared, log, write_back, synced_at, jobs: VecDeque::new(), removed: Removed::default() }
    }

    /// True if the next step is due at once.
    pub(crate) fn has_work(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// Takes `jobs` in, which is left empty, and does one piece of the oldest. Returns what is done.
    pub(crate) fn step(&mut self, jobs: &mut Vec<Job>) -> Option<JobDone> {
        self.jobs.extend(jobs.drain(..));
        let is_checkpoint = matches!(self.jobs.front(), Some(Job::Checkpoint { .. }));
        let is_due = self.shared.clock.monotonic().saturating_sub(self.synced_at) >= STORE_SYNC_INTERVAL;
        if (is_checkpoint || is_due)
            && let Err(fault) = self.sync_store()
        {
            return Some(JobDone::Failed(fault));
        }
        let done = match self.jobs.pop_front() {
            Some(Job::Checkpoint { job, index }) => Some(self.write_checkpoint(*job, index)),
            Some(Job::Clean(job)) => self.clean(job),
            Some(Job::Remove(leftovers)) => Some(self.remove(leftovers)),
            Some(Job::CompactionHashes(view)) => {
                view.kv().complete_compaction_hashes();
                None
            }
            None => None,
        };
        self.close_removed();
        self.prepare_log();
        self.write_back.step(self.shared.clock.monotonic());
        done
    }

    /// Makes what was written to the store's files durable, and measures that: what is said of a slow disk of the store.
    /// Nothing relies on it but a checkpoint, which then finds little to sync; between checkpoints, the system would
    /// write the same by itself a little later.
    fn sync_store(&mut self) -> Result<(), state::Fault> {
        let started = self.shared.clock.monotonic();
        let synced = self.write_back.sync().map_err(mvcc::Fault::from)?;
        self.synced_at = self.shared.clock.monotonic();
        if synced {
            self.shared.metrics.backend_commit.observe(self.synced_at.saturating_sub(started));
        }
        Ok(())
    }

    fn remove(&mut self, leftovers: Leftovers) -> JobDone {
        match leftovers.remove() {
            Ok(unlinked) => {
                self.removed.unlinked.extend(unlinked);
                JobDone::FilesRemoved
            }
            Err(fault) => JobDone::Failed(mvcc::Fault::from(fault).into()),
        }
    }

    /// Watchers that keep up have read the events by then; the others go on from the store.
    fn close_removed(&mut self) {
        let Removed { unlinked, since } = &mut self.removed;
        unlinked.close_unused();
        if unlinked.is_empty() {
            *since = None;
            return;
        }
        let now = self.shared.clock.monotonic();
        let (held_since, newest) = *since.get_or_insert_with(|| (now, self.shared.events.revision()));
        if now.saturating_sub(held_since) >= REMOVED_FILES_HELD_MAX {
            self.shared.events.forget(newest);
            *since = None;
        }
    }

    fn prepare_log(&mut self) {
        if let Err(fault) = self.log.run() {
            tracing::debug!(error = %fault, "prepare the log's next segment: tried again shortly");
        }
    }

    /// A full disk ends the job, and its copies go: the next one may be smaller.
    fn clean(&mut self, mut job: Box<CleanJob>) -> Option<JobDone> {
        match job.step() {
            Ok(true) => {
                self.jobs.push_front(Job::Clean(job));
                None
            }
            Ok(false) => Some(cleaned(job.finish().map(|relocated| Some(Box::new(relocated))))),
            Err(fault) => Some(cleaned(Err(fault))),
        }
    }

    /// A full disk ends the job, and what it wrote goes: the next one may be smaller, or come after other things went.
    fn write_checkpoint(&mut self, mut job: CheckpointJob, index: LogIndex) -> JobDone {
        let started = self.shared.clock.monotonic();
        let written = match job.write() {
            Ok(done) => JobDone::Checkpoint(Some(Box::new(done))),
            Err(fault) if fault.may_pass() => {
                tracing::warn!(error = %fault, "write checkpoint {index}: tried again shortly");
                JobDone::Checkpoint(None)
            }
            Err(fault) => JobDone::Failed(fault),
        };
        // It holds files open, and keeps the reserve from being made again.
        drop(job);
        self.shared.metrics.checkpoint.observe(self.shared.clock.monotonic().saturating_sub(started));
        written
    }
}

fn cleaned(copied: mvcc::Result<Option<Box<state::Cleaned>>>) -> JobDone {
    match copied {
        Ok(relocated) => JobDone::Cleaned(relocated),
        Err(fault) if fault.may_pass() => {
            tracing::warn!(error = %fault, "reclaim space: tried again shortly");
            JobDone::Cleaned(None)
        }
        Err(fault) => JobDone::Failed(fault.into()),
    }
}
