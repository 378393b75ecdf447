//! What a crash, a bad disk or a stranger can leave in the log's files.

use crate::support::{Image, Place, Random, entries, options, state};
use consensus::Entry;
use wal::{Fault, Recovered};

/// Where the newest segment ended after each group, and what the log held then.
struct History {
    place: Place,
    image: Image,
    groups: Vec<(usize, Recovered)>,
}

/// A log of several groups in its newest segment. With `sealed`, the last group is followed by an unsynced commit
/// index.
fn history(before: usize, sealed: bool) -> History {
    let place = Place::new();
    let (mut wal, _) = place.open(options()).expect("open");
    let mut next = 1;
    // Older segments, so that the newest one follows another.
    while wal.segments() <= before {
        wal.append(&entries(1, next, &["old"; 20]), None).expect("append");
        wal.sync().expect("sync");
        next += 20;
    }
    let mut groups = Vec::new();
    for (round, data) in [&["a", "bb"][..], &["c"], &["dddd", "", "eeeeeeee"], &["the last group"]].iter().enumerate() {
        let group = entries(2, next, data);
        wal.append(&group, state(2, next - 1)).expect("append");
        next += group.len() as u64;
        if round == 2 {
            wal.append(&entries(2, next, &["second record of its group"]), None).expect("append");
            next += 1;
        }
        wal.sync().expect("sync");
        groups.push((end_of_log(&place), place.read().expect("intact")));
    }
    if sealed {
        wal.append(&[], state(2, next - 1)).expect("append");
        wal.write().expect("write");
        groups.push((end_of_log(&place), place.read().expect("intact")));
    }
    let image = place.image();
    History { place, image, groups }
}

/// After the last byte of the newest segment that is not 0.
fn end_of_log(place: &Place) -> usize {
    let image = place.image();
    let bytes = &image.0[&image.newest()];
    bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)
}

/// The same, but for the commit index.
fn same_entries(left: &Recovered, right: &Recovered) -> bool {
    left.entries == right.entries
        && left.trimmed_to == right.trimmed_to
        && (left.hard_state.term, left.hard_state.vote) == (right.hard_state.term, right.hard_state.vote)
}

#[test]
fn r07_a_log_cut_at_any_byte_starts_and_keeps_every_group_before_the_cut() {
    for before in [0, 1] {
        let History { place, image, groups } = history(before, false);
        let newest = image.newest();
        let whole = image.0[&newest].clone();
        let (end, _) = groups[groups.len() - 1];
        let mut random = Random(7);
        // Without an older segment, the header was durable before anything else: a cut in it is no crash.
        for cut in if before == 0 { 104 } else { 0 }..=end {
            let kept = groups.iter().rfind(|(end, _)| *end <= cut).map(|(_, log)| log);
            let garbage: Vec<u8> = (cut..whole.len()).map(|_| random.next() as u8).collect();
            let zeros = vec![0; whole.len() - cut];
            for tail in [&[][..], &zeros, &garbage] {
                place.put_file(&newest, &[&whole[..cut], tail].concat());
                let found = place.read().unwrap_or_else(|fault| panic!("cut at {cut}: {fault}"));
                match kept {
                    Some(kept) => assert!(found.entries.starts_with(&kept.entries), "cut at {cut}"),
                    None => assert!(groups[0].1.entries.starts_with(&found.entries), "cut at {cut}"),
                }
            }
        }
    }
}

#[test]
fn r07_after_a_cut_the_log_goes_on_and_the_torn_bytes_never_come_back() {
    let History { place, image, groups } = history(1, false);
    let newest = image.newest();
    let (end, _) = groups[groups.len() - 1];
    for cut in (0..end).step_by(5) {
        let mut torn = image.clone();
        let bytes = torn.0.get_mut(&newest).expect("there");
        // The sector with the cut is lost, those behind it are not.
        let lost = cut..(cut + 24).min(bytes.len());
        bytes[lost].fill(0);
        place.put(&torn);
        let Ok((mut wal, found)) = place.open(options()) else { continue };
        let mut expected = found.entries;
        for _ in 0..4 {
            let last = wal.last().index;
            let group = entries(3, last + 1, &["later"]);
            wal.append(&group, state(3, last)).expect("append");
            wal.sync().expect("sync");
            expected.extend(group);
            assert_eq!(place.read().expect("intact").entries, expected, "cut at {cut}");
        }
        drop(wal);
        let (_, again) = place.open(options()).expect("open again");
        assert_eq!(again.entries, expected, "cut at {cut}");
    }
}

/// The second record of a torn group survives the first one. Writing the first again, byte for byte, must not revive
/// it.
#[test]
fn a_torn_record_never_comes_back_behind_one_that_looks_like_its_predecessor() {
    let place = Place::new();
    let (mut wal, _) = place.open(options()).expect("open");
    let [first, second] = [entries(1, 1, &["first"]), entries(1, 2, &["second"])];
    wal.append(&first, state(1, 0)).expect("append");
    wal.append(&second, None).expect("append");
    wal.sync().expect("sync");
    drop(wal);
    let name = place.image().newest();
    let mut bytes = place.image().0[&name].clone();
    bytes[140] ^= 1;
    place.put_file(&name, &bytes);
    let (mut wal, found) = place.open(options()).expect("torn");
    assert_eq!(found.entries, []);
    wal.append(&first, state(1, 0)).expect("append");
    wal.sync().expect("sync");
    assert_eq!(place.read().expect("intact").entries, first);
}

#[test]
fn r08_any_set_of_sectors_of_the_last_write_may_be_missing() {
    const SECTOR: usize = 512;
    for recycled in [false, true] {
        let place = Place::new();
        let (mut wal, _) = place.open(wal::Options { segment_bytes: 16 << 10, ..options() }).expect("open");
        if recycled {
            // What the sectors held before are records of another segment.
            let mut preparer = wal.preparer();
            let mut next = 1;
            while wal.segments() < 3 {
                wal.append(&entries(1, next, &["x".repeat(300).as_str(); 4]), None).expect("append");
                wal.sync().expect("sync");
                next += 4;
            }
            wal.trim(next - 1);
            preparer.run(false).expect("recycle");
            while wal.segments() < 2 {
                wal.append(&entries(1, next, &["y".repeat(300).as_str(); 4]), None).expect("append");
                wal.sync().expect("sync");
                next += 4;
            }
        }
        wal.append(&entries(2, wal.last().index + 1, &["durable"]), state(2, 0)).expect("append");
        wal.sync().expect("sync");
        let durable = place.read().expect("intact");
        let before = place.image();
        // One group of several records, over 11 sectors or one more, and zeros to the end of the block.
        for size in [700, 100, 1900, 1, 2400] {
            wal.append(&entries(2, wal.last().index + 1, &["z".repeat(size).as_str()]), None).expect("append");
        }
        wal.sync().expect("sync");
        let complete = place.read().expect("intact");
        let newest = before.newest();
        let (old, new) = (&before.0[&newest], &place.image().0[&newest]);
        let changed: Vec<usize> =
            (0..new.len() / SECTOR).filter(|at| old[at * SECTOR..][..SECTOR] != new[at * SECTOR..][..SECTOR]).collect();
        assert!((10..=14).contains(&changed.len()), "{} sectors", changed.len());
        for subset in 0u32..1 << changed.len() {
            let mut bytes = old.clone();
            for (bit, &at) in changed.iter().enumerate() {
                if subset & (1 << bit) != 0 {
                    bytes[at * SECTOR..][..SECTOR].copy_from_slice(&new[at * SECTOR..][..SECTOR]);
                }
            }
            place.put_file(&newest, &bytes);
            let found = place.read().unwrap_or_else(|fault| panic!("sectors {subset:b}: {fault}"));
            assert!(found.entries.starts_with(&durable.entries), "sectors {subset:b} lost a synced entry");
            assert!(complete.entries.starts_with(&found.entries), "sectors {subset:b} invented an entry");
        }
    }
}

#[test]
fn r09_every_flipped_bit_is_harmless_or_refused_by_name() {
    for before in [0, 2] {
        let History { place, image, groups } = history(before, true);
        let (_, whole) = &groups[groups.len() - 1];
        let mut refused = 0;
        for (name, bytes) in &image.0 {
            let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            let mut flipped = bytes.clone();
            for bit in 0..end * 8 {
                flipped[bit / 8] ^= 1 << (bit % 8);
                place.put_file(name, &flipped);
                match place.read() {
                    Ok(found) => assert!(same_entries(&found, whole), "{name} bit {bit}: a shorter log"),
                    Err(fault @ Fault::Damaged { .. }) => {
                        let Fault::Damaged { path, offset, .. } = &fault else { unreachable!("matched above") };
                        // The segment before shows the damage if it is the next one's header that cannot be read.
                        assert!(path.starts_with(place.path()) && *offset <= bytes.len() as u64, "{fault}");
                        refused += 1;
                    }
                    Err(Fault::Newer { .. }) => panic!("{name} bit {bit}: a checksum must come first"),
                    Err(other) => panic!("{name} bit {bit}: {other}"),
                }
                flipped[bit / 8] ^= 1 << (bit % 8);
            }
            place.put_file(name, bytes);
        }
        assert!(refused > 1000, "only {refused} flips were noticed");
    }
}

/// What the format cannot promise, exactly: until something follows the newest group, damage in it looks like a torn
/// write.
#[test]
fn r09_only_the_newest_group_can_be_lost_and_only_until_something_follows_it() {
    let History { place, image, groups } = history(1, false);
    let newest = image.newest();
    let [.., (start, without), (end, whole)] = &groups[..] else { panic!("several groups") };
    let bytes = &image.0[&newest];
    for bit in 0..end * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        place.put_file(&newest, &flipped);
        match place.read() {
            Ok(found) if same_entries(&found, whole) => {}
            Ok(found) => {
                assert!(same_entries(&found, without), "bit {bit}: more than the newest group is gone");
                assert!(bit / 8 >= *start, "bit {bit} is not in the newest group");
            }
            Err(fault) => assert!(fault.is_damage(), "bit {bit}: {fault}"),
        }
    }
}

/// Damage that swallows the newest group together with the small record behind it is the one that remains unseen.
#[test]
fn wiped_bytes_in_what_was_durable_are_refused() {
    let History { place, image, groups } = history(1, true);
    let newest = image.newest();
    let [.., (_, without), (seal, _), (end, whole)] = &groups[..] else { panic!("several groups") };
    for start in (0..*end).step_by(8) {
        for (length, fill) in [(8, 0), (8, 0xff), (64, 0), (64, 0xff)] {
            let wiped = start..(start + length).min(*end);
            let mut bytes = image.0[&newest].clone();
            bytes[wiped.clone()].fill(fill);
            place.put_file(&newest, &bytes);
            match place.read() {
                Ok(found) if same_entries(&found, whole) => {}
                Ok(found) => assert!(same_entries(&found, without) && wiped.end > *seal, "bytes {wiped:?}"),
                Err(fault) => assert!(fault.is_damage(), "{fault}"),
            }
        }
    }
}

#[test]
fn a_missing_segment_is_refused_by_name() {
    let History { place, image, .. } = history(3, true);
    let names: Vec<&String> = image.0.keys().filter(|name| name.ends_with(".wal")).collect();
    assert_eq!(names.len(), 4);
    for (position, name) in names.iter().enumerate() {
        let mut without = image.clone();
        without.0.remove(*name);
        place.put(&without);
        match place.read() {
            // The oldest may have been trimmed: the log then says so, and the state must have applied what it held.
            Ok(found) if position == 0 => assert!(found.trimmed_to.index > 0),
            // The newest leaves nothing that names it.
            Ok(found) if position == names.len() - 1 => assert_eq!(found.trimmed_to.index, 0),
            Ok(_) => panic!("{name} is not missed"),
            Err(fault) => assert!(fault.to_string().contains(name.as_str()), "{fault}"),
        }
    }
}

#[test]
fn segments_of_another_log_or_in_another_place_are_refused() {
    let History { place, image, .. } = history(3, true);
    let names: Vec<String> = image.0.keys().filter(|name| name.ends_with(".wal")).cloned().collect();
    let mut swapped = image.clone();
    swapped.0.insert(names[1].clone(), image.0[&names[2]].clone());
    place.put(&swapped);
    assert!(place.read().is_err_and(|fault| fault.is_damage()));

    let other = Place::new();
    let (mut wal, _) = other.open(wal::Options { seed: 1, ..options() }).expect("open");
    while wal.segments() < 3 {
        wal.append(&entries(1, wal.last().index + 1, &["old"; 20]), None).expect("append");
        wal.sync().expect("sync");
    }
    let mut mixed = image.clone();
    mixed.0.insert(names[1].clone(), other.image().0[&names[1]].clone());
    place.put(&mixed);
    assert!(place.read().is_err_and(|fault| fault.is_damage()));
}

#[test]
fn r100_arbitrary_files_never_panic() {
    let History { image, .. } = history(2, true);
    let mut random = Random(100);
    for _ in 0..20_000 {
        let mut hostile = image.clone();
        for bytes in hostile.0.values_mut() {
            for _ in 0..random.below(4) {
                let at = random.below(bytes.len() + 1);
                let length = random.below(40).min(bytes.len() - at);
                match random.below(4) {
                    0 => bytes[at..at + length].fill(0xff),
                    1 => bytes[at..at + length].iter_mut().for_each(|byte| *byte = random.next() as u8),
                    2 => bytes.truncate(at),
                    _ => {
                        let from = random.below(bytes.len() - length + 1);
                        bytes.copy_within(from..from + length, at);
                    }
                }
            }
        }
        let segments = hostile.0.into_values().zip(1..).map(|(bytes, sequence)| (sequence, bytes.into()));
        let _: Result<Vec<Entry>, Fault> = wal::decode_log(segments.collect()).map(|found| found.entries);
    }
}
