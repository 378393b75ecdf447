//! Bugs that etcd had in its storage, each as a test that would find it here.

use super::*;
use model::{Range, Rejection};
use std::io::ErrorKind;

/// All histories of this length over two keys: a put of either, a deletion of either or of both.
fn small_histories(length: u32) -> impl Iterator<Item = Vec<u8>> {
    (0..5u32.pow(length)).map(move |number| (0..length).map(|at| (number / 5u32.pow(at) % 5) as u8).collect())
}

fn apply(mvcc: &mut Mvcc, step: u8) -> Option<Change> {
    match step {
        0 => Some(put(mvcc, "a", "1")),
        1 => Some(put(mvcc, "b", "2")),
        2 => delete(mvcc, &KeyRange::single("a")),
        3 => delete(mvcc, &KeyRange::single("b")),
        _ => delete(mvcc, &KeyRange::all()),
    }
}

/// What rewrites files in the background, stage by stage.
#[derive(Default)]
struct Background {
    checkpoint: Option<crate::CheckpointJob>,
    durable: Option<crate::CheckpointDone>,
    leftovers: Option<store::Leftovers>,
    reclaim: Option<crate::CleanJob>,
    relocated: Option<crate::Cleaned>,
}

impl Background {
    fn checkpoint_stage(&mut self, mvcc: &mut Mvcc, stage: usize) {
        match stage {
            0 => self.checkpoint = Some(mvcc.take_checkpoint().expect("take checkpoint")),
            1 => {
                let mut job = self.checkpoint.take().expect("taken");
                self.durable = Some(job.write(&job.meta()).expect("write checkpoint"));
            }
            2 => self.leftovers = Some(mvcc.finish_checkpoint(self.durable.take().expect("written"))),
            _ => self.leftovers.take().expect("finished").remove().expect("remove files"),
        }
    }

    fn reclaim_stage(&mut self, mvcc: &mut Mvcc, stage: usize) {
        match stage {
            0 => {
                finish_compaction(mvcc);
                self.reclaim = mvcc.begin_clean().expect("begin reclaim");
            }
            1 => self.relocated = self.reclaim.take().map(copied),
            2 => self.relocated.take().into_iter().for_each(|relocated| mvcc.finish_clean(relocated)),
            _ => while mvcc.relocation_step(5) {},
        }
    }
}

/// A defragmentation while a snapshot was applied left a process that wrote to files no longer there. Every
/// interleaving of a checkpoint with a reclaim, with writes, compactions and a reader of an old view between.
#[test]
fn r05_what_rewrites_files_may_be_interleaved() {
    let mut reclaimed = 0;
    for order in (0..1u32 << 8).filter(|order| order.count_ones() == 4) {
        let disk = SimDisk::new();
        let mut mvcc = open(&disk);
        // Half of each segment is garbage.
        for number in (0..60).chain((0..60).step_by(2)) {
            put(&mut mvcc, &format!("key-{number}"), &"v".repeat(300));
        }
        checkpoint(&mut mvcc);
        mvcc.compact(mvcc.current_revision()).expect("compact");
        finish_compaction(&mut mvcc);
        let kept = flushed_view(&mut mvcc);
        let before = all_pairs(&kept);
        let mut background = Background::default();
        let (mut checkpoint_stages, mut reclaim_stages) = (0.., 0..);
        for at in 0..8 {
            if order >> at & 1 == 1 {
                background.checkpoint_stage(&mut mvcc, checkpoint_stages.next().expect("endless"));
            } else {
                background.reclaim_stage(&mut mvcc, reclaim_stages.next().expect("endless"));
                reclaimed += usize::from(background.relocated.is_some());
            }
            put(&mut mvcc, &format!("key-{at}"), &format!("{at} {order}"));
            delete(&mut mvcc, &KeyRange::single(format!("key-{}", 10 + at)));
            mvcc.compact(mvcc.current_revision()).expect("compact");
            mvcc.compaction_step(3);
            assert_eq!(all_pairs(&kept), before, "order {order:08b} at {at}: the old view");
        }
        let now = all_pairs(&flushed_view(&mut mvcc));
        checkpoint(&mut mvcc);
        checkpoint(&mut mvcc);
        assert_eq!(all_pairs(&flushed_view(&mut mvcc)), now, "order {order:08b}");
        assert_eq!(all_pairs(&kept), before, "order {order:08b}: the old view");
        let mut reopened = open(&disk.after_kill());
        assert_eq!(all_pairs(&flushed_view(&mut reopened)), now, "order {order:08b}, opened");
    }
    assert!(reclaimed > 10, "reclaim had something to do only {reclaimed} times");
}

fn all_pairs(view: &View) -> Vec<KeyValue> {
    let all = view.range(&Range::new(KeyRange::all())).expect("readable");
    pairs(view, &all.items)
}

/// A member that dropped the reads of a transaction because nobody waited for their answers ended up with another
/// state.
#[test]
fn r23_reads_in_a_transaction_change_nothing() {
    let (mut with, mut without) = (new(), new());
    for (mvcc, reads) in [(&mut with, true), (&mut without, false)] {
        put(mvcc, "a", "1");
        put(mvcc, "a", "2");
        mvcc.compact(Revision(3)).expect("compact");
        let mut txn = mvcc.begin();
        if reads {
            for number in [0, 1, 2, 3, 4] {
                let request = Range { revision: Revision(number), ..Range::new(KeyRange::all()) };
                let answer = txn.range(&request);
                assert_eq!(answer.is_err(), matches!(number, 1 | 2 | 4), "at {number}");
            }
        }
        txn.put("b".into(), "3".into(), LeaseId::NONE).expect("put");
        txn.commit();
    }
    assert_eq!(with.view().hash_kv(Revision(0)), without.view().hash_kv(Revision(0)));
    assert_eq!(with.retained_bytes(), without.retained_bytes());
}

/// A part of a transaction was applied before its error. Here a lack of space is none: a transaction is carried out
/// whole, and its records wait in memory.
#[test]
fn r24_a_txn_without_space_is_carried_out_whole() {
    let disk = SimDisk::new();
    let mut mvcc = open(&disk);
    put(&mut mvcc, "a", "1");
    flushed_view(&mut mvcc);
    disk.set_capacity(Some(disk.used()));
    let large = Bytes::from(vec![7; 8192]);
    let mut txn = mvcc.begin();
    for key in ["a", "b"] {
        txn.put(key.into(), large.clone(), LeaseId::NONE).expect("the disk works");
    }
    txn.delete_range(&KeyRange::single("c"));
    assert_eq!(txn.commit().expect("a change").revision, Revision(3));
    assert!(mvcc.flush().expect_err("there is no space").is_no_space());
    mvcc.publish().expect("memory is enough");
    let values = |view: &View| {
        let found = view.range(&Range::new(KeyRange::all())).expect("readable");
        pairs(view, &found.items).into_iter().map(|pair| pair.value).collect::<Vec<_>>()
    };
    assert_eq!(values(&mvcc.view()), [large.clone(), large.clone()]);
    disk.set_capacity(None);
    assert_eq!(values(&flushed_view(&mut mvcc)), [large.clone(), large]);
}

/// A read buffer answered deleted or older values inside of a batch: every interleaving of writes, reads and commits.
#[test]
fn r25_reads_see_exactly_the_writes_before_them() {
    // 0..=3: put a, put b, delete a, delete all; 4: commit.
    for number in 0..5u32.pow(6) {
        let steps: Vec<u32> = (0..6).map(|at| number / 5u32.pow(at) % 5).collect();
        let mut mvcc = new();
        let mut model: std::collections::BTreeMap<&str, (i64, i64)> = Default::default();
        let mut txn = mvcc.begin();
        for step in steps {
            let writing = txn.revision();
            let wrote = match step {
                0 | 1 => {
                    let key = ["a", "b"][step as usize];
                    txn.put(key.into(), "v".into(), LeaseId::NONE).expect("put");
                    let entry = model.entry(key).or_insert((0, 0));
                    *entry = (entry.0 + 1, txn.revision().0);
                    true
                }
                2 => !txn.delete_range(&KeyRange::single("a")).is_empty() && model.remove("a").is_some(),
                3 => {
                    let deleted = txn.delete_range(&KeyRange::all()).len();
                    assert_eq!(deleted, model.len());
                    model.clear();
                    deleted > 0
                }
                _ => {
                    txn.commit();
                    txn = mvcc.begin();
                    false
                }
            };
            assert!(txn.revision() >= writing && (!wrote || txn.revision() > Revision(1)));
            let all = KeyRange::all();
            let found: Vec<_> =
                txn.live(&all).map(|(key, meta)| (key.to_vec(), meta.version, meta.at.main.0)).collect();
            let expected = model.iter().map(|(key, (version, at))| (key.as_bytes().to_vec(), *version, *at));
            assert!(found.into_iter().eq(expected));
            assert_eq!(txn.count(&all, Revision(0)), Ok(model.len() as u64));
        }
        txn.commit();
    }
}

/// Deleted and put again in one transaction is a new key.
#[test]
fn a_key_deleted_and_put_in_one_transaction_begins_again() {
    let mut mvcc = new();
    put(&mut mvcc, "a", "1");
    put(&mut mvcc, "a", "2");
    let mut txn = mvcc.begin();
    txn.delete_range(&KeyRange::single("a"));
    let result = txn.put("a".into(), "3".into(), LeaseId::NONE).expect("put");
    assert_eq!((result.prev, result.meta.version, result.meta.create_revision), (None, 1, Revision(4)));
    let change = txn.commit().expect("a change");
    let subs: Vec<_> = change.events.iter().map(|event| (event.at.main.0, event.at.sub, event.kv.is_some())).collect();
    assert_eq!(subs, [(4, 0, false), (4, 1, true)]);
    let before = mvcc.retained_bytes();
    mvcc.compact(Revision(4)).expect("compact");
    finish_compaction(&mut mvcc);
    // One record of 9 + 17 bytes is left.
    assert!(before > 35);
    assert_eq!(mvcc.retained_bytes(), 9 + u64::from(result.meta.location.length));
    assert_eq!(mvcc.key_count(), 1);
    // The deletion was taken off once.
    put(&mut mvcc, "a", "4");
    mvcc.compact(Revision(5)).expect("compact");
    assert_eq!(mvcc.retained_bytes(), 9 + u64::from(result.meta.location.length));
}

/// Ids over the whole range of their type, negative ones included.
#[test]
fn r29_every_lease_id_survives() {
    let disk = SimDisk::new();
    let mut mvcc = open(&disk);
    let ids = [i64::MIN, i64::MIN + 1, -1, 1, i64::MAX];
    for (number, id) in ids.iter().enumerate() {
        let mut txn = mvcc.begin();
        txn.put(format!("k{number}").into(), "v".into(), LeaseId(*id)).expect("put");
        txn.commit();
    }
    checkpoint(&mut mvcc);
    for mvcc in [mvcc, open(&disk.after_kill())] {
        let mut found = Vec::new();
        mvcc.for_each_leased(|lease, _| found.push(lease.0));
        assert_eq!(found, ids);
    }
}

/// Hashes differed after an interrupted compaction, or when the compacted revision was that of a deletion: false
/// alarms.
#[test]
fn r31_hashes_do_not_depend_on_how_far_a_compaction_got() {
    for history in small_histories(4) {
        let mut disk = SimDisk::new();
        let mut mvcc = open(&disk);
        history.iter().for_each(|step| drop(apply(&mut mvcc, *step)));
        let newest = mvcc.current_revision().0;
        if newest == 1 {
            continue;
        }
        for at in 2..=newest {
            let reference = hashes_after(&mut mvcc, at, usize::MAX);
            for budget in [0, 1] {
                assert_eq!(hashes_after(&mut mvcc, at, budget), reference, "{history:?} compacted at {at}");
            }
            checkpoint(&mut mvcc);
            disk = disk.after_kill();
            mvcc = open(&disk);
            let view = mvcc.view();
            let reopened: Vec<_> = (at..=newest).map(|at| hash_of(&view, at)).collect();
            assert_eq!(reopened, reference, "{history:?} compacted at {at} and opened");
        }
    }
}

/// Compacts as far as asked, and answers the hash at each revision left.
fn hashes_after(mvcc: &mut Mvcc, at: i64, budget: usize) -> Vec<u32> {
    if mvcc.compacted_revision().0 < at {
        mvcc.compact(Revision(at)).expect("compact");
    }
    if budget > 0 {
        mvcc.compaction_step(budget);
    }
    let view = mvcc.view();
    (at..=mvcc.current_revision().0).map(|at| hash_of(&view, at)).collect()
}

/// Not the one kept of the compaction.
fn hash_of(view: &View, at: i64) -> u32 {
    crate::hash::hash_at(&view.index, Revision(at), view.compacted_revision()).hash
}

/// Delete events were missing when a compaction hit the deletion, or the watch began at the compacted revision.
#[test]
fn r41_a_watch_from_any_revision_left_gets_all_events() {
    for history in small_histories(4) {
        let mut mvcc = new();
        let changes: Vec<Change> = history.iter().filter_map(|step| apply(&mut mvcc, *step)).collect();
        let newest = mvcc.current_revision().0;
        for compacted in 1..=newest {
            mvcc.compact(Revision(compacted)).expect("compact");
            for steps in [0, 1, 1000] {
                mvcc.compaction_step(steps);
                let view = mvcc.view();
                for from in compacted..=newest + 2 {
                    let page = view.events(&KeyRange::all(), Revision(from), Revision(newest), 100).expect("readable");
                    let expected = changes.iter().filter(|change| change.revision.0 >= from);
                    let expected =
                        expected.flat_map(|change| &change.events).map(|event| (event.at, &event.key, event.kv));
                    let found = page.events.iter().map(|event| (event.at, &event.key, event.kv));
                    assert!(found.eq(expected), "{history:?} compacted at {compacted} from {from}");
                }
                let below = view.events(&KeyRange::all(), Revision(compacted - 1), Revision(newest), 100);
                assert!(matches!(below, Err(crate::ReadError::Rejected(Rejection::Compacted))));
            }
        }
    }
}

/// The revision went down after a crash in a compaction that removed the last change.
#[test]
fn r60_the_revision_never_goes_back() {
    let mut step = 0;
    loop {
        let disk = SimDisk::new();
        let mut mvcc = open(&disk);
        put(&mut mvcc, "a", "1");
        put(&mut mvcc, "b", "2");
        checkpoint(&mut mvcc);
        delete(&mut mvcc, &KeyRange::all());
        mvcc.compact(Revision(4)).expect("compact");
        let durable = disk.steps();
        disk.power_off_at(durable + step);
        let written = write_checkpoints(&mut mvcc);
        let after = disk.after_power_cut(&mut simdisk::Random::new(step));
        let reopened = open(&after);
        let revision = reopened.current_revision().0;
        if written {
            assert_eq!(revision, 4);
            assert_eq!((reopened.key_count(), reopened.compacted_revision()), (0, Revision(4)));
            assert!(step > 5, "the power went off {step} times");
            return;
        }
        // Not durable: the log is applied again on top of the checkpoint before.
        assert!(matches!(revision, 3 | 4), "revision {revision} after {step} steps");
        assert_eq!(reopened.key_count(), if revision == 3 { 2 } else { 0 });
        step += 1;
    }
}

/// Two checkpoints with a step of compaction between them; false if the power went off.
fn write_checkpoints(mvcc: &mut Mvcc) -> bool {
    for _ in 0..2 {
        let Ok(mut job) = mvcc.take_checkpoint() else { return false };
        let meta = job.meta();
        let Ok(done) = job.write(&meta) else { return false };
        if mvcc.finish_checkpoint(done).remove().is_err() {
            return false;
        }
        mvcc.compaction_step(1);
    }
    true
}

/// A full disk while a checkpoint is written: the same job is tried again.
#[test]
fn a_checkpoint_that_met_a_full_disk_is_written_later() {
    let disk = SimDisk::new();
    let mut mvcc = open(&disk);
    for number in 0..200 {
        put(&mut mvcc, &format!("key-{number}"), "value");
    }
    let mut job = mvcc.take_checkpoint().expect("take checkpoint");
    disk.set_capacity(Some(disk.used() + 100));
    assert!(job.write(&job.meta()).expect_err("there is no space").is_no_space());
    put(&mut mvcc, "later", "value");
    disk.set_capacity(None);
    disk.fail_at(disk.steps() + 1, ErrorKind::StorageFull);
    assert!(job.write(&job.meta()).expect_err("there is no space").is_no_space());
    let done = job.write(&job.meta()).expect("there is space again");
    mvcc.finish_checkpoint(done).remove().expect("finish checkpoint");
    let reopened = open(&disk.after_kill());
    assert_eq!((reopened.key_count(), reopened.current_revision()), (200, Revision(201)));
}

/// A transaction given up in the middle must not be built upon.
#[test]
#[should_panic(expected = "a transaction was given up after it wrote")]
fn nothing_follows_a_transaction_that_was_given_up() {
    let mut mvcc = new();
    let mut txn = mvcc.begin();
    txn.put("a".into(), "1".into(), LeaseId::NONE).expect("put");
    drop(txn);
    mvcc.begin();
}
