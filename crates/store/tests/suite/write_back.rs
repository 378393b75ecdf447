//! Write-back promises nothing and costs nothing: with it started between all actions, what power cuts, kills and
//! failing disks leave is a checkpoint as before.

use crate::caller::{Caller, DIRECTORY, Remains, options};
use simdisk::{Random, SimDisk};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use store::{Mode, Result, Store};

const ACTIONS: u32 = 90;
/// Between two actions: whatever waits is old then.
const LONG: Duration = Duration::from_secs(3600);

/// Random actions, all that was written being started in between.
fn work(caller: &mut Caller, seed: u64) -> Result<()> {
    let mut random = Random::new(seed);
    for action in 0..ACTIONS {
        caller.act(&mut random, &mut |_| false)?;
        start(&caller.store, LONG * 2 * action);
    }
    Ok(())
}

fn start(store: &Store, now: Duration) {
    store.write_back().step(now);
    store.write_back().step(now + LONG);
}

/// True if the workload did not get to the step.
fn run(disk: &SimDisk, seed: u64, step: u64) -> (Remains, bool) {
    let Ok(mut caller) = Caller::new(disk.clone()) else { return (Remains::of_nothing(), false) };
    let worked = work(&mut caller, seed);
    (caller.end(), worked.is_ok() && disk.steps() <= step)
}

#[test]
fn the_newest_durable_checkpoint_is_there_after_a_power_cut_at_any_step() {
    for step in 0.. {
        let disk = SimDisk::new();
        disk.power_off_at(step);
        let (remains, ended) = run(&disk, 41, step);
        for cut in 0..3 {
            let disk = disk.after_power_cut(&mut Random::new(step * 3 + cut));
            Caller::open(disk, remains.clone()).expect("it opens after a power cut").check_records();
        }
        if ended {
            assert!(step > 150, "the workload is too short to say something: {step} steps");
            break;
        }
    }
}

#[test]
fn the_newest_durable_checkpoint_is_there_when_any_step_failed() {
    for step in 0.. {
        let disk = SimDisk::new();
        disk.fail_at(step, ErrorKind::Other);
        let (remains, ended) = run(&disk, 42, step);
        Caller::open(disk.after_kill(), remains.clone()).expect("it opens after a kill").check_records();
        let disk = disk.after_power_cut(&mut Random::new(step));
        Caller::open(disk, remains).expect("it opens after a power cut").check_records();
        if ended {
            assert!(step > 150, "the workload is too short to say something: {step} steps");
            break;
        }
    }
}

#[test]
fn a_checkpoint_fails_if_write_back_of_its_records_failed() {
    let disk = SimDisk::new();
    let mut store = Store::open(Arc::new(disk.clone()), Path::new(DIRECTORY), options()).expect("a new store opens").0;
    store.append(&[b"lost by write-back"]).and_then(|_| store.flush()).expect("the disk is sound");
    let before = disk.steps();
    disk.fail_at(before, ErrorKind::Other);
    start(&store, Duration::ZERO);
    assert_eq!(disk.steps(), before + 1, "write-back was started");
    let mut writer = store.begin_checkpoint().expect("nothing is known of it yet");
    for says in ["sync /d/store/segment-00000001", "an earlier sync of it failed"] {
        let fault = writer.commit(b"", &mut std::iter::empty(), Mode::Full).expect_err("the records are lost");
        assert!(fault.to_string().contains(says) && !fault.is_no_space(), "{fault}");
    }
}

/// What power cuts may leave of a store that appended without a checkpoint.
fn left(starts: bool) -> Vec<Vec<(std::path::PathBuf, Vec<u8>)>> {
    let disk = SimDisk::new();
    let mut store = Store::open(Arc::new(disk.clone()), Path::new(DIRECTORY), options()).expect("a new store opens").0;
    for step in 0..8 {
        store.append(&[&[7; 2000]]).and_then(|_| store.flush()).expect("the disk is sound");
        if starts {
            start(&store, LONG * 2 * step);
        }
    }
    (0..20).map(|seed| disk.after_power_cut(&mut Random::new(seed)).image()).collect()
}

#[test]
fn write_back_makes_nothing_durable() {
    assert!(left(true) == left(false), "a power cut leaves the same with and without");
}
