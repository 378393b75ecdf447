//! The simulated disk as code under test and tests see it.

use crate::content::Content;
use crate::platter::{FileId, FileState, Platter};
use crate::random::Random;
use io::{BLOCK_BYTES, Disk, File, LockGuard, Open};
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// See the crate's head. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct SimDisk {
    platter: Arc<Mutex<Platter>>,
}

#[derive(Debug)]
struct SimFile {
    platter: Arc<Mutex<Platter>>,
    id: FileId,
    /// Opened so: everything must be in whole blocks.
    direct: bool,
}

/// Releases the lock when dropped.
#[derive(Debug)]
struct HeldLock {
    platter: Arc<Mutex<Platter>>,
    path: PathBuf,
}

impl SimFile {
    fn open(shared: &Arc<Mutex<Platter>>, platter: &mut Platter, id: FileId, how: Open) -> Arc<SimFile> {
        platter.files[id].handles += 1;
        Arc::new(SimFile { platter: shared.clone(), id, direct: how.direct })
    }

    /// What a disk without a page cache would refuse.
    fn check_blocks(&self, data: &[u8], offset: u64) {
        let numbers = [data.as_ptr().addr(), data.len(), offset as usize];
        let whole = numbers.iter().all(|number| number.is_multiple_of(BLOCK_BYTES));
        assert!(!self.direct || whole, "{} bytes at {offset} of a direct file are not whole blocks", data.len());
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut platter = lock(&self.platter);
        platter.files[self.id].handles -= 1;
        platter.forget_if_unused(self.id);
    }
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        lock(&self.platter).locks.remove(&self.path);
    }
}

fn lock(platter: &Mutex<Platter>) -> MutexGuard<'_, Platter> {
    platter.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SimDisk {
    pub fn new() -> SimDisk {
        SimDisk::default()
    }

    /// Steps taken so far: every operation that changes something is one.
    pub fn steps(&self) -> u64 {
        lock(&self.platter).steps
    }

    /// The power goes off before this step.
    pub fn power_off_at(&self, step: u64) {
        lock(&self.platter).plan.power_off_at = Some(step);
    }

    /// True once the power went off.
    pub fn is_off(&self) -> bool {
        lock(&self.platter).check_power().is_err()
    }

    /// This step fails, once. A failed sync drops the dirty data of its file, and the next sync succeeds. So does a
    /// failed write-back, and the next sync fails.
    pub fn fail_at(&self, step: u64, kind: ErrorKind) {
        lock(&self.platter).plan.fail_at = Some((step, kind));
    }

    /// Whether reads fail from now on.
    pub fn fail_reads(&self, fail: bool) {
        lock(&self.platter).plan.reads_fail = fail;
    }

    /// Bytes that all files together may have; `None` for no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        lock(&self.platter).plan.capacity = bytes;
    }

    /// Whether syncs say that they succeeded and do nothing, from now on: a disk that nothing can be built on. For
    /// tests of tests.
    pub fn set_syncs_lie(&self, lie: bool) {
        lock(&self.platter).plan.syncs_lie = lie;
    }

    /// Directories that a real disk might lose with everything in them, as nobody synced the one above. A power cut
    /// here keeps them.
    pub fn unsynced_directories(&self) -> Vec<PathBuf> {
        lock(&self.platter).unsynced_directories.iter().cloned().collect()
    }

    /// Bytes that all files have. A removed file counts until it is closed.
    pub fn used(&self) -> u64 {
        lock(&self.platter).used()
    }

    /// The disk as it comes up after the power is cut now: what was synced, and any part of what was not.
    pub fn after_power_cut(&self, random: &mut Random) -> SimDisk {
        SimDisk { platter: Arc::new(Mutex::new(lock(&self.platter).after_power_cut(random))) }
    }

    /// The disk as a killed process leaves it.
    pub fn after_kill(&self) -> SimDisk {
        SimDisk { platter: Arc::new(Mutex::new(lock(&self.platter).after_kill())) }
    }

    /// All files with their content, by path.
    pub fn image(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let platter = lock(&self.platter);
        platter.entries.iter().map(|(path, &id)| (path.clone(), platter.files[id].content.to_vec())).collect()
    }

    /// Changes a file behind everybody's back: damage.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut platter = lock(&self.platter);
        let Some(&id) = platter.entries.get(path) else { return };
        let mut bytes = platter.files[id].content.to_vec();
        change(&mut bytes);
        platter.files[id].content = Content::new(&bytes);
        platter.make_durable(id);
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, how: Open) -> Result<Arc<dyn File>> {
        let mut platter = lock(&self.platter);
        platter.check_power()?;
        let found = platter.entries.get(path).copied();
        let id = match found {
            Some(_) if how.create_new => return Err(ErrorKind::AlreadyExists.into()),
            Some(id) => id,
            None if !(how.create || how.create_new) => return Err(ErrorKind::NotFound.into()),
            None => {
                platter.step()?;
                platter.files.push(FileState::default());
                let id = platter.files.len() - 1;
                platter.entries.insert(path.to_owned(), id);
                id
            }
        };
        Ok(SimFile::open(&self.platter, &mut platter, id, how))
    }

    fn create_dir(&self, path: &Path) -> Result<()> {
        let mut platter = lock(&self.platter);
        platter.check_power()?;
        for directory in path.ancestors() {
            if platter.directories.insert(directory.to_owned()) && directory.parent().is_some() {
                platter.unsynced_directories.insert(directory.to_owned());
            }
        }
        Ok(())
    }

    fn list(&self, directory: &Path) -> Result<Vec<String>> {
        let platter = lock(&self.platter);
        platter.check_power()?;
        let paths = platter.entries.keys().chain(&platter.directories);
        let inside = paths.filter(|path| path.parent() == Some(directory));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        let platter = lock(&self.platter);
        platter.check_power()?;
        Ok(platter.entries.contains_key(path) || platter.directories.contains(path))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let mut platter = lock(&self.platter);
        platter.step()?;
        let id = platter.entries.remove(path).ok_or(Error::from(ErrorKind::NotFound))?;
        platter.forget_if_unused(id);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut platter = lock(&self.platter);
        platter.step()?;
        let id = platter.entries.remove(from).ok_or(Error::from(ErrorKind::NotFound))?;
        let replaced = platter.entries.insert(to.to_owned(), id);
        if let Some(replaced) = replaced {
            platter.forget_if_unused(replaced);
        }
        Ok(())
    }

    fn sync_dir(&self, directory: &Path) -> Result<()> {
        let mut platter = lock(&self.platter);
        platter.step()?;
        platter.sync_dir(directory);
        Ok(())
    }

    fn lock(&self, path: &Path) -> Result<LockGuard> {
        let mut platter = lock(&self.platter);
        platter.check_power()?;
        if !platter.locks.insert(path.to_owned()) {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(LockGuard::new(HeldLock { platter: self.platter.clone(), path: path.to_owned() }))
    }

    fn lock_directory(&self, path: &Path) -> Result<LockGuard> {
        if !self.exists(path)? {
            return Err(ErrorKind::NotFound.into());
        }
        self.lock(path)
    }

    fn resolve(&self, path: &Path) -> Result<PathBuf> {
        Ok(path.to_owned())
    }

    fn free_space(&self, _directory: &Path) -> Result<u64> {
        let platter = lock(&self.platter);
        Ok(platter.plan.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(platter.used())))
    }

    fn mode(&self, _path: &Path) -> Result<u32> {
        Ok(0o700)
    }
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.check_blocks(buffer, offset);
        let platter = lock(&self.platter);
        platter.check_power()?;
        if platter.plan.reads_fail {
            return Err(Error::from_raw_os_error(5));
        }
        Ok(platter.files[self.id].content.read(offset as usize, buffer))
    }

    /// A write that fails leaves half of its data behind; one that finds no space, what fits.
    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.check_blocks(data, offset);
        let mut platter = lock(&self.platter);
        if let Err(error) = platter.check_space(self.id, offset as usize + data.len()) {
            let fits = (platter.length_max(self.id) as usize).saturating_sub(offset as usize).min(data.len());
            if platter.check_power().is_ok() && fits > 0 {
                platter.write(self.id, offset as usize, &data[..fits]);
            }
            return Err(error);
        }
        match platter.step() {
            Ok(()) => {
                platter.write(self.id, offset as usize, data);
                Ok(())
            }
            Err(error) => {
                if platter.check_power().is_ok() {
                    platter.write(self.id, offset as usize, &data[..data.len() / 2]);
                }
                Err(error)
            }
        }
    }

    /// Two steps, as the data may be written and then not become durable.
    fn write_durably(&self, data: &[u8], offset: u64) -> Result<()> {
        self.write_at(data, offset)?;
        let mut platter = lock(&self.platter);
        let stepped = platter.step();
        if stepped.is_ok() || platter.check_power().is_ok() {
            platter.sync_range(self.id, offset as usize..offset as usize + data.len(), stepped.is_ok());
        }
        stepped
    }

    /// Makes nothing durable: any part of what is not synced may survive a power cut anyway. One that fails loses the
    /// dirty data of its file, which the next sync reports.
    fn start_write_back(&self, _offset: u64, length: u64) {
        let mut platter = lock(&self.platter);
        if length == 0 {
            return;
        }
        if let Err(error) = platter.step()
            && platter.check_power().is_ok()
        {
            platter.fail_write_back(self.id, error.kind());
        }
    }

    fn sync_data(&self) -> Result<()> {
        let mut platter = lock(&self.platter);
        match platter.step().and_then(|()| platter.take_write_back_failure(self.id)) {
            Ok(()) => {
                platter.sync(self.id);
                Ok(())
            }
            Err(error) => {
                if platter.check_power().is_ok() {
                    platter.drop_dirty(self.id);
                }
                Err(error)
            }
        }
    }

    fn sync_all(&self) -> Result<()> {
        self.sync_data()
    }

    fn allocate(&self, offset: u64, length: u64) -> Result<()> {
        let mut platter = lock(&self.platter);
        let end = (offset + length) as usize;
        platter.check_space(self.id, end)?;
        platter.step()?;
        if platter.files[self.id].content.len() < end {
            platter.set_length(self.id, end);
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<()> {
        let mut platter = lock(&self.platter);
        platter.check_space(self.id, length as usize)?;
        platter.step()?;
        platter.set_length(self.id, length as usize);
        Ok(())
    }

    fn len(&self) -> Result<u64> {
        let platter = lock(&self.platter);
        platter.check_power()?;
        Ok(platter.files[self.id].content.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> (SimDisk, Arc<dyn File>) {
        let disk = SimDisk::new();
        let file = disk.open(Path::new("/d/f"), Open::CREATE_NEW).expect("a file is made");
        file.write_at(b"synced", 0).and_then(|()| file.sync_data()).expect("it is written");
        disk.sync_dir(Path::new("/d")).expect("its entry is durable");
        (disk, file)
    }

    /// Every content that power cuts with different seeds leave of the one file.
    fn outcomes(disk: &SimDisk) -> std::collections::BTreeSet<Vec<u8>> {
        (0..200)
            .map(|seed| disk.after_power_cut(&mut Random::new(seed)).image().pop().map_or(vec![], |(_, bytes)| bytes))
            .collect()
    }

    #[test]
    fn what_is_synced_stays_and_what_is_not_may_stay() {
        let (disk, file) = written();
        assert_eq!(outcomes(&disk).into_iter().collect::<Vec<_>>(), [b"synced"]);
        file.write_at(b"later!", 0).expect("it is written");
        assert_eq!(outcomes(&disk).into_iter().collect::<Vec<_>>(), [b"later!", b"synced"]);
    }

    #[test]
    fn a_durable_write_promises_nothing_about_what_was_written_before() {
        let (disk, file) = written();
        file.write_at(b"ABCDEF", 0).expect("it is written");
        disk.fail_at(disk.steps() + 1, ErrorKind::Other);
        file.write_durably(b"xx", 4).expect_err("the second half of it fails");
        file.write_durably(b"12", 2).expect("it is durable");
        let contents = outcomes(&disk);
        assert!(contents.iter().all(|content| content[2..] == *b"12ed"), "{contents:?}");
        assert!(contents.contains(b"sy12ed".as_slice()) && contents.contains(b"AB12ed".as_slice()));
    }

    #[test]
    fn a_failed_sync_loses_the_dirty_data_and_the_next_one_says_nothing() {
        let (disk, file) = written();
        file.write_at(b"later!", 0).expect("it is written");
        disk.fail_at(disk.steps(), ErrorKind::Other);
        assert!(file.sync_data().is_err());
        assert_eq!(outcomes(&disk).into_iter().collect::<Vec<_>>(), [b"synced"]);
    }

    #[test]
    fn a_failed_write_back_loses_the_dirty_data_and_the_next_sync_says_so_once() {
        let (disk, file) = written();
        file.write_at(b"later!", 0).expect("it is written");
        disk.fail_at(disk.steps(), ErrorKind::Other);
        file.start_write_back(0, 6);
        assert_eq!(file.sync_data().expect_err("it failed before").kind(), ErrorKind::Other);
        file.sync_data().expect("it was said");
        assert_eq!(outcomes(&disk).into_iter().collect::<Vec<_>>(), [b"synced"]);
    }

    #[test]
    fn what_a_failed_sync_lost_stays_lost_when_a_later_sync_succeeds() {
        let (disk, file) = written();
        file.write_at(b"later!", 0).expect("it is written");
        disk.fail_at(disk.steps(), ErrorKind::Other);
        assert!(file.sync_data().is_err());
        file.write_at(b"more", 6).and_then(|()| file.sync_data()).expect("the next sync succeeds");
        assert_eq!(outcomes(&disk).into_iter().collect::<Vec<_>>(), [b"syncedmore"]);
        assert_eq!(disk.image()[0].1, b"later!more", "until the power goes off the page cache has it");
    }

    #[test]
    fn a_removed_file_is_read_until_it_is_closed_and_then_gives_its_space_back() {
        let disk = SimDisk::new();
        let path = Path::new("/d/f");
        let file = disk.open(path, Open::CREATE_NEW).expect("a file is made");
        file.write_at(b"still here", 0).expect("it is written");
        disk.remove(path).expect("it is removed");
        let mut buffer = [0; 10];
        assert_eq!((file.read_at(&mut buffer, 0).expect("it is open"), &buffer), (10, b"still here"));
        assert_eq!(disk.used(), 10);
        drop(file);
        assert_eq!(disk.used(), 0);
    }

    #[test]
    fn a_removed_file_that_a_power_cut_may_bring_back_takes_no_space() {
        let (disk, file) = written();
        drop(file);
        disk.remove(Path::new("/d/f")).expect("it is removed");
        assert_eq!(disk.used(), 0);
        assert_eq!(outcomes(&disk).into_iter().collect::<Vec<_>>(), [b"".to_vec(), b"synced".to_vec()]);
        disk.sync_dir(Path::new("/d")).expect("the directory is synced");
        assert_eq!(outcomes(&disk).into_iter().collect::<Vec<_>>(), [b"".to_vec()]);
    }

    #[test]
    fn an_entry_is_durable_only_after_the_directory_was_synced() {
        let disk = SimDisk::new();
        let file = disk.open(Path::new("/d/f"), Open::CREATE_NEW).expect("a file is made");
        file.write_at(b"x", 0).and_then(|()| file.sync_data()).expect("it is written");
        assert_eq!(outcomes(&disk).into_iter().collect::<Vec<_>>(), [b"".to_vec(), b"x".to_vec()]);
    }

    #[test]
    fn the_same_seed_gives_the_same_disk() {
        let (disk, file) = written();
        for n in 0..20 {
            file.write_at(&[n; 700], u64::from(n) * 600).expect("it is written");
        }
        let cut = || disk.after_power_cut(&mut Random::new(7)).image();
        assert_eq!(cut(), cut());
    }

    #[test]
    fn a_full_disk_takes_what_fits() {
        let (disk, file) = written();
        disk.set_capacity(Some(8));
        assert_eq!(file.allocate(0, 9).expect_err("it is full").kind(), ErrorKind::StorageFull);
        assert!(file.write_at(b"12345678", 0).is_ok());
        assert_eq!(file.write_at(b"abcd", 6).expect_err("it is full").kind(), ErrorKind::StorageFull);
        assert_eq!(disk.image()[0].1, b"123456ab", "a part of a failed write may be there");
    }
}
