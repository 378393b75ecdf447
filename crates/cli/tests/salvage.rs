//! `bowline util salvage` on a directory with a damaged record: it lists, changes nothing without a word, and gives up
//! what is named and nothing else.

use io::OsDisk;
use model::{Command, Entry, LeaseId, LogIndex, Put, PutLease, PutValue, RequestId, Term};
use state::{MeasuredEntry, Membership, Options, State};
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use store::{DataDir, Identity, Store, read_given_up};

const LOST: &str = "/registry/lost\nkey";

/// A stopped member with some keys, the value of one of which is damaged.
fn member(directory: &Path) {
    let members = [("one".to_owned(), vec!["http://localhost:2380".to_owned()])];
    let membership = Membership::bootstrap("etcd-cluster", members).expect("one member");
    let identity = Identity { cluster: membership.cluster().0, member: 1 };
    let mut data_dir = DataDir::look(&OsDisk, directory, identity).expect("it is new");
    data_dir.claim(&OsDisk).expect("it is nobody's");
    let (store, _) =
        Store::open(Arc::new(OsDisk), &data_dir.store_dir(), store::Options::default()).expect("it is new");
    let mut state = State::bootstrap(store, membership, Options::default()).expect("it is new");
    for (index, key) in ["/registry/before", LOST, "/registry/behind"].into_iter().enumerate() {
        let value = PutValue::Set(format!("value of {key}").into());
        let put = Put { key: key.into(), value, lease: PutLease::Set(LeaseId::NONE), prev_kv: false };
        let entry = Entry { request: RequestId(index as u64), leader_time_ms: 0, command: Command::Put(put) };
        let applied = state.apply(LogIndex(index as u64 + 1), Term(1), &MeasuredEntry::from(entry));
        applied.expect("it is applied").answer.expect("it is not refused");
    }
    let done = state.begin_checkpoint().and_then(|mut job| job.write()).expect("it is written");
    drop(state.finish_checkpoint(done));
    let path = data_dir.store_dir().join("segment-00000001");
    let mut content = std::fs::read(&path).expect("the segment is there");
    let value = format!("value of {LOST}").into_bytes();
    let at = content.windows(value.len()).position(|window| window == value).expect("the value is there");
    content[at] = 0;
    std::fs::write(&path, content).expect("the segment can be written");
}

fn salvage(directory: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let command = std::process::Command::new(env!("CARGO_BIN_EXE_bowline"))
        .args(["util", "salvage", "--data-dir"])
        .arg(directory)
        .args(arguments)
        .output();
    let Output { status, stdout, stderr } = command.expect("the binary runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn damage_is_listed_and_only_what_is_named_and_confirmed_is_given_up() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let path = directory.path().join("one.etcd");
    let (code, _, error) = salvage(&path, &[]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("member/identity is missing") && !path.exists(), "{error}");
    member(&path);
    let given_up = || read_given_up(&OsDisk, &path.join("member")).expect("whole or missing");

    let (code, listed, error) = salvage(&path, &[]);
    assert_eq!(code, Some(1));
    assert!(listed.starts_with("/registry/lost\\nkey  revision 3  current: read record of "), "{listed}");
    assert!(listed.contains("segment-00000001 at byte ") && listed.contains("record fails its checksum"), "{listed}");
    assert_eq!(listed.lines().count(), 1, "{listed}");
    assert!(error.starts_with("pairs that cannot be read: 1; "), "{error}");

    for (arguments, why) in [
        (&["--give-up", "/registry/before", "--confirm-loss"][..], "it is not in the list"),
        (&["--give-up", "/registry/lost\\qkey", "--confirm-loss"], "after a backslash"),
        (&["--give-up", "/registry/lost\\nkey"], "nothing was changed: --confirm-loss gives up the above"),
    ] {
        let (code, _, error) = salvage(&path, arguments);
        assert!(code == Some(1) && error.contains(why), "{error}");
        assert!(given_up().is_empty() && !path.join("member/salvaged-1.txt").exists());
    }

    let store_before = std::fs::read(path.join("member/store/segment-00000001")).expect("the segment is there");
    let (code, told, error) = salvage(&path, &["--give-up", "/registry/lost\\nkey", "--confirm-loss"]);
    assert_eq!((code, error.as_str()), (Some(0), ""));
    assert!(told.starts_with("given up:\n/registry/lost\\nkey  revision 3  current: "), "{told}");
    let keys: Vec<_> = given_up().into_values().map(|substitute| substitute.key).collect();
    assert_eq!(keys, [LOST]);
    let kept = std::fs::read_to_string(path.join("member/salvaged-1.txt")).expect("it was kept");
    let rest: String = format!("alue of {LOST}").bytes().map(|byte| format!("{byte:02x}")).collect();
    assert!(kept.contains("key /registry/lost\\nkey\n") && kept.contains(&rest), "{kept}");
    assert_eq!(std::fs::read(path.join("member/store/segment-00000001")).expect("the segment is there"), store_before);

    let (code, listed, error) = salvage(&path, &[]);
    assert_eq!((code, error.as_str()), (Some(0), ""), "nothing is left to decide");
    assert!(listed.contains("(given up)"), "{listed}");
}
