//! What fills the stores: a little of what a cluster needs, events, and reports without end.
//!
//! All values are JSON, which is what custom resources are and what the doctor reads of built-in kinds as well.

use client::pb::PutRequest;
use client::{Bytes, Change, Client, ErrorKind, LeaseOfPut, To, range_of_prefix};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::Range;

pub const EPHEMERAL: &str = "/registry/reports.kyverno.io/ephemeralreports/";
pub const POLICY_REPORTS: &str = "/registry/wgpolicyk8s.io/policyreports/";
pub const EVENTS: &str = "/registry/events/";
const EVENTS_COUNT: usize = 200;
const POLICY_REPORTS_COUNT: usize = 150;
/// Reports in one transaction: below etcd's bound of 1.5 MiB for a request.
const BATCH: usize = 100;
const LEASE_S: i64 = 3600;
/// More than any quota here admits.
const REPORTS_MAX: usize = 20_000;

/// All keys of a store: where each was put last, and its value.
pub type Picture = BTreeMap<String, (i64, Bytes)>;

pub async fn picture(client: &Client) -> client::Result<Picture> {
    let answer = client.range(range_of_prefix(b"")).await?;
    let named = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
    Ok(answer.kvs.into_iter().map(|kv| (named(&kv.key), (kv.mod_revision, kv.value))).collect())
}

/// Fills the store until it refuses.
pub async fn fill(client: &Client) -> client::Result<()> {
    for (key, value) in needed() {
        put(client, &key, &value, 0).await?;
    }
    for number in 0..EVENTS_COUNT {
        let lease = i64::try_from(number / 50).unwrap_or_default() + 1;
        if number % 50 == 0 {
            client.lease_grant(LEASE_S, lease).await?;
        }
        put(client, &format!("{EVENTS}default/p.{number:016x}"), &event(number), lease).await?;
    }
    for number in 0..POLICY_REPORTS_COUNT {
        let report = report("wgpolicyk8s.io/v1alpha2", "PolicyReport", number);
        put(client, &format!("{POLICY_REPORTS}default/{}", uid(number)), &report, 0).await?;
    }
    // Where a hundred do not fit, one may.
    let mut next = 0;
    for batch in [BATCH, 1] {
        while next < REPORTS_MAX && create(client, next..next + batch).await? {
            next += batch;
        }
    }
    Ok(())
}

/// False if the quota does not admit them.
async fn create(client: &Client, reports: Range<usize>) -> client::Result<bool> {
    match client.change(reports.map(ephemeral).collect()).await {
        Err(error) if error.kind() == ErrorKind::NoSpace => Ok(false),
        done => done.map(|_| true),
    }
}

async fn put(client: &Client, key: &str, value: &Value, lease: i64) -> client::Result<()> {
    let (key, value) = (Bytes::from(key.to_owned()), Bytes::from(value.to_string()));
    client.put(PutRequest { key, value, lease, ..PutRequest::default() }).await.map(|_| ())
}

fn ephemeral(number: usize) -> Change {
    let namespace = if number.is_multiple_of(3) { "default" } else { "batch" };
    let value = report("reports.kyverno.io/v1", "EphemeralReport", number).to_string();
    Change {
        key: format!("{EPHEMERAL}{namespace}/{}", uid(number)).into(),
        mod_revision: 0,
        to: To::Put { value: value.into(), lease: LeaseOfPut::Attach(0) },
    }
}

fn uid(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

fn metadata(namespace: &str, name: &str) -> Value {
    json!({ "name": name, "namespace": namespace, "uid": format!("uid-of-{name}"), "creationTimestamp": "2026-02-26T02:00:00Z" })
}

/// 19 results, as the restricted pod security standard has; its owner is long gone.
fn report(version: &str, kind: &str, number: usize) -> Value {
    let results: Vec<Value> = (0..19)
        .map(|rule| {
            json!({ "policy": "podsecurity-subrule-restricted", "rule": format!("restricted-volumes-{rule}"),
                "message": "validation error: the volume types that may be used are restricted by the security standard",
                "result": "fail", "scored": true, "source": "kyverno", "severity": "medium",
                "category": "Pod Security Standards (Restricted)", "timestamp": { "seconds": 1_772_000_000 + number, "nanos": 0 } })
        })
        .collect();
    let mut metadata = metadata("default", &uid(number));
    metadata["ownerReferences"] =
        json!([{ "apiVersion": "v1", "kind": "Pod", "name": format!("p{number}"), "uid": format!("gone-{number}") }]);
    json!({ "apiVersion": version, "kind": kind, "metadata": metadata, "results": results })
}

fn event(number: usize) -> Value {
    json!({ "apiVersion": "v1", "kind": "Event", "metadata": metadata("default", &format!("p.{number:016x}")),
        "involvedObject": { "kind": "Pod", "namespace": "default", "name": "p" }, "reason": "PolicyViolation",
        "message": "policy podsecurity-subrule-restricted fail: the volume types are restricted", "type": "Warning" })
}

/// What nobody may delete: parts of a cluster, and neighbours of what may be, by name and by owner.
fn needed() -> Vec<(String, Value)> {
    let object = |key: &str, version: &str, kind: &str, namespace: &str, more: Value| {
        let name = key.rsplit('/').next().unwrap_or_default();
        let mut object = json!({ "apiVersion": version, "kind": kind, "metadata": metadata(namespace, name) });
        if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
            object.extend(more);
        }
        (format!("/registry/{key}"), object)
    };
    let container = json!({ "name": "kyverno", "image": "ghcr.io/kyverno/kyverno:v1.12.2" });
    let deployment = json!({ "spec": { "replicas": 1, "template": { "spec": { "containers": [container] } } } });
    let mut needed = vec![
        object("namespaces/default", "v1", "Namespace", "", json!({})),
        object("namespaces/batch", "v1", "Namespace", "", json!({})),
        object("deployments/kyverno/kyverno-admission-controller", "apps/v1", "Deployment", "kyverno", deployment),
        object("secrets/kube-system/token", "v1", "Secret", "kube-system", json!({ "data": { "token": "c2VjcmV0" } })),
        object("kyverno.io/updaterequests/kyverno/ur-1", "kyverno.io/v2", "UpdateRequest", "kyverno", json!({})),
        object("kyverno.io/clusterpolicies/restricted", "kyverno.io/v1", "ClusterPolicy", "", json!({})),
        object("eventsources/default/e", "example.com/v1", "EventSource", "default", json!({})),
        object("events.example.com/events/default/e", "events.example.com/v1", "Event", "default", json!({})),
        object("reports.kyverno.io/ephemeralreportsettings/a", "reports.kyverno.io/v1", "Settings", "", json!({})),
    ];
    needed.extend((0..30).map(|number| {
        object(&format!("pods/default/p{number}"), "v1", "Pod", "default", json!({ "spec": { "nodeName": "n1" } }))
    }));
    needed.push(("compact_rev_key".to_owned(), json!("1")));
    needed
}
