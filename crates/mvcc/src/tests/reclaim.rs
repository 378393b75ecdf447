//! Reclaim: the bound on the files holds under the worst churn and after everything was deleted; a crash or a full disk
//! in the middle loses nothing.

use super::*;
use simdisk::Random;
use std::collections::BTreeMap;

/// What the threads around it do between batches, with a checkpoint if one is wanted; true if one was written.
pub(crate) fn pace(mvcc: &mut Mvcc) -> bool {
    let mut written = false;
    loop {
        let compacts = mvcc.compaction_step(50);
        let relocates = mvcc.relocation_step(50);
        if let Some(job) = mvcc.begin_clean().expect("begin reclaim") {
            mvcc.finish_clean(copied(job));
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
    assert!(mvcc.begin_clean().expect("begin").is_none() && !mvcc.wants_checkpoint());
    assert_eq!(mvcc.reclaim_stats(), crate::ReclaimStats::default());
}

/// What was written, outside of the disk, and which revisions a checkpoint may have made durable.
#[derive(Clone, Default)]
struct Memory {
    /// Key and value by revision; `None` for a deletion.
    changes: Vec<(i64, String, Option<String>)>,
    acknowledged: i64,
    attempted: i64,
}

impl Memory {
    fn live_at(&self, revision: i64) -> BTreeMap<String, String> {
        let mut live = BTreeMap::new();
        for (at, key, value) in &self.changes {
            match value {
                _ if *at > revision => break,
                Some(value) => live.insert(key.clone(), value.clone()),
                None => live.remove(key),
            };
        }
        live
    }
}

fn live(mvcc: &mut Mvcc) -> BTreeMap<String, String> {
    let view = flushed_view(mvcc);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = KeyRange::all();
    let pair = |(key, meta): (crate::Key<'_>, crate::Meta)| {
        let kv = KeyValue::decode(&view.read(meta.location).expect("a live record is readable")).expect("a pair");
        (text(&key.to_vec()), text(&kv.value))
    };
    view.live(&all).map(pair).collect()
}

/// Overwrites, deletions and compactions with reclaim as it comes, until the disk fails; a lack of space is left to
/// `full`.
fn churn(
    mvcc: &mut Mvcc,
    memory: &mut Memory,
    seed: u64,
    rounds: usize,
    full: &mut dyn FnMut(&mut Mvcc),
) -> crate::Result<()> {
    let mut random = Random::new(seed);
    for _ in 0..rounds {
        let key = format!("key/{}", random.below(12));
        let value = value(&mut random);
        mvcc.look_for_space()?;
        while mvcc.shortage().is_some() {
            churn_reclaim(mvcc, memory)?;
            full(mvcc);
            mvcc.look_for_space()?;
        }
        let deletes = random.below(8) == 0;
        let mut txn = mvcc.begin();
        if deletes {
            txn.delete_range(&KeyRange::single(key.clone()));
        } else {
            txn.put(key.clone().into(), value.clone().into(), LeaseId::NONE)?;
        }
        if let Some(change) = txn.commit() {
            memory.changes.push((change.revision.0, key, (!deletes).then_some(value)));
        }
        if random.below(6) == 0 && mvcc.compacted_revision() < mvcc.current_revision() {
            mvcc.compact(mvcc.current_revision()).expect("newer than the one before");
        }
        churn_reclaim(mvcc, memory)?;
    }
    Ok(())
}

fn churn_reclaim(mvcc: &mut Mvcc, memory: &mut Memory) -> crate::Result<()> {
    match mvcc.flush_with_reserve() {
        Err(fault) if fault.is_no_space() => return Ok(()),
        flushed => flushed?,
    }
    mvcc.compaction_step(9);
    mvcc.relocation_step(3);
    if let Some(mut job) = mvcc.begin_clean()? {
        match (|| {
            while job.step()? {}
            job.finish()
        })() {
            Ok(relocated) => mvcc.finish_clean(relocated),
            Err(fault) if fault.is_no_space() => mvcc.abandon_clean(),
            Err(fault) => return Err(fault),
        }
    } else if mvcc.wants_checkpoint() {
        let mut job = mvcc.take_checkpoint()?;
        memory.attempted = job.revision().0;
        let done = match job.write(&job.meta()) {
            Err(fault) if fault.is_no_space() => return Ok(()),
            done => done?,
        };
        drop(job);
        memory.acknowledged = memory.attempted;
        mvcc.finish_checkpoint(done).remove()?;
    }
    Ok(())
}

fn try_open(disk: &SimDisk) -> crate::Result<Mvcc> {
    let (store, checkpoint) = Store::open(Arc::new(disk.clone()), Path::new(DIRECTORY), options())?;
    Mvcc::open(store, checkpoint.map(|checkpoint| (checkpoint.meta, checkpoint.runs)))
}

/// Opens what a crash left, and checks that it is exactly a checkpoint that may be there; answers it, and what is true
/// of it.
fn check_remains(disk: &SimDisk, mut memory: Memory) -> (Mvcc, Memory) {
    let mut mvcc = open(disk);
    let found = mvcc.current_revision().0;
    let may_be = [memory.acknowledged.max(1), memory.attempted.max(1)];
    assert!(may_be.contains(&found), "found revision {found}, {} is durable", memory.acknowledged);
    memory.changes.retain(|(at, ..)| *at <= found);
    (memory.acknowledged, memory.attempted) = (found, found);
    assert_eq!(live(&mut mvcc), memory.live_at(found));
    (mvcc, memory)
}

#[test]
fn r04_the_power_may_go_off_at_any_step_of_reclaim() {
    let mut moved = 0;
    for step in 0.. {
        let disk = SimDisk::new();
        disk.power_off_at(step);
        let mut memory = Memory::default();
        let churned = try_open(&disk).and_then(|mut mvcc| {
            let churned = churn(&mut mvcc, &mut memory, 7, 150, &mut |_| {});
            moved = mvcc.reclaim_stats().relocated_records;
            churned
        });
        if churned.is_ok() {
            assert!(step > 300, "the workload is too short to say something: {step} steps");
            break;
        }
        for cut in 0..2 {
            let disk = disk.after_power_cut(&mut Random::new(step * 2 + cut));
            let (mut mvcc, mut memory) = check_remains(&disk, memory.clone());
            churn(&mut mvcc, &mut memory, step, 12, &mut |_| {}).expect("it goes on");
            assert_eq!(live(&mut mvcc), memory.live_at(i64::MAX));
            check_remains(&disk.after_kill(), memory);
        }
        check_remains(&disk.after_kill(), memory);
    }
    assert!(moved > 50, "only {moved} records were moved");
}

#[test]
fn a_disk_that_is_full_at_any_moment_gets_its_space_from_garbage() {
    let options = || Options { reserve_bytes: 24 << 10, ..options() };
    let open = |disk: &SimDisk| {
        let (store, checkpoint) =
            Store::open(Arc::new(disk.clone()), Path::new(DIRECTORY), options()).expect("open store");
        Mvcc::open(store, checkpoint.map(|checkpoint| (checkpoint.meta, checkpoint.runs))).expect("open mvcc")
    };
    let mut waited = 0;
    for rounds in (20..140).step_by(3) {
        let disk = SimDisk::new();
        let mut mvcc = open(&disk);
        let mut memory = Memory::default();
        churn(&mut mvcc, &mut memory, 7, rounds, &mut |_| {}).expect("there is space");
        // Enough for twelve keys of half a kilobyte and what is needed beside them, if garbage is given back.
        disk.set_capacity(Some(disk.used().max(40 << 10)));
        let mut waits = 0;
        let mut compact = |mvcc: &mut Mvcc| {
            waits += 1;
            assert!(waits < 200, "{rounds} rounds: {} of {} bytes are garbage", disk.used(), mvcc.retained_bytes());
            if mvcc.compacted_revision() < mvcc.current_revision() {
                mvcc.compact(mvcc.current_revision()).expect("newer than the one before");
            }
        };
        churn(&mut mvcc, &mut memory, 8, 100, &mut compact).expect("garbage is given back");
        waited += waits;
        assert_eq!(live(&mut mvcc), memory.live_at(i64::MAX));
        let mut reopened = open(&disk.after_kill());
        assert_eq!(live(&mut reopened), memory.live_at(reopened.current_revision().0));
    }
    assert!(waited > 20, "the disk was full only {waited} times");
}

#[test]
fn a_segment_with_a_damaged_record_stays_and_the_others_go() {
    let disk = SimDisk::new();
    let mut mvcc = open(&disk);
    let mut random = Random::new(3);
    for round in 0..4 {
        for key in 0..40 {
            put(&mut mvcc, &format!("key/{key}/{}", if key % 8 == 0 { round } else { 0 }), &value(&mut random));
        }
    }
    let view = flushed_view(&mut mvcc);
    let (_, victim) = view.live(&KeyRange::single("key/8/0")).next().expect("it was put");
    disk.damage(&Path::new(DIRECTORY).join(format!("segment-{:08x}", victim.location.segment)), |content| {
        content[victim.location.offset as usize + 20] ^= 1;
    });
    mvcc.compact(mvcc.current_revision()).expect("compact");
    finish_compaction(&mut mvcc);
    let relocated = copied(copy_everything(&mut mvcc));
    let [damaged] = relocated.damaged() else { panic!("{relocated:?}") };
    assert!(damaged.fault.to_string().contains("record fails its checksum"));
    assert_eq!(damaged.owner, Some(("key/8/0".into(), victim.mod_revision())));
    mvcc.finish_clean(relocated);
    mvcc.relocation_step(usize::MAX);
    checkpoint(&mut mvcc);
    pace(&mut mvcc);
    let stats = mvcc.reclaim_stats();
    assert_eq!(stats.segments_damaged, 1, "{stats:?}");
    assert!(stats.relocated_records > 0 && stats.segments_removed > 2, "{stats:?}");
    let view = flushed_view(&mut mvcc);
    let in_segment = |meta: &crate::Meta| meta.location.segment == victim.location.segment;
    assert_eq!(view.live(&KeyRange::all()).filter(|(_, meta)| in_segment(meta)).count(), 1, "the others were copied");
    let all = KeyRange::all();
    let unreadable = view.live(&all).filter(|(_, meta)| view.read(meta.location).is_err());
    assert_eq!(unreadable.map(|(key, _)| key.to_vec()).collect::<Vec<_>>(), [b"key/8/0".to_vec()]);
}

/// Damage in what nobody needs keeps no space.
#[test]
fn a_damaged_record_that_is_garbage_is_passed_over() {
    let disk = SimDisk::new();
    let mut mvcc = open(&disk);
    let mut random = Random::new(3);
    let mut victim = None;
    for round in 0..4 {
        for key in 0..40 {
            put(&mut mvcc, &format!("key/{key}/{}", if key % 8 == 0 { round } else { 0 }), &value(&mut random));
        }
        let view = flushed_view(&mut mvcc);
        victim = victim.or_else(|| view.live(&KeyRange::single("key/1/0")).next().map(|(_, meta)| meta.location));
    }
    let victim = victim.expect("it was put");
    disk.damage(&Path::new(DIRECTORY).join(format!("segment-{:08x}", victim.segment)), |content| {
        content[victim.offset as usize + 20] ^= 1;
    });
    mvcc.compact(mvcc.current_revision()).expect("compact");
    finish_compaction(&mut mvcc);
    let relocated = copied(copy_everything(&mut mvcc));
    assert!(relocated.damaged().is_empty(), "{relocated:?}");
    mvcc.finish_clean(relocated);
    mvcc.relocation_step(usize::MAX);
    checkpoint(&mut mvcc);
    assert!(mvcc.segments().all(|stat| stat.id != victim.segment), "its segment is gone");
}
