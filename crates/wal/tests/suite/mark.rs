//! A log with a mark outside of its directory: what is missing at its end is refused, and nothing is changed by it.

use crate::support::{entries, options, state};
use io::{Disk, Open};
use simdisk::{Random, SimDisk};
use std::path::Path;
use std::sync::Arc;
use wal::{Fault, Look, Owner, Wal};

const DIRECTORY: &str = "/data/wal";
const MARK: &str = "/data/mark";

fn look(disk: &SimDisk) -> Result<Look, Fault> {
    wal::look(Arc::new(disk.clone()), Path::new(DIRECTORY), Some(Path::new(MARK)))
}

fn open(disk: &SimDisk) -> Wal {
    look(disk).and_then(|look| look.claim(options())).expect("nothing fails").0
}

/// A log of three segments, and where the newest ended after each of its groups.
fn log() -> (SimDisk, Vec<u64>) {
    let disk = SimDisk::new();
    let mut wal = open(&disk);
    let mut ends = Vec::new();
    while wal.segments() < 3 || ends.len() < 5 {
        let next = wal.last().index + 1;
        wal.append(&entries(1, next, &["x".repeat(600).as_str()]), state(1, next - 1)).expect("nothing fails");
        wal.sync().expect("nothing fails");
        if wal.segments() == 3 {
            ends.push(end_of(&disk, &newest(&disk)));
        }
    }
    assert_eq!(wal.segments(), 3);
    drop(wal);
    (disk.after_kill(), ends)
}

/// Name of the newest segment.
fn newest(disk: &SimDisk) -> String {
    let names = disk.list(Path::new(DIRECTORY)).expect("it is there");
    names.into_iter().filter(|name| name.ends_with(".wal")).max().expect("there is one")
}

fn end_of(disk: &SimDisk, name: &str) -> u64 {
    let path = Path::new(DIRECTORY).join(name);
    let file = disk.open(&path, Open::READ).expect("it is there");
    let mut bytes = vec![0; file.len().expect("it has one") as usize];
    file.read_exact_at(&mut bytes, 0).expect("it is read");
    let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last as u64 + 1);
    used.next_multiple_of(8)
}

/// The log is refused with such a text, and stays as it is.
fn assert_refused(disk: &SimDisk, what: &str) -> String {
    let steps = disk.steps();
    let refused = look(disk).err().unwrap_or_else(|| panic!("{what} is accepted")).to_string();
    assert_eq!(disk.steps(), steps, "{what} changed something");
    refused
}

#[test]
fn a_newest_segment_that_lost_anything_is_refused_by_name() {
    let (whole, ends) = log();
    let name = newest(&whole);
    let path = Path::new(DIRECTORY).join(&name);
    for (index, end) in ends[..ends.len() - 1].iter().enumerate() {
        let disk = whole.after_kill();
        disk.damage(&path, |bytes| bytes[*end as usize..].fill(0));
        let refused = assert_refused(&disk, "a segment zeroed from the end of a record");
        assert!(refused.contains(&name) && refused.contains(&format!("the log ends here at byte {end}")), "{refused}");
        let last = ends.len() - 1 - index;
        disk.damage(&path, |bytes| bytes.truncate(*end as usize));
        assert!(assert_refused(&disk, "a cut segment").contains(&name), "{last} groups are missing");
    }
    type Change = fn(&mut Vec<u8>);
    let changes: [(&str, Change); 3] =
        [("emptied", Vec::clear), ("zeroed", |bytes| bytes.fill(0)), ("cut in its header", |bytes| bytes.truncate(50))];
    for (what, change) in changes {
        let disk = whole.after_kill();
        disk.damage(&path, change);
        let refused = assert_refused(&disk, what);
        assert!(refused.contains(&name) && refused.contains("it is missing, or its header is invalid"), "{refused}");
    }
    let disk = whole.after_kill();
    disk.remove(&path).expect("it is there");
    let refused = assert_refused(&disk, "a removed segment");
    assert!(refused.contains("write the word 'accept' into /data/mark"), "{refused}");
    // By that word, what is left is the log.
    disk.damage(Path::new(MARK), |bytes| *bytes = b"accept".to_vec());
    let looked = look(&disk).expect("it is accepted");
    assert!(looked.is_accepted());
    let (wal, recovered) = looked.claim(options()).expect("nothing fails");
    assert_eq!(recovered.entries.last().map(|entry| entry.index), Some(wal.last().index));
    drop(wal);
    let again = look(&disk.after_kill()).expect("it is marked again");
    assert!(!again.is_accepted() && again.marked_log() == again.log_id());
}

#[test]
fn an_old_mark_or_a_longer_log_is_no_loss() {
    let disk = SimDisk::new();
    let mut wal = open(&disk);
    let early = disk.after_kill();
    for _ in 0..8 {
        wal.append(&entries(1, wal.last().index + 1, &["x".repeat(900).as_str()]), None).expect("nothing fails");
        wal.sync().expect("nothing fails");
    }
    let last = wal.last().index;
    drop(wal);
    let later = disk.after_kill();
    let old = early.open(Path::new(MARK), Open::READ).expect("it is there");
    let mut bytes = vec![0; old.len().expect("it has one") as usize];
    old.read_exact_at(&mut bytes, 0).expect("it is read");
    later.damage(Path::new(MARK), |mark| *mark = bytes);
    let looked = look(&later).expect("nothing is lost");
    assert_eq!(looked.recovered().and_then(|log| log.entries.last()).map(|entry| entry.index), Some(last));
}

/// The kernel has written no mark but the synced one: that a segment was begun is known all the same.
#[test]
fn the_newest_segment_is_missed_after_a_power_cut_too() {
    let (_, _) = log();
    for seed in 0..20 {
        let disk = SimDisk::new();
        let mut wal = open(&disk);
        while wal.segments() < 2 {
            wal.append(&entries(1, wal.last().index + 1, &["x".repeat(600).as_str()]), None).expect("nothing fails");
            wal.sync().expect("nothing fails");
        }
        let cut = disk.after_power_cut(&mut Random::new(seed));
        look(&cut).expect("nothing is lost");
        cut.remove(&Path::new(DIRECTORY).join(newest(&cut))).expect("it is there");
        assert_refused(&cut, "a removed segment");
    }
}

#[test]
fn a_missing_or_damaged_mark_is_told() {
    let (whole, _) = log();
    whole.damage(Path::new(MARK), |bytes| bytes.fill(0));
    assert!(assert_refused(&whole, "a zeroed mark").contains("/data/mark: it is damaged"));
    whole.remove(Path::new(MARK)).expect("it is there");
    let refused = look(&whole).and_then(|look| look.require_mark()).expect_err("it is missing").to_string();
    assert!(refused.contains("/data/mark: it is missing, so nothing shows"), "{refused}");
}

#[test]
fn a_log_says_whose_it_is() {
    let disk = SimDisk::new();
    let owner = Owner { cluster: 1, member: 2 };
    let options = wal::Options { owner, ..options() };
    drop(look(&disk).and_then(|look| look.claim(options)).expect("nothing fails"));
    let looked = look(&disk.after_kill()).expect("it is whole");
    assert_eq!((looked.owner(), looked.log_id()), (Some(owner), Some(0x5eed)));
}

#[test]
fn a_directory_in_use_and_a_real_etcds_are_refused() {
    let disk = SimDisk::new();
    let wal = open(&disk);
    assert!(assert_refused(&disk, "a log in use").contains("another process uses this directory"));
    drop(wal);
    let etcds = SimDisk::new();
    etcds.create_dir(Path::new(DIRECTORY)).expect("nothing fails");
    let name = "0000000000000000-0000000000000000.wal";
    etcds.open(&Path::new(DIRECTORY).join(name), Open::CREATE).expect("nothing fails");
    let refused = assert_refused(&etcds, "an etcd's log");
    assert!(refused.ends_with(&format!("{name} is the log of a real etcd; choose another directory")), "{refused}");
}
