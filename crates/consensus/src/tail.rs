//! The newest part of the log in memory, as the raft crate's `Storage`.
//!
//! Invariants: entries are consecutive from `trimmed_to.index + 1`, their terms never fall, and `trimmed_to` is where
//! the last forgotten entry was. What the tail holds is either being written or written already; raft itself keeps
//! count of what is durable.
//! Not here: reading older entries back from disk. Who needs them must take a snapshot.

use crate::convert;
use crate::entry::{Entry, HardState, Position};
use raft::eraftpb::{ConfState, Snapshot};
use raft::{GetEntriesContext, RaftState, StorageError};
use std::collections::VecDeque;

/// What one entry costs besides its data.
const ENTRY_BYTES: usize = std::mem::size_of::<Entry>();

pub(crate) struct Tail {
    trimmed_to: Position,
    entries: VecDeque<Entry>,
    bytes: usize,
    hard_state: HardState,
    members: ConfState,
}

impl Tail {
    pub fn new(trimmed_to: Position, hard_state: HardState, members: ConfState) -> Tail {
        Tail { trimmed_to, entries: VecDeque::new(), bytes: 0, hard_state, members }
    }

    pub fn trimmed_to(&self) -> Position {
        self.trimmed_to
    }

    pub fn last(&self) -> Position {
        self.entries.back().map_or(self.trimmed_to, Entry::position)
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds `entry`, forgetting everything from its index on.
    pub fn push(&mut self, entry: Entry) {
        assert!(entry.index > self.trimmed_to.index, "entry {} is trimmed already", entry.index);
        while self.last().index >= entry.index {
            let replaced = self.entries.pop_back().expect("the last entry is behind the trimmed part");
            self.bytes -= ENTRY_BYTES + replaced.data.len();
        }
        let last = self.last();
        assert_eq!(entry.index, last.index + 1, "the log has no gaps");
        assert!(entry.term >= last.term, "terms never fall along the log");
        self.bytes += ENTRY_BYTES + entry.data.len();
        self.entries.push_back(entry);
    }

    /// Forgets entries up to `index`, oldest first, until no more than `keep_bytes` are held.
    pub fn trim(&mut self, index: u64, keep_bytes: usize) {
        while self.bytes > keep_bytes
            && let Some(oldest) = self.entries.pop_front_if(|oldest| oldest.index <= index)
        {
            self.bytes -= ENTRY_BYTES + oldest.data.len();
            self.trimmed_to = oldest.position();
        }
    }

    fn at(&self, index: u64) -> Option<&Entry> {
        let offset = index.checked_sub(self.trimmed_to.index + 1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }
}

impl raft::Storage for Tail {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(convert::to_raft_hard_state(self.hard_state), self.members.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<raft::eraftpb::Entry>> {
        if low <= self.trimmed_to.index {
            return Err(StorageError::Compacted.into());
        }
        assert!(high <= self.last().index + 1, "entries up to {high} asked for, the log ends at {}", self.last().index);
        let bytes_max = max_size.into().unwrap_or(u64::MAX);
        let mut bytes = 0u64;
        let mut found = Vec::with_capacity((high - low) as usize);
        for entry in (low..high).map_while(|index| self.at(index)) {
            bytes += (ENTRY_BYTES + entry.data.len()) as u64;
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push(convert::to_raft_entry(entry.clone()));
        }
        Ok(found)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.trimmed_to.index {
            return Ok(self.trimmed_to.term);
        }
        if index < self.trimmed_to.index {
            return Err(StorageError::Compacted.into());
        }
        self.at(index).map(|entry| entry.term).ok_or_else(|| StorageError::Unavailable.into())
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.trimmed_to.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last().index)
    }

    fn snapshot(&self, _request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        Err(StorageError::SnapshotTemporarilyUnavailable.into())
    }
}
