//! The simulated world judges the member, and tests judge the world: the same seed gives the same run, and a disk that
//! lies is found out.

use sim::{Keep, Report, Run, run};
use std::time::Duration;

fn short(seed: u64) -> Run {
    Run { seed, lasts: Duration::from_secs(8), keep: Keep::All, syncs_lie: false }
}

fn lines(report: &Report) -> Vec<&str> {
    report.trace.lines().collect()
}

#[test]
fn a_seed_gives_the_same_run_twice() {
    for seed in 1..=20 {
        let (one, other) = (run(&short(seed)), run(&short(seed)));
        let differs = lines(&one).iter().zip(lines(&other)).position(|(one, other)| *one != other);
        assert_eq!(differs.map(|at| (at, lines(&one)[at], lines(&other)[at])), None, "seed {seed}");
        assert_eq!((one.trace.hash(), lines(&one).len()), (other.trace.hash(), lines(&other).len()), "seed {seed}");
    }
}

#[test]
fn seeds_find_no_violation() {
    let mut acknowledged = 0;
    let mut crashes = 0;
    for seed in 1_000..1_040 {
        let report = run(&short(seed));
        assert_eq!(report.violation, None, "seed {seed}, lasting 8 s");
        acknowledged += report.acknowledged;
        crashes += report.crashes;
    }
    assert!(
        acknowledged > 1_000 && crashes > 40,
        "{acknowledged} writes were acknowledged, there were {crashes} crashes"
    );
}

/// If this finds nothing, the checker is worth nothing.
#[test]
fn a_disk_that_lies_about_syncs_loses_an_acknowledged_write() {
    let found = (1..=30).filter_map(|seed| run(&Run { syncs_lie: true, ..short(seed) }).violation).next();
    assert!(found.is_some(), "thirty seeds found nothing");
}
