//! Blocks of an index run: writing and reading. The format is `docs/formats/index-run.md`.
//!
//! Reading is for blocks that passed their checksum, but trusts them no further: every length is checked and the order
//! is too.

use crate::fault::{Fault, Result};
use crate::version::{FOREIGN_BITS, Version};
use bytes::Bytes;
use std::cmp::Ordering;
use std::collections::VecDeque;
use stdx::codec::{put_bytes, put_varint, read_varint};

const FORMAT: u8 = 1;
/// A block is closed once it is this long.
const BLOCK_BYTES: usize = if cfg!(test) { 256 } else { 64 << 10 };
/// Versions in one group.
const GROUP_VERSIONS_MAX: usize = if cfg!(test) { 5 } else { 1024 };

/// Collects groups into blocks.
#[derive(Default)]
pub(crate) struct BlockWriter {
    block: Vec<u8>,
    last_key: Vec<u8>,
    full: Vec<Vec<u8>>,
}

impl BlockWriter {
    /// Adds a key's versions, newest first; keys come in ascending order.
    pub(crate) fn add(&mut self, key: &[u8], versions: &[Version]) {
        assert!(!versions.is_empty(), "a key in a run has versions");
        assert!(self.block.is_empty() || key > self.last_key.as_slice(), "keys in a run ascend");
        assert!(versions.is_sorted_by(|newer, older| newer.at > older.at), "versions in a run descend");
        for group in versions.chunks(GROUP_VERSIONS_MAX) {
            if self.block.is_empty() {
                self.block.reserve(BLOCK_BYTES + BLOCK_BYTES / 8);
                self.block.push(FORMAT);
                self.last_key.clear();
            }
            let shared = self.last_key.iter().zip(key).take_while(|(a, b)| a == b).count();
            put_varint(&mut self.block, shared as u64);
            put_bytes(&mut self.block, key.get(shared..).unwrap_or_default());
            put_varint(&mut self.block, group.len() as u64);
            group.iter().for_each(|version| version.pack(&mut self.block));
            self.last_key.clear();
            self.last_key.extend_from_slice(key);
            if self.block.len() >= BLOCK_BYTES {
                self.full.push(std::mem::take(&mut self.block));
            }
        }
    }

    /// Blocks that are complete; with `last`, also the one begun.
    pub(crate) fn take(&mut self, last: bool) -> Vec<Vec<u8>> {
        if last && !self.block.is_empty() {
            self.full.push(std::mem::take(&mut self.block));
        }
        std::mem::take(&mut self.full)
    }
}

/// Where blocks come from.
pub(crate) trait Blocks {
    fn next_block(&mut self) -> Result<Option<Bytes>>;
}

impl Blocks for store::Run {
    fn next_block(&mut self) -> Result<Option<Bytes>> {
        Ok(store::Run::next_block(self)?)
    }
}

/// Goes over a run key by key.
pub(crate) struct RunReader<B> {
    blocks: B,
    block: Bytes,
    at: usize,
    key: Vec<u8>,
    /// The group that comes next has been read as far as its key, which is not `key`.
    ahead: Option<Vec<u8>>,
    started: bool,
}

fn damaged(what: &'static str) -> Fault {
    Fault::Checkpoint(what)
}

impl<B: Blocks> RunReader<B> {
    pub(crate) fn new(blocks: B) -> RunReader<B> {
        RunReader { blocks, block: Bytes::new(), at: 0, key: Vec::new(), ahead: None, started: false }
    }

    /// The key that `next_versions` is about; valid after it answered true.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Moves to the next key and appends its versions, newest first, to `out`. False behind the last key.
    pub(crate) fn next_versions(&mut self, out: &mut Vec<Version>) -> Result<bool> {
        let start = out.len();
        let Some(key) = (if self.ahead.is_some() { self.ahead.take() } else { self.group_key()? }) else {
            return Ok(false);
        };
        if self.started && key <= self.key {
            return Err(damaged("keys of an index run do not ascend"));
        }
        self.started = true;
        self.key = key;
        loop {
            self.group_versions(out)?;
            match self.group_key()? {
                Some(next) if next == self.key => {}
                next => {
                    self.ahead = next;
                    break;
                }
            }
        }
        let versions = out.get(start..).unwrap_or_default();
        if !versions.is_sorted_by(|newer, older| newer.at.cmp(&older.at) == Ordering::Greater) {
            return Err(damaged("versions of a key in an index run do not descend"));
        }
        Ok(true)
    }

    /// The key of the next group, or `None` behind the last.
    fn group_key(&mut self) -> Result<Option<Vec<u8>>> {
        let fresh = self.at == self.block.len();
        if fresh {
            let Some(block) = self.blocks.next_block()? else { return Ok(None) };
            if block.first() != Some(&FORMAT) {
                return Err(damaged("an index block has a format that this release does not know"));
            }
            (self.block, self.at) = (block, 1);
        }
        let shared = self.varint()? as usize;
        let length = self.varint()? as usize;
        let known: &[u8] = if fresh { &[] } else { &self.key };
        let head = known.get(..shared).ok_or(damaged("a key in an index run shares more than there is"))?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.block.len());
        let end = end.ok_or(damaged("a key in an index run is cut short"))?;
        let key = [head, &self.block[self.at..end]].concat();
        self.at = end;
        Ok(Some(key))
    }

    fn group_versions(&mut self, out: &mut Vec<Version>) -> Result<()> {
        let count = self.varint()?;
        if count == 0 {
            return Err(damaged("a key in an index run has no versions"));
        }
        let mut input = self.block.get(self.at..).unwrap_or_default();
        for _ in 0..count {
            if input.first().is_none_or(|flags| flags & FOREIGN_BITS != 0) {
                return Err(damaged("a version in an index run is none"));
            }
            out.push(Version::unpack(&mut input).ok_or(damaged("a version in an index run is none"))?);
        }
        self.at = self.block.len() - input.len();
        Ok(())
    }

    fn varint(&mut self) -> Result<u64> {
        let input = self.block.get(self.at..).unwrap_or_default();
        let (value, read) = read_varint(input).map_err(|_| damaged("a number in an index run is cut short"))?;
        self.at += read;
        Ok(value)
    }
}

impl Blocks for VecDeque<Bytes> {
    fn next_block(&mut self) -> Result<Option<Bytes>> {
        Ok(self.pop_front())
    }
}

/// Reads the blocks of a run from memory and writes them anew: what is read without a fault is read alike again. For
/// checking the reader with hostile bytes.
pub fn recode_run(blocks: VecDeque<Bytes>) -> Result<VecDeque<Bytes>> {
    let mut reader = RunReader::new(blocks);
    let mut writer = BlockWriter::default();
    let mut versions = Vec::new();
    while reader.next_versions(&mut versions)? {
        writer.add(reader.key(), &versions);
        versions.clear();
    }
    Ok(writer.take(true).into_iter().map(Bytes::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::tests::version;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Keys = BTreeMap<Vec<u8>, Vec<Version>>;

    fn keys() -> impl Strategy<Value = Keys> {
        let versions = proptest::collection::vec(version(), 1..12).prop_map(|mut versions| {
            versions.sort_by_key(|version| std::cmp::Reverse(version.at));
            versions.dedup_by_key(|version| version.at);
            versions
        });
        let key = proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), any::<u8>()], 0..8);
        proptest::collection::btree_map(key, versions, 0..20)
    }

    fn written(keys: &Keys) -> VecDeque<Bytes> {
        let mut writer = BlockWriter::default();
        keys.iter().for_each(|(key, versions)| writer.add(key, versions));
        writer.take(true).into_iter().map(Bytes::from).collect()
    }

    fn read(blocks: VecDeque<Bytes>) -> Result<Keys> {
        let mut reader = RunReader::new(blocks);
        let mut keys = Keys::new();
        let mut versions = Vec::new();
        while reader.next_versions(&mut versions)? {
            keys.insert(reader.key().to_vec(), std::mem::take(&mut versions));
        }
        Ok(keys)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(keys in keys()) {
            prop_assert_eq!(read(written(&keys)).expect("own blocks"), keys);
        }

        #[test]
        fn flipped_bytes_never_panic(keys in keys(), at: prop::sample::Index, byte: u8, cut: bool) {
            let mut blocks = written(&keys);
            if let Some(block) = blocks.front_mut() {
                let mut bytes = block.to_vec();
                let at = at.index(bytes.len());
                bytes[at] = byte;
                bytes.truncate(if cut { at } else { bytes.len() });
                *block = bytes.into();
            }
            if let Ok(again) = recode_run(blocks.clone()) {
                prop_assert_eq!(read(again).expect("own blocks"), read(blocks).expect("read before"));
            }
        }
    }
}
