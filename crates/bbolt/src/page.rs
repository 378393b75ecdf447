//! One page: its header and its elements, each looked up only within its bytes.
//!
//! | offset | type | field |
//! |---|---|---|
//! | 0 | u64 | page id; 0 in a page that lies inside a value |
//! | 8 | u16 | flags: 1 branch, 2 leaf, 4 meta, 16 free list |
//! | 10 | u16 | elements |
//! | 12 | u32 | overflow: pages behind this one that belong to it |
//!
//! Elements of 16 bytes follow: (position, key bytes, child) in a branch, (flags, position, key bytes, value bytes) in
//! a leaf. A position counts from its element.

use crate::{Error, Result};
use bytes::Bytes;
use std::ops::Range;

pub(crate) const HEADER: usize = 16;
const ELEMENT: usize = 16;
/// Of a page with what overflows from it: 256 MiB. Etcd's largest request is 1.5 MiB unless it is told otherwise.
pub const PAGE_BYTES_MAX: u64 = 256 << 20;
const IS_BUCKET: u32 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Branch,
    Leaf,
    FreeList,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub id: u64,
    pub kind: Option<Kind>,
    pub count: u16,
    pub overflow: u32,
}

impl Header {
    pub fn parse(bytes: &[u8]) -> Option<Header> {
        let kind = match u16::from_le_bytes(bytes.get(8..10)?.try_into().ok()?) {
            1 => Some(Kind::Branch),
            2 => Some(Kind::Leaf),
            16 => Some(Kind::FreeList),
            _ => None,
        };
        Some(Header {
            id: u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?),
            kind,
            count: u16::from_le_bytes(bytes.get(10..12)?.try_into().ok()?),
            overflow: u32::from_le_bytes(bytes.get(12..16)?.try_into().ok()?),
        })
    }
}

/// A branch or a leaf in memory, with all of its overflow.
#[derive(Debug, Clone)]
pub struct Page {
    /// Where it lies; 0 inside a value.
    pub id: u64,
    pub kind: Kind,
    pub count: u16,
    bytes: Bytes,
}

pub struct BranchElement {
    pub key: Bytes,
    pub child: u64,
}

pub struct LeafElement {
    pub key: Bytes,
    pub value: Bytes,
    pub is_bucket: bool,
    /// Where key and value lie in the page. Those of the next element lie behind.
    pub data: Range<u64>,
}

impl Page {
    /// `bytes` are the whole page, `id` says where it lies.
    pub fn new(id: u64, bytes: Bytes) -> Result<Page> {
        let header = Header::parse(&bytes).ok_or_else(|| Error::damaged(id, "it is shorter than its header"))?;
        match header.kind {
            Some(kind @ (Kind::Branch | Kind::Leaf)) => Ok(Page { id, kind, count: header.count, bytes }),
            _ => Err(Error::damaged(id, "a branch or a leaf is wanted here, and it is neither")),
        }
    }

    pub fn branch(&self, element: u16) -> Result<BranchElement> {
        let (start, [position, key, low, high]) = self.element(element)?;
        let child = u64::from(high) << 32 | u64::from(low);
        Ok(BranchElement { key: self.slice(element, start, position, key)?, child })
    }

    pub fn leaf(&self, element: u16) -> Result<LeafElement> {
        let (start, [flags, position, key, value]) = self.element(element)?;
        let after_key = u64::from(position) + u64::from(key);
        let after_key = u32::try_from(after_key).map_err(|_| self.outside(element))?;
        let from = start as u64 + u64::from(position);
        Ok(LeafElement {
            data: from..from + u64::from(key) + u64::from(value),
            key: self.slice(element, start, position, key)?,
            value: self.slice(element, start, after_key, value)?,
            is_bucket: flags & IS_BUCKET != 0,
        })
    }

    /// Where the element lies, and its four numbers.
    fn element(&self, element: u16) -> Result<(usize, [u32; 4])> {
        let start = HEADER + usize::from(element) * ELEMENT;
        let bytes = self.bytes.get(start..start + ELEMENT).filter(|_| element < self.count);
        let bytes = bytes.ok_or_else(|| self.outside(element))?;
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Ok((start, [number(0), number(4), number(8), number(12)]))
    }

    fn slice(&self, element: u16, start: usize, position: u32, length: u32) -> Result<Bytes> {
        let from = start as u64 + u64::from(position);
        let to = from + u64::from(length);
        match (usize::try_from(from), usize::try_from(to)) {
            (Ok(from), Ok(to)) if to <= self.bytes.len() => Ok(self.bytes.slice(from..to)),
            _ => Err(self.outside(element)),
        }
    }

    fn outside(&self, element: u16) -> Error {
        Error::damaged(self.id, format!("element {element} of {} reaches out of the page", self.count))
    }
}
