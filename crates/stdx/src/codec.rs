//! Reading and writing the small binary encodings of the log and the checkpoint.
//!
//! Integers are LEB128 varints (unsigned) or their zigzag form (signed); byte strings are a varint length and the
//! bytes.
//! Invariants: `Reader` never reads past its input, never allocates by a length it has not checked against what is
//! left, and hands out slices of the input without copying. The writers cannot fail.
//! Not here: checksums and framing, which belong to the file formats.

use bytes::{Buf, Bytes};
use std::fmt;

/// Longest varint of a `u64`, in bytes.
pub(crate) const VARINT_BYTES_MAX: usize = 10;

/// Why an encoded value could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// The input ended inside a value.
    Truncated,
    /// A varint longer than ten bytes or above `u64::MAX`.
    VarintTooLong,
    /// A tag byte that names no variant of the type given.
    UnknownTag { what: &'static str, tag: u64 },
    /// Bytes were left after the last field of the type given.
    TrailingBytes { what: &'static str },
    /// A byte string that must be text is not UTF-8.
    NotUtf8 { what: &'static str },
    /// Values nested deeper than the limit.
    TooDeep { limit: usize },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Truncated => f.write_str("decode: input ends inside a value"),
            DecodeError::VarintTooLong => f.write_str("decode: varint longer than ten bytes"),
            DecodeError::UnknownTag { what, tag } => write!(f, "decode {what}: unknown tag {tag}"),
            DecodeError::TrailingBytes { what } => write!(f, "decode {what}: bytes left at the end"),
            DecodeError::NotUtf8 { what } => write!(f, "decode {what}: not UTF-8"),
            DecodeError::TooDeep { limit } => write!(f, "decode: nested deeper than {limit}"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Appends `value` as a varint, 1 to 10 bytes.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends `value` in zigzag form, so that small negative numbers stay short.
pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Appends the length of `bytes` and the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends one byte, 0 or 1.
pub fn put_bool(out: &mut Vec<u8>, value: bool) {
    out.push(u8::from(value));
}

/// Bytes that `put_varint` writes for `value`, 1 to 10.
pub fn varint_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// A cursor over encoded bytes. Byte strings come out as slices that share the input's buffer.
#[derive(Debug, Clone)]
pub struct Reader {
    input: Bytes,
}

impl Reader {
    pub fn new(input: Bytes) -> Reader {
        Reader { input }
    }

    pub fn is_empty(&self) -> bool {
        self.input.is_empty()
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.input.len()
    }

    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        if self.input.is_empty() {
            return Err(DecodeError::Truncated);
        }
        Ok(self.input.get_u8())
    }

    pub fn bool(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            tag => Err(DecodeError::UnknownTag { what, tag: u64::from(tag) }),
        }
    }

    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        let (value, read) = read_varint(&self.input)?;
        self.input.advance(read);
        Ok(value)
    }

    pub fn signed(&mut self) -> Result<i64, DecodeError> {
        let raw = self.varint()?;
        Ok(((raw >> 1) as i64) ^ -((raw & 1) as i64))
    }

    pub fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        let length = self.varint()?;
        if length > self.input.len() as u64 {
            return Err(DecodeError::Truncated);
        }
        Ok(self.input.split_to(length as usize))
    }

    pub fn text(&mut self, what: &'static str) -> Result<String, DecodeError> {
        let bytes = self.bytes()?;
        String::from_utf8(bytes.to_vec()).map_err(|_| DecodeError::NotUtf8 { what })
    }

    /// A count of values that follow, each at least `bytes_each_min` (≥ 1) long: more than can fit is an error, so that
    /// the caller may reserve that many.
    pub fn count(&mut self, bytes_each_min: usize) -> Result<usize, DecodeError> {
        let count = self.varint()?;
        if count > (self.input.len() / bytes_each_min.max(1)) as u64 {
            return Err(DecodeError::Truncated);
        }
        Ok(count as usize)
    }

    /// Fails unless everything was read.
    pub fn finish(self, what: &'static str) -> Result<(), DecodeError> {
        if self.input.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes { what }) }
    }
}

/// The varint at the start of `input` and how many bytes it took.
pub fn read_varint(input: &[u8]) -> Result<(u64, usize), DecodeError> {
    let mut value = 0u64;
    for (position, &byte) in input.iter().enumerate().take(VARINT_BYTES_MAX) {
        let bits = u64::from(byte & 0x7f);
        if position == VARINT_BYTES_MAX - 1 && bits > 1 {
            return Err(DecodeError::VarintTooLong);
        }
        value |= bits << (7 * position);
        if byte & 0x80 == 0 {
            return Ok((value, position + 1));
        }
    }
    Err(if input.len() >= VARINT_BYTES_MAX { DecodeError::VarintTooLong } else { DecodeError::Truncated })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(unsigned: u64, signed: i64, bytes: Vec<u8>, flag: bool) {
            let mut out = Vec::new();
            put_varint(&mut out, unsigned);
            prop_assert_eq!(out.len(), varint_len(unsigned));
            put_signed(&mut out, signed);
            put_bytes(&mut out, &bytes);
            put_bool(&mut out, flag);
            let mut reader = Reader::new(out.into());
            prop_assert_eq!(reader.varint(), Ok(unsigned));
            prop_assert_eq!(reader.signed(), Ok(signed));
            prop_assert_eq!(reader.bytes().map(|b| b.to_vec()), Ok(bytes));
            prop_assert_eq!(reader.bool("flag"), Ok(flag));
            prop_assert_eq!(reader.finish("test"), Ok(()));
        }

        #[test]
        fn arbitrary_bytes_never_panic(input: Vec<u8>) {
            let mut reader = Reader::new(input.into());
            while !reader.is_empty() {
                if reader.clone().bytes().is_err() && reader.varint().is_err() {
                    break;
                }
                if reader.u8().is_err() {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_length_beyond_the_input_is_refused() {
        let mut out = Vec::new();
        put_varint(&mut out, u64::MAX);
        assert_eq!(Reader::new(out.clone().into()).bytes(), Err(DecodeError::Truncated));
        assert_eq!(Reader::new(out.into()).count(1), Err(DecodeError::Truncated));
    }
}
