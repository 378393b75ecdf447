//! The payload of a record: perhaps a hard state, and a run of entries.

use bytes::Bytes;
use consensus::{Entry, HardState, INDEX_MAX, put_entries, read_entries};
use stdx::codec::{DecodeError, Reader, put_bool, put_varint};

/// What one record adds to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub hard_state: Option<HardState>,
    pub entries: Vec<Entry>,
}

/// More than a hard state and the head of a run of entries take.
const FIXED_BYTES_MAX: usize = 1 + 3 * 10 + 2 * 10;
/// More than an entry takes besides its data.
const ENTRY_OVERHEAD_MAX: usize = 10 + 1 + 5;

pub(crate) fn put_batch(out: &mut Vec<u8>, hard_state: Option<HardState>, entries: &[Entry]) {
    put_bool(out, hard_state.is_some());
    if let Some(HardState { term, vote, commit }) = hard_state {
        [term, vote, commit].into_iter().for_each(|number| put_varint(out, number));
    }
    put_entries(out, entries);
}

/// An upper bound of what `put_batch` adds for `entries`, in bytes.
pub(crate) fn batch_bytes_max(entries: &[Entry]) -> u64 {
    let data: usize = entries.iter().map(|entry| entry.data.len() + ENTRY_OVERHEAD_MAX).sum();
    (FIXED_BYTES_MAX + data) as u64
}

/// Reads a record's payload. The data of the entries shares its buffer.
pub fn decode_batch(payload: Bytes) -> Result<Batch, DecodeError> {
    let mut reader = Reader::new(payload);
    let hard_state = if reader.bool("hard state")? {
        let state = HardState { term: reader.varint()?, vote: reader.varint()?, commit: reader.varint()? };
        if state.term > INDEX_MAX || state.commit > INDEX_MAX {
            return Err(DecodeError::UnknownTag { what: "hard state", tag: state.term.max(state.commit) });
        }
        Some(state)
    } else {
        None
    };
    let entries = read_entries(&mut reader)?;
    reader.finish("batch")?;
    Ok(Batch { hard_state, entries })
}

#[cfg(test)]
mod tests {
    use super::*;
    use consensus::EntryKind;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn batches_are_read_back(state: Option<(u32, u64, u32)>, first in 1u64..1 << 60, data: Vec<Vec<u8>>) {
            let hard_state =
                state.map(|(term, vote, commit)| HardState { term: term.into(), vote, commit: commit.into() });
            let entry = |(data, index): (&Vec<u8>, u64)| {
                Entry { term: INDEX_MAX, index, kind: EntryKind::Normal, data: data.clone().into() }
            };
            let entries: Vec<Entry> = data.iter().zip(first..).map(entry).collect();
            let mut out = Vec::new();
            put_batch(&mut out, hard_state, &entries);
            prop_assert!(out.len() as u64 <= batch_bytes_max(&entries));
            prop_assert_eq!(decode_batch(out.into()), Ok(Batch { hard_state, entries }));
        }

        #[test]
        fn r100_arbitrary_bytes_never_panic(payload: Vec<u8>) {
            let _ = decode_batch(payload.into());
        }
    }
}
