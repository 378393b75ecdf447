//! HashKV of etcd itself: the histories and hashes of its own tests.

use super::*;

fn key_of(number: i64) -> &'static str {
    match number {
        _ if number % 142 == 30 => "zenek",
        _ if number % 71 == 30 => "xavery",
        _ => ["alice", "bob", "celine", "dominik", "eve", "frederica", "gorge"][(number % 7) as usize],
    }
}

/// Rounds of 72 puts; after each the hash at a revision, then compaction there.
fn rounds(hash_at: impl Fn(i64, i64) -> i64, expected: &[(i64, i64, u32)], steps: bool) {
    let disk = SimDisk::new();
    let mut mvcc = open(&disk);
    let mut base = 0;
    for &(revision, compact_revision, hash) in expected {
        for number in base..=base + 71 {
            put(&mut mvcc, key_of(number), &number.to_string());
        }
        let at = hash_at(base, mvcc.current_revision().0);
        assert_eq!(at, revision);
        let found = mvcc.view().hash_kv(Revision(at)).expect("a revision that is there");
        let wanted = crate::KvHash { hash, revision: Revision(at), compact_revision: Revision(compact_revision) };
        assert_eq!(found, wanted);
        mvcc.compact(Revision(at)).expect("compact");
        // The hash of the compaction is that of the history before it, whenever it is asked for.
        assert_eq!(mvcc.view().hash_kv(Revision(at)), Ok(wanted));
        if steps {
            finish_compaction(&mut mvcc);
            assert_eq!(mvcc.view().complete_compaction_hashes().last(), Some(&wanted));
        }
        base += 71;
    }
}

const BEHIND: &[(i64, i64, u32)] = &[(35, -1, 4082599214), (106, 35, 2279933401), (177, 106, 3284231217)];
const CURRENT: &[(i64, i64, u32)] = &[(73, -1, 1913897190), (145, 73, 224860069), (217, 145, 1565167519)];

#[test]
fn compaction_behind_the_current_revision() {
    for steps in [true, false] {
        rounds(|base, _| base + 35, BEHIND, steps);
    }
}

#[test]
fn compaction_at_the_current_revision() {
    for steps in [true, false] {
        rounds(|_, current| current, CURRENT, steps);
    }
}

#[test]
fn only_the_newest_ten_compactions_are_kept() {
    let mut mvcc = new();
    for number in 2..=13 {
        put(&mut mvcc, "k", "v");
        mvcc.compact(Revision(number)).expect("compact");
    }
    let kept: Vec<i64> = mvcc.view().complete_compaction_hashes().iter().map(|hash| hash.revision.0).collect();
    assert_eq!(kept, (4..=13).collect::<Vec<_>>());
    // Kept ones are answered though compacted, the others are not.
    assert!(mvcc.view().hash_kv(Revision(4)).is_ok());
    assert_eq!(mvcc.view().hash_kv(Revision(3)), Err(model::Rejection::Compacted));
    assert_eq!(mvcc.view().hash_kv(Revision(14)), Err(model::Rejection::FutureRevision));
}
