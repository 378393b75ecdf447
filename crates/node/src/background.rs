//! The background thread: work that must make no request wait; it gives way to all other threads. It writes checkpoints, copies what is live out of segments that
//! are to go, and prepares log segments.
//!
//! Whatever meets a full disk is given up and tried again by apply, perhaps in another order: a checkpoint is what lets the log be
//! trimmed and empty segments go, copies are what empties them. Any other fault ends the writing.

use crate::apply::ApplyMessage;
use crate::handle::Shared;
use crate::inbox::Inbox;
use crate::limits::REMOVED_FILES_HELD_MAX;
use model::{LogIndex, Revision};
use state::{CheckpointJob, ReclaimJob, Relocated, StateView};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;
use store::{Held, Leftovers};

pub(crate) enum BackgroundJob {
    Checkpoint {
        job: Box<CheckpointJob>,
        index: LogIndex,
    },
    Reclaim(Box<ReclaimJob>),
    /// Files that no checkpoint names any more.
    Remove(Leftovers),
    /// A compaction was applied: hash what it drops before the history goes.
    CompactionHashes(Arc<StateView>),
    Stop,
}

pub(crate) struct Background {
    pub(crate) shared: Arc<Shared>,
    pub(crate) jobs: Receiver<BackgroundJob>,
    pub(crate) apply: Arc<Inbox<ApplyMessage>>,
    pub(crate) log: wal::Preparer,
    pub(crate) removed: Removed,
}

/// Removed files that readers may still read: their space is free once the last handle is closed.
#[derive(Default)]
pub(crate) struct Removed {
    held: Held,
    /// Since when, and the newest event then: older ones are read with views that may hold the files.
    since: Option<(Duration, Revision)>,
}

/// How often the log's next segment is looked after.
const PREPARE_INTERVAL: Duration = Duration::from_millis(50);

impl Background {
    pub(crate) fn run(mut self) -> Result<(), state::Fault> {
        loop {
            match self.jobs.recv_timeout(PREPARE_INTERVAL) {
                Ok(BackgroundJob::Checkpoint { job, index }) => self.write_checkpoint(*job, index)?,
                Ok(BackgroundJob::Reclaim(job)) => self.reclaim(*job)?,
                Ok(BackgroundJob::Remove(leftovers)) => self.remove(leftovers)?,
                Ok(BackgroundJob::CompactionHashes(view)) => {
                    view.kv().complete_compaction_hashes();
                }
                Ok(BackgroundJob::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.close_removed();
            self.prepare_log();
        }
    }

    fn remove(&mut self, leftovers: Leftovers) -> Result<(), state::Fault> {
        let held = leftovers.remove().map_err(mvcc::Fault::from)?;
        self.removed.held.extend(held);
        self.apply.push_always(ApplyMessage::FilesRemoved);
        Ok(())
    }

    /// Watchers that keep up have read the events by then; the others go on from the store.
    fn close_removed(&mut self) {
        let Removed { held, since } = &mut self.removed;
        held.close_unused();
        if held.is_empty() {
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
    fn reclaim(&mut self, job: ReclaimJob) -> Result<(), state::Fault> {
        let relocated = match self.copy(job) {
            Ok(relocated) => Some(Box::new(relocated)),
            Err(fault) if fault.is_no_space() => {
                tracing::warn!(error = %fault, "reclaim space: tried again shortly");
                None
            }
            Err(fault) => return Err(fault.into()),
        };
        self.apply.push_always(ApplyMessage::Reclaimed(relocated));
        Ok(())
    }

    fn copy(&mut self, mut job: ReclaimJob) -> mvcc::Result<Relocated> {
        while job.step()? {
            self.prepare_log();
        }
        job.finish()
    }

    /// A full disk ends the job, and what it wrote goes: the next one may be smaller, or come after other things went.
    fn write_checkpoint(&mut self, mut job: CheckpointJob, index: LogIndex) -> Result<(), state::Fault> {
        let started = self.shared.clock.monotonic();
        let written = match job.write() {
            Ok(done) => Some(Box::new(done)),
            Err(fault) if fault.is_no_space() => {
                tracing::warn!(error = %fault, "write checkpoint {index}: tried again shortly");
                None
            }
            Err(fault) => return Err(fault),
        };
        // It holds files open, and keeps the reserve from being made again.
        drop(job);
        self.shared.metrics.checkpoint.observe(self.shared.clock.monotonic().saturating_sub(started));
        self.apply.push_always(ApplyMessage::CheckpointWritten(written));
        Ok(())
    }
}
