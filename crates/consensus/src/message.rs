//! What members say to each other, and its bytes.
//!
//! A message is a format byte (1), a tag byte, `from`, `to` and `term` as varints, and the fields of its body in the
//! order they are declared: numbers as varints, positions as term and index, byte strings with a length, entries as in
//! `docs/formats/log-entry.md`. Tags are never reused.

use crate::entry::{Entry, Position, put_entries, read_entries, read_number};
use bytes::Bytes;
use stdx::codec::{DecodeError, Reader, put_bool, put_bytes, put_varint};

/// A message between two members of one cluster. Member ids are never 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub from: u64,
    pub to: u64,
    /// The sender's term; 0 in a forwarded read, which is about no term.
    pub term: u64,
    pub body: Body,
}

/// Whether an election is being sounded out, which binds nobody, or held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VoteStage {
    Pre,
    Real,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// The leader's entries after `previous`, and how far it has committed.
    Append {
        previous: Position,
        commit: u64,
        entries: Vec<Entry>,
    },
    /// The follower's log agrees with the leader's up to `index`.
    Appended {
        index: u64,
        commit: u64,
    },
    /// The follower has no entry as the leader's `previous` at `index`; its log may agree at or before `hint`.
    AppendRejected {
        index: u64,
        commit: u64,
        hint: Position,
    },
    /// The candidate's log ends at `last`; it knows of the commit up to `commit`. `transfer`: the leader asked for
    /// this.
    Vote {
        stage: VoteStage,
        last: Position,
        commit: Position,
        transfer: bool,
    },
    VoteReply {
        stage: VoteStage,
        granted: bool,
        commit: Position,
    },
    Heartbeat {
        commit: u64,
        context: Bytes,
    },
    HeartbeatReply {
        commit: u64,
        context: Bytes,
    },
    /// To the leader: hand over to `from`.
    TransferLeader,
    /// To the member that shall lead: campaign at once.
    TimeoutNow,
    ReadIndex {
        context: Bytes,
    },
    ReadIndexReply {
        index: u64,
        context: Bytes,
    },
}

const FORMAT: u8 = 1;

const APPEND: u8 = 1;
const APPENDED: u8 = 2;
const APPEND_REJECTED: u8 = 3;
const PRE_VOTE: u8 = 4;
const VOTE: u8 = 5;
const PRE_VOTE_REPLY: u8 = 6;
const VOTE_REPLY: u8 = 7;
const HEARTBEAT: u8 = 8;
const HEARTBEAT_REPLY: u8 = 9;
const TRANSFER_LEADER: u8 = 10;
const TIMEOUT_NOW: u8 = 11;
const READ_INDEX: u8 = 12;
const READ_INDEX_REPLY: u8 = 13;

impl Message {
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        out.push(tag(&self.body));
        put_varint(out, self.from);
        put_varint(out, self.to);
        put_varint(out, self.term);
        put_body(out, &self.body);
    }

    /// Reads one message that fills `input`. Its byte strings share the input's buffer.
    pub fn decode(input: Bytes) -> Result<Message, DecodeError> {
        let mut reader = Reader::new(input);
        let format = reader.u8()?;
        if format != FORMAT {
            return Err(DecodeError::UnknownTag { what: "message format", tag: u64::from(format) });
        }
        let tag = reader.u8()?;
        let from = reader.varint()?;
        let to = reader.varint()?;
        let term = read_number(&mut reader, "message term")?;
        let body = read_body(tag, &mut reader)?;
        reader.finish("message")?;
        Ok(Message { from, to, term, body })
    }
}

fn tag(body: &Body) -> u8 {
    match body {
        Body::Append { .. } => APPEND,
        Body::Appended { .. } => APPENDED,
        Body::AppendRejected { .. } => APPEND_REJECTED,
        Body::Vote { stage: VoteStage::Pre, .. } => PRE_VOTE,
        Body::Vote { stage: VoteStage::Real, .. } => VOTE,
        Body::VoteReply { stage: VoteStage::Pre, .. } => PRE_VOTE_REPLY,
        Body::VoteReply { stage: VoteStage::Real, .. } => VOTE_REPLY,
        Body::Heartbeat { .. } => HEARTBEAT,
        Body::HeartbeatReply { .. } => HEARTBEAT_REPLY,
        Body::TransferLeader => TRANSFER_LEADER,
        Body::TimeoutNow => TIMEOUT_NOW,
        Body::ReadIndex { .. } => READ_INDEX,
        Body::ReadIndexReply { .. } => READ_INDEX_REPLY,
    }
}

fn put_position(out: &mut Vec<u8>, position: Position) {
    put_varint(out, position.term);
    put_varint(out, position.index);
}

fn put_body(out: &mut Vec<u8>, body: &Body) {
    match body {
        Body::Append { previous, commit, entries } => {
            put_position(out, *previous);
            put_varint(out, *commit);
            put_entries(out, entries);
        }
        Body::Appended { index, commit } => {
            put_varint(out, *index);
            put_varint(out, *commit);
        }
        Body::AppendRejected { index, commit, hint } => {
            put_varint(out, *index);
            put_varint(out, *commit);
            put_position(out, *hint);
        }
        Body::Vote { stage: _, last, commit, transfer } => {
            put_position(out, *last);
            put_position(out, *commit);
            put_bool(out, *transfer);
        }
        Body::VoteReply { stage: _, granted, commit } => {
            put_bool(out, *granted);
            put_position(out, *commit);
        }
        Body::Heartbeat { commit, context } | Body::HeartbeatReply { commit, context } => {
            put_varint(out, *commit);
            put_bytes(out, context);
        }
        Body::TransferLeader | Body::TimeoutNow => {}
        Body::ReadIndex { context } => put_bytes(out, context),
        Body::ReadIndexReply { index, context } => {
            put_varint(out, *index);
            put_bytes(out, context);
        }
    }
}

fn read_position(reader: &mut Reader) -> Result<Position, DecodeError> {
    Ok(Position { term: read_number(reader, "term")?, index: read_number(reader, "index")? })
}

fn read_body(tag: u8, reader: &mut Reader) -> Result<Body, DecodeError> {
    let index = |reader: &mut Reader| read_number(reader, "index");
    Ok(match tag {
        APPEND => {
            let previous = read_position(reader)?;
            let commit = index(reader)?;
            Body::Append { previous, commit, entries: read_entries(reader)? }
        }
        APPENDED => Body::Appended { index: index(reader)?, commit: index(reader)? },
        APPEND_REJECTED => {
            Body::AppendRejected { index: index(reader)?, commit: index(reader)?, hint: read_position(reader)? }
        }
        PRE_VOTE | VOTE => Body::Vote {
            stage: if tag == VOTE { VoteStage::Real } else { VoteStage::Pre },
            last: read_position(reader)?,
            commit: read_position(reader)?,
            transfer: reader.bool("vote transfer")?,
        },
        PRE_VOTE_REPLY | VOTE_REPLY => Body::VoteReply {
            stage: if tag == VOTE_REPLY { VoteStage::Real } else { VoteStage::Pre },
            granted: reader.bool("vote granted")?,
            commit: read_position(reader)?,
        },
        HEARTBEAT => Body::Heartbeat { commit: index(reader)?, context: reader.bytes()? },
        HEARTBEAT_REPLY => Body::HeartbeatReply { commit: index(reader)?, context: reader.bytes()? },
        TRANSFER_LEADER => Body::TransferLeader,
        TIMEOUT_NOW => Body::TimeoutNow,
        READ_INDEX => Body::ReadIndex { context: reader.bytes()? },
        READ_INDEX_REPLY => Body::ReadIndexReply { index: index(reader)?, context: reader.bytes()? },
        tag => return Err(DecodeError::UnknownTag { what: "message", tag: u64::from(tag) }),
    })
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
