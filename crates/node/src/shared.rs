//! What the parts of a member and all handles share: what is published, each by one part, and the driver's inbox.
//!
//! ```text
//! published by apply     view, live tables, events, `applied`, `record_room`, `halt`
//! published by driver    office, leader, term, committed, `log_stalled`, `waiting_bytes`
//! published by all parts how the disks are
//! ```
//! Nothing here decides what apply does: it reads what others publish only through messages.

use crate::Refused;
use crate::answer::Reply;
use crate::disk_health::{Ailment, DiskHealth, Sign};
use crate::inbox::Inbox;
use crate::messages::DriverMessage;
use crate::office::Office;
use crate::pinned_views::PinnedViews;
use crate::reply::Slot;
use crate::signal::EventSignals;
use crate::status::{Metrics, Progress};
use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use model::{ClusterId, Command, Entry, LogIndex, MemberId, RequestId};
use state::{LiveTables, StateView};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) struct Shared {
    pub(crate) cluster: ClusterId,
    pub(crate) member: MemberId,
    pub(crate) clock: Arc<dyn io::Clock>,
    pub(crate) inbox: Inbox<DriverMessage>,
    pub(crate) view: ArcSwap<StateView>,
    /// Changed by apply, read by all; not behind the view.
    pub(crate) live: LiveTables,
    /// While this member leads.
    pub(crate) office: ArcSwapOption<Office>,
    pub(crate) pinned_views: PinnedViews,
    pub(crate) events: Arc<watch::EventLog>,
    pub(crate) event_signals: EventSignals,
    pub(crate) progress: Progress,
    pub(crate) disks: DiskHealth,
    /// Why apply halts, while it does (`halt`).
    pub(crate) halt: ArcSwapOption<String>,
    /// Bytes of records that are handed on.
    pub(crate) handed_on_bytes: Arc<AtomicU64>,
    pub(crate) metrics: Metrics,
    pub(crate) next_request: AtomicU64,
    pub(crate) on_fault: Arc<dyn Fn(String) + Send + Sync>,
}

impl Shared {
    /// The part that writes the store cannot go on. If the disk failed, what is published is still right and is served;
    /// writes wait for a new start, which finds out from the log what the store has lost. Anything else ends the
    /// member.
    pub(crate) fn store_faulted(&self, fault: &state::Fault) {
        if !fault.is_io() {
            self.end_process(fault.to_string());
            return;
        }
        self.disks.raise(Sign::StoreFailed, Ailment::Failed, fault, self.clock.monotonic());
    }

    /// What is said of a request that was not done in time: if a disk keeps it, that.
    pub(crate) fn timed_out(&self) -> Refused {
        self.disks.trouble().map_or(Refused::TimedOut, Refused::TimedOutByDisk)
    }

    /// A proposal was not done in time. One whose client gave up was counted then.
    pub(crate) fn fail_late(&self, slot: Slot<Reply>) {
        if slot.is_awaited() {
            self.metrics.proposals_failed.increment();
        }
        slot.refuse(self.timed_out());
    }

    /// The last entry whose effect is published.
    pub(crate) fn published(&self) -> LogIndex {
        LogIndex(self.progress.applied.load(Ordering::Acquire))
    }

    /// The member cannot go on.
    pub(crate) fn end_process(&self, fault: String) {
        (self.on_fault)(fault);
    }

    /// Leader time as this member knows it: by its own clock while it leads, else as of the last entry that it applied.
    pub(crate) fn leader_time_ms(&self) -> u64 {
        match &*self.office.load() {
            Some(office) => office.clock.now_ms(),
            None => self.view.load().applied().leader_time_ms,
        }
    }

    /// Encodes `command` as the payload of a log entry. Its time is certainly not before now: after a restart a lease
    /// is counted from it.
    pub(crate) fn payload(&self, command: Command) -> Bytes {
        let request = RequestId(self.next_request.fetch_add(1, Ordering::Relaxed));
        let leader_time_ms = match &*self.office.load() {
            Some(office) => office.clock.at_most_ms(self.clock.monotonic()),
            None => self.view.load().applied().leader_time_ms,
        };
        model::encode_entry(&Entry { request, leader_time_ms, command }).into()
    }
}
