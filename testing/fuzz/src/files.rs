//! The decoders of what is on the disk. Checksums would stop nearly every changed input, so where a decoder lies behind
//! one, the target makes the checksum right again: what is tried is what a wrong writer, not a wrong disk, would leave.

use bytes::Bytes;
use consensus::{Entry as LogEntry, EntryKind, HardState};
use crc32c::{crc32c, crc32c_append};
use io::{Disk, Open};
use model::{Alarm, AlarmAction, AlarmKind, Command, Entry, LeaseGrant, LeaseId, LogIndex, MemberId, Put, PutLease};
use model::{PutValue, RequestId, Term};
use simdisk::SimDisk;
use state::{Membership, State, Tables};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use stdx::codec::{Reader, put_bool, put_varint};
use store::{Image, Store};
use wal::{Salt, Wal};

const DIRECTORY: &str = "/data";
const SEGMENT_BYTES: usize = 4096;
const LOG_HEADER_BYTES: usize = 104;

fn entries(first: u64, count: u64) -> Vec<LogEntry> {
    let entry = |index| LogEntry { term: 2, index, kind: EntryKind::Normal, data: "some data".into() };
    (first..first + count).map(entry).collect()
}

/// The files of a directory, by name.
fn contents(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
    let name = |path: &Path| path.file_name().expect("a file has a name").to_string_lossy().into_owned();
    disk.image().into_iter().map(|(path, content)| (name(&path), content)).collect()
}

/// All segments of a log, one behind the other.
pub fn log_segments() -> Vec<Vec<u8>> {
    let disk = SimDisk::new();
    let options = wal::Options { segment_bytes: SEGMENT_BYTES as u64, ..wal::Options::new(7) };
    let (mut log, _) = Wal::open(Arc::new(disk.clone()), Path::new(DIRECTORY), options).expect("a new log opens");
    while log.segments() < 4 {
        let state = HardState { term: 2, vote: 1, commit: log.last().index };
        log.append(&entries(log.last().index + 1, 20), Some(state)).expect("there is space");
        log.sync().expect("the disk is sound");
    }
    log.close().expect("the disk is sound");
    let segments = contents(&disk).into_iter().filter(|(name, _)| name.ends_with(".wal"));
    let segments: Vec<Vec<u8>> = segments.map(|(_, content)| content).collect();
    assert!(segments.iter().all(|segment| segment.len() == SEGMENT_BYTES), "a segment for each piece of the input");
    let found = wal::decode_log(numbered(&segments.concat())).expect("a log as it was written");
    assert!(found.entries.len() > 100, "{} entries", found.entries.len());
    vec![segments.concat()]
}

fn numbered(input: &[u8]) -> Vec<(u64, Bytes)> {
    (1..).zip(input.chunks(SEGMENT_BYTES).map(Bytes::copy_from_slice)).collect()
}

pub fn log(input: &[u8]) {
    let _ = wal::decode_log(numbered(input));
}

/// A header, and the record behind it by the header's own salt.
pub fn log_record(input: &[u8]) {
    let Ok((header, _)) = wal::decode_header(input) else { return };
    let salt = Salt::new(header.log_id, header.sequence);
    let behind = input.get(LOG_HEADER_BYTES..).unwrap_or_default();
    if let Some(record) = wal::decode_record(behind, salt, LOG_HEADER_BYTES as u64) {
        assert!(record.length as usize <= behind.len(), "a record is not longer than what it was read from");
    }
}

pub fn log_batches() -> Vec<Vec<u8>> {
    let batch = |state: bool| {
        let mut out = Vec::new();
        put_bool(&mut out, state);
        [2, 1, 5].into_iter().filter(|_| state).for_each(|number| put_varint(&mut out, number));
        consensus::put_entries(&mut out, &entries(6, 3));
        wal::decode_batch(out.clone().into()).expect("a batch as it is written");
        out
    };
    vec![batch(true), batch(false)]
}

pub fn log_batch(input: &[u8]) {
    if let Ok(batch) = wal::decode_batch(Bytes::copy_from_slice(input)) {
        let mut out = Vec::new();
        consensus::put_entries(&mut out, &batch.entries);
        assert_eq!(consensus::read_entries(&mut Reader::new(out.into())), Ok(batch.entries));
    }
}

/// The store of a small member after a checkpoint, with something of everything in it.
fn member() -> &'static [(String, Vec<u8>)] {
    static MEMBER: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    MEMBER.get_or_init(|| {
        let disk = SimDisk::new();
        let (store, _) = open_store(&disk).expect("a new store opens");
        let membership = Membership::bootstrap("token", [("one".to_owned(), vec!["http://localhost:2380".to_owned()])]);
        let membership = membership.expect("one member");
        let mut state = State::bootstrap(store, membership, state::Options::default()).expect("a new state");
        let alarm = Alarm { action: AlarmAction::Activate, member: MemberId(1), kind: AlarmKind::Corrupt };
        let puts = (0..40).map(|n| put(n % 13, n % 3));
        let grants = [LeaseId(1), LeaseId(2)].map(|id| Command::LeaseGrant(LeaseGrant { id, ttl_s: 60 }));
        let commands =
            grants.into_iter().chain(puts).chain([Command::Alarm(alarm), Command::BudgetSet(crate::targets::budget())]);
        for (index, command) in (1..).zip(commands) {
            let entry = Entry { request: RequestId(index), leader_time_ms: 10 * index, command };
            state.apply(LogIndex(index), Term(1), &entry.into()).expect("the disk is sound");
        }
        let done = state.begin_checkpoint().and_then(|mut job| job.write()).expect("the disk is sound");
        state.finish_checkpoint(done).remove().expect("the disk is sound");
        contents(&disk)
    })
}

fn put(key: u64, lease: u64) -> Command {
    Command::Put(Put {
        key: format!("/registry/pods/key-{key}").into(),
        value: PutValue::Set("value".into()),
        lease: PutLease::Set(LeaseId(lease as i64)),
        prev_kv: false,
    })
}

fn open_store(disk: &SimDisk) -> store::Result<(Store, Option<store::Checkpoint>)> {
    let options = store::Options { segment_bytes: 4096, allocate_bytes: 1024, reserve_bytes: 0, ..Default::default() };
    Store::open(Arc::new(disk.clone()), Path::new(DIRECTORY), options)
}

/// The member's file whose name begins so.
fn file_of_member(name: &str) -> &'static (String, Vec<u8>) {
    member().iter().find(|(found, _)| found.starts_with(name)).expect("a store has one of each")
}

/// The member's directory with these files instead of its own.
fn directory_with(changed: &[(&str, &[u8])]) -> SimDisk {
    let disk = SimDisk::new();
    disk.create_dir(Path::new(DIRECTORY)).expect("a new disk is sound");
    for (name, content) in member() {
        let content = changed.iter().find(|(other, _)| name == other).map_or(&content[..], |(_, content)| content);
        let file = disk.open(&Path::new(DIRECTORY).join(name), Open::CREATE).expect("a new disk is sound");
        file.write_at(content, 0).expect("a new disk is sound");
    }
    disk
}

/// Checks the directory and opens it as a member would: told or found sound, and never a panic.
fn check_and_open(disk: &SimDisk) {
    if let Ok(image) = Image::open(Arc::new(disk.clone()), Path::new(DIRECTORY)) {
        if let Ok(Some(checkpoint)) = image.checkpoint() {
            let mut meta = Reader::new(checkpoint.meta.clone());
            let keys = meta.bytes().map(|_| checkpoint.meta.slice(checkpoint.meta.len() - meta.remaining()..));
            let _ = keys.map(|keys| mvcc::verify(&image, &keys, checkpoint.runs));
        }
        image.verify();
    }
    if let Ok((store, Some(checkpoint))) = open_store(disk)
        && let Ok(state) = State::open(store, checkpoint, state::Options::default())
    {
        let _ = state.view().kv().hash_kv(model::Revision(0));
    }
}

const MANIFEST_HEADER_BYTES: usize = 16;

pub fn manifests() -> Vec<Vec<u8>> {
    let (name, content) = file_of_member("manifest");
    let body = content[MANIFEST_HEADER_BYTES..].to_vec();
    assert_eq!(sealed_manifest(&body), *content, "{name} as the format says");
    vec![body]
}

fn sealed_manifest(body: &[u8]) -> Vec<u8> {
    let mut out = b"BWLMANI1".to_vec();
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    let crc = crc32c_append(crc32c(&out), body);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(body);
    out
}

/// The body of a manifest, meta included.
pub fn manifest(input: &[u8]) {
    check_and_open(&directory_with(&[("manifest", &sealed_manifest(input))]));
}

pub fn segments() -> Vec<Vec<u8>> {
    vec![file_of_member("segment-").1.clone()]
}

/// A segment's bytes; its records keep their checksums.
pub fn segment(input: &[u8]) {
    check_and_open(&directory_with(&[(&file_of_member("segment-").0, input)]));
}

const FILE_HEADER_BYTES: usize = 16;
const BLOCK_HEADER_BYTES: usize = 8;

/// The run that holds the keys, and its only block.
fn run_of_member() -> (&'static str, &'static [u8], &'static [u8]) {
    let runs = member().iter().filter(|(name, _)| name.starts_with("run-"));
    let (name, content) = runs.max_by_key(|(_, content)| content.len()).expect("a checkpoint has a run");
    (name, &content[..FILE_HEADER_BYTES], &content[FILE_HEADER_BYTES + BLOCK_HEADER_BYTES..])
}

fn sealed_run(header: &[u8], block: &[u8]) -> Vec<u8> {
    let length = (block.len() as u32).to_le_bytes();
    let crc = crc32c_append(crc32c(&length), block);
    [header, &length, &crc.to_le_bytes(), block].concat()
}

pub fn run_blocks() -> Vec<Vec<u8>> {
    let (name, header, block) = run_of_member();
    let (_, content) = file_of_member(name);
    assert_eq!(sealed_run(header, block), *content, "{name} has one block, as the format says");
    vec![block.to_vec()]
}

/// A block of a run: read alone, and in its place if it is as long as the manifest says.
pub fn run_block(input: &[u8]) {
    let blocks = VecDeque::from([Bytes::copy_from_slice(input)]);
    if let Ok(again) = mvcc::recode_run(blocks) {
        assert_eq!(mvcc::recode_run(again.clone()).expect("written by us"), again);
    }
    let (name, header, block) = run_of_member();
    let mut resized = input.to_vec();
    resized.resize(block.len(), 0);
    check_and_open(&directory_with(&[(name, &sealed_run(header, &resized))]));
}

pub fn state_tables() -> Vec<Vec<u8>> {
    let image = Image::open(Arc::new(directory_with(&[])), Path::new(DIRECTORY)).expect("a sound store");
    let checkpoint = image.checkpoint().expect("sound runs").expect("there is a checkpoint");
    let tables = Reader::new(checkpoint.meta).bytes().expect("the tables come first");
    Tables::decode(tables.clone()).expect("tables as they are written");
    vec![tables.to_vec()]
}

pub fn state_tables_bytes(input: &[u8]) {
    if let Ok(tables) = Tables::decode(Bytes::copy_from_slice(input)) {
        assert_eq!(Tables::decode(tables.encode().into()), Ok(tables));
    }
}
