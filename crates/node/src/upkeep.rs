//! Upkeep of the store, between batches and in small pieces: history that compactions dropped, segments that are to go,
//! checkpoints. Each is begun here and done by the background, whose reports come back here.
//!
//! On a full disk this is what makes space: a checkpoint lets empty segments go and the log be trimmed, copies empty
//! segments. Both take space first, which the store's reserve is for.
//!
//! Not here: when upkeep runs (`apply`).

use crate::apply::Apply;
use crate::limits::{
    CHECKPOINT_INTERVAL_MIN, CHECKPOINT_LOG_BYTES, CHECKPOINT_RETRY_INTERVAL, COMPACTION_STEP_KEYS,
    RECLAIM_RETRY_INTERVAL, RELOCATION_STEP_RECORDS,
};
use crate::messages::Job;
use crate::sync::Arc;
use std::time::Duration;

#[derive(Default)]
pub(crate) struct ReclaimPace {
    pub(crate) running: bool,
    /// Copied records wait to be followed.
    pub(crate) follows: bool,
    /// Not before, because the disk was full.
    pub(crate) not_before: Duration,
    pub(crate) looked_at: Duration,
}

#[derive(Default)]
pub(crate) struct CheckpointPace {
    pub(crate) entries: u64,
    pub(crate) log_bytes: u64,
    pub(crate) started_at: Duration,
    pub(crate) running: bool,
    /// It could not be written: another is due then.
    pub(crate) again_at: Option<Duration>,
    /// The log needs space that a checkpoint may give back.
    wanted_by_log: bool,
}

impl Apply {
    pub(crate) fn compaction_step(&mut self) {
        let Some(started) = self.compaction_started else { return };
        let removed_before = self.state.versions_removed();
        let is_pending = self.state.compaction_step(COMPACTION_STEP_KEYS);
        self.shared.metrics.compaction_keys.add(self.state.versions_removed() - removed_before);
        if is_pending {
            return;
        }
        self.compaction_started = None;
        let now = self.shared.clock.monotonic();
        self.shared.metrics.compaction_total.observe(now.saturating_sub(started));
    }

    pub(crate) fn relocation_step(&mut self) {
        if self.reclaim.follows {
            self.reclaim.follows = self.state.relocation_step(RELOCATION_STEP_RECORDS);
        }
    }

    /// Starts copying if the files are longer than they should be. Not beside a checkpoint, which is written on the
    /// same thread.
    pub(crate) fn maybe_reclaim(&mut self) -> Result<(), state::Fault> {
        let now = self.shared.clock.monotonic();
        self.reclaim.looked_at = now;
        let busy = self.reclaim.running || self.checkpoint.running;
        if busy || now < self.reclaim.not_before {
            return Ok(());
        }
        if let Some(job) = self.state.begin_clean()? {
            self.reclaim.running = true;
            self.jobs.push(Job::Clean(Box::new(job)));
        }
        Ok(())
    }

    pub(crate) fn finish_clean(&mut self, cleaned: Option<Box<state::Cleaned>>) {
        assert!(self.reclaim.running, "what is cleaned was asked for");
        assert!(!self.reclaim.follows, "copies of one job are followed before the next");
        self.reclaim.running = false;
        let Some(cleaned) = cleaned else {
            self.reclaim.not_before = self.shared.clock.monotonic() + RECLAIM_RETRY_INTERVAL;
            self.state.abandon_clean();
            return;
        };
        for damaged in cleaned.damaged() {
            let (segment, fault) = (damaged.segment, &damaged.fault);
            match &damaged.owner {
                Some((key, revision)) => {
                    let (key, revision) = (key.escape_ascii(), revision.0);
                    tracing::error!(segment, %key, revision, error = %fault, "reclaim space: a damaged record stays");
                }
                None => tracing::error!(segment, error = %fault, "reclaim space: the segment keeps its space"),
            }
        }
        self.state.finish_clean(*cleaned);
        self.reclaim.follows = true;
    }

    pub(crate) fn checkpoint_is_due(&self) -> bool {
        let pace = &self.checkpoint;
        let since = || self.shared.clock.monotonic().saturating_sub(pace.started_at);
        let by_entries = || pace.entries >= self.config.checkpoint_entries && since() >= CHECKPOINT_INTERVAL_MIN;
        !pace.running && (pace.log_bytes >= CHECKPOINT_LOG_BYTES || by_entries())
    }

    /// There is little space for the log's next segment: what a checkpoint lets it trim is some. If there is none and
    /// nothing to trim, the reserve is, because a log that takes nothing keeps the store from shrinking.
    pub(crate) fn make_space_for_log(&mut self, is_short: bool, has_full_segments: bool) {
        let pace = &mut self.checkpoint;
        pace.wanted_by_log = has_full_segments && pace.entries > 0;
        if is_short && !pace.wanted_by_log && !pace.running && !self.reclaim.running {
            self.state.give_up_reserve();
        }
    }

    pub(crate) fn maybe_checkpoint(&mut self) -> Result<(), state::Fault> {
        let started_at = self.shared.clock.monotonic();
        let idle = !self.checkpoint.running && !self.reclaim.running;
        let due = match self.checkpoint.again_at {
            Some(again_at) => idle && started_at >= again_at,
            None => {
                self.checkpoint_is_due() || (idle && (self.checkpoint.wanted_by_log || self.state.wants_checkpoint()))
            }
        };
        if !due {
            return Ok(());
        }
        // It names what is in files.
        match self.state.flush_with_reserve() {
            Ok(()) => {}
            Err(fault) if fault.may_pass() => {
                self.checkpoint.again_at = Some(started_at + CHECKPOINT_RETRY_INTERVAL);
                return Ok(());
            }
            Err(fault) => return Err(fault),
        }
        self.checkpoint = CheckpointPace { started_at, running: true, ..CheckpointPace::default() };
        let job = self.state.begin_checkpoint()?;
        self.jobs.push(Job::Checkpoint { job: Box::new(job), index: self.applied });
        Ok(())
    }

    pub(crate) fn finish_checkpoint(&mut self, done: Option<Box<state::CheckpointDone>>) {
        assert!(self.checkpoint.running, "a checkpoint that is done was asked for");
        self.checkpoint.running = false;
        let Some(done) = done else {
            self.checkpoint.again_at = Some(self.shared.clock.monotonic() + CHECKPOINT_RETRY_INTERVAL);
            return;
        };
        let index = done.applied();
        assert!(index <= self.applied, "a checkpoint holds entry {index}, but only {} is applied", self.applied);
        let leftovers = self.state.finish_checkpoint(*done);
        // The view before it holds files open that are to be removed.
        self.renew_view();
        self.removing = true;
        self.jobs.push(Job::Remove(leftovers));
        self.checkpoint_durable = Some(index);
    }

    /// Nothing was applied since the last one, but the files are others.
    pub(crate) fn renew_view(&self) {
        self.shared.view.store(Arc::new(self.state.view()));
    }
}
