//! Checking a store that nobody uses, without changing a byte of it: everything its manifest names, to the last record.

use crate::checkpoint::Run;
use crate::fault::{Fault, Result};
use crate::manifest::Manifest;
use crate::open::{look_at_segment, read_manifest};
use crate::reader::{OpenSegment, Reader};
use crate::segments::Checkpoint;
use crate::walk::{Sound, Walk};
use io::Disk;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A store opened to look at.
#[derive(Debug)]
pub struct Image {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    manifest: Manifest,
    /// Those that could be opened, by ascending id.
    segments: Vec<Arc<OpenSegment>>,
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
        let look = |&(id, length): &(u32, u64)| look_at_segment(&*disk, directory, id, length);
        // Why others could not be opened is for `verify`.
        let segments = manifest.segments.iter().map(look).filter_map(Result::ok).collect();
        Ok(Image { disk, directory: directory.to_owned(), manifest, segments })
    }

    /// The checkpoint, as `Store::open` would hand it out; `None` before the first one.
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>> {
        let runs = self.runs().collect::<Result<Vec<Run>>>()?;
        Ok((self.manifest.sequence > 0).then(|| Checkpoint { meta: self.manifest.meta.clone(), runs }))
    }

    /// Reads records by their location; one in a segment that could not be opened is damage.
    pub fn reader(&self) -> Reader {
        Reader { segments: Arc::new(self.segments.clone()), tail: Arc::default() }
    }

    /// Checks all runs and all records. A record whose length is damaged hides those behind it from this walk; the
    /// layer above knows their places and finds them.
    pub fn verify(self) -> Verified {
        let mut verified = Verified::default();
        let mut walk = Walk::over(self.disk, &self.directory, &self.manifest);
        loop {
            match walk.step() {
                Ok(Some(Sound::Record { payload_bytes })) => {
                    verified.records += 1;
                    verified.payload_bytes += payload_bytes;
                }
                Ok(Some(Sound::Block { .. })) => {}
                Ok(None) => return verified,
                Err(fault) => {
                    verified.faults.push(fault);
                    walk.pass();
                }
            }
        }
    }

    fn runs(&self) -> impl Iterator<Item = Result<Run>> + '_ {
        self.manifest.runs.iter().map(|&(id, length)| Run::open(&*self.disk, &self.directory, id, length))
    }
}
