//! Slows writers down before the store's files outgrow their bound.
//!
//! Giving space back takes time: garbage goes when a checkpoint is durable that does not name it. Whoever writes faster
//! than that would leave the bound behind. So apply reports how many bytes may still be written, the *window*, and the
//! driver keeps large proposals, and all that come behind them, until they fit. Small ones alone never wait: they cost
//! more than the space that they take. Of what clients send, nothing goes past what waits, a compaction least of all:
//! it would come before the versions that it is to drop. What the member proposes by itself does not come through here,
//! see `Driver::propose_own`.
//!
//! Invariant: with nothing under way that gives space back, the window is open; a store that has nothing to give must
//! not stop.

use crate::messages::Proposal;
use model::LogIndex;
use std::collections::VecDeque;
use std::time::Duration;

/// Smaller proposals do not wait by themselves.
const LARGE_BYTES: usize = 16 << 10;

/// What waits, and what takes the window.
#[derive(Default)]
pub(crate) struct Pace {
    waiting: VecDeque<Proposal>,
    waiting_bytes: u64,
    /// Proposed and not applied: the last index of a batch, and its bytes.
    unapplied: VecDeque<(LogIndex, u64)>,
    unapplied_bytes: u64,
}

impl Pace {
    /// Takes a new proposal: to those that go now, or to those that wait. On a disk that is nearly full, `is_low`,
    /// small ones need the window, too: many of them are in flight.
    pub(crate) fn sort(&mut self, proposal: Proposal, is_low: bool, now: &mut Vec<Proposal>) {
        if self.waiting.is_empty() && proposal.payload.len() < LARGE_BYTES && !(is_low && proposal.may_grow) {
            now.push(proposal);
        } else {
            self.waiting_bytes += proposal.payload.len() as u64;
            self.waiting.push_back(proposal);
        }
    }

    /// Moves what the window lets through to those that go now. Any size goes through any window.
    pub(crate) fn admit(&mut self, window_bytes: u64, applied: LogIndex, now: &mut Vec<Proposal>) {
        while let Some((_, bytes)) = self.unapplied.pop_front_if(|(index, _)| *index <= applied) {
            self.unapplied_bytes -= bytes;
        }
        if self.waiting.is_empty() {
            return;
        }
        let going: u64 = now.iter().map(|proposal| proposal.payload.len() as u64).sum();
        let mut left = window_bytes.saturating_sub(self.unapplied_bytes + going);
        while left > 0
            && let Some(proposal) = self.waiting.pop_front()
        {
            let bytes = proposal.payload.len() as u64;
            left = left.saturating_sub(bytes);
            self.waiting_bytes -= bytes;
            now.push(proposal);
        }
    }

    /// So many bytes were proposed, the last of them at `last`.
    pub(crate) fn proposed(&mut self, last: LogIndex, bytes: u64) {
        self.unapplied.push_back((last, bytes));
        self.unapplied_bytes += bytes;
    }

    /// What was proposed may never be applied: another leads.
    pub(crate) fn forget_proposed(&mut self) {
        self.unapplied.clear();
        self.unapplied_bytes = 0;
    }

    /// Takes out what was sent before a moment.
    pub(crate) fn expire(&mut self, sent_before: Duration) -> impl Iterator<Item = Proposal> {
        std::iter::from_fn(move || {
            let expired = self.waiting.pop_front_if(|proposal| proposal.sent_at < sent_before)?;
            self.waiting_bytes -= expired.payload.len() as u64;
            Some(expired)
        })
    }

    /// Takes out what may make the store grow.
    pub(crate) fn take_growth(&mut self) -> impl Iterator<Item = Proposal> {
        let waiting = std::mem::take(&mut self.waiting);
        let (growth, others): (Vec<Proposal>, VecDeque<Proposal>) = partition(waiting);
        self.waiting = others;
        self.waiting_bytes = self.waiting.iter().map(|proposal| proposal.payload.len() as u64).sum();
        growth.into_iter()
    }

    /// Payloads of what waits.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes
    }
}

/// By whether they may make the store grow, each in order.
fn partition(waiting: VecDeque<Proposal>) -> (Vec<Proposal>, VecDeque<Proposal>) {
    let (mut growth, mut others) = (Vec::new(), VecDeque::new());
    for proposal in waiting {
        if proposal.may_grow {
            growth.push(proposal);
        } else {
            others.push_back(proposal);
        }
    }
    (growth, others)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = LARGE_BYTES;

    /// Sizes of what goes through a window, for what comes in.
    fn goes(pace: &mut Pace, window_bytes: usize, applied: u64, sizes: &[usize]) -> Vec<usize> {
        let mut now = Vec::new();
        for size in sizes {
            let payload = vec![0; *size].into();
            let proposal =
                Proposal { payload, may_grow: size % 2 == 0, read: None, slot: None, sent_at: Duration::from_secs(1) };
            pace.sort(proposal, false, &mut now);
        }
        pace.admit(window_bytes as u64, LogIndex(applied), &mut now);
        now.iter().map(|proposal| proposal.payload.len()).collect()
    }

    #[test]
    fn what_is_proposed_and_not_applied_takes_of_the_window() {
        let mut pace = Pace::default();
        assert_eq!(goes(&mut pace, 2 * LARGE, 0, &[LARGE, LARGE, LARGE]), [LARGE; 2]);
        pace.proposed(LogIndex(2), 2 * LARGE as u64);
        assert_eq!(goes(&mut pace, 2 * LARGE, 1, &[]), []);
        assert_eq!(goes(&mut pace, 2 * LARGE, 2, &[]), [LARGE]);
        assert_eq!(pace.waiting_bytes(), 0);
    }

    #[test]
    fn small_ones_wait_only_behind_large_ones() {
        let mut pace = Pace::default();
        assert_eq!(goes(&mut pace, 0, 0, &[5, LARGE - 1, LARGE, 6]), [5, LARGE - 1]);
        assert_eq!(pace.waiting_bytes(), LARGE as u64 + 6);
        assert_eq!(goes(&mut pace, LARGE + 1, 0, &[]), [LARGE, 6]);
    }

    #[test]
    fn any_size_goes_through_any_window_one_at_a_time() {
        let mut pace = Pace::default();
        assert_eq!(goes(&mut pace, 1, 0, &[LARGE * 100, LARGE]), [LARGE * 100]);
    }

    #[test]
    fn what_another_leader_overwrote_takes_nothing() {
        let mut pace = Pace::default();
        pace.proposed(LogIndex(9), 100);
        assert_eq!(goes(&mut pace, 5, 0, &[LARGE]), []);
        pace.forget_proposed();
        assert_eq!(goes(&mut pace, 5, 0, &[]), [LARGE]);
    }

    #[test]
    fn growth_is_taken_out_and_the_rest_keeps_its_order() {
        let mut pace = Pace::default();
        goes(&mut pace, 0, 0, &[LARGE, LARGE + 1, LARGE, 5, 6]);
        let taken: Vec<usize> = pace.take_growth().map(|proposal| proposal.payload.len()).collect();
        assert_eq!(taken, [LARGE, LARGE, 6]);
        assert_eq!(pace.waiting_bytes(), LARGE as u64 + 1 + 5);
        assert_eq!(goes(&mut pace, 2 * LARGE, 0, &[]), [LARGE + 1, 5]);
    }

    #[test]
    fn what_waited_too_long_is_taken_out() {
        let mut pace = Pace::default();
        goes(&mut pace, 0, 0, &[LARGE, LARGE]);
        assert_eq!(pace.expire(Duration::from_secs(1)).count(), 0);
        assert_eq!(pace.expire(Duration::from_secs(2)).count(), 2);
        assert_eq!(pace.waiting_bytes(), 0);
    }
}
