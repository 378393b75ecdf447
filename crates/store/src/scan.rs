//! Going over the records of a segment from front to back, with nothing but the format.

use crate::fault::{Fault, Result};
use crate::open::FILE_HEADER_BYTES;
use crate::reader::{OpenSegment, damaged_at, read_exact};
use crate::record::{HEADER_BYTES, Location, check_record};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;

/// Read at a time, unless a record is longer.
const PIECE_BYTES: u64 = 256 << 10;

const _: () = assert!(PIECE_BYTES > HEADER_BYTES as u64, "a piece holds a record's header");

/// Yields the records of one segment in order. Holds the file open and at most one piece, or one record, in memory.
#[derive(Debug)]
pub struct Scan {
    segment: Arc<OpenSegment>,
    /// Where the next record begins.
    at: u64,
    end: u64,
    /// What was read ahead, from `at` on.
    piece: Bytes,
    /// End of the record that could not be read, if its length could.
    behind_damage: Option<u64>,
}

impl Scan {
    /// Of the records up to byte `end` of the file.
    pub(crate) fn new(segment: Arc<OpenSegment>, end: u64) -> Scan {
        assert!(end >= FILE_HEADER_BYTES, "a segment has its header");
        Scan { segment, at: FILE_HEADER_BYTES, end, piece: Bytes::new(), behind_damage: None }
    }

    /// The segment's id.
    pub fn segment(&self) -> u32 {
        self.segment.id
    }

    /// The next record and its payload, or `None` behind the last. After a fault the next call answers the same again,
    /// unless `skip` came between.
    pub fn next_record(&mut self) -> Result<Option<(Location, Bytes)>> {
        self.behind_damage = None;
        if self.at == self.end {
            return Ok(None);
        }
        let offset = u32::try_from(self.at).map_err(|_| self.damage("a record begins beyond 4 GiB"))?;
        self.read_ahead(HEADER_BYTES as u64)?;
        let length = self.piece.first_chunk().map_or(0, |length| u32::from_le_bytes(*length));
        let location = Location { segment: self.segment.id, offset, length };
        if location.end() > self.end {
            return Err(self.damage("record is longer than what counts of the segment"));
        }
        if let Err(fault) = self.read_ahead(location.record_bytes()) {
            self.behind_damage = Some(location.end());
            return Err(fault);
        }
        let record = self.piece.slice(..location.record_bytes() as usize);
        if let Err(what) = check_record(&record, location) {
            self.behind_damage = Some(location.end());
            return Err(self.damage(what));
        }
        self.advance(location.end());
        Ok(Some((location, record.slice(HEADER_BYTES..))))
    }

    /// Forgets what was read ahead, so that the next record comes from the disk.
    pub(crate) fn read_anew(&mut self) {
        self.piece = Bytes::new();
    }

    /// Goes on at byte `to`, which is known to begin a record. False, and nothing changes, if that is not ahead.
    pub(crate) fn go_to(&mut self, to: u64) -> bool {
        let is_ahead = self.at < to && to < self.end;
        if is_ahead {
            self.read_anew();
            self.at = to;
        }
        is_ahead
    }

    /// Goes on behind a record that could not be read, as far as its length can be believed; false if it cannot.
    pub fn skip(&mut self) -> bool {
        let behind = self.behind_damage.take();
        if let Some(behind) = behind {
            self.advance(behind);
        }
        behind.is_some()
    }

    fn advance(&mut self, to: u64) {
        assert!(self.at < to, "a scan goes forward");
        assert!(to <= self.end, "a scan stays where records count");
        self.piece = self.piece.slice(((to - self.at) as usize).min(self.piece.len())..);
        self.at = to;
    }

    /// Makes sure that the piece has `bytes`. A place further on that the disk does not return is not theirs.
    fn read_ahead(&mut self, bytes: u64) -> Result<()> {
        if self.piece.len() as u64 >= bytes {
            return Ok(());
        }
        if bytes > self.end - self.at {
            return Err(self.damage("record is cut short"));
        }
        let ahead = bytes.max(PIECE_BYTES).min(self.end - self.at);
        self.piece = self.read(ahead).or_else(|_| self.read(bytes))?;
        Ok(())
    }

    fn read(&self, bytes: u64) -> Result<Bytes> {
        let mut piece = BytesMut::zeroed(bytes as usize);
        read_exact(&self.segment, &mut piece, self.at)?;
        Ok(piece.freeze())
    }

    fn damage(&self, what: &'static str) -> Fault {
        damaged_at(&self.segment, self.at, what)
    }
}
