//! What the log holds, and its encoding in records of the log and in messages (`docs/formats/log-entry.md`).

use bytes::Bytes;
use stdx::codec::{DecodeError, Reader, put_bytes, put_varint};

/// Largest index and term accepted from disk or network: far beyond any real log, and far enough below `u64::MAX` that
/// arithmetic on accepted values cannot overflow.
pub const INDEX_MAX: u64 = 1 << 62;

/// A place in the log. Index 0, term 0 is the place before the first entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    pub term: u64,
    pub index: u64,
}

/// What an entry's data means to consensus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A command for the state machine, or nothing: a new leader's first entry has no data.
    Normal,
    /// A change of the set of members.
    Membership,
}

/// One entry of the log. Cloning shares the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub term: u64,
    pub index: u64,
    pub kind: EntryKind,
    pub data: Bytes,
}

impl Entry {
    pub fn position(&self) -> Position {
        Position { term: self.term, index: self.index }
    }
}

/// What a member must not forget besides its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HardState {
    pub term: u64,
    /// The member voted for in `term`; 0 means none.
    pub vote: u64,
    /// A lower bound of the commit index. Losing an advance of it is harmless: it is learned again.
    pub commit: u64,
}

const NORMAL: u8 = 0;
const MEMBERSHIP: u8 = 1;

/// Appends a run of entries: how many, the index of the first, then each one's term, kind and data. The indexes must be
/// consecutive.
pub fn put_entries(out: &mut Vec<u8>, entries: &[Entry]) {
    put_varint(out, entries.len() as u64);
    let Some(first) = entries.first() else { return };
    put_varint(out, first.index);
    for (entry, index) in entries.iter().zip(first.index..) {
        assert_eq!(entry.index, index, "entries are encoded in consecutive runs");
        put_varint(out, entry.term);
        out.push(match entry.kind {
            EntryKind::Normal => NORMAL,
            EntryKind::Membership => MEMBERSHIP,
        });
        put_bytes(out, &entry.data);
    }
}

/// Reads what `put_entries` wrote: consecutive indexes from 1 up to [`INDEX_MAX`], terms that never fall. The data
/// shares the reader's buffer.
pub fn read_entries(reader: &mut Reader) -> Result<Vec<Entry>, DecodeError> {
    let count = reader.count(3)?;
    if count == 0 {
        return Ok(Vec::new());
    }
    let first = read_number(reader, "entry index")?;
    if first == 0 || first + count as u64 > INDEX_MAX {
        return Err(DecodeError::UnknownTag { what: "entry index", tag: first });
    }
    let mut entries = Vec::with_capacity(count);
    let mut least_term = 0;
    for index in (first..).take(count) {
        let term = read_number(reader, "entry term")?;
        if term < least_term {
            return Err(DecodeError::UnknownTag { what: "entry term", tag: term });
        }
        least_term = term;
        let kind = match reader.u8()? {
            NORMAL => EntryKind::Normal,
            MEMBERSHIP => EntryKind::Membership,
            tag => return Err(DecodeError::UnknownTag { what: "entry kind", tag: u64::from(tag) }),
        };
        entries.push(Entry { term, index, kind, data: reader.bytes()? });
    }
    Ok(entries)
}

/// An index or a term: a varint up to [`INDEX_MAX`].
pub(crate) fn read_number(reader: &mut Reader, what: &'static str) -> Result<u64, DecodeError> {
    let number = reader.varint()?;
    if number > INDEX_MAX {
        return Err(DecodeError::UnknownTag { what, tag: number });
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn entries_are_read_back(first in 1u64..1000, terms in prop::collection::vec(0u64..3, 0..20), data: Vec<u8>) {
            let mut term = 1;
            let entries: Vec<Entry> = terms.iter().zip(first..).map(|(step, index)| {
                term += step;
                let kind = if index % 7 == 0 { EntryKind::Membership } else { EntryKind::Normal };
                Entry { term, index, kind, data: Bytes::from(data.clone()) }
            }).collect();
            let mut out = Vec::new();
            put_entries(&mut out, &entries);
            let mut reader = Reader::new(out.into());
            prop_assert_eq!(read_entries(&mut reader), Ok(entries));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn arbitrary_bytes_never_panic(input: Vec<u8>) {
            let _ = read_entries(&mut Reader::new(input.into()));
        }
    }
}
