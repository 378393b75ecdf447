//! One member's raft state machine.

use crate::check::{StepError, check};
use crate::convert;
use crate::entry::{Entry, HardState, Position};
use crate::logger::raft_logger;
use crate::message::Message;
use crate::ready::{ReadId, ReadState, Ready};
use crate::tail::Tail;
use bytes::Bytes;
use raft::eraftpb::{ConfState, Entry as RaftEntry, Message as RaftMessage, MessageType};
use raft::{RawNode, StateRole};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// How a member takes part. Ticks are the driver's unit of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// This member; never 0.
    pub id: u64,
    pub voters: Vec<u64>,
    pub learners: Vec<u64>,
    /// A follower campaigns after this many ticks, up to twice as many, without word from a leader.
    pub election_ticks: usize,
    /// Ticks between heartbeats; fewer than `election_ticks`.
    pub heartbeat_ticks: usize,
    /// Ask whether an election could be won before raising the term.
    pub pre_vote: bool,
    /// A leader that does not hear from a quorum for `election_ticks` steps down.
    pub check_quorum: bool,
    /// Entries in one message to a follower, in bytes.
    pub message_bytes_max: u64,
    /// Messages with entries on the way to one follower.
    pub inflight_max: usize,
    /// Data of one entry, in bytes; longer proposals are refused.
    pub entry_bytes_max: usize,
    /// Data of entries proposed but not committed, in bytes; a proposal beyond it is refused.
    pub uncommitted_bytes_max: u64,
    /// Applied entries kept for followers that lag, in bytes. A member without peers keeps none.
    pub tail_bytes_max: usize,
    /// Decides election timeouts and names read requests. Must differ at each start of a member.
    pub seed: u64,
}

impl Config {
    /// etcd's ticks (heartbeat 1, election 10, as 100 ms and 1 s) and its message sizes, for `id` among `voters`.
    pub fn new(id: u64, voters: Vec<u64>, seed: u64) -> Config {
        Config {
            id,
            voters,
            learners: Vec::new(),
            election_ticks: 10,
            heartbeat_ticks: 1,
            pre_vote: true,
            check_quorum: true,
            message_bytes_max: 512 << 10,
            inflight_max: 512,
            entry_bytes_max: 16 << 20,
            uncommitted_bytes_max: 256 << 20,
            tail_bytes_max: 16 << 20,
            seed,
        }
    }
}

/// What a member finds on its disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovered {
    pub hard_state: HardState,
    /// Where the last entry was that the log no longer holds.
    pub trimmed_to: Position,
    /// All entries after it.
    pub entries: Vec<Entry>,
    /// The last entry whose effects the state machine holds.
    pub applied: u64,
}

impl Recovered {
    /// The index of the last entry, if everything fits together.
    pub fn check(&self) -> Result<u64, RecoverError> {
        let Recovered { hard_state, trimmed_to, entries, applied } = self;
        let mut last = *trimmed_to;
        for entry in entries {
            if entry.index != last.index + 1 || entry.term < last.term {
                return Err(RecoverError::Inconsistent { index: entry.index });
            }
            last = entry.position();
        }
        if hard_state.term < last.term {
            return Err(RecoverError::Inconsistent { index: last.index });
        }
        if *applied < trimmed_to.index {
            return Err(RecoverError::TrimmedBeyondApplied { trimmed_to: trimmed_to.index, applied: *applied });
        }
        let promised = hard_state.commit.max(*applied);
        if promised > last.index {
            return Err(RecoverError::LogLost { last: last.index, promised });
        }
        Ok(last.index)
    }
}

/// Why what was found on the disk cannot be one member's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecoverError {
    Config(String),
    /// The state machine needs entries that the log has dropped.
    TrimmedBeyondApplied {
        trimmed_to: u64,
        applied: u64,
    },
    /// The log ends before an entry that was acknowledged or applied.
    LogLost {
        last: u64,
        promised: u64,
    },
    /// Entries with a gap or a falling term, or newer than the hard state.
    Inconsistent {
        index: u64,
    },
}

impl fmt::Display for RecoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecoverError::Config(why) => write!(f, "start consensus: {why}"),
            RecoverError::TrimmedBeyondApplied { trimmed_to, applied } => write!(
                f,
                "start consensus: the raft log begins after entry {trimmed_to}, but the state has applied only up to \
                 {applied}; restore the newer checkpoint of the state or the older segments of the log, or replace this \
                 member"
            ),
            RecoverError::LogLost { last, promised } => write!(
                f,
                "start consensus: the raft log ends at entry {last}, but entry {promised} was committed; restore the \
                 missing segments of the log, or replace this member"
            ),
            RecoverError::Inconsistent { index } => {
                write!(f, "start consensus: entry {index} of the raft log does not follow the one before it")
            }
        }
    }
}

impl std::error::Error for RecoverError {}

/// Why a proposal or a read was not taken; it has had and will have no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Ask the leader, if one is known.
    NotLeader {
        leader: Option<u64>,
    },
    /// Leadership is being handed over.
    HandingOver {
        to: u64,
    },
    /// More than `limit` bytes are proposed and not yet committed.
    TooMuchUncommitted {
        limit: u64,
    },
    EntryTooLarge {
        bytes: usize,
        limit: usize,
    },
    /// This leader has not committed anything in its term yet, so it may not know of the newest commit.
    TermNotCommitted,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::NotLeader { leader: Some(leader) } => write!(f, "not the leader, which is member {leader:x}"),
            Refused::NotLeader { leader: None } => f.write_str("no leader"),
            Refused::HandingOver { to } => write!(f, "leadership is being handed over to member {to:x}"),
            Refused::TooMuchUncommitted { limit } => write!(f, "more than {limit} bytes are waiting to be committed"),
            Refused::EntryTooLarge { bytes, limit } => write!(f, "entry of {bytes} bytes is over the limit of {limit}"),
            Refused::TermNotCommitted => f.write_str("the leader has not committed an entry in its term yet"),
        }
    }
}

impl std::error::Error for Refused {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Follower,
    PreCandidate,
    Candidate,
    Leader,
}

/// Where a member stands. `persisted` is what this member's log holds durably, `last` what it holds at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    pub id: u64,
    pub role: Role,
    pub term: u64,
    pub vote: u64,
    pub leader: Option<u64>,
    /// Whom leadership is being handed to.
    pub handing_over_to: Option<u64>,
    pub trimmed_to: u64,
    pub applied: u64,
    pub committed: u64,
    pub persisted: u64,
    pub last: u64,
}

/// A ready that was handed out and not yet reported as persisted.
struct Outstanding {
    number: u64,
    /// How far the log reaches durably once this is persisted, if it says so.
    last: Option<u64>,
    changes_vote: bool,
}

pub struct Consensus {
    config: Config,
    raft: RawNode<Tail>,
    outstanding: VecDeque<Outstanding>,
    hard_state_out: HardState,
    persisted: u64,
    committed: u64,
    committed_out: u64,
    applied: u64,
    reads: BTreeMap<ReadId, Asked>,
    last_read: u64,
}

/// A read that was asked, and whom: the answer of another leader, or of another term, is no answer.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Asked {
    leader: u64,
    term: u64,
}

impl Consensus {
    /// Fails if what was recovered contradicts itself: then this member must not take part.
    pub fn new(config: Config, recovered: Recovered) -> Result<Consensus, RecoverError> {
        let last = recovered.check()?;
        let Recovered { mut hard_state, trimmed_to, entries, applied } = recovered;
        // The state machine only ever holds what was committed.
        hard_state.commit = hard_state.commit.max(applied);
        let members =
            ConfState { voters: config.voters.clone(), learners: config.learners.clone(), ..ConfState::default() };
        let mut tail = Tail::new(trimmed_to, hard_state, members);
        for entry in entries {
            tail.push(entry);
        }
        let raft = RawNode::new(&raft_config(&config, applied), tail, &raft_logger())
            .map_err(|error| RecoverError::Config(error.to_string()))?;
        let mut consensus = Consensus {
            config,
            raft,
            outstanding: VecDeque::new(),
            hard_state_out: hard_state,
            persisted: last,
            committed: 0,
            committed_out: applied,
            applied,
            reads: BTreeMap::new(),
            last_read: 0,
        };
        consensus.trim_applied();
        consensus.settle();
        Ok(consensus)
    }

    /// One unit of time has passed.
    pub fn tick(&mut self) {
        self.raft.tick();
        self.settle();
    }

    /// Stands for election now. A member that is the only voter leads at once, and may propose before anything is
    /// durable. No effect on a learner, or while a change of members is committed and not applied.
    pub fn campaign(&mut self) {
        // Raft itself asks only its own timer whether the member may be elected.
        if self.raft.raft.promotable() {
            self.raft.campaign().expect("raft answers a call to campaign only with log lines");
            self.settle();
        }
    }

    /// Proposes one entry; see `propose_batch`.
    pub fn propose(&mut self, data: Bytes) -> Result<Position, Refused> {
        self.propose_batch(vec![data])
    }

    /// Appends an entry for each of `batch`, in order, all or none. Returns where the last one is; it is committed if
    /// the entry committed at that index has that term.
    pub fn propose_batch(&mut self, batch: Vec<Bytes>) -> Result<Position, Refused> {
        let status = self.status();
        if status.role != Role::Leader {
            return Err(Refused::NotLeader { leader: status.leader });
        }
        if let Some(to) = status.handing_over_to {
            return Err(Refused::HandingOver { to });
        }
        let limit = self.config.entry_bytes_max;
        if let Some(data) = batch.iter().find(|data| data.len() > limit) {
            return Err(Refused::EntryTooLarge { bytes: data.len(), limit });
        }
        let last = Position { term: status.term, index: status.last + batch.len() as u64 };
        if batch.is_empty() {
            return Ok(last);
        }
        let entries = batch.into_iter().map(|data| RaftEntry { data, ..RaftEntry::default() }).collect();
        let message =
            RaftMessage { msg_type: MessageType::MsgPropose, from: self.config.id, entries, ..RaftMessage::default() };
        match self.raft.step(message) {
            Ok(()) => {}
            Err(raft::Error::ProposalDropped) => {
                return Err(Refused::TooMuchUncommitted { limit: self.config.uncommitted_bytes_max });
            }
            Err(error) => panic!("raft refused a leader's proposal: {error}"),
        }
        assert_eq!(self.raft.raft.raft_log.last_index(), last.index, "every proposal became one entry");
        Ok(last)
    }

    /// Takes in a message from another member.
    pub fn step(&mut self, message: Message) -> Result<(), StepError> {
        check(&message, &self.status())?;
        let from = message.from;
        let result = self.raft.step(convert::to_raft_message(message));
        self.settle();
        match result {
            Ok(()) => Ok(()),
            Err(raft::Error::StepPeerNotFound) => Err(StepError::UnknownMember { from }),
            Err(error) => panic!("raft refused a checked message: {error}"),
        }
    }

    /// Hands leadership to `member`, once its log has caught up. Proposals are refused until it leads or an election
    /// timeout has passed. On a follower the request goes to the leader. No effect if `member` is no voter.
    pub fn transfer_leader(&mut self, member: u64) {
        self.raft.transfer_leader(member);
        self.settle();
    }

    /// Asks for the commit index as of now, proven by a quorum. The answer comes in a later ready, in `reads` or in
    /// `reads_lost`; it can also never come if messages are lost, so the driver asks again after a while.
    pub fn read_index(&mut self) -> Result<ReadId, Refused> {
        let status = self.status();
        let Some(leader) = status.leader else { return Err(Refused::NotLeader { leader: None }) };
        if status.role == Role::Leader && !self.raft.raft.commit_to_current_term() {
            return Err(Refused::TermNotCommitted);
        }
        self.last_read += 1;
        let id = ReadId(self.last_read);
        self.reads.insert(id, Asked { leader, term: status.term });
        let context = self.read_context(id).to_vec();
        self.raft.read_index(context);
        Ok(id)
    }

    /// The work that has come up, if any.
    pub fn ready(&mut self) -> Option<Ready> {
        let asked_now = Asked { leader: self.raft.raft.leader_id, term: self.raft.raft.term };
        let any_lost = self.reads.values().any(|&asked| asked != asked_now);
        if !any_lost && !self.raft.has_ready() {
            return None;
        }
        let mut raft_ready = self.raft.ready();
        assert!(raft_ready.snapshot().is_empty(), "no message that carries a snapshot is let in");
        let mut ready = Ready {
            number: raft_ready.number(),
            hard_state: raft_ready.hs().map(convert::from_raft_hard_state),
            entries: raft_ready.take_entries().into_iter().map(convert::from_raft_entry).collect(),
            must_sync: raft_ready.must_sync(),
            messages: from_raft_messages(raft_ready.take_messages()),
            messages_after_sync: from_raft_messages(raft_ready.take_persisted_messages()),
            committed: raft_ready.take_committed_entries().into_iter().map(convert::from_raft_entry).collect(),
            reads: self.answered_reads(raft_ready.take_read_states()),
            reads_lost: Vec::new(),
        };
        if any_lost {
            let lost = self.reads.extract_if(.., |_, asked| *asked != asked_now);
            ready.reads_lost = lost.map(|(id, _)| id).collect();
        }
        self.check_committed(&ready.committed);
        let changes_vote = raft_ready.must_sync() && ready.hard_state.is_some_and(|state| self.changes_vote(state));
        self.outstanding.push_back(Outstanding { number: ready.number, last: None, changes_vote });
        self.write_out(&ready.entries);
        // Raft lets a leader's messages go before its own write. That is sound for entries, but a sole voter becomes
        // leader in the step that raises its term: after a crash it would use the same term for other entries.
        if self.outstanding.iter().any(|outstanding| outstanding.changes_vote) {
            ready.messages_after_sync.append(&mut ready.messages);
        }
        if let Some(state) = ready.hard_state {
            self.hard_state_out = state;
        }
        self.raft.advance_append_async(raft_ready);
        Some(ready)
    }

    /// The entries and the hard state of this ready, and of all before it, are durable.
    pub fn persisted(&mut self, number: u64) {
        let newest = self.outstanding.back().map_or(0, |outstanding| outstanding.number);
        assert!(number <= newest, "ready {number} persisted, but the newest one open is {newest}");
        while let Some(outstanding) = self.outstanding.pop_front_if(|outstanding| outstanding.number <= number) {
            if let Some(last) = outstanding.last {
                self.persisted = last;
            }
        }
        self.raft.on_persist_ready(number);
        self.settle();
    }

    /// The state machine holds the effects of all entries up to `index`. Entries before it may be forgotten.
    pub fn applied(&mut self, index: u64) {
        assert!(index >= self.applied, "applied {index} after {}", self.applied);
        assert!(index <= self.committed_out, "applied {index}, but only {} was handed out", self.committed_out);
        if index == self.applied {
            return;
        }
        self.applied = index;
        self.raft.advance_apply_to(index);
        self.trim_applied();
    }

    /// Forgets applied entries up to `index` even if followers could still use them.
    pub fn trim(&mut self, index: u64) {
        assert!(index <= self.applied, "trim up to {index}, but only {} is applied", self.applied);
        self.raft.mut_store().trim(index, 0);
    }

    /// True if this member alone is a quorum.
    pub fn is_only_voter(&self) -> bool {
        self.config.voters == [self.config.id]
    }

    pub fn status(&self) -> Status {
        let raft = &self.raft.raft;
        Status {
            id: self.config.id,
            role: match raft.state {
                StateRole::Follower => Role::Follower,
                StateRole::PreCandidate => Role::PreCandidate,
                StateRole::Candidate => Role::Candidate,
                StateRole::Leader => Role::Leader,
            },
            term: raft.term,
            vote: raft.vote,
            leader: (raft.leader_id != 0).then_some(raft.leader_id),
            handing_over_to: raft.lead_transferee,
            trimmed_to: self.raft.store().trimmed_to().index,
            applied: self.applied,
            committed: raft.raft_log.committed,
            persisted: self.persisted,
            last: raft.raft_log.last_index(),
        }
    }

    /// Memory held by entries, in bytes, without those proposed since the last ready.
    pub fn tail_bytes(&self) -> usize {
        self.raft.store().bytes()
    }

    fn answered_reads(&mut self, answers: Vec<raft::ReadState>) -> Vec<ReadState> {
        let mut reads = Vec::with_capacity(answers.len());
        for answer in answers {
            // An answer that nobody waits for was told lost before, or belongs to an earlier run of this member.
            if let Some(id) = self.read_id(&answer.request_ctx)
                && self.reads.remove(&id).is_some()
            {
                reads.push(ReadState { id, index: answer.index });
            }
        }
        reads
    }

    /// Whose read it is, in which run of that member, and its number: a leader keeps only one read of each name.
    fn read_context(&self, id: ReadId) -> [u8; 24] {
        let mut context = [0; 24];
        context[..8].copy_from_slice(&self.config.id.to_le_bytes());
        context[8..16].copy_from_slice(&mix(self.config.seed).to_le_bytes());
        context[16..].copy_from_slice(&id.0.to_le_bytes());
        context
    }

    fn read_id(&self, context: &[u8]) -> Option<ReadId> {
        let id = ReadId(u64::from_le_bytes(*context.last_chunk()?));
        (context == self.read_context(id)).then_some(id)
    }

    fn changes_vote(&self, state: HardState) -> bool {
        (state.term, state.vote) != (self.hard_state_out.term, self.hard_state_out.vote)
    }

    /// Moves entries that are about to be written into the tail, where raft reads them from now on.
    fn write_out(&mut self, entries: &[Entry]) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        assert!(first.index > self.committed_out, "entry {} is committed and cannot be replaced", first.index);
        self.persisted = self.persisted.min(first.index - 1);
        for outstanding in &mut self.outstanding {
            outstanding.last = outstanding.last.map(|earlier| earlier.min(first.index - 1));
        }
        let outstanding = self.outstanding.back_mut().expect("the ready that carries the entries is outstanding");
        outstanding.last = Some(last.index);
        let tail = self.raft.mut_store();
        for entry in entries {
            tail.push(entry.clone());
        }
    }

    fn check_committed(&mut self, committed: &[Entry]) {
        for entry in committed {
            assert_eq!(entry.index, self.committed_out + 1, "committed entries come in order, each once");
            assert!(entry.index <= self.persisted, "entry {} is committed before it is durable here", entry.index);
            self.committed_out = entry.index;
        }
    }

    fn trim_applied(&mut self) {
        let has_peers = self.config.voters.len() + self.config.learners.len() > 1;
        let keep_bytes = if has_peers { self.config.tail_bytes_max } else { 0 };
        self.raft.mut_store().trim(self.applied, keep_bytes);
    }

    /// After every call that may have changed raft's state.
    fn settle(&mut self) {
        let ticks = self.config.election_ticks;
        let spread = mix(self.config.seed ^ mix(self.config.id) ^ self.raft.raft.term) % ticks as u64;
        let timeout = ticks + spread as usize;
        if self.raft.raft.randomized_election_timeout() != timeout {
            self.raft.raft.set_randomized_election_timeout(timeout);
        }
        let log = &self.raft.raft.raft_log;
        assert!(log.committed >= self.committed, "commit index fell from {} to {}", self.committed, log.committed);
        assert!(log.committed <= log.last_index(), "commit index {} is behind the log", log.committed);
        self.committed = log.committed;
    }
}

fn from_raft_messages(messages: Vec<RaftMessage>) -> Vec<Message> {
    messages.into_iter().map(convert::from_raft_message).collect()
}

fn raft_config(config: &Config, applied: u64) -> raft::Config {
    raft::Config {
        id: config.id,
        election_tick: config.election_ticks,
        heartbeat_tick: config.heartbeat_ticks,
        applied,
        max_size_per_msg: config.message_bytes_max,
        max_inflight_msgs: config.inflight_max,
        check_quorum: config.check_quorum,
        pre_vote: config.pre_vote,
        max_uncommitted_size: config.uncommitted_bytes_max,
        // It adds entries to an empty message that starts elsewhere; `members_never_disagree` finds such a message.
        // Proposals come in batches anyway, and each batch is one message.
        batch_append: false,
        ..raft::Config::default()
    }
}

/// A fixed function that looks random: the finaliser of splitmix64.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
