//! Rounds of notices before compactions: watches that want to hear of progress are told how far they came, so that the
//! client of an idle one, when it has to watch anew, goes on behind the compaction.
//!
//! A round goes over all watchers of the rim, one slice between two turns of others. Rounds keep a least distance, and
//! whoever compacts waits for its round by the announcement: so the cost is bounded however often that is.
//!
//! Not here: who is told (`stream`), what is announced (`node::signal`). Watches that did not ask for progress hear
//! nothing: their clients would show a response that they do not expect.

use super::PROGRESS_INTERVAL_MIN;
use model::Revision;
use node::Announcement;
use std::ops::Range;
use std::sync::Arc;
use tokio::time::Instant;

/// Watchers looked at in one slice: about a tenth of a millisecond.
const SLICE: usize = 256;

/// See the file's head.
#[derive(Default)]
pub(super) struct Rounds {
    /// For the next round.
    waiting: Vec<Arc<Announcement>>,
    under_way: Option<Round>,
    not_before: Option<Instant>,
}

struct Round {
    announcements: Vec<Arc<Announcement>>,
    compaction: Revision,
    next_slot: usize,
}

/// What is due.
pub(super) enum Due {
    Nothing,
    At(Instant),
    Slice(Slice),
}

/// Some watchers to be looked at.
pub(super) struct Slice {
    pub(super) compaction: Revision,
    pub(super) slots: Range<usize>,
    /// Of a round that ends with it: to be dropped when it is done.
    pub(super) _announcements: Vec<Arc<Announcement>>,
}

impl Rounds {
    pub(super) fn announce(&mut self, announcements: Vec<Arc<Announcement>>) {
        self.waiting.extend(announcements);
    }

    /// The next slice of a round over so many slots.
    pub(super) fn due(&mut self, now: Instant, slots: usize) -> Due {
        if self.under_way.is_none() {
            let Some(compaction) = self.waiting.iter().map(|announcement| announcement.revision).max() else {
                return Due::Nothing;
            };
            if let Some(at) = self.not_before.filter(|at| now < *at) {
                return Due::At(at);
            }
            let announcements = std::mem::take(&mut self.waiting);
            self.under_way = Some(Round { announcements, compaction, next_slot: 0 });
        }
        let Some(round) = &mut self.under_way else { return Due::Nothing };
        let begin = round.next_slot.min(slots);
        let end = begin.saturating_add(SLICE).min(slots);
        round.next_slot = end;
        let mut slice = Slice { compaction: round.compaction, slots: begin..end, _announcements: Vec::new() };
        if end == slots {
            slice._announcements = std::mem::take(&mut round.announcements);
            self.under_way = None;
            self.not_before = Some(now + PROGRESS_INTERVAL_MIN);
        }
        Due::Slice(slice)
    }
}
