//! The mark: how far the log was synced, in a file outside of its directory, so that what is missing at the log's end
//! can be told from what was never written. The bytes are described in `docs/formats/wal.md`.
//!
//! Invariants: a mark is written only after what it names is durable, so a log that does not reach it has lost
//! something. It may be old, which proves less and harms nothing: so a mark that cannot be written stops nobody.
//! Three slots, each in a block of its own: one is synced when a segment begins and when the log is opened and closed,
//! the others are written in turn behind each group without a sync.

use crate::fault::{Fault, Result};
use crate::format::{u32_at, u64_at};
use io::{BLOCK_BYTES, Disk, File, Open};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"bowlmark";
const VERSION: u32 = 1;
const MARK_BYTES: usize = 64;
const SLOTS: u64 = 3;
/// The slot that is synced.
const SYNCED: u64 = 0;
/// An operator who takes a log as it ends writes this instead.
const ACCEPT: &[u8] = b"accept";

const _: () = assert!(MARK_BYTES <= 512, "a mark lies in one sector, so that a torn write leaves it whole");

/// An end of the log that was durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub log_id: u64,
    pub sequence: u64,
    /// Offset in that segment.
    pub end: u64,
    /// CRC of the last record before `end`, or of the segment's header.
    pub link: u32,
    /// Index of the last entry before `end`.
    pub index: u64,
}

/// What is found where a mark should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FoundMark {
    Missing,
    /// By an operator's word the log is taken as it ends.
    Accepted,
    /// The newest one, and its number.
    At(Mark, u64),
}

impl FoundMark {
    pub fn mark(&self) -> Option<Mark> {
        match self {
            FoundMark::At(mark, _) => Some(*mark),
            FoundMark::Missing | FoundMark::Accepted => None,
        }
    }
}

impl Mark {
    fn encode(&self, number: u64) -> [u8; MARK_BYTES] {
        let mut out = [0; MARK_BYTES];
        out[..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        for (field, at) in [number, self.log_id, self.sequence, self.end, self.index].iter().zip((16..).step_by(8)) {
            out[at..at + 8].copy_from_slice(&field.to_le_bytes());
        }
        out[56..60].copy_from_slice(&self.link.to_le_bytes());
        let crc = mark_crc(&out);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The mark and its number.
    fn decode(bytes: &[u8; MARK_BYTES]) -> Option<(Mark, u64)> {
        let is_known = &bytes[..8] == MAGIC && u32_at(bytes, 8) == VERSION;
        if !is_known || u32_at(bytes, 12) != mark_crc(bytes) || bytes[60..] != [0; 4] {
            return None;
        }
        let mark = Mark {
            log_id: u64_at(bytes, 24),
            sequence: u64_at(bytes, 32),
            end: u64_at(bytes, 40),
            index: u64_at(bytes, 48),
            link: u32_at(bytes, 56),
        };
        Some((mark, u64_at(bytes, 16)))
    }
}

fn mark_crc(bytes: &[u8; MARK_BYTES]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..])
}

/// The newest mark in the file. Refuses a file without one.
pub(crate) fn read(disk: &dyn Disk, path: &Path) -> Result<FoundMark> {
    let file = match disk.open(path, Open::READ) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(FoundMark::Missing),
        opened => opened.map_err(Fault::io("open", path))?,
    };
    let mut newest: Option<(Mark, u64)> = None;
    for slot in 0..SLOTS {
        let mut bytes = [0; MARK_BYTES];
        let read = file.read_at(&mut bytes, slot * BLOCK_BYTES as u64).map_err(Fault::io("read", path))?;
        if slot == SYNCED && bytes[..read].trim_ascii() == ACCEPT {
            return Ok(FoundMark::Accepted);
        }
        if let Some((mark, number)) = Mark::decode(&bytes)
            && newest.is_none_or(|(_, newest)| number > newest)
        {
            newest = Some((mark, number));
        }
    }
    newest.map(|(mark, number)| FoundMark::At(mark, number)).ok_or_else(|| unusable(path, "it is damaged"))
}

/// Without a mark nothing says how far the log was synced.
pub(crate) fn unusable(path: &Path, what: &str) -> Fault {
    let why = format!(
        "{what}, so nothing shows that the raft log is complete; restore the file, or, if you know that the log is, write the \
         word 'accept' into it: then the log is taken as it ends"
    );
    Fault::refused("read how far the log was synced from", path, why)
}

/// The file, open for writing.
pub(crate) struct MarkFile {
    file: Arc<dyn File>,
    number: u64,
}

impl MarkFile {
    /// Makes `mark` durable in `found`'s file, or in a new one.
    pub fn begin(disk: &dyn Disk, path: &Path, found: FoundMark, mark: Mark) -> Result<MarkFile> {
        let FoundMark::At(_, number) = found else { return MarkFile::make(disk, path, mark) };
        let file = disk.open(path, Open::READ_WRITE).map_err(Fault::io("open", path))?;
        let mut opened = MarkFile { file, number };
        opened.sync(mark).map_err(Fault::io("write", path))?;
        Ok(opened)
    }

    fn make(disk: &dyn Disk, path: &Path, mark: Mark) -> Result<MarkFile> {
        let temporary: PathBuf = path.with_extension("tmp");
        let mut bytes = vec![0; SLOTS as usize * BLOCK_BYTES];
        bytes[..MARK_BYTES].copy_from_slice(&mark.encode(1));
        let file = disk.open(&temporary, Open::CREATE).map_err(Fault::io("create", &temporary))?;
        let written = file.set_len(0).and_then(|()| file.write_at(&bytes, 0)).and_then(|()| file.sync_all());
        written.map_err(Fault::io("write", &temporary))?;
        disk.replace(&temporary, path).map_err(Fault::io("rename", &temporary))?;
        Ok(MarkFile { file, number: 1 })
    }

    /// Without waiting for the disk: a crash of the process keeps it, a loss of power may not.
    pub fn write(&mut self, mark: Mark) -> std::io::Result<()> {
        self.put(1 + self.number % (SLOTS - 1), mark)
    }

    pub fn sync(&mut self, mark: Mark) -> std::io::Result<()> {
        self.put(SYNCED, mark)?;
        self.file.sync_data()
    }

    fn put(&mut self, slot: u64, mark: Mark) -> std::io::Result<()> {
        self.number += 1;
        self.file.write_at(&mark.encode(self.number), slot * BLOCK_BYTES as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simdisk::SimDisk;

    const MARK: Mark = Mark { log_id: 1, sequence: 2, end: 3, link: 4, index: 5 };

    #[test]
    fn a_mark_is_read_back_and_every_flipped_bit_is_noticed() {
        let mut bytes = MARK.encode(9);
        assert_eq!(Mark::decode(&bytes), Some((MARK, 9)));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Mark::decode(&bytes), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn the_newest_mark_counts_and_one_damaged_slot_leaves_the_others() {
        let disk = SimDisk::new();
        let path = Path::new("/d/mark");
        assert_eq!(read(&disk, path).expect("nothing fails"), FoundMark::Missing);
        let at = |end| Mark { end, ..MARK };
        let mut file = MarkFile::begin(&disk, path, FoundMark::Missing, at(1)).expect("nothing fails");
        for end in 2..9 {
            if end == 5 { file.sync(at(end)) } else { file.write(at(end)) }.expect("nothing fails");
            let found = read(&disk, path).expect("nothing fails");
            assert_eq!(found, FoundMark::At(at(end), end));
        }
        let again = MarkFile::begin(&disk, path, FoundMark::At(at(8), 8), at(9)).expect("nothing fails");
        drop(again);
        for (slot, newest) in [(3, 9), (0, 8), (1, 7), (2, 0)] {
            disk.damage(path, |bytes| {
                if let Some(byte) = bytes.get_mut(slot * BLOCK_BYTES + 20) {
                    *byte ^= 1;
                }
            });
            let found = read(&disk, path);
            match newest {
                0 => {
                    assert!(found.expect_err("no slot is left").to_string().contains("write the word 'accept' into it"))
                }
                // The two that are written in turn hold the two before the synced one, in either order.
                8 | 7 => assert!(found.expect("a slot is left").mark().is_some_and(|mark| mark.end < 9)),
                _ => assert_eq!(found.expect("a slot is left").mark(), Some(at(newest))),
            }
        }
        disk.damage(path, |bytes| *bytes = b"accept\n".to_vec());
        assert_eq!(read(&disk, path).expect("a word"), FoundMark::Accepted);
    }
}
