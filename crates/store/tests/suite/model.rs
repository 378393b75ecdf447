//! Random operations against a plain model: a map of locations to bytes, and the live bytes of each segment.

use crate::caller::{DIRECTORY, options};
use proptest::prelude::*;
use simdisk::{Random, SimDisk};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use store::{Location, Mode, RECORD_OVERHEAD_BYTES, Reader, SegmentStat, Store};

#[derive(Debug, Clone)]
enum Op {
    Append(Vec<u8>, usize),
    Flush,
    Publish,
    /// Picks among the live records.
    Read(usize),
    /// With everything in the files, or some of it only published.
    ReadMany(Vec<usize>, bool),
    MarkGarbage(usize),
    /// What comes in between its two ends is not part of it.
    Checkpoint(bool, Vec<Vec<u8>>),
    Seal,
    /// Copies what is live of a sealed segment to a cold one and makes it garbage there; records of this share are left
    /// where they are.
    Reclaim(usize, usize),
    Kill,
    PowerCut(u64),
    /// Takes a reader and the records it may read; it must read them to the end.
    KeepReader,
}

fn payloads() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![8 => 0usize..300, 1 => 3000usize..6000];
    (length, any::<u8>()).prop_map(|(length, byte)| vec![byte; length])
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (payloads(), any::<usize>()).prop_map(|(payload, cut)| Op::Append(payload, cut)),
        3 => Just(Op::Flush),
        3 => Just(Op::Publish),
        3 => any::<usize>().prop_map(Op::Read),
        2 => (proptest::collection::vec(any::<usize>(), 0..12), any::<bool>()).prop_map(|(numbers, flush)| Op::ReadMany(numbers, flush)),
        8 => any::<usize>().prop_map(Op::MarkGarbage),
        2 => (any::<bool>(), proptest::collection::vec(payloads(), 0..3)).prop_map(|(full, meanwhile)| Op::Checkpoint(full, meanwhile)),
        1 => Just(Op::Seal),
        2 => (any::<usize>(), 1usize..4).prop_map(|(segment, share)| Op::Reclaim(segment, share)),
        1 => Just(Op::Kill),
        1 => any::<u64>().prop_map(Op::PowerCut),
        1 => Just(Op::KeepReader),
    ]
}

#[derive(Debug, Clone, Default)]
struct Model {
    live: HashMap<Location, Vec<u8>>,
    /// Of every segment there is, garbage included.
    total: BTreeMap<u32, u64>,
    /// The segment that is appended to: checkpoints keep it even without live records.
    active: Option<u32>,
}

impl Model {
    fn live_bytes(&self, segment: u32) -> u64 {
        let here = self.live.keys().filter(|location| location.segment == segment);
        here.map(|location| u64::from(location.length) + RECORD_OVERHEAD_BYTES).sum()
    }

    fn pick(&self, number: usize) -> Option<Location> {
        let mut locations: Vec<Location> = self.live.keys().copied().collect();
        locations.sort();
        (!locations.is_empty()).then(|| locations[number % locations.len()])
    }
}

struct Run {
    disk: SimDisk,
    store: Store,
    model: Model,
    /// As of the newest checkpoint.
    durable: Model,
    blocks: Vec<Vec<u8>>,
    meta: u64,
    kept: Vec<(Reader, HashMap<Location, Vec<u8>>)>,
    /// What readers may read.
    published: HashMap<Location, Vec<u8>>,
}

impl Run {
    fn new() -> Run {
        let disk = SimDisk::new();
        let (store, checkpoint) =
            Store::open(Arc::new(disk.clone()), Path::new(DIRECTORY), options()).expect("a new store opens");
        assert!(checkpoint.is_none());
        let (model, durable, published) = <(Model, Model, HashMap<_, _>)>::default();
        Run { disk, store, model, durable, blocks: vec![], meta: 0, kept: vec![], published }
    }

    fn append(&mut self, payload: &[u8], cut: usize) {
        let (one, two) = payload.split_at(cut % (payload.len() + 1));
        let location = self.store.append(&[one, two]).expect("there is space");
        assert_eq!(location.length as usize, payload.len());
        assert!(self.model.live.insert(location, payload.to_vec()).is_none(), "{location:?} is given twice");
        self.model.active = Some(location.segment);
        *self.model.total.entry(location.segment).or_default() += payload.len() as u64 + RECORD_OVERHEAD_BYTES;
    }

    fn publish(&mut self, flush: bool) {
        let published = if flush { self.store.flush() } else { self.store.publish() };
        published.expect("the disk is sound");
        assert!(!flush || self.store.unwritten_bytes() == 0);
        self.published = self.model.live.clone();
    }

    fn checkpoint(&mut self, mode: Mode, meanwhile: &[Vec<u8>]) {
        self.meta += 1;
        let mut writer = self.store.begin_checkpoint().expect("a checkpoint begins");
        self.published = self.model.live.clone();
        let captured = self.model.clone();
        meanwhile.iter().for_each(|payload| self.append(payload, 1));
        let block = self.meta.to_le_bytes().to_vec();
        let mut blocks = std::iter::once(block.clone());
        let done = writer.commit(&self.meta.to_le_bytes(), &mut blocks, mode).expect("the disk is sound");
        if mode == Mode::Full {
            self.blocks.clear();
        }
        self.blocks.push(block);
        let keep = |id: u32| captured.live_bytes(id) > 0 || Some(id) == captured.active;
        self.durable = captured.clone();
        self.durable.total.retain(|id, _| keep(*id));
        self.model.total.retain(|id, _| keep(*id) || !captured.total.contains_key(id));
        self.store.finish_checkpoint(done).remove().expect("the disk is sound");
    }

    fn reclaim(&mut self, number: usize, share: usize) {
        let sealed: Vec<u32> = self.store.segments().filter(|stat| stat.is_sealed).map(|stat| stat.id).collect();
        if sealed.is_empty() {
            return;
        }
        let mut scan = self.store.scan(sealed[number % sealed.len()]).expect("it is sealed");
        let mut cold = self.store.begin_cold_segment();
        let mut moves = Vec::new();
        let mut scanned = 0;
        while let Some((location, payload)) = scan.next_record().expect("it is sound") {
            scanned += payload.len() as u64 + RECORD_OVERHEAD_BYTES;
            let Some(live) = self.model.live.get(&location) else { continue };
            assert_eq!(payload, *live);
            let copy = cold.append(&payload).expect("there is space");
            moves.push((location, copy));
        }
        assert_eq!(scanned, self.model.total[&scan.segment()]);
        let copied = cold.record_bytes();
        let Some(segment) = cold.finish().expect("there is space") else { return assert!(moves.is_empty()) };
        self.store.adopt(segment);
        self.model.total.insert(moves[0].1.segment, copied);
        for (at, (from, to)) in moves.into_iter().enumerate() {
            if at % share == 0 {
                self.store.mark_garbage(from);
                let payload = self.model.live.remove(&from).expect("it was live");
                self.model.live.insert(to, payload.clone());
                self.published.insert(to, payload);
            } else {
                self.store.mark_garbage(to);
            }
        }
    }

    fn open(&mut self, disk: SimDisk) {
        let (store, checkpoint) =
            Store::open(Arc::new(disk.clone()), Path::new(DIRECTORY), options()).expect("it opens");
        (self.disk, self.store, self.model) = (disk, store, self.durable.clone());
        // A segment that is full is not gone on with.
        let last = self.model.total.last_key_value();
        self.model.active = last.filter(|(_, total)| 16 + **total < options().segment_bytes).map(|(id, _)| *id);
        self.kept.clear();
        self.published = self.model.live.clone();
        self.model.live.keys().for_each(|location| assert!(self.store.mark_live(*location)));
        let meta = checkpoint.as_ref().map(|checkpoint| checkpoint.meta.to_vec());
        assert_eq!(meta, (self.meta > 0).then(|| self.meta.to_le_bytes().to_vec()));
        let mut blocks = Vec::new();
        for mut run in checkpoint.map_or(vec![], |checkpoint| checkpoint.runs) {
            while let Some(block) = run.next_block().expect("it is whole") {
                blocks.push(block.to_vec());
            }
        }
        assert_eq!(blocks, self.blocks);
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Append(payload, cut) => self.append(&payload, cut),
            Op::Flush => self.publish(true),
            Op::Publish => self.publish(false),
            Op::Read(number) => {
                let Some(location) = self.model.pick(number) else { return };
                let read = self.store.read(location).expect("it is live");
                assert_eq!(read, self.model.live[&location]);
            }
            Op::ReadMany(numbers, flush) => {
                self.publish(flush);
                let list: Vec<Location> = numbers.iter().filter_map(|number| self.model.pick(*number)).collect();
                let mut out = Vec::new();
                self.store.reader().read_many(&list, &mut out).expect("they are live");
                let expected: Vec<_> = list.iter().map(|location| self.model.live[location].clone()).collect();
                assert_eq!(out, expected);
            }
            Op::MarkGarbage(number) => {
                let Some(location) = self.model.pick(number) else { return };
                self.store.mark_garbage(location);
                self.model.live.remove(&location);
            }
            Op::Checkpoint(full, meanwhile) => {
                self.checkpoint(if full { Mode::Full } else { Mode::Delta }, &meanwhile);
            }
            Op::Seal => {
                self.store.seal().expect("the disk is sound");
                self.published = self.model.live.clone();
                self.model.active = None;
            }
            Op::Reclaim(number, share) => self.reclaim(number, share),
            Op::Kill => self.open(self.disk.after_kill()),
            Op::PowerCut(seed) => self.open(self.disk.after_power_cut(&mut Random::new(seed))),
            Op::KeepReader => self.kept.push((self.store.reader(), self.published.clone())),
        }
    }

    fn check(&self) {
        let expected = self.model.total.iter().map(|(&id, &total_bytes)| {
            let live_bytes = self.model.live_bytes(id);
            SegmentStat { id, total_bytes, live_bytes, is_sealed: self.model.active != Some(id) }
        });
        // A segment that was opened and not yet written to is the store's own affair.
        let found: Vec<_> = self.store.segments().filter(|stat| stat.total_bytes > 0).collect();
        assert_eq!(found, expected.filter(|stat| stat.total_bytes > 0).collect::<Vec<_>>());
        assert_eq!(self.store.live_bytes(), found.iter().map(|stat| stat.live_bytes).sum::<u64>());
        let files: u64 = self.disk.image().iter().map(|(_, content)| content.len() as u64).sum();
        assert_eq!(self.store.physical_bytes(), files);
        for (location, payload) in &self.model.live {
            assert_eq!(self.store.read(*location).expect("it is live"), *payload);
        }
        for (reader, records) in &self.kept {
            for (location, payload) in records {
                assert_eq!(reader.read(*location).expect("a reader keeps its files"), *payload);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]
    #[test]
    fn the_store_does_what_the_model_does(ops in proptest::collection::vec(ops(), 1..80)) {
        let mut run = Run::new();
        for op in ops {
            run.step(op);
            run.check();
        }
    }
}
