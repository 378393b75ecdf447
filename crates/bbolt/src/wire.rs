//! As much of protobuf's encoding as the messages in a file need: fields of a flat message, in any order.

use bytes::{Buf, Bytes};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Number(u64),
    Bytes(Bytes),
}

/// The next field; none at the end, and an error in words for what is no message.
pub fn field(message: &mut Bytes) -> Result<Option<(u64, Value)>, &'static str> {
    if message.is_empty() {
        return Ok(None);
    }
    let tag = varint(message)?;
    let value = match tag & 7 {
        0 => Value::Number(varint(message)?),
        1 => Value::Number(u64::from_le_bytes(fixed(message)?)),
        2 => {
            let length = varint(message)?;
            let length = usize::try_from(length).ok().filter(|&length| length <= message.len());
            Value::Bytes(message.split_to(length.ok_or("a field reaches behind its message")?))
        }
        5 => Value::Number(u64::from(u32::from_le_bytes(fixed(message)?))),
        _ => return Err("a field of a type that does not exist"),
    };
    Ok(Some((tag >> 3, value)))
}

fn varint(message: &mut Bytes) -> Result<u64, &'static str> {
    let mut number = 0;
    for (place, &byte) in message.iter().take(10).enumerate() {
        number |= u64::from(byte & 0x7f).checked_shl(7 * place as u32).unwrap_or_default();
        if byte < 0x80 {
            message.advance(place + 1);
            return Ok(number);
        }
    }
    Err("a number that does not end")
}

fn fixed<const N: usize>(message: &mut Bytes) -> Result<[u8; N], &'static str> {
    let bytes = message.get(..N).and_then(|bytes| bytes.try_into().ok()).ok_or("a number is cut off")?;
    message.advance(N);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(bytes: &'static [u8]) -> Result<Vec<(u64, Value)>, &'static str> {
        let mut message = Bytes::from_static(bytes);
        let mut fields = Vec::new();
        while let Some(found) = field(&mut message)? {
            fields.push(found);
        }
        Ok(fields)
    }

    #[test]
    fn fields_are_read_and_cut_ones_refused() {
        let all = fields(b"\x0a\x02ab\x10\xac\x02\x1d\x01\0\0\0\x21\x02\0\0\0\0\0\0\0");
        let number = Value::Number;
        let expected = vec![(1, Value::Bytes("ab".into())), (2, number(300)), (3, number(1)), (4, number(2))];
        assert_eq!(all, Ok(expected));
        let minus_one = fields(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
        assert_eq!(minus_one, Ok(vec![(1, number(u64::MAX))]));
        for cut in [
            &b"\x0a\x05ab"[..],
            b"\x08",
            b"\x08\xff",
            b"\x1d\x01",
            b"\x0b",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            assert!(fields(cut).is_err(), "{cut:?}");
        }
    }
}
