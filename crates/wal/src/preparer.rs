//! Makes the files that will be segments, away from the thread that writes the log: recycles segments that were
//! trimmed, or writes zeros to new files, so that a sync of the log finds its space already on the disk.
//!
//! Invariants: a file becomes a spare only when its space is durable; retired segments go oldest first, one at a time,
//! each durably, so that those left are always contiguous.

use crate::fault::{Fault, Result};
use crate::files;
use crate::pool::{SPARES_MAX, SharedPool};
use io::{BLOCK_BYTES, Disk, File, Open};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

/// Zeros are written in pieces with a sync after each, so that the log's own syncs never wait for more than one of
/// them.
const PIECE_BYTES: usize = 1 << 20;

/// Aligned, since spares are written past the page cache: they are not read, and the log writes them so.
#[repr(align(4096))]
struct Zeros([u8; PIECE_BYTES]);

static ZEROS: Zeros = Zeros([0; PIECE_BYTES]);

const _: () = assert!(align_of::<Zeros>() == BLOCK_BYTES && PIECE_BYTES.is_multiple_of(BLOCK_BYTES));

/// Whether there is more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// One piece of work was done; call again.
    More,
    /// Nothing to do until a segment is taken or trimmed.
    Idle,
}

/// See the top of the file. Got from `Wal::preparer`; there is one for each log.
pub struct Preparer {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    segment_bytes: u64,
    pool: SharedPool,
    next_spare: u64,
    building: Option<Building>,
}

struct Building {
    file: Arc<dyn File>,
    bytes: u64,
    filled: u64,
}

impl Preparer {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        directory: PathBuf,
        segment_bytes: u64,
        pool: SharedPool,
        next_spare: u64,
    ) -> Preparer {
        Preparer { disk, directory, segment_bytes, pool, next_spare, building: None }
    }

    /// Does all there is to do.
    pub fn run(&mut self) -> Result<()> {
        while self.step()? == Progress::More {}
        Ok(())
    }

    /// Does one piece of work, at most about 1 MiB of writing and a sync. After a fault, which may be that no space is
    /// left, the next call starts again with what is still missing.
    pub fn step(&mut self) -> Result<Progress> {
        let retired = self.pool.lock().retired.front().copied();
        if let Some(sequence) = retired {
            self.recycle(sequence)?;
            return Ok(Progress::More);
        }
        if self.building.is_none() && self.pool.lock().spares.len() < SPARES_MAX {
            let bytes = files::segment_bytes(self.pool.lock().active + 1, self.segment_bytes);
            self.building = Some(self.begin(bytes)?);
            return Ok(Progress::More);
        }
        let Some(mut building) = self.building.take() else { return Ok(Progress::Idle) };
        if building.filled < building.bytes {
            self.fill(&mut building)?;
            self.building = Some(building);
        } else {
            self.publish(&building)?;
        }
        Ok(Progress::More)
    }

    fn recycle(&mut self, sequence: u64) -> Result<()> {
        let path = files::segment_path(&self.directory, sequence);
        let mut spare = None;
        match self.disk.open(&path, Open::READ) {
            Ok(file) => {
                let length = file.len().map_err(Fault::io("measure", &path))?;
                if length == self.segment_bytes && self.pool.lock().spares.len() < SPARES_MAX {
                    let to = files::spare_path(&self.directory, self.next_spare);
                    self.disk.replace(&path, &to).map_err(Fault::io("rename", &path))?;
                    spare = Some(self.next_spare);
                    self.next_spare += 1;
                } else {
                    self.disk.remove(&path).map_err(Fault::io("remove", &path))?;
                }
            }
            // An earlier attempt failed after its rename or removal, and has left only the sync to do.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Fault::io("open", &path)(error)),
        }
        self.disk.sync_dir(&self.directory).map_err(Fault::io("sync directory", &self.directory))?;
        let mut pool = self.pool.lock();
        pool.retired.pop_front();
        pool.spares.extend(spare);
        Ok(())
    }

    /// Reserves the space first: a full disk shows here, and nothing is left behind.
    fn begin(&self, bytes: u64) -> Result<Building> {
        let path = self.directory.join(files::SPARE_TEMPORARY);
        let how = Open { direct: true, ..Open::CREATE };
        let file = self.disk.open(&path, how).map_err(Fault::io("create", &path))?;
        files::reserve(&*self.disk, &*file, &path, bytes)?;
        Ok(Building { file, bytes, filled: 0 })
    }

    fn fill(&self, building: &mut Building) -> Result<()> {
        let path = self.directory.join(files::SPARE_TEMPORARY);
        let piece = ZEROS.0.len().min((building.bytes - building.filled) as usize);
        let written = building.file.write_durably(&ZEROS.0[..piece], building.filled);
        written.map_err(Fault::io("write and sync", &path))?;
        building.filled += piece as u64;
        Ok(())
    }

    fn publish(&mut self, building: &Building) -> Result<()> {
        let from = self.directory.join(files::SPARE_TEMPORARY);
        let to = files::spare_path(&self.directory, self.next_spare);
        building.file.sync_all().map_err(Fault::io("sync", &from))?;
        self.disk.replace(&from, &to).map_err(Fault::io("rename", &from))?;
        self.pool.lock().spares.push_back(self.next_spare);
        self.next_spare += 1;
        Ok(())
    }
}
