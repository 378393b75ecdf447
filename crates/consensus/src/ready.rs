//! What consensus asks its driver to do.

use crate::entry::{Entry, HardState};
use crate::message::Message;

/// One step of work, handed out by `Consensus::ready`. In any order: write `entries` and `hard_state`, send `messages`,
/// apply `committed`, answer `reads` once `applied` has reached their index. Then, and only after a sync if
/// `must_sync`: call `Consensus::persisted` with `number`, and send `messages_after_sync`. Further readies may be taken
/// before that.
#[derive(Debug, PartialEq, Eq)]
pub struct Ready {
    /// Consecutive, from 1.
    pub number: u64,
    /// To be written with or after the entries of earlier readies, never before them.
    pub hard_state: Option<HardState>,
    /// To be written. They replace whatever the log holds from the first one's index on.
    pub entries: Vec<Entry>,
    /// Whether `entries` or `hard_state` must be durable before `persisted`. If false, a new commit index is all there
    /// is to write; it may wait for the next group.
    pub must_sync: bool,
    pub messages: Vec<Message>,
    pub messages_after_sync: Vec<Message>,
    /// Next in order for the state machine, durable here and on a quorum.
    pub committed: Vec<Entry>,
    pub reads: Vec<ReadState>,
    /// Reads that will never be answered, because the leader or the term changed: ask again.
    pub reads_lost: Vec<ReadId>,
}

/// Names one attempt to read; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// A state that has applied `index` is recent enough for the read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadState {
    pub id: ReadId,
    pub index: u64,
}
