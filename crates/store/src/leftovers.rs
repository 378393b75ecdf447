//! Files that a durable checkpoint stopped naming. Removing a long file takes the file system a while, and so does
//! closing the last handle of a removed one: both are for a thread that may take its time.

use crate::fault::{Fault, Result};
use crate::reader::OpenSegment;
use crate::space::Space;
use io::Disk;
use std::path::PathBuf;
use std::sync::Arc;

/// See the file's head. Until `remove` the files count as the store's; those that are not removed go at the next open.
#[derive(Debug)]
#[must_use = "the files take space until they are removed"]
pub struct Leftovers {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) space: Arc<Space>,
    /// With what each takes.
    pub(crate) files: Vec<(PathBuf, u64)>,
    pub(crate) unlinked: Unlinked,
}

/// Removed segments that readers may still read; their space is free once the last handle is closed.
#[derive(Debug, Default)]
pub struct Unlinked(pub(crate) Vec<Arc<OpenSegment>>);

impl Leftovers {
    /// Removes the files, and puts the reserve aside again if it was given up and there is space. All files are tried,
    /// the first fault is told.
    pub fn remove(self) -> Result<Unlinked> {
        let mut removed = Ok(());
        for (path, bytes) in &self.files {
            let gone = self.disk.remove(path).map_err(Fault::io("remove", path));
            self.space.take_unnamed(*bytes);
            removed = removed.and(gone);
        }
        // If there is no space for it yet, the next checkpoint tries again.
        let _ = self.space.reserve();
        removed.map(|()| self.unlinked)
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

    /// Takes the other's in.
    pub fn extend(&mut self, other: Unlinked) {
        self.0.extend(other.0);
    }
}
