//! What is lost, damaged or another's on the disk: a start that is refused changes nothing, so that putting the right
//! file back heals; one that is accepted has lost nothing that was acknowledged.

use crate::member::config;
use crate::unwritten::{HandClock, Member};
use io::{Disk, Open};
use model::KeyValue;
use node::{Config, StartError, Stepped};
use simdisk::{Random, SimDisk};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const TICK: Duration = crate::unwritten::TICK;
const WAL: &str = "/data/member/wal";

/// Files by their path.
type Image = BTreeMap<PathBuf, Vec<u8>>;
/// What was acknowledged last, by key.
type Acknowledged = BTreeMap<String, String>;

/// A life with several segments of log and store, checkpoints, and entries behind the last one.
struct Life {
    /// As a kill in the middle and one at the end left it.
    early: Image,
    disk: SimDisk,
    acknowledged: Acknowledged,
}

fn image(disk: &SimDisk) -> Image {
    disk.image().into_iter().collect()
}

fn live(wal_dir: Option<&str>) -> Life {
    let disk = SimDisk::new();
    let mut member = Member::open_with(&disk, settings(wal_dir)).expect("it starts");
    let mut acknowledged = Acknowledged::new();
    let mut early = Image::new();
    for n in 0..45 {
        let (key, value) = (format!("k{n}"), format!("{n}-").repeat(15_000));
        member.put(&key, &value).expect("it is put");
        acknowledged.insert(key, value);
        // Time for a checkpoint, but not for the last entries.
        if n < 38 {
            member.tick(Duration::from_secs(2));
        }
        if n == 39 {
            early = image(&disk.after_kill());
        }
    }
    drop(member);
    Life { early, disk: disk.after_kill(), acknowledged }
}

fn settings(wal_dir: Option<&str>) -> Config {
    Config {
        checkpoint_entries: 20,
        wal_dir: wal_dir.map(PathBuf::from),
        on_fault: Arc::new(|_| {}),
        ..config("/data")
    }
}

fn start_with(disk: &SimDisk, config: Config) -> Result<Stepped, StartError> {
    Stepped::open(config, Arc::new(disk.clone()), Arc::new(HandClock::default()), &mut Random::new(7))
}

/// The text of a refused start, which changed nothing.
fn refused(disk: &SimDisk, config: Config, what: &str) -> String {
    let (steps, names) = (disk.steps(), names(disk));
    let refused = start_with(disk, config).err().unwrap_or_else(|| panic!("{what}: it starts")).to_string();
    assert_eq!(disk.steps(), steps, "{what}: the refused start changed something: {refused}");
    assert_eq!(self::names(disk), names, "{what}: {refused}");
    refused
}

fn names(disk: &SimDisk) -> Vec<Vec<String>> {
    let directories = ["/data", "/data/member", WAL, "/data/member/store"];
    directories.iter().map(|directory| disk.list(Path::new(directory)).expect("it can be listed")).collect()
}

/// Everything is as it was acknowledged; a record that is damaged says so.
fn assert_complete(disk: &SimDisk, config: Config, acknowledged: &Acknowledged, what: &str) {
    let mut member = Member::open_with(disk, config).unwrap_or_else(|| panic!("{what}: it does not start"));
    member.settle();
    let view = member.node.handle().view();
    for (key, value) in acknowledged {
        let meta = view.kv().get(key.as_bytes()).unwrap_or_else(|| panic!("{what}: {key} is lost"));
        let Ok(record) = view.kv().read(meta.location) else { continue };
        let found = KeyValue::decode(&record).expect("a record is a pair");
        assert!(found.value == value.as_bytes(), "{what}: {key} has another value");
    }
}

fn put_back(disk: &SimDisk, path: &Path, bytes: &[u8]) {
    disk.open(path, Open::CREATE).expect("a file can be made");
    disk.damage(path, |content| *content = bytes.to_vec());
}

#[test]
fn whatever_happens_to_a_file_a_refused_start_changes_nothing_and_an_accepted_one_lost_nothing() {
    let Life { early, disk: whole, acknowledged } = live(None);
    let files = image(&whole);
    let segments = |part: &str| files.keys().filter(|path| path.to_string_lossy().contains(part)).count();
    assert!(
        segments("/wal/0") >= 2 && segments("/store/segment-") >= 1 && segments("/store/run-") >= 1,
        "{:?}",
        files.keys()
    );
    assert_complete(&whole.after_kill(), settings(None), &acknowledged, "untouched");
    let mut refusals = BTreeMap::new();
    for (path, right) in &files {
        let used = right.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let others = files.keys().filter(|other| *other != path && other.parent() == path.parent());
        let mut variants: Vec<(&str, Option<Vec<u8>>)> = vec![
            ("deleted", None),
            ("emptied", Some(Vec::new())),
            ("zeroed", Some(vec![0; right.len()])),
            ("truncated", Some(right[..used / 2].to_vec())),
            ("cut short by a byte", Some(right[..used.saturating_sub(1)].to_vec())),
        ];
        variants.extend(early.get(path).map(|old| ("an old copy", Some(old.clone()))));
        for at in [0, used / 3, used / 2, used.saturating_sub(1)] {
            let mut flipped = right.clone();
            if let Some(byte) = flipped.get_mut(at) {
                *byte ^= 0x10;
            }
            variants.push(("bit flipped", Some(flipped)));
        }
        let mut variants: Vec<_> = variants.into_iter().map(|(kind, wrong)| (kind, wrong, None)).collect();
        variants.extend(others.map(|other| ("swapped", Some(files[other].clone()), Some(other))));
        for (kind, wrong, other) in variants.into_iter().filter(|(_, wrong, _)| wrong.as_ref() != Some(right)) {
            let what = format!("{} {kind} {other:?}", path.display());
            let disk = whole.after_kill();
            match &wrong {
                None => disk.remove(path).expect("it is there"),
                Some(bytes) => put_back(&disk, path, bytes),
            }
            if let Some(other) = other {
                put_back(&disk, other, right);
            }
            if start_with(&disk, settings(None)).is_ok() {
                assert_complete(&disk.after_kill(), settings(None), &acknowledged, &what);
                continue;
            }
            let text = refused(&disk, settings(None), &what);
            *refusals.entry(kind).or_insert(0) += 1;
            assert!(text.contains("/data/member"), "{what}: {text}");
            for (path, bytes) in [(path, right)].into_iter().chain(other.map(|other| (other, &files[other]))) {
                put_back(&disk, path, bytes);
            }
            assert_complete(&disk.after_kill(), settings(None), &acknowledged, &format!("{what}, put back"));
        }
    }
    // Of the kinds that a file of each sort must be missed for.
    for kind in ["deleted", "emptied", "zeroed", "truncated", "bit flipped", "swapped"] {
        assert!(refusals.get(kind).is_some_and(|count| *count >= 3), "{kind}: {refusals:?}");
    }
}

/// The newest segment of the log, in every way that was once accepted without a word.
#[test]
fn a_newest_log_segment_that_is_not_whole_is_refused() {
    let Life { disk: whole, .. } = live(None);
    let files = image(&whole);
    let newest = files.keys().rfind(|path| path.extension().is_some_and(|extension| extension == "wal"));
    let newest = newest.expect("there is a log");
    type Change = fn(&mut Vec<u8>);
    let changes: [(&str, Change); 3] =
        [("emptied", Vec::clear), ("zeroed", |bytes| bytes.fill(0)), ("without records", |bytes| bytes[104..].fill(0))];
    for (what, change) in changes {
        let disk = whole.after_kill();
        disk.damage(newest, change);
        let text = refused(&disk, settings(None), what);
        assert!(text.contains("was synced up to byte") && text.contains(&*newest.to_string_lossy()), "{text}");
    }
    let disk = whole.after_kill();
    disk.remove(newest).expect("it is there");
    assert!(refused(&disk, settings(None), "removed").contains("was synced up to byte"));
}

fn without(whole: &SimDisk, part: &str) -> SimDisk {
    let disk = whole.after_kill();
    for (path, _) in disk.image() {
        if path.to_string_lossy().contains(part) {
            disk.remove(&path).expect("it is there");
        }
    }
    disk
}

#[test]
fn a_member_whose_store_or_log_is_gone_is_refused_with_what_to_do() {
    let Life { disk: whole, acknowledged, .. } = live(None);
    for (part, text) in [
        ("/wal/", "the raft log 00"),
        ("/store/", "it has no checkpoint, but its member was started"),
        ("/store/segment", "segment-"),
        ("/mark", "it is missing, so nothing shows that the raft log is complete"),
        ("/identity", "identity: it is missing, but /data/member/store holds data"),
    ] {
        let found = refused(&without(&whole, part), settings(None), part);
        assert!(found.contains(text) || (part == "/wal/" && found.contains("of this member is not there")), "{found}");
    }
    let wiped = without(&without(&whole, "/wal/"), "/store/");
    let found = refused(&wiped, settings(None), "store and log");
    assert!(found.contains("remove all of it to begin anew"), "{found}");
    let only_identity = without(&wiped, "/mark");
    refused(&only_identity, settings(None), "all but the identity");
    assert_complete(&whole, settings(None), &acknowledged, "untouched");
}

/// Another directory of the log, and the same one forgotten.
#[test]
fn a_forgotten_or_foreign_wal_dir_is_refused() {
    let first = live(Some("/fast/one")).disk;
    let found = refused(&first, settings(None), "forgotten");
    assert!(found.contains("if the member was started with --wal-dir, give that directory again"), "{found}");
    // Before the first checkpoint as well.
    let fresh = SimDisk::new();
    drop(Member::open_with(&fresh, settings(Some("/fast/one"))).expect("it starts"));
    let fresh = fresh.after_kill();
    let found = refused(&fresh, settings(None), "forgotten early");
    assert!(found.contains("give that directory again"), "{found}");
    // Another member of another cluster on the same disk.
    let other = |wal_dir: &str| Config {
        data_dir: "/other".into(),
        cluster_token: "another".to_owned(),
        ..settings(Some(wal_dir))
    };
    let found = refused(&first, other("/fast/one"), "another member's log");
    assert!(found.contains("and the data directory is new") && found.contains("choose an empty directory"), "{found}");
    drop(start_with(&first, other("/fast/two")).expect("it starts"));
    let first = first.after_kill();
    let found = refused(&first, other("/fast/one"), "another member's log");
    assert!(found.contains("of member 8e9e05c52164694d of cluster cdf818194e3a8c32"), "{found}");
    let found = refused(&first, settings(Some("/fast/two")), "another member's log");
    assert!(found.contains("/fast/two: the raft log there is") && found.contains("names"), "{found}");
    for inside in ["/data", "/data/member", "/data/log"] {
        let found = refused(&first, settings(Some(inside)), inside);
        assert!(found.contains("it lies in the data directory /data"), "{found}");
    }
}

#[test]
fn two_members_never_share_a_log_or_a_directory() {
    let disk = SimDisk::new();
    let one = Member::open_with(&disk, settings(Some("/fast"))).expect("it starts");
    let other = Config { data_dir: "/other".into(), ..settings(Some("/fast")) };
    assert!(refused(&disk, other, "one log").contains("another process uses this directory"));
    assert!(refused(&disk, settings(Some("/slow")), "one directory").contains("another process uses it"));
    drop(one);
}

#[test]
fn a_foreign_or_old_identity_is_refused() {
    let Life { disk: whole, .. } = live(None);
    let path = Path::new("/data/member/identity");
    let stranger = SimDisk::new();
    let config = Config { cluster_token: "another".to_owned(), ..settings(None) };
    drop(start_with(&stranger, config).expect("it starts"));
    let disk = whole.after_kill();
    put_back(&disk, path, &image(&stranger)[path]);
    let found = refused(&disk, settings(None), "another cluster's");
    assert!(found.contains("/data/member/identity names"), "{found}");
    // The same ids, another life.
    let twin = SimDisk::new();
    drop(start_with(&twin, settings(None)).expect("it starts"));
    put_back(&disk, path, &image(&twin)[path]);
    let found = refused(&disk, settings(None), "a twin's");
    assert!(found.contains("/data/member/identity names"), "{found}");
    // As releases before wrote it, for another cluster.
    put_back(&disk, path, first_format(1, 2).as_bytes());
    let found = refused(&disk, settings(None), "another cluster's, of format 1");
    assert!(found.contains("member 2 of cluster 1"), "{found}");
    // Of a first start that did not end.
    let unfinished = String::from_utf8(image(&whole)[path].clone()).expect("it is text");
    let lines: String =
        unfinished.lines().take(4).map(|line| format!("{line}\n")).chain(["log none\n".to_owned()]).collect();
    put_back(&disk, path, format!("{lines}crc {:08x}\n", crc32c::crc32c(lines.as_bytes())).as_bytes());
    let found = refused(&disk, settings(None), "an old one");
    assert!(found.contains("it is of a first start that did not end"), "{found}");
}

fn first_format(cluster: u64, member: u64) -> String {
    let lines = format!("bowline data directory\nformat 1\ncluster {cluster:016x}\nmember {member:016x}\n");
    format!("{lines}crc {:08x}\n", crc32c::crc32c(lines.as_bytes()))
}

/// A directory without a mark, whose identity names no log, is one of format 1.
#[test]
fn a_directory_of_format_1_is_upgraded_once_it_was_read() {
    let Life { disk, acknowledged, .. } = live(None);
    let path = Path::new("/data/member/identity");
    put_back(&disk, path, first_format(0xcdf8_1819_4e3a_8c32, 0x8e9e_05c5_2164_694d).as_bytes());
    disk.remove(Path::new("/data/member/mark")).expect("it is there");
    for part in ["/wal/", "/store/"] {
        refused(&without(&disk, part), settings(None), part);
    }
    assert_complete(&disk, settings(None), &acknowledged, "format 1");
    let disk = disk.after_kill();
    let upgraded = String::from_utf8(image(&disk)[path].clone()).expect("it is text");
    assert!(upgraded.contains("\nformat 2\n") && upgraded.contains("\nlog "), "{upgraded}");
    assert!(image(&disk).contains_key(Path::new("/data/member/mark")));
    assert_complete(&disk, settings(None), &acknowledged, "upgraded");
}

/// The upgrade takes space, which may be what is missing.
#[test]
fn a_directory_of_format_1_starts_on_a_full_disk_and_is_upgraded_later() {
    let Life { disk, acknowledged, .. } = live(None);
    let path = Path::new("/data/member/identity");
    let old = first_format(0xcdf8_1819_4e3a_8c32, 0x8e9e_05c5_2164_694d);
    put_back(&disk, path, old.as_bytes());
    disk.remove(Path::new("/data/member/mark")).expect("it is there");
    let reserve = Path::new("/data/member/store/reserve");
    disk.remove(reserve).expect("it is there");
    // Nothing may grow, and what the start cuts off it may not have either.
    disk.set_capacity(Some(0));
    drop(start_with(&disk, settings(None)).expect("it starts"));
    let disk = disk.after_kill();
    assert_eq!(image(&disk)[path], old.as_bytes());
    assert_complete(&disk, settings(None), &acknowledged, "with space again");
    assert!(image(&disk).contains_key(Path::new("/data/member/mark")));
}

#[test]
fn what_a_real_etcd_left_behind_stops_nobody() {
    let Life { disk, acknowledged, .. } = live(None);
    disk.create_dir(Path::new("/data/member/snap")).expect("nothing fails");
    put_back(&disk, Path::new("/data/member/snap/db"), b"bolt");
    assert_complete(&disk, settings(None), &acknowledged, "with a stray file");
}

/// Also those that a start made which was killed before it synced them.
#[test]
fn every_directory_that_a_first_start_makes_is_durable() {
    let config = || Config { data_dir: "/a/b/c/data".into(), wal_dir: Some("/d/e/f/wal".into()), ..settings(None) };
    let complete = SimDisk::new();
    drop(start_with(&complete, config()).expect("it starts"));
    assert_eq!(complete.unsynced_directories(), [] as [PathBuf; 0]);
    for step in 0..complete.steps() {
        let disk = SimDisk::new();
        disk.fail_at(step, std::io::ErrorKind::Other);
        let _ = start_with(&disk, config());
        let killed = disk.after_kill();
        drop(start_with(&killed, config()).unwrap_or_else(|error| panic!("step {step}: {error}")));
        assert_eq!(killed.unsynced_directories(), [] as [PathBuf; 0], "step {step}");
    }
}

/// Time for nothing: ticks only.
#[test]
fn an_orderly_stop_and_power_cuts_leave_what_starts_again() {
    let Life { disk, acknowledged, .. } = live(None);
    for seed in 0..8 {
        let cut = disk.after_power_cut(&mut Random::new(seed));
        assert_complete(&cut, settings(None), &acknowledged, &format!("power cut {seed}"));
    }
    let mut member = Member::open_with(&disk, settings(None)).expect("it starts");
    member.node.begin_stop();
    while !member.node.is_stopped() {
        member.tick(TICK);
    }
    member.node.finish();
    assert_complete(&disk.after_kill(), settings(None), &acknowledged, "stopped");
}
