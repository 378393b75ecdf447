//! Slows writers down before the store's files outgrow their bound.
//!
//! Giving space back takes time: garbage goes when a checkpoint is durable that does not name it. Whoever writes faster than that
//! would leave the bound behind. So apply tells how many bytes may still be written, and the driver keeps large proposals,
//! and all that come behind them, until there is room. Small ones alone never wait: they cost more than the space that they take.
//! Nothing goes past what waits, a compaction least of all: it would come before the versions that it is to drop.
//!
//! Invariant: with nothing under way that gives space back, there is a window; a store that has nothing to give must not stop.

use crate::driver::Proposal;
use model::LogIndex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What may be written when the files are too long and nothing can be done about it.
const WINDOW_BYTES_MIN: u64 = 8 << 20;
/// Smaller proposals do not wait by themselves.
const LARGE_BYTES: usize = 16 << 10;

/// What apply and the driver tell each other. Both orders are sequential: each writes its own and then reads the other's.
#[derive(Debug, Default)]
pub(crate) struct Room {
    bytes: AtomicU64,
    /// The driver keeps proposals back.
    wanted: AtomicBool,
}

impl Room {
    /// Of what is applied. True if somebody waits for it.
    pub(crate) fn publish(&self, bytes: u64) -> bool {
        self.bytes.store(bytes, Ordering::SeqCst);
        bytes > 0 && self.wanted.load(Ordering::SeqCst)
    }

    /// A room that lets everybody go on slowly.
    pub(crate) fn publish_least(&self) -> bool {
        self.publish(WINDOW_BYTES_MIN)
    }
}

/// The driver's side: what waits for room, and what takes it.
#[derive(Default)]
pub(crate) struct Pace {
    held: VecDeque<Proposal>,
    held_bytes: u64,
    /// Proposed and not applied: the last index of a batch, and its bytes.
    unapplied: VecDeque<(LogIndex, u64)>,
    unapplied_bytes: u64,
}

impl Pace {
    /// Takes a new proposal: to those that go now, or to those that wait.
    pub(crate) fn sort(&mut self, proposal: Proposal, now: &mut Vec<Proposal>) {
        if self.held.is_empty() && proposal.payload.len() < LARGE_BYTES {
            now.push(proposal);
        } else {
            self.held_bytes += proposal.payload.len() as u64;
            self.held.push_back(proposal);
        }
    }

    /// Moves what there is room for to those that go now. Any size goes into any room.
    pub(crate) fn release(&mut self, room: &Room, applied: LogIndex, now: &mut Vec<Proposal>) {
        while let Some((_, bytes)) = self.unapplied.pop_front_if(|(index, _)| *index <= applied) {
            self.unapplied_bytes -= bytes;
        }
        if self.held.is_empty() {
            return;
        }
        self.release_into(room, now);
        let waits = !self.held.is_empty();
        // Room that was published before this is seen here, room published after it wakes the driver.
        if room.wanted.swap(waits, Ordering::SeqCst) != waits && waits {
            self.release_into(room, now);
        }
    }

    fn release_into(&mut self, room: &Room, now: &mut Vec<Proposal>) {
        let going: u64 = now.iter().map(|proposal| proposal.payload.len() as u64).sum();
        let mut left = room.bytes.load(Ordering::SeqCst).saturating_sub(self.unapplied_bytes + going);
        while left > 0
            && let Some(proposal) = self.held.pop_front()
        {
            let bytes = proposal.payload.len() as u64;
            left = left.saturating_sub(bytes);
            self.held_bytes -= bytes;
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
            let expired = self.held.pop_front_if(|proposal| proposal.sent_at < sent_before)?;
            self.held_bytes -= expired.payload.len() as u64;
            Some(expired)
        })
    }

    /// Payloads of what waits.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.held_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = LARGE_BYTES;

    /// Sizes of what goes, given so much room, for what comes in.
    fn goes(pace: &mut Pace, room: &Room, applied: u64, sizes: &[usize]) -> Vec<usize> {
        let mut now = Vec::new();
        for size in sizes {
            let payload = vec![0; *size].into();
            pace.sort(Proposal { payload, slot: None, sent_at: Duration::from_secs(1) }, &mut now);
        }
        pace.release(room, LogIndex(applied), &mut now);
        now.iter().map(|proposal| proposal.payload.len()).collect()
    }

    #[test]
    fn what_is_proposed_and_not_applied_takes_room() {
        let (mut pace, room) = (Pace::default(), Room::default());
        room.publish(2 * LARGE as u64);
        assert_eq!(goes(&mut pace, &room, 0, &[LARGE, LARGE, LARGE]), [LARGE; 2]);
        pace.proposed(LogIndex(2), 2 * LARGE as u64);
        assert_eq!(goes(&mut pace, &room, 1, &[]), []);
        assert_eq!(goes(&mut pace, &room, 2, &[]), [LARGE]);
        assert_eq!(pace.held_bytes(), 0);
    }

    #[test]
    fn small_ones_wait_only_behind_large_ones() {
        let (mut pace, room) = (Pace::default(), Room::default());
        room.publish(0);
        assert_eq!(goes(&mut pace, &room, 0, &[5, LARGE - 1, LARGE, 6]), [5, LARGE - 1]);
        assert_eq!(pace.held_bytes(), LARGE as u64 + 6);
        room.publish(LARGE as u64 + 1);
        assert_eq!(goes(&mut pace, &room, 0, &[]), [LARGE, 6]);
    }

    #[test]
    fn any_size_goes_into_any_room_one_at_a_time() {
        let (mut pace, room) = (Pace::default(), Room::default());
        room.publish(1);
        assert_eq!(goes(&mut pace, &room, 0, &[LARGE * 100, LARGE]), [LARGE * 100]);
    }

    #[test]
    fn only_a_driver_that_waits_is_woken() {
        let (mut pace, room) = (Pace::default(), Room::default());
        room.publish(0);
        assert_eq!(goes(&mut pace, &room, 0, &[LARGE]), []);
        assert!(!room.publish(0), "there is nothing to wake it for");
        assert!(room.publish_least());
        assert_eq!(goes(&mut pace, &room, 0, &[]), [LARGE]);
        assert!(!room.publish(5), "it does not wait any more");
    }

    #[test]
    fn what_another_leader_overwrote_takes_no_room() {
        let (mut pace, room) = (Pace::default(), Room::default());
        room.publish(5);
        pace.proposed(LogIndex(9), 100);
        assert_eq!(goes(&mut pace, &room, 0, &[LARGE]), []);
        pace.forget_proposed();
        assert_eq!(goes(&mut pace, &room, 0, &[]), [LARGE]);
    }

    #[test]
    fn what_waited_too_long_is_taken_out() {
        let (mut pace, room) = (Pace::default(), Room::default());
        goes(&mut pace, &room, 0, &[LARGE, LARGE]);
        assert_eq!(pace.expire(Duration::from_secs(1)).count(), 0);
        assert_eq!(pace.expire(Duration::from_secs(2)).count(), 2);
        assert_eq!(pace.held_bytes(), 0);
    }
}
