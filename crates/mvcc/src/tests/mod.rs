//! Tests of the crate as a whole, on the simulated disk and with small nodes, so that small histories reach every path.

mod hash_vectors;
mod known_bugs;
mod plain;
mod random_histories;
mod reclaim;
mod scripts;
mod verify;

use crate::{Change, CleanJob, Cleaned, Mvcc, RangeItem, View};
use bytes::Bytes;
use model::{KeyRange, KeyValue, LeaseId, Revision};
use simdisk::SimDisk;
use std::path::Path;
use std::sync::Arc;
use store::{Location, Options, Store};

pub(crate) const DIRECTORY: &str = "/store";

pub(crate) fn options() -> Options {
    Options { segment_bytes: 4096, allocate_bytes: 1024, reserve_bytes: 0, ..Options::default() }
}

/// Opens what the disk holds; the checkpoint's meta is the key index's part alone.
pub(crate) fn open(disk: &SimDisk) -> Mvcc {
    let (store, checkpoint) = Store::open(Arc::new(disk.clone()), Path::new(DIRECTORY), options()).expect("open store");
    Mvcc::open(store, checkpoint.map(|checkpoint| (checkpoint.meta, checkpoint.runs))).expect("open mvcc")
}

pub(crate) fn new() -> Mvcc {
    open(&SimDisk::new())
}

pub(crate) fn put(mvcc: &mut Mvcc, key: &str, value: &str) -> Change {
    let mut txn = mvcc.begin();
    let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()));
    txn.put(key, value, LeaseId::NONE).expect("put");
    txn.commit().expect("a put changes something")
}

pub(crate) fn delete(mvcc: &mut Mvcc, range: &KeyRange) -> Option<Change> {
    let mut txn = mvcc.begin();
    txn.delete_range(range);
    txn.commit()
}

pub(crate) fn checkpoint(mvcc: &mut Mvcc) {
    let mut job = mvcc.take_checkpoint().expect("take checkpoint");
    let done = job.write(&job.meta()).expect("write checkpoint");
    mvcc.finish_checkpoint(done).remove().expect("finish checkpoint");
}

pub(crate) fn finish_compaction(mvcc: &mut Mvcc) {
    while mvcc.compaction_step(7) {}
}

/// Copies what is live of all segments, whether it is worth it or not.
pub(crate) fn copy_everything(mvcc: &mut Mvcc) -> CleanJob {
    mvcc.store.seal().expect("seal");
    let segments: Vec<u32> = mvcc.segments().map(|stat| stat.id).collect();
    let scans = segments.into_iter().filter_map(|id| mvcc.store.scan(id)).collect();
    let writer = mvcc.store.begin_cold_segment();
    CleanJob::new(scans, mvcc.index.clone(), writer, u64::MAX)
}

pub(crate) fn copied(mut job: CleanJob) -> Cleaned {
    while job.step().expect("copy") {}
    job.finish().expect("finish copy")
}

pub(crate) fn flushed_view(mvcc: &mut Mvcc) -> View {
    mvcc.flush().expect("flush");
    mvcc.view()
}

/// The pairs of an answer, values loaded.
pub(crate) fn pairs(view: &View, items: &[RangeItem]) -> Vec<KeyValue> {
    let load = |item: &RangeItem| match item {
        RangeItem::Stored(location) => {
            let mut out = Vec::new();
            view.load(&[*location], &mut out).expect("load");
            out.remove(0)
        }
        RangeItem::Encoded(encoded) => encoded.clone(),
    };
    items.iter().map(|item| KeyValue::decode(&load(item)).expect("a pair")).collect()
}
