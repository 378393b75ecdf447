//! Apply halts at an entry: a record that the entry needs cannot be read. Everything before the entry is applied and
//! served. The entry and those behind it wait, because to skip one would make members differ, and new proposals are
//! refused. The record is tried again, so that a repaired file, or a disk that comes back, ends it.
//!
//! What a record that stays damaged takes with it is decided by a person: `bowline util salvage`.

use crate::limits::HALT_RETRY_INTERVAL;
use crate::shared::Shared;
use model::LogIndex;
use std::sync::Arc;
use std::time::Duration;

/// See the file's head. Apply's own side of it; what others see is in `Shared`.
#[derive(Debug, Default)]
pub(crate) struct Halt {
    /// When the entry is to be tried again, while it is halted.
    again_at: Option<Duration>,
}

impl Halt {
    pub(crate) fn is_on(&self) -> bool {
        self.again_at.is_some()
    }

    /// It is not time to try the entry again.
    pub(crate) fn waits(&self, now: Duration) -> bool {
        self.again_at.is_some_and(|again_at| now < again_at)
    }

    /// The entry cannot be applied now. Said once.
    pub(crate) fn begin(&mut self, shared: &Shared, index: LogIndex, fault: &state::Fault) {
        let was_on = self.again_at.replace(shared.clock.monotonic() + HALT_RETRY_INTERVAL).is_some();
        if was_on {
            return;
        }
        let why = format!("log entry {index} waits, {fault}");
        tracing::error!(
            reason = why,
            "a record that must be read cannot be: writes are refused, reads go on; it is tried again, and 'bowline util \
             salvage' gives it up"
        );
        shared.halt.store(Some(Arc::new(why)));
    }

    /// The entry can be applied, if one could not.
    pub(crate) fn end(&mut self, shared: &Shared) {
        if self.again_at.take().is_some() {
            shared.halt.store(None);
            tracing::warn!("the record that could not be read can be read again: writes go on");
        }
    }
}
