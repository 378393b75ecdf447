//! Bugs of etcd and of raft engines that this crate could have, each kept out by a test named after its row in the list
//! of known bugs.

use crate::cluster::{Cluster, Member};
use bytes::Bytes;
use consensus::{
    Body, Config, Consensus, Entry, EntryKind, HardState, Message, Position, RecoverError, Recovered, Refused, Role,
    StepError,
};

/// Every way to stop a group of one between two steps of its work: an entry that was handed out for applying is there
/// after the crash.
fn power_cut_everywhere(learners: &[u64]) {
    for cut in 0..40 {
        let mut cluster = Cluster::default();
        cluster.start(&[1], learners, |_| {});
        cluster.member(1).consensus.campaign();
        let mut seen: Vec<Entry> = Vec::new();
        for step in 0..cut {
            match step % 5 {
                0 => {
                    let data = Bytes::from(format!("entry {step}"));
                    cluster.member(1).consensus.propose(data).expect("a sole voter leads");
                }
                1 | 3 => {
                    cluster.ready(1);
                }
                2 => {
                    // The learner hears and answers before the leader's own write is durable.
                    cluster.deliver(None, None);
                    for &learner in learners {
                        while cluster.ready(learner).is_some() {}
                        let member = cluster.members.get_mut(&learner).expect("started");
                        member.persist(&mut cluster.network);
                    }
                    cluster.deliver(None, None);
                }
                _ => {
                    let member = cluster.members.get_mut(&1).expect("started");
                    member.persist(&mut cluster.network);
                }
            }
            seen.clone_from(&cluster.member(1).applied);
            let durable = &cluster.member(1).durable.entries;
            assert!(durable.starts_with(&seen), "cut {cut}: applied {seen:?}, durable {durable:?}");
        }
        cluster.crash(1);
        cluster.member(1).consensus.campaign();
        cluster.settle(&mut String::new());
        assert!(cluster.member(1).applied.starts_with(&seen), "cut {cut}");
    }
}

#[test]
fn r02_a_sole_voter_never_commits_before_its_sync() {
    power_cut_everywhere(&[]);
}

#[test]
fn r02_a_sole_voter_with_learners_never_commits_before_its_sync() {
    power_cut_everywhere(&[2, 3]);
}

/// A sole voter raises its term and leads in one step. If its entries travelled before that term was durable, a crash
/// would let it write other entries under the same term and index, and the learner would keep the wrong ones for ever.
#[test]
fn a_learner_hears_of_a_term_only_after_it_is_durable() {
    let mut cluster = Cluster::default();
    cluster.start(&[1], &[2], |_| {});
    cluster.member(1).consensus.campaign();
    cluster.member(1).consensus.propose(Bytes::from_static(b"forgotten")).expect("a sole voter leads");
    while cluster.ready(1).is_some() {}
    cluster.member(1).consensus.propose(Bytes::from_static(b"forgotten too")).expect("a sole voter leads");
    while cluster.ready(1).is_some() {}
    cluster.deliver(None, None);
    cluster.crash(1);
    cluster.member(1).consensus.campaign();
    cluster.member(1).consensus.propose(Bytes::from_static(b"kept")).expect("a sole voter leads");
    cluster.settle(&mut String::new());
    let leaders = cluster.member(1).applied.clone();
    assert_eq!(leaders.last().map(|entry| &entry.data[..]), Some(&b"kept"[..]));
    assert_eq!(cluster.member(2).applied, leaders);
}

#[test]
fn r26_a_read_answer_of_an_earlier_attempt_or_run_is_not_used() {
    let mut cluster = Cluster::default();
    cluster.start(&[1, 2, 3], &[], |_| {});
    cluster.member(1).consensus.campaign();
    cluster.settle(&mut String::new());
    cluster.member(2).consensus.read_index().expect("a leader is known");
    while cluster.ready(2).is_some() {}
    let member = cluster.members.get_mut(&2).expect("started");
    member.persist(&mut cluster.network);
    cluster.deliver(None, None);
    while cluster.ready(1).is_some() {}
    cluster.deliver(Some(1), Some(3));
    while cluster.ready(3).is_some() {}
    let member = cluster.members.get_mut(&3).expect("started");
    member.persist(&mut cluster.network);
    cluster.deliver(Some(3), Some(1));
    while cluster.ready(1).is_some() {}
    let late: Vec<Message> =
        cluster.network.iter().filter(|message| matches!(message.body, Body::ReadIndexReply { .. })).cloned().collect();
    assert_eq!(late.len(), 1, "the leader answered");
    cluster.network.clear();

    // The reader restarts before the answer arrives. Its new run names reads from 1 again, yet this answer is not for
    // it.
    cluster.config.get_mut(&2).expect("started").seed = 8;
    cluster.crash(2);
    cluster.member(1).consensus.tick();
    while cluster.ready(1).is_some() {}
    cluster.deliver(Some(1), Some(2));
    let read = cluster.member(2).consensus.read_index().expect("the heartbeat named the leader");
    for message in late {
        cluster.member(2).consensus.step(message).expect("well formed");
    }
    while let Some(ready) = cluster.ready(2) {
        assert_eq!(ready.reads, [], "{read:?} is answered by what was asked before the restart");
    }
}

#[test]
fn r27_no_read_before_the_first_commit_of_the_term() {
    let mut cluster = Cluster::default();
    cluster.start(&[1], &[], |_| {});
    cluster.member(1).consensus.campaign();
    assert_eq!(cluster.member(1).consensus.status().role, Role::Leader);
    assert_eq!(cluster.member(1).consensus.read_index(), Err(Refused::TermNotCommitted));
    cluster.settle(&mut String::new());
    assert!(cluster.member(1).consensus.read_index().is_ok());
}

fn follower() -> Consensus {
    let recovered = Recovered {
        hard_state: HardState { term: 3, vote: 0, commit: 2 },
        entries: (1..=3).map(|index| entry(2, index)).collect(),
        ..Recovered::default()
    };
    Consensus::new(Config::new(1, vec![1, 2, 3], 1), recovered).expect("consistent")
}

fn entry(term: u64, index: u64) -> Entry {
    Entry { term, index, kind: EntryKind::Normal, data: Bytes::from_static(b"data") }
}

fn from_leader(body: Body) -> Message {
    Message { from: 2, to: 1, term: 3, body }
}

/// What raft engines panic on is refused with a sentence here.
#[test]
fn hostile_messages_are_refused() {
    let append = |previous, commit, entries| from_leader(Body::Append { previous, commit, entries });
    let at = |term, index| Position { term, index };
    let malformed = [
        append(at(2, 3), 3, vec![entry(3, 5)]),
        append(at(2, 3), 3, vec![entry(3, 4), entry(3, 4)]),
        append(at(2, 3), 3, vec![entry(1, 4)]),
        append(at(2, 3), 3, vec![entry(4, 4)]),
        append(at(2, u64::MAX - 1), 3, vec![entry(3, u64::MAX)]),
        from_leader(Body::AppendRejected { index: 3, commit: 0, hint: at(1, u64::MAX) }),
        Message { term: u64::MAX, ..from_leader(Body::TimeoutNow) },
        Message { term: 0, ..append(at(2, 3), 3, vec![]) },
        from_leader(Body::ReadIndexReply { index: 1, context: Bytes::from(vec![0; 1 << 20]) }),
    ];
    for message in malformed {
        let error = follower().step(message.clone());
        assert!(matches!(error, Err(StepError::Malformed { from: 2, .. })), "{message:?} gave {error:?}");
    }
    let stray = Message { to: 9, ..append(at(2, 3), 3, vec![]) };
    assert_eq!(follower().step(stray), Err(StepError::Misdirected { from: 2, to: 9 }));
    let own = Message { from: 1, ..append(at(2, 3), 3, vec![]) };
    assert_eq!(follower().step(own), Err(StepError::Misdirected { from: 1, to: 1 }));
    let unknown = Message { from: 77, ..from_leader(Body::Appended { index: 3, commit: 3 }) };
    assert_eq!(follower().step(unknown), Err(StepError::UnknownMember { from: 77 }));
    let misled = from_leader(Body::TransferLeader);
    assert_eq!(follower().step(misled), Err(StepError::NotLeader { leader: None }));
}

#[test]
fn a_leader_does_not_believe_in_entries_it_never_sent() {
    let mut cluster = Cluster::default();
    cluster.start(&[1, 2, 3], &[], |_| {});
    cluster.member(1).consensus.campaign();
    cluster.settle(&mut String::new());
    let term = cluster.member(1).consensus.status().term;
    let lie = Message { from: 2, to: 1, term, body: Body::Appended { index: 1_000, commit: 0 } };
    let answer = cluster.member(1).consensus.step(lie);
    assert!(matches!(answer, Err(StepError::Malformed { from: 2, .. })), "{answer:?}");
}

/// The leader remembers what this member acknowledged; a log that ends before it has lost entries, and says so.
#[test]
fn a_lost_log_is_noticed_by_the_leaders_heartbeat() {
    let heartbeat = from_leader(Body::Heartbeat { commit: 9, context: Bytes::new() });
    let error = follower().step(heartbeat).expect_err("the log ends at 3");
    assert_eq!(error, StepError::LogLost { leader: 2, promised: 9, last: 3 });
    assert!(error.to_string().contains("entries were lost"), "{error}");
}

#[test]
fn r12_a_log_that_does_not_fit_the_state_is_refused() {
    let start = |recovered| Consensus::new(Config::new(1, vec![1], 1), recovered).err();
    let good = Recovered {
        hard_state: HardState { term: 2, vote: 1, commit: 6 },
        trimmed_to: Position { term: 1, index: 5 },
        entries: vec![entry(2, 6), entry(2, 7)],
        applied: 6,
    };
    assert_eq!(start(good.clone()), None);
    let behind = Recovered { applied: 4, ..good.clone() };
    assert_eq!(start(behind), Some(RecoverError::TrimmedBeyondApplied { trimmed_to: 5, applied: 4 }));
    let ahead = Recovered { applied: 8, ..good.clone() };
    assert_eq!(start(ahead), Some(RecoverError::LogLost { last: 7, promised: 8 }));
    let committed = Recovered { hard_state: HardState { commit: 9, ..good.hard_state }, ..good.clone() };
    assert_eq!(start(committed), Some(RecoverError::LogLost { last: 7, promised: 9 }));
    let gap = Recovered { entries: vec![entry(2, 6), entry(2, 8)], ..good.clone() };
    assert_eq!(start(gap), Some(RecoverError::Inconsistent { index: 8 }));
    let future = Recovered { entries: vec![entry(2, 6), entry(9, 7)], ..good };
    assert_eq!(start(future), Some(RecoverError::Inconsistent { index: 7 }));
}

#[test]
fn what_the_state_has_applied_counts_as_committed() {
    let recovered = Recovered {
        hard_state: HardState { term: 1, vote: 1, commit: 1 },
        entries: vec![entry(1, 1), entry(1, 2)],
        applied: 2,
        ..Recovered::default()
    };
    let member = Consensus::new(Config::new(1, vec![1], 1), recovered).expect("consistent");
    assert_eq!((member.status().committed, member.status().applied), (2, 2));
    assert_eq!(member.tail_bytes(), 0, "a member without peers keeps no applied entries");
}

#[test]
fn proposals_are_refused_with_the_reason() {
    let mut cluster = Cluster::default();
    cluster.start(&[1], &[], |config| {
        config.entry_bytes_max = 100;
        config.message_bytes_max = 50;
        config.uncommitted_bytes_max = 150;
    });
    let propose = |member: &mut Member, bytes: usize| member.consensus.propose(Bytes::from(vec![0; bytes]));
    assert_eq!(propose(cluster.member(1), 1), Err(Refused::NotLeader { leader: None }));
    cluster.member(1).consensus.campaign();
    cluster.settle(&mut String::new());
    assert_eq!(propose(cluster.member(1), 101), Err(Refused::EntryTooLarge { bytes: 101, limit: 100 }));
    assert!(propose(cluster.member(1), 100).is_ok());
    assert_eq!(propose(cluster.member(1), 100), Err(Refused::TooMuchUncommitted { limit: 150 }));
    cluster.settle(&mut String::new());
    assert!(propose(cluster.member(1), 100).is_ok());
    assert!(cluster.member(1).consensus.propose_batch(Vec::new()).is_ok());
}
