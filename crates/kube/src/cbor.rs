//! CBOR as kube-apiserver writes it for custom resources: self-described, text as byte strings, binary data with
//! tag 22.

use base64::Engine as _;
use minicbor::Decoder;
use minicbor::data::Type;
use serde_json::{Map, Number, Value};

/// As deep as Kubernetes' own decoder goes.
const DEPTH_MAX: usize = 64;
/// "Expected to become base64", for `[]byte`.
const BASE64_TAG: u64 = 22;

pub(crate) fn to_json(bytes: &[u8]) -> Result<Value, String> {
    let mut decoder = Decoder::new(bytes);
    let value = read(&mut decoder, 0).map_err(|error| error.to_string())?;
    if decoder.position() != bytes.len() {
        return Err(format!("byte {}: something follows the object", decoder.position()));
    }
    Ok(value)
}

type Read<T> = Result<T, minicbor::decode::Error>;

fn read(decoder: &mut Decoder<'_>, depth: usize) -> Read<Value> {
    if depth >= DEPTH_MAX {
        return Err(minicbor::decode::Error::message("nested too deeply").at(decoder.position()));
    }
    Ok(match decoder.datatype()? {
        Type::Null | Type::Undefined => {
            decoder.skip()?;
            Value::Null
        }
        Type::Bool => decoder.bool()?.into(),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => decoder.u64()?.into(),
        Type::I8 | Type::I16 | Type::I32 | Type::I64 => decoder.i64()?.into(),
        Type::F16 | Type::F32 | Type::F64 => number(float(decoder)?),
        Type::Bytes | Type::BytesIndef | Type::String | Type::StringIndef => text(decoder)?.into(),
        Type::Array | Type::ArrayIndef => {
            let length = decoder.array()?;
            let mut list = Vec::new();
            while !ends(decoder, length, list.len())? {
                list.push(read(decoder, depth + 1)?);
            }
            list.into()
        }
        Type::Map | Type::MapIndef => {
            let length = decoder.map()?;
            let (mut map, mut count) = (Map::new(), 0);
            while !ends(decoder, length, count)? {
                let key = text(decoder)?;
                map.insert(key, read(decoder, depth + 1)?);
                count += 1;
            }
            map.into()
        }
        Type::Tag => {
            let tag = decoder.tag()?;
            if tag.as_u64() == BASE64_TAG {
                base64::engine::general_purpose::STANDARD.encode(bytes(decoder)?).into()
            } else {
                read(decoder, depth + 1)?
            }
        }
        other => return Err(minicbor::decode::Error::type_mismatch(other).at(decoder.position())),
    })
}

/// JSON as Go writes it does not tell 1.0 from 1. Infinite ones have no form in JSON.
fn number(float: f64) -> Value {
    const WHOLE_MAX: f64 = (1u64 << 63) as f64;
    if float.fract() == 0.0 && float.abs() < WHOLE_MAX {
        return (float as i64).into();
    }
    Number::from_f64(float).map_or(Value::Null, Value::Number)
}

fn float(decoder: &mut Decoder<'_>) -> Read<f64> {
    // Kubernetes writes the shortest one that says the same.
    match decoder.datatype()? {
        Type::F16 => Ok(decoder.f16()?.into()),
        Type::F32 => Ok(decoder.f32()?.into()),
        _ => decoder.f64(),
    }
}

/// True behind the last item of an array or map; takes its end mark if it has one.
pub(crate) fn ends(decoder: &mut Decoder<'_>, length: Option<u64>, count: usize) -> Read<bool> {
    if let Some(length) = length {
        return Ok(count as u64 >= length);
    }
    let ends = decoder.datatype()? == Type::Break;
    if ends {
        decoder.skip()?;
    }
    Ok(ends)
}

fn bytes(decoder: &mut Decoder<'_>) -> Read<Vec<u8>> {
    let mut all = Vec::new();
    match decoder.datatype()? {
        Type::Bytes | Type::BytesIndef => {
            for part in decoder.bytes_iter()? {
                all.extend_from_slice(part?);
            }
        }
        _ => {
            for part in decoder.str_iter()? {
                all.extend_from_slice(part?.as_bytes());
            }
        }
    }
    Ok(all)
}

pub(crate) fn text(decoder: &mut Decoder<'_>) -> Read<String> {
    Ok(String::from_utf8_lossy(&bytes(decoder)?).into_owned())
}
