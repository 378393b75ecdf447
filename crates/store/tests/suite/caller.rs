//! A caller of the store as the layer above is one: an index of keys, delta and full checkpoints of it, and a memory
//! outside the disk of what each checkpoint named, so that what is found after a crash can be compared with it.
//!
//! A payload is a function of key and version; an index block is a list of changes. Nothing here knows the file
//! formats.

use simdisk::{Random, SimDisk};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{Checkpoint, Fault, Location, Mode, Options, Store};

pub const DIRECTORY: &str = "/d/store";
const KEYS: u64 = 24;
const SEGMENT_BYTES: u64 = 4096;
const BLOCK_CHANGES: usize = 7;

type Index = BTreeMap<u64, Entry>;
type Result<T> = std::result::Result<T, Fault>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub version: u64,
    pub location: Location,
}

/// What a checkpoint with this meta holds: versions by key.
#[derive(Debug, Clone, Default)]
struct Memory {
    history: BTreeMap<u64, BTreeMap<u64, u64>>,
    /// Meta of the newest checkpoint that is known to be durable; 0 for none.
    acknowledged: u64,
    /// Meta of the newest checkpoint that was begun.
    attempted: u64,
}

pub struct Caller {
    pub disk: SimDisk,
    pub store: Store,
    pub index: Index,
    delta: BTreeMap<u64, Option<Entry>>,
    next_version: u64,
    memory: Memory,
}

/// What is left of a caller when its machine is gone.
#[derive(Debug, Clone)]
pub struct Remains {
    memory: Memory,
    next_version: u64,
}

pub fn payload(key: u64, version: u64) -> Vec<u8> {
    let mut random = Random::new(key << 32 | version);
    let length = match random.below(20) {
        0 => SEGMENT_BYTES + random.below(500),
        1 => 0,
        _ => random.below(600),
    };
    (0..length).map(|_| random.next_u64() as u8).collect()
}

pub fn options() -> Options {
    Options { segment_bytes: SEGMENT_BYTES, allocate_bytes: 1024, reserve_bytes: 0, ..Options::default() }
}

impl Remains {
    /// Nothing was ever written.
    pub fn of_nothing() -> Remains {
        Remains { memory: Memory::default(), next_version: 1 }
    }
}

impl Caller {
    pub fn new(disk: SimDisk) -> Result<Caller> {
        Caller::open(disk, Remains::of_nothing())
    }

    /// Opens what a crash left, and checks that it is exactly a checkpoint that may be there.
    pub fn open(disk: SimDisk, remains: Remains) -> Result<Caller> {
        let Remains { mut memory, next_version } = remains;
        let (mut store, checkpoint) = Store::open(Arc::new(disk.clone()), Path::new(DIRECTORY), options())?;
        let (meta, index) = load(checkpoint)?;
        let may_be = meta == memory.acknowledged || meta == memory.attempted;
        assert!(may_be, "found checkpoint {meta}, {} is durable", memory.acknowledged);
        memory.acknowledged = meta;
        memory.attempted = meta;
        let versions: BTreeMap<u64, u64> = index.iter().map(|(key, entry)| (*key, entry.version)).collect();
        assert_eq!(versions, memory.history.get(&meta).cloned().unwrap_or_default(), "checkpoint {meta}");
        for entry in index.values() {
            assert!(store.holds(entry.location));
            assert!(store.mark_live(entry.location));
        }
        let caller = Caller { disk, store, index, delta: BTreeMap::new(), next_version, memory };
        caller.check_records();
        caller.check_files();
        Ok(caller)
    }

    /// What would be left if the machine were gone now.
    pub fn remains(&self) -> Remains {
        Remains { memory: self.memory.clone(), next_version: self.next_version }
    }

    /// The machine is gone; what is left is on the disk and in the memory of who looks on.
    pub fn end(self) -> Remains {
        Remains { memory: self.memory, next_version: self.next_version }
    }

    pub fn put(&mut self, key: u64) -> Result<()> {
        let version = self.next_version;
        let payload = payload(key, version);
        let (one, two) = payload.split_at(payload.len() / 3);
        let location = self.store.append(&[one, two])?;
        self.next_version += 1;
        let entry = Entry { version, location };
        self.delta.insert(key, Some(entry));
        if let Some(before) = self.index.insert(key, entry) {
            self.store.mark_garbage(before.location);
        }
        Ok(())
    }

    pub fn delete(&mut self, key: u64) {
        if let Some(before) = self.index.remove(&key) {
            self.store.mark_garbage(before.location);
            self.delta.insert(key, None);
        }
    }

    /// Takes a checkpoint; between its two ends the caller goes on writing. What lacks space is tried again with the
    /// same blocks once `wait` made some.
    pub fn checkpoint(&mut self, mode: Mode, meanwhile: &[u64], wait: &mut dyn FnMut(&Fault) -> bool) -> Result<()> {
        let mut writer = self.store.begin_checkpoint()?;
        let changes: Vec<(u64, Option<Entry>)> = match mode {
            Mode::Delta => self.delta.iter().map(|(key, entry)| (*key, *entry)).collect(),
            Mode::Full => self.index.iter().map(|(key, entry)| (*key, Some(*entry))).collect(),
        };
        let meta = self.memory.history.last_key_value().map_or(0, |(meta, _)| *meta) + 1;
        let versions = self.index.iter().map(|(key, entry)| (*key, entry.version)).collect();
        self.memory.history.insert(meta, versions);
        let taken = std::mem::take(&mut self.delta);
        self.memory.attempted = meta;
        let written = meanwhile.iter().try_for_each(|key| self.put(*key));
        let done = loop {
            let mut blocks = changes.chunks(BLOCK_CHANGES).map(encode);
            match writer.commit(&meta.to_le_bytes(), &mut blocks, mode) {
                Ok(done) => break done,
                Err(fault) if fault.may_pass() && wait(&fault) => {}
                Err(fault) => {
                    // The next delta must hold these changes too.
                    let newer = std::mem::replace(&mut self.delta, taken);
                    self.delta.extend(newer);
                    return Err(fault);
                }
            }
        };
        self.memory.acknowledged = meta;
        self.store.finish_checkpoint(done).remove()?;
        written
    }

    /// Every record that counts is there, is what was written, and is counted.
    pub fn check_records(&self) {
        let mut live: BTreeMap<u32, u64> = BTreeMap::new();
        for (key, entry) in &self.index {
            let read = self.store.read(entry.location).expect("a record that counts is readable");
            assert_eq!(read, payload(*key, entry.version), "key {key}");
            *live.entry(entry.location.segment).or_default() += read.len() as u64 + store::RECORD_OVERHEAD_BYTES;
        }
        for stat in self.store.segments() {
            assert_eq!(stat.live_bytes, live.remove(&stat.id).unwrap_or(0), "live bytes of segment {}", stat.id);
            assert!(stat.live_bytes <= stat.total_bytes);
        }
        assert!(live.is_empty(), "segments that are not listed: {live:?}");
    }

    /// Right after opening: nothing but what the checkpoint names, and no byte behind it.
    fn check_files(&self) {
        let mut segments: BTreeMap<PathBuf, u64> = BTreeMap::new();
        for stat in self.store.segments() {
            segments.insert(Path::new(DIRECTORY).join(format!("segment-{:08x}", stat.id)), stat.total_bytes + 16);
        }
        let mut bytes = 0;
        for (path, content) in self.disk.image() {
            let name = path.file_name().expect("files have names").to_string_lossy().into_owned();
            match segments.remove(&path) {
                Some(length) => assert_eq!(content.len() as u64, length, "{name}"),
                None => assert!(name == "manifest" || name.starts_with("run-"), "{name} is left over"),
            }
            bytes += content.len() as u64;
        }
        assert!(segments.is_empty(), "missing: {segments:?}");
        assert_eq!(self.store.physical_bytes(), bytes);
    }

    /// Every record that counts can be read by everybody, without a step of the disk.
    fn publish(&mut self) -> Result<()> {
        let steps = self.disk.steps();
        self.store.publish()?;
        assert_eq!(self.disk.steps(), steps, "nothing is written");
        let reader = self.store.reader();
        for (key, entry) in &self.index {
            assert_eq!(reader.read(entry.location)?, payload(*key, entry.version), "key {key}");
        }
        Ok(())
    }

    /// One of the things a caller does, at random.
    pub fn act(&mut self, random: &mut Random, wait: &mut dyn FnMut(&Fault) -> bool) -> Result<()> {
        match random.below(17) {
            0 => self.store.flush(),
            16 => self.publish(),
            1 => self.checkpoint(Mode::Full, &[], wait),
            2 => self.checkpoint(Mode::Delta, &[random.below(KEYS), random.below(KEYS)], wait),
            3..=5 => {
                self.delete(random.below(KEYS));
                Ok(())
            }
            _ => self.put(random.below(KEYS)),
        }
    }
}

/// `count` random actions.
pub fn work(caller: &mut Caller, seed: u64, count: usize) -> Result<()> {
    let mut random = Random::new(seed);
    (0..count).try_for_each(|_| caller.act(&mut random, &mut |_| false))
}

fn encode(changes: &[(u64, Option<Entry>)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (key, entry) in changes {
        let numbers = match entry {
            Some(Entry { version, location }) => {
                [*key, *version, u64::from(location.segment), u64::from(location.offset), u64::from(location.length)]
            }
            None => [*key, 0, 0, 0, 0],
        };
        block.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    }
    block
}

/// The meta and the index that the runs make up.
pub fn load(checkpoint: Option<Checkpoint>) -> Result<(u64, Index)> {
    let mut index = Index::new();
    let Some(checkpoint) = checkpoint else { return Ok((0, index)) };
    let meta = u64::from_le_bytes(checkpoint.meta.as_ref().try_into().expect("the meta is a number"));
    for mut run in checkpoint.runs {
        while let Some(block) = run.next_block()? {
            for change in block.chunks_exact(40) {
                let number = |at: usize| u64::from_le_bytes(change[8 * at..8 * at + 8].try_into().expect("8 bytes"));
                let [key, version, segment, offset, length] = [0, 1, 2, 3, 4].map(number);
                let location = Location { segment: segment as u32, offset: offset as u32, length: length as u32 };
                match version {
                    0 => index.remove(&key),
                    _ => index.insert(key, Entry { version, location }),
                };
            }
        }
    }
    Ok((meta, index))
}
