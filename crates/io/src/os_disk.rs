//! The operating system's file system behind `Disk`. Linux: space is reserved with fallocate, the lock is flock, which the
//! kernel releases when the process ends however it ends.

use crate::disk::{Disk, File, LockGuard, Open};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use std::fs::{self, DirBuilder, OpenOptions, TryLockError};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

/// Only the owner reads and writes what is stored.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;
/// Zeros written at once where the file system cannot reserve space.
const ZERO_FILL_BYTES: usize = 1 << 20;

/// The machine's disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsDisk;

impl Disk for OsDisk {
    fn open(&self, path: &Path, how: Open) -> Result<Arc<dyn File>> {
        let file = OpenOptions::new()
            .read(how.read)
            .write(how.write)
            .create(how.create)
            .create_new(how.create_new)
            .mode(FILE_MODE)
            .open(path)?;
        Ok(Arc::new(OsFile { file }))
    }

    fn create_dir(&self, path: &Path) -> Result<()> {
        DirBuilder::new().mode(DIR_MODE).create(path)
    }

    fn permissions(&self, path: &Path) -> Result<u32> {
        Ok(fs::metadata(path)?.permissions().mode() & 0o7777)
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        fs::remove_file(path)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that renames, and it syncs the directory")]
    fn replace(&self, new: &Path, target: &Path) -> Result<()> {
        let dir = target.parent().unwrap_or(Path::new("/"));
        assert_eq!(new.parent(), target.parent(), "a file is replaced within its directory");
        fs::rename(new, target)?;
        self.sync_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        // An empty path is the parent of a bare relative name.
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        fs::File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> Result<LockGuard> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(LockGuard::new(file)),
            Err(TryLockError::WouldBlock) => Err(Error::from(ErrorKind::WouldBlock)),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn free_space(&self, dir: &Path) -> Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

struct OsFile {
    file: fs::File,
}

impl File for OsFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> Result<usize> {
        self.file.read_at(into, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> Result<()> {
        self.file.sync_data()
    }

    fn sync_all(&self) -> Result<()> {
        self.file.sync_all()
    }

    fn allocate(&self, offset: u64, length: u64) -> Result<()> {
        loop {
            match fallocate(&self.file, FallocateFlags::empty(), offset, length) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => return self.allocate_by_writing(offset, length),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.file.set_len(length)
    }

    fn len(&self) -> Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

impl OsFile {
    /// Reserves by writing zeros behind the end of the file; bytes before it already have their space, or are a hole that
    /// nobody here makes.
    fn allocate_by_writing(&self, offset: u64, length: u64) -> Result<()> {
        let end = offset.checked_add(length).ok_or(ErrorKind::FileTooLarge)?;
        let zeros = vec![0; ZERO_FILL_BYTES];
        let mut position = self.len()?.max(offset);
        while position < end {
            let count = (end - position).min(ZERO_FILL_BYTES as u64);
            self.file.write_all_at(&zeros[..count as usize], position)?;
            position += count;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary directory for a test")
    }

    #[test]
    fn files_and_directories_are_private_to_the_owner() {
        let scratch = scratch();
        let dir = scratch.path().join("d");
        OsDisk.create_dir(&dir).expect("make a directory");
        OsDisk.open(&dir.join("f"), Open::to_create()).expect("make a file");
        assert_eq!(OsDisk.permissions(&dir).expect("its mode"), 0o700);
        assert_eq!(OsDisk.permissions(&dir.join("f")).expect("its mode"), 0o600);
    }

    #[test]
    fn what_is_written_is_read_back_and_short_files_are_told() {
        let scratch = scratch();
        let file = OsDisk.open(&scratch.path().join("f"), Open::to_create()).expect("make a file");
        file.write_at(b"bowline", 3).expect("write");
        file.sync_data().expect("sync");
        let mut read = [0; 7];
        file.read_exact_at(&mut read, 3).expect("read");
        assert_eq!(&read, b"bowline");
        let error = file.read_exact_at(&mut read, 4).expect_err("the file ends before");
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn allocated_space_reads_as_zeros_and_keeps_what_was_there() {
        let scratch = scratch();
        let file = OsFile {
            file: OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .open(scratch.path().join("f"))
                .expect("make a file"),
        };
        file.write_at(b"kept", 0).expect("write");
        file.allocate(0, 10_000).expect("reserve");
        assert_eq!(file.len().expect("length"), 10_000);
        file.allocate_by_writing(0, 3 << 20).expect("reserve by writing");
        assert_eq!(file.len().expect("length"), 3 << 20);
        let mut read = [1; 5];
        file.read_exact_at(&mut read, 0).expect("read");
        assert_eq!(&read, b"kept\0");
    }

    #[test]
    fn replace_leaves_the_new_file_under_the_old_name() {
        let scratch = scratch();
        let (new, target) = (scratch.path().join("x.tmp"), scratch.path().join("x"));
        for (path, text) in [(&target, "old"), (&new, "new")] {
            OsDisk.open(path, Open::to_create()).expect("make").write_at(text.as_bytes(), 0).expect("write");
        }
        OsDisk.replace(&new, &target).expect("replace");
        assert_eq!(OsDisk.list(scratch.path()).expect("names"), ["x"]);
        assert_eq!(fs::read(&target).expect("bytes"), b"new");
    }

    #[test]
    fn a_lock_is_held_until_its_guard_is_dropped() {
        let scratch = scratch();
        let path = scratch.path().join("lock");
        let held = OsDisk.lock(&path).expect("free");
        assert_eq!(OsDisk.lock(&path).expect_err("held").kind(), ErrorKind::WouldBlock);
        drop(held);
        OsDisk.lock(&path).expect("free again");
    }

    #[test]
    fn free_space_is_told() {
        assert!(OsDisk.free_space(scratch().path()).expect("statvfs") > 0);
    }
}
