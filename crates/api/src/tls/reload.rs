//! The configuration that new handshakes use, kept up with the files it came from.
//!
//! `refresh` compares what the file system says about the files; only a change makes it read them. Invariant: `current`
//! is always a configuration that loaded as a whole, so that a certificate and its key never come from two different
//! pairs.

use super::{TlsError, TlsFiles};
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

#[derive(Debug)]
pub(crate) struct Reloading {
    files: TlsFiles,
    current: ArcSwap<ServerConfig>,
    /// What the files looked like when they were last read, whether that worked or not.
    seen: Mutex<Vec<Option<Stamp>>>,
}

/// Tells one state of a file from another: replaced, rewritten or touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Reloading {
    /// Loads the files for the first time.
    pub(crate) fn load(files: TlsFiles) -> Result<Reloading, TlsError> {
        // Before reading: a change in between is then seen by the next refresh.
        let seen = stamps(&files);
        let config = files.load()?;
        Ok(Reloading { files, current: ArcSwap::from(config), seen: Mutex::new(seen) })
    }

    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Takes over changed files. A change that does not load is logged, once, and changes nothing.
    pub(crate) fn refresh(&self) {
        let now = stamps(&self.files);
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *seen == now {
            return;
        }
        *seen = now;
        let cert = self.files.cert.display();
        match self.files.load() {
            Ok(config) => {
                self.current.store(config);
                tracing::info!(%cert, "reloaded TLS files");
            }
            Err(error) => {
                tracing::error!(%cert, %error, "reload TLS files: the previous ones stay in use");
            }
        }
    }
}

fn stamps(files: &TlsFiles) -> Vec<Option<Stamp>> {
    files.paths().map(stamp).collect()
}

/// `None` for a file that cannot be looked at, such as one that is just being replaced.
fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        bytes: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
    })
}
