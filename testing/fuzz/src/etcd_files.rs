//! Files in etcd's format: everything that can be asked of one, however it is damaged.

use bbolt::{Database, TrailingHash, etcd};

/// A snapshot that etcd made.
const SNAPSHOT: &[u8] = include_bytes!("../../sources/fixtures/etcd-3.7.snapshot");
const PAGE_BYTES: usize = 4096;

pub fn seeds() -> Vec<Vec<u8>> {
    vec![SNAPSHOT.to_vec()]
}

pub fn edit_seeds() -> Vec<Vec<u8>> {
    vec![(2..14).flat_map(|page| [page, page * 16, 0, page]).collect()]
}

/// The input as changes of a whole file, four bytes each: which page, where in its first 512 bytes, to what. Cut or
/// shifted files are refused at their first page; these are not.
pub fn edited(input: &[u8]) {
    let mut bytes = SNAPSHOT.to_vec();
    for edit in input.chunks_exact(4) {
        let page = 2 + usize::from(edit[0]) % (SNAPSHOT.len() / PAGE_BYTES - 2);
        let within = (usize::from(edit[1]) | usize::from(edit[2]) << 8) % 512;
        bytes[page * PAGE_BYTES + within] = edit[3];
    }
    file(&bytes);
}

pub fn file(input: &[u8]) {
    let _ = TrailingHash::verify(input);
    let Ok(database) = Database::open(input.to_vec()) else { return };
    let check = database.check().expect("memory can be read");
    assert!(check.problems.len() <= bbolt::PROBLEMS_MAX && check.pages_in_use <= 2 + database.bytes() / 512);
    let _ = (etcd::meta(&database), etcd::members(&database), etcd::alarms(&database));
    let _ = etcd::leases(&database, |_| {});
    let Ok(mut changes) = etcd::changes(&database) else { return };
    let mut bytes = 0;
    while let Ok(Some((position, change))) = changes.next_change() {
        bytes += change.kv.key.len() + change.kv.value.len();
        assert_eq!(changes.at(position).expect("it was read just now"), change);
    }
    // Elements share no bytes, so nothing is shown that the file does not have.
    assert!(bytes <= input.len());
}
