//! SIGHUP: the config file is read again. What can change while the member runs does: how much is logged, how much
//! history is kept, and the quota, which the member in office writes to the log. The log names every key that changed,
//! and says of the others that they wait for a restart. A file that cannot be used changes nothing, and the log says
//! why.

use crate::config::{self, Config};
use crate::flags::{Settings, Source, Value, file, position};
use crate::log;
use std::path::Path;

/// Keys that change without a restart.
const CHANGEABLE: [&str; 6] = [
    "auto-compaction-mode",
    "auto-compaction-retention",
    "log-level",
    "quota-backend-bytes",
    "space-pressure-retention",
    "space-strict-etcd",
];

/// Brings `running`, the settings in force, up to what its file says now, as far as that is possible.
pub fn reread(running: &mut Settings, handle: &node::Handle) {
    let Some(path) = running.config_file.clone() else {
        return tracing::info!(
            "there is no config file to read again: flags and variables are read at the start alone"
        );
    };
    let path_text = path.display();
    let (wanted, options, config) = match read(&path) {
        Ok(read) => read,
        Err(error) => {
            return tracing::error!(path = %path_text, error, "the config file cannot be used: nothing is changed");
        }
    };
    let changes: Vec<(&str, Value, Value)> = running
        .iter()
        .zip(wanted.iter())
        .filter(|((_, old, _), (_, new, _))| old != new)
        .map(|((flag, old, _), (_, new, _))| (flag.name, old.clone(), new.clone()))
        .collect();
    // First, so that the records below follow it.
    log::set_level(options.level);
    handle.keep_history(config.space.auto_compaction, config.space.pressure_retention);
    handle.want_quota(config.limits.quota_bytes, config.space.strict_latch);
    for (name, old, new) in &changes {
        if CHANGEABLE.contains(name) {
            tracing::info!(flag = name, from = %old, to = %new, "changed");
            let at = position(name).expect("it came out of the table");
            running.set(at, new.clone(), Source::File);
        } else {
            tracing::warn!(flag = name, from = %old, to = %new, "does not change while the member runs: restart it");
        }
    }
    if wanted.gates() != running.gates() {
        tracing::warn!(flag = "feature-gates", "does not change while the member runs: restart it");
    }
    tracing::info!(path = %path_text, changes = changes.len(), "read the config file again");
}

fn read(path: &Path) -> Result<(Settings, log::Options, Config), String> {
    // What can be read once only would be waited for.
    let is_file = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    if path.exists() && !is_file {
        return Err("it is no regular file".to_owned());
    }
    let settings = file::load(path)?;
    let options = config::log_options(&settings)?;
    let (config, _) = Config::from_settings(&settings)?;
    Ok((settings, options, config))
}
