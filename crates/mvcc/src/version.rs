//! One version of one key as the key index holds it, and its packed form.
//!
//! The packed form is used in the tree's leaves, in old history and in checkpoint runs (`docs/formats/index-run.md` has
//! the table). It is self-contained, takes 15 to 25 bytes, and leaves the two top bits of its first byte to `entry`.

use crate::crc::{revision_key_crc, tombstone_crc};
use model::{KeyValue, LeaseId, Revision, VersionedRevision};
use stdx::codec::{put_varint, read_varint};
use store::{Location, RECORD_OVERHEAD_BYTES};

/// A live version of a key: everything but its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// The revision of the change that wrote it.
    pub at: VersionedRevision,
    pub create_revision: Revision,
    /// 1 for a creation, one more for each later put.
    pub version: i64,
    pub lease: LeaseId,
    /// The record, whose payload is the encoded `KeyValue`.
    pub location: Location,
}

impl Meta {
    pub fn mod_revision(&self) -> Revision {
        self.at.main
    }
}

/// A put or a deletion of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) at: VersionedRevision,
    /// CRC-32C of etcd's revision key and the encoded `KeyValue`, from which `HashKV` is folded without reading values.
    pub(crate) crc: u32,
    /// `None` for a deletion.
    pub(crate) put: Option<Put>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Put {
    pub(crate) create_revision: Revision,
    pub(crate) version: i64,
    pub(crate) lease: LeaseId,
    pub(crate) location: Location,
}

impl Put {
    /// What the version counts as in the retained bytes: its record.
    pub(crate) fn retained_bytes(&self) -> u64 {
        RECORD_OVERHEAD_BYTES + u64::from(self.location.length)
    }
}

/// What a deletion counts as in the retained bytes: a record of nothing but its key.
pub(crate) fn tombstone_retained_bytes(key_len: usize) -> u64 {
    RECORD_OVERHEAD_BYTES + key_len as u64
}

const TOMBSTONE: u8 = 1;
const HAS_SUB: u8 = 1 << 1;
/// Version 1, created by this change: neither is written.
const CREATION: u8 = 1 << 2;
const HAS_LEASE: u8 = 1 << 3;
/// Bits of the first byte that belong to the entry around the version.
pub(crate) const FOREIGN_BITS: u8 = 0b1100_0000;
const KNOWN_BITS: u8 = TOMBSTONE | HAS_SUB | CREATION | HAS_LEASE | FOREIGN_BITS;

const _: () = assert!((TOMBSTONE | HAS_SUB | CREATION | HAS_LEASE) & FOREIGN_BITS == 0, "each bit has one meaning");

impl Version {
    /// A put whose record holds `payload`, the encoded `KeyValue`.
    pub(crate) fn of_put(at: VersionedRevision, put: Put, payload: &[u8]) -> Version {
        Version { at, crc: crc32c::crc32c_append(revision_key_crc(at), payload), put: Some(put) }
    }

    pub(crate) fn of_delete(at: VersionedRevision, key: &[u8]) -> Version {
        Version { at, crc: tombstone_crc(at, key), put: None }
    }

    pub(crate) fn is_tombstone(&self) -> bool {
        self.put.is_none()
    }

    pub(crate) fn meta(&self) -> Option<Meta> {
        let Put { create_revision, version, lease, location } = self.put?;
        Some(Meta { at: self.at, create_revision, version, lease, location })
    }

    pub(crate) fn location(&self) -> Option<Location> {
        self.put.map(|put| put.location)
    }

    pub(crate) fn retained_bytes(&self, key_len: usize) -> u64 {
        self.put.map_or_else(|| tombstone_retained_bytes(key_len), |put| put.retained_bytes())
    }

    /// Bytes that the crc covers behind the revision key.
    pub(crate) fn payload_len(&self, key_len: impl FnOnce() -> usize) -> usize {
        match self.put {
            Some(put) => put.location.length as usize,
            None => tombstone_payload_len(key_len()),
        }
    }

    /// Appends the packed form, the foreign bits zero.
    pub(crate) fn pack(&self, out: &mut Vec<u8>) {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let creation = self.put.is_some_and(|put| put.version == 1 && put.create_revision == self.at.main);
        let lease = self.put.map_or(LeaseId::NONE, |put| put.lease);
        out.push(
            flag(self.is_tombstone(), TOMBSTONE)
                | flag(self.at.sub != 0, HAS_SUB)
                | flag(creation, CREATION)
                | flag(!lease.is_none(), HAS_LEASE),
        );
        put_varint(out, self.at.main.0 as u64);
        if self.at.sub != 0 {
            put_varint(out, self.at.sub.into());
        }
        out.extend_from_slice(&self.crc.to_le_bytes());
        let Some(put) = self.put else { return };
        if !creation {
            put_varint(out, self.at.main.0.wrapping_sub(put.create_revision.0) as u64);
            put_varint(out, put.version as u64);
        }
        if !lease.is_none() {
            out.extend_from_slice(&lease.0.to_le_bytes());
        }
        put_varint(out, put.location.segment.into());
        put_varint(out, put.location.offset.into());
        put_varint(out, put.location.length.into());
    }

    /// Reads one packed version off the front of `input`; `None` if it is not one. The foreign bits are ignored.
    pub(crate) fn unpack(input: &mut &[u8]) -> Option<Version> {
        let flags = byte(input)?;
        if flags & !KNOWN_BITS != 0 {
            return None;
        }
        let main = Revision(varint(input)? as i64);
        let sub = if flags & HAS_SUB != 0 { varint(input)?.try_into().ok()? } else { 0 };
        let at = VersionedRevision { main, sub };
        let crc = u32::from_le_bytes(array(input)?);
        if flags & TOMBSTONE != 0 {
            return Some(Version { at, crc, put: None });
        }
        let (create_revision, version) = if flags & CREATION != 0 {
            (main, 1)
        } else {
            (Revision(main.0.wrapping_sub(varint(input)? as i64)), varint(input)? as i64)
        };
        let lease = if flags & HAS_LEASE != 0 { LeaseId(i64::from_le_bytes(array(input)?)) } else { LeaseId::NONE };
        let mut number = || u32::try_from(varint(input)?).ok();
        let location = Location { segment: number()?, offset: number()?, length: number()? };
        Some(Version { at, crc, put: Some(Put { create_revision, version, lease, location }) })
    }
}

/// Whether a packed version is a deletion, and its main revision, without reading more of it.
pub(crate) fn peek(input: &[u8]) -> Option<(bool, i64)> {
    let (&flags, mut rest) = input.split_first()?;
    Some((flags & TOMBSTONE != 0, varint(&mut rest)? as i64))
}

/// Length of the encoded `KeyValue` that has only a key.
pub(crate) fn tombstone_payload_len(key_len: usize) -> usize {
    if key_len == 0 { 0 } else { 1 + stdx::codec::varint_len(key_len as u64) + key_len }
}

/// The bytes that etcd stores for a deletion.
pub(crate) fn tombstone_payload(key: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    KeyValue { key: bytes::Bytes::copy_from_slice(key), ..KeyValue::default() }.encode(&mut out);
    out
}

fn byte(input: &mut &[u8]) -> Option<u8> {
    let (&first, rest) = input.split_first()?;
    *input = rest;
    Some(first)
}

#[inline]
fn varint(input: &mut &[u8]) -> Option<u64> {
    let (&first, rest) = input.split_first()?;
    if first < 0x80 {
        *input = rest;
        return Some(first.into());
    }
    let (value, read) = read_varint(input).ok()?;
    *input = input.get(read..)?;
    Some(value)
}

fn array<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (array, rest) = input.split_first_chunk()?;
    *input = rest;
    Some(*array)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn version() -> impl Strategy<Value = Version> {
        let at = (1i64.., prop_oneof![Just(0u32), any::<u32>()]);
        let put = (any::<i64>(), any::<i64>(), any::<i64>(), any::<bool>(), any::<[u32; 3]>());
        (at, any::<u32>(), proptest::option::of(put)).prop_map(|((main, sub), crc, put)| Version {
            at: VersionedRevision { main: Revision(main), sub },
            crc,
            put: put.map(|(create, version, lease, creation, [segment, offset, length])| Put {
                create_revision: Revision(if creation { main } else { create }),
                version: if creation { 1 } else { version },
                lease: LeaseId(if creation { 0 } else { lease }),
                location: Location { segment, offset, length },
            }),
        })
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(version in version(), behind: Vec<u8>) {
            let mut out = Vec::new();
            version.pack(&mut out);
            prop_assert_eq!(out[0] & FOREIGN_BITS, 0);
            prop_assert_eq!(peek(&out), Some((version.is_tombstone(), version.at.main.0)));
            let length = out.len();
            for cut in 0..length {
                prop_assert_eq!(Version::unpack(&mut &out[..cut]), None);
            }
            out.extend_from_slice(&behind);
            let mut input = out.as_slice();
            prop_assert_eq!(Version::unpack(&mut input), Some(version));
            prop_assert_eq!(input, behind.as_slice());
        }

        #[test]
        fn arbitrary_bytes_never_panic(input: Vec<u8>) {
            let _ = Version::unpack(&mut input.as_slice());
        }

        #[test]
        fn a_deletion_is_as_long_as_its_bytes(key: Vec<u8>) {
            prop_assert_eq!(tombstone_payload(&key).len(), tombstone_payload_len(key.len()));
        }
    }
}
