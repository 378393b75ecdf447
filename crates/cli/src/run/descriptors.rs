//! The limit on file descriptors, before anything is opened: raised as far as it may be, and refused if a member cannot
//! live with it.
//!
//! Not here: how connections share what files leave (`api`).

use crate::config::Config;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::Path;

/// Raises the soft limit to the hard one, as programs in Go do by themselves. Returns what then holds.
pub fn raise() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // No limit is more than anybody has.
    let number = |limit: Option<u64>| limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    if number(current) >= number(maximum) {
        return number(current);
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => number(maximum),
        Err(error) => {
            tracing::warn!(limit = number(current), %error, "raise the limit of file descriptors: it stays as it is");
            number(current)
        }
    }
}

/// Fails if the limit leaves too few descriptors beside the files of the member's directories.
pub fn check(config: &Config, clients: &api::Config, limit: usize) -> Result<api::Descriptors, String> {
    let member = config.data_dir.join("member");
    let log = config.wal_dir.clone().unwrap_or_else(|| member.join("wal"));
    let files = count_files(&member.join("store")) + count_files(&log);
    let least = api::Descriptors::least(clients, files);
    if limit < least {
        // The words are etcd's.
        return Err(format!(
            "file descriptor limit of the process is too low; please set higher: the limit is {limit}, at least {least} \
             are needed; raise it with ulimit -n or LimitNOFILE="
        ));
    }
    Ok(api::Descriptors { limit, files_open: io::open_files })
}

/// What cannot be read is reported when it is opened.
fn count_files(directory: &Path) -> usize {
    std::fs::read_dir(directory).map_or(0, Iterator::count)
}
