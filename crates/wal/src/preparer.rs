//! Makes the files that will be segments, away from the thread that writes the log: recycles segments that were
//! trimmed, or writes zeros to new files, so that a sync of the log finds its space already on the disk.
//!
//! Invariants: a file becomes a spare only when its space is durable; retired segments go oldest first, one at a time,
//! each durably, so that those left are always contiguous.

use crate::fault::{Fault, Result};
use crate::files::{self, SMALL_SEGMENT_BYTES};
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
    /// The newest spare is smaller than it should be, for lack of space.
    is_squeezed: bool,
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
        Preparer { disk, directory, segment_bytes, pool, next_spare, building: None, is_squeezed: false }
    }

    /// Does all there is to do. `spares_little`: the disk is full, and a spare is to take no more of it than it must.
    pub fn run(&mut self, spares_little: bool) -> Result<()> {
        if spares_little {
            self.give_back_large()?;
        }
        while self.step(spares_little)? == Progress::More {}
        Ok(())
    }

    /// True if the log would have to make its next segment by itself.
    pub fn has_none_ready(&self) -> bool {
        self.pool.lock().spares.is_empty()
    }

    /// True if the log has full segments, which it may be able to trim.
    pub fn has_full_segments(&self) -> bool {
        self.pool.lock().sealed > 0
    }

    /// True if there is so little space that what the log could trim is missed.
    pub fn is_squeezed(&self) -> bool {
        self.is_squeezed
    }

    /// Spares that are larger than they must be.
    fn give_back_large(&mut self) -> Result<()> {
        if self.building.take_if(|building| building.bytes > SMALL_SEGMENT_BYTES).is_some() {
            let path = self.directory.join(files::SPARE_TEMPORARY);
            self.disk.remove(&path).map_err(Fault::io("remove", &path))?;
        }
        let Some(spare) = self.pool.lock().spares.front().copied() else { return Ok(()) };
        let path = files::spare_path(&self.directory, spare);
        // The log may have taken it by now.
        let length = self.disk.open(&path, Open::READ).and_then(|file| file.len());
        if !length.is_ok_and(|length| length > SMALL_SEGMENT_BYTES)
            || self.pool.lock().spares.pop_front_if(|front| *front == spare).is_none()
        {
            return Ok(());
        }
        self.disk.remove(&path).map_err(Fault::io("remove", &path))
    }

    fn planned_bytes(&mut self, spares_little: bool) -> u64 {
        let planned = files::segment_bytes(self.pool.lock().active + 1, self.segment_bytes);
        // Where that cannot be asked, the attempt will show.
        let free = || self.disk.free_space(&self.directory).unwrap_or(u64::MAX);
        let fitting = files::fitting_bytes(planned, if spares_little { 0 } else { free() });
        self.is_squeezed = fitting < planned;
        fitting
    }

    /// Does one piece of work, at most about 1 MiB of writing and a sync. After a fault, which may be that no space is
    /// left, the next call starts again with what is still missing.
    pub fn step(&mut self, spares_little: bool) -> Result<Progress> {
        let retired = self.pool.lock().retired.front().copied();
        if let Some(sequence) = retired {
            self.recycle(sequence, spares_little)?;
            return Ok(Progress::More);
        }
        if self.building.is_none() && self.pool.lock().spares.len() < SPARES_MAX {
            let bytes = self.planned_bytes(spares_little);
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

    fn recycle(&mut self, sequence: u64, spares_little: bool) -> Result<()> {
        let path = files::segment_path(&self.directory, sequence);
        let mut spare = None;
        match self.disk.open(&path, Open::READ) {
            Ok(file) => {
                let length = file.len().map_err(Fault::io("measure", &path))?;
                let wanted = if spares_little { SMALL_SEGMENT_BYTES } else { self.segment_bytes };
                if length == wanted && self.pool.lock().spares.len() < SPARES_MAX {
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
