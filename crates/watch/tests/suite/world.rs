//! A store, its event log and one registry, driven step by step.

use bytes::Bytes;
use model::{KeyRange, KeyValue, LeaseId, Revision};
use mvcc::{Mvcc, Txn};
use simdisk::SimDisk;
use std::path::Path;
use std::sync::Arc;
use stdx::codec::Reader;
use store::Store;
use watch::{EventList, EventLog, Limits, Registry};

pub struct World {
    pub mvcc: Mvcc,
    pub log: Arc<EventLog>,
    pub registry: Registry,
    held: Option<Vec<mvcc::Change>>,
}

/// An event as a client decodes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub is_delete: bool,
    pub kv: KeyValue,
    pub prev: Option<KeyValue>,
}

impl World {
    pub fn new(limits: Limits) -> World {
        let mvcc = open();
        let log = Arc::new(EventLog::new(mvcc.current_revision(), limits));
        let registry = Registry::new(log.clone());
        World { mvcc, log, registry, held: None }
    }

    pub fn revision(&self) -> Revision {
        self.mvcc.current_revision()
    }

    /// Runs a txn and publishes its change, unless changes are held.
    pub fn write(&mut self, run: impl FnOnce(&mut Txn<'_>)) {
        let mut txn = self.mvcc.begin();
        run(&mut txn);
        let change = txn.commit();
        self.mvcc.flush().expect("the disk works");
        match &mut self.held {
            Some(held) => held.extend(change),
            None => self.push(change.into_iter().collect()),
        }
    }

    pub fn put(&mut self, key: &str, value: &str) {
        self.write(|txn| put(txn, key, value));
    }

    pub fn delete(&mut self, key: &str) {
        self.write(|txn| delete(txn, &KeyRange::single(key.to_string())));
    }

    /// Changes from now on are pushed together, by `publish`.
    pub fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    pub fn publish(&mut self) {
        let held = self.held.take().unwrap_or_default();
        self.push(held);
    }

    fn push(&mut self, changes: Vec<mvcc::Change>) {
        self.log.push(changes, &self.mvcc.view());
    }
}

fn open() -> Mvcc {
    let options =
        store::Options { segment_bytes: 4096, allocate_bytes: 1024, reserve_bytes: 0, ..store::Options::default() };
    let (store, _) = Store::open(Arc::new(SimDisk::new()), Path::new("/data"), options).expect("a store");
    Mvcc::open(store, None).expect("an empty store")
}

pub fn put(txn: &mut Txn<'_>, key: &str, value: &str) {
    txn.put(Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()), LeaseId::NONE)
        .expect("the disk works");
}

pub fn delete(txn: &mut Txn<'_>, range: &KeyRange) {
    txn.delete_range(range);
}

/// Decodes what a client gets for this list.
pub fn seen(events: &EventList, with_prev: bool) -> Vec<Seen> {
    let encoded = events.encoded(with_prev).expect("the disk works");
    let mut reader = Reader::new(encoded.clone());
    let mut all = Vec::new();
    while !reader.is_empty() {
        assert_eq!(reader.u8(), Ok(0x5a), "events field of a watch response");
        all.push(decode_event(reader.bytes().expect("an event")));
    }
    assert_eq!(events.encoded_each(with_prev).expect("loaded").concat(), encoded);
    all
}

fn decode_event(bytes: Bytes) -> Seen {
    let mut reader = Reader::new(bytes);
    let mut seen = Seen { is_delete: false, kv: KeyValue::default(), prev: None };
    while !reader.is_empty() {
        match reader.u8().expect("a tag") {
            0x08 => seen.is_delete = reader.varint() == Ok(1),
            0x12 => seen.kv = KeyValue::decode(&reader.bytes().expect("kv")).expect("kv"),
            0x1a => seen.prev = Some(KeyValue::decode(&reader.bytes().expect("prev")).expect("prev")),
            tag => panic!("unknown field {tag}"),
        }
    }
    seen
}
