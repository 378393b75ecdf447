//! Reading one segment: its records in order, and the search for a later record where the order ends.

use crate::fault::{Fault, Result};
use crate::format::{ALIGNMENT, RECORD_HEADER_BYTES, Record, Salt, claimed_length, decode_record};
use bytes::Bytes;
use io::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How much is read at once. Entries keep the piece that they were read in alive, so it must not be a whole segment.
const PIECE_BYTES: u64 = 1 << 20;

/// A segment file that is being read.
pub(crate) struct Segment {
    pub path: PathBuf,
    pub length: u64,
    /// None if the whole of it is in `piece`.
    file: Option<Arc<dyn File>>,
    piece: Bytes,
    piece_offset: u64,
}

impl Segment {
    pub fn open(file: Arc<dyn File>, path: &Path) -> Result<Segment> {
        let length = file.len().map_err(Fault::io("measure", path))?;
        // Offsets within a segment are 32 bits wide; nothing behind that was ever written.
        let length = length.min(u64::from(u32::MAX));
        Ok(Segment { path: path.to_path_buf(), length, file: Some(file), piece: Bytes::new(), piece_offset: 0 })
    }

    pub(crate) fn in_memory(bytes: Bytes, path: &Path) -> Segment {
        Segment { path: path.to_path_buf(), length: bytes.len() as u64, file: None, piece: bytes, piece_offset: 0 }
    }

    /// `length` bytes at `offset`, or `None` if the file ends before.
    pub fn bytes(&mut self, offset: u64, length: u64) -> Result<Option<Bytes>> {
        if length > self.length || offset > self.length - length {
            return Ok(None);
        }
        let piece_end = self.piece_offset + self.piece.len() as u64;
        if offset < self.piece_offset || offset + length > piece_end {
            self.read_piece(offset, length.max(PIECE_BYTES).min(self.length - offset))?;
        }
        // A file that shrinks while it is read gives a shorter piece.
        let start = (offset - self.piece_offset) as usize;
        let end = start + length as usize;
        Ok((end <= self.piece.len()).then(|| self.piece.slice(start..end)))
    }

    fn read_piece(&mut self, offset: u64, length: u64) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut buffer = vec![0; length as usize];
        let read = file.read_at(&mut buffer, offset).map_err(Fault::io("read", &self.path))?;
        buffer.truncate(read);
        (self.piece, self.piece_offset) = (Bytes::from(buffer), offset);
        Ok(())
    }

    /// The record at `offset` and its payload, if there is a valid one.
    pub fn record(&mut self, salt: Salt, offset: u64) -> Result<Option<(Record, Bytes)>> {
        let Some(length) = self.claimed_length(salt, offset)? else { return Ok(None) };
        let total = RECORD_HEADER_BYTES as u64 + u64::from(length);
        let Some(bytes) = self.bytes(offset, total)? else { return Ok(None) };
        Ok(decode_record(&bytes, salt, offset).map(|record| (record, bytes.slice(RECORD_HEADER_BYTES..))))
    }

    /// The length of what may be a record of this segment.
    pub(crate) fn claimed_length(&mut self, salt: Salt, offset: u64) -> Result<Option<u32>> {
        let header = self.bytes(offset, RECORD_HEADER_BYTES as u64)?;
        Ok(header.as_ref().and_then(|header| header.first_chunk()).and_then(|header| claimed_length(header, salt)))
    }

    /// Searches everything from `from` on for valid records of this segment, whatever they link to.
    pub fn search(&mut self, salt: Salt, from: u64) -> Result<Found> {
        let mut found = Found { proof: None, newest_run: 0 };
        // Only bytes made to look like records can make the search read more than a few times what is there.
        let mut budget = 4 * self.length + (64 << 20);
        let mut offset = from.next_multiple_of(ALIGNMENT);
        while offset < self.length {
            let length = PIECE_BYTES.min(self.length - offset);
            let Some(piece) = self.bytes(offset, length)? else { break };
            for candidate in candidates(&piece, salt.tag()) {
                // The tag lies 12 bytes into a record, in the second word of its header.
                let Some(at) = (offset + candidate).checked_sub(ALIGNMENT) else { continue };
                if at < from {
                    continue;
                }
                let claimed = self.claimed_length(salt, at)?.map_or(0, u64::from);
                let Some(left) = budget.checked_sub(claimed + RECORD_HEADER_BYTES as u64) else {
                    found.proof = Some(at);
                    return Ok(found);
                };
                budget = left;
                if let Some((record, _)) = self.record(salt, at)? {
                    found.newest_run = found.newest_run.max(record.run);
                    if u64::from(record.group) > from {
                        found.proof = found.proof.or(Some(at));
                    }
                }
            }
            offset += length;
        }
        Ok(found)
    }
}

/// What a search behind the end of the log found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where a record of a later group is, which was only written when everything before its group was durable.
    pub proof: Option<u64>,
    /// The newest run that wrote anything there.
    pub newest_run: u32,
}

/// Offsets of aligned words whose upper half is `tag`.
fn candidates(piece: &[u8], tag: u32) -> impl Iterator<Item = u64> {
    let (words, _) = piece.as_chunks::<8>();
    let matches = move |word: &&[u8; 8]| (u64::from_le_bytes(**word) >> 32) as u32 == tag;
    let offsets = words.iter().enumerate().filter(move |(_, word)| matches(word));
    // Collected, since looking at a candidate reads the file again.
    offsets.map(|(position, _)| position as u64 * ALIGNMENT).collect::<Vec<_>>().into_iter()
}
