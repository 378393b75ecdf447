//! How a process's file descriptors are dealt out: what its files and threads need is kept, and connections get the
//! rest.
//!
//! Not here: which connection has to go (`places`), and raising the limit (`cli`).

use crate::config::{Config, Descriptors};

/// Kept for everything but connections; etcd's figure.
const RESERVED_MIN: usize = 150;
/// Files that may be opened beyond those that are open now.
const FILES_AHEAD: usize = 64;
/// Of a runtime: its poll, its wake-up, and what it is watched with.
const RUNTIME: usize = 4;
/// Runtimes beside the rims': the main thread's, and those that accept clients and peers.
const RUNTIMES: usize = 3;
/// Standard streams, signals, the log, a reading of the process's own figures.
const OTHERS: usize = 16;
/// Connections that have been asked to go and are not closed yet.
pub(super) const LEAVING_MAX: usize = 16;
/// Fewer connections than this are of no use.
const CONNECTIONS_MIN: usize = 16;

impl Descriptors {
    /// The least limit that a member can be started with that will have this many files open.
    pub fn least(config: &Config, files: usize) -> usize {
        reserved(config, files) + CONNECTIONS_MIN
    }

    /// Connections that there may be now.
    pub(super) fn connections_max(&self, config: &Config) -> usize {
        self.limit.saturating_sub(reserved(config, (self.files_open)())).max(1)
    }
}

fn reserved(config: &Config, files: usize) -> usize {
    let runtimes = RUNTIMES + config.rim_count();
    let process = OTHERS + RUNTIME * runtimes + config.listen.len() + LEAVING_MAX;
    (process + files + FILES_AHEAD).max(RESERVED_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_served_before_connections() {
        let config = Config { rims: 2, ..Config::default() };
        let connections = |limit, files_open| Descriptors { limit, files_open }.connections_max(&config);
        assert_eq!(connections(1024, || 5), 1024 - RESERVED_MIN);
        let process = OTHERS + RUNTIME * 5 + LEAVING_MAX;
        assert_eq!(connections(1024, || 500), 1024 - 500 - FILES_AHEAD - process);
        assert_eq!(connections(100, || 500), 1, "whoever asks how it is gets in");
        assert_eq!(Descriptors::least(&config, 5), RESERVED_MIN + CONNECTIONS_MIN);
        assert_eq!(Descriptors::least(&config, 500), 500 + FILES_AHEAD + process + CONNECTIONS_MIN);
    }
}
