//! Files that a durable checkpoint stopped naming. Removing a long file takes the file system a while, and so does
//! closing the last handle of a removed one: both are for a thread that may take its time.

use crate::fault::Fault;
use crate::reader::OpenSegment;
use crate::space::Space;
use io::Disk;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

/// See the file's head. Until they are removed the files count as the store's; those that never are go at the next
/// open.
#[derive(Debug)]
#[must_use = "the files take space until they are removed"]
pub struct Leftovers {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) space: Weak<Space>,
    /// With what each takes.
    pub(crate) files: Vec<(PathBuf, u64)>,
    pub(crate) unlinked: Unlinked,
}

/// Removed segments that readers may still read; their space is free once the last handle is closed.
#[derive(Debug, Default)]
pub struct Unlinked(pub(crate) Vec<Arc<OpenSegment>>);

impl Leftovers {
    /// Removes the files. Those that cannot be removed stay here, for another attempt, and the first fault is told.
    pub fn remove(&mut self) -> Result<(), Fault> {
        let mut removed = Ok(());
        let space = self.space.upgrade();
        self.files.retain(|(path, bytes)| {
            let gone = match self.disk.remove(path) {
                // An attempt before was told that it failed.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                gone => gone.map_err(Fault::io("remove", path)),
            };
            let stays = gone.is_err();
            if let (false, Some(space)) = (stays, &space) {
                space.take_unnamed(*bytes);
            }
            if removed.is_ok() {
                removed = gone;
            }
            stays
        });
        removed
    }

    /// The removed segments, from which readers may still read.
    pub fn take_unlinked(&mut self) -> Unlinked {
        std::mem::take(&mut self.unlinked)
    }
}

impl Unlinked {
    /// Closes the segments that no reader has open.
    pub fn close_unused(&mut self) {
        self.0.retain(|segment| Arc::strong_count(segment) > 1);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes that readers keep from being free. What the system does not tell counts as nothing.
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|segment| segment.file.len().unwrap_or_default()).sum()
    }

    /// Takes the other's in.
    pub fn extend(&mut self, other: Unlinked) {
        self.0.extend(other.0);
    }
}
