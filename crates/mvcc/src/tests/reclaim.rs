//! Reclaim: the bound on the files holds under the worst churn and after everything was deleted; a crash or a full disk in the
//! middle loses nothing.

use super::*;
use sim::Random;

/// What the threads around it do between batches, with a checkpoint if one is wanted; true if one was written.
pub(crate) fn pace(mvcc: &mut Mvcc) -> bool {
    let mut written = false;
    loop {
        let compacts = mvcc.compaction_step(50);
        let relocates = mvcc.relocation_step(50);
        if let Some(job) = mvcc.begin_reclaim().expect("begin reclaim") {
            mvcc.finish_reclaim(copied(job));
        } else if mvcc.wants_checkpoint() {
            checkpoint(mvcc);
            written = true;
        } else if !compacts && !relocates {
            return written;
        }
    }
}

/// Bytes of the directory's files.
fn files(disk: &SimDisk) -> u64 {
    disk.image().iter().map(|(_, content)| content.len() as u64).sum()
}

/// The bound at the scale of these tests, whose segments have 4 KiB.
fn assert_bounded(mvcc: &Mvcc, disk: &SimDisk) {
    let (physical, retained) = (mvcc.physical_bytes(), mvcc.retained_bytes());
    assert_eq!(physical, files(disk));
    assert!(physical * 10 <= retained * 13 + 10 * (16 << 10), "{physical} bytes of files for {retained} retained");
}

fn value(random: &mut Random) -> String {
    "v".repeat(200 + random.below(400) as usize)
}

#[test]
fn uniform_overwrites_stay_within_the_bound_and_cost_a_few_copies_each() {
    let disk = SimDisk::new();
    let mut mvcc = open(&disk);
    let mut random = Random::new(1);
    let mut written = 0;
    for round in 0..6000 {
        let key = format!("key/{}", random.below(400));
        let value = value(&mut random);
        written += value.len() as u64;
        put(&mut mvcc, &key, &value);
        if round % 10 == 0 {
            mvcc.flush().expect("flush");
            mvcc.compact(mvcc.current_revision()).expect("compact");
            pace(&mut mvcc);
            assert_bounded(&mvcc, &disk);
        }
    }
    let stats = mvcc.reclaim_stats();
    assert!(stats.relocated_bytes < 5 * written, "{stats:?} for {written} bytes written");
    assert!(stats.segments_removed > 100, "{stats:?}");
}

#[test]
fn everything_deleted_and_compacted_leaves_next_to_nothing() {
    let disk = SimDisk::new();
    let mut mvcc = open(&disk);
    let mut random = Random::new(2);
    for key in 0..2000 {
        put(&mut mvcc, &format!("key/{key}"), &value(&mut random));
    }
    checkpoint(&mut mvcc);
    delete(&mut mvcc, &KeyRange::all());
    mvcc.flush().expect("flush");
    pace(&mut mvcc);
    assert_bounded(&mvcc, &disk);
    let before = files(&disk);
    mvcc.compact(mvcc.current_revision()).expect("compact");
    pace(&mut mvcc);
    assert_bounded(&mvcc, &disk);
    assert!(files(&disk) < before / 4, "{} of {before}", files(&disk));
    // Deletions at the compacted revision itself stay until the next.
    put(&mut mvcc, "other", "value");
    mvcc.compact(mvcc.current_revision()).expect("compact");
    pace(&mut mvcc);
    assert!(files(&disk) < 8 << 10, "{}", files(&disk));
}

#[test]
fn nothing_happens_below_the_target() {
    let disk = SimDisk::new();
    let mut mvcc = open(&disk);
    for key in 0..100 {
        put(&mut mvcc, &format!("key/{key}"), "value");
    }
    checkpoint(&mut mvcc);
    assert!(mvcc.begin_reclaim().expect("begin").is_none() && !mvcc.wants_checkpoint());
    assert_eq!(mvcc.reclaim_stats(), crate::ReclaimStats::default());
}
