//! Makes files page by page, wrong ones too.

use bbolt::{Database, Result};

pub const PAGE: usize = 4096;

/// Pages from the third on; the metas are made for them.
pub struct Builder {
    pub pages: Vec<Vec<u8>>,
    pub root: u64,
    pub freelist: Option<u64>,
}

impl Builder {
    /// The id that the next page gets.
    pub fn next(&self) -> u64 {
        2 + self.pages.iter().map(|page| (page.len() / PAGE) as u64).sum::<u64>()
    }

    pub fn new() -> Builder {
        Builder { pages: Vec::new(), root: 0, freelist: None }
    }

    pub fn leaf(&mut self, items: &[(&[u8], &[u8], bool)]) -> u64 {
        let id = self.next();
        self.push(leaf(id, items))
    }

    /// (key, child)
    pub fn branch(&mut self, children: &[(&[u8], u64)]) -> u64 {
        let id = self.next();
        let (mut elements, mut data) = (Vec::new(), Vec::new());
        for (place, (key, child)) in children.iter().enumerate() {
            let position = (children.len() - place) * 16 + data.len();
            elements.extend((position as u32).to_le_bytes());
            elements.extend((key.len() as u32).to_le_bytes());
            elements.extend(child.to_le_bytes());
            data.extend(*key);
        }
        self.push(page(id, 1, children.len() as u16, &[elements, data].concat()))
    }

    pub fn freelist(&mut self, ids: &[u64]) -> u64 {
        let id = self.next();
        let body: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        self.push(page(id, 16, ids.len() as u16, &body))
    }

    pub fn push(&mut self, page: Vec<u8>) -> u64 {
        let id = self.next();
        self.pages.push(page);
        id
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut file = Vec::new();
        for transaction in 0..2_u64 {
            let mut body = Vec::new();
            for number in [0xED0C_DAED_u32, 2, PAGE as u32, 0] {
                body.extend(number.to_le_bytes());
            }
            for number in [self.root, 0, self.freelist.unwrap_or(u64::MAX), self.next(), transaction] {
                body.extend(number.to_le_bytes());
            }
            let hash = body
                .iter()
                .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
            body.extend(hash.to_le_bytes());
            file.extend(page(transaction, 4, 0, &body));
        }
        file.extend(self.pages.iter().flatten());
        file
    }

    pub fn open(&self) -> Result<Database<Vec<u8>>> {
        Database::open(self.bytes())
    }
}

/// (key, value, is bucket)
pub fn leaf(id: u64, items: &[(&[u8], &[u8], bool)]) -> Vec<u8> {
    let (mut elements, mut data) = (Vec::new(), Vec::new());
    for (place, (key, value, is_bucket)) in items.iter().enumerate() {
        let position = (items.len() - place) * 16 + data.len();
        for number in [u32::from(*is_bucket), position as u32, key.len() as u32, value.len() as u32] {
            elements.extend(number.to_le_bytes());
        }
        data.extend([*key, *value].concat());
    }
    page(id, 2, items.len() as u16, &[elements, data].concat())
}

pub fn page(id: u64, flags: u16, count: u16, body: &[u8]) -> Vec<u8> {
    let length = (16 + body.len()).next_multiple_of(PAGE);
    let mut page = id.to_le_bytes().to_vec();
    page.extend(flags.to_le_bytes());
    page.extend(count.to_le_bytes());
    page.extend(((length / PAGE - 1) as u32).to_le_bytes());
    page.extend(body);
    page.resize(length, 0);
    page
}

/// The value that names a bucket.
pub fn bucket_at(page: u64) -> Vec<u8> {
    [page.to_le_bytes(), [0; 8]].concat()
}

/// The value of a bucket that lies in it.
pub fn bucket_inside(page: &[u8]) -> Vec<u8> {
    [&[0; 16], page].concat()
}
