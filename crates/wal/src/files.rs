//! Names, sizes and space of the log's files.

use crate::fault::{Fault, Result};
use io::{Disk, File};
use std::path::{Path, PathBuf};

/// Space of the first segment; each later one has four times as much, up to the configured size. A fresh start waits
/// for the first one to be written.
pub(crate) const FIRST_SEGMENT_BYTES: u64 = 1 << 20;

/// Space of a segment on a disk that is nearly full.
pub(crate) const SMALL_SEGMENT_BYTES: u64 = 1 << 20;
/// A segment is made smaller until it takes no more than this part of the space that is free.
const FREE_SPACE_DIVISOR: u64 = 4;

pub(crate) const FIRST_TEMPORARY: &str = "first.tmp";
pub(crate) const NEXT_TEMPORARY: &str = "next.tmp";
pub(crate) const SPARE_TEMPORARY: &str = "spare.tmp";
pub(crate) const TEMPORARIES: [&str; 3] = [FIRST_TEMPORARY, NEXT_TEMPORARY, SPARE_TEMPORARY];

/// What a name in the log's directory stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    Segment(u64),
    Spare(u64),
    Temporary,
    Foreign,
}

pub(crate) fn parse(name: &str) -> Name {
    if let Some(sequence) = name.strip_suffix(".wal").and_then(number) {
        Name::Segment(sequence)
    } else if let Some(spare) = name.strip_prefix("spare-").and_then(number) {
        Name::Spare(spare)
    } else if TEMPORARIES.contains(&name) {
        Name::Temporary
    } else {
        Name::Foreign
    }
}

fn number(digits: &str) -> Option<u64> {
    let canonical = digits.len() == 16 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if canonical { u64::from_str_radix(digits, 16).ok() } else { None }
}

pub(crate) fn segment_path(directory: &Path, sequence: u64) -> PathBuf {
    directory.join(segment_name(sequence))
}

pub(crate) fn segment_name(sequence: u64) -> String {
    format!("{sequence:016x}.wal")
}

/// A real etcd's: sequence and index.
pub(crate) fn is_etcds(name: &str) -> bool {
    let numbers = name.strip_suffix(".wal").and_then(|name| name.split_once('-'));
    numbers.is_some_and(|(sequence, index)| number(sequence).is_some() && number(index).is_some())
}

pub(crate) fn spare_path(directory: &Path, spare: u64) -> PathBuf {
    directory.join(format!("spare-{spare:016x}"))
}

/// Bytes of segment `sequence` (from 1) when full segments have `segment_bytes`.
pub(crate) fn segment_bytes(sequence: u64, segment_bytes: u64) -> u64 {
    let steps = u32::try_from(sequence - 1).unwrap_or(u32::MAX);
    let grown = 4u64.checked_pow(steps).and_then(|factor| factor.checked_mul(FIRST_SEGMENT_BYTES));
    grown.unwrap_or(u64::MAX).min(segment_bytes)
}

/// Bytes of a segment that is planned to have `planned`, on a disk of which `free_bytes` are free.
pub(crate) fn fitting_bytes(planned: u64, free_bytes: u64) -> u64 {
    let mut bytes = planned;
    while bytes > SMALL_SEGMENT_BYTES && bytes > free_bytes / FREE_SPACE_DIVISOR {
        bytes = (bytes / 4).max(SMALL_SEGMENT_BYTES);
    }
    bytes
}

/// Empties `file` and reserves `bytes` for it. A full disk shows here, and then nothing is left behind.
pub(crate) fn reserve(disk: &dyn Disk, file: &dyn File, path: &Path, bytes: u64) -> Result<()> {
    let reserved = file.set_len(0).and_then(|()| file.allocate(0, bytes));
    reserved.map_err(|error| {
        // If this fails too, the next attempt empties the file.
        let _ = disk.remove(path);
        Fault::io("reserve space for", path)(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_are_left_alone() {
        let directory = Path::new("wal");
        let name = |path: PathBuf| path.file_name().and_then(|name| name.to_str()).map(str::to_string);
        assert_eq!(name(segment_path(directory, 26)).as_deref().map(parse), Some(Name::Segment(26)));
        assert_eq!(name(spare_path(directory, 3)).as_deref().map(parse), Some(Name::Spare(3)));
        assert_eq!(parse("spare.tmp"), Name::Temporary);
        let etcds = "0000000000000000-0000000000000000.wal";
        assert!(is_etcds(etcds) && parse(etcds) == Name::Foreign && !is_etcds("0000000000000001.wal"));
        for foreign in
            ["", "1.wal", "00000000000000AB.wal", "+000000000000001.wal", "0000000000000001.wal~", "lost+found"]
        {
            assert_eq!(parse(foreign), Name::Foreign, "{foreign}");
        }
    }

    #[test]
    fn segments_grow_to_their_size() {
        let sizes: Vec<u64> = (1..6).map(|sequence| segment_bytes(sequence, 64 << 20) >> 20).collect();
        assert_eq!(sizes, [1, 4, 16, 64, 64]);
        assert_eq!(segment_bytes(u64::MAX, 1 << 20), 1 << 20);
        assert_eq!(segment_bytes(1, 4096), 4096);
    }

    #[test]
    fn segments_are_smaller_where_little_is_free_and_never_useless() {
        let of = |planned: u64, free: u64| fitting_bytes(planned << 20, free << 20) >> 20;
        assert_eq!((of(64, 1000), of(64, 256), of(64, 255), of(64, 60)), (64, 64, 16, 4));
        assert_eq!((of(64, 4), of(64, 0), of(1, 0), of(2, 0)), (1, 1, 1, 1));
        assert_eq!(fitting_bytes(4096, 0), 4096);
    }
}
