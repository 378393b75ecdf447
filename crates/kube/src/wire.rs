//! The wire format of protocol buffers: fields with their exact bytes, in the order in which they lie there.
//!
//! Groups, which Kubernetes never had, are damage.

use std::fmt;

pub(crate) const VARINT: u8 = 0;
pub(crate) const LENGTH_DELIMITED: u8 = 2;
const FIXED64: u8 = 1;
const FIXED32: u8 = 5;

/// One field of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    pub(crate) wire_type: u8,
    /// Tag, length and content as they were written.
    pub(crate) raw: &'a [u8],
    /// Of a length-delimited field.
    pub(crate) content: &'a [u8],
    /// Of a varint.
    pub(crate) varint: u64,
}

/// Where a message stops being one, in bytes from its beginning, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireError {
    pub at: usize,
    pub why: &'static str,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: {}", self.at, self.why)
    }
}

/// The fields of a message. Ends after the first error.
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

pub(crate) fn fields(bytes: &[u8]) -> Fields<'_> {
    Fields { bytes, at: 0 }
}

impl<'a> Fields<'a> {
    fn next_field(&mut self) -> Result<Field<'a>, WireError> {
        let start = self.at;
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| (1..1 << 29).contains(number));
        let number = number.ok_or(WireError { at: start, why: "field number out of range" })?;
        let wire_type = (tag & 7) as u8;
        let (mut content, mut varint) = (&self.bytes[..0], 0);
        match wire_type {
            VARINT => varint = self.varint()?,
            FIXED64 => content = self.take(8)?,
            LENGTH_DELIMITED => {
                let length = self.varint()?;
                let length =
                    usize::try_from(length).map_err(|_| WireError { at: start, why: "length out of range" })?;
                content = self.take(length)?;
            }
            FIXED32 => content = self.take(4)?,
            _ => return Err(WireError { at: start, why: "unknown wire type" }),
        }
        Ok(Field { number, wire_type, raw: &self.bytes[start..self.at], content, varint })
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..length).ok_or(WireError { at: self.at, why: "field is longer than its message" })?;
        self.at += length;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let start = self.at;
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or(WireError { at: start, why: "message ends within a number" })?;
            self.at += 1;
            let low = u64::from(byte & 0x7f);
            if shift == 63 && low > 1 {
                break;
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError { at: start, why: "number is longer than 64 bits" })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let field = self.next_field();
        if field.is_err() {
            self.at = self.bytes.len();
        }
        Some(field)
    }
}

pub(crate) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A length-delimited field.
pub(crate) fn put_field(number: u32, content: &[u8], out: &mut Vec<u8>) {
    put_varint(u64::from(number) << 3 | u64::from(LENGTH_DELIMITED), out);
    put_varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_their_bytes() {
        let mut bytes = vec![0x08, 0x96, 0x01];
        put_field(300, b"abc", &mut bytes);
        let fields: Vec<_> = fields(&bytes).collect::<Result<_, _>>().expect("valid");
        assert_eq!((fields[0].number, fields[0].varint), (1, 150));
        assert_eq!((fields[1].number, fields[1].content), (300, &b"abc"[..]));
        let raw: Vec<u8> = fields.iter().flat_map(|field| field.raw).copied().collect();
        assert_eq!(raw, bytes);
    }

    #[test]
    fn damage_is_named() {
        for (bytes, why) in [
            (&[0x08][..], "message ends within a number"),
            (&[0x0a, 5, 1], "field is longer than its message"),
            (&[0x0b], "unknown wire type"),
            (&[0x00, 0], "field number out of range"),
            (&[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2], "number is longer than 64 bits"),
            (&[0x0a, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1], "field is longer than its message"),
        ] {
            let errors: Vec<_> = fields(bytes).filter_map(Result::err).collect();
            assert_eq!(errors.iter().map(|error| error.why).collect::<Vec<_>>(), [why]);
        }
    }
}
