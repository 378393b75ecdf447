//! The operating system's disk.

use crate::direct::Direct;
use crate::disk::{Disk, File, LockGuard, Open};
use rustix::fs::{FallocateFlags, FlockOperation, OFlags};
use rustix::io::{Errno, retry_on_intr};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
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

/// Opens a file of ours. A link in its place is somebody's trick, and a FIFO or a device would have the open wait, or
/// do something.
fn open_regular(options: &mut OpenOptions, path: &Path) -> io::Result<fs::File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = options.mode(FILE_MODE).custom_flags(flags.bits() as i32).open(path);
    let file_type = match &opened {
        Ok(file) => file.metadata()?.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return opened,
        Err(_) => match fs::symlink_metadata(path) {
            Ok(found) => found.file_type(),
            Err(_) => return opened,
        },
    };
    match kind(file_type) {
        None => opened,
        Some(kind) => {
            let what = format!("there is {kind} in its place, where a regular file must be");
            Err(io::Error::new(io::ErrorKind::InvalidInput, what))
        }
    }
}

/// What is not a regular file.
fn kind(found: fs::FileType) -> Option<&'static str> {
    let kinds = [
        (found.is_dir(), "a directory"),
        (found.is_symlink(), "a symbolic link"),
        (found.is_fifo(), "a FIFO"),
        (found.is_socket(), "a socket"),
        (found.is_char_device() || found.is_block_device(), "a device"),
    ];
    kinds.iter().find(|(is, _)| *is).map(|(_, kind)| *kind)
}

/// The rest of a path, of which nothing exists.
fn join(mut real: PathBuf, rest: &Path) -> PathBuf {
    for component in rest.components() {
        match component {
            Component::ParentDir => drop(real.pop()),
            Component::CurDir => {}
            other => real.push(other),
        }
    }
    real
}

impl Disk for OsDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut options = OpenOptions::new();
        options.read(how.read).write(how.write).create(how.create).create_new(how.create_new);
        let file = open_regular(&mut options, path)?;
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
        let file = open_regular(OpenOptions::new().write(true), from)?;
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
        let file = open_regular(OpenOptions::new().write(true).create(true).truncate(false), path)?;
        retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive))?;
        Ok(LockGuard::new((file, OpenFile::count())))
    }

    fn lock_directory(&self, path: &Path) -> io::Result<LockGuard> {
        let flags = OFlags::DIRECTORY | OFlags::NONBLOCK;
        let directory = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
        match retry_on_intr(|| rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive)) {
            Ok(()) => Ok(LockGuard::new((directory, OpenFile::count()))),
            // NFS makes a lock of a file's bytes of it, for which a directory cannot be opened.
            Err(Errno::BADF | Errno::INVAL | Errno::NOTSUP | Errno::NOSYS) => Err(io::ErrorKind::Unsupported.into()),
            Err(error) => Err(error.into()),
        }
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let absolute = std::path::absolute(path)?;
        for there in absolute.ancestors() {
            match fs::canonicalize(there) {
                Ok(real) => return Ok(join(real, absolute.strip_prefix(there).unwrap_or(Path::new("")))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(absolute)
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
        let refused = OsDisk.open(&link, Open::READ).expect_err("it is a link").to_string();
        assert_eq!(refused, "there is a symbolic link in its place, where a regular file must be");
    }

    /// Opening some of these would wait for ever.
    #[test]
    fn what_is_not_a_regular_file_is_named() {
        use rustix::fs::{FileType, Mode, mknodat};
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = |name: &str| directory.path().join(name);
        mknodat(rustix::fs::CWD, path("fifo"), FileType::Fifo, Mode::RWXU, 0).expect("a FIFO can be made");
        std::os::unix::fs::symlink(path("loop"), path("loop")).expect("a link can be made");
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).expect("a socket can be made");
        fs::create_dir(path("directory")).expect("a directory can be made");
        let kinds =
            [("fifo", "a FIFO"), ("loop", "a symbolic link"), ("socket", "a socket"), ("directory", "a directory")];
        for (name, kind) in kinds {
            for how in [Open::READ, Open::READ_WRITE, Open::CREATE] {
                let refused = OsDisk.open(&path(name), how).expect_err("no file").to_string();
                assert!(refused.contains(kind), "{name}: {refused}");
            }
            let refused = OsDisk.lock(&path(name)).expect_err("no file").to_string();
            assert!(refused.contains(kind), "{name}: {refused}");
        }
        let refused = OsDisk.open(Path::new("/dev/null"), Open::READ).expect_err("no file").to_string();
        assert!(refused.contains("a device"), "{refused}");
    }

    #[test]
    fn a_directory_is_locked_whatever_happens_to_its_files() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let held = OsDisk.lock_directory(directory.path()).expect("nobody has it");
        let second = OsDisk.lock_directory(directory.path()).expect_err("the first has it");
        assert_eq!(second.kind(), io::ErrorKind::WouldBlock);
        drop(held);
        assert!(OsDisk.lock_directory(directory.path()).is_ok());
        let missing = OsDisk.lock_directory(&directory.path().join("missing")).expect_err("there is none");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn names_of_one_place_resolve_to_the_same() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let real = fs::canonicalize(directory.path()).expect("it is there");
        fs::create_dir(real.join("a")).expect("a directory can be made");
        std::os::unix::fs::symlink(real.join("a"), real.join("link")).expect("a link can be made");
        for name in ["a/x/y", "link/x/y", "link/../a/./x/z/../y", "a/x/y/"] {
            assert_eq!(OsDisk.resolve(&real.join(name)).expect("it resolves"), real.join("a/x/y"), "{name}");
        }
    }
}
