//! Going over everything that the newest checkpoint names, to the last record, without changing a byte.
//!
//! Invariant: nothing is said to be damaged that was not read twice.
//! Works beside the store's owner, who removes files: what a newer checkpoint does not name is not missing. What lies
//! behind the checkpoint is not looked at, because a start makes it again from the log.
//! Not here: whose a damaged record is, which the layer above knows.

use crate::checkpoint::Run;
use crate::fault::Result;
use crate::manifest::Manifest;
use crate::open::{look_at_segment, read_manifest, run_name, segment_name};
use crate::record::RECORD_OVERHEAD_BYTES;
use crate::scan::Scan;
use io::Disk;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file that a checkpoint names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Named {
    Run(u32),
    Segment(u32),
}

/// What was read, and is what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sound {
    /// Of a run.
    Block {
        bytes: u64,
    },
    Record {
        payload_bytes: u64,
    },
}

/// See the file's head. Holds one file open, and as much in memory as a `Scan`, or one block.
#[derive(Debug)]
pub struct Walk {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    /// What is to be gone over, and how far it counts. The first is the one at hand.
    files: VecDeque<(Named, u64)>,
    open: Option<Opened>,
}

#[derive(Debug)]
enum Opened {
    Run(Run),
    Segment(Scan),
}

impl Sound {
    /// Of the file.
    pub fn bytes(self) -> u64 {
        match self {
            Sound::Block { bytes } => bytes,
            Sound::Record { payload_bytes } => RECORD_OVERHEAD_BYTES + payload_bytes,
        }
    }
}

impl Named {
    fn path(self, directory: &Path) -> PathBuf {
        match self {
            Named::Run(id) => directory.join(run_name(id)),
            Named::Segment(id) => directory.join(segment_name(id)),
        }
    }
}

impl Manifest {
    fn named(&self) -> impl Iterator<Item = (Named, u64)> + '_ {
        let runs = self.runs.iter().map(|&(id, length)| (Named::Run(id), length));
        runs.chain(self.segments.iter().map(|&(id, length)| (Named::Segment(id), length)))
    }
}

impl Opened {
    fn step(&mut self) -> Result<Option<Sound>> {
        match self {
            Opened::Run(run) => Ok(run.next_block()?.map(|block| Sound::Block { bytes: block.len() as u64 })),
            Opened::Segment(scan) => {
                Ok(scan.next_record()?.map(|(_, payload)| Sound::Record { payload_bytes: payload.len() as u64 }))
            }
        }
    }

    fn step_anew(&mut self) -> Result<Option<Sound>> {
        if let Opened::Segment(scan) = self {
            scan.read_anew();
        }
        self.step()
    }
}

impl Walk {
    /// Over what the checkpoint names that is the newest now. Fails if its manifest cannot be read.
    pub fn begin(disk: Arc<dyn Disk>, directory: &Path) -> Result<Walk> {
        let manifest = read_manifest(&*disk, directory)?.unwrap_or_default();
        Ok(Walk::over(disk, directory, &manifest))
    }

    pub(crate) fn over(disk: Arc<dyn Disk>, directory: &Path, manifest: &Manifest) -> Walk {
        Walk { disk, directory: directory.to_owned(), files: manifest.named().collect(), open: None }
    }

    /// The file at hand, until all are done.
    pub fn file(&self) -> Option<Named> {
        self.files.front().map(|(file, _)| *file)
    }

    /// The next block or record, `None` behind the last. After a fault the next call answers the same again, unless
    /// `pass`, `pass_to` or `leave` came between.
    pub fn step(&mut self) -> Result<Option<Sound>> {
        while let Some(&(file, length)) = self.files.front() {
            let opened = match self.open.take() {
                Some(opened) => opened,
                None => self.open(file, length)?,
            };
            let opened = self.open.insert(opened);
            match opened.step().or_else(|_| opened.step_anew())? {
                None => self.leave(),
                sound => return Ok(sound),
            }
        }
        Ok(None)
    }

    fn open(&self, file: Named, length: u64) -> Result<Opened> {
        Ok(match file {
            Named::Run(id) => Opened::Run(Run::open(&*self.disk, &self.directory, id, length)?),
            Named::Segment(id) => {
                Opened::Segment(Scan::new(look_at_segment(&*self.disk, &self.directory, id, length)?, length))
            }
        })
    }

    /// True if the file at hand could be opened.
    pub fn is_in_file(&self) -> bool {
        self.open.is_some()
    }

    /// Goes on behind the record that is damaged, if its length can be believed, or else with the next file.
    pub fn pass(&mut self) {
        if !self.scan().is_some_and(Scan::skip) {
            self.leave();
        }
    }

    /// Goes on with the record that begins there, or else with the next file.
    pub fn pass_to(&mut self, offset: Option<u32>) {
        let is_ahead = offset.zip(self.scan()).is_some_and(|(offset, scan)| scan.go_to(u64::from(offset)));
        if !is_ahead {
            self.leave();
        }
    }

    fn scan(&mut self) -> Option<&mut Scan> {
        match &mut self.open {
            Some(Opened::Segment(scan)) => Some(scan),
            Some(Opened::Run(_)) | None => None,
        }
    }

    /// Goes on with the next file.
    pub fn leave(&mut self) {
        self.open = None;
        self.files.pop_front();
    }

    /// Lets go of a file that was removed, so that its space is free. Then the next step fails.
    pub fn let_go_of_removed(&mut self) {
        let is_there = |file: Named| self.disk.exists(&file.path(&self.directory)).unwrap_or(true);
        if !self.file().is_none_or(is_there) {
            self.open = None;
        }
    }

    /// True if the checkpoint that is the newest now names it, too.
    pub fn is_still_named(&self, file: Named) -> Result<bool> {
        let manifest = read_manifest(&*self.disk, &self.directory)?.unwrap_or_default();
        Ok(manifest.named().any(|(named, _)| named == file))
    }
}
