//! The two meta pages: which of them counts, and how large a page is.
//!
//! | offset in the page | type | field |
//! |---|---|---|
//! | 16 | u32 | magic |
//! | 20 | u32 | version, 2 |
//! | 24 | u32 | page size |
//! | 28 | u32 | flags |
//! | 32 | u64 | root bucket: page |
//! | 40 | u64 | root bucket: sequence |
//! | 48 | u64 | page of the free list; all ones: not kept |
//! | 56 | u64 | first page that was never used |
//! | 64 | u64 | transaction |
//! | 72 | u64 | FNV-1a over bytes 16 to 72 |
//!
//! A commit writes one page, in turn, so that the other is whole if it does not finish.

use crate::read_at::{ReadAt, read_up_to};
use crate::{Error, Result};

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
const HEADER: usize = 16;
const BODY: usize = 64;
const NO_FREELIST: u64 = u64::MAX;
/// Smallest page that a second meta page is looked for behind, and how often that is doubled.
const PAGE_SIZE_PROBED_MIN: u64 = 1 << 10;
const PROBES: u32 = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    pub page_size: u32,
    /// Page of the tree that names the buckets.
    pub root: u64,
    /// Absent: the file does not keep it, which is how etcd has it.
    pub freelist: Option<u64>,
    /// Pages that were ever used; page ids are below.
    pub pages: u64,
    pub transaction: u64,
}

/// The meta page of the newest commit that is whole.
pub fn newest(file: &(impl ReadAt + ?Sized)) -> Result<Meta> {
    let first = at(file, 0)?;
    let second = match &first {
        Some(meta) => at(file, u64::from(meta.page_size))?,
        None => probe(file)?,
    };
    [first, second]
        .into_iter()
        .flatten()
        .max_by_key(|meta| meta.transaction)
        .ok_or(Error::NotBbolt("neither of its first two pages is a whole meta page"))
}

/// Where the second page lies says how large pages are, if the first does not.
fn probe(file: &(impl ReadAt + ?Sized)) -> Result<Option<Meta>> {
    for double in 0..PROBES {
        let offset = PAGE_SIZE_PROBED_MIN << double;
        if let Some(meta) = at(file, offset)?.filter(|meta| u64::from(meta.page_size) == offset) {
            return Ok(Some(meta));
        }
    }
    Ok(None)
}

fn at(file: &(impl ReadAt + ?Sized), offset: u64) -> Result<Option<Meta>> {
    let mut bytes = [0; HEADER + BODY];
    let read = read_up_to(file, &mut bytes, offset)?;
    Ok((read == bytes.len()).then(|| parse(&bytes[HEADER..])).flatten())
}

fn parse(body: &[u8]) -> Option<Meta> {
    let u32_at = |at: usize| Some(u32::from_le_bytes(body.get(at..at + 4)?.try_into().ok()?));
    let u64_at = |at: usize| Some(u64::from_le_bytes(body.get(at..at + 8)?.try_into().ok()?));
    let is_whole = u32_at(0)? == MAGIC && u32_at(4)? == VERSION && u64_at(56)? == fnv(body.get(..56)?);
    let page_size = u32_at(8)?;
    // Smaller ones could not hold this page, larger ones no machine has.
    let is_usable = page_size.is_power_of_two() && (1 << 9..=1 << 25).contains(&page_size);
    let freelist = Some(u64_at(32)?).filter(|&page| page != NO_FREELIST);
    let meta = Meta { page_size, root: u64_at(16)?, freelist, pages: u64_at(40)?, transaction: u64_at(48)? };
    (is_whole && is_usable).then_some(meta)
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(meta: &Meta) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend(MAGIC.to_le_bytes());
        body.extend(VERSION.to_le_bytes());
        body.extend(meta.page_size.to_le_bytes());
        body.extend([0; 4]);
        for field in [meta.root, 0, meta.freelist.unwrap_or(NO_FREELIST), meta.pages, meta.transaction] {
            body.extend(field.to_le_bytes());
        }
        body.extend(fnv(&body).to_le_bytes());
        let mut page = vec![0; HEADER];
        page[8] = 4;
        page.extend(body);
        page.resize(meta.page_size as usize, 0);
        page
    }

    fn meta(page_size: u32, transaction: u64) -> Meta {
        Meta { page_size, root: 2, freelist: None, pages: 3, transaction }
    }

    #[test]
    fn the_newest_whole_one_counts() {
        let file = |first: &[u8], second: &[u8]| newest(&[first, second].concat()[..]);
        let (old, new) = (page(&meta(4096, 6)), page(&meta(4096, 7)));
        assert_eq!(file(&old, &new).expect("whole").transaction, 7);
        assert_eq!(file(&new, &old).expect("whole").transaction, 7);
        let mut torn = new.clone();
        torn[20] ^= 1;
        assert_eq!(file(&old, &torn).expect("one is whole").transaction, 6);
        assert_eq!(file(&torn, &old).expect("one is whole").transaction, 6);
        assert!(matches!(file(&torn, &torn), Err(Error::NotBbolt(_))));
        assert!(newest(&[][..]).is_err());
    }

    #[test]
    fn the_page_size_is_found_behind_a_torn_first_page() {
        for page_size in [1024, 4096, 16384, 65536] {
            let mut file = vec![0; page_size as usize];
            file.extend(page(&meta(page_size, 3)));
            assert_eq!(newest(&file[..]).expect("the second is whole").page_size, page_size);
        }
    }
}
