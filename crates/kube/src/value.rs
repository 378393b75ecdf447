//! What a value is, by its first bytes, and what it says.
//!
//! Encrypted values are named by their provider and never opened: some bind the key under which they lie, so that a
//! value cannot even be moved.

use crate::message;
use crate::schema::{Field, OBJECT_META, Type, table_of};
use crate::wire::{LENGTH_DELIMITED, WireError, fields};
use serde_json::{Map, Value};
use std::fmt;

const ENCRYPTED: &[u8] = b"k8s:enc:";
const PROTOBUF: &[u8] = b"k8s\0";
const CBOR: &[u8] = &[0xd9, 0xd9, 0xf7];
/// Longer names of providers and keys are not names.
const NAME_BYTES_MAX: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Encoding {
    Protobuf,
    Json,
    Cbor,
    /// `aescbc:v1`, `kms:v2`, …, and the name of the key or of the plugin.
    Encrypted {
        provider: String,
        key_name: String,
    },
    /// Nothing that kube-apiserver writes for an object.
    Unknown,
}

/// An object, as the API would show it.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    pub api_version: String,
    pub kind: String,
    pub encoding: Encoding,
    /// With `apiVersion` and `kind`.
    pub content: Value,
    /// False if only a part of its fields is known here: of some kinds in protobuf that is the metadata and what
    /// matters to a diagnosis. What is not known is missing from `content`, and kept by edits.
    pub whole: bool,
}

/// Why a value could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError {
    Encrypted {
        provider: String,
        key_name: String,
    },
    /// Neither protobuf, JSON nor CBOR.
    Unknown,
    Protobuf(WireError),
    Json(String),
    Cbor(String),
    /// JSON or CBOR of something that has no kind.
    NotAnObject,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Encrypted { provider, key_name } => {
                write!(f, "the value is encrypted by {provider} with key {key_name:?}; only kube-apiserver can read it")
            }
            DecodeError::Unknown => f.write_str("the value is neither protobuf, JSON nor CBOR of kube-apiserver"),
            DecodeError::Protobuf(error) => write!(f, "the value is damaged: protobuf, {error}"),
            DecodeError::Json(error) => write!(f, "the value is damaged: JSON, {error}"),
            DecodeError::Cbor(error) => write!(f, "the value is damaged: CBOR, {error}"),
            DecodeError::NotAnObject => f.write_str("the value has no apiVersion and kind"),
        }
    }
}

impl std::error::Error for DecodeError {}

impl From<WireError> for DecodeError {
    fn from(error: WireError) -> DecodeError {
        DecodeError::Protobuf(error)
    }
}

/// What the first bytes say.
pub fn encoding(value: &[u8]) -> Encoding {
    if let Some(rest) = value.strip_prefix(ENCRYPTED) {
        return encrypted(rest);
    }
    match value {
        _ if value.starts_with(PROTOBUF) => Encoding::Protobuf,
        _ if value.starts_with(CBOR) => Encoding::Cbor,
        _ if value.trim_ascii_start().starts_with(b"{") => Encoding::Json,
        _ => Encoding::Unknown,
    }
}

/// `PROVIDER:VERSION:NAME:` and then ciphertext.
fn encrypted(rest: &[u8]) -> Encoding {
    let head = &rest[..rest.len().min(NAME_BYTES_MAX)];
    let mut parts = head.splitn(4, |byte| *byte == b':').map(|part| String::from_utf8_lossy(part).into_owned());
    let (provider, version, name) = (parts.next(), parts.next(), parts.next());
    // The last part is a name only if something follows it.
    let key_name = if parts.next().is_some() { name.unwrap_or_default() } else { String::new() };
    let provider = format!("{}:{}", provider.unwrap_or_default(), version.unwrap_or_default());
    Encoding::Encrypted { provider, key_name }
}

/// Reads an object.
pub fn decode(value: &[u8]) -> Result<Object, DecodeError> {
    match encoding(value) {
        Encoding::Protobuf => decode_protobuf(value),
        Encoding::Json => {
            let content = serde_json::from_slice(value).map_err(|error| DecodeError::Json(error.to_string()))?;
            self_described(content, Encoding::Json)
        }
        Encoding::Cbor => {
            let content = crate::cbor::to_json(value).map_err(DecodeError::Cbor)?;
            self_described(content, Encoding::Cbor)
        }
        Encoding::Encrypted { provider, key_name } => Err(DecodeError::Encrypted { provider, key_name }),
        Encoding::Unknown => Err(DecodeError::Unknown),
    }
}

fn self_described(content: Value, encoding: Encoding) -> Result<Object, DecodeError> {
    let text = |name: &str| content[name].as_str().map(str::to_owned);
    let (Some(api_version), Some(kind)) = (text("apiVersion"), text("kind")) else {
        return Err(DecodeError::NotAnObject);
    };
    Ok(Object { api_version, kind, encoding, content, whole: true })
}

fn decode_protobuf(value: &[u8]) -> Result<Object, DecodeError> {
    const METADATA_ONLY: &[Field] = &[Field {
        number: 1,
        name: "metadata",
        of: Type::Message(OBJECT_META),
        shown: crate::schema::Shown::Present,
        repeated: false,
    }];
    let Envelope { api_version, kind, raw } = Envelope::read(value)?;
    let (table, whole) = table_of(&api_version, &kind).unwrap_or((METADATA_ONLY, false));
    let mut content = Map::new();
    content.insert("apiVersion".to_owned(), api_version.clone().into());
    content.insert("kind".to_owned(), kind.clone().into());
    content.extend(message::to_json(raw, table)?);
    Ok(Object { api_version, kind, encoding: Encoding::Protobuf, content: content.into(), whole })
}

/// `runtime.Unknown`: which type, and the object's own bytes.
pub(crate) struct Envelope<'a> {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) raw: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// `value` with its magic number.
    pub(crate) fn read(value: &'a [u8]) -> Result<Envelope<'a>, WireError> {
        let mut envelope = Envelope { api_version: String::new(), kind: String::new(), raw: &[] };
        for field in fields(value.strip_prefix(PROTOBUF).unwrap_or_default()) {
            let field = field?;
            match (field.number, field.wire_type) {
                (1, LENGTH_DELIMITED) => envelope.read_type(field.content)?,
                (2, LENGTH_DELIMITED) => envelope.raw = field.content,
                _ => {}
            }
        }
        Ok(envelope)
    }

    fn read_type(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        for field in fields(bytes) {
            let field = field?;
            let text = || String::from_utf8_lossy(field.content).into_owned();
            match (field.number, field.wire_type) {
                (1, LENGTH_DELIMITED) => self.api_version = text(),
                (2, LENGTH_DELIMITED) => self.kind = text(),
                _ => {}
            }
        }
        Ok(())
    }

    /// The number of bytes before the envelope.
    pub(crate) const MAGIC_BYTES: usize = PROTOBUF.len();
}

impl Object {
    pub fn group(&self) -> &str {
        self.api_version.rsplit_once('/').map_or("", |(group, _)| group)
    }

    /// The part of `apiVersion` behind the group.
    pub fn version(&self) -> &str {
        self.api_version.rsplit_once('/').map_or(&self.api_version, |(_, version)| version)
    }

    pub fn metadata(&self) -> &Value {
        &self.content["metadata"]
    }

    pub fn name(&self) -> &str {
        self.text("name")
    }

    /// Empty for what belongs to no namespace.
    pub fn namespace(&self) -> &str {
        self.text("namespace")
    }

    pub fn uid(&self) -> &str {
        self.text("uid")
    }

    /// RFC 3339; empty if it was never written.
    pub fn creation_timestamp(&self) -> &str {
        self.text("creationTimestamp")
    }

    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        texts(&self.metadata()["labels"])
    }

    /// Each with `apiVersion`, `kind`, `name` and `uid`.
    pub fn owner_references(&self) -> &[Value] {
        self.metadata()["ownerReferences"].as_array().map_or(&[], Vec::as_slice)
    }

    fn text(&self, name: &str) -> &str {
        self.metadata()[name].as_str().unwrap_or_default()
    }
}

fn texts(map: &Value) -> impl Iterator<Item = (&str, &str)> {
    map.as_object().into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
}
