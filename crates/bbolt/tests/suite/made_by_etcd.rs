//! A snapshot that etcd 3.7 made, whole and damaged.

use bbolt::etcd::{self, Change, Revision};
use bbolt::{Database, TrailingHash};
use proptest::prelude::*;

const SNAPSHOT: &[u8] = include_bytes!("../../../../testing/sources/fixtures/etcd-3.7.snapshot");

fn open(bytes: &[u8]) -> bbolt::Result<Database<Vec<u8>>> {
    Database::open(bytes.to_vec())
}

/// Everything that can be asked of a file, to see that nothing panics. How many changes there were before an error.
fn read_all(bytes: &[u8]) -> usize {
    let Ok(database) = open(bytes) else { return 0 };
    let _ = database.check();
    let _ = (etcd::meta(&database), etcd::members(&database), etcd::alarms(&database));
    let _ = etcd::leases(&database, |_| {});
    let mut changes = 0;
    if let Ok(mut walk) = etcd::changes(&database) {
        while let Ok(Some(_)) = walk.next_change() {
            changes += 1;
        }
    }
    changes
}

#[test]
fn a_snapshot_of_etcd_is_whole_and_tells_what_was_written() {
    let database = open(SNAPSHOT).expect("it is one");
    assert_eq!(TrailingHash::verify(database.file()).expect("read"), TrailingHash::Matches);
    let check = database.check().expect("read");
    assert_eq!(check.problems, [""; 0]);
    let meta = etcd::meta(&database).expect("read");
    assert_eq!((meta.storage_version.as_deref(), meta.cluster_version.as_deref()), (Some("3.7.0"), Some("3.7.0")));
    assert_eq!((meta.compacted_revision, meta.scheduled_revision), (103, 103));
    assert!(meta.term > 0 && meta.consistent_index > 100);
    let mut leases = Vec::new();
    etcd::leases(&database, |lease| leases.push((lease.id, lease.ttl))).expect("read");
    assert_eq!(leases, [(77, 86_400), (i64::MAX, 86_401)]);
    let members = etcd::members(&database).expect("read");
    assert_eq!((members.len(), members[0].name.as_str(), members[0].is_learner), (1, "tested", false));
    assert!(members[0].id != 0 && members[0].client_urls.len() == 1 && members[0].peer_urls.len() == 1);
    assert_eq!(etcd::alarms(&database).expect("read"), []);
    let mut walk = etcd::changes(&database).expect("read");
    let (mut changes, mut at) = (Vec::<Change>::new(), Vec::new());
    while let Some((position, change)) = walk.next_change().expect("read") {
        at.push(position);
        changes.push(change);
    }
    assert!(changes.is_sorted_by(|a, b| a.revision < b.revision));
    // One transaction made these; one of them is a deletion at the compacted revision or before, and is gone.
    let together: Vec<i64> =
        changes.iter().filter(|change| change.revision.main == 102).map(|change| change.revision.sub).collect();
    assert_eq!(together, [1, 2]);
    let deleted: Vec<&[u8]> =
        changes.iter().filter(|change| change.is_delete).map(|change| &change.kv.key[..]).collect();
    assert_eq!(deleted, [&b"/registry/pods/default/p003"[..], b"/registry/events/default/gone"]);
    let large = changes.iter().position(|change| change.kv.value.len() == 10_000).expect("it is larger than a page");
    assert_eq!(walk.at(at[large]).expect("read"), changes[large]);
    let last = changes.last().expect("there are some");
    assert_eq!((last.revision, &last.kv.key[..]), (Revision { main: 112, sub: 0 }, &b"compact_rev_key"[..]));
}

#[test]
fn a_flipped_byte_does_not_pass_unseen() {
    let mut bytes = SNAPSHOT.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x20;
    assert_eq!(TrailingHash::verify(&bytes).expect("read"), TrailingHash::Differs);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Changes that are read come in time and the walk ends: no more of them than there are elements.
    #[test]
    fn damaged_files_are_read_as_far_as_they_go(
        damage in prop::collection::vec((0..SNAPSHOT.len(), any::<u8>()), 1..20),
        length in prop_oneof![3 => Just(SNAPSHOT.len()), 1 => 0..SNAPSHOT.len()],
    ) {
        let mut bytes = SNAPSHOT.to_vec();
        for (at, byte) in damage {
            bytes[at] = byte;
        }
        bytes.truncate(length);
        prop_assert!(read_all(&bytes) < 10_000);
    }

    #[test]
    fn hostile_headers_are_read_as_far_as_they_go(
        page in 2..SNAPSHOT.len() / 4096,
        header in prop::collection::vec(any::<u8>(), 48),
        flags in prop_oneof![Just(1_u8), Just(2), Just(16)],
    ) {
        let mut bytes = SNAPSHOT.to_vec();
        let at = page * 4096;
        bytes[at + 8..at + 56].copy_from_slice(&header);
        bytes[at + 8..at + 10].copy_from_slice(&[flags, 0]);
        prop_assert!(read_all(&bytes) < 10_000);
    }
}
