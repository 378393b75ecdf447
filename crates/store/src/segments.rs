//! The store's owner side: append, flush, mark garbage, and opening what a checkpoint left.

use crate::checkpoint::{CheckpointWriter, Done, Run};
use crate::cold::{ColdSegment, ColdWriter};
use crate::fault::{Fault, Result};
use crate::leftovers::{Leftovers, Unlinked};
use crate::manifest::Manifest;
use crate::open::{
    FILE_HEADER_BYTES, SEGMENT_MAGIC, begin, cut_segment, new_manifest, open_segment, read_manifest, remove_unnamed,
    run_name, segment_name, write_header,
};
use crate::reader::{OpenSegment, Reader};
use crate::record::{HEADER_BYTES, Location, check_record, put_record};
use crate::scan::Scan;
use crate::space::Space;
use crate::write_back::WriteBack;
use bytes::Bytes;
use io::{Disk, Open};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Defaults of `Options`, in bytes.
const SEGMENT_BYTES: u64 = 64 << 20;
pub const SEGMENT_BYTES_MIN: u64 = 4 << 20;
pub const ALLOCATE_BYTES: u64 = 4 << 20;
pub const RESERVE_BYTES: u64 = 8 << 20;

pub struct Options {
    /// A segment is sealed when the next record would make it longer. In a small store it is sealed earlier, at a
    /// sixteenth of what is live but not below `segment_bytes_min`, so that the one segment that cannot be reclaimed is
    /// a small part of all.
    pub segment_bytes: u64,
    pub segment_bytes_min: u64,
    /// Space is allocated ahead of the records in pieces of this size.
    pub allocate_bytes: u64,
    /// Space put aside for giving space back on a full disk; 0 for none.
    pub reserve_bytes: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_bytes: SEGMENT_BYTES,
            segment_bytes_min: SEGMENT_BYTES_MIN,
            allocate_bytes: ALLOCATE_BYTES,
            reserve_bytes: RESERVE_BYTES,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("segment_bytes", &self.segment_bytes).finish_non_exhaustive()
    }
}

/// The newest durable checkpoint, as found at open.
#[derive(Debug)]
pub struct Checkpoint {
    pub meta: Bytes,
    /// In the order they were written.
    pub runs: Vec<Run>,
}

/// Bytes of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentStat {
    pub id: u32,
    /// Records, headers included, garbage or not.
    pub total_bytes: u64,
    /// Records that are not garbage.
    pub live_bytes: u64,
    /// Nothing is appended to it any more.
    pub is_sealed: bool,
}

impl SegmentStat {
    /// Records that nothing needs.
    pub fn garbage_bytes(&self) -> u64 {
        assert!(self.live_bytes <= self.total_bytes, "live records lie in their segment");
        self.total_bytes - self.live_bytes
    }
}

#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) open: Arc<OpenSegment>,
    /// End of the last record written to the file or waiting in the buffer.
    pub(crate) length: u64,
    /// Of the file, what is allocated ahead included.
    pub(crate) file_bytes: u64,
    pub(crate) live_bytes: u64,
    /// Appended to since the last durable checkpoint.
    unsynced: bool,
}

#[derive(Debug)]
pub struct Store {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) directory: PathBuf,
    pub(crate) options: Options,
    pub(crate) segments: BTreeMap<u32, Segment>,
    reader: Reader,
    pub(crate) active: Option<Active>,
    next_segment: u32,
    next_run: u32,
    sequence: u64,
    owner: u64,
    claim: Claim,
    runs: Vec<(u32, u64)>,
    manifest_bytes: u64,
    /// Of all segments.
    live_bytes: u64,
    /// Of all segments.
    pub(crate) file_bytes: u64,
    pub(crate) space: Arc<Space>,
    write_back: WriteBack,
    removed_segments: u64,
    /// See `room`.
    pub(crate) shortage: Option<Fault>,
    /// A write failed for another reason than lack of space: what the files hold is unknown.
    pub(crate) failed: bool,
}

/// Whether the directory may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// It was looked at, and has no manifest.
    New,
    /// It was looked at, and has one.
    Open,
    Ours,
}

/// The segment that records are appended to.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) id: u32,
    /// Records not yet written to the file, which begin at `flushed`.
    buffer: Vec<u8>,
    flushed: u64,
    /// Of the buffer, what readers have in the tail.
    published: usize,
}

impl Segment {
    /// Of all its records.
    fn record_bytes(&self) -> u64 {
        self.length - FILE_HEADER_BYTES
    }
}

impl Active {
    /// Of a segment whose file ends at `flushed`.
    pub(crate) fn new(id: u32, flushed: u64) -> Active {
        Active { id, buffer: Vec::new(), flushed, published: 0 }
    }

    /// End of the last record taken.
    fn end(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }
}

impl Store {
    /// Looks at the directory and claims it in one.
    pub fn open(disk: Arc<dyn Disk>, directory: &Path, options: Options) -> Result<(Store, Option<Checkpoint>)> {
        let (mut store, checkpoint) = Store::look(disk, directory, options)?;
        let owner = store.owner;
        store.claim(owner)?;
        Ok((store, checkpoint))
    }

    /// Opens what the newest checkpoint names and changes nothing; a directory that is missing is a new store. The
    /// caller loads the checkpoint, calls `mark_live` for each record that counts, claims the store, and appends what
    /// came later again.
    pub fn look(disk: Arc<dyn Disk>, directory: &Path, options: Options) -> Result<(Store, Option<Checkpoint>)> {
        let found = read_manifest(&*disk, directory)?;
        let claim = if found.is_some() { Claim::Open } else { Claim::New };
        let named = match found {
            Some(manifest) => manifest,
            None => new_manifest(&*disk, directory)?,
        };
        let mut segments = BTreeMap::new();
        for &(id, length) in &named.segments {
            let open = open_segment(&*disk, directory, id, length)?;
            // The directory may be a copy that nobody synced, so the next checkpoint does.
            segments.insert(id, Segment { open, length, file_bytes: length, live_bytes: 0, unsynced: true });
        }
        let runs = named.runs.iter().map(|&(id, length)| Run::open(&*disk, directory, id, length));
        let runs = runs.collect::<Result<Vec<Run>>>()?;
        let space = Space::new(disk.clone(), directory, options.reserve_bytes);
        let mut store = Store {
            claim,
            owner: named.owner,
            directory: directory.to_owned(),
            options,
            reader: Reader { segments: Arc::default(), tail: Arc::default() },
            active: None,
            next_segment: named.next_segment,
            next_run: named.next_run,
            sequence: named.sequence,
            manifest_bytes: named.encode().len() as u64,
            runs: named.runs,
            live_bytes: 0,
            file_bytes: named.segments.iter().map(|(_, length)| length).sum(),
            space,
            write_back: WriteBack::default(),
            removed_segments: 0,
            shortage: None,
            failed: false,
            segments,
            disk,
        };
        store.renew_reader();
        store.continue_last_segment();
        store.assert_consistent();
        let checkpoint = (named.sequence > 0).then_some(Checkpoint { meta: named.meta, runs });
        Ok((store, checkpoint))
    }

    /// What the caller knows the store by; 0 if a release before format 2 wrote its manifest, or if it is new.
    pub fn owner(&self) -> u64 {
        self.owner
    }

    /// No manifest was found.
    pub fn is_new(&self) -> bool {
        self.claim == Claim::New
    }

    /// Makes the store ready to be written, once what was found fits the rest: begins a new one, cuts off what lies
    /// behind the checkpoint and removes what it does not name. Checkpoints carry `owner` from now on.
    pub fn claim(&mut self, owner: u64) -> Result<()> {
        self.owner = owner;
        if self.claim == Claim::New {
            let manifest =
                Manifest { owner, next_segment: self.next_segment, next_run: self.next_run, ..Manifest::default() };
            begin(&*self.disk, &self.directory, &manifest)?;
            self.manifest_bytes = manifest.encode().len() as u64;
        }
        // A process that was killed may have left a new manifest that no sync made durable yet: before anything goes
        // that only the one before it names, it must not come back.
        self.disk.sync_dir(&self.directory).map_err(Fault::io("sync directory", &self.directory))?;
        let segments = self.segments.keys().map(|id| segment_name(*id));
        let keep = segments.chain(self.runs.iter().map(|(id, _)| run_name(*id))).collect();
        remove_unnamed(&*self.disk, &self.directory, &keep)?;
        for segment in self.segments.values() {
            cut_segment(&segment.open, segment.length)?;
        }
        // If there is no space for it now, the next checkpoint tries again.
        let _ = self.space.reserve();
        self.claim = Claim::Ours;
        Ok(())
    }

    fn continue_last_segment(&mut self) {
        let Some((&id, segment)) = self.segments.last_key_value() else { return };
        if segment.length < self.options.segment_bytes {
            self.active = Some(Active::new(id, segment.length));
        }
    }

    /// What holds between calls; for where all segments are looked at anyway.
    fn assert_consistent(&self) {
        let (mut live_bytes, mut file_bytes) = (0, 0);
        for (id, segment) in &self.segments {
            assert!(*id < self.next_segment, "segment {id} has an id that was given out");
            assert!(segment.length >= FILE_HEADER_BYTES, "segment {id} has its header");
            let is_active = self.is_active(*id);
            assert!(is_active || segment.length <= segment.file_bytes, "segment {id} has its records in its file");
            assert!(segment.live_bytes <= segment.record_bytes(), "segment {id} has no more live records than records");
            live_bytes += segment.live_bytes;
            file_bytes += segment.file_bytes;
        }
        assert_eq!(self.live_bytes, live_bytes, "live bytes are those of all segments");
        assert_eq!(self.file_bytes, file_bytes, "file bytes are those of all segments");
        if let Some(active) = &self.active {
            let length = self.segments.get(&active.id).map(|segment| segment.length);
            assert_eq!(length, Some(active.end()), "the buffer ends where the segment does");
        }
    }

    fn renew_reader(&mut self) {
        let segments = self.segments.values().map(|segment| segment.open.clone()).collect();
        self.reader.segments = Arc::new(segments);
    }

    /// Takes a record whose payload is the concatenation of `parts`. It is visible to `read` at once and to readers
    /// after `publish` or `flush`. A lack of space is noted (`is_short_of_space`). Fails if the disk does.
    pub fn append(&mut self, parts: &[&[u8]]) -> Result<Location> {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        let length = u32::try_from(bytes).map_err(|_| self.too_large(bytes))?;
        let record_bytes = u64::from(length) + HEADER_BYTES as u64;
        self.check_sound()?;
        self.make_room(record_bytes)?;
        let active = self.active.as_mut().expect("making room leaves an active segment");
        let segment = self.segments.get_mut(&active.id).expect("the active segment is one of the segments");
        let offset = u32::try_from(segment.length).expect("a segment that is appended to ends below 4 GiB");
        let location = Location { segment: active.id, offset, length };
        assert_eq!(active.end(), segment.length, "the buffer ends where the segment does");
        put_record(&mut active.buffer, parts, location);
        segment.length += record_bytes;
        segment.live_bytes += record_bytes;
        segment.unsynced = true;
        self.live_bytes += record_bytes;
        Ok(location)
    }

    fn check_sound(&self) -> Result<()> {
        assert!(self.claim == Claim::Ours, "a store is claimed before anything is written to it");
        if !self.failed {
            return Ok(());
        }
        Err(Fault::refused("append to", &self.directory, "an earlier write failed; start again to recover"))
    }

    fn too_large(&self, bytes: usize) -> Fault {
        Fault::refused("append to", &self.directory, format!("record of {bytes} bytes, the limit is {}", u32::MAX))
    }

    pub(crate) fn segment_bytes_max(&self) -> u64 {
        (self.live_bytes / 16).max(self.options.segment_bytes_min).min(self.options.segment_bytes)
    }

    /// Appends no more to the segment that is appended to, and gives back what was allocated ahead for it.
    pub fn seal(&mut self) -> Result<()> {
        self.flush()?;
        let Some(active) = self.active.take() else { return Ok(()) };
        assert!(active.buffer.is_empty(), "a segment is sealed with all its records in its file");
        let segment = self.segments.get_mut(&active.id).expect("the active segment is one of the segments");
        if segment.file_bytes > segment.length {
            let cut = segment.open.file.set_len(segment.length);
            self.failed |= cut.is_err();
            cut.map_err(Fault::io("cut", &segment.open.path))?;
            self.file_bytes -= segment.file_bytes - segment.length;
            segment.file_bytes = segment.length;
        }
        Ok(())
    }

    /// Makes the file of the next segment.
    pub(crate) fn begin_segment(&self) -> Result<Arc<OpenSegment>> {
        let id = self.next_segment;
        let path = self.directory.join(format!("segment-{id:08x}"));
        // Left over by an attempt that found no space for its header.
        if self.disk.exists(&path).map_err(Fault::io("look for", &path))? {
            self.disk.remove(&path).map_err(Fault::io("remove", &path))?;
        }
        let file = self.disk.open(&path, Open::CREATE_NEW).map_err(Fault::io("make", &path))?;
        write_header(&*file, SEGMENT_MAGIC, id).map_err(Fault::io("write header of", &path))?;
        Ok(OpenSegment::new(id, path, file))
    }

    /// Appends to it from now on.
    pub(crate) fn take_segment(&mut self, open: Arc<OpenSegment>) {
        assert!(self.active.is_none(), "the segment before it is sealed");
        let id = open.id;
        assert_eq!(id, self.next_segment, "segments are taken in the order they are made");
        self.next_segment += 1;
        self.insert(open, FILE_HEADER_BYTES, 0);
        self.active = Some(Active::new(id, FILE_HEADER_BYTES));
    }

    fn insert(&mut self, open: Arc<OpenSegment>, length: u64, live_bytes: u64) {
        let id = open.id;
        assert!(id < self.next_segment, "a segment's id was given out");
        self.live_bytes += live_bytes;
        self.file_bytes += length;
        let before = self.segments.insert(id, Segment { open, length, file_bytes: length, live_bytes, unsynced: true });
        assert!(before.is_none(), "segment {id} is added once");
        self.renew_reader();
    }

    /// A writer for copies of records that are still live, for any thread.
    pub fn begin_cold_segment(&mut self) -> ColdWriter {
        let id = self.next_segment;
        self.next_segment += 1;
        ColdWriter::new(self.disk.clone(), self.space.clone(), &self.directory, id)
    }

    /// Takes a cold segment in. All its records count as live: those that are not wanted are to be marked garbage.
    pub fn adopt(&mut self, cold: ColdSegment) {
        self.space.take_unnamed(cold.length);
        self.insert(cold.open.clone(), cold.length, cold.record_bytes());
    }

    /// Goes over the records of a sealed segment, on any thread. `None` if there is no such segment.
    pub fn scan(&self, id: u32) -> Option<Scan> {
        let segment = self.segments.get(&id).filter(|_| !self.is_active(id))?;
        Some(Scan::new(segment.open.clone(), segment.length))
    }

    fn is_active(&self, id: u32) -> bool {
        self.active.as_ref().is_some_and(|active| active.id == id)
    }

    /// Lets readers see what was appended without writing it: who knows the segment reads it from memory until `flush`
    /// wrote it. Costs a copy, so it is for little, or for what finds no space. A crash of the process loses it, as it
    /// loses everything that no checkpoint names.
    pub fn publish(&mut self) -> Result<()> {
        self.check_sound()?;
        let Some(active) = &mut self.active else { return Ok(()) };
        let records = &active.buffer[active.published..];
        if records.is_empty() {
            return Ok(());
        }
        let offset = u32::try_from(active.flushed + active.published as u64).expect("records begin below 4 GiB");
        self.reader.tail.push(active.id, offset, Bytes::copy_from_slice(records));
        active.published = active.buffer.len();
        Ok(())
    }

    /// Bytes that were appended and are not in their file.
    pub fn unwritten_bytes(&self) -> u64 {
        self.active.as_ref().map_or(0, |active| active.buffer.len() as u64)
    }

    /// Writes what was appended to its file, in one go: every reader that knows the segment sees it, and every one made
    /// from now on does. Not a sync.
    pub fn flush(&mut self) -> Result<()> {
        self.check_sound()?;
        let Some(active) = &self.active else { return Ok(()) };
        if active.buffer.is_empty() {
            return Ok(());
        }
        let allocated = self.allocate_taken();
        self.failed |= allocated.as_ref().is_err_and(|fault| !fault.may_pass());
        allocated?;
        let active = self.active.as_mut().expect("it is there");
        let segment = self.segments.get(&active.id).expect("the active segment is one of the segments");
        let file = &segment.open.file;
        if let Err(error) = file.write_at(&active.buffer, active.flushed) {
            // On a file system without allocation the space is taken here.
            let fault = Fault::io("write records to", &segment.open.path)(error).at(active.flushed);
            self.failed |= !fault.may_pass();
            return Err(fault);
        }
        self.write_back.note_written(&segment.open, active.flushed, active.end());
        active.flushed = active.end();
        active.buffer.clear();
        if std::mem::take(&mut active.published) > 0 {
            self.reader.tail.clear();
        }
        assert_eq!(active.flushed, segment.length, "all records are in the file");
        Ok(())
    }

    /// The payload of a record, flushed or not.
    pub fn read(&self, location: Location) -> Result<Bytes> {
        let Some(active) = &self.active else { return self.reader.read(location) };
        if location.segment != active.id || u64::from(location.offset) < active.flushed {
            return self.reader.read(location);
        }
        let start = (u64::from(location.offset) - active.flushed) as usize;
        let record = active.buffer.get(start..start + location.record_bytes() as usize).unwrap_or_default();
        let path = self.directory.join(format!("segment-{:08x}", location.segment));
        check_record(record, location)
            .map_err(|what| Fault::damaged("read record of", &path, u64::from(location.offset), what))?;
        Ok(Bytes::copy_from_slice(&record[HEADER_BYTES..]))
    }

    /// True if the checkpoint's segments hold this place; what lies elsewhere was removed as garbage.
    pub fn holds(&self, location: Location) -> bool {
        self.segments.get(&location.segment).is_some_and(|segment| location.end() <= segment.length)
    }

    /// While loading: this record counts. False, and nothing changes, if its segment has no room for it beside those
    /// that count already.
    pub fn mark_live(&mut self, location: Location) -> bool {
        let bytes = location.record_bytes();
        let segment = self.segments.get_mut(&location.segment);
        let fits = |segment: &&mut Segment| segment.live_bytes + bytes <= segment.record_bytes();
        let Some(segment) = segment.filter(fits) else { return false };
        segment.live_bytes += bytes;
        self.live_bytes += bytes;
        true
    }

    /// This record is garbage from now on; nobody will ask a later reader for it.
    pub fn mark_garbage(&mut self, location: Location) {
        let Some(segment) = self.segments.get_mut(&location.segment) else { return };
        let bytes = location.record_bytes();
        assert!(location.end() <= segment.length, "a record that becomes garbage lies in its segment");
        assert!(segment.live_bytes >= bytes, "segment {} has more garbage than records", location.segment);
        segment.live_bytes -= bytes;
        self.live_bytes -= bytes;
    }

    /// Starts write-back of records once they are flushed, on any thread.
    pub fn write_back(&self) -> WriteBack {
        self.write_back.clone()
    }

    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    pub fn segments(&self) -> impl Iterator<Item = SegmentStat> + '_ {
        self.segments.iter().map(|(&id, segment)| SegmentStat {
            id,
            total_bytes: segment.record_bytes(),
            live_bytes: segment.live_bytes,
            is_sealed: !self.is_active(id),
        })
    }

    /// Segments removed since the store was opened.
    pub fn removed_segments(&self) -> u64 {
        self.removed_segments
    }

    /// Bytes of all records that are not garbage.
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Bytes of all files of the directory, what is allocated ahead and what is being written included.
    pub fn physical_bytes(&self) -> u64 {
        self.file_bytes + self.run_bytes() + self.manifest_bytes + self.space.bytes()
    }

    /// Bytes of the current checkpoint's runs.
    pub(crate) fn run_bytes(&self) -> u64 {
        self.runs.iter().map(|(_, length)| length).sum()
    }

    /// Bytes that a copy may take without the reserve running out; `None` while that is whole.
    pub fn cold_bytes_max(&self) -> Option<u64> {
        (!self.space.is_reserved()).then(|| self.space.copy_bytes_max())
    }

    /// Writes out what was appended and captures what a checkpoint of this moment must hold. The writer does the slow
    /// part on any thread; records appended meanwhile are not part of it. One at a time: `finish_checkpoint` ends it.
    pub fn begin_checkpoint(&mut self) -> Result<CheckpointWriter> {
        self.flush()?;
        assert_eq!(self.unwritten_bytes(), 0, "a checkpoint names what is in files");
        self.assert_consistent();
        let active = self.active.as_ref().map(|active| active.id);
        let kept = |(id, segment): &(&u32, &Segment)| segment.live_bytes > 0 || Some(**id) == active;
        let named: Vec<(u32, u64)> =
            self.segments.iter().filter(kept).map(|(&id, segment)| (id, segment.length)).collect();
        let leaving = self.segments.iter().filter(|segment| !kept(segment)).map(|(&id, _)| id).collect();
        let unsynced = self.segments.iter().filter(kept).filter(|(_, segment)| segment.unsynced);
        let to_sync: Vec<Arc<OpenSegment>> = unsynced.map(|(_, segment)| segment.open.clone()).collect();
        let run = self.next_run;
        self.next_run += 1;
        let manifest = Manifest {
            owner: self.owner,
            sequence: self.sequence + 1,
            next_segment: self.next_segment,
            next_run: self.next_run,
            segments: named,
            runs: self.runs.clone(),
            meta: Bytes::new(),
        };
        let (disk, space, directory) = (self.disk.clone(), self.space.clone(), self.directory.clone());
        Ok(CheckpointWriter::new(disk, space, directory, manifest, run, to_sync, leaving))
    }

    /// Takes note of a durable checkpoint. Answers the files that it stopped naming, which are to be removed.
    pub fn finish_checkpoint(&mut self, done: Done) -> Leftovers {
        let Done { manifest, manifest_bytes, leaving, run_bytes } = done;
        assert_eq!(manifest.sequence, self.sequence + 1, "a checkpoint follows the one before it");
        assert!(manifest.next_segment <= self.next_segment, "a checkpoint names no segment that is not begun");
        self.space.take_unnamed(run_bytes);
        self.manifest_bytes = manifest_bytes;
        self.sequence = manifest.sequence;
        for (id, synced_to) in &manifest.segments {
            let segment =
                self.segments.get_mut(id).expect("a segment goes only with a checkpoint that does not name it");
            assert!(*synced_to <= segment.length, "segment {id} only gets longer");
            segment.unsynced &= segment.length != *synced_to;
        }
        let mut files = Vec::new();
        let before = std::mem::replace(&mut self.runs, manifest.runs);
        for (id, bytes) in before.iter().filter(|run| !self.runs.contains(run)) {
            files.push((self.directory.join(format!("run-{id:08x}")), *bytes));
        }
        let mut unlinked = Vec::new();
        for segment in leaving.iter().filter_map(|id| self.segments.remove(id)) {
            assert_eq!(segment.live_bytes, 0, "a segment that goes has no live record");
            self.file_bytes -= segment.file_bytes;
            self.removed_segments += 1;
            files.push((segment.open.path.clone(), segment.file_bytes));
            unlinked.push(segment.open);
        }
        if !leaving.is_empty() {
            self.renew_reader();
        }
        self.space.add_unnamed(files.iter().map(|(_, bytes)| bytes).sum());
        Leftovers { disk: self.disk.clone(), space: Arc::downgrade(&self.space), files, unlinked: Unlinked(unlinked) }
    }
}
