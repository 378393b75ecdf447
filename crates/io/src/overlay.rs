//! A disk whose writes stay in memory: what lies below it is read and never changed, so that the code which opens data
//! to use it can be run on data that must stay as it is.
//!
//! Memory holds the pages that were written, and what was made, renamed and removed. Everything is gone when the last
//! file and the disk are dropped. Locks are taken below, as somebody else may be writing there.

use crate::disk::{Disk, File, LockGuard, Open};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const PAGE_BYTES: usize = 4096;
/// More than any code waits for; memory says itself when it ends.
const FREE_BYTES: u64 = 1 << 40;

/// See the file's head.
#[derive(Debug)]
pub struct Overlay {
    below: Arc<dyn Disk>,
    /// What is not as it is below.
    above: Mutex<BTreeMap<PathBuf, Above>>,
}

#[derive(Debug, Clone)]
enum Above {
    /// Opened at least once, or made here.
    File(Arc<OverlayFile>),
    Directory,
    Removed,
}

impl Overlay {
    pub fn new(below: Arc<dyn Disk>) -> Overlay {
        Overlay { below, above: Mutex::default() }
    }

    fn above(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Above>> {
        self.above.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file of that name, taken up from below if it is there.
    fn find(&self, above: &mut BTreeMap<PathBuf, Above>, path: &Path) -> io::Result<Arc<OverlayFile>> {
        match above.get(path) {
            Some(Above::File(file)) => return Ok(file.clone()),
            Some(Above::Removed) => return Err(io::ErrorKind::NotFound.into()),
            Some(Above::Directory) => return Err(io::ErrorKind::IsADirectory.into()),
            None => {}
        }
        let below = self.below.open(path, Open::READ)?;
        let bytes = below.len()?;
        let content = Content { visible: bytes, bytes, pages: BTreeMap::new() };
        let file = Arc::new(OverlayFile { below: Some(below), content: Mutex::new(content) });
        above.insert(path.to_owned(), Above::File(file.clone()));
        Ok(file)
    }
}

impl Disk for Overlay {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut above = self.above();
        match self.find(&mut above, path) {
            Ok(_) if how.create_new => Err(io::ErrorKind::AlreadyExists.into()),
            Ok(file) => Ok(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound && (how.create || how.create_new) => {
                let file = Arc::new(OverlayFile { below: None, content: Mutex::default() });
                above.insert(path.to_owned(), Above::File(file.clone()));
                Ok(file)
            }
            Err(error) => Err(error),
        }
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        for directory in path.ancestors().filter(|directory| !directory.as_os_str().is_empty()) {
            if self.exists(directory)? {
                break;
            }
            self.above().insert(directory.to_owned(), Above::Directory);
        }
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let above = self.above();
        let mut names = match self.below.list(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && above.contains_key(directory) => Vec::new(),
            names => names?,
        };
        for (path, entry) in above.iter().filter(|(path, _)| path.parent() == Some(directory)) {
            let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else { continue };
            names.retain(|known| *known != name);
            if !matches!(entry, Above::Removed) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.above().get(path) {
            Some(Above::Removed) => Ok(false),
            Some(Above::File(_) | Above::Directory) => Ok(true),
            None => self.below.exists(path),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut above = self.above();
        self.find(&mut above, path)?;
        above.insert(path.to_owned(), Above::Removed);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut above = self.above();
        let file = self.find(&mut above, from)?;
        above.insert(from.to_owned(), Above::Removed);
        above.insert(to.to_owned(), Above::File(file));
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    /// A lock of nobody if there is no such file below, or if that cannot be written, as then nobody else can have it.
    fn lock(&self, path: &Path) -> io::Result<LockGuard> {
        if !self.below.exists(path)? {
            return Ok(LockGuard::new(()));
        }
        match self.below.lock(path) {
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(LockGuard::new(())),
            locked => locked,
        }
    }

    /// As `lock`.
    fn lock_directory(&self, path: &Path) -> io::Result<LockGuard> {
        if !self.below.exists(path)? {
            return Ok(LockGuard::new(()));
        }
        self.below.lock_directory(path)
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        self.below.resolve(path)
    }

    fn free_space(&self, _: &Path) -> io::Result<u64> {
        Ok(FREE_BYTES)
    }

    fn mode(&self, path: &Path) -> io::Result<u32> {
        match self.above().get(path) {
            Some(Above::Directory) => Ok(0o700),
            Some(Above::File(file)) if file.below.is_none() => Ok(0o600),
            _ => self.below.mode(path),
        }
    }
}

#[derive(Debug)]
struct OverlayFile {
    below: Option<Arc<dyn File>>,
    content: Mutex<Content>,
}

#[derive(Debug, Default)]
struct Content {
    bytes: u64,
    /// How much of the file below still shows; what was cut off once does not come back.
    visible: u64,
    /// Whole pages, by their number.
    pages: BTreeMap<u64, Box<[u8]>>,
}

impl OverlayFile {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads from one page; zeros where nothing was ever written.
    fn read_page(&self, content: &Content, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let (page, within) = place(offset);
        if let Some(bytes) = content.pages.get(&page) {
            buffer.copy_from_slice(&bytes[within..within + buffer.len()]);
            return Ok(());
        }
        buffer.fill(0);
        let shown = content.visible.saturating_sub(offset).min(buffer.len() as u64) as usize;
        match &self.below {
            Some(below) if shown > 0 => below.read_at(&mut buffer[..shown], offset).map(|_| ()),
            _ => Ok(()),
        }
    }
}

/// Number of the page, and the place in it.
fn place(offset: u64) -> (u64, usize) {
    (offset / PAGE_BYTES as u64, (offset % PAGE_BYTES as u64) as usize)
}

/// As much as lies in the page of `offset`.
fn in_page(offset: u64, wanted: usize) -> usize {
    wanted.min(PAGE_BYTES - place(offset).1)
}

impl File for OverlayFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = self.content();
        let wanted = content.bytes.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let mut done = 0;
        while done < wanted {
            let at = offset + done as u64;
            let count = in_page(at, wanted - done);
            self.read_page(&content, &mut buffer[done..done + count], at)?;
            done += count;
        }
        Ok(wanted)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let mut content = self.content();
        let mut done = 0;
        while done < data.len() {
            let at = offset.saturating_add(done as u64);
            let count = in_page(at, data.len() - done);
            let (page, within) = place(at);
            if !content.pages.contains_key(&page) {
                let mut bytes = vec![0; PAGE_BYTES].into_boxed_slice();
                self.read_page(&content, &mut bytes, at - within as u64)?;
                content.pages.insert(page, bytes);
            }
            if let Some(bytes) = content.pages.get_mut(&page) {
                bytes[within..within + count].copy_from_slice(&data[done..done + count]);
            }
            done += count;
        }
        content.bytes = content.bytes.max(offset.saturating_add(data.len() as u64));
        Ok(())
    }

    fn start_write_back(&self, _offset: u64, _length: u64) {}

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }

    fn allocate(&self, offset: u64, length: u64) -> io::Result<()> {
        let mut content = self.content();
        content.bytes = content.bytes.max(offset.saturating_add(length));
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut content = self.content();
        let (page, within) = place(length);
        content.bytes = length;
        content.visible = content.visible.min(length);
        content.pages.split_off(&(page + u64::from(within > 0)));
        // What is cut off reads as zeros if the file grows again.
        if let Some(bytes) = content.pages.get_mut(&page) {
            bytes[within..].fill(0);
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.content().bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OsDisk;

    /// A directory with a file `old` of 10,000 bytes, and the disk above it.
    fn disk() -> (tempfile::TempDir, Overlay) {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        std::fs::write(directory.path().join("old"), [7; 10_000]).expect("a file can be written");
        (directory, Overlay::new(Arc::new(OsDisk)))
    }

    fn read(file: &dyn File, offset: u64, count: usize) -> Vec<u8> {
        let mut buffer = vec![0xee; count];
        let read = file.read_at(&mut buffer, offset).expect("it can be read");
        buffer.truncate(read);
        buffer
    }

    #[test]
    fn writes_are_seen_above_and_not_below() {
        let (directory, disk) = disk();
        let path = directory.path().join("old");
        let file = disk.open(&path, Open::READ_WRITE).expect("it is there");
        file.write_at(&[1; 5000], 4000).expect("memory takes it");
        assert_eq!(read(&*file, 3999, 3), [7, 1, 1]);
        assert_eq!(read(&*file, 8998, 4), [1, 1, 7, 7]);
        assert_eq!(read(&*file, 9_999, 4), [7]);
        file.write_at(&[2; 3], 10_500).expect("memory takes it");
        assert_eq!(read(&*file, 9_999, 2), [7, 0]);
        assert_eq!((read(&*file, 10_499, 9), file.len().expect("it has one")), (vec![0, 2, 2, 2], 10_503));
        // Another handle sees the same.
        let other = disk.open(&path, Open::READ).expect("it is there");
        assert_eq!(read(&*other, 4000, 1), [1]);
        assert_eq!(std::fs::read(&path).expect("it is there"), [7; 10_000]);
    }

    #[test]
    fn what_was_cut_off_reads_as_zeros() {
        let (directory, disk) = disk();
        let file = disk.open(&directory.path().join("old"), Open::READ_WRITE).expect("it is there");
        file.write_at(&[1], 4097).expect("memory takes it");
        file.set_len(4100).expect("it can be cut");
        file.allocate(0, 9000).expect("memory takes it");
        assert_eq!(read(&*file, 4095, 7), [7, 7, 1, 7, 7, 0, 0]);
        assert_eq!(read(&*file, 8000, 2_000), [0; 1_000]);
        file.set_len(0).expect("it can be cut");
        assert_eq!(read(&*file, 0, 1), [0; 0]);
    }

    #[test]
    fn names_change_above_only() {
        let (directory, disk) = disk();
        let path = |name: &str| directory.path().join(name);
        let names = || {
            let mut names = disk.list(directory.path()).expect("it is there");
            names.sort();
            names
        };
        disk.open(&path("new"), Open::CREATE_NEW).expect("there is none").write_at(b"new", 0).expect("written");
        assert_eq!(names(), ["new", "old"]);
        let error = disk.open(&path("old"), Open::CREATE_NEW).expect_err("there is one");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        disk.replace(&path("new"), &path("old")).expect("both are there");
        assert_eq!(names(), ["old"]);
        assert_eq!(read(&*disk.open(&path("old"), Open::READ).expect("it is there"), 0, 9), b"new");
        disk.remove(&path("old")).expect("it is there");
        assert_eq!(disk.open(&path("old"), Open::READ).expect_err("it is gone").kind(), io::ErrorKind::NotFound);
        assert!(!disk.exists(&path("old")).expect("nothing is read") && names().is_empty());
        disk.create_dir(&path("a/b")).expect("memory takes it");
        assert_eq!(
            (names(), disk.list(&path("a")).expect("it was made")),
            (vec!["a".to_owned()], vec!["b".to_owned()])
        );
        let below: Vec<_> = std::fs::read_dir(directory.path()).expect("it is there").flatten().collect();
        assert_eq!(below.len(), 1);
        assert_eq!(std::fs::read(path("old")).expect("it is there"), [7; 10_000]);
    }

    #[test]
    fn a_lock_below_is_respected_and_none_is_made() {
        let (directory, disk) = disk();
        let path = directory.path().join("old");
        let held = OsDisk.lock(&path).expect("nobody has it");
        assert_eq!(disk.lock(&path).expect_err("somebody has it").kind(), io::ErrorKind::WouldBlock);
        drop(held);
        let _held = disk.lock(&path).expect("nobody has it");
        assert_eq!(OsDisk.lock(&path).expect_err("the disk above has it").kind(), io::ErrorKind::WouldBlock);
        let _none = disk.lock(&directory.path().join("lock")).expect("there is none");
        assert!(!directory.path().join("lock").exists());
    }
}
