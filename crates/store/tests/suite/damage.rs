//! Damaged, short, missing, swapped and foreign files: refused with the file's name and the place, or without effect.
//! Never another answer, and never a removed file that could have been somebody's data.

use crate::caller::{Caller, DIRECTORY, Entry, load, options, payload};
use simdisk::SimDisk;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{Fault, Image, Mode, Store};

/// A store with two runs, several segments, garbage, and one record longer than a segment.
fn sound() -> (SimDisk, BTreeMap<u64, Entry>) {
    let disk = SimDisk::new();
    let mut caller = Caller::new(disk.clone()).expect("a new store opens");
    for round in 0..3 {
        for key in 0..20 - 6 * round {
            caller.put(key).expect("the disk is sound");
        }
        caller.delete(round);
        let mode = if round == 0 { Mode::Full } else { Mode::Delta };
        caller.checkpoint(mode, &[], &mut |_| false).expect("the disk is sound");
    }
    let index = caller.index.clone();
    drop(caller);
    (disk, index)
}

fn file(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

fn names(disk: &SimDisk) -> Vec<String> {
    let name = |path: PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    disk.image().into_iter().filter_map(|(path, _)| name(path)).collect()
}

fn length(disk: &SimDisk, name: &str) -> usize {
    disk.image().iter().find(|(path, _)| *path == file(name)).map_or(0, |(_, content)| content.len())
}

/// Opens the store and reads everything: the faults, if any. What is read without a fault is what was written.
fn read_all(disk: &SimDisk, index: &BTreeMap<u64, Entry>) -> Vec<Fault> {
    let opened = Store::open(Arc::new(disk.clone()), Path::new(DIRECTORY), options());
    let (store, checkpoint) = match opened {
        Ok(opened) => opened,
        Err(fault) => return vec![fault],
    };
    match load(checkpoint) {
        Ok((_, found)) => assert_eq!(found, *index),
        Err(fault) => return vec![fault],
    }
    let reader = store.reader();
    let mut faults = Vec::new();
    for (key, entry) in index {
        match store.read(entry.location) {
            Ok(read) => assert_eq!(read, payload(*key, entry.version)),
            Err(fault) => faults.push(fault),
        }
    }
    let locations: Vec<_> = index.values().map(|entry| entry.location).collect();
    let mut out = Vec::new();
    match reader.read_many(&locations, &mut out) {
        Ok(()) => assert!(faults.is_empty()),
        Err(fault) => {
            assert!(out.is_empty(), "nothing is handed out with a fault");
            assert!(faults.iter().any(|told| told.to_string() == fault.to_string()), "{fault} is told by both");
        }
    }
    faults
}

/// The offset that a fault of this file tells.
fn told_offset(fault: &Fault, name: &str) -> usize {
    let text = fault.to_string();
    assert!(fault.is_damage() && text.contains(&format!("{DIRECTORY}/{name} at byte ")), "{text}");
    let digits = text.split(" at byte ").nth(1).and_then(|rest| rest.split(':').next());
    digits.and_then(|digits| digits.parse().ok()).expect("an offset")
}

#[test]
fn r10_every_flipped_byte_is_named_or_without_effect() {
    let (sound, index) = sound();
    assert!(read_all(&sound.after_kill(), &index).is_empty());
    for name in names(&sound) {
        let mut told = 0;
        for at in 0..length(&sound, &name) {
            for flip in [0x01, 0x80, 0xff] {
                let disk = sound.after_kill();
                disk.damage(&file(&name), |content| content[at] ^= flip);
                let faults = read_all(&disk, &index);
                told += usize::from(!faults.is_empty());
                assert!(faults.len() <= 1, "one byte belongs to one record");
                for fault in &faults {
                    let offset = told_offset(fault, &name);
                    assert!(offset <= at && at - offset < 6000, "{fault}, damaged at {at}");
                }
                assert!(name.starts_with("segment-") || !faults.is_empty(), "{name} byte {at} counts");
            }
        }
        assert!(told > 0, "{name} has no byte that counts");
    }
}

#[test]
fn a_file_cut_short_anywhere_is_named() {
    let (sound, index) = sound();
    for name in names(&sound) {
        let whole = length(&sound, &name);
        // Segments have space allocated behind what counts.
        let counts = match name.strip_prefix("segment-") {
            Some(_) => counted(&sound, &name),
            None => whole,
        };
        for short in 0..counts {
            let disk = sound.after_kill();
            disk.damage(&file(&name), |content| content.truncate(short));
            let faults = read_all(&disk, &index);
            assert_eq!(faults.len(), 1, "{name} cut at {short}");
            assert!(told_offset(&faults[0], &name) <= short.max(1));
        }
        let disk = sound.after_kill();
        disk.damage(&file(&name), |content| content.push(0));
        let faults = read_all(&disk, &index);
        assert_eq!(faults.is_empty(), name.starts_with("segment-"), "only segments may be longer: {name}");
    }
}

/// How much of a segment the checkpoint names.
fn counted(disk: &SimDisk, name: &str) -> usize {
    let (store, _) = Store::open(Arc::new(disk.after_kill()), Path::new(DIRECTORY), options()).expect("it is sound");
    let stat = store.segments().find(|stat| name == format!("segment-{:08x}", stat.id)).expect("it is named");
    stat.total_bytes as usize + 16
}

#[test]
fn a_missing_file_is_named_and_nothing_is_removed() {
    let (sound, index) = sound();
    for name in names(&sound) {
        let disk = sound.after_kill();
        io::Disk::remove(&disk, &file(&name)).expect("it is there");
        let before = names(&disk);
        let faults = read_all(&disk, &index);
        assert!(faults[0].to_string().contains(&format!("{DIRECTORY}/{name}")), "{}", faults[0]);
        assert_eq!(names(&disk), before, "without {name}");
    }
}

#[test]
fn a_file_in_the_place_of_another_is_named() {
    let (sound, index) = sound();
    let names = names(&sound);
    for name in &names {
        for other in names.iter().filter(|other| *other != name) {
            let disk = sound.after_kill();
            let image: BTreeMap<_, _> = disk.image().into_iter().collect();
            let foreign = image.get(&file(other)).cloned().expect("it is there");
            disk.damage(&file(name), |content| *content = foreign);
            let faults = read_all(&disk, &index);
            assert_eq!(told_offset(&faults[0], name), 0, "{other} as {name}");
        }
    }
}

#[test]
fn foreign_files_stay_and_our_own_leftovers_go() {
    let (sound, index) = sound();
    let disk = sound.after_kill();
    let foreign = ["lost+found", "notes.txt", "segment-backup", "segment-1", "run-", "manifest.old"];
    let ours = ["segment-000000ff", "run-000000ff", "manifest.tmp"];
    for name in foreign.iter().chain(&ours) {
        let file = io::Disk::open(&disk, &file(name), io::Open::CREATE_NEW).expect("it is not there");
        file.write_at(b"something", 0).expect("the disk is sound");
    }
    assert!(read_all(&disk, &index).is_empty());
    let left = names(&disk);
    assert!(foreign.iter().all(|name| left.contains(&(*name).to_owned())), "{left:?}");
    assert!(!ours.iter().any(|name| left.contains(&(*name).to_owned())), "{left:?}");
}

#[test]
fn a_location_that_no_file_has_is_a_fault_not_a_panic() {
    let (disk, index) = sound();
    let (mut store, _) = Store::open(Arc::new(disk), Path::new(DIRECTORY), options()).expect("it is sound");
    store.append(&[b"not flushed"]).expect("there is space");
    let real = index.values().next().expect("there are records").location;
    let active = store.segments().last().expect("there are segments").id;
    let strange = [
        store::Location { segment: 99, ..real },
        store::Location { offset: u32::MAX, ..real },
        store::Location { length: 1 << 20, ..real },
        store::Location { offset: real.offset + 1, ..real },
        store::Location { segment: active, offset: u32::MAX, length: 5 },
        store::Location { segment: active, offset: 17, length: 1 << 20 },
    ];
    for location in strange {
        assert!(store.read(location).expect_err("there is no such record").is_damage());
        let mut out = Vec::new();
        let fault = store.reader().read_many(&[real, location, real], &mut out).expect_err("nor for many");
        assert!(fault.is_damage() && out.is_empty(), "{fault}");
    }
}

#[test]
fn records_in_each_others_place_are_damage() {
    let disk = SimDisk::new();
    let mut store = Store::open(Arc::new(disk.clone()), Path::new(DIRECTORY), options()).expect("a new store opens").0;
    let one = store.append(&[b"one record"]).expect("the disk is sound");
    let other = store.append(&[b"another 1."]).expect("the disk is sound");
    store.flush().expect("the disk is sound");
    let name = format!("segment-{:08x}", one.segment);
    let bytes = |location: store::Location| {
        let start = location.offset as usize;
        start..start + (u64::from(location.length) + store::RECORD_OVERHEAD_BYTES) as usize
    };
    disk.damage(&file(&name), |content| {
        let first = content[bytes(one)].to_vec();
        content.copy_within(bytes(other), bytes(one).start);
        content[bytes(other)].copy_from_slice(&first);
    });
    for location in [one, other] {
        let fault = store.reader().read(location).expect_err("it is another record");
        assert_eq!(told_offset(&fault, &name), location.offset as usize);
    }
}

/// What a check without opening finds.
fn verified(disk: &SimDisk) -> Vec<Fault> {
    match Image::open(Arc::new(disk.clone()), Path::new(DIRECTORY)) {
        Ok(image) => image.verify().faults,
        Err(fault) => vec![fault],
    }
}

#[test]
fn r10_a_check_finds_every_flipped_byte_that_counts_and_changes_nothing() {
    let (sound, index) = sound();
    let image = Image::open(Arc::new(sound.clone()), Path::new(DIRECTORY)).expect("it is sound");
    let (meta, found) = load(image.checkpoint().expect("it is sound")).expect("it is sound");
    assert_eq!((meta, found), (3, index));
    let all = image.verify();
    assert!(all.faults.is_empty() && all.records > 20, "{all:?}");
    for name in names(&sound) {
        let whole = length(&sound, &name);
        let counts = if name.starts_with("segment-") { counted(&sound, &name) } else { whole };
        for at in 0..whole {
            let disk = sound.after_kill();
            disk.damage(&file(&name), |content| content[at] ^= 0x10);
            let before = disk.image();
            let faults = verified(&disk);
            assert_eq!(faults.is_empty(), at >= counts, "{name} byte {at}: {faults:?}");
            for fault in &faults {
                assert!(told_offset(fault, &name) <= at || faults.len() > 1, "{fault}, damaged at {at}");
            }
            assert_eq!(disk.image(), before);
        }
    }
}

#[test]
fn a_check_tells_all_damage_of_all_files() {
    let (sound, _) = sound();
    let segments: Vec<String> = names(&sound).into_iter().filter(|name| name.starts_with("segment-")).collect();
    assert!(segments.len() > 1);
    let disk = sound.after_kill();
    for name in &segments {
        // In the payload of the first record: the walk goes on behind it.
        disk.damage(&file(name), |content| content[40] ^= 1);
    }
    let run = names(&sound).into_iter().find(|name| name.starts_with("run-")).expect("there are runs");
    disk.damage(&file(&run), |content| content.truncate(20));
    let faults = verified(&disk);
    let told = |name: &String| faults.iter().any(|fault| fault.to_string().contains(name.as_str()));
    assert!(told(&run) && segments.iter().all(told), "{faults:?}");
    assert_eq!(faults.len(), 1 + segments.len());
}
