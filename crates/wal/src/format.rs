//! The bytes of segment headers and record headers. The tables are in `docs/formats/wal.md`.
//!
//! Decoding takes any bytes: lengths are checked against what is there before they are used.

use consensus::{HardState, INDEX_MAX, Position};

pub(crate) const HEADER_BYTES: usize = 104;
pub(crate) const RECORD_HEADER_BYTES: usize = 32;
pub(crate) const FORMAT_VERSION: u32 = 2;
/// Without an owner.
const FORMAT_UNOWNED: u32 = 1;
/// A longer record is refused when read. Larger than anything written: a record is cut after 4 MiB, behind a whole
/// entry.
pub(crate) const PAYLOAD_BYTES_MAX: u32 = 128 << 20;

const MAGIC: &[u8; 8] = b"bowlwal\n";
/// Records start at multiples of this.
pub(crate) const ALIGNMENT: u64 = 8;

const _: () = assert!((HEADER_BYTES as u64).is_multiple_of(ALIGNMENT));
const _: () = assert!((RECORD_HEADER_BYTES as u64).is_multiple_of(ALIGNMENT));

/// Whose log it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Owner {
    pub cluster: u64,
    pub member: u64,
}

/// The start of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub sequence: u64,
    pub log_id: u64,
    pub run: u32,
    /// CRC of what this segment follows.
    pub link: u32,
    /// Where the segment before ends.
    pub end: u64,
    /// The last entry before this segment.
    pub last: Position,
    pub hard_state: HardState,
    /// `None` in what releases before format 2 wrote.
    pub owner: Option<Owner>,
}

/// Why a header could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderError {
    Invalid,
    Newer { version: u32 },
}

impl Header {
    /// The header's bytes and its CRC.
    pub(crate) fn encode(&self) -> ([u8; HEADER_BYTES], u32) {
        let mut out = [0; HEADER_BYTES];
        let HardState { term, vote, commit } = self.hard_state;
        out[..8].copy_from_slice(MAGIC);
        let version = if self.owner.is_some() { FORMAT_VERSION } else { FORMAT_UNOWNED };
        let Owner { cluster, member } = self.owner.unwrap_or_default();
        out[8..12].copy_from_slice(&version.to_le_bytes());
        out[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        out[24..32].copy_from_slice(&self.log_id.to_le_bytes());
        out[32..36].copy_from_slice(&self.run.to_le_bytes());
        out[36..40].copy_from_slice(&self.link.to_le_bytes());
        out[40..48].copy_from_slice(&self.end.to_le_bytes());
        let fields = [self.last.term, self.last.index, term, vote, commit, cluster, member];
        for (field, at) in fields.iter().zip((48..).step_by(8)) {
            out[at..at + 8].copy_from_slice(&field.to_le_bytes());
        }
        let crc = header_crc(&out);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        (out, crc)
    }
}

fn header_crc(bytes: &[u8; HEADER_BYTES]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..])
}

/// Reads the header at the start of a segment's bytes, and its CRC.
pub fn decode_header(bytes: &[u8]) -> Result<(Header, u32), HeaderError> {
    let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else { return Err(HeaderError::Invalid) };
    let crc = u32_at(bytes, 12);
    let version = u32_at(bytes, 8);
    if &bytes[..8] != MAGIC {
        return Err(HeaderError::Invalid);
    }
    if version > FORMAT_VERSION && crc == header_crc(bytes) {
        return Err(HeaderError::Newer { version });
    }
    let owner = Owner { cluster: u64_at(bytes, 88), member: u64_at(bytes, 96) };
    let header = Header {
        sequence: u64_at(bytes, 16),
        log_id: u64_at(bytes, 24),
        run: u32_at(bytes, 32),
        link: u32_at(bytes, 36),
        end: u64_at(bytes, 40),
        last: Position { term: u64_at(bytes, 48), index: u64_at(bytes, 56) },
        hard_state: HardState { term: u64_at(bytes, 64), vote: u64_at(bytes, 72), commit: u64_at(bytes, 80) },
        owner: (version == FORMAT_VERSION).then_some(owner),
    };
    let numbers = [header.last.term, header.last.index, header.hard_state.term, header.hard_state.commit];
    let in_range = numbers.iter().all(|&number| number <= INDEX_MAX);
    let is_known = version == FORMAT_VERSION || (version == FORMAT_UNOWNED && owner == Owner::default());
    if !is_known || crc != header_crc(bytes) || !in_range {
        return Err(HeaderError::Invalid);
    }
    Ok((header, crc))
}

/// What makes a segment's records its own: those of another segment, or of an earlier life of the file, do not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salt(u64);

impl Salt {
    pub fn new(log_id: u64, sequence: u64) -> Salt {
        let mut z = log_id ^ sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Salt(z ^ (z >> 31))
    }

    pub(crate) fn tag(self) -> u32 {
        self.0 as u32
    }

    fn crc(self, offset: u64, covered: &[u8]) -> u32 {
        let mut place = [0; 16];
        place[..8].copy_from_slice(&self.0.to_le_bytes());
        place[8..].copy_from_slice(&offset.to_le_bytes());
        crc32c::crc32c_append(crc32c::crc32c(&place), covered)
    }
}

/// A record's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    pub crc: u32,
    /// Of the payload, in bytes.
    pub length: u32,
    /// CRC of what this record follows.
    pub link: u32,
    pub run: u32,
    /// Offset of the first record of this record's group; 0 stands for the segment's header.
    pub group: u32,
}

impl Record {
    /// Header, payload and padding.
    pub(crate) fn padded_bytes(&self) -> u64 {
        padded(RECORD_HEADER_BYTES as u64 + u64::from(self.length))
    }
}

pub(crate) fn padded(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGNMENT)
}

/// Fills in the header of the record that starts at `record[0]`, with its payload behind the space for the header.
/// Returns the record's CRC.
pub(crate) fn seal(record: &mut [u8], salt: Salt, offset: u64, link: u32, run: u32, group: u32) -> u32 {
    let length = record.len() - RECORD_HEADER_BYTES;
    assert!(length <= PAYLOAD_BYTES_MAX as usize, "a record of {length} bytes could not be read back");
    record[4..8].copy_from_slice(&(length as u32).to_le_bytes());
    record[8..12].copy_from_slice(&link.to_le_bytes());
    record[12..16].copy_from_slice(&salt.tag().to_le_bytes());
    record[16..20].copy_from_slice(&run.to_le_bytes());
    record[20..24].copy_from_slice(&group.to_le_bytes());
    record[24..32].fill(0);
    let crc = salt.crc(offset, &record[4..]);
    record[..4].copy_from_slice(&crc.to_le_bytes());
    crc
}

/// The length of the record whose header is given, if the header looks like this segment's. Nothing is proven yet.
pub(crate) fn claimed_length(header: &[u8; RECORD_HEADER_BYTES], salt: Salt) -> Option<u32> {
    let length = u32_at(header, 4);
    (u32_at(header, 12) == salt.tag() && length <= PAYLOAD_BYTES_MAX).then_some(length)
}

/// Reads the record at the start of `bytes`, which stand at `offset` in the segment with this salt. `None` if there is
/// no whole, unchanged record of that segment and place.
pub fn decode_record(bytes: &[u8], salt: Salt, offset: u64) -> Option<Record> {
    let header = bytes.first_chunk::<RECORD_HEADER_BYTES>()?;
    let length = claimed_length(header, salt)?;
    let covered = bytes.get(4..RECORD_HEADER_BYTES + length as usize)?;
    let crc = u32_at(header, 0);
    if crc != salt.crc(offset, covered) || header[24..].iter().any(|&byte| byte != 0) {
        return None;
    }
    Some(Record { crc, length, link: u32_at(header, 8), run: u32_at(header, 16), group: u32_at(header, 20) })
}

/// Four bytes of a header whose size the type guarantees.
pub(crate) fn u32_at<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(field)
}

pub(crate) fn u64_at<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Header {
        Header {
            sequence: 7,
            log_id: 0x0123_4567_89ab_cdef,
            run: 3,
            link: 99,
            end: 4096,
            last: Position { term: 2, index: 50 },
            hard_state: HardState { term: 3, vote: 1, commit: 49 },
            owner: Some(Owner { cluster: 5, member: 6 }),
        }
    }

    #[test]
    fn a_header_is_read_back_and_every_flipped_bit_is_noticed() {
        let unowned = Header { owner: None, ..header() };
        let (bytes, crc) = unowned.encode();
        assert_eq!((decode_header(&bytes), bytes[8]), (Ok((unowned, crc)), 1));
        let (mut bytes, crc) = header().encode();
        assert_eq!((decode_header(&bytes), bytes[8]), (Ok((header(), crc)), 2));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_header(&bytes), Err(HeaderError::Invalid), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(decode_header(&bytes[..103]), Err(HeaderError::Invalid));
    }

    #[test]
    fn a_newer_format_is_named() {
        let (mut bytes, _) = header().encode();
        bytes[8] = 3;
        let crc = header_crc(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(decode_header(&bytes), Err(HeaderError::Newer { version: 3 }));
    }

    #[test]
    fn a_record_belongs_to_its_segment_and_place() {
        let salt = Salt::new(1, 2);
        let mut bytes = vec![0; RECORD_HEADER_BYTES];
        bytes.extend(b"payload");
        let crc = seal(&mut bytes, salt, 104, 5, 6, 104);
        let record = Record { crc, length: 7, link: 5, run: 6, group: 104 };
        assert_eq!(decode_record(&bytes, salt, 104), Some(record));
        assert_eq!(record.padded_bytes(), 40);
        assert_eq!(decode_record(&bytes, salt, 112), None, "another offset");
        assert_eq!(decode_record(&bytes, Salt::new(1, 3), 104), None, "another segment");
        assert_eq!(decode_record(&bytes, Salt::new(2, 2), 104), None, "another log");
        assert_eq!(decode_record(&bytes[..38], salt, 104), None, "cut");
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_record(&bytes, salt, 104), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    proptest! {
        #[test]
        fn r100_arbitrary_bytes_never_panic(mut bytes: Vec<u8>, offset: u64, length: u32) {
            let _ = decode_header(&bytes);
            let salt = Salt::new(1, 1);
            if bytes.len() >= 16 {
                bytes[4..8].copy_from_slice(&length.to_le_bytes());
                bytes[12..16].copy_from_slice(&salt.tag().to_le_bytes());
            }
            prop_assert_eq!(decode_record(&bytes, salt, offset), None);
        }
    }
}
