//! Fills a real etcd, a cluster of three of them, and Bowline up to their quota, and digs them out with the doctor's
//! commands: `fullstore --etcd PATH --bowline PATH`. What must not be deleted is there afterwards, byte by byte.

mod fill;
mod store;

use fill::{EPHEMERAL, EVENTS, POLICY_REPORTS, Picture};
use serde_json::Value;
use std::path::PathBuf;
use store::{Said, Store};

type Outcome = Result<(), String>;

#[derive(Default)]
struct Arguments {
    etcd: PathBuf,
    bowline: PathBuf,
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments::default();
    let mut given = std::env::args().skip(1);
    while let Some(flag) = given.next() {
        let value = given.next().ok_or_else(|| format!("{flag}: value missing"))?;
        match flag.as_str() {
            "--etcd" => arguments.etcd = value.into(),
            "--bowline" => arguments.bowline = value.into(),
            _ => return Err(format!("unknown flag {flag}; known are --etcd, --bowline")),
        }
    }
    Ok(arguments)
}

fn main() {
    let arguments = arguments().unwrap_or_else(|message| {
        eprintln!("{message}");
        std::process::exit(2);
    });
    let Arguments { etcd, bowline } = &arguments;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut checks = Checks::default();
    for (name, members) in [("etcd", 1), ("three etcds", 3)] {
        let mut store = Store::etcd(etcd, bowline, folder.path(), members);
        checks.of = name;
        look_and_free(&mut checks, &mut store);
        dig_out_etcd(&mut checks, &mut store);
    }
    let mut store = Store::bowline(bowline, folder.path());
    checks.of = "Bowline";
    look_and_free(&mut checks, &mut store);
    dig_out_bowline(&mut checks, &mut store);
    println!("fullstore: {} passed, {} failed", checks.passed, checks.failed);
    if checks.failed > 0 {
        std::process::exit(1);
    }
}

#[derive(Default)]
struct Checks {
    of: &'static str,
    passed: u32,
    failed: u32,
}

impl Checks {
    fn check(&mut self, what: &str, outcome: Outcome) {
        match outcome {
            Ok(()) => self.passed += 1,
            Err(why) => {
                self.failed += 1;
                println!("{}: {what}: {why}", self.of);
            }
        }
    }
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// The same on every server: what is seen, what is deleted, and what is not.
fn look_and_free(checks: &mut Checks, store: &mut Store) {
    store.fill();
    checks.check("a full store refuses writes", ensure(!store.takes_writes(), || "a write was taken".to_owned()));
    let said = store.doctor(&["space", "-o", "json"]);
    checks.check("the report names the alarm", has_finding(&said, "nospace-alarm", true));
    checks.check("the report names a version that leaks", has_finding(&said, "kyverno-known-leak", true));
    checks.check("the alarm blocks", ends_with(&said, 3));
    let full = store.picture();
    let said = store.doctor(&["space", "free", "--what", "ephemeral-reports"]);
    checks.check("without --yes nothing is deleted", unchanged(&full, &store.picture(), &said, &[]));
    let counted = count(&full, EPHEMERAL).to_string();
    checks.check("the dry run counts", ensure(said.text.contains(&counted), || format!("no {counted} in {said}")));
    let said = store.doctor(&["space", "free", "--what", "pods", "--yes"]);
    checks.check("what is no class is refused", ends_with(&said, 2));
    checks.check("and stays", unchanged(&full, &store.picture(), &said, &[]));
    free_in_parts(checks, store, &full);
    let mut gone: Vec<&str> = Vec::new();
    for (class, prefix) in [("ephemeral-reports", EPHEMERAL), ("policy-reports", POLICY_REPORTS), ("events", EVENTS)] {
        let said = store.doctor(&["space", "free", "--what", class, "--yes"]);
        gone.push(prefix);
        checks.check(&format!("{class} go, and nothing else"), unchanged(&full, &store.picture(), &said, &gone));
        checks.check(&format!("{class} end well"), ends_with(&said, 0));
    }
    let said = store.doctor(&["space", "free", "--what", "events", "--yes"]);
    checks.check("once more there is nothing to do", ends_with(&said, 0));
}

/// Ended with control-c in the middle, and again with somebody else at work.
fn free_in_parts(checks: &mut Checks, store: &mut Store, full: &Picture) {
    let slowly = ["space", "free", "--what", "ephemeral-reports", "--rate", "1000", "--yes"];
    let said = store.doctor_and(&slowly, EPHEMERAL, store::interrupt);
    let now = store.picture();
    let (left, all) = (count(&now, EPHEMERAL), count(full, EPHEMERAL));
    let deleted = format!("{} of {all} keys deleted", all - left);
    let in_between = 0 < left && left < all && said.text.contains(&deleted);
    checks.check("control-c ends it, and what was done is told", ensure(in_between, || format!("{left} left: {said}")));
    checks.check("and a script learns of it", ends_with(&said, 1));
    let last = now.keys().rfind(|key| key.starts_with(EPHEMERAL)).cloned().unwrap_or_default();
    let said = store.doctor_and(&slowly, EPHEMERAL, |_| store.delete(&last));
    let told = said.text.contains(&format!("{} of {left} keys deleted, 1 ", left.saturating_sub(1)));
    checks.check("what somebody else deletes meanwhile hurts nobody", ensure(told, || format!("{left} left: {said}")));
}

fn dig_out_etcd(checks: &mut Checks, store: &mut Store) {
    checks.check("deleting alone does not help", ensure(!store.takes_writes(), || "a write was taken".to_owned()));
    let before = store.sizes();
    let said = store.doctor(&["space", "sequence"]);
    let shrank = store.sizes().iter().zip(&before).any(|(now, before)| now < before);
    let same = ensure(!shrank && !store.takes_writes(), || format!("something was done: {said}"));
    checks.check("without --yes the sequence is only shown", same);
    let said = store.doctor(&["space", "sequence", "--yes"]);
    checks.check("the sequence ends well", ends_with(&said, 0));
    checks.check("writes are back", ensure(store.takes_writes(), || format!("refused after {said}")));
    let small = |size: &i64| *size < 1 << 20;
    let sizes = store.sizes();
    checks.check("the files are small", ensure(sizes.iter().all(small), || format!("{before:?} to {sizes:?}")));
    checks.check("the leader is defragmented last", store.leader_was_last());
    let said = store.doctor(&["space", "-o", "json"]);
    checks.check("the report has no alarm any more", has_finding(&said, "nospace-alarm", false));
    store.raise_corrupt();
    let said = store.doctor(&["space", "sequence", "--yes"]);
    checks.check("with CORRUPT up, the sequence is refused", ends_with(&said, 2));
    checks.check("and that alarm stays", ensure(store.has_corrupt(), || format!("disarmed: {said}")));
}

fn dig_out_bowline(checks: &mut Checks, store: &mut Store) {
    checks.check("writes come back by themselves", store.takes_writes_soon());
    let said = store.doctor(&["space", "sequence", "--yes"]);
    let not_needed = said.text.to_lowercase().contains("by itself");
    checks.check("no sequence is needed, and that is said", ensure(not_needed, || said.to_string()));
    let said = store.doctor(&["space", "-o", "json"]);
    checks.check("the report has no alarm any more", has_finding(&said, "nospace-alarm", false));
}

fn count(picture: &Picture, prefix: &str) -> usize {
    picture.keys().filter(|key| key.starts_with(prefix)).count()
}

/// `now` is `before` without what is gone.
fn unchanged(before: &Picture, now: &Picture, said: &Said, gone: &[&str]) -> Outcome {
    let stays = |key: &str| !gone.iter().any(|prefix| key.starts_with(prefix));
    let expected = before.iter().filter(|(key, _)| stays(key));
    if expected.clone().eq(now.iter()) {
        return Ok(());
    }
    let missing: Vec<&String> = expected.filter(|(key, put)| now.get(*key) != Some(put)).map(|(key, _)| key).collect();
    let left: Vec<&String> = now.keys().filter(|key| !stays(key)).collect();
    Err(format!(
        "{} keys that should stay differ, {} that should go are there: {:?} {:?}; it said {said}",
        missing.len(),
        left.len(),
        missing.first(),
        left.first()
    ))
}

fn ends_with(said: &Said, code: i32) -> Outcome {
    ensure(said.code == Some(code), || format!("ended with {:?} and not {code}: {said}", said.code))
}

fn has_finding(said: &Said, id: &str, wanted: bool) -> Outcome {
    let report: Value = serde_json::from_str(&said.text).map_err(|error| format!("no JSON, {error}: {said}"))?;
    let findings = report["findings"].as_array().ok_or_else(|| format!("no findings in {said}"))?;
    let found = findings.iter().any(|finding| finding["id"] == id);
    ensure(found == wanted, || format!("{id} is {}there: {said}", if found { "" } else { "not " }))
}
