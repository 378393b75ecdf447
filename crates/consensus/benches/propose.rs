//! CPU of one proposal through propose, ready, persisted and committed, for a sole voter, without any disk.
//! `cargo bench -p consensus`; prints microseconds per entry.

use bytes::Bytes;
use consensus::{Config, Consensus, Recovered};
use std::time::Instant;

fn main() {
    let data = Bytes::from(vec![7u8; 300]);
    for batch in [1usize, 10, 50, 500] {
        let mut member = Consensus::new(Config::new(1, vec![1], 1), Recovered::default()).expect("a fresh member");
        member.campaign();
        turn(&mut member);
        let rounds = 400_000 / batch;
        for measured in [false, true] {
            let start = Instant::now();
            let mut committed = 0;
            for _ in 0..rounds {
                member.propose_batch(vec![data.clone(); batch]).expect("it leads");
                committed += turn(&mut member);
            }
            let spent = start.elapsed();
            assert_eq!(committed, rounds * batch);
            if measured {
                let each = spent.as_secs_f64() * 1e6 / committed as f64;
                println!("batch {batch:>3}: {each:.3} us per entry");
            }
        }
    }
}

fn turn(member: &mut Consensus) -> usize {
    let mut committed = 0;
    while let Some(ready) = member.ready() {
        committed += ready.committed.len();
        if let Some(last) = ready.committed.last() {
            member.applied(last.index);
        }
        member.persisted(ready.number);
    }
    committed
}
