//! A census against a plain count, and each rule firing and not firing.

use super::facts::MemberFacts;
use super::*;
use crate::explain::explain;
use crate::finding::Severity;
use crate::source::{Entry, Lease, Result, Source, SourceInfo, SourceKind, Status, Version, Visit};
use bytes::Bytes;
use serde_json::json;
use std::ops::ControlFlow;

const NOW: i64 = 1_700_000_000;

#[derive(Default)]
struct Memory {
    entries: Vec<Entry>,
    history: Vec<Version>,
    leases: Vec<Lease>,
}

impl Memory {
    fn put(&mut self, key: &str, value: impl Into<Bytes>, lease: i64) {
        let (key, value) = (Bytes::from(key.to_owned()), value.into());
        let bytes = (key.len() + value.len()) as u64;
        self.history.push(Version { key: key.clone(), revision: 1, bytes, is_delete: false });
        self.entries.push(Entry { key, value, create_revision: 1, mod_revision: 1, version: 1, lease });
    }
}

impl Source for Memory {
    fn info(&self) -> SourceInfo {
        SourceInfo { kind: SourceKind::Snapshot, place: "memory".to_owned(), version: None, blind: Vec::new() }
    }

    fn range(&mut self, prefix: &[u8], visit: Visit<'_, Entry>) -> Result<()> {
        let found = self.entries.iter().filter(|entry| entry.key.starts_with(prefix));
        let _ = found.into_iter().try_for_each(visit);
        Ok(())
    }

    fn keys(&mut self, prefix: &[u8], visit: Visit<'_, Entry>) -> Result<()> {
        self.range(prefix, visit)
    }

    fn history(&mut self, visit: Visit<'_, Version>) -> Result<bool> {
        let _: ControlFlow<()> = self.history.iter().try_for_each(visit);
        Ok(true)
    }

    fn leases(&mut self, visit: Visit<'_, Lease>) -> Result<()> {
        let _: ControlFlow<()> = self.leases.iter().try_for_each(visit);
        Ok(())
    }

    fn status(&mut self) -> Result<Status> {
        Ok(Status { revision: 10, compact_revision: Some(5), ..Status::default() })
    }
}

fn object(uid: &str, owner: Option<&str>, created: &str) -> Bytes {
    let mut object =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "uid": uid, "creationTimestamp": created}});
    if let Some(owner) = owner {
        object["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": owner}]);
    }
    object.to_string().into_bytes().into()
}

#[test]
fn everything_is_counted_where_it_belongs() {
    let mut store = Memory::default();
    store.put("/registry/pods/a/one", object("1", Some("job"), "2023-11-14T22:10:00Z"), 0);
    store.put("/registry/pods/b/two", object("2", Some("gone"), "2023-11-01T00:00:00Z"), 0);
    store.put("/registry/jobs/a/j", object("job", None, "2023-11-14T21:30:00Z"), 0);
    store.put("/registry/events/a/e", &b"damaged"[..], 7);
    store.put("/registry/reports.kyverno.io/ephemeralreports/a/r", object("3", None, ""), 0);
    store.put("compact_rev_key", &b"5"[..], 0);
    store.history.push(Version {
        key: Bytes::from_static(b"/registry/pods/a/one"),
        revision: 1,
        bytes: 100,
        is_delete: false,
    });
    store.leases = vec![
        Lease { id: 7, granted: 60, left: None, keys: vec![Bytes::from_static(b"/registry/events/a/e")] },
        Lease { id: 8, granted: 60, left: None, keys: Vec::new() },
    ];
    let facts = census(&mut store, "/registry", NOW).expect("memory can be read");
    let json = serde_json::to_string(&facts).expect("facts can be written");
    assert_eq!(serde_json::from_str::<SpaceFacts>(&json).expect("facts can be read"), facts);
    let live: u64 = store.entries.iter().map(|entry| (entry.key.len() + entry.value.len()) as u64).sum();
    assert_eq!((facts.keys, facts.live_bytes, facts.history_bytes), (6, live, Some(100)));
    assert_eq!((facts.leases, facts.leases_without_keys), (2, 1));
    assert_eq!((facts.leased_keys, facts.largest_lease), (1, Some((7, 1))));
    let names: Vec<&str> = facts.resources.keys().map(String::as_str).collect();
    assert_eq!(names, ["(other)", "events", "jobs", "pods", "reports.kyverno.io/ephemeralreports"]);
    let pods = &facts.resources["pods"];
    assert_eq!((pods.keys, pods.orphans, pods.history_versions, pods.history_bytes), (2, 1, 1, 100));
    assert_eq!(pods.ages, Ages { minutes_10: 1, week: 0, older: 1, ..Ages::default() });
    assert_eq!(pods.owners.get("Job"), Some(&2));
    assert_eq!(pods.namespaces.len(), 2);
    let events = &facts.resources["events"];
    assert_eq!((events.unreadable, events.with_lease), (1, 1));
    assert!(table(&facts).lines().next().is_some_and(|head| head.ends_with("RESOURCE")));
}

fn ids(facts: &SpaceFacts) -> Vec<(&'static str, Severity)> {
    let found = findings(facts);
    for finding in &found {
        assert!(explain(finding.id).is_some(), "{} is explained", finding.id);
        assert!(!finding.what.is_empty() && !finding.why.is_empty() && !finding.fix.is_empty(), "{}", finding.id);
    }
    found.into_iter().map(|finding| (finding.id, finding.severity)).collect()
}

fn member() -> MemberFacts {
    MemberFacts {
        name: "one".to_owned(),
        db_bytes: 200 << 20,
        db_bytes_in_use: 150 << 20,
        quota_bytes: Some(2 << 30),
        ..MemberFacts::default()
    }
}

fn healthy() -> SpaceFacts {
    SpaceFacts { members: vec![member(), member()], revision: 100, compact_revision: Some(50), ..SpaceFacts::default() }
}

#[test]
fn a_healthy_store_has_no_findings() {
    assert_eq!(ids(&healthy()), []);
}

#[test]
fn alarms_and_members() {
    let facts = SpaceFacts { no_space_alarms: 1, corrupt_alarms: 1, ..healthy() };
    assert_eq!(ids(&facts), [("nospace-alarm", Severity::Blocking), ("corrupt-alarm", Severity::Blocking)]);
    let of = |member: MemberFacts, is_bowline| ids(&SpaceFacts { members: vec![member], is_bowline, ..healthy() });
    let near = MemberFacts { db_bytes: 1800 << 20, db_bytes_in_use: 1700 << 20, ..member() };
    assert_eq!(of(near, false), [("quota-near", Severity::Warning)]);
    let holes = MemberFacts { db_bytes: 1000 << 20, ..member() };
    assert_eq!(of(holes.clone(), false), [("fragmented", Severity::Warning)]);
    assert_eq!(of(holes, true), []);
    let away = MemberFacts { unreachable: Some("refused".to_owned()), ..member() };
    assert_eq!(of(away, false), [("member-unreachable", Severity::Warning)]);
    let hash = |hash| MemberFacts { hash: Some((9, 5, hash)), ..member() };
    let differ = SpaceFacts { members: vec![hash(1), hash(2)], ..healthy() };
    assert_eq!(ids(&differ), [("members-differ", Severity::Critical)]);
    let other_revision = MemberFacts { hash: Some((8, 5, 3)), ..member() };
    assert_eq!(ids(&SpaceFacts { members: vec![hash(1), other_revision], ..healthy() }), []);
}

#[test]
fn history_that_nobody_compacts() {
    assert_eq!(ids(&SpaceFacts { revision: 2_000_000, ..healthy() }), [("no-compaction", Severity::Warning)]);
    let mut facts = SpaceFacts { live_bytes: 30 << 20, history_bytes: Some(100 << 20), ..healthy() };
    assert_eq!(ids(&facts), [("many-versions", Severity::Warning)]);
    facts.history_bytes = None;
    assert_eq!(ids(&facts), []);
}

#[test]
fn resources_that_fill_the_store() {
    let with = |name: &str, stat: ResourceStat| SpaceFacts {
        live_bytes: 100 << 20,
        resources: [(name.to_owned(), stat)].into(),
        ..healthy()
    };
    let large = ResourceStat { live_bytes: 60 << 20, keys: 5, ..ResourceStat::default() };
    assert_eq!(ids(&with("pods", large)), [("one-resource-dominates", Severity::Info)]);
    let reports = ResourceStat { keys: 10_001, ..ResourceStat::default() };
    assert_eq!(
        ids(&with("reports.kyverno.io/ephemeralreports", reports.clone())),
        [("reports-pile-up", Severity::Critical)]
    );
    assert_eq!(ids(&with("wgpolicyk8s.io/policyreports", reports.clone())), []);
    let events = ResourceStat { keys: 2000, with_lease: 900, ..ResourceStat::default() };
    assert_eq!(ids(&with("events", events)), [("events-without-lease", Severity::Warning)]);
    let expiring = ResourceStat { keys: 2000, with_lease: 1500, ..ResourceStat::default() };
    assert_eq!(ids(&with("events", expiring)), []);
    let orphans = ResourceStat { keys: 3000, orphans: 2000, ..ResourceStat::default() };
    assert_eq!(ids(&with("pods", orphans.clone())), [("orphans", Severity::Warning)]);
    let doubt = |facts: &SpaceFacts| {
        findings(facts).iter().any(|it| it.evidence.iter().any(|line| line.contains("owners may")))
    };
    assert!(!doubt(&with("pods", orphans.clone())));
    assert!(doubt(&with("pods", ResourceStat { unreadable: 1, ..orphans })));
}

#[test]
fn leases_and_known_versions() {
    assert_eq!(
        ids(&SpaceFacts { leases: 3000, leases_without_keys: 2000, ..healthy() }),
        [("leases-without-keys", Severity::Info)]
    );
    let images = |image: &str| SpaceFacts { images: vec![image.to_owned()], ..healthy() };
    assert_eq!(ids(&images("kyverno:v1.12.2")), [("kyverno-known-leak", Severity::Warning)]);
    assert_eq!(ids(&images("kyverno:v1.12.4")), []);
    assert_eq!(ids(&images("nginx:v1.12.2")), []);
}

#[test]
fn only_what_a_class_names_is_a_victim() {
    let mut store = Memory::default();
    for key in [
        "/registry/events/a/e",
        "/registry/reports.kyverno.io/ephemeralreports/a/r",
        "/registry/kyverno.io/updaterequests/kyverno/ur-1",
        "/registry/wgpolicyk8s.io/policyreports/a/p",
        "/registry/eventsource/a/b",
        "/registry/pods/a/b",
    ] {
        store.put(key, &b"{}"[..], 0);
    }
    let mut all: Vec<String> = CLASSES
        .iter()
        .flat_map(|class| victims(&mut store, "/registry", class).expect("memory can be read"))
        .map(|victim| String::from_utf8_lossy(&victim.key).into_owned())
        .collect();
    all.sort();
    assert_eq!(
        all,
        [
            "/registry/events/a/e",
            "/registry/reports.kyverno.io/ephemeralreports/a/r",
            "/registry/wgpolicyk8s.io/policyreports/a/p"
        ]
    );
}
