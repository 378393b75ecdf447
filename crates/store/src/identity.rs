//! The identity file: whose data a directory holds, and with which raft log. `docs/formats/data-dir.md` has its lines.

use crate::fault::{Fault, Result};
use crc32c::crc32c;
use io::{Disk, Open};
use std::io::ErrorKind;
use std::path::Path;

/// The number of this release's layout of the whole directory.
const FORMAT: u32 = 2;
/// Without a line for the log.
const FORMAT_UNNAMED: u32 = 1;
const HEADLINE: &str = "bowline data directory";
/// Read of an identity file.
const IDENTITY_BYTES_MAX: usize = 256;

/// Whose data a directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub cluster: u64,
    pub member: u64,
}

/// What the identity says of the member's raft log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// There is no identity: the directory is new.
    New,
    /// The first start did not end: nothing was acknowledged yet.
    Unfinished,
    /// The one of that number, with a mark of how far it was synced.
    Named(u64),
    /// Some log: a release before format 2 wrote the identity, perhaps in a first start that did not end.
    Unnamed,
}

/// All that the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IdentityFile {
    pub(crate) identity: Identity,
    pub(crate) log: Log,
}

pub(crate) fn write(disk: &dyn Disk, path: &Path, file: &IdentityFile) -> Result<()> {
    let temporary = path.with_extension("tmp");
    let content = encode(file);
    assert!(content.len() <= IDENTITY_BYTES_MAX, "an identity that is written can be read");
    let file = disk.open(&temporary, Open::CREATE).map_err(Fault::io("make", &temporary))?;
    file.set_len(0)
        .and_then(|()| file.write_at(content.as_bytes(), 0))
        .and_then(|()| file.sync_all())
        .map_err(Fault::io("write", &temporary))?;
    disk.replace(&temporary, path).map_err(Fault::io("replace", path))
}

fn encode(file: &IdentityFile) -> String {
    let IdentityFile { identity: Identity { cluster, member }, log } = file;
    let (format, log) = match log {
        Log::Named(id) => (FORMAT, format!("log {id:016x}\n")),
        Log::New | Log::Unfinished => (FORMAT, "log none\n".to_owned()),
        Log::Unnamed => (FORMAT_UNNAMED, String::new()),
    };
    let lines = format!("{HEADLINE}\nformat {format}\ncluster {cluster:016x}\nmember {member:016x}\n{log}");
    format!("{lines}crc {:08x}\n", crc32c(lines.as_bytes()))
}

/// `None` if there is none.
pub(crate) fn read(disk: &dyn Disk, path: &Path) -> Result<Option<IdentityFile>> {
    let file = match disk.open(path, Open::READ) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound) => return Ok(None),
        opened => opened.map_err(Fault::io("open", path))?,
    };
    let mut content = [0; IDENTITY_BYTES_MAX];
    let read = file.read_at(&mut content, 0).map_err(Fault::io("read", path))?;
    let damaged = || Fault::damaged("read", path, 0, "not an identity file");
    let text = content.get(..read).and_then(|content| std::str::from_utf8(content).ok()).ok_or_else(damaged)?;
    let mut lines = text.lines();
    if lines.next() != Some(HEADLINE) {
        return Err(damaged());
    }
    let mut field = |name: &str| lines.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let format: u32 = field("format").and_then(|value| value.parse().ok()).ok_or_else(damaged)?;
    if format > FORMAT {
        let why = format!("it has format {format}, this release knows formats up to {FORMAT}; use a newer release");
        return Err(Fault::refused("open data directory of", path, why));
    }
    let number = |value: &str| u64::from_str_radix(value, 16).ok();
    let cluster = field("cluster").and_then(number).ok_or_else(damaged)?;
    let member = field("member").and_then(number).ok_or_else(damaged)?;
    let log = if format == FORMAT_UNNAMED {
        Log::Unnamed
    } else {
        match field("log").ok_or_else(damaged)? {
            "none" => Log::Unfinished,
            named => Log::Named(number(named).ok_or_else(damaged)?),
        }
    };
    let file = IdentityFile { identity: Identity { cluster, member }, log };
    if encode(&file) == text { Ok(Some(file)) } else { Err(damaged()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use io::OsDisk;

    const OURS: Identity = Identity { cluster: 0xcdf8_1819_4e3a_8c32, member: 0x8e9e_05c5_2164_694d };

    #[test]
    fn an_identity_is_read_back_and_every_flipped_bit_is_found() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = directory.path().join("identity");
        assert_eq!(read(&OsDisk, &path).expect("there is none"), None);
        for log in [Log::Unfinished, Log::Named(7), Log::Unnamed] {
            let file = IdentityFile { identity: OURS, log };
            write(&OsDisk, &path, &file).expect("it is written");
            assert_eq!(read(&OsDisk, &path).expect("it is whole"), Some(file));
            let whole = encode(&file).into_bytes();
            for bit in 0..whole.len() * 8 {
                let mut flipped = whole.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                std::fs::write(&path, &flipped).expect("a file can be written");
                assert!(read(&OsDisk, &path).is_err(), "{log:?} bit {bit}");
            }
        }
    }

    #[test]
    fn a_newer_format_is_refused() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = directory.path().join("identity");
        std::fs::write(&path, format!("{HEADLINE}\nformat 9\n")).expect("a file is written");
        let refused = read(&OsDisk, &path).expect_err("a newer format").to_string();
        assert!(refused.contains("it has format 9"), "{refused}");
    }
}
