//! Checking a store that nobody uses, without changing a byte of it: everything its manifest names, to the last record.

use crate::checkpoint::Run;
use crate::fault::{Fault, Result};
use crate::manifest::Manifest;
use crate::open::{look_at_segment, read_manifest};
use crate::reader::{OpenSegment, Reader};
use crate::scan::Scan;
use crate::segments::Checkpoint;
use io::Disk;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A store opened to look at.
#[derive(Debug)]
pub struct Image {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    manifest: Manifest,
    /// The segments that could be opened, by ascending id, and how far they count.
    segments: Vec<(Arc<OpenSegment>, u64)>,
    /// Why others could not.
    faults: Vec<Fault>,
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Records that are what was written.
    pub records: u64,
    /// Their payloads together.
    pub payload_bytes: u64,
    /// Everything that is not, by file and offset.
    pub faults: Vec<Fault>,
}

impl Image {
    /// Reads the manifest and opens what it names. Fails only if there is no sound manifest, because without it nothing
    /// says what should be there.
    pub fn open(disk: Arc<dyn Disk>, directory: &Path) -> Result<Image> {
        let path = directory.join("manifest");
        let missing = || Fault::refused("open", &path, "there is none, so this is not a store's directory");
        let manifest = read_manifest(&*disk, directory)?.ok_or_else(missing)?;
        let mut segments = Vec::new();
        let mut faults = Vec::new();
        for &(id, length) in &manifest.segments {
            match look_at_segment(&*disk, directory, id, length) {
                Ok(segment) => segments.push((segment, length)),
                Err(fault) => faults.push(fault),
            }
        }
        Ok(Image { disk, directory: directory.to_owned(), manifest, segments, faults })
    }

    /// The checkpoint, as `Store::open` would hand it out; `None` before the first one.
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>> {
        let runs = self.runs().collect::<Result<Vec<Run>>>()?;
        Ok((self.manifest.sequence > 0).then(|| Checkpoint { meta: self.manifest.meta.clone(), runs }))
    }

    /// Reads records by their location; one in a segment that could not be opened is damage.
    pub fn reader(&self) -> Reader {
        let segments = self.segments.iter().map(|(segment, _)| segment.clone()).collect();
        Reader { segments: Arc::new(segments), tail: Arc::default() }
    }

    /// Checks all runs and all records. A record whose length is damaged hides those behind it from this walk; the
    /// layer above knows their places and finds them.
    pub fn verify(mut self) -> Verified {
        let mut verified = Verified { faults: std::mem::take(&mut self.faults), ..Verified::default() };
        for run in self.runs() {
            if let Err(fault) = run.and_then(verify_run) {
                verified.faults.push(fault);
            }
        }
        for (segment, length) in &self.segments {
            verified.segment(Scan::new(segment.clone(), *length));
        }
        verified
    }

    fn runs(&self) -> impl Iterator<Item = Result<Run>> + '_ {
        self.manifest.runs.iter().map(|&(id, length)| Run::open(&*self.disk, &self.directory, id, length))
    }
}

impl Verified {
    fn segment(&mut self, mut scan: Scan) {
        loop {
            match scan.next_record() {
                Ok(Some((_, payload))) => {
                    self.records += 1;
                    self.payload_bytes += payload.len() as u64;
                }
                Ok(None) => return,
                Err(fault) => {
                    self.faults.push(fault);
                    if !scan.skip() {
                        return;
                    }
                }
            }
        }
    }
}

fn verify_run(mut run: Run) -> Result<()> {
    while run.next_block()?.is_some() {}
    Ok(())
}
