//! Reading a whole log: which segments there are, what they hold, where the log ends, and whether anything is missing.
//! Only reads; what has to be tidied up is returned.

use crate::batch::decode_batch;
use crate::fault::{Fault, Result};
use crate::files::{self, Name};
use crate::format::{FORMAT_VERSION, HEADER_BYTES, Header, HeaderError, Owner, Salt, decode_header};
use crate::mark::Mark;
use crate::scan::Segment;
use bytes::Bytes;
use consensus::{Entry, HardState, Position};
use io::{Disk, Open};
use std::path::{Path, PathBuf};

/// What the log holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovered {
    pub hard_state: HardState,
    /// Where the last entry was that the log no longer holds.
    pub trimmed_to: Position,
    /// All entries after it, in order.
    pub entries: Vec<Entry>,
    /// A tail that was being written when the machine stopped, if it can be told from space never written. Worth a log
    /// line.
    pub torn: Option<Torn>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    pub path: PathBuf,
    pub offset: u64,
}

/// Reads the log in `directory`, checking every byte that counts, and changes nothing: for tools, while no member runs.
pub fn read(disk: &dyn Disk, directory: &Path) -> Result<Recovered> {
    Ok(recover(disk, directory, None)?.map(|found| found.recovered).unwrap_or_default())
}

/// A log as it is on the disk.
pub(crate) struct Found {
    pub recovered: Recovered,
    pub log_id: u64,
    /// The newest run that wrote anything.
    pub run: u32,
    /// Oldest first, contiguous; the last one is where the log goes on.
    pub segments: Vec<SegmentRange>,
    /// CRC of the last record, or of the last segment's header.
    pub link: u32,
    /// Where the next record goes.
    pub end: u64,
    /// Where the newest group begins: everything before it is known to be durable.
    pub group: u64,
    /// A segment that was begun, but whose header never became durable.
    pub unused: Option<u64>,
    /// By the newest segment; `None` if a release before format 2 wrote it.
    pub owner: Option<Owner>,
}

/// Which entries a segment says something about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentRange {
    pub sequence: u64,
    /// Index of the last entry before the segment.
    pub start: u64,
    /// Lowest index written in it; `u64::MAX` if none. At most `start` if it replaces entries of earlier segments.
    pub lowest: u64,
    /// Highest index written in it; 0 if none.
    pub highest: u64,
}

impl SegmentRange {
    pub fn new(sequence: u64, start: u64) -> SegmentRange {
        SegmentRange { sequence, start, lowest: u64::MAX, highest: 0 }
    }

    pub fn add(&mut self, entries: &[Entry]) {
        if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
            self.lowest = self.lowest.min(first.index);
            self.highest = self.highest.max(last.index);
        }
    }
}

/// Reads a log whose segments are in memory, each with its sequence number, in order: for tools and for fuzzing.
pub fn decode_log(segments: Vec<(u64, Bytes)>) -> Result<Recovered> {
    let segment =
        |(sequence, bytes)| (sequence, Segment::in_memory(bytes, &files::segment_path(Path::new(""), sequence)));
    Ok(recover_segments(segments.into_iter().map(segment).collect(), None)?
        .map(|found| found.recovered)
        .unwrap_or_default())
}

/// `None` if there is no log yet. One that does not reach `mark` is damaged, unless the mark is another log's.
pub(crate) fn recover(disk: &dyn Disk, directory: &Path, mark: Option<(Mark, &Path)>) -> Result<Option<Found>> {
    recover_segments(open_segments(disk, directory)?, mark)
}

fn recover_segments(mut segments: Vec<(u64, Segment)>, mark: Option<(Mark, &Path)>) -> Result<Option<Found>> {
    let Some((oldest_sequence, oldest)) = segments.first_mut() else { return Ok(None) };
    let Some((first, _)) = read_header(oldest, *oldest_sequence, None)? else {
        return Err(damaged(oldest, 0, "its header is invalid", None));
    };
    let log_id = first.log_id;
    // Of a mark in a segment that is gone: it was trimmed, which it is only behind a durable checkpoint.
    let mark = mark.filter(|(mark, _)| mark.log_id == log_id && mark.sequence >= first.sequence);
    let unused = unused_newest(&mut segments, log_id)?;
    if unused.is_some() {
        segments.pop();
    }
    let newest = segments.last().map(|(_, newest)| newest.path.clone()).unwrap_or_default();
    let mut log = Log::new(&first, mark.map(|(mark, _)| mark));
    let mut segments = segments.into_iter().peekable();
    while let Some((sequence, mut segment)) = segments.next() {
        let (header, crc) = read_header(&mut segment, sequence, Some(log_id))?
            .ok_or_else(|| damaged(&segment, 0, "its header is invalid", None))?;
        log.begin(&segment, &header, crc)?;
        let next = match segments.peek_mut() {
            Some((sequence, next)) => read_header(next, *sequence, Some(log_id))?
                .map(|(header, _)| Some((header, next.path.clone())))
                .ok_or_else(|| damaged(next, 0, "its header is invalid", None))?,
            None => None,
        };
        let salt = Salt::new(log_id, sequence);
        log.read_records(&mut segment, salt, next.as_ref().map(|(header, _)| header.end))?;
        match next {
            Some((header, path)) => log.check_next(&segment, &header, path)?,
            None => log.finish(&mut segment, salt)?,
        }
    }
    if let Some((mark, path)) = mark
        && !log.reaches_mark
    {
        return Err(log.lost(&mark, &newest, path));
    }
    Ok(Some(Found {
        owner: log.owner,
        log_id,
        run: log.run,
        segments: log.segments,
        link: log.link,
        end: log.end,
        group: log.group,
        unused,
        recovered: Recovered {
            hard_state: log.hard_state,
            trimmed_to: log.trimmed_to,
            entries: log.entries,
            torn: log.torn,
        },
    }))
}

fn open_segments(disk: &dyn Disk, directory: &Path) -> Result<Vec<(u64, Segment)>> {
    let names = disk.list(directory).map_err(Fault::io("list", directory))?;
    let sequence = |name: &String| match files::parse(name) {
        Name::Segment(sequence) => Some(sequence),
        Name::Spare(_) | Name::Temporary | Name::Foreign => None,
    };
    let mut sequences: Vec<u64> = names.iter().filter_map(sequence).collect();
    sequences.sort_unstable();
    let mut segments: Vec<(u64, Segment)> = Vec::with_capacity(sequences.len());
    for sequence in sequences {
        let path = files::segment_path(directory, sequence);
        if let Some((before, _)) = segments.last()
            && before + 1 != sequence
        {
            let missing = files::segment_path(directory, before + 1);
            let proof = Some((path, 0));
            return Err(Fault::Damaged { path: missing, offset: 0, what: "the segment is missing", proof });
        }
        let file = disk.open(&path, Open::READ).map_err(Fault::io("open", &path))?;
        segments.push((sequence, Segment::open(file, &path)?));
    }
    Ok(segments)
}

/// The header of a segment, or `None` if it is not one of this log and name.
fn read_header(segment: &mut Segment, sequence: u64, log_id: Option<u64>) -> Result<Option<(Header, u32)>> {
    let Some(bytes) = segment.bytes(0, HEADER_BYTES as u64)? else { return Ok(None) };
    match decode_header(&bytes) {
        Ok((header, crc)) => {
            let belongs = header.sequence == sequence && log_id.is_none_or(|log_id| log_id == header.log_id);
            Ok(belongs.then_some((header, crc)))
        }
        Err(HeaderError::Invalid) => Ok(None),
        Err(HeaderError::Newer { version }) => {
            Err(Fault::Newer { path: segment.path.clone(), version, supported: FORMAT_VERSION })
        }
    }
}

/// The newest segment's number, if its header never became durable.
fn unused_newest(segments: &mut [(u64, Segment)], log_id: u64) -> Result<Option<u64>> {
    let [_, .., (sequence, newest)] = segments else { return Ok(None) };
    if read_header(newest, *sequence, Some(log_id))?.is_some() {
        return Ok(None);
    }
    match newest.search(Salt::new(log_id, *sequence), 0)?.proof {
        Some(proof) => Err(damaged(newest, 0, "its header is invalid", Some((newest.path.clone(), proof)))),
        None => Ok(Some(*sequence)),
    }
}

fn damaged(segment: &Segment, offset: u64, what: &'static str, proof: Option<(PathBuf, u64)>) -> Fault {
    Fault::Damaged { path: segment.path.clone(), offset, what, proof }
}

/// The log as far as it has been read.
struct Log {
    hard_state: HardState,
    trimmed_to: Position,
    entries: Vec<Entry>,
    segments: Vec<SegmentRange>,
    run: u32,
    link: u32,
    end: u64,
    group: u64,
    torn: Option<Torn>,
    owner: Option<Owner>,
    mark: Option<Mark>,
    reaches_mark: bool,
}

impl Log {
    fn new(first: &Header, mark: Option<Mark>) -> Log {
        Log {
            owner: first.owner,
            mark,
            reaches_mark: false,
            hard_state: first.hard_state,
            trimmed_to: first.last,
            entries: Vec::new(),
            segments: Vec::new(),
            run: first.run,
            link: 0,
            end: 0,
            group: 0,
            torn: None,
        }
    }

    fn last(&self) -> Position {
        self.entries.last().map_or(self.trimmed_to, Entry::position)
    }

    fn begin(&mut self, segment: &Segment, header: &Header, crc: u32) -> Result<()> {
        if header.last != self.last() {
            return Err(damaged(segment, 0, "it does not follow the entries of the segment before", None));
        }
        self.segments.push(SegmentRange::new(header.sequence, header.last.index));
        self.hard_state = header.hard_state;
        self.run = self.run.max(header.run);
        if self.owner.is_some() && header.owner != self.owner {
            return Err(damaged(segment, 0, "it belongs to another member than the segment before", None));
        }
        self.owner = header.owner;
        (self.link, self.end, self.group) = (crc, HEADER_BYTES as u64, 0);
        self.look_for_mark();
        Ok(())
    }

    fn look_for_mark(&mut self) {
        let sequence = self.segments.last().map(|segment| segment.sequence);
        let is_here = |mark: Mark| Some(mark.sequence) == sequence && (mark.end, mark.link) == (self.end, self.link);
        self.reaches_mark |= self.mark.is_some_and(is_here);
    }

    /// The log ended before the mark, in the segment of that path.
    fn lost(&self, mark: &Mark, newest: &Path, path: &Path) -> Fault {
        let last = self.segments.last().map_or(0, |segment| segment.sequence);
        let in_newest = mark.sequence == last;
        let lost = newest.with_file_name(files::segment_name(mark.sequence));
        let (offset, what) = if in_newest {
            (self.end, "the log ends here")
        } else if mark.sequence > last {
            (0, "it is missing, or its header is invalid")
        } else {
            (mark.end, "no record ends here")
        };
        let ends = self.last().index;
        let why = format!(
            "{what} at byte {offset}, but was synced up to byte {} of that segment, entry {} ({} says so); what is left ends with \
             entry {ends}; restore the file, or, if it is lost for good, write the word 'accept' into {}: then the log is \
             taken as it ends, and later writes are lost",
            mark.end,
            mark.index,
            path.display(),
            path.display()
        );
        Fault::refused("read", &lost, why)
    }

    /// Reads on while records are valid and follow one another, at most up to `limit`.
    fn read_records(&mut self, segment: &mut Segment, salt: Salt, limit: Option<u64>) -> Result<()> {
        while limit.is_none_or(|limit| self.end < limit) {
            let Some((record, payload)) = segment.record(salt, self.end)? else { break };
            if record.link != self.link || record.run < self.run {
                break;
            }
            let Ok(batch) = decode_batch(payload) else {
                return Err(damaged(segment, self.end, "the record's checksum is right but its content is not", None));
            };
            if let Some(state) = batch.hard_state {
                self.hard_state = state;
            }
            self.add(segment, batch.entries)?;
            (self.link, self.run, self.group) = (record.crc, record.run, u64::from(record.group));
            self.end += record.padded_bytes();
            self.look_for_mark();
        }
        Ok(())
    }

    fn add(&mut self, segment: &Segment, mut entries: Vec<Entry>) -> Result<()> {
        let Some(first) = entries.first() else { return Ok(()) };
        if first.index <= self.trimmed_to.index || first.index > self.last().index + 1 {
            return Err(damaged(segment, self.end, "its entries do not follow those before", None));
        }
        self.entries.truncate((first.index - self.trimmed_to.index - 1) as usize);
        if first.term < self.last().term {
            return Err(damaged(segment, self.end, "the term of its entries is below that of those before", None));
        }
        let range = self.segments.last_mut().expect("a segment was begun");
        range.add(&entries);
        self.entries.append(&mut entries);
        Ok(())
    }

    /// The segment that follows says where this one ends.
    fn check_next(&self, segment: &Segment, next: &Header, next_path: PathBuf) -> Result<()> {
        if self.end != next.end || self.link != next.link {
            return Err(damaged(segment, self.end, "no valid record here", Some((next_path, 0))));
        }
        Ok(())
    }

    /// The last segment ends where the first record is that is not valid, unless it can be shown that it was.
    fn finish(&mut self, segment: &mut Segment, salt: Salt) -> Result<()> {
        let found = segment.search(salt, self.end)?;
        if let Some(proof) = found.proof {
            return Err(damaged(segment, self.end, "no valid record here", Some((segment.path.clone(), proof))));
        }
        self.run = self.run.max(found.newest_run);
        if segment.claimed_length(salt, self.end)?.is_some() {
            self.torn = Some(Torn { path: segment.path.clone(), offset: self.end });
        }
        Ok(())
    }
}
