//! The store's owner side: append, flush, release, and opening what a checkpoint left.

use crate::checkpoint::{CheckpointWriter, Done, Run, replace_manifest, write_manifest_temporary};
use crate::fault::{Fault, Result};
use crate::manifest::{MANIFEST_BYTES_MAX, Manifest};
use crate::reader::{OpenSegment, Reader};
use crate::record::{HEADER_BYTES, Location, check_record, put_record};
use bytes::Bytes;
use crc32c::crc32c;
use io::{Disk, File, Open};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) const SEGMENT_MAGIC: &[u8; 8] = b"BWLSEGM1";
pub(crate) const RUN_MAGIC: &[u8; 8] = b"BWLRUNF1";
pub(crate) const FILE_HEADER_BYTES: u64 = 16;

pub struct Options {
    /// A segment is closed when the next record would make it longer.
    pub segment_bytes: u64,
    /// Space is allocated ahead of the records in pieces of this size.
    pub allocate_bytes: u64,
    /// Asked when there is no space for a record: true to try again (it should wait first), false to fail.
    pub on_no_space: Box<dyn Fn(&Fault) -> bool + Send + Sync>,
}

impl Default for Options {
    fn default() -> Options {
        Options { segment_bytes: 64 << 20, allocate_bytes: 4 << 20, on_no_space: Box::new(|_| false) }
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
    /// Records that are not released.
    pub live_bytes: u64,
}

#[derive(Debug)]
struct Segment {
    open: Arc<OpenSegment>,
    /// End of the last record written to the file or waiting in the buffer.
    length: u64,
    live_bytes: u64,
    /// Appended to since the last durable checkpoint.
    unsynced: bool,
}

#[derive(Debug)]
pub struct Store {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    options: Options,
    segments: BTreeMap<u32, Segment>,
    reader: Reader,
    active: Option<Active>,
    next_segment: u32,
    next_run: u32,
    sequence: u64,
    runs: Vec<(u32, u64)>,
    /// A write failed for another reason than lack of space: what the files hold is unknown.
    failed: bool,
}

/// The segment that records are appended to.
#[derive(Debug)]
struct Active {
    id: u32,
    /// Records not yet written to the file, which begin at `flushed`.
    buffer: Vec<u8>,
    flushed: u64,
    allocated: u64,
}

impl Store {
    /// Opens the directory, which is made if it is missing. Everything behind the newest checkpoint is cut off.
    /// The caller loads the checkpoint, calls `mark_live` for each record that counts, and appends what came later again.
    pub fn open(disk: Arc<dyn Disk>, directory: &Path, options: Options) -> Result<(Store, Option<Checkpoint>)> {
        disk.create_dir(directory).map_err(Fault::io("make directory", directory))?;
        let named = match read_manifest(&*disk, directory)? {
            Some(manifest) => manifest,
            None => begin(&*disk, directory)?,
        };
        // A process that was killed may have left a new manifest that no sync made durable yet: before anything goes that
        // only the one before it names, it must not come back.
        disk.sync_dir(directory).map_err(Fault::io("sync directory", directory))?;
        remove_unnamed(&*disk, directory, &named)?;
        let mut segments = BTreeMap::new();
        for &(id, length) in &named.segments {
            segments.insert(id, open_segment(&*disk, directory, id, length)?);
        }
        let runs = named.runs.iter().map(|&(id, length)| Run::open(&*disk, directory, id, length));
        let runs = runs.collect::<Result<Vec<Run>>>()?;
        let mut store = Store {
            directory: directory.to_owned(),
            options,
            reader: Reader { segments: Arc::default() },
            active: None,
            next_segment: named.next_segment,
            next_run: named.next_run,
            sequence: named.sequence,
            runs: named.runs,
            failed: false,
            segments,
            disk,
        };
        store.renew_reader();
        store.continue_last_segment();
        let checkpoint = (named.sequence > 0).then_some(Checkpoint { meta: named.meta, runs });
        Ok((store, checkpoint))
    }

    fn continue_last_segment(&mut self) {
        let Some((&id, segment)) = self.segments.last_key_value() else { return };
        if segment.length < self.options.segment_bytes {
            let length = segment.length;
            self.active = Some(Active { id, buffer: Vec::new(), flushed: length, allocated: length });
        }
    }

    fn renew_reader(&mut self) {
        let segments = self.segments.values().map(|segment| segment.open.clone()).collect();
        self.reader = Reader { segments: Arc::new(segments) };
    }

    /// Takes a record whose payload is the concatenation of `parts`. It is visible to `read` at once and to readers after
    /// `flush`. Fails only for lack of space (after `on_no_space` gave up), leaving the store as it was, or if the disk fails.
    pub fn append(&mut self, parts: &[&[u8]]) -> Result<Location> {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        let length = u32::try_from(bytes).map_err(|_| self.too_large(bytes))?;
        let record_bytes = u64::from(length) + HEADER_BYTES as u64;
        self.check_sound()?;
        while let Err(fault) = self.make_room(record_bytes) {
            self.failed |= !fault.is_no_space();
            if self.failed || !(self.options.on_no_space)(&fault) {
                return Err(fault);
            }
        }
        let active = self.active.as_mut().expect("making room leaves an active segment");
        let segment = self.segments.get_mut(&active.id).expect("the active segment is one of the segments");
        let offset = u32::try_from(segment.length).expect("a segment that is appended to ends below 4 GiB");
        let location = Location { segment: active.id, offset, length };
        put_record(&mut active.buffer, parts, location);
        segment.length += record_bytes;
        segment.live_bytes += record_bytes;
        segment.unsynced = true;
        Ok(location)
    }

    fn check_sound(&self) -> Result<()> {
        if !self.failed {
            return Ok(());
        }
        Err(Fault::refused("append to", &self.directory, "an earlier write failed; start again to recover"))
    }

    fn too_large(&self, bytes: usize) -> Fault {
        Fault::refused("append to", &self.directory, format!("record of {bytes} bytes, the limit is {}", u32::MAX))
    }

    /// Makes sure that the next `record_bytes` have space in the active segment, opening another if they do not fit.
    fn make_room(&mut self, record_bytes: u64) -> Result<()> {
        let fits = self.active.as_ref().is_some_and(|active| {
            let length = self.segments.get(&active.id).map_or(0, |segment| segment.length);
            length == FILE_HEADER_BYTES || length + record_bytes <= self.options.segment_bytes
        });
        if !fits {
            self.flush()?;
            self.open_next_segment()?;
        }
        let active = self.active.as_mut().expect("a segment was opened");
        let segment = self.segments.get(&active.id).expect("the active segment is one of the segments");
        let needed = segment.length + record_bytes;
        if needed > active.allocated {
            let ahead = (segment.length + self.options.allocate_bytes).min(self.options.segment_bytes).max(needed);
            let file = &segment.open.file;
            file.allocate(active.allocated, ahead - active.allocated)
                .map_err(Fault::io("allocate space for", &segment.open.path))?;
            active.allocated = ahead;
        }
        Ok(())
    }

    /// True if records of so many bytes, headers included, have space that is allocated already.
    pub fn has_room(&self, bytes: u64) -> bool {
        let Some(active) = &self.active else { return false };
        let length = self.segments.get(&active.id).map_or(u64::MAX, |segment| segment.length);
        length.saturating_add(bytes) <= active.allocated.min(self.options.segment_bytes)
    }

    fn open_next_segment(&mut self) -> Result<()> {
        let id = self.next_segment;
        let path = self.directory.join(format!("segment-{id:08x}"));
        // Left over by an attempt that found no space for its header.
        if self.disk.exists(&path).map_err(Fault::io("look for", &path))? {
            self.disk.remove(&path).map_err(Fault::io("remove", &path))?;
        }
        let file = self.disk.open(&path, Open::CREATE_NEW).map_err(Fault::io("make", &path))?;
        write_header(&*file, SEGMENT_MAGIC, id).map_err(Fault::io("write header of", &path))?;
        self.next_segment += 1;
        let open = OpenSegment::new(id, path, file);
        let segment = Segment { open, length: FILE_HEADER_BYTES, live_bytes: 0, unsynced: true };
        self.segments.insert(id, segment);
        self.active = Some(Active { id, buffer: Vec::new(), flushed: FILE_HEADER_BYTES, allocated: FILE_HEADER_BYTES });
        self.renew_reader();
        Ok(())
    }

    /// Writes what was appended to its file, in one go: every reader that knows the segment sees it, and every one made from
    /// now on does. Not a sync.
    pub fn flush(&mut self) -> Result<()> {
        self.check_sound()?;
        let Some(active) = &mut self.active else { return Ok(()) };
        if active.buffer.is_empty() {
            return Ok(());
        }
        let segment = self.segments.get(&active.id).expect("the active segment is one of the segments");
        let file = &segment.open.file;
        while let Err(error) = file.write_at(&active.buffer, active.flushed) {
            // On a file system without allocation the space is taken here.
            let fault = Fault::io("write records to", &segment.open.path)(error).at(active.flushed);
            self.failed |= !fault.is_no_space();
            if self.failed || !(self.options.on_no_space)(&fault) {
                return Err(fault);
            }
        }
        active.flushed += active.buffer.len() as u64;
        active.buffer.clear();
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

    /// While loading: this record counts.
    pub fn mark_live(&mut self, location: Location) {
        if let Some(segment) = self.segments.get_mut(&location.segment) {
            segment.live_bytes += location.record_bytes();
        }
    }

    /// This record is garbage from now on; nobody will ask a later reader for it.
    pub fn release(&mut self, location: Location) {
        let Some(segment) = self.segments.get_mut(&location.segment) else { return };
        let bytes = location.record_bytes();
        assert!(segment.live_bytes >= bytes, "segment {} releases more than it holds", location.segment);
        segment.live_bytes -= bytes;
    }

    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    pub fn segments(&self) -> impl Iterator<Item = SegmentStat> + '_ {
        self.segments.iter().map(|(&id, segment)| SegmentStat {
            id,
            total_bytes: segment.length - FILE_HEADER_BYTES,
            live_bytes: segment.live_bytes,
        })
    }

    /// Bytes of all files: segments as far as they are written, and index runs.
    pub fn physical_bytes(&self) -> u64 {
        let segments: u64 = self.segments.values().map(|segment| segment.length).sum();
        segments + self.runs.iter().map(|(_, length)| length).sum::<u64>()
    }

    /// Writes out what was appended and captures what a checkpoint of this moment must hold. The writer does the slow part
    /// on any thread; records appended meanwhile are not part of it. One at a time: `finish_checkpoint` ends it.
    pub fn begin_checkpoint(&mut self) -> Result<CheckpointWriter> {
        self.flush()?;
        let active = self.active.as_ref().map(|active| active.id);
        let kept = |(id, segment): &(&u32, &Segment)| segment.live_bytes > 0 || Some(**id) == active;
        let named: Vec<(u32, u64)> =
            self.segments.iter().filter(kept).map(|(&id, segment)| (id, segment.length)).collect();
        let unsynced = self.segments.iter().filter(kept).filter(|(_, segment)| segment.unsynced);
        let to_sync: Vec<Arc<OpenSegment>> = unsynced.map(|(_, segment)| segment.open.clone()).collect();
        let run = self.next_run;
        self.next_run += 1;
        let manifest = Manifest {
            sequence: self.sequence + 1,
            next_segment: self.next_segment,
            next_run: self.next_run,
            segments: named,
            runs: self.runs.clone(),
            meta: Bytes::new(),
        };
        Ok(CheckpointWriter::new(self.disk.clone(), self.directory.clone(), manifest, run, to_sync))
    }

    /// Takes note of a durable checkpoint and removes the files that it stopped naming. A fault says that a file could not
    /// be removed; that one goes at the next open, and the checkpoint counts all the same.
    pub fn finish_checkpoint(&mut self, done: Done) -> Result<()> {
        let manifest = done.manifest;
        self.sequence = manifest.sequence;
        for (id, synced_to) in &manifest.segments {
            if let Some(segment) = self.segments.get_mut(id)
                && segment.length == *synced_to
            {
                segment.unsynced = false;
            }
        }
        let goes = |id: u32, next: u32, named: &[(u32, u64)]| id < next && !named.iter().any(|(kept, _)| *kept == id);
        let runs = self.runs.iter().map(|(id, _)| *id);
        let runs: Vec<u32> = runs.filter(|id| goes(*id, manifest.next_run, &manifest.runs)).collect();
        let segments = self.segments.keys().copied();
        let segments: Vec<u32> = segments.filter(|id| goes(*id, manifest.next_segment, &manifest.segments)).collect();
        self.runs = manifest.runs;
        for id in &segments {
            self.segments.remove(id);
        }
        if !segments.is_empty() {
            self.renew_reader();
        }
        let runs = runs.iter().map(|id| format!("run-{id:08x}"));
        let names = runs.chain(segments.iter().map(|id| format!("segment-{id:08x}")));
        // All are tried, the first fault is told.
        let removed: Vec<Result<()>> = names.map(|name| self.remove(&name)).collect();
        removed.into_iter().collect()
    }

    fn remove(&self, name: &str) -> Result<()> {
        let path = self.directory.join(name);
        self.disk.remove(&path).map_err(Fault::io("remove", &path))
    }
}

/// Header of segments and runs.
pub(crate) fn write_header(file: &dyn File, magic: &[u8; 8], id: u32) -> std::io::Result<()> {
    let mut header = Vec::with_capacity(FILE_HEADER_BYTES as usize);
    header.extend_from_slice(magic);
    header.extend_from_slice(&id.to_le_bytes());
    header.extend_from_slice(&crc32c(&header).to_le_bytes());
    file.write_at(&header, 0)
}

pub(crate) fn check_header(file: &dyn File, path: &Path, magic: &[u8; 8], id: u32) -> Result<()> {
    let mut header = [0; FILE_HEADER_BYTES as usize];
    let read = file.read_at(&mut header, 0).map_err(Fault::io("read header of", path))?;
    let mut expected = magic.to_vec();
    expected.extend_from_slice(&id.to_le_bytes());
    expected.extend_from_slice(&crc32c(&expected).to_le_bytes());
    if header.get(..read) == Some(&expected) {
        return Ok(());
    }
    Err(Fault::damaged(
        "open",
        path,
        0,
        "the header is not this file's, or of a format that this release does not know",
    ))
}

pub(crate) fn read_manifest(disk: &dyn Disk, directory: &Path) -> Result<Option<Manifest>> {
    let path = directory.join("manifest");
    if !disk.exists(&path).map_err(Fault::io("look for", &path))? {
        return Ok(None);
    }
    let file = disk.open(&path, Open::READ).map_err(Fault::io("open", &path))?;
    let length = file.len().map_err(Fault::io("open", &path))?;
    if length > MANIFEST_BYTES_MAX {
        return Err(Fault::damaged("read", &path, MANIFEST_BYTES_MAX, "manifest is longer than one can be"));
    }
    let mut content = vec![0; length as usize];
    file.read_exact_at(&mut content, 0).map_err(Fault::io("read", &path))?;
    Manifest::decode(&content.into()).map(Some).map_err(|what| Fault::damaged("read", &path, 0, what))
}

/// Makes a new store: a manifest that names nothing. It comes before any other file, so that files without a manifest are
/// never taken for the leftovers of a start.
fn begin(disk: &dyn Disk, directory: &Path) -> Result<Manifest> {
    let names = disk.list(directory).map_err(Fault::io("list", directory))?;
    if names.iter().any(|name| is_segment_or_run(name)) {
        let path = directory.join("manifest");
        return Err(Fault::damaged("look for", &path, 0, "it is missing, but files that it named are there"));
    }
    let manifest = Manifest { next_segment: 1, next_run: 1, ..Manifest::default() };
    if let Some(parent) = directory.parent() {
        disk.sync_dir(parent).map_err(Fault::io("sync directory", parent))?;
    }
    write_manifest_temporary(disk, directory, &manifest)?;
    replace_manifest(disk, directory)?;
    Ok(manifest)
}

fn is_segment_or_run(name: &str) -> bool {
    let id = name.strip_prefix("segment-").or_else(|| name.strip_prefix("run-"));
    id.is_some_and(|id| id.len() == 8 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
}

/// Removes what no checkpoint names: files half written, or of a time after the checkpoint.
fn remove_unnamed(disk: &dyn Disk, directory: &Path, manifest: &Manifest) -> Result<()> {
    let segments = manifest.segments.iter().map(|(id, _)| format!("segment-{id:08x}"));
    let runs = manifest.runs.iter().map(|(id, _)| format!("run-{id:08x}"));
    let keep: BTreeSet<String> = segments.chain(runs).collect();
    let names = disk.list(directory).map_err(Fault::io("list", directory))?;
    let goes = |name: &str| name.ends_with(".tmp") || (is_segment_or_run(name) && !keep.contains(name));
    for name in names.iter().filter(|name| goes(name)) {
        let path = directory.join(name);
        disk.remove(&path).map_err(Fault::io("remove", &path))?;
    }
    Ok(())
}

fn open_segment(disk: &dyn Disk, directory: &Path, id: u32, length: u64) -> Result<Segment> {
    let path = directory.join(format!("segment-{id:08x}"));
    let file = disk.open(&path, Open::READ_WRITE).map_err(Fault::io("open", &path))?;
    check_header(&*file, &path, SEGMENT_MAGIC, id)?;
    let found = file.len().map_err(Fault::io("open", &path))?;
    if found < length {
        return Err(Fault::damaged("open", &path, found, "the file is shorter than the checkpoint says"));
    }
    if found > length {
        file.set_len(length).map_err(Fault::io("cut", &path))?;
    }
    // The directory may be a copy that nobody synced, so the next checkpoint does.
    let open = OpenSegment::new(id, path, file);
    Ok(Segment { open, length, live_bytes: 0, unsynced: true })
}
