//! Writing the log.
//!
//! ```text
//! append ─▶ buffer ─▶ sync ─▶ durable
//!           holds everything since the last successful sync, so that it can be written again elsewhere
//! ```
//! A group is one durable write of whole blocks past the page cache, if the disk can do that (`io::Disk`). The first of
//! them may hold the end of what is durable already, which is written again as it is; behind the tip stand zeros up to
//! the next block. Segments are only read at start, before anything is written to them, so the page cache never has
//! anything newer or older.
//!
//! What the caller does with a fault: if it `may_pass`, the same call again later (a refused `append` has taken nothing
//! in, a refused `sync` has lost nothing). Otherwise `fail_over`, again and again until it succeeds, then the same call
//! again.

use crate::batch::{batch_bytes_max, decode_batch, put_batch};
use crate::buffer::{Buffer, block_start};
use crate::fault::{Fault, Result};
use crate::files::{self, NEXT_TEMPORARY, SMALL_SEGMENT_BYTES};
use crate::format::{HEADER_BYTES, Header, Owner, RECORD_HEADER_BYTES, Salt, padded, seal};
use crate::mark::{FoundMark, Mark, MarkFile};
use crate::pool::SharedPool;
use crate::preparer::Preparer;
use crate::recover::{Found, Recovered, SegmentRange};
use bytes::Bytes;
use consensus::{Entry, HardState, Position};
use io::{BLOCK_BYTES, Disk, File, LockGuard, Open};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest data of one entry, in bytes. What proposes must keep to it.
pub const ENTRY_BYTES_MAX: usize = 64 << 20;

/// A record ends with the entry that takes it beyond this.
const RECORD_BYTES: u64 = 4 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bytes of a full-grown segment.
    pub segment_bytes: u64,
    /// Never sync: what a loss of power leaves may be anything.
    pub no_sync: bool,
    /// Names a new log, so that its records cannot be taken for another's; random.
    pub seed: u64,
    /// Whose log it is, as its segments say.
    pub owner: Owner,
}

impl Options {
    pub fn new(seed: u64) -> Options {
        Options { segment_bytes: 64 << 20, no_sync: false, seed, owner: Owner::default() }
    }
}

/// The log, open for writing. One thread owns it.
pub struct Wal {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    options: Options,
    log_id: u64,
    run: u32,
    pool: SharedPool,
    /// Given to the preparer, which names spares.
    next_spare: Option<u64>,
    /// Full segments, oldest first.
    sealed: VecDeque<SegmentRange>,
    active: Active,
    /// The segment that comes next, once its file has been found.
    next: Option<SegmentFile>,
    /// The log's end, with what is only in the buffer.
    tip: Tip,
    /// The log's end as of the last successful sync. Its `end` is 0 while the active segment's header is not durable.
    durable: Tip,
    /// Where the segment before the active one ends.
    follows: Tip,
    /// The active segment's bytes from `durable.end` to `tip.end`.
    buffer: Buffer,
    /// How much of that is written, though not durable.
    written: usize,
    /// The hard state has changed since the last record.
    state_pending: bool,
    /// The group in the buffer holds more than a commit index.
    group_matters: bool,
    /// The newest durable group does, and no record behind it proves that it was durable.
    unproven: bool,
    health: Health,
    mark: Option<MarkFile>,
    /// Of the directory.
    lock: Option<LockGuard>,
}

/// An end of the log, within the active segment.
#[derive(Debug, Clone, Copy)]
struct Tip {
    end: u64,
    link: u32,
    last: Position,
    hard_state: HardState,
}

struct SegmentFile {
    path: PathBuf,
    file: Arc<dyn File>,
    /// How far records may reach.
    bytes: u64,
    /// The file has grown since its last sync.
    has_grown: bool,
}

struct Active {
    range: SegmentRange,
    salt: Salt,
    file: SegmentFile,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Good,
    /// The active file must not be written any more.
    FileFailed,
}

impl Wal {
    pub(crate) fn resume(
        disk: Arc<dyn Disk>,
        directory: &Path,
        options: Options,
        found: Found,
        spares: Vec<u64>,
    ) -> Result<(Wal, Recovered)> {
        let mut sealed = VecDeque::from(found.segments);
        let range = sealed.pop_back().expect("a log has at least one segment");
        let path = files::segment_path(directory, range.sequence);
        let reader = disk.open(&path, Open::READ).map_err(Fault::io("open", &path))?;
        let mut file = open_segment(&*disk, path, options)?;
        if !file.bytes.is_multiple_of(BLOCK_BYTES as u64) {
            // Cut short, or grown by a release that did not write whole blocks.
            let bytes = file.bytes;
            grow(&mut file, bytes)?;
        }
        let buffer = renew(&*reader, &mut file, found.group, found.end, options)?;
        let recovered = found.recovered;
        let tip = Tip {
            end: found.end,
            link: found.link,
            last: recovered.entries.last().map_or(recovered.trimmed_to, Entry::position),
            hard_state: recovered.hard_state,
        };
        let pool = SharedPool::default();
        let next_spare = Some(spares.iter().max().map_or(0, |newest| newest.saturating_add(1)));
        pool.lock().spares.extend(spares);
        pool.lock().active = range.sequence;
        pool.lock().sealed = sealed.len();
        let active = Active { range, salt: Salt::new(found.log_id, range.sequence), file };
        let wal = Wal {
            disk,
            directory: directory.to_path_buf(),
            options,
            log_id: found.log_id,
            run: found.run.saturating_add(1),
            pool,
            next_spare,
            sealed,
            active,
            next: None,
            tip,
            durable: tip,
            follows: tip,
            buffer,
            written: 0,
            state_pending: false,
            unproven: true,
            group_matters: false,
            health: Health::Good,
            mark: None,
            lock: None,
        };
        Ok((wal, recovered))
    }

    /// Keeps the directory's lock, and a mark if the log has one. On a full disk it goes on without.
    pub(crate) fn hold(&mut self, lock: Option<LockGuard>, mark: Option<(PathBuf, FoundMark)>) -> Result<()> {
        self.lock = lock;
        let Some((path, found)) = mark else { return Ok(()) };
        self.mark = match MarkFile::begin(&*self.disk, &path, found, self.durable_mark()) {
            Err(fault) if fault.is_no_space() => None,
            begun => Some(begun?),
        };
        Ok(())
    }

    /// Whether a mark says how far the log is durable.
    pub fn is_marked(&self) -> bool {
        self.mark.is_some()
    }

    fn durable_mark(&self) -> Mark {
        let Tip { end, link, last, .. } = self.durable;
        Mark { log_id: self.log_id, sequence: self.active.range.sequence, end, link, index: last.index }
    }

    /// Says in the mark how far the log is durable: for sure when a segment begins, otherwise as soon as the kernel
    /// writes it. A mark that cannot be written stays as it is, and proves less.
    fn note_durable(&mut self, for_sure: bool) {
        let mark = self.durable_mark();
        if let Some(file) = self.mark.as_mut().filter(|_| !self.options.no_sync) {
            let _ = if for_sure { file.sync(mark) } else { file.write(mark) };
        }
    }

    /// The part that makes segments ahead, for another thread. There is one: a second call panics.
    pub fn preparer(&mut self) -> Preparer {
        let next_spare = self.next_spare.take().expect("the log has one preparer");
        Preparer::new(
            self.disk.clone(),
            self.directory.clone(),
            self.options.segment_bytes,
            self.pool.clone(),
            next_spare,
        )
    }

    /// Takes in entries and a new hard state. They must follow the log, or replace its end from the first one's index
    /// on. What is given stays in memory until `write` or `sync`; a full segment is synced here, and the next one
    /// begun.
    /// Fails with `is_no_space` if the next segment cannot be had: then nothing has changed, and the call can be
    /// repeated.
    pub fn append(&mut self, entries: &[Entry], hard_state: Option<HardState>) -> Result<()> {
        self.check_append(entries);
        let bytes = append_bytes_max(entries);
        self.ensure_space(bytes)?;
        self.buffer.reserve(bytes as usize);
        if let Some(state) = hard_state {
            let binding = (state.term, state.vote) != (self.tip.hard_state.term, self.tip.hard_state.vote);
            self.state_pending |= state != self.tip.hard_state;
            self.group_matters |= binding;
            self.tip.hard_state = state;
        }
        let mut rest = entries;
        while !rest.is_empty() {
            let (record, later) = rest.split_at(record_entries(rest));
            self.push_record(record);
            rest = later;
        }
        Ok(())
    }

    /// Hands everything to the disk without waiting until it is durable, a commit index that came without entries too.
    /// To be called whenever there is nothing to sync and the caller is about to wait: a record behind the newest group
    /// proves later that the group was durable. Returns how many bytes were written.
    pub fn write(&mut self) -> Result<usize> {
        self.check_health()?;
        if self.state_pending || (self.unproven && self.buffer.records().is_empty()) {
            self.ensure_space(append_bytes_max(&[]))?;
            self.push_record(&[]);
        }
        self.write_buffer()
    }

    /// Makes everything appended durable, with one write. Returns how many bytes became durable.
    pub fn sync(&mut self) -> Result<usize> {
        self.check_health()?;
        if self.state_pending {
            self.ensure_space(append_bytes_max(&[]))?;
            self.push_record(&[]);
        }
        self.sync_buffer()
    }

    /// After a failed write or sync: leaves that file alone for good, begins a new segment where the durable part
    /// ended, and appends everything since again. A `sync` must follow. If this fails, it may be called again.
    pub fn fail_over(&mut self) -> Result<()> {
        if self.health != Health::FileFailed {
            return self.check_health();
        }
        // A segment whose header never became durable is not part of the log: the new file takes its place.
        let begun = self.durable.end > 0;
        let next = match self.next.take() {
            Some(next) if begun => next,
            _ => self.take_file(self.active.range.sequence + u64::from(begun))?,
        };
        let unsynced = std::mem::take(&mut self.buffer);
        let hard_state = self.tip.hard_state;
        if begun {
            self.begin_segment(next, self.durable);
            self.append_again(unsynced.records());
        } else {
            self.replace_segment(next);
            self.append_again(&unsynced.records()[HEADER_BYTES..]);
        }
        self.state_pending = self.tip.hard_state != hard_state;
        self.tip.hard_state = hard_state;
        self.health = Health::Good;
        Ok(())
    }

    /// Forgets segments that hold only entries up to `index`. The files go when the preparer runs.
    pub fn trim(&mut self, index: u64) {
        let mut drop_count = 0;
        for count in 1..=self.sealed.len() {
            if self.sealed[count - 1].highest > index {
                break;
            }
            let mut kept = self.sealed.iter().skip(count).chain([&self.active.range]);
            let start = self.sealed.get(count).unwrap_or(&self.active.range).start;
            let is_whole = kept.all(|segment| segment.lowest > start);
            // The segment before the active one goes only when the active one's header is durable.
            if is_whole && (count < self.sealed.len() || self.durable.end > 0) {
                drop_count = count;
            }
        }
        if drop_count > 0 {
            let mut pool = self.pool.lock();
            pool.retired.extend(self.sealed.drain(..drop_count).map(|segment| segment.sequence));
            pool.sealed = self.sealed.len();
        }
    }

    /// Makes the end of the log known to be its end, for a clean stop.
    pub fn close(mut self) -> Result<()> {
        self.write()?;
        self.sync()?;
        self.note_durable(true);
        Ok(())
    }

    /// Where the log ends, with what is not yet durable.
    pub fn last(&self) -> Position {
        self.tip.last
    }

    /// Segments that hold the log; those trimmed are not counted.
    pub fn segments(&self) -> usize {
        self.sealed.len() + 1
    }

    /// Whether groups are written past the page cache. Where they are not, each costs a write and a sync.
    pub fn is_direct(&self) -> bool {
        self.active.file.file.is_direct()
    }

    fn check_health(&self) -> Result<()> {
        if self.health == Health::Good { Ok(()) } else { Err(Fault::Failed) }
    }

    fn check_append(&self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(first.index >= 1 && first.index <= self.tip.last.index + 1, "entry {} leaves a gap", first.index);
        for (entry, index) in entries.iter().zip(first.index..) {
            assert_eq!(entry.index, index, "entries are consecutive");
            assert!(entry.data.len() <= ENTRY_BYTES_MAX, "entry of {} bytes", entry.data.len());
        }
    }

    /// Finds space for `bytes` in the active segment, or begins the next one.
    fn ensure_space(&mut self, bytes: u64) -> Result<()> {
        self.check_health()?;
        if self.tip.end + bytes <= self.active.file.bytes {
            return Ok(());
        }
        assert!(bytes <= 1 << 30, "a group of {bytes} bytes");
        let header_bytes = HEADER_BYTES as u64;
        if self.tip.end == header_bytes {
            return grow(&mut self.active.file, header_bytes + bytes);
        }
        // The next segment must be certain before anything changes.
        let mut next = match self.next.take() {
            Some(next) => next,
            None => self.take_file(self.active.range.sequence + 1)?,
        };
        let grown = if header_bytes + bytes > next.bytes { grow(&mut next, header_bytes + bytes) } else { Ok(()) };
        self.next = Some(next);
        grown?;
        self.sync_buffer()?;
        let next = self.next.take().expect("it was put there above");
        self.begin_segment(next, Tip { hard_state: self.tip.hard_state, ..self.durable });
        // The new segment's header carries it.
        self.state_pending = false;
        Ok(())
    }

    /// A file under the name of segment `sequence`: a spare if there is one, else a new one whose space is reserved.
    fn take_file(&mut self, sequence: u64) -> Result<SegmentFile> {
        let path = files::segment_path(&self.directory, sequence);
        let spare = self.pool.lock().spares.pop_front();
        if let Some(spare) = spare {
            let from = files::spare_path(&self.directory, spare);
            // Its content means nothing, but its space is durable already: the name is all that is left to make so.
            if let Err(error) = self.disk.replace(&from, &path) {
                if self.disk.exists(&from).unwrap_or(false) {
                    self.pool.lock().spares.push_front(spare);
                }
                return Err(Fault::io("rename", &from)(error));
            }
        } else {
            let from = self.directory.join(NEXT_TEMPORARY);
            let planned = files::segment_bytes(sequence, self.options.segment_bytes);
            let free = self.disk.free_space(&self.directory).unwrap_or(u64::MAX);
            let file = self.disk.open(&from, Open::CREATE).map_err(Fault::io("create", &from))?;
            let fitting = files::fitting_bytes(planned, free);
            match files::reserve(&*self.disk, &*file, &from, fitting) {
                // Another limit than that of the disk.
                Err(fault) if fault.is_no_space() && fitting > SMALL_SEGMENT_BYTES => {
                    let file = self.disk.open(&from, Open::CREATE).map_err(Fault::io("create", &from))?;
                    files::reserve(&*self.disk, &*file, &from, SMALL_SEGMENT_BYTES)?;
                }
                reserved => reserved?,
            }
            self.disk.replace(&from, &path).map_err(Fault::io("rename", &from))?;
        }
        open_segment(&*self.disk, path, self.options)
    }

    /// Goes on in `next`, as the segment after the active one, which ends at `follows`.
    fn begin_segment(&mut self, next: SegmentFile, follows: Tip) {
        self.sealed.push_back(self.active.range);
        self.pool.lock().sealed = self.sealed.len();
        self.follows = follows;
        self.start_segment(self.active.range.sequence + 1, next);
    }

    /// Goes on in `next`, which has taken the name of the active segment.
    fn replace_segment(&mut self, next: SegmentFile) {
        self.start_segment(self.active.range.sequence, next);
    }

    fn start_segment(&mut self, sequence: u64, file: SegmentFile) {
        assert!(self.buffer.records().is_empty(), "the segment before is complete");
        let follows = self.follows;
        let header = Header {
            sequence,
            log_id: self.log_id,
            run: self.run,
            link: follows.link,
            end: follows.end,
            last: follows.last,
            hard_state: follows.hard_state,
            owner: Some(self.options.owner),
        };
        let (bytes, crc) = header.encode();
        self.buffer.begin_file();
        self.buffer.end().extend_from_slice(&bytes);
        self.written = 0;
        let range = SegmentRange::new(sequence, follows.last.index);
        self.active = Active { range, salt: Salt::new(self.log_id, sequence), file };
        self.durable = Tip { end: 0, ..follows };
        self.tip = Tip { end: HEADER_BYTES as u64, link: crc, ..follows };
        self.pool.lock().active = sequence;
    }

    fn push_record(&mut self, entries: &[Entry]) {
        let state = std::mem::take(&mut self.state_pending) || entries.is_empty();
        let start = self.begin_record();
        put_batch(self.buffer.end(), state.then_some(self.tip.hard_state), entries);
        self.end_record(start);
        self.took(entries);
    }

    fn took(&mut self, entries: &[Entry]) {
        self.active.range.add(entries);
        if let Some(last) = entries.last() {
            self.tip.last = last.position();
            self.group_matters = true;
        }
    }

    fn begin_record(&mut self) -> usize {
        let records = self.buffer.records().len() as u64;
        assert_eq!(self.durable.end + records, self.tip.end, "the buffer reaches from the durable end to the tip");
        let out = self.buffer.end();
        let start = out.len();
        out.resize(start + RECORD_HEADER_BYTES, 0);
        start
    }

    fn end_record(&mut self, start: usize) {
        let offset = self.tip.end;
        let group = u32::try_from(self.durable.end).expect("segments are shorter than 4 GiB");
        let out = self.buffer.end();
        let record = &mut out[start..];
        self.tip.link = seal(record, self.active.salt, offset, self.tip.link, self.run, group);
        let bytes = padded(record.len() as u64);
        out.resize(start + bytes as usize, 0);
        self.tip.end = offset + bytes;
        self.unproven = false;
    }

    /// Takes records that were made for another segment into this one.
    fn append_again(&mut self, mut records: &[u8]) {
        while let Some(header) = records.first_chunk::<RECORD_HEADER_BYTES>() {
            let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
            let (record, rest) = records.split_at(padded((RECORD_HEADER_BYTES + length) as u64) as usize);
            let payload = &record[RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + length];
            let start = self.begin_record();
            self.buffer.end().extend_from_slice(payload);
            self.end_record(start);
            let batch = decode_batch(Bytes::copy_from_slice(payload)).expect("this process wrote it");
            self.tip.hard_state = batch.hard_state.unwrap_or(self.tip.hard_state);
            self.took(&batch.entries);
            records = rest;
        }
    }

    /// Writes what is not written, not durably.
    fn write_buffer(&mut self) -> Result<usize> {
        let bytes = self.buffer.records().len() - self.written;
        if bytes == 0 {
            return Ok(0);
        }
        let file = &self.active.file;
        let written = self.buffer.write(self.durable.end, self.written, |blocks, at| file.file.write_at(blocks, at));
        if let Err(error) = written {
            self.health = Health::FileFailed;
            return Err(Fault::io("write", &file.path)(error));
        }
        self.written += bytes;
        Ok(bytes)
    }

    fn sync_buffer(&mut self) -> Result<usize> {
        let bytes = self.buffer.records().len();
        if bytes == 0 {
            return Ok(0);
        }
        if self.options.no_sync {
            self.write_buffer()?;
        } else {
            self.write_durably()?;
        }
        let begins = self.durable.end == 0;
        self.durable = self.tip;
        self.written = 0;
        self.buffer.settle();
        self.note_durable(begins);
        self.unproven = std::mem::take(&mut self.group_matters);
        Ok(bytes)
    }

    /// All of the buffer, also what was written before: a durable write says nothing about other bytes.
    fn write_durably(&mut self) -> Result<()> {
        let file = &mut self.active.file;
        let written = self.buffer.write(self.durable.end, 0, |blocks, at| {
            if file.has_grown {
                file.file.write_at(blocks, at)?;
                file.file.sync_all()
            } else {
                file.file.write_durably(blocks, at)
            }
        });
        if let Err(error) = written {
            self.health = Health::FileFailed;
            return Err(Fault::io("write and sync", &file.path)(error));
        }
        file.has_grown = false;
        Ok(())
    }
}

/// How many of `entries` go into the next record; at least one.
fn record_entries(entries: &[Entry]) -> usize {
    let mut bytes = 0;
    let fits = entries.iter().take_while(|entry| {
        let before = bytes;
        bytes += entry.data.len() as u64;
        before < RECORD_BYTES
    });
    fits.count()
}

/// An upper bound of the bytes that `append` adds for `entries` and a hard state.
fn append_bytes_max(entries: &[Entry]) -> u64 {
    const RECORD_OVERHEAD_MAX: u64 = 256;
    let batch = batch_bytes_max(entries);
    batch + (batch / RECORD_BYTES + 1) * RECORD_OVERHEAD_MAX
}

/// A segment to be written.
fn open_segment(disk: &dyn Disk, path: PathBuf, options: Options) -> Result<SegmentFile> {
    // What need not be durable is left to the page cache.
    let how = Open { direct: !options.no_sync, ..Open::READ_WRITE };
    let file = disk.open(&path, how).map_err(Fault::io("open", &path))?;
    let bytes = file.len().map_err(Fault::io("measure", &path))?;
    Ok(SegmentFile { path, file, bytes, has_grown: false })
}

/// Writes the newest group, from `group` to `end`, over itself. A process that was killed leaves records that no sync
/// has covered, and one that saw a sync fail leaves records that the kernel may hold for written although they are not.
/// They are about to be relied on, and only what was written again is sure to be durable. Returns the buffer to go on
/// with behind `end`.
fn renew(reader: &dyn File, file: &mut SegmentFile, group: u64, end: u64, options: Options) -> Result<Buffer> {
    let renewed = renew_blocks(reader, &*file.file, if options.no_sync { end } else { group }, end);
    let synced =
        renewed.and_then(|buffer| if options.no_sync { Ok(buffer) } else { file.file.sync_all().map(|()| buffer) });
    let buffer = synced.map_err(Fault::io("write again the newest group of", &file.path))?;
    file.has_grown &= options.no_sync;
    Ok(buffer)
}

fn renew_blocks(reader: &dyn File, writer: &dyn File, from: u64, to: u64) -> std::io::Result<Buffer> {
    let mut buffer = Buffer::default();
    let mut offset = block_start(from);
    while offset < to {
        let piece = buffer.end();
        let start = piece.len();
        piece.resize(start + (to - offset).min(1 << 20) as usize, 0);
        let read = piece.len() - start;
        reader.read_exact_at(&mut piece[start..], offset)?;
        // Without a group to renew the block is only read.
        buffer.write(offset, 0, |blocks, at| if from < to { writer.write_at(blocks, at) } else { Ok(()) })?;
        buffer.settle();
        offset += read as u64;
    }
    Ok(buffer)
}

fn grow(file: &mut SegmentFile, bytes: u64) -> Result<()> {
    // The last record is written in a whole block.
    let reserved = bytes.next_multiple_of(BLOCK_BYTES as u64);
    file.file.allocate(0, reserved).map_err(Fault::io("reserve space in", &file.path))?;
    file.bytes = bytes;
    file.has_grown = true;
    Ok(())
}
