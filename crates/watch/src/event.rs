//! Events as watchers get them, and their encoded form.
//!
//! An event is encoded as one `events` field of a `WatchResponse` (tag, length, `mvccpb.Event`), so that an answer is
//! its header and the fields of its events one after the other. Each event has two forms, with and without `prev_kv`,
//! made when first asked for and shared by all watchers of all rims.
//!
//! `mvccpb.Event`: `type` 1 (left out for a put), `kv` 2, `prev_kv` 3. A put's `kv` is the stored record as it is; a
//! deletion's has only the key and the revision of the deletion.

use bytes::Bytes;
use model::{KeyValue, Revision, VersionedRevision};
use mvcc::{Location, View};
use std::fmt;
use std::sync::{Arc, OnceLock};
use stdx::codec::{put_varint, varint_len};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    Put,
    Delete,
}

/// One change of one key.
pub struct Event {
    pub key: Bytes,
    pub kind: EventKind,
    pub at: VersionedRevision,
    /// The record of the new version; none for a deletion.
    kv: Option<Location>,
    /// The record of the version before, if there was one and it was not compacted.
    prev: Option<Location>,
    encoded: [OnceLock<Bytes>; 2],
}

const EVENTS_FIELD: u8 = 11 << 3 | 2;
const TYPE_FIELD: u8 = 1 << 3;
const TYPE_DELETE: u8 = 1;
const KV_FIELD: u8 = 2 << 3 | 2;
const PREV_KV_FIELD: u8 = 3 << 3 | 2;

impl Event {
    pub(crate) fn new(key: Bytes, at: VersionedRevision, kv: Option<Location>, prev: Option<Location>) -> Event {
        let kind = if kv.is_some() { EventKind::Put } else { EventKind::Delete };
        Event { key, kind, at, kv, prev, encoded: Default::default() }
    }

    /// The event changes or deletes a pair; false for the creation of one.
    pub fn has_before(&self) -> bool {
        self.prev.is_some() || self.kv.is_none()
    }

    pub fn revision(&self) -> Revision {
        self.at.main
    }

    /// Upper bound of what the event may hold in memory once both forms are encoded, in bytes. The key shares the
    /// buffer of the log entry it came with, which is about as long as the record.
    pub(crate) fn weight(&self) -> u64 {
        let bytes = |at: Option<Location>| at.map_or(0, |at| u64::from(at.length));
        std::mem::size_of::<Event>() as u64 + 2 * self.key.len() as u64 + 3 * bytes(self.kv) + bytes(self.prev)
    }

    /// Without a version before, both forms are the same.
    fn form(&self, with_prev: bool) -> &OnceLock<Bytes> {
        let [without, with] = &self.encoded;
        if with_prev && self.prev.is_some() { with } else { without }
    }

    /// The records that the form needs, the new version's first.
    fn records(&self, with_prev: bool) -> impl Iterator<Item = Location> {
        self.kv.into_iter().chain(self.prev.filter(|_| with_prev))
    }

    /// Bytes of the encoded form.
    fn encoded_len(&self, with_prev: bool) -> usize {
        let field = |length: usize| 1 + varint_len(length as u64) + length;
        let kv = self.kv.map_or_else(|| self.deleted_kv().len(), |at| at.length as usize);
        let prev = self.prev.filter(|_| with_prev).map_or(0, |at| field(at.length as usize));
        let type_bytes = if self.kind == EventKind::Delete { 2 } else { 0 };
        field(type_bytes + field(kv) + prev)
    }

    fn encode(&self, with_prev: bool, records: &mut impl Iterator<Item = Bytes>) -> Bytes {
        let kv = match self.kv {
            Some(_) => records.next().unwrap_or_default(),
            None => self.deleted_kv(),
        };
        let prev = self.prev.filter(|_| with_prev).map(|_| records.next().unwrap_or_default());
        let field = |bytes: &Bytes| 1 + varint_len(bytes.len() as u64) + bytes.len();
        let type_bytes = if self.kind == EventKind::Delete { 2 } else { 0 };
        let length = type_bytes + field(&kv) + prev.as_ref().map_or(0, field);
        let mut out = Vec::with_capacity(1 + varint_len(length as u64) + length);
        out.push(EVENTS_FIELD);
        put_varint(&mut out, length as u64);
        if self.kind == EventKind::Delete {
            out.extend_from_slice(&[TYPE_FIELD, TYPE_DELETE]);
        }
        for (tag, bytes) in [(KV_FIELD, Some(&kv)), (PREV_KV_FIELD, prev.as_ref())] {
            let Some(bytes) = bytes else { continue };
            out.push(tag);
            put_varint(&mut out, bytes.len() as u64);
            out.extend_from_slice(bytes);
        }
        out.into()
    }

    fn deleted_kv(&self) -> Bytes {
        let kv = KeyValue { key: self.key.clone(), mod_revision: self.at.main, ..KeyValue::default() };
        let mut out = Vec::new();
        kv.encode(&mut out);
        out.into()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} at {}", self.kind, self.key, self.at)
    }
}

/// Events that were published together, ordered by revision, with the view that holds their records.
pub(crate) struct Batch {
    pub(crate) events: Box<[Event]>,
    view: View,
    pub(crate) weight: u64,
}

impl Batch {
    /// `events` is not empty and in order.
    pub(crate) fn new(events: Vec<Event>, view: View) -> Batch {
        let ends = events.first().zip(events.last());
        assert!(ends.is_some_and(|(first, last)| first.revision() <= last.revision()), "a batch has events in order");
        let weight = events.iter().map(Event::weight).sum();
        Batch { events: events.into(), view, weight }
    }

    pub(crate) fn first_revision(&self) -> Revision {
        self.events.first().map_or(Revision(0), Event::revision)
    }

    pub(crate) fn last_revision(&self) -> Revision {
        self.events.last().map_or(Revision(0), Event::revision)
    }

    /// Loads the records of some of its events and encodes them.
    fn encode(&self, events: &[&Event], with_prev: bool) -> Result<(), mvcc::Fault> {
        let locations: Vec<Location> = events.iter().flat_map(|event| event.records(with_prev)).collect();
        let mut records = Vec::with_capacity(locations.len());
        self.view.load(&locations, &mut records)?;
        assert_eq!(records.len(), locations.len(), "a record for each location");
        let mut records = records.into_iter();
        for event in events {
            let encoded = event.encode(with_prev, &mut records);
            event.form(with_prev).get_or_init(|| encoded);
        }
        Ok(())
    }
}

/// Some events, in order of revision; shared by all watchers that get the same ones. Never empty.
#[derive(Clone)]
pub struct EventList {
    shared: Arc<SharedList>,
}

struct SharedList {
    batches: Box<[Arc<Batch>]>,
    /// Ordered by batch and event.
    picks: Box<[Pick]>,
    encoded: [OnceLock<Bytes>; 2],
}

/// One event of a list: positions of its batch in the list and of the event in the batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pick {
    pub(crate) batch: u32,
    pub(crate) event: u32,
}

impl EventList {
    pub(crate) fn new(batches: Box<[Arc<Batch>]>, picks: Box<[Pick]>) -> EventList {
        EventList { shared: Arc::new(SharedList { batches, picks, encoded: Default::default() }) }
    }

    /// All events of a batch.
    pub(crate) fn whole(batch: Batch) -> EventList {
        let picks = (0..batch.events.len() as u32).map(|event| Pick { batch: 0, event }).collect();
        EventList::new(Box::new([Arc::new(batch)]), picks)
    }

    /// The events from a revision on; `None` if there are none.
    pub(crate) fn since(&self, revision: Revision) -> Option<EventList> {
        let below = self.iter().take_while(|event| event.revision() < revision).count();
        let rest = self.shared.picks.get(below..).filter(|rest| !rest.is_empty())?;
        Some(EventList::new(self.shared.batches.clone(), rest.into()))
    }

    fn event(&self, pick: &Pick) -> Option<&Event> {
        self.shared.batches.get(pick.batch as usize)?.events.get(pick.event as usize)
    }

    pub fn len(&self) -> usize {
        self.shared.picks.len()
    }

    /// Always false; lists without events are not delivered.
    pub fn is_empty(&self) -> bool {
        self.shared.picks.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Event> {
        self.shared.picks.iter().filter_map(|pick| self.event(pick))
    }

    pub fn first_revision(&self) -> Revision {
        self.iter().next().map_or(Revision(0), Event::revision)
    }

    pub fn last_revision(&self) -> Revision {
        self.shared.picks.last().and_then(|pick| self.event(pick)).map_or(Revision(0), Event::revision)
    }

    /// The `events` fields of a `WatchResponse` that carries this list, one after the other. Made once for all
    /// watchers. Reads the store the first time; fails if the disk does.
    pub fn encoded(&self, with_prev: bool) -> Result<Bytes, mvcc::Fault> {
        let form = &self.shared.encoded[usize::from(with_prev)];
        if let Some(encoded) = form.get() {
            return Ok(encoded.clone());
        }
        let mut fields = self.encoded_each(with_prev)?;
        let encoded = match fields.as_mut_slice() {
            [only] => std::mem::take(only),
            fields => {
                let mut out = Vec::with_capacity(fields.iter().map(Bytes::len).sum());
                fields.iter().for_each(|field| out.extend_from_slice(field));
                out.into()
            }
        };
        Ok(form.get_or_init(|| encoded).clone())
    }

    /// The same, one field per event: for answers that must be cut into fragments.
    pub fn encoded_each(&self, with_prev: bool) -> Result<Vec<Bytes>, mvcc::Fault> {
        self.load(with_prev)?;
        Ok(self.iter().filter_map(|event| event.form(with_prev).get().cloned()).collect())
    }

    /// Bytes that it may come to hold beside the view.
    pub fn weight(&self) -> u64 {
        self.iter().map(Event::weight).sum()
    }

    /// Lengths of what `encoded_each` returns.
    pub fn encoded_lengths(&self, with_prev: bool) -> impl Iterator<Item = usize> {
        self.iter().map(move |event| event.encoded_len(with_prev))
    }

    /// The fields of the events `from` to `to` of the list, as many as make about `bytes_max` and one at least, and the
    /// next event. Nothing of it is kept: for what is sent to one watcher as that takes it.
    pub fn encoded_part(
        &self,
        with_prev: bool,
        from: usize,
        to: usize,
        bytes_max: usize,
    ) -> Result<(Bytes, usize), mvcc::Fault> {
        let mut bytes = 0;
        let picks = self.shared.picks.get(from..to).unwrap_or_default();
        let count = picks.iter().take_while(|pick| {
            let fits = bytes == 0 || bytes < bytes_max;
            bytes += self.event(pick).map_or(0, |event| event.encoded_len(with_prev));
            fits
        });
        let picks = picks.get(..count.count()).unwrap_or_default();
        let mut out = Vec::new();
        for same_batch in picks.chunk_by(|one, other| one.batch == other.batch) {
            let Some(batch) = same_batch.first().and_then(|pick| self.shared.batches.get(pick.batch as usize)) else {
                continue;
            };
            let events: Vec<&Event> = same_batch.iter().filter_map(|pick| self.event(pick)).collect();
            let missing = events.iter().filter(|event| event.form(with_prev).get().is_none());
            let locations: Vec<Location> = missing.flat_map(|event| event.records(with_prev)).collect();
            let mut records = Vec::with_capacity(locations.len());
            batch.view.load(&locations, &mut records)?;
            let mut records = records.into_iter();
            for event in events {
                match event.form(with_prev).get() {
                    Some(encoded) => out.extend_from_slice(encoded),
                    None => out.extend_from_slice(&event.encode(with_prev, &mut records)),
                }
            }
        }
        Ok((out.into(), from + picks.len()))
    }

    /// Encodes the events that are not yet, with one read for all their records in each batch.
    fn load(&self, with_prev: bool) -> Result<(), mvcc::Fault> {
        for same_batch in self.shared.picks.chunk_by(|one, other| one.batch == other.batch) {
            let events = same_batch.iter().filter_map(|pick| self.event(pick));
            let missing: Vec<&Event> = events.filter(|event| event.form(with_prev).get().is_none()).collect();
            let batch = same_batch.first().and_then(|pick| self.shared.batches.get(pick.batch as usize));
            if let Some(batch) = batch.filter(|_| !missing.is_empty()) {
                batch.encode(&missing, with_prev)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for EventList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
