//! The end of the active segment in memory, as a disk without a page cache takes it: in whole blocks, aligned to
//! blocks.
//!
//! ```text
//! file     … durable │ durable ┆ records …    │ … records ┆         │
//! bytes       unused │ kept    ┆ records                  ┆ zeros, while they are written
//!                    └ start: a block of the file begins here, and a block of memory whenever it is written
//! ```
//! Invariants: the first block holds what is durable of it, so that it can be written again whole. Alignment needs no
//! unsafe code: when the vector has moved, its content is moved within it.

use io::BLOCK_BYTES;

/// A buffer that a big group has grown is given back.
const BYTES_KEPT: usize = 4 << 20;

#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    /// Bytes of the first block that are durable.
    kept: usize,
}

/// Where the block begins that `offset` lies in.
pub(crate) fn block_start(offset: u64) -> u64 {
    offset - offset % BLOCK_BYTES as u64
}

impl Buffer {
    /// What is not durable.
    pub(crate) fn records(&self) -> &[u8] {
        &self.bytes[self.start + self.kept..]
    }

    /// To append to.
    pub(crate) fn end(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Makes room for `bytes` more, so that a large group is not moved while it is made or before it is written.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        // Up to a block before the start, and up to one behind the end.
        self.bytes.reserve(bytes + 2 * BLOCK_BYTES);
        self.align();
    }

    /// Goes on at the start of a file. What the buffer held is forgotten.
    pub(crate) fn begin_file(&mut self) {
        self.bytes.truncate(self.start);
        self.kept = 0;
    }

    /// Gives `write` the records, in whole blocks and with their place in the file, where what is durable ends at
    /// `durable_end`. Blocks that lie in the first `skipped` bytes of the records are left out.
    pub(crate) fn write<R>(&mut self, durable_end: u64, skipped: usize, write: impl FnOnce(&[u8], u64) -> R) -> R {
        assert_eq!(
            durable_end % BLOCK_BYTES as u64,
            self.kept as u64,
            "the first block is kept as far as it is durable"
        );
        self.reserve(0);
        let end = self.bytes.len();
        let length = (end - self.start).next_multiple_of(BLOCK_BYTES);
        let skipped = block_start((self.kept + skipped) as u64) as usize;
        self.bytes.resize(self.start + length, 0);
        let result = write(&self.bytes[self.start + skipped..], block_start(durable_end) + skipped as u64);
        self.bytes.truncate(end);
        result
    }

    /// Everything is durable: only the last block is kept, if it is not full.
    pub(crate) fn settle(&mut self) {
        let length = self.bytes.len() - self.start;
        self.kept = length % BLOCK_BYTES;
        self.bytes.copy_within(self.start + length - self.kept.., self.start);
        self.bytes.truncate(self.start + self.kept);
        self.bytes.shrink_to(BYTES_KEPT);
    }

    fn align(&mut self) {
        let address = self.bytes.as_ptr().addr();
        let start = address.next_multiple_of(BLOCK_BYTES) - address;
        let (old, length) = (self.start, self.bytes.len() - self.start);
        if start == old {
            return;
        }
        // Within what `reserve` has made room for.
        self.bytes.resize(old.max(start) + length, 0);
        self.bytes.copy_within(old..old + length, start);
        self.bytes.truncate(start + length);
        self.start = start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Writes the buffer into `file`, as it is to be written.
    fn write(buffer: &mut Buffer, file: &mut Vec<u8>, durable_end: u64, skipped: usize) {
        buffer.write(durable_end, skipped, |blocks, at| {
            let numbers = [blocks.as_ptr().addr(), blocks.len(), at as usize];
            assert!(numbers.iter().all(|number| number.is_multiple_of(BLOCK_BYTES)), "{numbers:?}");
            file.resize(file.len().max(at as usize + blocks.len()), 0xee);
            file[at as usize..at as usize + blocks.len()].copy_from_slice(blocks);
        });
    }

    proptest! {
        #[test]
        fn the_file_holds_what_was_appended_and_zeros(groups in prop::collection::vec((0..9000_usize, any::<[bool; 3]>()), 1..20)) {
            let mut buffer = Buffer::default();
            let (mut file, mut expected, mut durable_end) = (Vec::new(), Vec::new(), 0);
            for (number, (length, [reserves, writes, settles])) in groups.into_iter().enumerate() {
                if reserves {
                    buffer.reserve(length);
                }
                let record = vec![number as u8 + 1; length];
                buffer.end().extend_from_slice(&record);
                let written = buffer.records().len() - length;
                expected.extend(record);
                prop_assert_eq!(buffer.records(), &expected[durable_end..]);
                if writes {
                    write(&mut buffer, &mut file, durable_end as u64, 0);
                    buffer.end().push(7);
                    expected.push(7);
                    write(&mut buffer, &mut file, durable_end as u64, written + length);
                } else {
                    write(&mut buffer, &mut file, durable_end as u64, 0);
                }
                prop_assert_eq!(&file[..expected.len()], &expected);
                prop_assert!(file[expected.len()..].iter().all(|&byte| byte == 0));
                if settles {
                    buffer.settle();
                    durable_end = expected.len();
                }
            }
        }
    }

    #[test]
    fn a_big_group_is_given_back_and_a_new_file_starts_empty() {
        let mut buffer = Buffer::default();
        buffer.end().resize(9 << 20, 1);
        buffer.end().push(2);
        buffer.write(0, 0, |blocks, _| assert_eq!(blocks.len(), (9 << 20) + BLOCK_BYTES));
        buffer.settle();
        assert!(buffer.bytes.capacity() <= BYTES_KEPT);
        assert_eq!((buffer.records().len(), buffer.kept), (0, 1));
        buffer.begin_file();
        buffer.end().push(3);
        buffer.write(0, 0, |blocks, at| assert_eq!((blocks[..2].to_vec(), at), (vec![3, 0], 0)));
    }
}
