//! Records that a person gave up: where they lie, whose they were, and what is taken for them where a command that was
//! taken before needs one.
//!
//! The file `member/given-up` is text; `docs/formats/data-dir.md` has its lines. It is written whole and durably while
//! no member runs, and read when one starts.
//! Not here: which records are given up, and what happens to their keys.

use crate::fault::{Fault, Result};
use crate::record::Location;
use bytes::Bytes;
use crc32c::crc32c;
use io::{Disk, Open};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const HEADLINE: &str = "bowline given-up records";
/// What a person names fits by far.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// See the file's head.
pub type GivenUp = BTreeMap<Location, Substitute>;

/// In the place of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Substitute {
    pub key: Bytes,
    /// The payload that is taken for the one that was lost.
    pub payload: Bytes,
}

fn path_in(member: &Path) -> PathBuf {
    member.join("given-up")
}

/// Empty if there is no file.
pub fn read_given_up(disk: &dyn Disk, member: &Path) -> Result<GivenUp> {
    let path = path_in(member);
    if !disk.exists(&path).map_err(Fault::io("look for", &path))? {
        return Ok(GivenUp::new());
    }
    let file = disk.open(&path, Open::READ).map_err(Fault::io("open", &path))?;
    let length = file.len().map_err(Fault::io("open", &path))?;
    let damaged = || Fault::damaged("read", &path, 0, "not a list of given-up records");
    if length > FILE_BYTES_MAX {
        return Err(damaged());
    }
    let mut content = vec![0; length as usize];
    file.read_exact_at(&mut content, 0).map_err(Fault::io("read", &path))?;
    decode(&content).ok_or_else(damaged)
}

/// Durable, in the place of the one before; none for no records.
pub fn write_given_up(disk: &dyn Disk, member: &Path, given_up: &GivenUp) -> Result<()> {
    let path = path_in(member);
    if given_up.is_empty() {
        if disk.exists(&path).map_err(Fault::io("look for", &path))? {
            disk.remove(&path).map_err(Fault::io("remove", &path))?;
            disk.sync_dir(member).map_err(Fault::io("sync directory", member))?;
        }
        return Ok(());
    }
    let temporary = path.with_extension("tmp");
    let content = encode(given_up);
    let file = disk.open(&temporary, Open::CREATE).map_err(Fault::io("make", &temporary))?;
    file.set_len(0)
        .and_then(|()| file.write_at(content.as_bytes(), 0))
        .and_then(|()| file.sync_all())
        .map_err(Fault::io("write", &temporary))?;
    disk.replace(&temporary, &path).map_err(Fault::io("replace", &path))
}

fn encode(given_up: &GivenUp) -> String {
    let mut text = format!("{HEADLINE}\n");
    for (Location { segment, offset, length }, Substitute { key, payload }) in given_up {
        text += &format!("{segment} {offset} {length} {} {}\n", hex(key), hex(payload));
    }
    let crc = crc32c(text.as_bytes());
    text + &format!("crc {crc:08x}\n")
}

fn decode(content: &[u8]) -> Option<GivenUp> {
    let text = std::str::from_utf8(content).ok()?;
    let mut given_up = GivenUp::new();
    let mut lines = text.lines();
    if lines.next() != Some(HEADLINE) {
        return None;
    }
    for line in lines.take_while(|line| !line.starts_with("crc ")) {
        let mut words = line.split(' ');
        let mut number = || words.next()?.parse().ok();
        let location = Location { segment: number()?, offset: number()?, length: number()? };
        let mut bytes = || unhex(words.next()?);
        given_up.insert(location, Substitute { key: bytes()?, payload: bytes()? });
    }
    (encode(&given_up) == text).then_some(given_up)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Bytes> {
    let pairs = text.as_bytes().chunks(2);
    let bytes = pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    bytes.collect::<Option<Vec<u8>>>().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_list_is_read_back_and_every_flipped_bit_is_found(
            records: BTreeMap<(u32, u32, u32), (Vec<u8>, Vec<u8>)>, bit: usize,
        ) {
            let record = |((segment, offset, length), (key, payload)): (_, (Vec<u8>, Vec<u8>))| {
                (Location { segment, offset, length }, Substitute { key: key.into(), payload: payload.into() })
            };
            let given_up: GivenUp = records.into_iter().map(record).collect();
            let mut content = encode(&given_up).into_bytes();
            prop_assert_eq!(decode(&content), Some(given_up));
            let bit = bit % (content.len() * 8);
            content[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(decode(&content), None);
        }
    }
}
