//! The background: work that must make no request wait, one job at a time. It writes checkpoints, copies what is live
//! out of segments that are to go, removes files, starts write-back of records, prepares log segments, and scrubs.
//!
//! Stepped: a step does one piece of the job at hand, and looks after write-back, the log's next segment and removed
//! files. The scrub has its step when there is no job. A job whose own files cannot be written is given up and tried
//! again by apply, perhaps in another order: a checkpoint is what lets the log be trimmed and empty segments go, copies
//! are what empties them. A fault that puts other files in doubt ends the writing.

use crate::disk_health::{Ailment, Sign};
use crate::limits::{
    LOG_SHORT_AFTER, LOG_SPACE_INTERVAL, REMOVED_BYTES_HELD_MAX, REMOVED_FILES_HELD_MAX, STORE_SYNC_INTERVAL,
    UPKEEP_RETRY_INTERVAL,
};
use crate::messages::{Job, JobDone};
use crate::scrub::Scrub;
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
    scrub: Scrub,
    removed: Removed,
    /// What could not be removed, to be tried again.
    unremoved: Vec<Leftovers>,
    retry_at: Duration,
    /// When apply may be asked again to make space for the log.
    ask_at: Duration,
    /// Since when the log's next segment finds no space.
    log_short_since: Option<Duration>,
}

/// Removed files that readers may still read: their space is free once the last handle is closed.
#[derive(Default)]
struct Removed {
    unlinked: Unlinked,
    /// Since when, and the newest event then: older ones are read with views that may hold the files.
    since: Option<(Duration, Revision)>,
}

impl Background {
    pub(crate) fn new(shared: Arc<Shared>, log: wal::Preparer, write_back: WriteBack, scrub: Scrub) -> Background {
        let synced_at = shared.clock.monotonic();
        Background {
            shared,
            log,
            write_back,
            synced_at,
            jobs: VecDeque::new(),
            scrub,
            removed: Removed::default(),
            unremoved: Vec::new(),
            retry_at: Duration::ZERO,
            ask_at: Duration::ZERO,
            log_short_since: None,
        }
    }

    /// True if the next step is due at once.
    pub(crate) fn has_work(&self) -> bool {
        !self.jobs.is_empty() || self.scrub.is_due()
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
            None => {
                self.scrub.step();
                None
            }
        };
        let now = self.shared.clock.monotonic();
        self.remove_again(now);
        self.close_removed();
        self.prepare_log(now);
        self.write_back.step(now);
        done.or_else(|| self.ask_for_log(now))
    }

    /// Makes what was written to the store's files durable, and measures that: what is said of a slow disk of the
    /// store. Nothing relies on it but a checkpoint, which then finds little to sync; between checkpoints, the system
    /// would write the same by itself a little later.
    fn sync_store(&mut self) -> Result<(), state::Fault> {
        let started = self.shared.clock.monotonic();
        let synced = self.write_back.sync().map_err(mvcc::Fault::from)?;
        self.synced_at = self.shared.clock.monotonic();
        if synced {
            self.shared.metrics.backend_commit.observe(self.synced_at.saturating_sub(started));
        }
        Ok(())
    }

    /// What the log could trim behind a checkpoint is space, for which somebody may wait.
    fn ask_for_log(&mut self, now: Duration) -> Option<JobDone> {
        let has_full_segments = self.log.has_full_segments();
        let asks = self.log_short_since.is_some() || (has_full_segments && self.log.is_squeezed());
        if !asks || now < self.ask_at {
            return None;
        }
        self.ask_at = now + LOG_SPACE_INTERVAL;
        Some(JobDone::LogWantsSpace { is_short: self.log_short_since.is_some(), has_full_segments })
    }

    /// What is not removed takes space, and nothing else is wrong with it.
    fn remove(&mut self, mut leftovers: Leftovers) -> JobDone {
        let removed = leftovers.remove();
        self.removed.unlinked.extend(leftovers.take_unlinked());
        if let Err(fault) = removed {
            tracing::warn!(error = %fault, "remove files that nothing needs: tried again shortly");
            self.unremoved.push(leftovers);
        }
        JobDone::FilesRemoved
    }

    fn remove_again(&mut self, now: Duration) {
        if now >= self.retry_at && !self.unremoved.is_empty() {
            self.retry_at = now + UPKEEP_RETRY_INTERVAL;
            self.unremoved.retain_mut(|leftovers| leftovers.remove().is_err());
        }
    }

    /// Watchers that keep up have read the events by then; the others go on from the store. If much is held, so do the
    /// pages of lists whose view was kept for them.
    fn close_removed(&mut self) {
        let Removed { unlinked, since } = &mut self.removed;
        unlinked.close_unused();
        let bytes = unlinked.bytes();
        self.shared.metrics.pinned_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        if unlinked.is_empty() {
            *since = None;
            return;
        }
        let now = self.shared.clock.monotonic();
        let (held_since, newest) = *since.get_or_insert_with(|| (now, self.shared.events.revision()));
        if now.saturating_sub(held_since) >= REMOVED_FILES_HELD_MAX {
            self.shared.events.forget(newest);
            if bytes > REMOVED_BYTES_HELD_MAX {
                self.shared.pinned_views.let_go();
            }
            *since = None;
        }
    }

    fn prepare_log(&mut self, now: Duration) {
        let disks = &self.shared.disks;
        let is_full = disks.refuses_growth().is_some();
        let prepared = self.log.run(is_full);
        if !self.log.has_none_ready() {
            self.log_short_since = None;
            disks.clear(Sign::LogShort);
        }
        match prepared {
            Err(fault) if fault.is_no_space() && self.log.has_none_ready() => {
                let since = *self.log_short_since.get_or_insert(now);
                // What a checkpoint lets the log trim may be enough.
                if !self.log.has_full_segments() || now.saturating_sub(since) >= LOG_SHORT_AFTER {
                    disks.raise(Sign::LogShort, Ailment::Full, &fault, since);
                }
            }
            Err(fault) => tracing::debug!(error = %fault, "prepare the log's next segment: tried again shortly"),
            Ok(()) => {}
        }
    }

    /// A disk that does not take it ends the job, and its copies go: the next one may be smaller.
    fn clean(&mut self, mut job: Box<CleanJob>) -> Option<JobDone> {
        match job.step() {
            Ok(true) => {
                self.jobs.push_front(Job::Clean(job));
                None
            }
            Ok(false) => Some(self.cleaned(job.finish())),
            Err(fault) => Some(self.cleaned(Err(fault))),
        }
    }

    fn cleaned(&self, copied: mvcc::Result<state::Cleaned>) -> JobDone {
        match copied {
            Ok(relocated) => JobDone::Cleaned(Some(Box::new(relocated))),
            Err(fault) if fault.may_be_repeated() => {
                self.upkeep_failed(&fault.into(), "reclaim space");
                JobDone::Cleaned(None)
            }
            Err(fault) => JobDone::Failed(fault.into()),
        }
    }

    /// Nothing that counts is lost. A disk that is full says so where records need space.
    fn upkeep_failed(&self, fault: &state::Fault, doing: &str) {
        tracing::warn!(error = %fault, "{doing}: tried again shortly");
        if !fault.is_no_space() {
            let ailment = Ailment::of(false, fault.is_read_only());
            self.shared.disks.raise(Sign::StoreUpkeep, ailment, fault, self.shared.clock.monotonic());
        }
    }

    /// A disk that does not take it ends the job, and what it wrote goes: the next one may be smaller, or come after
    /// other things went.
    fn write_checkpoint(&mut self, mut job: CheckpointJob, index: LogIndex) -> JobDone {
        let started = self.shared.clock.monotonic();
        let written = match job.write() {
            Ok(done) => {
                self.shared.disks.clear(Sign::StoreUpkeep);
                JobDone::Checkpoint(Some(Box::new(done)))
            }
            Err(fault) if fault.may_be_repeated() => {
                self.upkeep_failed(&fault, &format!("write checkpoint {index}"));
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
