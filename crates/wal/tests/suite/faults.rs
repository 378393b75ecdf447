//! The log on a disk that fails: at every step once, in every way, and with the power cut at every step.

use crate::support::{entries, options};
use consensus::{Entry, HardState};
use simdisk::{Random, SimDisk};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use wal::{Fault, Options, Preparer, Progress, Recovered, Wal};

const DIRECTORY: &str = "/data/wal";

/// With a mark, which must never say that more was synced than was.
fn open(disk: &SimDisk) -> Result<(Wal, Recovered), Fault> {
    wal::look(Arc::new(disk.clone()), Path::new(DIRECTORY), Some(Path::new("/data/mark")))?.claim(options())
}

/// The error of a disk that does not answer, as opposed to one that is full.
const BROKEN: ErrorKind = ErrorKind::Other;

/// The step after that many more fails once.
fn fail_after(disk: &SimDisk, steps: u64, kind: ErrorKind) {
    disk.fail_at(disk.steps() + steps, kind);
}

/// No file may grow any more.
fn fill(disk: &SimDisk) {
    disk.set_capacity(Some(disk.used()));
}

fn after_power_cut(disk: &SimDisk, seed: u64) -> SimDisk {
    disk.after_power_cut(&mut Random::new(seed))
}

/// What was asked of the log, and what it promised.
#[derive(Default)]
struct Promises {
    /// The whole log after each append, and the hard state.
    states: Vec<(Vec<Entry>, HardState)>,
    /// How many of the states are durable.
    synced: usize,
    trimmed: u64,
}

impl Promises {
    /// Continues from what a restart found.
    fn after(recovered: &Recovered) -> Promises {
        Promises {
            states: vec![(recovered.entries.clone(), recovered.hard_state)],
            synced: 1,
            trimmed: recovered.trimmed_to.index,
        }
    }

    fn last(&self) -> (Vec<Entry>, HardState) {
        self.states.last().cloned().unwrap_or_default()
    }

    /// What was recovered is one of the states from the last promised one on.
    fn check(&self, recovered: &Recovered, what: &str) {
        let from = recovered.trimmed_to.index;
        assert!(from <= self.trimmed, "{what}: entries up to {from} are gone, only {} may be", self.trimmed);
        let matches = |(entries, state): &(Vec<Entry>, HardState)| {
            let kept = entries.iter().skip_while(|entry| entry.index <= from);
            kept.eq(&recovered.entries)
                && (state.term, state.vote) == (recovered.hard_state.term, recovered.hard_state.vote)
        };
        let found = self.states[self.synced.saturating_sub(1)..].iter().any(matches);
        assert!(
            found || (self.synced == 0 && recovered.entries.is_empty()),
            "{what}: not a state that was promised: {recovered:?}"
        );
    }
}

/// One member's life: entries, some replaced by another leader's, syncs, trims, segments prepared in between.
struct Member {
    wal: Wal,
    preparer: Preparer,
    promises: Promises,
}

impl Member {
    fn new(disk: &SimDisk) -> Result<Member, Fault> {
        let (mut wal, recovered) = open(disk)?;
        let preparer = wal.preparer();
        Ok(Member { wal, preparer, promises: Promises::after(&recovered) })
    }

    fn append(&mut self, step: u64) -> Result<(), Fault> {
        let (mut log, mut state) = self.promises.last();
        let last = self.wal.last();
        let replaces = step % 7 == 6 && last.index > state.commit + 1;
        let first = if replaces { last.index } else { last.index + 1 };
        if step % 7 == 6 {
            state.term += 1;
        }
        let term = state.term.max(1);
        state = HardState { term, vote: 1, commit: if step % 7 == 6 { state.commit } else { last.index } };
        let data = "d".repeat((step as usize * 97) % 500);
        let group = entries(term, first, &[data.as_str(), "second"][..1 + (step as usize % 2)]);
        self.wal.append(&group, Some(state))?;
        log.retain(|entry| entry.index < first);
        log.extend(group);
        self.promises.states.push((log, state));
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Fault> {
        self.wal.sync()?;
        self.promises.synced = self.promises.states.len();
        Ok(())
    }

    fn step(&mut self, step: u64) -> Result<(), Fault> {
        self.append(step)?;
        if step % 5 == 3 {
            self.append(step + 1)?;
        }
        self.sync()?;
        if step.is_multiple_of(3) {
            self.wal.write()?;
        }
        Ok(())
    }

    /// What runs beside the log; its faults stop nobody.
    fn background(&mut self, step: u64) {
        if step % 8 == 7 {
            let (log, state) = &self.promises.states[self.promises.synced - 1];
            let upto = state.commit.min(log.last().map_or(0, |entry| entry.index)).saturating_sub(3);
            self.promises.trimmed = self.promises.trimmed.max(upto);
            self.wal.trim(upto);
        }
        while let Ok(Progress::More) = self.preparer.step(false) {}
    }
}

const STEPS: u64 = 48;

/// Lives until the end, or until something fails.
fn live(disk: &SimDisk) -> (Option<Promises>, bool) {
    let Ok(mut member) = Member::new(disk) else { return (None, false) };
    for step in 0..STEPS {
        if member.step(step).is_err() {
            return (Some(member.promises), false);
        }
        member.background(step);
    }
    (Some(member.promises), true)
}

fn steps_of_a_life() -> u64 {
    let disk = SimDisk::new();
    assert!(live(&disk).1);
    disk.steps()
}

/// R06 too: names are durable only where the directory was synced.
#[test]
fn r01_r06_power_cut_at_every_step_loses_nothing_that_was_synced() {
    let steps = steps_of_a_life();
    assert!(steps > 150, "{steps} steps");
    for cut in 0..steps {
        let disk = SimDisk::new();
        disk.power_off_at(cut);
        let (promises, _) = live(&disk);
        for seed in 0..6 {
            let what = format!("power cut at step {cut}, seed {seed}");
            let restarted = after_power_cut(&disk, seed);
            let (_, recovered) = open(&restarted).unwrap_or_else(|fault| panic!("{what}: {fault}"));
            match &promises {
                Some(promises) => promises.check(&recovered, &what),
                None => assert!(recovered.entries.is_empty(), "{what}"),
            }
            let (promises, finished) = live(&restarted);
            assert!(finished, "{what}: the log does not go on");
            let (_, again) = open(&after_power_cut(&restarted, seed)).unwrap_or_else(|fault| panic!("{what}: {fault}"));
            promises.expect("it lived").check(&again, &what);
        }
    }
}

#[test]
fn a_kill_at_every_step_and_then_a_power_cut() {
    for cut in 0..steps_of_a_life() {
        let disk = SimDisk::new();
        disk.power_off_at(cut);
        let (promises, _) = live(&disk);
        let what = format!("killed at step {cut}");
        let killed = disk.after_kill();
        let (wal, recovered) = open(&killed).unwrap_or_else(|fault| panic!("{what}: {fault}"));
        if let Some(promises) = promises {
            promises.check(&recovered, &what);
        }
        drop(wal);
        // What was found after the kill has been relied on: entries count as written by this member from now on.
        for seed in 0..3 {
            let (_, again) = open(&after_power_cut(&killed, seed)).unwrap_or_else(|fault| panic!("{what}: {fault}"));
            // Segments that were trimmed may come back, as long as their removal is not durable.
            assert!(again.entries.ends_with(&recovered.entries), "{what}, seed {seed}");
            assert!(again.trimmed_to.index <= recovered.trimmed_to.index, "{what}, seed {seed}");
            assert_eq!(again.hard_state, recovered.hard_state, "{what}, seed {seed}");
        }
    }
}

#[test]
fn r14_every_step_of_the_first_start_may_fail_once() {
    let disk = SimDisk::new();
    drop(open(&disk).expect("nothing fails"));
    for failing in 0..disk.steps() {
        for kind in [BROKEN, ErrorKind::StorageFull] {
            let disk = SimDisk::new();
            fail_after(&disk, failing, kind);
            if let Err(fault) = open(&disk) {
                assert_eq!(fault.is_no_space(), kind == ErrorKind::StorageFull, "{fault}");
            }
            let (_, recovered) = open(&disk).unwrap_or_else(|fault| panic!("step {failing} {kind:?}: {fault}"));
            assert_eq!(recovered, Recovered::default());
            for seed in 0..3 {
                let (_, recovered) = open(&after_power_cut(&disk, seed)).expect("the second start was complete");
                assert_eq!(recovered, Recovered::default());
            }
        }
    }
}

#[test]
fn r14_a_first_start_on_a_full_disk_succeeds_once_there_is_space() {
    for left in [0, 100, 4095] {
        let disk = SimDisk::new();
        disk.set_capacity(Some(left));
        let fault = open(&disk).err().expect("a segment does not fit");
        assert!(fault.is_no_space(), "{fault}");
        disk.set_capacity(None);
        assert_eq!(open(&disk).expect("there is space").1, Recovered::default());
    }
}

/// A segment's file that cannot be had for want of a descriptor or of memory is asked for again, and nothing is lost.
#[test]
fn a_shortage_that_passes_never_stops_the_log() {
    let mut passed = 0;
    for failing in 0..steps_of_a_life() {
        let disk = SimDisk::new();
        let mut member = Member::new(&disk).expect("nothing fails yet");
        fail_after(&disk, failing, ErrorKind::OutOfMemory);
        let mut again = |result: Result<(), Fault>| {
            if let Err(fault) = &result {
                assert!(fault.may_pass() || matches!(fault, Fault::Failed), "{fault}");
                passed += 1;
            }
            result.is_err()
        };
        for step in 0..STEPS {
            for act in [|member: &mut Member, step| member.append(step), |member: &mut Member, _| member.sync()] {
                while again(act(&mut member, step)) {
                    while again(member.wal.fail_over()) {}
                }
            }
        }
    }
    assert!(passed > 10, "only {passed} steps failed");
}

/// What a driver does with a fault: wait for space, or change the file once, or stop.
fn drive(member: &mut Member, disk: &SimDisk, step: u64) -> Result<(), Fault> {
    loop {
        match member.append(step) {
            Ok(()) => break,
            Err(fault) if fault.is_no_space() => disk.set_capacity(None),
            Err(_) => recover_from_fault(member, disk)?,
        }
    }
    loop {
        match member.sync() {
            Ok(()) => return Ok(()),
            Err(fault) if fault.is_no_space() => disk.set_capacity(None),
            Err(_) => recover_from_fault(member, disk)?,
        }
    }
}

fn recover_from_fault(member: &mut Member, disk: &SimDisk) -> Result<(), Fault> {
    match member.wal.fail_over() {
        Err(fault) if fault.is_no_space() => {
            disk.set_capacity(None);
            member.wal.fail_over()
        }
        result => result,
    }
}

#[test]
fn r17_a_failed_sync_or_write_never_acknowledges_what_it_dropped() {
    let mut stopped = 0;
    for failing in 0..steps_of_a_life() {
        let disk = SimDisk::new();
        let Ok(mut member) = Member::new(&disk) else { panic!("nothing fails yet") };
        fail_after(&disk, failing, BROKEN);
        for step in 0..STEPS {
            if drive(&mut member, &disk, step).is_err() {
                stopped += 1;
                break;
            }
            member.background(step);
        }
        for seed in 0..4 {
            let what = format!("failure at step {failing}, power cut {seed}");
            let (_, recovered) = open(&after_power_cut(&disk, seed)).unwrap_or_else(|fault| panic!("{what}: {fault}"));
            member.promises.check(&recovered, &what);
            // After a kill and a restart, the page cache still shows what the failed sync dropped. It is relied on from
            // then on, so it must be on the disk.
            let killed = disk.after_kill();
            let (_, recovered) = open(&killed).unwrap_or_else(|fault| panic!("{what}: {fault}"));
            member.promises.check(&recovered, &what);
            let (_, again) = open(&after_power_cut(&killed, seed)).unwrap_or_else(|fault| panic!("{what}: {fault}"));
            assert_eq!(again.entries, recovered.entries, "{what}");
        }
    }
    // Only a directory that cannot be synced, or a new file that cannot be made, leaves nothing to go on with.
    assert!(stopped <= 10, "{stopped} members stopped");
}

/// Many groups share each block, and each write of a group writes again what is durable in its first one. The segment
/// has been used before, so what stands behind the tip is not zeros.
#[test]
fn power_cut_and_failure_at_every_step_of_groups_that_share_blocks() {
    let live = |disk: &SimDisk, prepare: &dyn Fn(u64)| {
        let options = Options { segment_bytes: 16 << 10, ..options() };
        let opened = Wal::open(Arc::new(disk.clone()), Path::new(DIRECTORY), options);
        let (mut wal, recovered) = opened.expect("nothing fails yet");
        let mut member = Member { preparer: wal.preparer(), wal, promises: Promises::after(&recovered) };
        let fill = |member: &mut Member, segments: usize| {
            while member.wal.segments() < segments {
                let next = member.wal.last().index + 1;
                member.wal.append(&entries(1, next, &["x".repeat(1300).as_str()]), None).expect("append");
                member.wal.sync().expect("sync");
            }
        };
        fill(&mut member, 3);
        let trimmed = member.wal.last().index - 1;
        member.wal.trim(trimmed);
        member.preparer.run(false).expect("nothing fails yet");
        fill(&mut member, 2);
        let found = wal::read(disk, Path::new(DIRECTORY)).expect("intact");
        member.promises = Promises::after(&found);
        member.promises.trimmed = trimmed;
        prepare(disk.steps());
        for number in 0..25 {
            let (mut log, state) = member.promises.last();
            let group = entries(1, member.wal.last().index + 1, &["d".repeat(number * 397 % 1000).as_str()]);
            if member.wal.append(&group, None).is_err() {
                break;
            }
            log.extend(group);
            member.promises.states.push((log, state));
            if (number % 4 == 3 && member.wal.write().is_err()) || member.sync().is_err() {
                break;
            }
        }
        member.promises
    };
    let complete = SimDisk::new();
    let begun = std::cell::Cell::new(0);
    live(&complete, &|steps| begun.set(steps));
    let steps = complete.steps() - begun.get();
    assert!((50..100).contains(&steps), "{steps} steps");
    for step in begun.get()..complete.steps() {
        let cut: &dyn Fn(&SimDisk) = &|disk| disk.power_off_at(step);
        let failed: &dyn Fn(&SimDisk) = &|disk| disk.fail_at(step, BROKEN);
        for (happens, what) in [(cut, "power cut"), (failed, "failure")] {
            let disk = SimDisk::new();
            let promises = live(&disk, &|_| happens(&disk));
            for seed in 0..12 {
                let what = format!("{what} at step {step}, seed {seed}");
                let restarted = after_power_cut(&disk, seed);
                let (_, recovered) = open(&restarted).unwrap_or_else(|fault| panic!("{what}: {fault}"));
                promises.check(&recovered, &what);
            }
        }
    }
}

/// After a failed sync and a restart the page cache still shows the group, and syncing says nothing about it: what is
/// relied on has to be written again.
#[test]
fn r17_what_a_restart_finds_after_a_failed_sync_is_made_durable() {
    let disk = SimDisk::new();
    let Ok(mut member) = Member::new(&disk) else { panic!("nothing fails yet") };
    for step in 0..6 {
        drive(&mut member, &disk, step).expect("nothing fails yet");
    }
    member.append(7).expect("in memory");
    fail_after(&disk, 1, BROKEN);
    member.sync().expect_err("the sync fails");
    let killed = disk.after_kill();
    let (_, recovered) = open(&killed).expect("intact");
    assert_eq!(recovered.entries.last(), member.promises.last().0.last(), "the page cache shows the group");
    for seed in 0..10 {
        let (_, again) = open(&after_power_cut(&killed, seed)).expect("intact");
        assert_eq!(again.entries, recovered.entries, "power cut {seed}");
    }
}

/// A vote waits in memory for the next record. The sync that fails is the one that completes the full segment before
/// it.
#[test]
fn r17_a_vote_that_was_not_written_yet_survives_the_change_of_file() {
    let disk = SimDisk::new();
    let Ok(mut member) = Member::new(&disk) else { panic!("nothing fails yet") };
    let vote = HardState { term: 9, vote: 3, commit: 0 };
    let large = "x".repeat(3000);
    member.wal.append(&entries(1, 1, &[large.as_str()]), None).expect("append");
    member.wal.append(&[], Some(vote)).expect("append");
    member.preparer.run(false).expect("nothing fails yet");
    // The new segment's name, then the write, then the sync.
    let before = disk.steps();
    disk.fail_at(before + 4, BROKEN);
    let group = entries(9, 2, &[large.as_str()]);
    let fault = member.wal.append(&group, None).expect_err("the first segment cannot be completed");
    assert!(fault.to_string().contains("sync"), "{fault} after {} steps", disk.steps() - before);
    member.wal.fail_over().expect("the second file is good");
    member.wal.append(&group, None).expect("append");
    member.wal.sync().expect("sync");
    let (_, recovered) = open(&after_power_cut(&disk, 1)).expect("intact");
    assert_eq!(recovered.hard_state, vote);
    assert_eq!(recovered.entries.len(), 2);
}

#[test]
fn a_second_failure_while_failing_over_is_survived_too() {
    for second in 0..12 {
        let disk = SimDisk::new();
        let Ok(mut member) = Member::new(&disk) else { panic!("nothing fails yet") };
        for step in 0..6 {
            drive(&mut member, &disk, step).expect("nothing fails yet");
        }
        fail_after(&disk, 1, BROKEN);
        member.append(6).expect("in memory");
        assert!(member.sync().is_err());
        assert!(matches!(member.sync(), Err(Fault::Failed)), "a failed sync is never tried again");
        assert!(matches!(member.append(7), Err(Fault::Failed)));
        fail_after(&disk, second, BROKEN);
        for step in 7..12 {
            if drive(&mut member, &disk, step).is_err() {
                break;
            }
        }
        for seed in 0..4 {
            let what = format!("second failure at step {second}, power cut {seed}");
            let (_, recovered) = open(&after_power_cut(&disk, seed)).unwrap_or_else(|fault| panic!("{what}: {fault}"));
            member.promises.check(&recovered, &what);
        }
    }
}

#[test]
fn r13_a_full_disk_is_reported_before_anything_is_written_and_the_log_goes_on() {
    let mut refused = 0;
    for full_at in 0..STEPS {
        let disk = SimDisk::new();
        let Ok(mut member) = Member::new(&disk) else { panic!("nothing fails yet") };
        for step in 0..STEPS {
            if step == full_at {
                fill(&disk);
            }
            let before = member.wal.last();
            while let Err(fault) = member.append(step) {
                assert!(fault.is_no_space(), "{fault}");
                assert_eq!(member.wal.last(), before, "a refused append changes nothing");
                let recovered = wal::read(&disk, Path::new(DIRECTORY)).expect("reading goes on");
                member.promises.check(&recovered, "while the disk is full");
                refused += 1;
                disk.set_capacity(None);
            }
            member.sync().expect("space for what was taken in is there");
        }
        let (_, recovered) = open(&after_power_cut(&disk, full_at)).expect("intact");
        member.promises.check(&recovered, "after the disk was full");
    }
    assert!(refused > 10, "the disk was full when it mattered only {refused} times");
}

#[test]
fn r13_a_hundred_times_full() {
    let disk = SimDisk::new();
    let Ok(mut member) = Member::new(&disk) else { panic!("nothing fails yet") };
    for round in 0..100 {
        fill(&disk);
        for step in 0..6 {
            drive(&mut member, &disk, round * 6 + step).expect("a full disk stops nobody");
            member.background(round * 6 + step);
        }
        disk.set_capacity(None);
    }
    let names = io::Disk::list(&disk, Path::new(DIRECTORY)).expect("list");
    let leftovers = names.iter().filter(|name| name.ends_with(".tmp")).count();
    assert!(leftovers <= 1, "{names:?}");
    let (_, recovered) = open(&after_power_cut(&disk, 1)).expect("intact");
    member.promises.check(&recovered, "after a hundred times");
}

/// The newest segment's header is written with its first group. Until that is durable, the segments before are the log.
#[test]
fn trimming_waits_until_the_newest_segment_is_durable() {
    let disk = SimDisk::new();
    let Ok(mut member) = Member::new(&disk) else { panic!("nothing fails") };
    let large = "x".repeat(3000);
    member
        .wal
        .append(&entries(1, 1, &[large.as_str()]), Some(HardState { term: 1, vote: 1, commit: 0 }))
        .expect("append");
    member.wal.sync().expect("sync");
    member.wal.append(&entries(1, 2, &[large.as_str()]), None).expect("append");
    assert_eq!(member.wal.segments(), 2);
    member.wal.trim(1);
    member.preparer.run(false).expect("nothing fails");
    for seed in 0..8 {
        let (_, recovered) = open(&after_power_cut(&disk, seed)).expect("intact");
        assert!(
            recovered.entries.starts_with(&entries(1, 1, &[large.as_str()])),
            "power cut {seed}: entry 1 was durable"
        );
    }
    member.wal.sync().expect("sync");
    member.wal.trim(1);
    member.preparer.run(false).expect("nothing fails");
    let (_, recovered) = open(&after_power_cut(&disk, 0)).expect("intact");
    assert_eq!(recovered.entries, entries(1, 2, &[large.as_str()]));
}

#[test]
fn entries_without_room_are_refused_while_the_disk_is_full() {
    let disk = SimDisk::new();
    let Ok(mut member) = Member::new(&disk) else { panic!("nothing fails yet") };
    drive(&mut member, &disk, 0).expect("nothing fails");
    fill(&disk);
    let next = member.wal.last().index + 1;
    member.wal.append(&entries(1, next, &["small"]), None).expect("the segment has room");
    let large = "d".repeat(1_000);
    let many = entries(1, next + 1, &[large.as_str(); 10]);
    let fault = member.wal.append(&many, None).expect_err("no segment with so much room can be made");
    assert!(fault.is_no_space(), "{fault}");
    assert!(fault.to_string().ends_with("/next.tmp: no storage space"), "{fault}");
    disk.set_capacity(None);
    member.wal.append(&many, None).expect("space is back");
    member.wal.sync().expect("nothing fails");
}
