//! The data directory: one process at a time, and only with the identity it was made with.
//!
//! `member/` holds everything, as etcd's does: `lock`, `identity`, `store/`, `wal/`. The identity file is text, so that
//! a person can read it; `docs/formats/data-dir.md` has its lines.

use crate::fault::{Fault, Result};
use crc32c::crc32c;
use io::{Disk, LockGuard, Open};
use std::path::{Path, PathBuf};

/// The number of this release's layout of the whole directory.
const FORMAT: u32 = 1;
const HEADLINE: &str = "bowline data directory";

/// Whose data a directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub cluster: u64,
    pub member: u64,
}

/// An open, locked directory; the lock is held until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    member: PathBuf,
    /// True if the directory was made just now.
    pub is_new: bool,
    /// Permission bits that let others in, if any: worth a warning.
    pub loose_mode: Option<u32>,
    identity: Identity,
    _lock: LockGuard,
}

impl DataDir {
    /// Opens the directory, making it if it is missing. A new one takes `identity`; an existing one keeps its own.
    /// Refuses a directory that another process uses, a real etcd's, and one of a newer format.
    pub fn open(disk: &dyn Disk, path: &Path, identity: Identity) -> Result<DataDir> {
        const OPEN: &str = "open data directory";
        let member = path.join("member");
        disk.create_dir(&member).map_err(Fault::io(OPEN, path))?;
        let mode = disk.mode(path).map_err(Fault::io(OPEN, path))?;
        let etcd = member.join("snap").join("db");
        if disk.exists(&etcd).map_err(Fault::io(OPEN, path))? {
            let why =
                "it holds the data of a real etcd; take a snapshot of it with etcdctl and choose another directory";
            return Err(Fault::refused(OPEN, path, why));
        }
        let lock_path = member.join("lock");
        let lock = disk.lock(&lock_path).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => {
                Fault::refused(OPEN, path, "another process uses it; stop that one or choose another directory")
            }
            _ => Fault::io("lock", &lock_path)(error),
        })?;
        let identity_path = member.join("identity");
        let is_new = !disk.exists(&identity_path).map_err(Fault::io(OPEN, path))?;
        let identity = if is_new {
            refuse_data_without_identity(disk, &member, &identity_path)?;
            write_identity(disk, &identity_path, identity)?;
            sync_parents(disk, path)?;
            identity
        } else {
            read_identity(disk, &identity_path)?
        };
        let loose_mode = (mode & 0o077 != 0).then_some(mode);
        Ok(DataDir { member, is_new, loose_mode, identity, _lock: lock })
    }

    pub fn identity(&self) -> Identity {
        self.identity
    }

    pub fn store_dir(&self) -> PathBuf {
        self.member.join("store")
    }

    pub fn wal_dir(&self) -> PathBuf {
        self.member.join("wal")
    }
}

/// The identity is the first file of a directory, so data without one is not a start that ended half-way: a new
/// identity would make it another member's.
fn refuse_data_without_identity(disk: &dyn Disk, member: &Path, identity: &Path) -> Result<()> {
    for name in ["store", "wal"] {
        let path = member.join(name);
        let exists = disk.exists(&path).map_err(Fault::io("look for", &path))?;
        if exists && !disk.list(&path).map_err(Fault::io("list", &path))?.is_empty() {
            let why = format!(
                "it is missing, but {} holds data; put it back, restore the data directory from a backup, or choose an empty \
                 directory",
                path.display()
            );
            return Err(Fault::refused("read", identity, why));
        }
    }
    Ok(())
}

/// The directories made by the first start are durable before anything is acknowledged in them.
fn sync_parents(disk: &dyn Disk, path: &Path) -> Result<()> {
    disk.sync_dir(path).map_err(Fault::io("sync directory", path))?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => {
            disk.sync_dir(parent).map_err(Fault::io("sync directory", parent))
        }
        _ => disk.sync_dir(Path::new(".")).map_err(Fault::io("sync directory", Path::new("."))),
    }
}

/// Read of an identity file.
const IDENTITY_BYTES_MAX: usize = 256;

fn write_identity(disk: &dyn Disk, path: &Path, identity: Identity) -> Result<()> {
    let temporary = path.with_extension("tmp");
    let content = encode(identity);
    assert!(content.len() <= IDENTITY_BYTES_MAX, "an identity that is written can be read");
    let file = disk.open(&temporary, Open::CREATE).map_err(Fault::io("make", &temporary))?;
    file.set_len(0)
        .and_then(|()| file.write_at(content.as_bytes(), 0))
        .and_then(|()| file.sync_all())
        .map_err(Fault::io("write", &temporary))?;
    disk.replace(&temporary, path).map_err(Fault::io("replace", path))
}

fn encode(identity: Identity) -> String {
    let lines =
        format!("{HEADLINE}\nformat {FORMAT}\ncluster {:016x}\nmember {:016x}\n", identity.cluster, identity.member);
    format!("{lines}crc {:08x}\n", crc32c(lines.as_bytes()))
}

fn read_identity(disk: &dyn Disk, path: &Path) -> Result<Identity> {
    let file = disk.open(path, Open::READ).map_err(Fault::io("open", path))?;
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
    let mut number = |name: &str| field(name).and_then(|value| u64::from_str_radix(value, 16).ok());
    let (cluster, member) = (number("cluster").ok_or_else(damaged)?, number("member").ok_or_else(damaged)?);
    let identity = Identity { cluster, member };
    if encode(identity) != text { Err(damaged()) } else { Ok(identity) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use io::OsDisk;

    const OURS: Identity = Identity { cluster: 0xcdf8_1819_4e3a_8c32, member: 0x8e9e_05c5_2164_694d };

    #[test]
    fn a_directory_keeps_its_identity_and_one_process() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = directory.path().join("one.etcd");
        let first = DataDir::open(&OsDisk, &path, OURS).expect("a new directory opens");
        assert!(first.is_new && first.loose_mode.is_none());
        let second = DataDir::open(&OsDisk, &path, OURS).expect_err("it is locked").to_string();
        assert!(second.ends_with("another process uses it; stop that one or choose another directory"), "{second}");
        drop(first);
        let again = DataDir::open(&OsDisk, &path, Identity { cluster: 1, member: 2 }).expect("it opens again");
        assert_eq!((again.is_new, again.identity()), (false, OURS));
    }

    #[test]
    fn a_real_etcds_directory_and_a_newer_format_are_refused() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let (etcd, newer) = (directory.path().join("etcd"), directory.path().join("newer"));
        std::fs::create_dir_all(etcd.join("member/snap")).expect("directories can be made");
        std::fs::write(etcd.join("member/snap/db"), b"bolt").expect("a file can be written");
        let refused = DataDir::open(&OsDisk, &etcd, OURS).expect_err("a real etcd's").to_string();
        assert!(refused.contains("data of a real etcd"), "{refused}");
        std::fs::create_dir_all(newer.join("member")).expect("directories can be made");
        std::fs::write(newer.join("member/identity"), format!("{HEADLINE}\nformat 9\n")).expect("a file is written");
        let refused = DataDir::open(&OsDisk, &newer, OURS).expect_err("a newer format").to_string();
        assert!(refused.contains("it has format 9"), "{refused}");
    }

    #[test]
    fn data_without_an_identity_is_refused_and_left_alone() {
        for part in ["store", "wal"] {
            let directory = tempfile::tempdir().expect("a temporary directory can be made");
            let member = directory.path().join("member");
            std::fs::create_dir_all(member.join(part)).expect("directories can be made");
            drop(DataDir::open(&OsDisk, directory.path(), OURS).expect("empty directories are no data"));
            std::fs::remove_file(member.join("identity")).expect("it was made");
            std::fs::write(member.join(part).join("manifest"), b"data").expect("a file can be written");
            let refused = DataDir::open(&OsDisk, directory.path(), OURS).expect_err("data").to_string();
            assert!(refused.contains("member/identity: it is missing, but "), "{refused}");
            assert!(refused.contains(&format!("member/{part} holds data; put it back")), "{refused}");
            assert!(!member.join("identity").exists());
        }
    }

    /// CVE-2020-15113: a directory that was open to others was used without a word.
    #[test]
    fn r101_a_directory_is_private_and_an_open_one_is_told_of() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = directory.path().join("one.etcd");
        let opened = DataDir::open(&OsDisk, &path, OURS).expect("it is new");
        assert_eq!(opened.loose_mode, None);
        let mode = |path: &Path| std::fs::metadata(path).expect("it was made").permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join("member"))), (0o700, 0o700));
        assert_eq!(mode(&path.join("member").join("identity")), 0o600);
        drop(opened);
        for loose in [0o755, 0o750, 0o777, 0o701] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(loose)).expect("it is ours");
            let opened = DataDir::open(&OsDisk, &path, OURS).expect("a warning is enough");
            assert!(opened.loose_mode.is_some_and(|mode| mode & 0o777 == loose), "{:?}", opened.loose_mode);
        }
    }

    #[test]
    fn every_flipped_bit_of_the_identity_is_found() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = directory.path().join("identity");
        let whole = encode(OURS).into_bytes();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &flipped).expect("a file can be written");
            assert!(read_identity(&OsDisk, &path).is_err(), "bit {bit}");
        }
    }
}
