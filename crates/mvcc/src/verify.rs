//! Checking a store that nobody uses: the index of its checkpoint can be loaded, and every version that counts has its
//! record.

use crate::checkpoint::CheckpointMeta;
use crate::compaction::retained;
use crate::fault::{Fault, Result};
use crate::load::Merge;
use crate::run::RunReader;
use crate::version::{Meta, Put, Version};
use bytes::Bytes;
use model::KeyValue;
use store::{Image, Reader, Run};

/// What a check of the key index found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Keys that have a version.
    pub keys: u64,
    /// Versions that count, deletions included.
    pub versions: u64,
    /// Every version whose record is not what the index says.
    pub lost: Vec<Lost>,
}

/// A version without its record.
#[derive(Debug)]
pub struct Lost {
    pub key: Bytes,
    /// All but the value.
    pub meta: Meta,
    /// The key has no newer version.
    pub is_current: bool,
    pub fault: Fault,
}

/// Goes over the index of a checkpoint (its part of the meta, and the runs), and reads every record that it names.
/// Changes nothing. Fails if the index itself cannot be loaded.
pub fn verify(image: &Image, meta: &Bytes, runs: Vec<Run>) -> Result<Verified> {
    let compacted = CheckpointMeta::decode(meta)?.compacted;
    let reader = image.reader();
    let mut merge = Merge::new(runs.into_iter().map(RunReader::new).collect())?;
    let mut verified = Verified::default();
    let (mut key, mut versions) = (Vec::new(), Vec::new());
    while merge.next(&mut key, &mut versions)? {
        versions.truncate(retained(&versions, compacted));
        verified.keys += u64::from(!versions.is_empty());
        for (age, version) in versions.iter().enumerate() {
            verified.versions += 1;
            if let (Err(fault), Some(meta)) = (verify_version(&reader, &key, version), version.meta()) {
                let key = Bytes::copy_from_slice(&key);
                verified.lost.push(Lost { key, meta, is_current: age == 0, fault });
            }
        }
    }
    Ok(verified)
}

fn verify_version(reader: &Reader, key: &[u8], version: &Version) -> Result<()> {
    let Some(put) = version.put else { return Ok(()) };
    let payload = reader.read(put.location)?;
    let Put { create_revision, lease, location, .. } = put;
    let kv = KeyValue::decode(&payload).map_err(|_| Fault::NotAPair)?;
    let same = kv.key == key
        && (kv.mod_revision, kv.create_revision, kv.version) == (version.at.main, create_revision, put.version)
        && kv.lease == lease
        && *version == Version::of_put(version.at, Put { location, ..put }, &payload);
    if same { Ok(()) } else { Err(Fault::NotAPair) }
}
