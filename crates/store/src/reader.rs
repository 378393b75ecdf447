//! Reading records from any thread. A reader holds the files it knows open: its locations stay readable after their
//! segment was unlinked. What is not in a file yet is in the tail (`tail`), whose lock is the only one, and is only for
//! that.

use crate::fault::{Fault, Result};
use crate::record::{HEADER_BYTES, Location, check_record};
use crate::tail::Tail;
use bytes::{Bytes, BytesMut};
use io::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Records at most this far apart in a segment are read in one go: about what a system call costs (`benches/store.rs`),
/// and what lies between is kept in memory as long as a payload is.
const GAP_BYTES_MAX: u64 = 6 << 10;
/// Longest read in one go, unless one record is longer.
const SPAN_BYTES_MAX: u64 = 256 << 10;

const _: () = assert!(GAP_BYTES_MAX < SPAN_BYTES_MAX, "a read in one go may have gaps");

#[derive(Debug)]
pub(crate) struct OpenSegment {
    pub(crate) id: u32,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn File>,
    sync_failed: AtomicBool,
}

impl OpenSegment {
    pub(crate) fn new(id: u32, path: PathBuf, file: Arc<dyn File>) -> Arc<OpenSegment> {
        Arc::new(OpenSegment { id, path, file, sync_failed: AtomicBool::new(false) })
    }

    /// Makes what was written durable. Once this failed it always does: what was not synced is lost, and a sync that
    /// succeeds later would not say so.
    pub(crate) fn sync(&self) -> Result<()> {
        if self.sync_failed.load(Ordering::Relaxed) {
            return Err(Fault::refused("sync", &self.path, "an earlier sync of it failed; start again to recover"));
        }
        self.file.sync_all().map_err(|error| {
            self.sync_failed.store(true, Ordering::Relaxed);
            Fault::io_for_good("sync", &self.path)(error)
        })
    }
}

/// See the file's head. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reader {
    /// By ascending id; a new list is made when a segment is added or removed.
    pub(crate) segments: Arc<Vec<Arc<OpenSegment>>>,
    pub(crate) tail: Arc<Tail>,
}

/// Records read together: positions in the caller's list, and what they span in one segment.
struct Group {
    segment: u32,
    from: u64,
    to: u64,
    first: usize,
    count: usize,
}

impl Reader {
    pub(crate) fn segment(&self, id: u32) -> Option<&Arc<OpenSegment>> {
        let position = self.segments.binary_search_by_key(&id, |segment| segment.id).ok()?;
        self.segments.get(position)
    }

    fn segment_of(&self, id: u32, offset: u64) -> Result<&Arc<OpenSegment>> {
        self.segment(id).ok_or_else(|| {
            let path = PathBuf::from(format!("segment-{id:08x}"));
            Fault::damaged("read record of", &path, offset, "there is no such segment")
        })
    }

    /// The payload of one record. One that cannot be read is tried a second time: what a disk says once need not be
    /// what it has.
    pub fn read(&self, location: Location) -> Result<Bytes> {
        if let Some(record) = self.tail.record(location) {
            return self.payload(record, location);
        }
        self.read_once(location).or_else(|_| self.read_once(location))
    }

    fn read_once(&self, location: Location) -> Result<Bytes> {
        let segment = self.segment_of(location.segment, u64::from(location.offset))?;
        let mut record = BytesMut::zeroed(location.record_bytes() as usize);
        read_exact(segment, &mut record, u64::from(location.offset))?;
        self.payload(record.freeze(), location)
    }

    /// What lies in the place of a record, whatever it is; less of it at the end of a file.
    pub fn raw(&self, location: Location) -> Result<Vec<u8>> {
        let segment = self.segment_of(location.segment, u64::from(location.offset))?;
        let mut found = vec![0; location.record_bytes() as usize];
        let at = u64::from(location.offset);
        let read = segment.file.read_at(&mut found, at);
        found.truncate(read.map_err(|error| Fault::io("read record of", &segment.path)(error).at(at))?);
        Ok(found)
    }

    /// Of a whole record that was read from there; memory is not believed more than a disk.
    fn payload(&self, record: Bytes, location: Location) -> Result<Bytes> {
        if let Err(what) = check_record(&record, location) {
            let segment = self.segment_of(location.segment, u64::from(location.offset))?;
            return Err(damaged(segment, location, what));
        }
        Ok(record.slice(HEADER_BYTES..))
    }

    /// The payloads of many records, appended to `out` in the order of `locations`; after a fault `out` is as it was.
    /// Neighbours are read together, and all payloads share one buffer: callers bound its size by how many they ask for
    /// at a time.
    pub fn read_many(&self, locations: &[Location], out: &mut Vec<Bytes>) -> Result<()> {
        if let [location] = locations {
            out.push(self.read(*location)?);
            return Ok(());
        }
        let base = out.len();
        out.resize(base + locations.len(), Bytes::new());
        let read = self.read_all(locations, &mut out[base..]);
        if read.is_err() {
            out.truncate(base);
        }
        read
    }

    fn read_all(&self, locations: &[Location], out: &mut [Bytes]) -> Result<()> {
        // What is not in a file yet is in no group.
        let mut order: Vec<u32> = Vec::with_capacity(locations.len());
        for (position, location) in locations.iter().enumerate() {
            match self.tail.record(*location) {
                Some(record) => out[position] = self.payload(record, *location)?,
                None => order.push(position as u32),
            }
        }
        if !locations.is_sorted() {
            order.sort_unstable_by_key(|&position| locations[position as usize]);
        }
        let groups = group(locations, &order);
        let grouped: usize = groups.iter().map(|group| group.count).sum();
        assert_eq!(grouped, order.len(), "each record is read once");
        let Ok(buffer) = self.read_groups(&groups) else {
            for position in order {
                out[position as usize] = self.read(locations[position as usize])?;
            }
            return Ok(());
        };
        let mut at = 0;
        for group in &groups {
            for &position in &order[group.first..group.first + group.count] {
                let location = locations[position as usize];
                let start = at + (u64::from(location.offset) - group.from) as usize;
                let end = start + location.record_bytes() as usize;
                let payload = self.payload(buffer.slice(start..end), location);
                out[position as usize] = payload.or_else(|_| self.read(location))?;
            }
            at += (group.to - group.from) as usize;
        }
        assert_eq!(at, buffer.len(), "the groups are what was read");
        Ok(())
    }

    /// What the groups span, one behind the other.
    fn read_groups(&self, groups: &[Group]) -> Result<Bytes> {
        let total: u64 = groups.iter().map(|group| group.to - group.from).sum();
        let mut buffer = BytesMut::zeroed(total as usize);
        let mut rest = buffer.as_mut();
        for group in groups {
            let (part, behind) = rest.split_at_mut((group.to - group.from) as usize);
            read_exact(self.segment_of(group.segment, group.from)?, part, group.from)?;
            rest = behind;
        }
        Ok(buffer.freeze())
    }
}

/// Cuts the ordered locations into groups that are read in one go.
fn group(locations: &[Location], order: &[u32]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (position, &index) in order.iter().enumerate() {
        let location = locations[index as usize];
        let (from, to) = (u64::from(location.offset), location.end());
        if let Some(group) = groups.last_mut() {
            let near = from <= group.to + GAP_BYTES_MAX && to.saturating_sub(group.from) <= SPAN_BYTES_MAX;
            if group.segment == location.segment && near {
                group.to = group.to.max(to);
                group.count += 1;
                continue;
            }
        }
        groups.push(Group { segment: location.segment, from, to, first: position, count: 1 });
    }
    groups
}

pub(crate) fn read_exact(segment: &OpenSegment, buffer: &mut [u8], offset: u64) -> Result<()> {
    segment.file.read_exact_at(buffer, offset).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            Fault::damaged("read record of", &segment.path, offset, "the file ends before the record does")
        }
        _ => Fault::io("read record of", &segment.path)(error).at(offset),
    })
}

fn damaged(segment: &OpenSegment, location: Location, what: &'static str) -> Fault {
    damaged_at(segment, u64::from(location.offset), what)
}

pub(crate) fn damaged_at(segment: &OpenSegment, offset: u64, what: &'static str) -> Fault {
    Fault::damaged("read record of", &segment.path, offset, what)
}
