//! Start, wait, stop: the life of a member as the process sees it.

use crate::config::Config;
use crate::notify::notify;

/// Returns when the member has stopped; an error says why it could not start or go on.
pub fn run(config: &Config) -> Result<(), String> {
    notify("STOPPING=1").map_err(|error| error.to_string())?;
    Err(format!("no server in this build: {config:?}"))
}
