//! A segment written on another thread than the owner's: copies of records that are still live, so that the segments
//! they lie in can go.
//!
//! Invariant: it is nobody's until the owner adopts it; one that never is leaves nothing behind but, after a crash, a
//! file that no checkpoint names.

use crate::fault::{Fault, Result};
use crate::open::{FILE_HEADER_BYTES, SEGMENT_MAGIC, put_header};
use crate::reader::OpenSegment;
use crate::record::{Location, put_record};
use crate::space::Space;
use io::{Disk, Open};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Records are collected to writes of about this size.
const WRITE_BYTES: usize = 1 << 20;

/// See the file's head. Dropping it removes the file.
#[derive(Debug)]
pub struct ColdWriter {
    disk: Arc<dyn Disk>,
    space: Arc<Space>,
    id: u32,
    path: PathBuf,
    open: Option<Arc<OpenSegment>>,
    /// Not written yet; begins at `written`.
    buffer: Vec<u8>,
    written: u64,
}

/// Complete, and readable; for `Store::adopt`.
#[derive(Debug)]
pub struct ColdSegment {
    pub(crate) open: Arc<OpenSegment>,
    pub(crate) length: u64,
}

impl ColdWriter {
    pub(crate) fn new(disk: Arc<dyn Disk>, space: Arc<Space>, directory: &Path, id: u32) -> ColdWriter {
        let path = directory.join(format!("segment-{id:08x}"));
        ColdWriter { disk, space, id, path, open: None, buffer: Vec::new(), written: 0 }
    }

    /// Takes a record. Its location is readable once the segment is adopted. If the disk is full even without the
    /// reserve, fails with a lack of space: then the writer is to be dropped.
    pub fn append(&mut self, payload: &[u8]) -> Result<Location> {
        if self.open.is_none() {
            self.make()?;
        }
        let end = self.written + self.buffer.len() as u64;
        let too_large = || Fault::refused("append to", &self.path, "the segment or the record is longer than 4 GiB");
        let offset = u32::try_from(end).map_err(|_| too_large())?;
        let length = u32::try_from(payload.len()).map_err(|_| too_large())?;
        let location = Location { segment: self.id, offset, length };
        put_record(&mut self.buffer, &[payload], location);
        assert_eq!(location.end(), self.written + self.buffer.len() as u64, "the buffer ends with the record");
        if self.buffer.len() >= WRITE_BYTES {
            self.write()?;
        }
        Ok(location)
    }

    /// Bytes of the records taken so far.
    pub fn record_bytes(&self) -> u64 {
        (self.written + self.buffer.len() as u64).saturating_sub(FILE_HEADER_BYTES)
    }

    /// Ends the segment; `None` if no record was taken. Does not sync: the checkpoint that first names it does.
    pub fn finish(mut self) -> Result<Option<ColdSegment>> {
        self.write()?;
        assert!(self.buffer.is_empty(), "a cold segment is complete in its file");
        let length = self.written;
        Ok(self.open.take().map(|open| ColdSegment { open, length }))
    }

    fn make(&mut self) -> Result<()> {
        let make = || {
            // Left over by an attempt before.
            if self.disk.exists(&self.path)? {
                self.disk.remove(&self.path)?;
            }
            self.disk.open(&self.path, Open::CREATE_NEW)
        };
        let file = with_reserve(&self.space, make).map_err(Fault::io("make", &self.path))?;
        self.open = Some(OpenSegment::new(self.id, self.path.clone(), file));
        put_header(&mut self.buffer, SEGMENT_MAGIC, self.id);
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        let Some(open) = &self.open else { return Ok(()) };
        let write = || open.file.write_at(&self.buffer, self.written);
        with_reserve(&self.space, write).map_err(|error| Fault::io("write records to", &self.path)(error))?;
        open.file.start_write_back(self.written, self.buffer.len() as u64);
        self.space.add_unnamed(self.buffer.len() as u64);
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Tries again without the reserve if the disk is full.
fn with_reserve<T>(space: &Space, attempt: impl Fn() -> std::io::Result<T>) -> std::io::Result<T> {
    match attempt() {
        Err(error) if crate::fault::says_no_space(&error) && space.give_up() => attempt(),
        other => other,
    }
}

impl ColdSegment {
    pub(crate) fn record_bytes(&self) -> u64 {
        assert!(self.length >= FILE_HEADER_BYTES, "a cold segment has its header");
        self.length - FILE_HEADER_BYTES
    }
}

impl Drop for ColdWriter {
    fn drop(&mut self) {
        if self.open.is_some() {
            self.space.take_unnamed(self.written);
            // If it cannot be removed now, it is at the next open.
            let _ = self.disk.remove(&self.path);
        }
    }
}
