//! Members whose disk and network are this test's memory. A crash keeps exactly what was persisted.

use bytes::Bytes;
use consensus::{
    Body, Config, Consensus, Entry, HardState, Message, Position, ReadState, Ready, Recovered, StepError, VoteStage,
};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

#[derive(Default)]
pub struct Cluster {
    pub members: BTreeMap<u64, Member>,
    /// Messages on their way, in the order they were sent.
    pub network: VecDeque<Message>,
    pub config: BTreeMap<u64, Config>,
}

pub struct Member {
    pub consensus: Consensus,
    /// What a crash leaves.
    pub durable: Recovered,
    /// Written but not synced.
    pub writing: VecDeque<Ready>,
    /// Everything handed to the state machine, in order.
    pub applied: Vec<Entry>,
}

impl Member {
    fn new(config: Config, durable: Recovered) -> Member {
        let consensus = Consensus::new(config, durable.clone()).expect("what was persisted is consistent");
        Member { consensus, durable, writing: VecDeque::new(), applied: Vec::new() }
    }

    /// Everything written becomes durable, and raft is told.
    pub fn persist(&mut self, network: &mut VecDeque<Message>) -> Option<u64> {
        let mut last = None;
        for mut ready in self.writing.drain(..) {
            if let Some(first) = ready.entries.first() {
                self.durable.entries.retain(|entry| entry.index < first.index);
                self.durable.entries.append(&mut ready.entries);
            }
            if let Some(state) = ready.hard_state {
                self.durable.hard_state = state;
            }
            network.extend(ready.messages_after_sync);
            last = Some(ready.number);
        }
        if let Some(number) = last {
            self.consensus.persisted(number);
        }
        last
    }
}

impl Cluster {
    /// `voters` and `learners` with fixed seeds; `config` may change the rest.
    pub fn start(&mut self, voters: &[u64], learners: &[u64], change: impl Fn(&mut Config)) {
        for &id in voters.iter().chain(learners) {
            let mut config = Config { learners: learners.to_vec(), ..Config::new(id, voters.to_vec(), 7) };
            change(&mut config);
            self.members.insert(id, Member::new(config.clone(), Recovered::default()));
            self.config.insert(id, config);
        }
    }

    pub fn member(&mut self, id: u64) -> &mut Member {
        self.members.get_mut(&id).expect("the script names members that exist")
    }

    /// The member forgets what it had not persisted.
    pub fn crash(&mut self, id: u64) {
        let durable = self.member(id).durable.clone();
        let config = self.config[&id].clone();
        self.members.insert(id, Member::new(config, durable));
    }

    /// Takes one ready: sends what may go, applies what is committed, keeps the rest as written but not durable.
    pub fn ready(&mut self, id: u64) -> Option<Ready> {
        let member = self.members.get_mut(&id).expect("the script names members that exist");
        let mut ready = member.consensus.ready()?;
        let report = Ready {
            number: ready.number,
            hard_state: ready.hard_state,
            entries: ready.entries.clone(),
            must_sync: ready.must_sync,
            messages: ready.messages.clone(),
            messages_after_sync: ready.messages_after_sync.clone(),
            committed: ready.committed.clone(),
            reads: ready.reads.clone(),
            reads_lost: ready.reads_lost.clone(),
        };
        self.network.extend(ready.messages.drain(..));
        if let Some(last) = ready.committed.last() {
            member.consensus.applied(last.index);
        }
        member.applied.append(&mut ready.committed);
        member.writing.push_back(ready);
        Some(report)
    }

    fn take(&mut self, from: Option<u64>, to: Option<u64>) -> Vec<Message> {
        let wanted =
            |message: &Message| from.is_none_or(|from| from == message.from) && to.is_none_or(|to| to == message.to);
        let (taken, left): (VecDeque<Message>, _) = self.network.drain(..).partition(wanted);
        self.network = left;
        Vec::from(taken)
    }

    pub fn deliver(&mut self, from: Option<u64>, to: Option<u64>) -> Vec<(Message, Result<(), StepError>)> {
        let taken = self.take(from, to);
        let step = |message: Message| {
            let result = self.member(message.to).consensus.step(message.clone());
            (message, result)
        };
        taken.into_iter().map(step).collect()
    }

    /// Lets everything happen until nothing is left to do, and says how reads ended.
    pub fn settle(&mut self, out: &mut String) {
        for _ in 0..1000 {
            let mut busy = false;
            for id in self.members.keys().copied().collect::<Vec<_>>() {
                while let Some(ready) = self.ready(id) {
                    show_reads(id, &ready, out);
                    busy = true;
                }
                let member = self.members.get_mut(&id).expect("listed above");
                busy |= member.persist(&mut self.network).is_some();
            }
            busy |= !self.deliver(None, None).is_empty();
            if !busy {
                return;
            }
        }
        panic!("the cluster does not come to rest");
    }

    /// One line of a script.
    pub fn run(&mut self, line: &str, out: &mut String) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let id = words.get(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        match words[0] {
            "members" => {
                let list = |name: &str| -> Vec<u64> {
                    let list = words.iter().find_map(|word| word.strip_prefix(name)).unwrap_or_default();
                    list.split(',').filter_map(|id| id.parse().ok()).collect()
                };
                let flag = |name: &str| words.contains(&name);
                self.start(&list("voters="), &list("learners="), |config| {
                    config.pre_vote = !flag("no-pre-vote");
                });
            }
            "campaign" => self.member(id).consensus.campaign(),
            "tick" => (0..words[2].parse().expect("a count")).for_each(|_| self.member(id).consensus.tick()),
            "propose" => {
                let batch = words[2..].iter().map(|word| Bytes::from(word.to_string())).collect();
                match self.member(id).consensus.propose_batch(batch) {
                    Ok(at) => writeln!(out, "{id}: up to {}", position(at)),
                    Err(refused) => writeln!(out, "{id}: refused: {refused}"),
                }
                .expect("strings grow");
            }
            "read" => match self.member(id).consensus.read_index() {
                Ok(read) => writeln!(out, "{id}: read {}", read.0).expect("strings grow"),
                Err(refused) => writeln!(out, "{id}: refused: {refused}").expect("strings grow"),
            },
            "transfer" => self.member(id).consensus.transfer_leader(words[2].parse().expect("a member")),
            "ready" => match self.ready(id) {
                None => writeln!(out, "{id}: nothing to do").expect("strings grow"),
                Some(ready) => show_ready(id, &ready, out),
            },
            "persist" => {
                let member = self.members.get_mut(&id).expect("the script names members that exist");
                if let Some(number) = member.persist(&mut self.network) {
                    writeln!(out, "{id}: durable up to ready {number}").expect("strings grow");
                }
            }
            "deliver" => {
                let (from, to) = link(words.get(1));
                for (message, result) in self.deliver(from, to) {
                    let refused = result.err().map(|error| format!(" refused: {error}")).unwrap_or_default();
                    writeln!(out, "{}{refused}", show_message(&message)).expect("strings grow");
                }
            }
            "drop" => {
                let (from, to) = link(words.get(1));
                for message in self.take(from, to) {
                    writeln!(out, "lost {}", show_message(&message)).expect("strings grow");
                }
            }
            "settle" => self.settle(out),
            "crash" => self.crash(id),
            "status" => {
                for (id, member) in &self.members {
                    let s = member.consensus.status();
                    let leader = s.leader.map_or("none".to_string(), |leader| leader.to_string());
                    let (last, persisted, committed) = (s.last, s.persisted, s.committed);
                    writeln!(
                        out,
                        "{id}: {:?} term={} vote={} leader={leader} last={last} persisted={persisted} \
                         committed={committed} applied={}",
                        s.role, s.term, s.vote, s.applied
                    )
                    .expect("strings grow");
                }
            }
            other => panic!("no command {other}"),
        }
    }
}

fn position(at: Position) -> String {
    format!("{}.{}", at.term, at.index)
}

fn show_entries(entries: &[Entry]) -> String {
    let show = |entry: &Entry| format!("{}={}", position(entry.position()), String::from_utf8_lossy(&entry.data));
    entries.iter().map(show).collect::<Vec<_>>().join(" ")
}

fn show_ready(id: u64, ready: &Ready, out: &mut String) {
    let mut lines = Vec::new();
    if let Some(HardState { term, vote, commit }) = ready.hard_state {
        lines.push(format!("write hard state term={term} vote={vote} commit={commit}"));
    }
    if !ready.entries.is_empty() {
        lines.push(format!("write {}", show_entries(&ready.entries)));
    }
    lines.extend(ready.messages.iter().map(|message| format!("send {}", show_message(message))));
    if ready.must_sync {
        lines.push("sync".to_string());
    }
    lines.extend(ready.messages_after_sync.iter().map(|message| format!("then send {}", show_message(message))));
    if !ready.committed.is_empty() {
        lines.push(format!("apply {}", show_entries(&ready.committed)));
    }
    writeln!(out, "{id}: ready {}", ready.number).expect("strings grow");
    for line in lines {
        writeln!(out, "   {line}").expect("strings grow");
    }
    show_reads(id, ready, out);
}

fn show_reads(id: u64, ready: &Ready, out: &mut String) {
    for ReadState { id: read, index } in &ready.reads {
        writeln!(out, "{id}: read {} at {index}", read.0).expect("strings grow");
    }
    for read in &ready.reads_lost {
        writeln!(out, "{id}: read {} lost", read.0).expect("strings grow");
    }
}

/// `1->2` names a link; without it, all of them are meant.
fn link(word: Option<&&str>) -> (Option<u64>, Option<u64>) {
    match word.map(|pair| pair.split_once("->").expect("from->to")) {
        Some((from, to)) => (from.parse().ok(), to.parse().ok()),
        None => (None, None),
    }
}

fn show_message(message: &Message) -> String {
    let stage = |stage: &VoteStage| if *stage == VoteStage::Pre { "pre-vote" } else { "vote" };
    let body = match &message.body {
        Body::Append { previous, commit, entries } if entries.is_empty() => {
            format!("append after {} commit={commit}", position(*previous))
        }
        Body::Append { previous, commit, entries } => {
            format!("append after {} commit={commit} {}", position(*previous), show_entries(entries))
        }
        Body::Appended { index, commit } => format!("appended up to {index} commit={commit}"),
        Body::AppendRejected { index, hint, .. } => format!("append at {index} rejected hint={}", position(*hint)),
        Body::Vote { stage: s, last, transfer, .. } => {
            format!("{} last={}{}", stage(s), position(*last), if *transfer { " transfer" } else { "" })
        }
        Body::VoteReply { stage: s, granted, .. } => {
            format!("{} {}", stage(s), if *granted { "granted" } else { "refused" })
        }
        Body::Heartbeat { commit, context } => format!("heartbeat commit={commit} context={}", context.len()),
        Body::HeartbeatReply { context, .. } => format!("heartbeat reply context={}", context.len()),
        Body::TransferLeader => "transfer leader".to_string(),
        Body::TimeoutNow => "timeout now".to_string(),
        Body::ReadIndex { .. } => "read index".to_string(),
        Body::ReadIndexReply { index, .. } => format!("read index reply {index}"),
    };
    format!("{}->{} term={} {body}", message.from, message.to, message.term)
}
