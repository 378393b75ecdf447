//! Failing and full disks. A disk that fails ends the process, which is what the caller does here; a full one is waited
//! for.

use crate::caller::{Caller, DIRECTORY, Remains, options, work};
use simdisk::{Random, SimDisk};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use store::{Fault, Mode, Options, RECORD_OVERHEAD_BYTES, Result, Store};

const ACTIONS: usize = 90;

#[test]
fn r17_a_step_that_fails_is_told_with_the_file_and_what_is_durable_stays() {
    let mut told = 0;
    for step in 0.. {
        let disk = SimDisk::new();
        disk.fail_at(step, ErrorKind::Other);
        let (fault, remains) = match Caller::new(disk.clone()) {
            Err(fault) => (fault, Remains::of_nothing()),
            Ok(mut caller) => match work(&mut caller, 21, ACTIONS) {
                Err(fault) => (fault, caller.end()),
                Ok(()) if disk.steps() <= step => break,
                Ok(()) => panic!("the failure of step {step} was not told"),
            },
        };
        assert!(!fault.is_no_space() && !fault.is_damage());
        assert!(fault.to_string().contains(" /d"), "{fault}");
        told += 1;
        Caller::open(disk.after_kill(), remains.clone()).expect("it opens after the process ended");
        for cut in 0..3 {
            let disk = disk.after_power_cut(&mut Random::new(step * 3 + cut));
            Caller::open(disk, remains.clone()).expect("it opens after the power went off, too");
        }
    }
    assert!(told > 150, "the workload is too short to say something: {told} steps");
}

#[test]
fn a_step_that_fails_while_opening_is_told_and_opening_again_succeeds() {
    let disk = SimDisk::new();
    let mut caller = Caller::new(disk.clone()).expect("a new store opens");
    work(&mut caller, 22, ACTIONS).expect("the disk is sound");
    caller.checkpoint(Mode::Delta, &[1, 2, 3], &mut |_| false).expect("the disk is sound");
    for key in 0..20 {
        caller.put(key).expect("the disk is sound");
    }
    let remains = caller.end();
    let mut step = 0;
    loop {
        let disk = disk.after_power_cut(&mut Random::new(step));
        disk.fail_at(step, ErrorKind::Other);
        let Err(fault) = Caller::open(disk.clone(), remains.clone()) else { break };
        assert!(fault.to_string().contains(DIRECTORY), "{fault}");
        Caller::open(disk, remains.clone()).expect("it failed only once");
        step += 1;
    }
    assert!(step > 0, "opening changes nothing, so nothing was tested");
}

#[test]
fn reads_that_fail_are_told_and_nothing_else_changes() {
    let disk = SimDisk::new();
    let mut caller = Caller::new(disk.clone()).expect("a new store opens");
    work(&mut caller, 23, ACTIONS).expect("the disk is sound");
    caller.store.flush().expect("the disk is sound");
    let locations: Vec<_> = caller.index.values().map(|entry| entry.location).collect();
    disk.fail_reads(true);
    let fault = caller.store.read(locations[0]).expect_err("reads fail");
    assert!(!fault.is_damage() && fault.to_string().contains("segment-"), "{fault}");
    let mut out = vec![bytes::Bytes::from_static(b"before")];
    caller.store.reader().read_many(&locations, &mut out).expect_err("reads fail");
    assert_eq!(out, ["before"], "nothing was added");
    disk.fail_reads(false);
    caller.check_records();
    caller.store.reader().read_many(&locations, &mut out).expect("reads are back");
    assert_eq!(out.len(), 1 + locations.len());
}

/// A checkpoint of a store that is used without an index: its block is its meta.
fn commit(store: &mut Store, meta: &str, mode: Mode) -> store::Done {
    let mut writer = store.begin_checkpoint().expect("a checkpoint begins");
    let mut blocks = std::iter::once(meta.as_bytes().to_vec());
    writer.commit(meta.as_bytes(), &mut blocks, mode).expect("the checkpoint is durable")
}

#[test]
fn a_file_that_cannot_be_removed_does_not_disturb_later_checkpoints() {
    let mut failures = 0;
    loop {
        let disk = SimDisk::new();
        let open = || Store::open(Arc::new(disk.clone()), Path::new(DIRECTORY), options());
        let (mut store, _) = open().expect("a new store opens");
        let locations: Vec<_> = (0..12).map(|_| store.append(&[&[7; 1000]]).expect("there is space")).collect();
        for (meta, mode) in [("one", Mode::Full), ("two", Mode::Delta)] {
            let done = commit(&mut store, meta, mode);
            store.finish_checkpoint(done).remove().expect("nothing is removed");
        }
        locations.iter().skip(1).for_each(|location| store.mark_garbage(*location));
        let done = commit(&mut store, "three", Mode::Full);
        disk.fail_at(disk.steps() + failures, ErrorKind::Other);
        if store.finish_checkpoint(done).remove().is_ok() {
            break;
        }
        failures += 1;
        assert_eq!(store.segments().count(), 2, "only what the checkpoint names and the active one");
        store.append(&[b"later"]).expect("it goes on");
        let done = commit(&mut store, "four", Mode::Delta);
        store.finish_checkpoint(done).remove().expect("the disk is sound again");
        drop(store);
        let checkpoint = open().expect("it opens").1.expect("there is a checkpoint");
        let blocks: Vec<_> = checkpoint.runs.into_iter().map(|mut run| run.next_block()).collect();
        let blocks: Vec<_> =
            blocks.into_iter().map(|block| block.expect("it is whole").expect("it is there")).collect();
        assert_eq!((checkpoint.meta.as_ref(), blocks), (b"four".as_ref(), vec!["three".into(), "four".into()]));
        let removed = disk.image().iter().filter(|(path, _)| path.to_string_lossy().contains("segment-")).count();
        assert_eq!(removed, 2, "what could not be removed is removed at the next open");
    }
    assert!(failures >= 3, "too few removals to say something: {failures}");
}

#[test]
fn a_segment_whose_sync_failed_is_never_part_of_a_later_checkpoint() {
    for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
        let disk = SimDisk::new();
        let (mut store, _) =
            Store::open(Arc::new(disk.clone()), Path::new(DIRECTORY), options()).expect("a new store opens");
        store.append(&[b"lost by the sync"]).expect("there is space");
        let mut writer = store.begin_checkpoint().expect("a checkpoint begins");
        // Made, header, no blocks, synced: then comes the segment.
        disk.fail_at(disk.steps() + 4, kind);
        let fault = writer.commit(b"", &mut std::iter::empty(), Mode::Full).expect_err("the sync fails");
        assert!(fault.to_string().contains("sync /d/store/segment-00000001"), "{fault}");
        assert!(!fault.is_no_space(), "trying again must not look sensible");
        for _ in 0..2 {
            let fault = writer.commit(b"", &mut std::iter::empty(), Mode::Full).expect_err("it stays refused");
            assert!(fault.to_string().contains("an earlier sync of it failed"), "{fault}");
            writer = store.begin_checkpoint().expect("a checkpoint begins");
        }
    }
}

/// Does the same work with less and less missing, giving space back when it lacks. `retry` says whether a checkpoint
/// that lacks space is tried again with the same writer, or dropped.
fn work_in_little_space(retry: bool) -> usize {
    let mut lacked = 0;
    let mut capacity = 0;
    loop {
        let disk = SimDisk::new();
        disk.set_capacity(Some(capacity));
        let before = lacked;
        let mut caller = loop {
            match Caller::new(disk.clone()) {
                Ok(caller) => break caller,
                Err(fault) => {
                    assert!(fault.is_no_space(), "{fault}");
                    lacked += 1;
                    disk.set_capacity(None);
                }
            }
        };
        let mut random = Random::new(31);
        for _ in 0..ACTIONS {
            let mut waited = 0;
            let mut wait = |_: &Fault| {
                waited += 1;
                disk.set_capacity(None);
                retry
            };
            let acted = caller.act(&mut random, &mut wait);
            lacked += waited;
            let Err(fault) = acted else { continue };
            assert!(fault.is_no_space() && fault.to_string().contains(DIRECTORY), "{fault}");
            lacked += 1;
            caller.check_records();
            let cut = disk.after_power_cut(&mut Random::new(capacity));
            Caller::open(cut, caller.remains()).expect("it opens as it is");
            disk.set_capacity(None);
        }
        caller.check_records();
        caller.checkpoint(Mode::Full, &[], &mut |_| false).expect("there is space");
        let runs = disk.image().iter().filter(|(path, _)| path.to_string_lossy().contains("run-")).count();
        assert_eq!(runs, 1, "what a failed checkpoint wrote is gone");
        Caller::open(disk.after_kill(), caller.end()).expect("it opens");
        if lacked == before {
            return lacked;
        }
        capacity += 97;
    }
}

#[test]
fn a_full_disk_is_told_and_work_goes_on_when_space_returns() {
    let lacked = work_in_little_space(false);
    assert!(lacked > 100, "space lacked too seldom to say something: {lacked}");
}

#[test]
fn a_checkpoint_that_lacked_space_is_made_by_the_same_writer() {
    let lacked = work_in_little_space(true);
    assert!(lacked > 100, "space lacked too seldom to say something: {lacked}");
}

#[test]
fn r15_a_lack_of_space_told_by_any_step_loses_nothing() {
    a_shortage_told_by_any_step_loses_nothing(ErrorKind::StorageFull);
}

/// Descriptors and memory can be short while the disk is well.
#[test]
fn a_lack_of_memory_told_by_any_step_loses_nothing() {
    a_shortage_told_by_any_step_loses_nothing(ErrorKind::OutOfMemory);
}

fn a_shortage_told_by_any_step_loses_nothing(kind: ErrorKind) {
    let mut passed = 0;
    for step in 0.. {
        let disk = SimDisk::new();
        disk.fail_at(step, kind);
        let Ok(mut caller) = Caller::new(disk.clone()) else { continue };
        let mut random = Random::new(32);
        let fatal = (0..ACTIONS).find_map(|_| match caller.act(&mut random, &mut |_| true) {
            Err(fault) if !fault.may_pass() => Some(fault),
            _ => None,
        });
        if fatal.is_none() {
            passed += 1;
            caller.check_records();
            // The step may be one of this checkpoint, but then the next one has none that fails.
            let done = (0..2).find_map(|_| caller.checkpoint(Mode::Delta, &[], &mut |_| false).ok());
            assert!(done.is_some() || disk.steps() > step, "step {step}");
        }
        let ended = disk.steps() <= step;
        let disk = disk.after_power_cut(&mut Random::new(step));
        Caller::open(disk, caller.end()).expect("it opens");
        if ended {
            break;
        }
    }
    assert!(passed > 10, "only {passed} steps could be tried again");
}

#[test]
fn who_tries_again_when_there_is_space_notices_nothing_else() {
    let mut refused_in_all = 0;
    for capacity in (40..12_000).step_by(331) {
        let disk = SimDisk::new();
        let mut refused = 0;
        let mut until_there_is_space = |act: &mut dyn FnMut() -> Result<()>| {
            while let Err(fault) = act() {
                assert!(fault.is_no_space(), "{fault}");
                refused += 1;
                // The first two tries are in vain.
                if refused % 3 == 2 {
                    disk.set_capacity(Some(disk.used() + 300 * refused));
                }
            }
        };
        let mut caller = Caller::open(disk.clone(), Remains::of_nothing()).expect("a new store opens");
        disk.set_capacity(Some(capacity));
        for key in 0..40 {
            until_there_is_space(&mut || caller.put(key % 24));
        }
        until_there_is_space(&mut || caller.store.flush());
        caller.check_records();
        disk.set_capacity(None);
        caller.checkpoint(Mode::Delta, &[], &mut |_| false).expect("there is space");
        Caller::open(disk.after_kill(), caller.end()).expect("it opens");
        refused_in_all += refused;
    }
    assert!(refused_in_all > 100, "space lacked too seldom to say something: {refused_in_all}");
}

/// Records are committed before they are taken, so a full disk refuses none.
#[test]
fn what_finds_no_space_stays_in_memory_until_there_is_some() {
    let options = || Options { reserve_bytes: 64 << 10, ..options() };
    let disk = SimDisk::new();
    let (mut store, _) =
        Store::open(Arc::new(disk.clone()), Path::new(DIRECTORY), options()).expect("a new store opens");
    let mut records = vec![store.append(&[b"kept"]).expect("the disk works")];
    disk.set_capacity(Some(disk.used()));
    for _ in 0..1000 {
        records.push(store.append(&[&[1; 100]]).expect("the disk works"));
    }
    let shortage = store.shortage().expect("there is no space").to_string();
    assert!(shortage.starts_with("allocate space for /d/store/segment-0000000"), "{shortage}");
    let fault = store.flush().expect_err("not all of it fits into the share of the reserve");
    assert!(fault.is_no_space(), "{fault}");
    store.publish().expect("the disk works");
    let check = |store: &Store| {
        for location in &records {
            let record = store.read(*location).expect("it is read");
            assert_eq!(store.reader().read(*location).expect("it is read"), record);
            assert!(record == "kept" || *record == [1; 100]);
        }
    };
    check(&store);
    disk.set_capacity(Some(disk.used() + (100 << 10)));
    store.look_for_space().expect("the disk works");
    assert_eq!(store.unwritten_bytes(), 0, "it is written as soon as there is space for it");
    assert!(store.is_short_of_space(), "there is not much");
    check(&store);
    disk.set_capacity(None);
    store.look_for_space().expect("the disk works");
    assert!(!store.is_short_of_space());
    check(&store);
}

/// What is needed for giving space back is not for records, but for a share.
#[test]
fn records_take_their_share_of_the_reserve_and_no_more() {
    let reserve_bytes = 64 << 10;
    let disk = SimDisk::new();
    let opened = Store::open(Arc::new(disk.clone()), Path::new(DIRECTORY), Options { reserve_bytes, ..options() });
    let (mut store, _) = opened.expect("a new store opens");
    store.append(&[b"first"]).expect("the disk works");
    disk.set_capacity(Some(disk.used()));
    let certain = store.room().certain_bytes;
    assert!(certain >= reserve_bytes / 2, "{certain}");
    let mut taken = 0;
    while store.flush().is_ok() {
        store.append(&[&[1; 100]]).expect("the disk works");
        taken += 100 + RECORD_OVERHEAD_BYTES;
    }
    assert!(taken + 200 > certain && taken < certain + 200, "{taken} of {certain}");
    let reserve = disk.image().into_iter().find(|(path, _)| path.ends_with("reserve"));
    assert!(reserve.is_some_and(|(_, content)| content.len() as u64 >= reserve_bytes / 2));
}

#[test]
fn after_a_failed_write_nothing_is_taken_any_more() {
    let disk = SimDisk::new();
    let mut store = Store::open(Arc::new(disk.clone()), Path::new(DIRECTORY), options()).expect("a new store opens").0;
    let kept = store.append(&[b"kept"]).expect("the disk is sound");
    store.flush().expect("the disk is sound");
    store.append(&[b"lost"]).expect("the disk is sound");
    disk.fail_at(disk.steps(), ErrorKind::Other);
    let fault = store.flush().expect_err("the write fails");
    assert!(!fault.is_no_space(), "{fault}");
    for fault in [
        store.append(&[b"more"]).expect_err("a write failed"),
        store.flush().expect_err("a write failed"),
        store.begin_checkpoint().expect_err("a write failed"),
    ] {
        assert!(fault.to_string().ends_with("an earlier write failed; start again to recover"), "{fault}");
    }
    assert_eq!(store.read(kept).expect("what was written is read"), "kept");
}

/// Whoever was told of a record can read it, whatever becomes of its file: the caller has it in its log.
#[test]
fn what_was_published_is_read_when_it_cannot_be_written() {
    for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
        let disk = SimDisk::new();
        let opened = Store::open(Arc::new(disk.clone()), Path::new(DIRECTORY), options());
        let mut store = opened.expect("a new store opens").0;
        let published = store.append(&[b"published"]).expect("the disk is sound");
        store.publish().expect("nothing is written");
        let reader = store.reader();
        disk.fail_at(disk.steps(), kind);
        let fault = store.flush().expect_err("the write fails");
        assert_eq!(fault.is_no_space(), kind == ErrorKind::StorageFull, "{fault}");
        assert_eq!(reader.read(published).expect("it is in memory"), "published");
        if fault.is_no_space() {
            let next = store.append(&[b"next"]).expect("there is space again");
            store.flush().expect("there is space again");
            assert_eq!(store.unwritten_bytes(), 0);
            assert_eq!(reader.read(published).expect("it is in the file"), "published");
            assert_eq!(reader.read(next).expect("it is in the file"), "next");
        } else {
            store.publish().expect_err("a write failed");
        }
    }
}

/// What cannot be removed takes space and nothing else: it is counted, and removed by a later attempt.
#[test]
fn a_file_that_cannot_be_removed_is_removed_later() {
    let disk = SimDisk::new();
    let (mut store, _) =
        Store::open(Arc::new(disk.clone()), Path::new(DIRECTORY), options()).expect("a new store opens");
    let mut checkpoint = |mode| {
        let mut writer = store.begin_checkpoint().expect("the disk works");
        let done = writer.commit(b"meta", &mut std::iter::once(vec![1; 100]), mode).expect("the disk works");
        drop(writer);
        store.finish_checkpoint(done)
    };
    checkpoint(Mode::Full).remove().expect("there is nothing to remove");
    let mut leftovers = checkpoint(Mode::Full);
    disk.fail_at(disk.steps(), ErrorKind::PermissionDenied);
    leftovers.remove().expect_err("the run before cannot be removed");
    let files = |disk: &SimDisk| disk.image().iter().map(|(_, content)| content.len() as u64).sum::<u64>();
    assert_eq!(store.physical_bytes(), files(&disk));
    leftovers.remove().expect("it can now");
    assert_eq!(store.physical_bytes(), files(&disk));
    leftovers.remove().expect("it is gone already");
}
