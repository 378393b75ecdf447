//! Writing a checkpoint and reading its runs. The order of writes and syncs is `docs/formats/store.md`'s, and is all
//! there is to crash safety here: until the manifest is replaced the old checkpoint counts, from then on the new one
//! does.

use crate::fault::{Fault, Result, says_no_space};
use crate::manifest::Manifest;
use crate::open::{FILE_HEADER_BYTES, RUN_MAGIC, check_header, write_header};
use crate::reader::OpenSegment;
use crate::space::Space;
use bytes::Bytes;
use crc32c::{crc32c, crc32c_append};
use io::{Disk, File, Open};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What becomes of the runs of earlier checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They stay; the new run holds what came since.
    Delta,
    /// The new run holds everything.
    Full,
}

/// A checkpoint being written. Dropping it leaves the old checkpoint in force and gives the space of its run back.
#[derive(Debug)]
pub struct CheckpointWriter {
    disk: Arc<dyn Disk>,
    space: Arc<Space>,
    directory: PathBuf,
    manifest: Manifest,
    run: u32,
    /// Bytes of it that are written.
    run_bytes: u64,
    to_sync: Vec<Arc<OpenSegment>>,
    /// Segments without a live record, which the manifest no longer names.
    leaving: Vec<u32>,
    /// The file of the run exists, and no manifest names it.
    run_is_ours: bool,
}

/// A checkpoint that is durable; for `Store::finish_checkpoint`.
#[derive(Debug)]
pub struct Done {
    pub(crate) manifest: Manifest,
    pub(crate) manifest_bytes: u64,
    pub(crate) leaving: Vec<u32>,
    /// Of the new run.
    pub(crate) run_bytes: u64,
}

/// The manifest that is about to count.
const TEMPORARY: &str = "manifest.tmp";
/// Blocks are collected to writes of about this size.
const WRITE_BYTES: usize = 1 << 20;
const BLOCK_HEADER_BYTES: usize = 8;

const _: () = assert!(BLOCK_HEADER_BYTES == size_of::<u32>() + size_of::<u32>(), "length and checksum");
const _: () = assert!(BLOCK_HEADER_BYTES < WRITE_BYTES, "a write takes more than a header");

impl CheckpointWriter {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        space: Arc<Space>,
        directory: PathBuf,
        manifest: Manifest,
        run: u32,
        to_sync: Vec<Arc<OpenSegment>>,
        leaving: Vec<u32>,
    ) -> CheckpointWriter {
        CheckpointWriter { disk, space, directory, manifest, run, run_bytes: 0, to_sync, leaving, run_is_ours: false }
    }

    /// Finds space on a full disk for what a checkpoint writes, by removing the reserve. False if that is gone already.
    pub fn give_up_reserve(&self) -> bool {
        self.space.give_up()
    }

    /// Makes the checkpoint durable. `blocks` are the index blocks, each below 4 GiB. May be called again after a fault
    /// that `may_pass`, with the same blocks. After another that may be repeated the next checkpoint may succeed: what
    /// failed is its own files. After any other the store must be opened again.
    pub fn commit(&mut self, meta: &[u8], blocks: &mut dyn Iterator<Item = Vec<u8>>, mode: Mode) -> Result<Done> {
        let mut manifest = self.manifest.clone();
        if mode == Mode::Full {
            manifest.runs.clear();
        }
        let length = self.write_run(blocks)?;
        manifest.runs.push((self.run, length));
        manifest.meta = Bytes::copy_from_slice(meta);
        for segment in &self.to_sync {
            segment.sync()?;
        }
        self.disk.sync_dir(&self.directory).map_err(|error| {
            let fault = Fault::io("sync directory", &self.directory)(error);
            // A later sync may succeed and say nothing about names that this one lost.
            if fault.may_pass() { fault } else { fault.for_good() }
        })?;
        let manifest_bytes = write_manifest_temporary(&*self.disk, &self.directory, &manifest)?;
        // Even if replacing fails: the name may have changed and not be durable. Then the run must stay as it is.
        self.run_is_ours = false;
        replace_manifest(&*self.disk, &self.directory).inspect_err(|fault| {
            self.run_is_ours =
                fault.may_be_repeated() && self.disk.exists(&self.directory.join(TEMPORARY)).unwrap_or(false);
        })?;
        let run_bytes = std::mem::take(&mut self.run_bytes);
        Ok(Done { manifest, manifest_bytes, leaving: self.leaving.clone(), run_bytes })
    }

    fn run_path(&self) -> PathBuf {
        self.directory.join(format!("run-{:08x}", self.run))
    }

    fn write_run(&mut self, blocks: &mut dyn Iterator<Item = Vec<u8>>) -> Result<u64> {
        let path = self.run_path();
        self.space.take_unnamed(std::mem::take(&mut self.run_bytes));
        if self.disk.exists(&path).map_err(Fault::io("look for", &path))? {
            self.disk.remove(&path).map_err(Fault::io("remove", &path))?;
        }
        let file = self.disk.open(&path, Open::CREATE_NEW).map_err(Fault::io("make", &path))?;
        self.run_is_ours = true;
        write_header(&*file, RUN_MAGIC, self.run).map_err(Fault::io("write header of", &path))?;
        let mut at = FILE_HEADER_BYTES;
        let mut buffer = Vec::with_capacity(WRITE_BYTES);
        let (space, run_bytes) = (&self.space, &mut self.run_bytes);
        let mut write = |buffer: &mut Vec<u8>| {
            file.write_at(buffer, at).map_err(Fault::io("write blocks to", &path))?;
            file.start_write_back(at, buffer.len() as u64);
            at += buffer.len() as u64;
            space.add_unnamed(buffer.len() as u64);
            *run_bytes += buffer.len() as u64;
            buffer.clear();
            Ok(at)
        };
        for block in blocks {
            let length = u32::try_from(block.len()).expect("index blocks stay below 4 GiB").to_le_bytes();
            buffer.extend_from_slice(&length);
            buffer.extend_from_slice(&crc32c_append(crc32c(&length), &block).to_le_bytes());
            buffer.extend_from_slice(&block);
            if buffer.len() >= WRITE_BYTES {
                write(&mut buffer)?;
            }
        }
        let length = write(&mut buffer)?;
        assert_eq!(length, FILE_HEADER_BYTES + self.run_bytes, "a run is its header and what was written");
        file.sync_all().map_err(Fault::io("sync", &path))?;
        Ok(length)
    }
}

/// Writes the manifest next to the one that counts, and syncs it. Answers its length.
pub(crate) fn write_manifest_temporary(disk: &dyn Disk, directory: &Path, manifest: &Manifest) -> Result<u64> {
    assert!(manifest.is_sensible(), "a manifest can be read back");
    let temporary = directory.join(TEMPORARY);
    // A file whose write or sync failed is not written again.
    if disk.exists(&temporary).map_err(Fault::io("look for", &temporary))? {
        disk.remove(&temporary).map_err(Fault::io("remove", &temporary))?;
    }
    let file = disk.open(&temporary, Open::CREATE).map_err(Fault::io("make", &temporary))?;
    let content = manifest.encode();
    file.set_len(0)
        .and_then(|()| file.write_at(&content, 0))
        .and_then(|()| file.sync_all())
        .map_err(Fault::io("write", &temporary))?;
    Ok(content.len() as u64)
}

/// Puts it in the place of the one that counts. If this fails and the new one has lost its name, either may be found
/// after a power cut; as long as it has it, the old one counts and all may be done anew.
pub(crate) fn replace_manifest(disk: &dyn Disk, directory: &Path) -> Result<()> {
    let (path, temporary) = (directory.join("manifest"), directory.join(TEMPORARY));
    disk.replace(&temporary, &path).map_err(|error| {
        // That shows before anything has changed.
        if io::is_out_of_descriptors(&error) {
            return Fault::io("replace", &path)(error);
        }
        let has_its_name = disk.exists(&temporary).unwrap_or(false);
        if has_its_name || says_no_space(&error) {
            Fault::io_anew("replace", &path)(error)
        } else {
            Fault::io_for_good("replace", &path)(error)
        }
    })
}

impl Drop for CheckpointWriter {
    fn drop(&mut self) {
        self.space.take_unnamed(self.run_bytes);
        if self.run_is_ours {
            // If it cannot be removed now, it is at the next open.
            let _ = self.disk.remove(&self.run_path());
        }
    }
}

/// The index blocks of one checkpoint.
#[derive(Debug)]
pub struct Run {
    path: PathBuf,
    file: Arc<dyn File>,
    length: u64,
    at: u64,
}

impl Run {
    pub(crate) fn open(disk: &dyn Disk, directory: &Path, id: u32, length: u64) -> Result<Run> {
        let path = directory.join(format!("run-{id:08x}"));
        let file = disk.open(&path, Open::READ).map_err(Fault::io("open", &path))?;
        check_header(&*file, &path, RUN_MAGIC, id)?;
        let found = file.len().map_err(Fault::io("open", &path))?;
        if found != length {
            return Err(Fault::damaged("open", &path, found, "the file has another length than the checkpoint says"));
        }
        assert!(length >= FILE_HEADER_BYTES, "a manifest that was decoded names no run without a header");
        Ok(Run { path, file, length, at: FILE_HEADER_BYTES })
    }

    /// Bytes of the whole file.
    pub fn file_bytes(&self) -> u64 {
        self.length
    }

    /// The next block, or `None` behind the last.
    pub fn next_block(&mut self) -> Result<Option<Bytes>> {
        if self.at == self.length {
            return Ok(None);
        }
        let damaged = |what| Fault::damaged("read block of", &self.path, self.at, what);
        let mut header = [0; BLOCK_HEADER_BYTES];
        if self.length - self.at < BLOCK_HEADER_BYTES as u64 {
            return Err(damaged("the block is cut short"));
        }
        read(&*self.file, &self.path, &mut header, self.at)?;
        let [l0, l1, l2, l3, c0, c1, c2, c3] = header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        if u64::from(length) > self.length - self.at - BLOCK_HEADER_BYTES as u64 {
            return Err(damaged("the block is longer than the file"));
        }
        let mut block = vec![0; length as usize];
        let start = self.at + BLOCK_HEADER_BYTES as u64;
        read(&*self.file, &self.path, &mut block, start)?;
        if crc32c_append(crc32c(&[l0, l1, l2, l3]), &block) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Err(damaged("the block fails its checksum"));
        }
        self.at = start + u64::from(length);
        assert!(self.at <= self.length, "a block ends in its file");
        Ok(Some(block.into()))
    }
}

fn read(file: &dyn File, path: &Path, buffer: &mut [u8], at: u64) -> Result<()> {
    file.read_exact_at(buffer, at).map_err(|error| Fault::io("read block of", path)(error).at(at))
}
