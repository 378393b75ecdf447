//! Between our types and the raft crate's. Nothing outside this crate sees the latter.

use crate::entry::{Entry, EntryKind, HardState, Position};
use crate::message::{Body, Message, VoteStage};
use bytes::Bytes;
use raft::eraftpb::{self as pb, EntryType, MessageType};

/// What the raft crate writes into a vote request that its leader asked for. Its value is part of the crate's interface
/// between members, so it is checked against the crate in a test.
pub(crate) const TRANSFER: &[u8] = b"CampaignTransfer";

pub(crate) fn to_raft_entry(entry: Entry) -> pb::Entry {
    pb::Entry {
        entry_type: match entry.kind {
            EntryKind::Normal => EntryType::EntryNormal,
            EntryKind::Membership => EntryType::EntryConfChangeV2,
        },
        term: entry.term,
        index: entry.index,
        data: entry.data,
        ..pb::Entry::default()
    }
}

pub(crate) fn from_raft_entry(entry: pb::Entry) -> Entry {
    let kind = match entry.entry_type {
        EntryType::EntryNormal => EntryKind::Normal,
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => EntryKind::Membership,
    };
    Entry { term: entry.term, index: entry.index, kind, data: entry.data }
}

pub(crate) fn to_raft_hard_state(state: HardState) -> pb::HardState {
    pb::HardState { term: state.term, vote: state.vote, commit: state.commit, ..pb::HardState::default() }
}

pub(crate) fn from_raft_hard_state(state: &pb::HardState) -> HardState {
    HardState { term: state.term, vote: state.vote, commit: state.commit }
}

pub(crate) fn to_raft_message(message: Message) -> pb::Message {
    let mut raft = pb::Message { from: message.from, to: message.to, term: message.term, ..pb::Message::default() };
    raft.msg_type = match message.body {
        Body::Append { previous, commit, entries } => {
            (raft.log_term, raft.index) = (previous.term, previous.index);
            raft.commit = commit;
            raft.entries = entries.into_iter().map(to_raft_entry).collect();
            MessageType::MsgAppend
        }
        Body::Appended { index, commit } => {
            (raft.index, raft.commit) = (index, commit);
            MessageType::MsgAppendResponse
        }
        Body::AppendRejected { index, commit, hint } => {
            (raft.index, raft.commit) = (index, commit);
            (raft.log_term, raft.reject_hint) = (hint.term, hint.index);
            raft.reject = true;
            MessageType::MsgAppendResponse
        }
        Body::Vote { stage, last, commit, transfer } => {
            (raft.log_term, raft.index) = (last.term, last.index);
            (raft.commit_term, raft.commit) = (commit.term, commit.index);
            if transfer {
                raft.context = Bytes::from_static(TRANSFER);
            }
            match stage {
                VoteStage::Pre => MessageType::MsgRequestPreVote,
                VoteStage::Real => MessageType::MsgRequestVote,
            }
        }
        Body::VoteReply { stage, granted, commit } => {
            (raft.commit_term, raft.commit) = (commit.term, commit.index);
            raft.reject = !granted;
            match stage {
                VoteStage::Pre => MessageType::MsgRequestPreVoteResponse,
                VoteStage::Real => MessageType::MsgRequestVoteResponse,
            }
        }
        Body::Heartbeat { commit, context } => {
            (raft.commit, raft.context) = (commit, context);
            MessageType::MsgHeartbeat
        }
        Body::HeartbeatReply { commit, context } => {
            (raft.commit, raft.context) = (commit, context);
            MessageType::MsgHeartbeatResponse
        }
        Body::TransferLeader => MessageType::MsgTransferLeader,
        Body::TimeoutNow => MessageType::MsgTimeoutNow,
        Body::ReadIndex { context } => {
            raft.entries = context_entry(context);
            MessageType::MsgReadIndex
        }
        Body::ReadIndexReply { index, context } => {
            raft.index = index;
            raft.entries = context_entry(context);
            MessageType::MsgReadIndexResp
        }
    };
    raft
}

fn context_entry<T: FromIterator<pb::Entry>>(context: Bytes) -> T {
    std::iter::once(pb::Entry { data: context, ..pb::Entry::default() }).collect()
}

/// Every kind of message that the raft crate sends while snapshots stay unavailable and proposals are not forwarded.
pub(crate) fn from_raft_message(mut raft: pb::Message) -> Message {
    let at = Position { term: raft.log_term, index: raft.index };
    let committed = Position { term: raft.commit_term, index: raft.commit };
    let body = match raft.msg_type {
        MessageType::MsgAppend => Body::Append {
            previous: at,
            commit: raft.commit,
            entries: raft.take_entries().into_iter().map(from_raft_entry).collect(),
        },
        MessageType::MsgAppendResponse if raft.reject => Body::AppendRejected {
            index: raft.index,
            commit: raft.commit,
            hint: Position { term: raft.log_term, index: raft.reject_hint },
        },
        MessageType::MsgAppendResponse => Body::Appended { index: raft.index, commit: raft.commit },
        MessageType::MsgRequestPreVote => {
            Body::Vote { stage: VoteStage::Pre, last: at, commit: committed, transfer: raft.context == TRANSFER }
        }
        MessageType::MsgRequestVote => {
            Body::Vote { stage: VoteStage::Real, last: at, commit: committed, transfer: raft.context == TRANSFER }
        }
        MessageType::MsgRequestPreVoteResponse => {
            Body::VoteReply { stage: VoteStage::Pre, granted: !raft.reject, commit: committed }
        }
        MessageType::MsgRequestVoteResponse => {
            Body::VoteReply { stage: VoteStage::Real, granted: !raft.reject, commit: committed }
        }
        MessageType::MsgHeartbeat => Body::Heartbeat { commit: raft.commit, context: raft.context },
        MessageType::MsgHeartbeatResponse => Body::HeartbeatReply { commit: raft.commit, context: raft.context },
        MessageType::MsgTransferLeader => Body::TransferLeader,
        MessageType::MsgTimeoutNow => Body::TimeoutNow,
        MessageType::MsgReadIndex => Body::ReadIndex { context: take_context(&mut raft) },
        MessageType::MsgReadIndexResp => Body::ReadIndexReply { index: raft.index, context: take_context(&mut raft) },
        MessageType::MsgHup
        | MessageType::MsgBeat
        | MessageType::MsgPropose
        | MessageType::MsgSnapshot
        | MessageType::MsgUnreachable
        | MessageType::MsgSnapStatus
        | MessageType::MsgCheckQuorum => unreachable!("raft never sends {:?} to another member", raft.msg_type),
    };
    Message { from: raft.from, to: raft.to, term: raft.term, body }
}

fn take_context(raft: &mut pb::Message) -> Bytes {
    raft.take_entries().into_iter().next().map(|entry| entry.data).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_transfer_is_marked_as_the_raft_crate_marks_it() {
        assert_eq!(super::TRANSFER, raft::CAMPAIGN_TRANSFER);
    }
}
