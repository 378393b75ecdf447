//! Reading many records at once: the caller's order, and few reads.

use crate::caller::DIRECTORY;
use bytes::Bytes;
use io::Disk;
use simdisk::{FileOperation, HookedDisk, SimDisk};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use store::{Location, Options, Store};

/// A disk, and how often it is read.
fn counting() -> (Arc<dyn Disk>, Arc<AtomicUsize>) {
    let reads = Arc::new(AtomicUsize::new(0));
    let counted = reads.clone();
    let hook = move |operation, _: &Path| {
        counted.fetch_add(usize::from(operation == FileOperation::Read), Ordering::Relaxed);
        Ok(())
    };
    (Arc::new(HookedDisk::new(Arc::new(SimDisk::new()), hook)), reads)
}

/// Makes a record of `bytes` that begins with its number.
fn append(store: &mut Store, number: u32, bytes: usize) -> Location {
    store.append(&[&number.to_le_bytes(), &vec![9; bytes - 4]]).expect("there is space")
}

/// A store with `count` records of `bytes` each, which begin with their number.
fn filled(count: u32, bytes: usize, segment_bytes: u64) -> (Store, Vec<Location>, Arc<AtomicUsize>) {
    let (disk, reads) = counting();
    let options = Options { segment_bytes, ..Options::default() };
    let (mut store, _) = Store::open(disk, Path::new(DIRECTORY), options).expect("a new store opens");
    let locations = (0..count).map(|number| append(&mut store, number, bytes)).collect();
    store.flush().expect("the disk is sound");
    reads.store(0, Ordering::Relaxed);
    (store, locations, reads)
}

fn numbers(read: &[Bytes]) -> Vec<u32> {
    let number = |bytes: &Bytes| bytes.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    read.iter().map(|bytes| number(bytes).expect("4 bytes")).collect()
}

/// Reads the records with these numbers; checks them and says how many reads it took.
fn read(store: &Store, locations: &[Location], reads: &AtomicUsize, wanted: &[u32]) -> usize {
    let list: Vec<Location> = wanted.iter().map(|number| locations[*number as usize]).collect();
    let mut out = vec![Bytes::from_static(b"already here")];
    let before = reads.load(Ordering::Relaxed);
    store.reader().read_many(&list, &mut out).expect("all are there");
    assert_eq!(out.remove(0), "already here");
    assert_eq!(numbers(&out), wanted);
    reads.load(Ordering::Relaxed) - before
}

#[test]
fn neighbours_are_read_together() {
    let (store, locations, reads) = filled(1000, 160, 1 << 20);
    let page: Vec<u32> = (100..600).collect();
    assert_eq!(read(&store, &locations, &reads, &page), 1);
    let gaps: Vec<u32> = (0..1000).step_by(20).collect();
    assert_eq!(read(&store, &locations, &reads, &gaps), 1, "gaps of 3 kB are read over");
}

#[test]
fn distant_records_are_read_alone_and_long_spans_in_pieces() {
    let (store, locations, reads) = filled(1000, 1024, 2 << 20);
    let scattered: Vec<u32> = (0..1000).step_by(50).collect();
    assert_eq!(read(&store, &locations, &reads, &scattered), 20, "gaps of 50 kB are not read over");
    let all: Vec<u32> = (0..1000).collect();
    assert_eq!(read(&store, &locations, &reads, &all), 4, "1 MB in pieces of 256 KiB");
}

#[test]
fn the_order_is_the_callers_and_what_is_asked_twice_comes_twice() {
    let (store, locations, reads) = filled(200, 160, 1 << 20);
    let backwards: Vec<u32> = (0..200).rev().collect();
    assert_eq!(read(&store, &locations, &reads, &backwards), 1);
    assert_eq!(read(&store, &locations, &reads, &[5, 3, 5, 5, 199, 3]), 2);
    assert_eq!(read(&store, &locations, &reads, &[7, 7]), 1);
    assert_eq!(read(&store, &locations, &reads, &[7]), 1);
    assert_eq!(read(&store, &locations, &reads, &[]), 0);
}

#[test]
fn a_list_may_span_segments_in_any_order() {
    let (store, locations, reads) = filled(100, 160, 2000);
    assert!(store.segments().count() > 8);
    let all: Vec<u32> = (0..100).collect();
    assert_eq!(read(&store, &locations, &reads, &all), store.segments().count());
    let mixed: Vec<u32> = (0..100).map(|number| number * 37 % 100).collect();
    assert_eq!(read(&store, &locations, &reads, &mixed), store.segments().count());
}

#[test]
fn a_record_longer_than_a_piece_is_read_alone() {
    let (mut store, mut locations, reads) = filled(3, 160, 4 << 20);
    let long = [&3u32.to_le_bytes()[..], &vec![1; 600 << 10]].concat();
    locations.push(store.append(&[&long]).expect("there is space"));
    locations.push(store.append(&[&4u32.to_le_bytes()]).expect("there is space"));
    store.flush().expect("the disk is sound");
    assert_eq!(read(&store, &locations, &reads, &[0, 3, 1, 4, 2]), 3);
}

#[test]
fn what_is_published_is_read_from_memory_and_its_neighbours_in_the_file_together() {
    let (mut store, mut locations, reads) = filled(10, 160, 1 << 20);
    for number in 10..20 {
        locations.push(append(&mut store, number, 160));
        store.publish().expect("nothing is written");
    }
    let newest: Vec<u32> = (10..20).collect();
    assert_eq!(read(&store, &locations, &reads, &newest), 0);
    assert_eq!(read(&store, &locations, &reads, &[19]), 0);
    let all: Vec<u32> = (0..20).collect();
    assert_eq!(read(&store, &locations, &reads, &all), 1, "what is in the file, in one go");
    assert_eq!(read(&store, &locations, &reads, &[12, 3, 19, 12, 0, 3, 9, 10]), 1);
    let before = store.reader();
    store.flush().expect("the disk is sound");
    assert_eq!(read(&store, &locations, &reads, &all), 1, "everything is in the file");
    assert_eq!(numbers(&[before.read(locations[15]).expect("it is in the file")]), [15]);
    locations.push(append(&mut store, 20, 160));
    let unpublished = store.reader().read_many(&[locations[19], locations[20]], &mut Vec::new());
    unpublished.expect_err("readers do not find what was not published");
}

#[test]
fn a_list_with_damage_leaves_out_as_it_was() {
    let (mut store, locations, _) = filled(3, 160, 1 << 20);
    let published = append(&mut store, 3, 160);
    store.publish().expect("nothing is written");
    let elsewhere = Location { length: published.length - 1, ..published };
    let mut out = vec![Bytes::from_static(b"already here")];
    let fault = store.reader().read_many(&[locations[0], published, elsewhere], &mut out);
    let fault = fault.expect_err("no such record was written");
    assert!(fault.to_string().contains("record has another length than the index says"), "{fault}");
    assert_eq!(out, ["already here"]);
}

#[test]
fn readers_on_other_threads_find_every_record_while_it_goes_from_memory_to_its_file() {
    let (mut store, _, _) = filled(1, 160, 1 << 20);
    let (told, heard) = std::sync::mpsc::sync_channel::<(u32, Location)>(8);
    std::thread::scope(|scope| {
        let reader = store.reader();
        scope.spawn(move || {
            let mut newest = Vec::new();
            for (number, location) in heard {
                newest.push((number, location));
                newest.drain(..newest.len().saturating_sub(9));
                let (wanted, list): (Vec<u32>, Vec<Location>) = newest.iter().copied().unzip();
                let mut out = Vec::new();
                reader.read_many(&list, &mut out).expect("what was published is found");
                assert_eq!(numbers(&out), wanted);
            }
        });
        for number in 0..5000 {
            let location = append(&mut store, number, 100);
            store.publish().expect("nothing is written");
            told.send((number, location)).expect("the reader goes on");
            if number % 5 == 0 {
                store.flush().expect("the disk is sound");
            }
        }
        drop(told);
    });
}
