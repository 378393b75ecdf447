//! The log of what happened lately: immutable batches, pushed by the apply thread and read by every rim.
//!
//! Bounded by events and bytes; the oldest batches go first, whoever still needs them reads the store instead. The lock
//! is held for pushing or copying a few references, never while events are matched, loaded or freed.

use crate::event::{Batch, Event};
use model::Revision;
use mvcc::{Change, View};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How much the log keeps. The newest batch is kept whatever its size.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub events_max: usize,
    /// Bytes that the events may come to hold, their encoded forms included.
    pub bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        // A batch's view also keeps the parts of the key index that were changed since, some kilobytes for each event.
        Limits { events_max: 4_096, bytes_max: 32 << 20 }
    }
}

/// See the file's head.
pub struct EventLog {
    limits: Limits,
    ring: Mutex<Ring>,
    /// Batches pushed so far: a look without the lock whether there is news.
    pushed: AtomicU64,
}

struct Ring {
    batches: VecDeque<Arc<Batch>>,
    /// Number of the first batch kept; batches are numbered from 0 in order of pushing.
    first: u64,
    events: usize,
    bytes: u64,
    /// Every event above this revision that was pushed is kept.
    floor: Revision,
    /// Revision of the newest event, or the store's when the log began.
    newest: Revision,
}

/// What a reader at some position finds.
pub(crate) enum News {
    Batches(Vec<Arc<Batch>>),
    /// Batches that the reader has not seen are gone. The log's newest batch number and revision: whoever goes on from
    /// there fetches what lies between from elsewhere.
    Overrun {
        next: u64,
        newest: Revision,
    },
}

impl EventLog {
    /// An empty log of a store whose current revision is `revision`.
    pub fn new(revision: Revision, limits: Limits) -> EventLog {
        let ring = Ring { batches: VecDeque::new(), first: 0, events: 0, bytes: 0, floor: revision, newest: revision };
        EventLog { limits, ring: Mutex::new(ring), pushed: AtomicU64::new(0) }
    }

    /// Adds changes, in order of revision, whose records `view` can load. Changes without events are passed over.
    pub fn push(&self, changes: impl IntoIterator<Item = Change>, view: &View) {
        let mut events = Vec::new();
        for change in changes {
            for event in change.events {
                events.push(Event::new(event.key, event.at, event.kv, event.prev));
            }
        }
        if events.is_empty() {
            return;
        }
        let batch = Arc::new(Batch::new(events, view.clone()));
        let dropped = self.lock().push(batch, self.limits);
        self.pushed.fetch_add(1, Ordering::Release);
        drop(dropped);
    }

    /// Revision of the newest event, or the store's when the log began.
    pub fn revision(&self) -> Revision {
        self.lock().newest
    }

    /// Lets go of the events up to `revision`, and of the files that their views hold open: a store that nothing is
    /// written to would hold them for ever. A watcher that has not read them goes on from the store.
    pub fn forget(&self, revision: Revision) {
        let dropped = self.lock().forget(revision);
        drop(dropped);
    }

    /// Events kept, and the bytes they may hold.
    pub fn size(&self) -> (usize, u64) {
        let ring = self.lock();
        (ring.events, ring.bytes)
    }

    /// Position behind the newest batch, and the revision there.
    pub(crate) fn end(&self) -> (u64, Revision) {
        let ring = self.lock();
        (ring.next(), ring.newest)
    }

    /// True if a reader at `next` has something to read.
    pub(crate) fn has_news(&self, next: u64) -> bool {
        self.pushed.load(Ordering::Acquire) > next
    }

    /// Up to `limit` batches from number `next` on.
    pub(crate) fn since(&self, next: u64, limit: usize) -> News {
        let ring = self.lock();
        assert!(next <= ring.next(), "no reader is ahead of the log");
        match next.checked_sub(ring.first) {
            Some(skipped) => News::Batches(ring.batches.iter().skip(skipped as usize).take(limit).cloned().collect()),
            None => News::Overrun { next: ring.next(), newest: ring.newest },
        }
    }

    /// Up to `limit` batches that may hold events from `revision` on, and the revision up to which the log goes; `None`
    /// if some of these events are gone.
    pub(crate) fn batches_since(&self, revision: Revision, limit: usize) -> Option<(Vec<Arc<Batch>>, Revision)> {
        let ring = self.lock();
        if revision <= ring.floor {
            return None;
        }
        let skipped = ring.batches.partition_point(|batch| batch.last_revision() < revision);
        Some((ring.batches.iter().skip(skipped).take(limit).cloned().collect(), ring.newest))
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn next(&self) -> u64 {
        self.first + self.batches.len() as u64
    }

    /// Answers the batches that had to go, for the caller to free outside of the lock.
    fn push(&mut self, batch: Arc<Batch>, limits: Limits) -> Vec<Arc<Batch>> {
        assert!(batch.first_revision() > self.newest, "events are pushed in order of revision");
        self.newest = batch.last_revision();
        self.events += batch.events.len();
        self.bytes += batch.weight;
        self.batches.push_back(batch);
        let mut dropped = Vec::new();
        while self.batches.len() > 1 && (self.events > limits.events_max || self.bytes > limits.bytes_max) {
            dropped.extend(self.pop());
        }
        dropped
    }

    fn forget(&mut self, revision: Revision) -> Vec<Arc<Batch>> {
        let mut dropped = Vec::new();
        while self.batches.front().is_some_and(|oldest| oldest.last_revision() <= revision) {
            dropped.extend(self.pop());
        }
        dropped
    }

    fn pop(&mut self) -> Option<Arc<Batch>> {
        let oldest = self.batches.pop_front()?;
        self.first += 1;
        self.events -= oldest.events.len();
        self.bytes -= oldest.weight;
        assert!(oldest.last_revision() > self.floor, "batches leave in order of revision");
        assert!(!self.batches.is_empty() || (self.events, self.bytes) == (0, 0), "an empty log holds nothing");
        self.floor = oldest.last_revision();
        Some(oldest)
    }
}
