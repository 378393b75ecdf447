//! The data directory: one process at a time, and only with the identity it was made with.
//!
//! `member/` holds everything, as etcd's does: `lock`, `identity`, `mark`, `store/`, `wal/`. The identity file is text,
//! so that a person can read it; `docs/formats/data-dir.md` has its lines.
//!
//! A directory is first looked at, which changes nothing; then claimed, once everything in it was read and fits; and,
//! at the end of a first start, completed: until the identity says so, nothing in the directory was acknowledged.

use crate::fault::{Fault, Result};
use crate::identity::{self, IdentityFile};
use crate::open::is_segment_or_run;
use io::{Disk, LockGuard};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

pub use crate::identity::{Identity, Log};

const OPEN: &str = "open data directory";
/// A directory of our own and a real etcd's have these at different depths.
const ETCD_DATABASE: &str = "snap/db";

/// A directory that only this process uses, as long as this lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    member: PathBuf,
    /// Permission bits that let others in, if any: worth a warning.
    pub loose_mode: Option<u32>,
    /// What a real etcd left that was started on this directory by mistake.
    pub stray: Option<PathBuf>,
    identity: Identity,
    log: Log,
    locks: Vec<LockGuard>,
}

impl DataDir {
    /// Looks at the directory and changes nothing. A new one gets `identity`; an existing one keeps its own. Refuses a
    /// directory that another process uses, a real etcd's, one of a newer format, and data without an identity.
    pub fn look(disk: &dyn Disk, path: &Path, identity: Identity) -> Result<DataDir> {
        let member = path.join("member");
        let mut locks = Vec::new();
        let mut mode = 0;
        if disk.exists(path).map_err(Fault::io(OPEN, path))? {
            mode = disk.mode(path).map_err(Fault::io(OPEN, path))?;
            locks.extend(lock_directory(disk, path, path)?);
        }
        if disk.exists(&member).map_err(Fault::io(OPEN, path))? {
            // Also if another one stands in its place, or if it was moved.
            locks.extend(lock_directory(disk, path, &member)?);
            // Releases before format 2 lock only this, and so do others where directories cannot be locked.
            let lock = member.join("lock");
            if disk.exists(&lock).map_err(Fault::io("look for", &lock))? {
                locks.push(lock_file(disk, path, &lock)?);
            }
        }
        let found = identity::read(disk, &member.join("identity"))?;
        if found.is_none() {
            refuse_data_without_identity(disk, path, &member)?;
        }
        let etcds = member.join(ETCD_DATABASE);
        let stray = disk.exists(&etcds).map_err(Fault::io("look for", &etcds))?.then_some(etcds);
        let (identity, log) = match found {
            None => (identity, Log::New),
            Some(IdentityFile { identity, log }) => (identity, log),
        };
        let loose_mode = (mode & 0o077 != 0).then_some(mode);
        Ok(DataDir { path: path.to_owned(), member, loose_mode, stray, identity, log, locks })
    }

    /// Makes what is missing of the directory, durably, and an identity if there is none, which says that a first start
    /// is under way. Nobody else can use the directory from now on.
    pub fn claim(&mut self, disk: &dyn Disk) -> Result<()> {
        let is_there = |path: &Path| disk.exists(path).map_err(Fault::io("look for", path));
        let were_there = (is_there(&self.path)?, is_there(&self.member)?);
        if self.is_new() {
            disk.create_dir_durably(&self.member).map_err(Fault::io("make directory", &self.member))?;
        }
        for (was_there, made) in [(were_there.0, &self.path), (were_there.1, &self.member)] {
            if !was_there {
                self.locks.extend(lock_directory(disk, &self.path, made)?);
            }
        }
        let lock = self.member.join("lock");
        if !disk.exists(&lock).map_err(Fault::io("look for", &lock))? {
            self.locks.push(lock_file(disk, &self.path, &lock)?);
        }
        if self.log == Log::New {
            if is_there(&self.identity_path())? {
                return Err(Fault::refused(OPEN, &self.path, "another process has just begun to use it; start again"));
            }
            self.write_identity(disk, Log::Unfinished)?;
        }
        Ok(())
    }

    /// Writes down that the member has a store and the raft log of that number: without them it does not start again.
    pub fn complete(&mut self, disk: &dyn Disk, log_id: u64) -> Result<()> {
        let named = Log::Named(log_id);
        if self.log == named { Ok(()) } else { self.write_identity(disk, named) }
    }

    fn write_identity(&mut self, disk: &dyn Disk, log: Log) -> Result<()> {
        identity::write(disk, &self.member.join("identity"), &IdentityFile { identity: self.identity, log })?;
        self.log = log;
        Ok(())
    }

    pub fn identity(&self) -> Identity {
        self.identity
    }

    pub fn log(&self) -> Log {
        self.log
    }

    /// Nothing that a start needs was ever complete here.
    pub fn is_new(&self) -> bool {
        matches!(self.log, Log::New | Log::Unfinished)
    }

    pub fn identity_path(&self) -> PathBuf {
        self.member.join("identity")
    }

    /// What holds everything.
    pub fn member_dir(&self) -> &Path {
        &self.member
    }

    pub fn store_dir(&self) -> PathBuf {
        self.member.join("store")
    }

    pub fn wal_dir(&self) -> PathBuf {
        self.member.join("wal")
    }

    /// The file that says how far the raft log was synced.
    pub fn mark_path(&self) -> PathBuf {
        self.member.join("mark")
    }

    /// Refuses a directory of the raft log that lies among the other data: what belongs to whom could not be told.
    pub fn check_wal_dir(&self, disk: &dyn Disk, wal_dir: &Path) -> Result<()> {
        const CHECK: &str = "use as directory of the raft log";
        let resolve = |path: &Path| disk.resolve(path).map_err(Fault::io("resolve", path));
        let (data, own, wal) = (resolve(&self.path)?, resolve(&self.wal_dir())?, resolve(wal_dir)?);
        if wal.starts_with(&data) && wal != own {
            let why = format!(
                "it lies in the data directory {}; leave --wal-dir out to have the log in {}, or choose a directory outside",
                self.path.display(),
                self.wal_dir().display()
            );
            return Err(Fault::refused(CHECK, wal_dir, why));
        }
        for name in ["member/identity", "identity", "manifest"] {
            let file = wal_dir.join(name);
            if disk.exists(&file).map_err(Fault::io("look for", &file))? {
                let why = format!("{} shows that it belongs to a data directory; choose another one", file.display());
                return Err(Fault::refused(CHECK, wal_dir, why));
            }
        }
        Ok(())
    }
}

/// `None` where only files can be locked.
fn lock_directory(disk: &dyn Disk, path: &Path, member: &Path) -> Result<Option<LockGuard>> {
    match disk.lock_directory(member) {
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(None),
        locked => locked.map(Some).map_err(|error| in_use(path, member, error)),
    }
}

fn lock_file(disk: &dyn Disk, path: &Path, lock: &Path) -> Result<LockGuard> {
    disk.lock(lock).map_err(|error| in_use(path, lock, error))
}

fn in_use(path: &Path, locked: &Path, error: std::io::Error) -> Fault {
    match error.kind() {
        ErrorKind::WouldBlock => {
            Fault::refused(OPEN, path, "another process uses it; stop that one or choose another directory")
        }
        _ => Fault::io("lock", locked)(error),
    }
}

/// The identity is the first file of a directory, so data without one is not a start that ended half-way: a new
/// identity would make it another member's.
fn refuse_data_without_identity(disk: &dyn Disk, path: &Path, member: &Path) -> Result<()> {
    // Also `member` of an etcd, or of ours, given for the directory above it.
    for inside in [member, path] {
        if let Some(found) = find_etcds(disk, inside)? {
            let why = format!(
                "{} is the data of a real etcd; take a snapshot of it with etcdctl and choose another directory",
                found.display()
            );
            return Err(Fault::refused(OPEN, path, why));
        }
    }
    let exists = |path: &Path| disk.exists(path).map_err(Fault::io("look for", path));
    if exists(&path.join("identity"))? && exists(&path.join("store"))? || holds_ours(disk, path)? {
        return Err(Fault::refused(OPEN, path, "it is the inside of a data directory; give the directory above it"));
    }
    for name in ["store", "wal", "mark"] {
        let found = member.join(name);
        let holds_data = match name {
            "mark" => exists(&found)?,
            _ => !list(disk, &found)?.is_empty(),
        };
        if holds_data {
            let why = format!(
                "it is missing, but {} holds data; put it back, restore the data directory from a backup, or choose an empty \
                 directory",
                found.display()
            );
            return Err(Fault::refused("read", &member.join("identity"), why));
        }
    }
    Ok(())
}

/// What a real etcd keeps in its `member` directory: its database, or a segment of its log.
fn find_etcds(disk: &dyn Disk, member: &Path) -> Result<Option<PathBuf>> {
    let database = member.join(ETCD_DATABASE);
    if disk.exists(&database).map_err(Fault::io("look for", &database))? {
        return Ok(Some(database));
    }
    // Sequence and index, where ours has one number.
    let is_etcds = |name: &String| name.len() == 37 && name.ends_with(".wal") && name.as_bytes().get(16) == Some(&b'-');
    for log in [member.join("wal"), member.to_owned()] {
        if let Some(name) = list(disk, &log)?.into_iter().find(is_etcds) {
            return Ok(Some(log.join(name)));
        }
    }
    Ok(None)
}

/// True if it is the directory of a store or of a raft log.
fn holds_ours(disk: &dyn Disk, path: &Path) -> Result<bool> {
    let is_ours = |name: &String| is_segment_or_run(name) || (name.len() == 20 && name.ends_with(".wal"));
    Ok(list(disk, path)?.iter().any(is_ours))
}

/// Names in a directory that may be missing.
fn list(disk: &dyn Disk, directory: &Path) -> Result<Vec<String>> {
    match disk.list(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        names => names.map_err(Fault::io("list", directory)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use io::OsDisk;

    const OURS: Identity = Identity { cluster: 0xcdf8_1819_4e3a_8c32, member: 0x8e9e_05c5_2164_694d };

    fn open(path: &Path, identity: Identity) -> Result<DataDir> {
        let mut data_dir = DataDir::look(&OsDisk, path, identity)?;
        data_dir.claim(&OsDisk).map(|()| data_dir)
    }

    #[test]
    fn a_directory_keeps_its_identity_and_one_process() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = directory.path().join("one.etcd");
        let mut first = open(&path, OURS).expect("a new directory opens");
        assert!(first.log() == Log::Unfinished && first.loose_mode.is_none());
        // What somebody does to the files lets nobody in.
        let refused = || {
            let second = DataDir::look(&OsDisk, &path, OURS).expect_err("it is locked").to_string();
            assert!(second.ends_with("another process uses it; stop that one or choose another directory"), "{second}");
        };
        refused();
        std::fs::remove_file(path.join("member/lock")).expect("it was made");
        refused();
        let aside = directory.path().join("aside");
        OsDisk.rename(&path.join("member"), &aside).expect("it is moved away");
        refused();
        OsDisk.rename(&aside, &path.join("member")).expect("it is moved back");
        first.complete(&OsDisk, 7).expect("it is written");
        drop(first);
        let mut late = DataDir::look(&OsDisk, &directory.path().join("late"), OURS).expect("it is new");
        drop(open(&directory.path().join("late"), OURS).expect("it is new still"));
        let refused = late.claim(&OsDisk).expect_err("it is not new any more").to_string();
        assert!(refused.ends_with("another process has just begun to use it; start again"), "{refused}");
        let again = open(&path, Identity { cluster: 1, member: 2 }).expect("it opens again");
        assert_eq!((again.log(), again.identity()), (Log::Named(7), OURS));
    }

    #[test]
    fn a_release_that_locks_only_the_file_is_respected() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        drop(open(directory.path(), OURS).expect("a new directory opens"));
        let _held = OsDisk.lock(&directory.path().join("member/lock")).expect("nobody has it");
        let refused = DataDir::look(&OsDisk, directory.path(), OURS).expect_err("it is locked").to_string();
        assert!(refused.contains("another process uses it"), "{refused}");
    }

    #[test]
    fn looking_makes_nothing() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = directory.path().join("one.etcd");
        let looked = DataDir::look(&OsDisk, &path, OURS).expect("a new directory");
        assert!(looked.log() == Log::New && !path.exists());
    }

    /// The file that shows it, where it lies, and which directory is given.
    #[test]
    fn a_real_etcds_directory_is_refused_from_outside_and_from_inside() {
        let segment = "member/wal/0000000000000000-0000000000000000.wal";
        for (file, given) in [("member/snap/db", ""), ("member/snap/db", "member"), (segment, ""), (segment, "member")]
        {
            let directory = tempfile::tempdir().expect("a temporary directory can be made");
            let file = directory.path().join(file);
            std::fs::create_dir_all(file.parent().expect("it has one")).expect("directories can be made");
            std::fs::write(&file, b"bolt").expect("a file can be written");
            let path = directory.path().join(given);
            let refused = DataDir::look(&OsDisk, &path, OURS).expect_err("a real etcd's").to_string();
            assert!(refused.contains("is the data of a real etcd") && refused.contains("choose another"), "{refused}");
        }
    }

    #[test]
    fn what_a_real_etcd_left_in_our_directory_is_told_of() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        drop(open(directory.path(), OURS).expect("a new directory opens"));
        std::fs::create_dir_all(directory.path().join("member/snap")).expect("directories can be made");
        let stray = directory.path().join("member/snap/db");
        std::fs::write(&stray, b"bolt").expect("a file can be written");
        let again = open(directory.path(), OURS).expect("it is ours");
        assert_eq!(again.stray, Some(stray));
    }

    #[test]
    fn the_inside_of_our_own_directory_is_refused() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        drop(open(directory.path(), OURS).expect("a new directory opens"));
        let files = ["member/store/segment-00000001", "member/wal/0000000000000001.wal"];
        for file in files.map(|file| directory.path().join(file)) {
            std::fs::create_dir_all(file.parent().expect("it has one")).expect("a directory can be made");
            std::fs::write(file, b"data").expect("a file can be written");
        }
        for inside in ["member", "member/store", "member/wal"] {
            let refused = DataDir::look(&OsDisk, &directory.path().join(inside), OURS).expect_err(inside).to_string();
            assert!(
                refused.ends_with("it is the inside of a data directory; give the directory above it"),
                "{refused}"
            );
        }
    }

    #[test]
    fn data_without_an_identity_is_refused_and_left_alone() {
        for part in ["store/manifest", "wal/0000000000000001.wal", "mark"] {
            let directory = tempfile::tempdir().expect("a temporary directory can be made");
            let member = directory.path().join("member");
            std::fs::create_dir_all(member.join("store")).expect("directories can be made");
            std::fs::create_dir_all(member.join("wal")).expect("directories can be made");
            drop(open(directory.path(), OURS).expect("empty directories are no data"));
            std::fs::remove_file(member.join("identity")).expect("it was made");
            std::fs::write(member.join(part), b"data").expect("a file can be written");
            let refused = DataDir::look(&OsDisk, directory.path(), OURS).expect_err("data").to_string();
            assert!(refused.contains("member/identity: it is missing, but "), "{refused}");
            assert!(refused.contains("holds data; put it back"), "{refused}");
            assert!(!member.join("identity").exists());
        }
    }

    #[test]
    fn a_log_among_the_data_is_refused() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = directory.path().join("data");
        let data_dir = open(&path, OURS).expect("a new directory opens");
        std::os::unix::fs::symlink(&path, directory.path().join("link")).expect("a link can be made");
        let check = |wal_dir: &Path| data_dir.check_wal_dir(&OsDisk, wal_dir).map_err(|fault| fault.to_string());
        for inside in ["data", "data/member", "data/wal", "data/../data/x", "link", "link/x", "data/member/wal/x"] {
            let refused = check(&directory.path().join(inside)).expect_err(inside);
            assert!(refused.contains("it lies in the data directory"), "{inside}: {refused}");
        }
        for outside in ["data/member/wal", "link/member/wal", "wal", "data2"] {
            assert_eq!(check(&directory.path().join(outside)), Ok(()), "{outside}");
        }
        let other = directory.path().join("other");
        drop(open(&other, OURS).expect("a new directory opens"));
        for foreign in [other.clone(), other.join("member")] {
            let refused = check(&foreign).expect_err("another's data");
            assert!(refused.contains("shows that it belongs to a data directory"), "{refused}");
        }
    }

    /// CVE-2020-15113: a directory that was open to others was used without a word.
    #[test]
    fn r101_a_directory_is_private_and_an_open_one_is_told_of() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = directory.path().join("one.etcd");
        let opened = open(&path, OURS).expect("it is new");
        assert_eq!(opened.loose_mode, None);
        let mode = |path: &Path| std::fs::metadata(path).expect("it was made").permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join("member"))), (0o700, 0o700));
        assert_eq!(mode(&path.join("member").join("identity")), 0o600);
        drop(opened);
        for loose in [0o755, 0o750, 0o777, 0o701] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(loose)).expect("it is ours");
            let opened = open(&path, OURS).expect("a warning is enough");
            assert!(opened.loose_mode.is_some_and(|mode| mode & 0o777 == loose), "{:?}", opened.loose_mode);
        }
    }

    /// Opening some of these waited for ever.
    #[test]
    fn a_lock_or_an_identity_that_is_no_file_is_refused() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        for name in ["lock", "identity"] {
            let directory = tempfile::tempdir().expect("a temporary directory can be made");
            let file = directory.path().join("member").join(name);
            std::fs::create_dir(directory.path().join("member")).expect("a directory can be made");
            let refused = || DataDir::look(&OsDisk, directory.path(), OURS).expect_err("no file").to_string();
            mknodat(CWD, &file, FileType::Fifo, Mode::RWXU, 0).expect("a FIFO can be made");
            assert!(refused().contains("there is a FIFO in its place"), "{}", refused());
            std::fs::remove_file(&file).expect("it is there");
            std::fs::create_dir(&file).expect("a directory can be made");
            assert!(refused().contains("there is a directory in its place"), "{}", refused());
            std::fs::remove_dir(&file).expect("it is there");
            std::os::unix::fs::symlink(&file, &file).expect("a link can be made");
            assert!(refused().contains("symbolic link"), "{}", refused());
        }
    }
}
