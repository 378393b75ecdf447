//! The watchers of one rim thread.
//!
//! A watcher is *current* (it gets each batch as it comes), *behind* (it catches up piece by piece, from the log if
//! that reaches back far enough, else from the store), or *paused* (its stream cannot take more). Only current ones are
//! matched against events; the others are a revision.
//!
//! ```text
//! create ──▶ behind ──caught up──▶ current        pause: either ──▶ paused
//!              ▲                      │           resume: paused ──▶ behind
//!              └──── log overran ─────┘           behind and compacted: cancelled
//! ```
//!
//! Invariants: every event up to `revision` was handed to each current watcher that wants it; a watcher's next revision
//! never goes back; what `advance` and `catch_up` hand out for one watcher is in order if the caller passes it on in
//! order.

use crate::event::{Batch, Event, EventList, Pick};
use crate::groups::{Filter, Groups, Member, Place};
use crate::log::{EventLog, News};
use model::{KeyRange, Revision};
use mvcc::{EventWalk, ReadError, View};
use std::collections::VecDeque;
use std::sync::Arc;

/// Batches delivered in one call of `advance`.
const ADVANCE_BATCHES_MAX: usize = 64;
/// Batches of the log that one piece of catching up looks at.
const CATCH_UP_BATCHES_MAX: usize = 256;
/// Distinct revisions in one piece (etcd's figure).
const CATCH_UP_REVISIONS_MAX: usize = 1000;
/// Keys that one step towards a piece from the store looks at.
const CATCH_UP_STEP_KEYS: usize = 2048;
/// Bytes that the events of one piece may come to hold; a single revision may exceed it.
const CATCH_UP_BYTES_MAX: u64 = 16 << 20;

/// Names a watcher of one registry; never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WatcherId {
    slot: u32,
    generation: u32,
}

impl WatcherId {
    /// A small number, unique among the watchers that exist: an index into the caller's own table.
    pub fn slot(self) -> usize {
        self.slot as usize
    }
}

/// What to watch.
#[derive(Debug, Clone)]
pub struct Spec {
    pub range: KeyRange,
    /// The first revision wanted; 0 means from the next change on.
    pub start_revision: Revision,
    /// Leaves out puts.
    pub no_put: bool,
    /// Leaves out deletions.
    pub no_delete: bool,
}

/// Why a watcher was not created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateError {
    /// No key can be in the range.
    EmptyRange,
    /// The start revision is negative, which no history reaches back to.
    Compacted,
}

/// Events for one watcher, to be sent as one answer (or its fragments).
#[derive(Debug, Clone)]
pub struct Delivery {
    pub watcher: WatcherId,
    /// For the answer's header: of the last event when it comes live, the store's current one when catching up.
    pub revision: Revision,
    pub events: EventList,
}

/// One piece of one watcher's way back.
#[derive(Debug, Clone)]
pub struct CatchUp {
    pub watcher: WatcherId,
    pub delivery: Option<Delivery>,
    pub standing: Standing,
}

/// Where a watcher stands after a piece of catching up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Behind,
    Current,
    /// History it needs is gone; the watcher no longer exists. Carries the compacted revision.
    Cancelled(Revision),
}

/// See the file's head.
pub struct Registry {
    log: Arc<EventLog>,
    /// Number of the first batch not yet delivered.
    next_batch: u64,
    revision: Revision,
    slots: Vec<Slot>,
    free: Vec<u32>,
    groups: Groups,
    /// Number of watchers in `groups`.
    current: usize,
    behind: VecDeque<WatcherId>,
    fetch: Option<Box<Fetch>>,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    watcher: Option<Watcher>,
}

#[derive(Debug)]
struct Watcher {
    range: KeyRange,
    filter: Filter,
    start_revision: Revision,
    position: Position,
    /// It is in the queue of those that are behind.
    is_queued: bool,
}

#[derive(Debug, Clone, Copy)]
enum Position {
    Current(Place),
    /// `is_new`: history is not yet known to reach back to its start.
    Behind {
        next: Revision,
        is_new: bool,
    },
    Paused {
        next: Revision,
        is_new: bool,
    },
}

impl Registry {
    /// A registry that begins at the log's end.
    pub fn new(log: Arc<EventLog>) -> Registry {
        let (next_batch, revision) = log.end();
        Registry {
            log,
            next_batch,
            revision,
            slots: Vec::new(),
            free: Vec::new(),
            groups: Groups::default(),
            current: 0,
            behind: VecDeque::new(),
            fetch: None,
        }
    }

    /// Adds a watcher. `current` is the store's revision that the answer to the creation reports; a watcher without a
    /// start revision gets what comes after it.
    pub fn create(&mut self, spec: Spec, current: Revision) -> Result<WatcherId, CreateError> {
        if spec.range.is_empty() {
            return Err(CreateError::EmptyRange);
        }
        if self.is_empty() {
            // Nobody listened to what happened meanwhile: go on at the log's end. Ids of watchers that are gone stay
            // theirs.
            (self.next_batch, self.revision) = self.log.end();
        }
        if spec.start_revision.0 < 0 {
            return Err(CreateError::Compacted);
        }
        let next = if spec.start_revision.0 == 0 { Revision(current.0 + 1) } else { spec.start_revision };
        let id = self.allocate(Watcher {
            range: spec.range,
            filter: Filter { no_put: spec.no_put, no_delete: spec.no_delete },
            start_revision: spec.start_revision,
            position: Position::Behind { next, is_new: true },
            is_queued: false,
        });
        // What was pushed since `current` was read is history to this watcher already.
        if next > current.max(self.revision) {
            self.make_current(id, next);
        } else {
            self.enqueue(id);
        }
        Ok(id)
    }

    /// Takes a watcher away; false if it is not there any more.
    pub fn cancel(&mut self, id: WatcherId) -> bool {
        let Some(watcher) = self.watcher(id) else { return false };
        if let Position::Current(place) = watcher.position {
            self.leave_group(place);
        }
        if let Some(slot) = self.slots.get_mut(id.slot()) {
            slot.watcher = None;
            slot.generation = slot.generation.wrapping_add(1);
            self.free.push(id.slot);
        }
        true
    }

    /// Its stream cannot take more: nothing is handed out for it until `resume`.
    pub fn pause(&mut self, id: WatcherId) {
        let revision = self.revision;
        let Some(position) = self.watcher(id).map(|watcher| watcher.position) else { return };
        let paused = match position {
            Position::Current(place) => {
                let from = self.groups.member(place).map_or(revision, |member| member.from);
                self.leave_group(place);
                Position::Paused { next: from.max(Revision(revision.0 + 1)), is_new: false }
            }
            Position::Behind { next, is_new } => Position::Paused { next, is_new },
            Position::Paused { .. } => return,
        };
        self.set_position(id, paused);
    }

    /// Its stream takes events again; it continues where it was paused.
    pub fn resume(&mut self, id: WatcherId) {
        let Some(Position::Paused { next, is_new }) = self.watcher(id).map(|watcher| watcher.position) else { return };
        self.set_position(id, Position::Behind { next, is_new });
        if next > self.revision && !is_new {
            self.make_current(id, next);
        } else {
            self.enqueue(id);
        }
    }

    /// What was handed out to a paused watcher from `next` on was not sent: it is handed out again.
    pub fn rewind(&mut self, id: WatcherId, next: Revision) {
        let Some(Position::Paused { next: reached, is_new }) = self.watcher(id).map(|watcher| watcher.position) else {
            return;
        };
        self.set_position(id, Position::Paused { next: reached.min(next), is_new });
    }

    /// Appends a delivery for each current watcher with something new, in order of revision. True if there is still
    /// more: call again.
    pub fn advance(&mut self, deliveries: &mut Vec<Delivery>) -> bool {
        if !self.log.has_news(self.next_batch) {
            return false;
        }
        match self.log.since(self.next_batch, ADVANCE_BATCHES_MAX) {
            News::Batches(batches) => {
                for batch in batches {
                    self.next_batch += 1;
                    self.deliver(&batch, deliveries);
                }
            }
            News::Overrun { next, newest } => {
                assert!(next > self.next_batch, "only who is behind is overrun");
                assert!(newest >= self.revision, "revisions do not go back");
                self.fall_behind(newest);
                self.next_batch = next;
                self.revision = newest;
            }
        }
        self.log.has_news(self.next_batch)
    }

    fn deliver(&mut self, batch: &Arc<Batch>, deliveries: &mut Vec<Delivery>) {
        assert!(batch.first_revision() > self.revision, "batches are delivered in order of revision");
        for (position, event) in batch.events.iter().enumerate() {
            self.groups.pick(event, Pick { batch: 0, event: position as u32 });
        }
        self.groups.take_picked(|members, picks| {
            let events = EventList::new(Box::new([batch.clone()]), picks);
            let (first, revision) = (events.first_revision(), events.last_revision());
            for member in members {
                let events = if member.from <= first { Some(events.clone()) } else { events.since(member.from) };
                if let Some(events) = events {
                    deliveries.push(Delivery { watcher: member.watcher, revision, events });
                }
            }
        });
        self.revision = batch.last_revision();
    }

    /// The log dropped batches that were not delivered: who would have got events from them fetches them.
    fn fall_behind(&mut self, newest: Revision) {
        let reached = self.revision;
        let current: Vec<(WatcherId, Place)> = self
            .watchers()
            .filter_map(|(id, watcher)| match watcher.position {
                Position::Current(place) => Some((id, place)),
                _ => None,
            })
            .collect();
        for (id, _) in current {
            // Places move as members leave, so each is looked up when its turn comes.
            let Some(Position::Current(place)) = self.watcher(id).map(|watcher| watcher.position) else { continue };
            let from = self.groups.member(place).map_or(reached, |member| member.from);
            let next = from.max(Revision(reached.0 + 1));
            if next <= newest {
                self.leave_group(place);
                self.set_position(id, Position::Behind { next, is_new: false });
                self.enqueue(id);
            }
        }
    }

    /// True if some watcher has to catch up.
    pub fn is_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    /// Fetches the next piece for the watcher whose turn it is, or takes a step towards it (a piece without events);
    /// `None` if nobody is behind. `view` is the newest one. Fails if the disk does; then the watcher keeps its turn.
    pub fn catch_up(&mut self, view: &View) -> Result<Option<CatchUp>, ReadError> {
        while let Some(&id) = self.behind.front() {
            let begun = self.fetch.take();
            let piece = match self.watcher(id) {
                Some(Watcher { position: Position::Behind { next, is_new }, range, filter, .. }) => {
                    let (next, is_new, filter) = (*next, *is_new, *filter);
                    let begun = begun.filter(|fetch| (fetch.watcher, fetch.next) == (id, next));
                    let found = match begun {
                        Some(fetch) => Found::Begun(fetch),
                        None => self.find(id, range, filter, next, is_new, view)?,
                    };
                    match found {
                        Found::Piece(piece) => piece,
                        Found::Begun(mut fetch) => {
                            if !fetch.walk.step(&fetch.view, CATCH_UP_STEP_KEYS) {
                                self.fetch = Some(fetch);
                                return Ok(Some(CatchUp { watcher: id, delivery: None, standing: Standing::Behind }));
                            }
                            fetch.finish(filter)
                        }
                    }
                }
                _ => {
                    self.dequeue(id);
                    continue;
                }
            };
            self.dequeue(id);
            return Ok(Some(self.take_over(id, piece)));
        }
        Ok(None)
    }

    fn take_over(&mut self, id: WatcherId, piece: Piece) -> CatchUp {
        let (next, events, revision) = match piece {
            Piece::Compacted(compacted) => {
                self.cancel(id);
                return CatchUp { watcher: id, delivery: None, standing: Standing::Cancelled(compacted) };
            }
            Piece::Read { next, events, revision } => (next, events, revision),
        };
        let standing = if next > self.revision {
            self.make_current(id, next);
            Standing::Current
        } else {
            self.set_position(id, Position::Behind { next, is_new: false });
            self.enqueue(id);
            Standing::Behind
        };
        let delivery = events.map(|events| Delivery { watcher: id, revision, events });
        CatchUp { watcher: id, delivery, standing }
    }

    /// Where the watcher's next piece is: in the log, or in the store.
    fn find(
        &self,
        id: WatcherId,
        range: &KeyRange,
        filter: Filter,
        next: Revision,
        is_new: bool,
        view: &View,
    ) -> Result<Found, ReadError> {
        let compacted = view.compacted_revision();
        if is_new && next < compacted {
            return Ok(Found::Piece(Piece::Compacted(compacted)));
        }
        // The log may still know pairs before events that are compacted; a watch that begins there gets what the store
        // says.
        if !(is_new && next <= compacted)
            && let Some((batches, newest)) = self.log.batches_since(next, CATCH_UP_BATCHES_MAX)
        {
            return Ok(Found::Piece(fetch_from_log(range, filter, next, batches, newest)));
        }
        if next < compacted {
            return Ok(Found::Piece(Piece::Compacted(compacted)));
        }
        let walk = view.walk_events(range, next, view.revision(), CATCH_UP_REVISIONS_MAX)?;
        Ok(Found::Begun(Box::new(Fetch { watcher: id, next, walk, view: view.clone() })))
    }

    /// Revision up to which everything was handed out to this watcher, if that can be said to a client: it is current,
    /// and it does not wait for a start revision in the future.
    pub fn progress(&self, id: WatcherId) -> Option<Revision> {
        let watcher = self.watcher(id)?;
        let Position::Current(place) = watcher.position else { return None };
        let from = self.groups.member(place)?.from;
        let in_sync = from.0 <= self.revision.0 + 1 && watcher.start_revision <= self.revision;
        in_sync.then_some(self.revision)
    }

    /// Revision up to which current watchers were handed everything.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Number of watchers.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of distinct ranges that current watchers have.
    pub fn distinct_ranges(&self) -> usize {
        self.groups.len()
    }

    /// Watchers that are behind or paused.
    pub fn slow(&self) -> usize {
        self.len() - self.current
    }

    fn watchers(&self) -> impl Iterator<Item = (WatcherId, &Watcher)> {
        self.slots.iter().enumerate().filter_map(|(at, slot)| {
            let id = WatcherId { slot: at as u32, generation: slot.generation };
            slot.watcher.as_ref().map(|watcher| (id, watcher))
        })
    }

    fn watcher(&self, id: WatcherId) -> Option<&Watcher> {
        let slot = self.slots.get(id.slot()).filter(|slot| slot.generation == id.generation)?;
        slot.watcher.as_ref()
    }

    fn watcher_mut(&mut self, id: WatcherId) -> Option<&mut Watcher> {
        let slot = self.slots.get_mut(id.slot()).filter(|slot| slot.generation == id.generation)?;
        slot.watcher.as_mut()
    }

    fn set_position(&mut self, id: WatcherId, position: Position) {
        if let Some(watcher) = self.watcher_mut(id) {
            watcher.position = position;
        }
    }

    fn make_current(&mut self, id: WatcherId, from: Revision) {
        let Some((range, filter)) = self.watcher(id).map(|watcher| (watcher.range.clone(), watcher.filter)) else {
            return;
        };
        let place = self.groups.add(&range, filter, Member { watcher: id, from });
        self.current += 1;
        self.set_position(id, Position::Current(place));
    }

    fn leave_group(&mut self, place: Place) {
        self.current -= 1;
        if let Some(moved) = self.groups.remove(place) {
            self.set_position(moved, Position::Current(place));
        }
    }

    fn enqueue(&mut self, id: WatcherId) {
        if let Some(watcher) = self.watcher_mut(id)
            && !std::mem::replace(&mut watcher.is_queued, true)
        {
            self.behind.push_back(id);
        }
    }

    /// Takes the front of the queue out.
    fn dequeue(&mut self, id: WatcherId) {
        self.behind.pop_front();
        if let Some(watcher) = self.watcher_mut(id) {
            watcher.is_queued = false;
        }
    }

    fn allocate(&mut self, watcher: Watcher) -> WatcherId {
        let slot = self.free.pop().unwrap_or(self.slots.len() as u32);
        if self.slots.len() == slot as usize {
            self.slots.push(Slot::default());
        }
        let place = self.slots.get_mut(slot as usize).expect("free slots exist, and a new one was just made");
        place.watcher = Some(watcher);
        WatcherId { slot, generation: place.generation }
    }
}

enum Found {
    Piece(Piece),
    /// The store has to be looked through.
    Begun(Box<Fetch>),
}

/// What a piece of catching up found.
enum Piece {
    Compacted(Revision),
    Read {
        /// First revision not looked at.
        next: Revision,
        events: Option<EventList>,
        /// For the answer's header.
        revision: Revision,
    },
}

/// Counts what is in a piece, so that it stays within bounds and ends between two revisions.
#[derive(Default)]
struct Measure {
    last: Revision,
    revisions: usize,
    bytes: u64,
}

impl Measure {
    /// False if the event must be left for the next piece.
    fn takes(&mut self, event: &Event) -> bool {
        if event.revision() != self.last {
            if self.revisions == CATCH_UP_REVISIONS_MAX || self.bytes >= CATCH_UP_BYTES_MAX {
                return false;
            }
            self.revisions += 1;
            self.last = event.revision();
        }
        self.bytes += event.weight();
        true
    }
}

/// What the log's batches hold for a watcher from `next` on, which may lie above the log's `newest` revision.
fn fetch_from_log(
    range: &KeyRange,
    filter: Filter,
    next: Revision,
    batches: Vec<Arc<Batch>>,
    newest: Revision,
) -> Piece {
    let mut measure = Measure::default();
    let mut picks = Vec::new();
    let mut end = None;
    for (batch_position, batch) in batches.iter().enumerate() {
        let events = batch.events.iter().enumerate().filter(|(_, event)| event.revision() >= next);
        for (position, event) in events {
            if !filter.passes(event.kind) || !range.contains(&event.key) {
                continue;
            }
            if !measure.takes(event) {
                end = Some(event.revision());
                break;
            }
            picks.push(Pick { batch: batch_position as u32, event: position as u32 });
        }
        if end.is_some() {
            break;
        }
    }
    let reached = batches.last().map_or(newest, |batch| batch.last_revision());
    let next = end.unwrap_or(Revision(reached.0 + 1)).max(next);
    let events = (!picks.is_empty()).then(|| EventList::new(batches.into(), picks.into()));
    Piece::Read { next, events, revision: newest }
}

/// History that is being looked through for the watcher in front of those that are behind.
struct Fetch {
    watcher: WatcherId,
    next: Revision,
    walk: EventWalk,
    view: View,
}

impl Fetch {
    fn finish(self, filter: Filter) -> Piece {
        let Fetch { walk, view, .. } = self;
        let page = walk.finish();
        let mut end = page.next;
        let mut measure = Measure::default();
        let mut wanted = Vec::new();
        for event in page.events {
            let event = Event::new(event.key, event.at, event.kv, event.prev);
            if !filter.passes(event.kind) {
                continue;
            }
            if !measure.takes(&event) {
                end = event.revision();
                break;
            }
            wanted.push(event);
        }
        let revision = view.revision();
        let events = (!wanted.is_empty()).then(|| EventList::whole(Batch::new(wanted, view)));
        Piece::Read { next: end, events, revision }
    }
}
