//! What a message must fulfil before the raft crate sees it. That crate trusts its peers and panics on what cannot
//! happen; here a peer may be wrong, hostile, or right about our having lost data.

use crate::consensus::Status;
use crate::entry::INDEX_MAX;
use crate::message::{Body, Message};
use std::fmt;

/// Why a message was not taken in. Only `LogLost` says something about this member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepError {
    /// For another member, or from nobody, or from this member itself.
    Misdirected { from: u64, to: u64 },
    /// The body contradicts itself or the protocol.
    Malformed { from: u64, what: &'static str },
    /// An answer from a member that is not in the configuration.
    UnknownMember { from: u64 },
    /// For the leader, which this member is not.
    NotLeader { leader: Option<u64> },
    /// The leader knows this member to hold `promised`, but its log ends at `last`: acknowledged entries are gone. The
    /// member must stop and be replaced.
    LogLost { leader: u64, promised: u64, last: u64 },
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StepError::Misdirected { from, to } => {
                write!(f, "message from member {from:x} to member {to:x} is not for us")
            }
            StepError::Malformed { from, what } => write!(f, "message from member {from:x} refused: {what}"),
            StepError::UnknownMember { from } => write!(f, "answer from member {from:x}, which is not in the cluster"),
            StepError::NotLeader { leader: Some(leader) } => write!(f, "not the leader, which is member {leader:x}"),
            StepError::NotLeader { leader: None } => f.write_str("not the leader, and none is known"),
            StepError::LogLost { leader, promised, last } => write!(
                f,
                "leader {leader:x} knows that this member acknowledged entry {promised}, but its raft log ends at {last}: \
                 entries were lost; remove this member, clear its data directory and add it again"
            ),
        }
    }
}

impl std::error::Error for StepError {}

/// Longest context of a read request, in bytes; ours are 24.
const CONTEXT_BYTES_MAX: usize = 64;

pub(crate) fn check(message: &Message, status: &Status) -> Result<(), StepError> {
    let from = message.from;
    if message.to != status.id || from == status.id || from == 0 {
        return Err(StepError::Misdirected { from, to: message.to });
    }
    let malformed = |what| Err(StepError::Malformed { from, what });
    if message.term > INDEX_MAX {
        return malformed("term out of range");
    }
    // Raft takes term 0 for a call of our own, and skips the comparison of terms.
    if (message.term == 0) != matches!(message.body, Body::ReadIndex { .. }) {
        return malformed("term 0 where a term is needed, or a term where none belongs");
    }
    let is_leader = status.leader == Some(status.id);
    match &message.body {
        Body::Append { previous, commit, entries } => {
            let mut last = *previous;
            for entry in entries {
                if entry.index != last.index + 1 || entry.term < last.term || entry.term > message.term {
                    return malformed("entries do not follow one another");
                }
                last = entry.position();
            }
            in_range(from, &[previous.index, *commit, last.index])
        }
        Body::Appended { index, commit } => {
            if is_leader && message.term == status.term && *index > status.last {
                return malformed("acknowledges entries that were never sent");
            }
            in_range(from, &[*index, *commit])
        }
        Body::AppendRejected { index, commit, hint } => in_range(from, &[*index, *commit, hint.index, hint.term]),
        Body::Vote { last, commit, .. } => in_range(from, &[last.index, last.term, commit.index, commit.term]),
        Body::VoteReply { commit, .. } => in_range(from, &[commit.index, commit.term]),
        Body::Heartbeat { commit, context } => {
            if message.term >= status.term && *commit > status.last {
                return Err(StepError::LogLost { leader: from, promised: *commit, last: status.last });
            }
            context_fits(from, context)
        }
        Body::HeartbeatReply { commit, context } => {
            context_fits(from, context)?;
            in_range(from, &[*commit])
        }
        Body::ReadIndex { context } => {
            if !is_leader {
                return Err(StepError::NotLeader { leader: status.leader });
            }
            context_fits(from, context)
        }
        Body::ReadIndexReply { index, context } => {
            context_fits(from, context)?;
            in_range(from, &[*index])
        }
        Body::TransferLeader if !is_leader => Err(StepError::NotLeader { leader: status.leader }),
        Body::TransferLeader | Body::TimeoutNow => Ok(()),
    }
}

fn in_range(from: u64, numbers: &[u64]) -> Result<(), StepError> {
    if numbers.iter().any(|&number| number > INDEX_MAX) {
        return Err(StepError::Malformed { from, what: "index or term out of range" });
    }
    Ok(())
}

fn context_fits(from: u64, context: &[u8]) -> Result<(), StepError> {
    if context.len() > CONTEXT_BYTES_MAX {
        return Err(StepError::Malformed { from, what: "context too long" });
    }
    Ok(())
}
