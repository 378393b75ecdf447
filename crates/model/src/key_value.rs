//! One version of one key, and the byte form in which etcd keeps it.
//!
//! That form (protobuf `mvccpb.KeyValue`: fields ascending, zero values left out) is more than a wire detail: `HashKV`
//! hashes these bytes, and backups hold them. So the store keeps exactly them, written once, and lists, events and
//! hashes copy them without parsing. This file is the one place that knows the layout; it is not a general protobuf
//! codec.

use crate::{LeaseId, Revision, VersionedRevision};
use bytes::Bytes;
use std::fmt;
use stdx::codec::{put_varint, read_varint, varint_len};

/// A key with its value and history numbers, as `mvccpb.KeyValue`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyValue {
    pub key: Bytes,
    pub create_revision: Revision,
    pub mod_revision: Revision,
    /// 1 for a creation, one more for each later put.
    pub version: i64,
    pub value: Bytes,
    pub lease: LeaseId,
}

const KEY: u8 = 1 << 3 | 2;
const CREATE_REVISION: u8 = 2 << 3;
const MOD_REVISION: u8 = 3 << 3;
const VERSION: u8 = 4 << 3;
const VALUE: u8 = 5 << 3 | 2;
const LEASE: u8 = 6 << 3;

impl KeyValue {
    /// Appends the encoded form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.encoded_len());
        put_bytes_field(out, KEY, &self.key);
        put_number_field(out, CREATE_REVISION, self.create_revision.0);
        put_number_field(out, MOD_REVISION, self.mod_revision.0);
        put_number_field(out, VERSION, self.version);
        put_bytes_field(out, VALUE, &self.value);
        put_number_field(out, LEASE, self.lease.0);
    }

    /// Bytes that `encode` appends.
    pub fn encoded_len(&self) -> usize {
        bytes_field_len(&self.key)
            + number_field_len(self.create_revision.0)
            + number_field_len(self.mod_revision.0)
            + number_field_len(self.version)
            + bytes_field_len(&self.value)
            + number_field_len(self.lease.0)
    }

    /// Reads the encoded form; key and value share `input`'s buffer.
    /// Fails on anything that `encode` does not write; never panics.
    pub fn decode(input: &Bytes) -> Result<KeyValue, KeyValueError> {
        let mut kv = KeyValue::default();
        let mut at = 0;
        while at < input.len() {
            let (tag, read) = varint_at(input, at)?;
            at += read;
            let (number, read) = varint_at(input, at)?;
            at += read;
            let tag = u8::try_from(tag).map_err(|_| KeyValueError)?;
            match tag {
                KEY | VALUE => {
                    let length = usize::try_from(number).map_err(|_| KeyValueError)?;
                    let end = at.checked_add(length).filter(|&end| end <= input.len()).ok_or(KeyValueError)?;
                    let field = input.slice(at..end);
                    at = end;
                    if tag == KEY { kv.key = field } else { kv.value = field }
                }
                CREATE_REVISION => kv.create_revision = Revision(number as i64),
                MOD_REVISION => kv.mod_revision = Revision(number as i64),
                VERSION => kv.version = number as i64,
                LEASE => kv.lease = LeaseId(number as i64),
                _ => return Err(KeyValueError),
            }
        }
        Ok(kv)
    }
}

/// Bytes that are not an encoded `KeyValue`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyValueError;

impl fmt::Display for KeyValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("decode key-value record: not in the stored form")
    }
}

impl std::error::Error for KeyValueError {}

fn varint_at(input: &[u8], at: usize) -> Result<(u64, usize), KeyValueError> {
    read_varint(input.get(at..).unwrap_or_default()).map_err(|_| KeyValueError)
}

fn put_bytes_field(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        out.push(tag);
        put_varint(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
}

fn put_number_field(out: &mut Vec<u8>, tag: u8, number: i64) {
    if number != 0 {
        out.push(tag);
        put_varint(out, number as u64);
    }
}

fn bytes_field_len(bytes: &[u8]) -> usize {
    if bytes.is_empty() { 0 } else { 1 + varint_len(bytes.len() as u64) + bytes.len() }
}

fn number_field_len(number: i64) -> usize {
    if number == 0 { 0 } else { 1 + varint_len(number as u64) }
}

/// Length of etcd's revision key without the tombstone mark.
pub const REVISION_KEY_BYTES: usize = 17;

/// etcd's key of one change in its `key` bucket: main and sub revision, big-endian, an underscore between them. A
/// tombstone's key has a `t` behind it, which is the caller's to add.
pub fn revision_key(at: VersionedRevision) -> [u8; REVISION_KEY_BYTES] {
    let mut key = [0; REVISION_KEY_BYTES];
    key[..8].copy_from_slice(&at.main.0.to_be_bytes());
    key[8] = b'_';
    key[9..].copy_from_slice(&u64::from(at.sub).to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn encoded_is_decoded(key: Vec<u8>, value: Vec<u8>, create: i64, modified: i64, version: i64, lease: i64) {
            let kv = KeyValue {
                key: key.into(), value: value.into(), version,
                create_revision: Revision(create), mod_revision: Revision(modified), lease: LeaseId(lease),
            };
            let mut out = Vec::new();
            kv.encode(&mut out);
            prop_assert_eq!(out.len(), kv.encoded_len());
            prop_assert_eq!(KeyValue::decode(&out.into()), Ok(kv));
        }

        #[test]
        fn arbitrary_bytes_never_panic(input: Vec<u8>) {
            let _ = KeyValue::decode(&input.into());
        }
    }

    #[test]
    fn bytes_as_etcd_writes_them() {
        let kv = KeyValue {
            key: "k".into(),
            value: "v".into(),
            version: 1,
            create_revision: Revision(2),
            mod_revision: Revision(300),
            lease: LeaseId(-1),
        };
        let mut out = Vec::new();
        kv.encode(&mut out);
        let lease = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        let expected = [&[0x0a, 1, b'k', 0x10, 2, 0x18, 0xac, 0x02, 0x20, 1, 0x2a, 1, b'v', 0x30], &lease[..]].concat();
        assert_eq!(out, expected);
    }
}
