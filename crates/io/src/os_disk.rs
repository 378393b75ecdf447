//! The operating system's disk.

use crate::direct::Direct;
use crate::disk::{Disk, File, LockGuard, Open};
use rustix::fs::{FallocateFlags, FlockOperation};
use rustix::io::retry_on_intr;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug, Clone, Copy, Default)]
pub struct OsDisk;

#[derive(Debug)]
struct OsFile {
    file: fs::File,
    direct: Direct,
    _open: OpenFile,
}

/// Files of `OsDisk` that are open in this process, locks included.
static OPEN_FILES: AtomicUsize = AtomicUsize::new(0);

/// How many files `OsDisk` has open in this process: that many descriptors are not for anything else.
pub fn open_files() -> usize {
    OPEN_FILES.load(Ordering::Relaxed)
}

/// Counts one open file while it lives.
#[derive(Debug)]
struct OpenFile;

impl OpenFile {
    fn count() -> OpenFile {
        OPEN_FILES.fetch_add(1, Ordering::Relaxed);
        OpenFile
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        OPEN_FILES.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Files here are our own: a link in their place is somebody's trick.
const NOFOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;
/// The usual size; where pages are larger, some are started twice.
const PAGE_BYTES: u64 = 4096;

/// Asks Linux to begin writing these pages; elsewhere it has no effect. `posix_fadvise(DONTNEED)` would do without
/// `unsafe`, but the log's own syncs then took longer (`cargo bench -p node --bench syncs`).
///
/// No error is lost. The kernel keeps a failed write for the next sync of each description that was open then, and of
/// the flags of `sync_file_range` only those that wait would take it from there. What the call itself returns says at
/// most that nothing was started.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "neither std nor rustix has the call")]
fn start_write_back(file: &fs::File, offset: u64, length: u64) {
    use std::os::fd::AsRawFd;
    let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else { return };
    // SAFETY: the call takes no pointer, and `file` keeps the descriptor open until it returns.
    let _ = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE) };
}

#[cfg(not(target_os = "linux"))]
fn start_write_back(_file: &fs::File, _offset: u64, _length: u64) {}

impl Disk for OsDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let file = OpenOptions::new()
            .read(how.read)
            .write(how.write)
            .create(how.create)
            .create_new(how.create_new)
            .mode(FILE_MODE)
            .custom_flags(NOFOLLOW)
            .open(path)?;
        let direct = if how.direct { Direct::begin(&file) } else { Direct::default() };
        Ok(Arc::new(OsFile { file, direct, _open: OpenFile::count() }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the helper that syncs around it, and its building block")]
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        let file = OpenOptions::new().write(true).custom_flags(NOFOLLOW).open(from)?;
        let directory = fs::File::open(to.parent().unwrap_or(Path::new(".")))?;
        // From here on no descriptor is needed.
        file.sync_all()?;
        self.rename(from, to)?;
        directory.sync_all()
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        fs::File::open(directory)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<LockGuard> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(FILE_MODE).open(path)?;
        retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive))?;
        Ok(LockGuard::new((file, OpenFile::count())))
    }

    fn free_space(&self, directory: &Path) -> io::Result<u64> {
        let stat = retry_on_intr(|| rustix::fs::statvfs(directory))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn mode(&self, path: &Path) -> io::Result<u32> {
        Ok(fs::metadata(path)?.mode() & 0o7777)
    }
}

impl File for OsFile {
    fn read_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<usize> {
        let wanted = buffer.len();
        while !buffer.is_empty() {
            match self.file.read_at(buffer, offset) {
                Ok(0) => break,
                Ok(read) => {
                    buffer = buffer.get_mut(read..).unwrap_or_default();
                    offset += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(wanted - buffer.len())
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.direct.write(&self.file, data, offset)
    }

    fn write_durably(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.direct.write_durably(&self.file, data, offset)
    }

    fn is_direct(&self) -> bool {
        self.direct.is_on()
    }

    fn start_write_back(&self, offset: u64, length: u64) {
        // Whole pages: the last one is likely to be written again soon, and that might wait for the device.
        let from = offset / PAGE_BYTES * PAGE_BYTES;
        let to = offset.saturating_add(length) / PAGE_BYTES * PAGE_BYTES;
        if from < to {
            start_write_back(&self.file, from, to - from);
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn allocate(&self, offset: u64, length: u64) -> io::Result<()> {
        // The standard library repeats a call that was interrupted, this one does not.
        match retry_on_intr(|| rustix::fs::fallocate(&self.file, FallocateFlags::empty(), offset, length)) {
            // A file system without it gives space when it is written; the error then comes there.
            Err(rustix::io::Errno::OPNOTSUPP) => {
                let grown = offset.saturating_add(length);
                if self.len()? < grown { self.set_len(grown) } else { Ok(()) }
            }
            other => Ok(other?),
        }
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_back_of_any_range_changes_no_byte() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let file = OsDisk.open(&directory.path().join("file"), Open::CREATE_NEW).expect("a file can be made");
        let data: Vec<u8> = (0..5 * PAGE_BYTES).map(|at| at as u8).collect();
        file.write_at(&data, 0).expect("it is written");
        for (offset, length) in [(0, 0), (1, 4094), (100, 9000), (0, 5 * PAGE_BYTES), (4096, 1 << 40), (u64::MAX, 9)] {
            file.start_write_back(offset, length);
        }
        let mut read = vec![0; data.len()];
        file.sync_data().and_then(|()| file.read_exact_at(&mut read, 0)).expect("it is read");
        assert!(read == data && file.len().expect("it has a length") == 5 * PAGE_BYTES);
    }

    #[test]
    fn a_second_lock_is_refused_and_a_dropped_one_is_free() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = directory.path().join("lock");
        let held = OsDisk.lock(&path).expect("the first lock is granted");
        assert_eq!(OsDisk.lock(&path).expect_err("the second is not").kind(), io::ErrorKind::WouldBlock);
        drop(held);
        assert!(OsDisk.lock(&path).is_ok());
    }

    #[test]
    fn a_replaced_file_has_the_new_content_and_private_mode() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let (old, new) = (directory.path().join("a"), directory.path().join("a.tmp"));
        for (path, content) in [(&old, b"old"), (&new, b"new")] {
            OsDisk.open(path, Open::CREATE_NEW).and_then(|file| file.write_at(content, 0)).expect("a file is written");
        }
        OsDisk.replace(&new, &old).expect("the file is replaced");
        let mut content = [0; 8];
        let read = OsDisk.open(&old, Open::READ).and_then(|file| file.read_at(&mut content, 0)).expect("it is read");
        assert_eq!(&content[..read], b"new");
        assert_eq!(OsDisk.mode(&old).expect("it is there"), FILE_MODE);
        assert!(!OsDisk.exists(&new).expect("the directory is there"));
    }

    #[test]
    fn a_link_is_not_followed() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("/dev/null", &link).expect("a link can be made");
        assert!(OsDisk.open(&link, Open::READ).is_err());
    }
}
