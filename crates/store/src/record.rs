//! One record: its bytes in a segment and where they are.

use crc32c::{crc32c, crc32c_append};

/// Where a record lies. `length` is the payload's, so that an answer's size is known before anything is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    pub segment: u32,
    pub offset: u32,
    pub length: u32,
}

/// Bytes that a record takes beside its payload.
pub const RECORD_OVERHEAD_BYTES: u64 = HEADER_BYTES as u64;

pub(crate) const HEADER_BYTES: usize = 9;
const CODEC_PLAIN: u8 = 0;

const _: () = assert!(HEADER_BYTES == size_of::<u32>() + size_of::<u32>() + size_of::<u8>(), "length, checksum, codec");

impl Location {
    /// Bytes of the whole record.
    pub fn record_bytes(self) -> u64 {
        RECORD_OVERHEAD_BYTES + u64::from(self.length)
    }

    pub(crate) fn end(self) -> u64 {
        u64::from(self.offset) + self.record_bytes()
    }
}

/// The checksum of a record covers where it lies, so that a record found in another's place is damage.
fn record_crc(at: Location, codec: u8) -> u32 {
    let mut head = [0; 13];
    for (field, value) in head.chunks_exact_mut(4).zip([at.segment, at.offset, at.length]) {
        field.copy_from_slice(&value.to_le_bytes());
    }
    head[12] = codec;
    crc32c(&head)
}

/// Appends the record of `at`, whose payload is the concatenation of `parts`; `at.length` is their sum.
pub(crate) fn put_record(out: &mut Vec<u8>, parts: &[&[u8]], at: Location) {
    let start = out.len();
    let crc = parts.iter().fold(record_crc(at, CODEC_PLAIN), |crc, part| crc32c_append(crc, part));
    out.extend_from_slice(&at.length.to_le_bytes());
    out.extend_from_slice(&crc.to_le_bytes());
    out.push(CODEC_PLAIN);
    for part in parts {
        out.extend_from_slice(part);
    }
    assert_eq!((out.len() - start) as u64, at.record_bytes(), "a record is as long as its location says");
}

/// Checks a whole record, read from where its location says. The payload is what follows the header.
pub(crate) fn check_record(record: &[u8], at: Location) -> std::result::Result<(), &'static str> {
    let Some((header, payload)) = record.split_first_chunk::<HEADER_BYTES>() else {
        return Err("record is cut short");
    };
    let [l0, l1, l2, l3, c0, c1, c2, c3, codec] = *header;
    if u32::from_le_bytes([l0, l1, l2, l3]) != at.length || payload.len() != at.length as usize {
        return Err("record has another length than the index says");
    }
    if crc32c_append(record_crc(at, codec), payload) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err("record fails its checksum");
    }
    if codec != CODEC_PLAIN {
        return Err("record has a codec that this release does not know");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_flipped_bit_and_every_other_place_is_found(
            payload: Vec<u8>, bit: usize, place: (u32, u32), other: (u32, u32),
        ) {
            let at = |(segment, offset)| Location { segment, offset, length: payload.len() as u32 };
            let mut record = Vec::new();
            put_record(&mut record, &[&payload], at(place));
            prop_assert_eq!(check_record(&record, at(place)), Ok(()));
            prop_assert_eq!(check_record(&record, at(other)).is_ok(), place == other);
            let bit = bit % (record.len() * 8);
            record[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(check_record(&record, at(place)).is_err());
        }
    }
}
