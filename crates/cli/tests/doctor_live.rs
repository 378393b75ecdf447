//! The doctor's sources against a running member.

use client::pb::PutRequest;
use doctor::source::{Entry, Lease, Live, Source, SourceKind, open_data_directory, open_live, open_snapshot};
use harness::{Kind, Server};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

struct Running {
    // Ends when dropped.
    server: Server,
    _folder: tempfile::TempDir,
    source: Live,
}

fn running() -> Running {
    running_with(&[])
}

fn running_with(flags: &[&str]) -> Running {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut server = Server::new(Kind::Bowline, Path::new(env!("CARGO_BIN_EXE_bowline")), folder.path(), flags);
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(server.start());
    let endpoints = vec!["127.0.0.1:1".to_owned(), server.url()];
    let options = client::Options { endpoints, timeout: Duration::from_secs(10), ..Default::default() };
    let source = open_live(&options).expect("it answers");
    Running { server, _folder: folder, source }
}

fn put(source: &Live, key: &str, value: Vec<u8>, lease: i64) -> i64 {
    let key = key.as_bytes().to_vec().into();
    let request = PutRequest { key, value: value.into(), lease, ..PutRequest::default() };
    let put = source.block_on(source.client().put(request)).expect("written");
    put.header.expect("every answer has one").revision
}

fn entries(source: &mut Live, prefix: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let read = source.range(prefix.as_bytes(), &mut |entry| {
        entries.push(entry.clone());
        ControlFlow::Continue(())
    });
    read.expect("read");
    entries
}

#[test]
fn a_member_shows_all_that_it_has_at_one_revision() {
    let Running { source, .. } = &mut running();
    assert_eq!(
        (source.info().kind, source.info().version.as_deref()),
        (SourceKind::Bowline, Some(model::ETCD_VERSION))
    );
    for place in 0..1_000 {
        put(source, &format!("/registry/small/{place:04}"), vec![b's'; 20], 0);
    }
    // Behind small ones a page has room for many; these are more than fit into one.
    for place in 0..90 {
        put(source, &format!("/registry/wide/{place:04}"), vec![b'w'; 1_000_000], 0);
    }
    let lease = source.block_on(source.client().lease_grant(600, 77)).expect("granted");
    let last = put(source, "/registry/small/0003", b"again".to_vec(), lease);
    let small = entries(source, "/registry/small/");
    assert_eq!(small.len(), 1_000);
    assert_eq!(
        small[3],
        Entry {
            key: "/registry/small/0003".into(),
            value: "again".into(),
            create_revision: 5,
            mod_revision: last,
            version: 2,
            lease: 77
        }
    );
    // Later writes are not in the state that is read.
    put(source, "/registry/small/0004", b"later".to_vec(), 0);
    let all = entries(source, "");
    assert_eq!(all.len(), 1_090);
    assert!(all.is_sorted_by(|a, b| a.key < b.key));
    assert_eq!(all[4].value.len(), 20);
    let mut keys = 0;
    let read = source.keys(b"/registry/wide", &mut |entry| {
        assert!(entry.value.is_empty());
        keys += 1;
        if keys == 50 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((read, keys), (Ok(()), 50));
    assert_eq!(source.history(&mut |_| ControlFlow::Continue(())), Ok(false));
    let mut leases = Vec::new();
    let read = source.leases(&mut |lease| {
        leases.push(lease.clone());
        ControlFlow::Continue(())
    });
    assert_eq!(read, Ok(()));
    let [Lease { id: 77, granted: 600, left: Some(left), keys }] = &leases[..] else { panic!("{leases:?}") };
    assert!((590..=600).contains(left));
    assert_eq!(keys[..], ["/registry/small/0003"]);
}

#[test]
fn a_state_that_is_compacted_while_it_is_read_is_read_on_and_said() {
    let Running { source, .. } = &mut running();
    for place in 0..10 {
        put(source, &format!("a{place}"), vec![], 0);
    }
    assert_eq!(entries(source, "a").len(), 10);
    assert_eq!(source.status().expect("it tells").compact_revision, Some(0));
    let last = put(source, "a10", vec![], 0);
    source.block_on(source.client().compact(last, true)).expect("compacted");
    let before = source.info().blind;
    assert_eq!(entries(source, "a").len(), 11);
    let said: Vec<String> = source.info().blind.into_iter().filter(|sentence| !before.contains(sentence)).collect();
    assert_eq!(said, ["revision 11 was compacted while it was read: keys from a on are of a later revision"]);
    let status = source.status().expect("it tells");
    assert_eq!((status.revision, status.compact_revision), (last, Some(last)));
    let [member] = &status.members[..] else { panic!("{status:?}") };
    assert!(member.is_leader && !member.is_learner && member.unreachable.is_none() && member.hash.is_none());
    assert_eq!((member.name.as_str(), member.quota_bytes), ("tested", Some(2 << 30)));
    assert!(member.db_bytes > 0 && member.applied_index > 10);
}

/// The fixture was made by etcd from the same writes.
fn expected() -> sources::Seen {
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testing/sources/fixtures/etcd-3.7.snapshot");
    let mut snapshot = open_snapshot(Path::new(fixture)).expect("it is one");
    let expected = sources::look(&mut snapshot).expect("it can be read");
    assert_eq!((expected.entries.len(), expected.pods), (94, 89));
    assert_eq!(expected.history.as_ref().map(|history| history.len()), Some(100));
    expected
}

#[test]
fn bowline_live_and_a_snapshot_of_etcd_show_the_same() {
    let Running { source, .. } = &mut running();
    source.block_on(sources::write(source.client())).expect("written");
    let seen = sources::look(source).expect("it answers");
    assert_eq!(seen, expected().without_history());
}

/// With the first flags, all is in the log; with the others, most is in checkpoints.
#[test]
fn a_killed_members_directory_shows_the_same_and_stays_as_it_is() {
    for flags in [&[][..], &["--snapshot-count=7"]] {
        let Running { server, source, .. } = &mut running_with(flags);
        source.block_on(sources::write(source.client())).expect("written");
        let directory = server.data_directory();
        let running = open_data_directory(&directory).expect_err("the member runs").to_string();
        assert!(running.contains("another process uses it; stop that one"), "{running}");
        server.kill();
        let before = sources::files(&directory);
        let mut stopped = open_data_directory(&directory).expect("nobody has it");
        assert_eq!(sources::look(&mut stopped).expect("it can be read"), expected());
        let status = stopped.status().expect("it is known");
        let [member] = &status.members[..] else { panic!("{status:?}") };
        assert_eq!((member.name.as_str(), &member.endpoint), ("tested", &server.url()));
        assert!(member.applied_index > 100 && member.applied_index == member.raft_index && member.db_bytes > 0);
        assert_eq!(stopped.info().blind, ["a directory shows no running members, only who they were"]);
        assert_eq!(sources::files(&directory), before);
        // While it is looked at, no member starts on it.
        let second = open_data_directory(&directory).expect_err("it is being looked at").to_string();
        assert!(second.contains("another process uses it"), "{second}");
    }
}

#[test]
fn what_is_no_data_directory_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let refused = open_data_directory(folder.path()).expect_err("it is empty").to_string();
    assert!(refused.ends_with("it is none of Bowline's: member/identity is missing"), "{refused}");
    let refused = open_snapshot(folder.path()).expect_err("it is empty").to_string();
    assert!(refused.ends_with("a directory without member/snap/db is none of etcd's"), "{refused}");
    assert_eq!(sources::files(folder.path()).len(), 0);
}
