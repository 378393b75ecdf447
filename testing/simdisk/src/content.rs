//! The bytes of a file, in pages that copies share. Pages of zeros take no memory: logs and stores write and reserve
//! many of them ahead of need, and a simulation copies whole disks.

use std::sync::Arc;

const PAGE_BYTES: usize = 4096;

static ZEROS: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

/// Invariant: what lies behind the length in the last page is zero.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    /// `None`: zeros.
    pages: Vec<Option<Arc<[u8; PAGE_BYTES]>>>,
    length: usize,
}

impl Content {
    pub(crate) fn new(data: &[u8]) -> Content {
        let mut content = Content::default();
        content.write(0, data);
        content
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// What grows is zero.
    pub(crate) fn resize(&mut self, length: usize) {
        let cut_at = length % PAGE_BYTES;
        if length < self.length
            && cut_at > 0
            && let Some(Some(page)) = self.pages.get_mut(length / PAGE_BYTES)
        {
            Arc::make_mut(page)[cut_at..].fill(0);
        }
        self.pages.resize(length.div_ceil(PAGE_BYTES), None);
        self.length = length;
    }

    pub(crate) fn write(&mut self, offset: usize, data: &[u8]) {
        if self.length < offset + data.len() {
            self.resize(offset + data.len());
        }
        let mut written = 0;
        while written < data.len() {
            let at = offset + written;
            let start = at % PAGE_BYTES;
            let piece = &data[written..data.len().min(written + PAGE_BYTES - start)];
            self.write_page(at / PAGE_BYTES, start, piece);
            written += piece.len();
        }
    }

    fn write_page(&mut self, page: usize, start: usize, piece: &[u8]) {
        let page = &mut self.pages[page];
        if *piece == ZEROS[..piece.len()] && (page.is_none() || piece.len() == PAGE_BYTES) {
            *page = None;
            return;
        }
        let bytes = page.get_or_insert_with(|| Arc::new([0; PAGE_BYTES]));
        Arc::make_mut(bytes)[start..start + piece.len()].copy_from_slice(piece);
    }

    /// A copy of a part.
    pub(crate) fn part(&self, part: std::ops::Range<usize>) -> Content {
        let mut copy = Content::default();
        copy.write_part(0, self, part);
        copy
    }

    /// Writes a part of another content at `offset`.
    pub(crate) fn write_part(&mut self, offset: usize, from: &Content, part: std::ops::Range<usize>) {
        let mut at = part.start;
        while at < part.end {
            let start = at % PAGE_BYTES;
            let bytes = (PAGE_BYTES - start).min(part.end - at);
            let page = from.pages[at / PAGE_BYTES].as_deref().unwrap_or(&ZEROS);
            self.write(offset + at - part.start, &page[start..start + bytes]);
            at += bytes;
        }
    }

    /// Fills the buffer as far as there is something. Returns how much was read.
    pub(crate) fn read(&self, offset: usize, buffer: &mut [u8]) -> usize {
        let bytes = buffer.len().min(self.length.saturating_sub(offset));
        let mut read = 0;
        while read < bytes {
            let at = offset + read;
            let start = at % PAGE_BYTES;
            let piece = (PAGE_BYTES - start).min(bytes - read);
            let page = self.pages[at / PAGE_BYTES].as_deref().unwrap_or(&ZEROS);
            buffer[read..read + piece].copy_from_slice(&page[start..start + piece]);
            read += piece;
        }
        bytes
    }

    pub(crate) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.length];
        self.read(0, &mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    #[test]
    fn it_is_as_a_vector_would_be() {
        let mut random = Random::new(1);
        let (mut content, mut model) = (Content::default(), Vec::new());
        for round in 0..2_000u32 {
            let (offset, length) = (random.below(20_000) as usize, random.below(10_000) as usize);
            match random.below(8) {
                0 => {
                    content.resize(offset);
                    model.resize(offset, 0);
                }
                kind => {
                    let byte = if kind == 1 { 0 } else { round as u8 };
                    let data = vec![byte; length];
                    content.write(offset, &data);
                    model.resize(model.len().max(offset + length), 0);
                    model[offset..offset + length].copy_from_slice(&data);
                }
            }
            let mut copy = Content::default();
            copy.write_part(3, &content, 0..content.len());
            assert_eq!(copy.to_vec().get(3..).unwrap_or_default(), model);
            assert_eq!(content.to_vec(), model);
            let mut piece = [0xff; 100];
            let read = content.read(offset, &mut piece);
            assert_eq!(piece[..read], model[offset.min(model.len())..(offset + 100).min(model.len())]);
        }
    }
}
