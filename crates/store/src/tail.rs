//! The end of the segment that is appended to, as far as readers may read it before it is in the file.
//!
//! Invariants: a record that was published and is not found here is in its file, because the file is written before the
//! tail is cleared. The lock is held for looking and for changing the list, never while a file is read or written.

use crate::record::Location;
use bytes::Bytes;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// No record begins here.
const NOWHERE: u64 = u64::MAX;

/// See the file's head. One for all segments of a store: only one is appended to.
#[derive(Debug)]
pub(crate) struct Tail {
    /// Where the first piece begins, so that readers of anything older look no further; `NOWHERE` if there is none.
    begin: AtomicU64,
    /// Each begins where the one before it ends.
    pieces: Mutex<Vec<Piece>>,
}

/// Whole records.
#[derive(Debug)]
struct Piece {
    begin: u64,
    bytes: Bytes,
}

/// Places of one segment lie next to each other, in the order of their offsets.
fn place(segment: u32, offset: u32) -> u64 {
    u64::from(segment) << u32::BITS | u64::from(offset)
}

impl Default for Tail {
    fn default() -> Tail {
        Tail { begin: AtomicU64::new(NOWHERE), pieces: Mutex::default() }
    }
}

impl Piece {
    fn end(&self) -> u64 {
        self.begin + self.bytes.len() as u64
    }
}

impl Tail {
    fn pieces(&self) -> MutexGuard<'_, Vec<Piece>> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds records that follow those that are here.
    pub(crate) fn push(&self, segment: u32, offset: u32, records: Bytes) {
        let piece = Piece { begin: place(segment, offset), bytes: records };
        let mut pieces = self.pieces();
        match pieces.last() {
            Some(last) => assert_eq!(last.end(), piece.begin, "what is published follows what was published before"),
            None => self.begin.store(piece.begin, Ordering::Release),
        }
        pieces.push(piece);
    }

    /// Everything is in the file.
    pub(crate) fn clear(&self) {
        let mut pieces = self.pieces();
        // Who sees this finds the record in the file.
        self.begin.store(NOWHERE, Ordering::Release);
        pieces.clear();
    }

    /// The whole record, if it is here.
    pub(crate) fn record(&self, location: Location) -> Option<Bytes> {
        let begin = self.begin.load(Ordering::Acquire);
        let at = place(location.segment, location.offset);
        if at < begin || begin >> u32::BITS != u64::from(location.segment) {
            return None;
        }
        let pieces = self.pieces();
        let behind = pieces.partition_point(|piece| piece.begin <= at);
        let piece = pieces.get(behind.checked_sub(1)?)?;
        let end = at + location.record_bytes();
        if end > piece.end() {
            return None;
        }
        Some(piece.bytes.slice((at - piece.begin) as usize..(end - piece.begin) as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_in_their_piece_until_they_are_in_the_file() {
        let at = |segment, offset| Location { segment, offset, length: 1 };
        let tail = Tail::default();
        assert_eq!(tail.record(at(3, 100)), None);
        tail.push(3, 100, Bytes::from_static(b"0123456789"));
        tail.push(3, 110, Bytes::from_static(b"abcdefghijABCDEFGHIJ"));
        assert_eq!(tail.record(at(3, 90)), None);
        assert_eq!(tail.record(at(3, 100)), Some(Bytes::from_static(b"0123456789")));
        assert_eq!(tail.record(at(3, 110)), Some(Bytes::from_static(b"abcdefghij")));
        assert_eq!(tail.record(at(3, 120)), Some(Bytes::from_static(b"ABCDEFGHIJ")));
        assert_eq!(tail.record(at(3, 130)), None, "behind the end");
        assert_eq!((tail.record(at(2, 110)), tail.record(at(4, 110))), (None, None), "of other segments");
        tail.clear();
        assert_eq!(tail.record(at(3, 110)), None);
        tail.push(4, 16, Bytes::from_static(b"0123456789"));
        assert_eq!(tail.record(at(4, 16)), Some(Bytes::from_static(b"0123456789")));
    }
}
