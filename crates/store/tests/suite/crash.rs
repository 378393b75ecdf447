//! The power goes off before every step of a workload, and of opening afterwards.

use crate::caller::{Caller, Remains, work};
use simdisk::{Random, SimDisk};

const WORKLOAD: u64 = 11;
const ACTIONS: usize = 90;
const CUTS: u64 = 4;

/// Runs the workload until the power goes off before `step`; `None` if it ended before that.
fn run_until(seed: u64, step: u64) -> Option<(SimDisk, Remains)> {
    let disk = SimDisk::new();
    disk.power_off_at(step);
    let Ok(mut caller) = Caller::new(disk.clone()) else { return Some((disk, Remains::of_nothing())) };
    match work(&mut caller, seed, ACTIONS) {
        Ok(()) => None,
        Err(_) => Some((disk, caller.end())),
    }
}

/// etcd #22340: a file that was renamed into place and synced, but not its directory, vanished.
#[test]
fn r06_the_newest_durable_checkpoint_is_there_after_a_power_cut_at_any_step() {
    let mut step = 0;
    while let Some((disk, remains)) = run_until(WORKLOAD, step) {
        assert!(disk.is_off());
        for cut in 0..CUTS {
            let disk = disk.after_power_cut(&mut Random::new(step * CUTS + cut));
            let mut caller = Caller::open(disk, remains.clone()).expect("it opens after a power cut");
            work(&mut caller, step + 1, 12).expect("it goes on");
            caller.check_records();
            let disk = caller.disk.after_kill();
            Caller::open(disk, caller.end()).expect("it opens after a kill");
        }
        step += 1;
    }
    assert!(step > 150, "the workload is too short to say something: {step} steps");
}

#[test]
fn the_power_may_go_off_again_and_again_while_opening() {
    let mut step = 0;
    let mut cuts = 0;
    while let Some((disk, remains)) = run_until(WORKLOAD + 1, step) {
        let mut random = Random::new(step);
        let mut disk = disk.after_power_cut(&mut random);
        for opening in 0.. {
            disk.power_off_at(opening);
            // The check of a successful opening is part of it.
            match Caller::open(disk.clone(), remains.clone()) {
                Ok(_) => break,
                Err(fault) => assert!(disk.is_off(), "{fault}"),
            }
            cuts += 1;
            disk = disk.after_power_cut(&mut random);
        }
        step += 1;
    }
    assert!(step > 150 && cuts > step, "too few cuts to say something: {cuts} in {step} steps");
}

#[test]
fn what_a_kill_leaves_is_the_newest_checkpoint_at_any_step() {
    let mut step = 0;
    while let Some((disk, remains)) = run_until(WORKLOAD + 2, step) {
        Caller::open(disk.after_kill(), remains).expect("it opens after a kill");
        step += 1;
    }
}

#[test]
fn the_power_may_go_off_while_opening_what_a_kill_left_or_right_after() {
    let mut step = 0;
    while let Some((disk, remains)) = run_until(WORKLOAD + 3, step) {
        let mut random = Random::new(step);
        for opening in 0.. {
            let disk = disk.after_kill();
            disk.power_off_at(opening);
            let (remains, opened) = match Caller::open(disk.clone(), remains.clone()) {
                Ok(caller) => (caller.end(), true),
                Err(fault) => {
                    assert!(disk.is_off(), "{fault}");
                    (remains.clone(), false)
                }
            };
            for _ in 0..CUTS {
                Caller::open(disk.after_power_cut(&mut random), remains.clone()).expect("it opens after the power cut");
            }
            if opened {
                break;
            }
        }
        step += 1;
    }
    assert!(step > 150, "the workload is too short to say something: {step} steps");
}
