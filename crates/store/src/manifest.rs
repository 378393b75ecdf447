//! The manifest: which segments and runs the current checkpoint names, how far they count, and the caller's meta.

use crate::open::FILE_HEADER_BYTES;
use bytes::Bytes;
use crc32c::{crc32c, crc32c_append};
use stdx::codec::{DecodeError, Reader, put_bytes, put_varint};

const MAGIC: &[u8; 8] = b"BWLMANI2";
/// Without an owner.
const MAGIC_UNOWNED: &[u8; 8] = b"BWLMANI1";
const HEADER_BYTES: usize = 16;
const _: () = assert!(HEADER_BYTES == MAGIC.len() + size_of::<u32>() + size_of::<u32>(), "magic, length, checksum");
/// The length of the body is a u32.
pub(crate) const MANIFEST_BYTES_MAX: u64 = HEADER_BYTES as u64 + u32::MAX as u64;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Manifest {
    /// What the caller knows the store by; 0 in what releases before format 2 wrote.
    pub(crate) owner: u64,
    /// 0 before the first checkpoint.
    pub(crate) sequence: u64,
    pub(crate) next_segment: u32,
    pub(crate) next_run: u32,
    /// Id and the length that counts, by ascending id.
    pub(crate) segments: Vec<(u32, u64)>,
    pub(crate) runs: Vec<(u32, u64)>,
    pub(crate) meta: Bytes,
}

impl Manifest {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(64 + self.meta.len() + 12 * self.segments.len());
        if self.owner != 0 {
            body.extend_from_slice(&self.owner.to_le_bytes());
        }
        put_varint(&mut body, self.sequence);
        put_varint(&mut body, u64::from(self.next_segment));
        put_varint(&mut body, u64::from(self.next_run));
        for files in [&self.segments, &self.runs] {
            put_varint(&mut body, files.len() as u64);
            for (id, length) in files {
                put_varint(&mut body, u64::from(*id));
                put_varint(&mut body, *length);
            }
        }
        put_bytes(&mut body, &self.meta);
        let length = u32::try_from(body.len()).expect("a manifest stays below 4 GiB");
        let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
        out.extend_from_slice(if self.owner == 0 { MAGIC_UNOWNED } else { MAGIC });
        out.extend_from_slice(&length.to_le_bytes());
        let crc = crc32c_append(crc32c(&out), &body);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&body);
        assert!(out.len() as u64 <= MANIFEST_BYTES_MAX, "a manifest that is written can be read");
        out
    }

    pub(crate) fn decode(file: &Bytes) -> Result<Manifest, &'static str> {
        let header: &[u8; HEADER_BYTES] = file.first_chunk().ok_or("manifest is cut short")?;
        let (magic, rest) = header.split_at(8);
        let (length, crc) = rest.split_at(4);
        if magic != MAGIC && magic != MAGIC_UNOWNED {
            return Err("not a manifest that this release knows");
        }
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_le_bytes);
        let body = file.slice(HEADER_BYTES..);
        if body.len() != number(length) as usize {
            return Err("manifest has another length than it says");
        }
        if crc32c_append(crc32c(&header[..12]), &body) != number(crc) {
            return Err("manifest fails its checksum");
        }
        let owned = magic == MAGIC;
        let (owner, body) = match body.first_chunk().filter(|_| owned) {
            Some(owner) => (u64::from_le_bytes(*owner), body.slice(size_of::<u64>()..)),
            None => (0, body),
        };
        if owned && owner == 0 {
            return Err("manifest cannot be decoded");
        }
        let manifest = Manifest::decode_body(body).map_err(|_| "manifest cannot be decoded")?;
        let manifest = Manifest { owner, ..manifest };
        if manifest.is_sensible() { Ok(manifest) } else { Err("manifest names files that cannot be") }
    }

    /// Ids ascend and are below the next one, and every file has at least its header.
    pub(crate) fn is_sensible(&self) -> bool {
        let files = |files: &[(u32, u64)], next: u32| {
            files.is_sorted_by(|(one, _), (two, _)| one < two)
                && files.iter().all(|(id, length)| *id < next && *length >= FILE_HEADER_BYTES)
        };
        files(&self.segments, self.next_segment) && files(&self.runs, self.next_run)
    }

    fn decode_body(body: Bytes) -> Result<Manifest, DecodeError> {
        let mut reader = Reader::new(body);
        let sequence = reader.varint()?;
        let next_segment = id(&mut reader)?;
        let next_run = id(&mut reader)?;
        let segments = files(&mut reader)?;
        let runs = files(&mut reader)?;
        let meta = reader.bytes()?;
        reader.finish("manifest")?;
        Ok(Manifest { owner: 0, sequence, next_segment, next_run, segments, runs, meta })
    }
}

fn id(reader: &mut Reader) -> Result<u32, DecodeError> {
    let id = reader.varint()?;
    u32::try_from(id).map_err(|_| DecodeError::UnknownTag { what: "file id", tag: id })
}

fn files(reader: &mut Reader) -> Result<Vec<(u32, u64)>, DecodeError> {
    let count = reader.count(2)?;
    (0..count).map(|_| Ok((id(reader)?, reader.varint()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Files as a manifest may name them, with the next id.
    fn sensible() -> impl Strategy<Value = (Vec<(u32, u64)>, u32)> {
        let files = proptest::collection::btree_map(0..u32::MAX, FILE_HEADER_BYTES.., 0..5);
        files.prop_map(|files| {
            let next = files.last_key_value().map_or(1, |(id, _)| id + 1);
            (files.into_iter().collect(), next)
        })
    }

    #[test]
    fn files_that_cannot_be_are_refused() {
        let good = Manifest { next_segment: 3, segments: vec![(1, 16), (2, 99)], ..Manifest::default() };
        assert!(Manifest::decode(&good.encode().into()).is_ok());
        for segments in [vec![(1, 15)], vec![(3, 16)], vec![(2, 16), (1, 16)], vec![(1, 16), (1, 16)]] {
            let bad = Manifest { segments, ..good.clone() };
            assert_eq!(Manifest::decode(&bad.encode().into()), Err("manifest names files that cannot be"));
        }
    }

    proptest! {
        #[test]
        fn a_manifest_is_read_back_and_every_flipped_bit_is_found(
            sequence: u64, bit: usize, (segments, next_segment) in sensible(), (runs, next_run) in sensible(),
            meta: Vec<u8>, owner in prop_oneof![Just(0), any::<u64>()],
        ) {
            let manifest = Manifest { owner, sequence, next_segment, next_run, segments, runs, meta: meta.into() };
            let mut file = manifest.encode();
            prop_assert_eq!(Manifest::decode(&file.clone().into()), Ok(manifest));
            let bit = bit % (file.len() * 8);
            file[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Manifest::decode(&file.into()).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(file: Vec<u8>) {
            prop_assert!(Manifest::decode(&file.into()).is_err());
        }
    }
}
