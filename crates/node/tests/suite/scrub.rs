//! The scrub: what rotted is found by key before anybody needs it, within the pace, and leaves when it is gone.

use crate::damage::{flip, path};
use crate::logged::Logged;
use crate::member::config;
use crate::unwritten::{Member, PAUSE, TICK, answer};
use io::Disk;
use model::{Command, Compact, DeleteRange, KeyRange};
use node::{Config, Part};
use simdisk::SimDisk;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const BYTES_PER_S: u64 = 1 << 20;
/// More than fits into one segment.
const KEYS: usize = 320;
const VALUE_BYTES: usize = 16 << 10;
/// What `limits` says.
const STEP_BYTES: u64 = 256 << 10;
const STORE: &str = "/data/member/store";

fn scrubbed(bytes_per_s: u64) -> Config {
    let on_fault = Arc::new(|fault| panic!("{fault}"));
    Config { checkpoint_entries: 20, scrub_bytes_per_s: bytes_per_s, on_fault, ..config("/data") }
}

fn key(number: usize) -> String {
    format!("k{number:03}")
}

/// A member with a sealed segment, all of it in a checkpoint.
fn member(bytes_per_s: u64) -> Member {
    let mut member = Member::open_with(&SimDisk::new(), scrubbed(bytes_per_s)).expect("it starts");
    let value = "v".repeat(VALUE_BYTES);
    for number in 0..KEYS {
        member.put(&key(number), &value).expect("it is put");
        member.tick(TICK);
    }
    checkpoint(&mut member);
    let segments = [member.location(&key(0)).segment, member.location(&key(KEYS - 1)).segment];
    assert!(segments[0] < segments[1], "the first segment is sealed");
    member
}

/// Of everything so far.
fn checkpoint(member: &mut Member) {
    member.tick(PAUSE);
    for _ in 0..=20 {
        member.put("other", "1").expect("it is put");
    }
    member.tick(TICK);
}

fn damaged(member: &Member) -> i64 {
    member.node.handle().metrics().damaged_records.get()
}

fn rounds(member: &Member) -> u64 {
    member.node.handle().metrics().scrub_rounds.get()
}

fn scrubbed_bytes(member: &Member) -> u64 {
    member.node.handle().metrics().scrub_bytes.get()
}

fn until(member: &mut Member, what: &str, condition: impl Fn(&Member) -> bool) {
    for _ in 0..10_000 {
        if condition(member) {
            return;
        }
        member.tick(TICK);
    }
    panic!("{what}");
}

/// Until a round that begins later than now has ended.
fn whole_round(member: &mut Member) {
    let ends = rounds(member) + 2;
    until(member, "rounds end", |member| rounds(member) >= ends);
}

fn do_all(member: &mut Member, commands: Vec<Command>) {
    for command in commands {
        let pending = member.node.handle().propose(command);
        member.settle();
        answer(pending).expect("it is applied").answer.expect("it is not refused");
    }
}

fn runs(member: &Member) -> Vec<PathBuf> {
    let names = member.disk.list(Path::new(STORE)).expect("the store is there");
    names.iter().filter(|name| name.starts_with("run-")).map(|name| Path::new(STORE).join(name)).collect()
}

#[test]
fn a_record_that_rots_is_named_once_with_its_key_and_counted_until_it_is_whole_again() {
    let mut member = member(BYTES_PER_S);
    let logged = Logged::begin();
    whole_round(&mut member);
    assert_eq!((damaged(&member), logged.lines("scrub:")), (0, vec![]));
    let victim = member.location(&key(7));
    let revision = member.node.handle().view().kv().get(b"k007").expect("it is there").mod_revision().0;
    flip(&member.disk, victim);
    whole_round(&mut member);
    whole_round(&mut member);
    assert_eq!(damaged(&member), 1);
    let lines = logged.lines("scrub:");
    let [line] = &lines[..] else { panic!("{lines:?}") };
    let place = format!("{} at byte {}: record fails its checksum", path(victim).display(), victim.offset);
    for part in ["key=k007", &format!("revision={revision} "), "kind=current", "a damaged record", &place] {
        assert!(format!("{line} ").contains(part), "{part} in {line}");
    }
    assert_eq!(member.node.handle().halted_because(), None);
    flip(&member.disk, victim);
    whole_round(&mut member);
    assert_eq!(damaged(&member), 0);
    assert_eq!(logged.lines("damage that was found before is gone").len(), 1);
}

#[test]
fn history_and_garbage_are_told_from_what_is_current_and_go_with_their_segment() {
    let mut member = member(BYTES_PER_S);
    let logged = Logged::begin();
    let (history, garbage) = (member.location(&key(1)), member.location(&key(2)));
    member.put(&key(2), "new").expect("it is put");
    let revision = member.node.handle().view().revision();
    do_all(&mut member, vec![Command::Compact(Compact { revision, physical: false })]);
    member.put(&key(1), "new").expect("it is put");
    checkpoint(&mut member);
    flip(&member.disk, history);
    flip(&member.disk, garbage);
    whole_round(&mut member);
    assert_eq!(damaged(&member), 2);
    let lines = logged.lines("scrub:");
    assert!(lines.iter().any(|line| line.contains("kind=history") && line.contains("key=k001")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("kind=garbage")), "{lines:?}");
    delete_all(&mut member);
    whole_round(&mut member);
    assert_eq!(damaged(&member), 0);
}

/// And all segments but the last go.
fn delete_all(member: &mut Member) {
    do_all(member, vec![Command::DeleteRange(DeleteRange { range: KeyRange::all(), prev_kv: false })]);
    let revision = member.node.handle().view().revision();
    do_all(member, vec![Command::Compact(Compact { revision, physical: false })]);
    checkpoint(member);
}

/// The key index knows where the records behind it begin.
#[test]
fn a_record_whose_length_is_damaged_hides_none_behind_it() {
    let mut member = member(BYTES_PER_S);
    let logged = Logged::begin();
    for (number, lengths) in [(1, [0xff; 4]), (3, [0; 4])] {
        let location = member.location(&key(number));
        let at = location.offset as usize;
        member.disk.damage(&path(location), |bytes| bytes[at..at + 4].copy_from_slice(&lengths));
    }
    flip(&member.disk, member.location(&key(4)));
    whole_round(&mut member);
    assert_eq!(damaged(&member), 3, "{:?}", logged.lines("scrub:"));
    for key in ["key=k001", "key=k003", "key=k004"] {
        assert_eq!(logged.lines(key).len(), 1, "{key}");
    }
}

#[test]
fn the_index_of_the_checkpoint_is_read_too() {
    let mut member = member(BYTES_PER_S);
    let logged = Logged::begin();
    let damaged_run = runs(&member).pop().expect("there is one");
    member.disk.damage(&damaged_run, |bytes| *bytes.last_mut().expect("it has blocks") ^= 1);
    whole_round(&mut member);
    assert_eq!(damaged(&member), 1);
    let lines = logged.lines("a start needs it");
    assert!(lines.len() == 1 && lines[0].contains(&damaged_run.display().to_string()), "{lines:?}");
}

#[test]
fn the_pace_is_kept_and_reached() {
    let mut member = member(BYTES_PER_S);
    for _ in 0..3 {
        let begun = rounds(&member) + 1;
        until(&mut member, "a round begins", |member| rounds(member) >= begun);
        let before = scrubbed_bytes(&member);
        until(&mut member, "it reads", |member| scrubbed_bytes(member) > before);
        for second in 1..=3 {
            let at_most = scrubbed_bytes(&member) + BYTES_PER_S + STEP_BYTES + VALUE_BYTES as u64;
            for _ in 0..100 {
                member.tick(TICK);
            }
            assert!(scrubbed_bytes(&member) <= at_most, "second {second}");
        }
        let read = scrubbed_bytes(&member) - before;
        assert!(read >= 3 * BYTES_PER_S * 9 / 10, "{read} in three seconds");
    }
}

/// Time that went by while nobody looked is not made up for.
#[test]
fn a_pause_of_the_clock_is_not_followed_by_a_burst() {
    let mut member = member(BYTES_PER_S);
    let before = scrubbed_bytes(&member);
    until(&mut member, "it reads", |member| scrubbed_bytes(member) > before);
    let before = scrubbed_bytes(&member);
    member.tick(Duration::from_secs(3600));
    assert!(scrubbed_bytes(&member) - before <= STEP_BYTES + VALUE_BYTES as u64);
}

#[test]
fn segments_that_go_during_a_round_are_no_damage() {
    let mut member = member(BYTES_PER_S);
    let logged = Logged::begin();
    let begun = rounds(&member) + 1;
    until(&mut member, "a round begins", |member| rounds(member) >= begun);
    let before = scrubbed_bytes(&member);
    until(&mut member, "it reads the segment", |member| scrubbed_bytes(member) > before + STEP_BYTES);
    let segment = path(member.location(&key(0)));
    // All at once, so that the round does not end before.
    member.tick(PAUSE);
    assert_eq!(rounds(&member), begun, "it is under way");
    delete_all(&mut member);
    assert!(!member.disk.exists(&segment).expect("it looks"), "the segment is gone");
    whole_round(&mut member);
    assert_eq!((damaged(&member), logged.lines("scrub:")), (0, vec![]));
}

#[test]
fn it_can_be_turned_off() {
    let mut member = member(0);
    for _ in 0..2_000 {
        member.tick(TICK);
    }
    assert_eq!((scrubbed_bytes(&member), rounds(&member)), (0, 0));
    assert!(!member.node.has_work(Part::Background));
}
