//! Random interleavings of proposals, elections, lost and reordered messages, and crashes, by seed. After every step no
//! two members have applied different entries, and what was applied is durable there.

use crate::cluster::Cluster;
use bytes::Bytes;
use consensus::{Entry, Role};
use std::fmt::Write;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

fn run(seed: u64, steps: usize) -> String {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut cluster = Cluster::default();
    let learners: &[u64] = if seed.is_multiple_of(2) { &[4] } else { &[] };
    cluster.start(&[1, 2, 3], learners, |config| config.seed = seed);
    let members: Vec<u64> = cluster.members.keys().copied().collect();
    let mut agreed: Vec<Entry> = Vec::new();
    let mut trace = String::new();
    for step in 0..steps {
        let id = members[random.below(members.len())];
        match random.below(20) {
            0..=2 => cluster.member(id).consensus.tick(),
            3 => cluster.member(id).consensus.campaign(),
            4..=5 => {
                let _ = cluster.member(id).consensus.propose(Bytes::from(format!("{step}")));
            }
            6..=10 => {
                cluster.ready(id);
            }
            11..=13 => {
                let member = cluster.members.get_mut(&id).expect("started");
                member.persist(&mut cluster.network);
            }
            14..=17 => {
                let from = members[random.below(members.len())];
                for (message, result) in cluster.deliver(Some(from), Some(id)) {
                    assert!(result.is_ok(), "seed {seed}: {message:?} gave {result:?}");
                }
            }
            18 => {
                if let Some(dropped) = cluster.network.pop_back() {
                    cluster.network.push_front(dropped);
                    cluster.network.truncate(40);
                }
            }
            _ if random.below(8) == 0 => cluster.crash(id),
            _ => {}
        }
        for (id, member) in &cluster.members {
            let shared = agreed.len().min(member.applied.len());
            assert_eq!(agreed[..shared], member.applied[..shared], "seed {seed} step {step}: member {id} differs");
            if member.applied.len() > agreed.len() {
                agreed.clone_from(&member.applied);
            }
            assert!(member.durable.entries.starts_with(&member.applied), "seed {seed} step {step}: member {id}");
            let _ = write!(trace, "{:?}", member.consensus.status());
        }
    }
    // Once nothing fails any more, somebody is elected and everybody catches up.
    for _ in 0..200 {
        members.iter().for_each(|&id| cluster.member(id).consensus.tick());
        cluster.settle(&mut String::new());
    }
    let leader = members.iter().find(|id| cluster.members[id].consensus.status().role == Role::Leader);
    let leader = *leader.unwrap_or_else(|| panic!("seed {seed}: no leader"));
    cluster.member(leader).consensus.propose(Bytes::from_static(b"last")).expect("it leads");
    cluster.settle(&mut String::new());
    for (id, member) in &cluster.members {
        assert_eq!(member.applied, cluster.members[&leader].applied, "seed {seed}: member {id} has not caught up");
        assert!(member.applied.starts_with(&agreed), "seed {seed}: member {id} lost entries");
    }
    let _ = write!(trace, "{agreed:?}");
    trace
}

#[test]
fn members_never_disagree() {
    for seed in 1..=60 {
        run(seed, 1500);
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 1..=5 {
        assert!(run(seed, 1000) == run(seed, 1000), "seed {seed} ran differently the second time");
    }
}
