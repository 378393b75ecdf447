//! Stored objects and what is found in them.

mod golden_scripts;

use super::*;
use crate::explain::explain;
use crate::finding::Severity;
use crate::report::Outcome;
use crate::source::{Entry, Lease, Result, Source, SourceInfo, SourceKind, Status, Version, Visit};
use bytes::Bytes;
use kube::key::key_of;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A store in memory.
#[derive(Default)]
struct Memory(BTreeMap<Vec<u8>, Vec<u8>>);

impl Memory {
    /// What every cluster has that boots as 1.34 without writing anything.
    fn cluster() -> Memory {
        let mut store = Memory::default();
        for name in ["kube-system", "kube-public", "kube-node-lease", "default"] {
            store.put("", "namespaces", None, name, json!({"apiVersion": "v1", "kind": "Namespace"}));
        }
        for name in ["system-node-critical", "system-cluster-critical"] {
            store.put("scheduling.k8s.io", "priorityclasses", None, name, json!({}));
        }
        let role = json!({"metadata": {"labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}}});
        store.put("rbac.authorization.k8s.io", "clusterroles", None, "admin", role);
        store.put("flowcontrol.apiserver.k8s.io", "flowschemas", None, "exempt", json!({}));
        store.put("apiregistration.k8s.io", "apiservices", None, "v1.", json!({}));
        store.put("networking.k8s.io", "servicecidrs", None, "kubernetes", json!({}));
        store.put("networking.k8s.io", "ipaddresses", None, "10.96.0.1", json!({}));
        store.put("", "services", Some("default"), "kubernetes", json!({"spec": {"clusterIPs": ["10.96.0.1"]}}));
        store.put("", "nodes", None, "one", json!({"status": {"nodeInfo": {"kubeletVersion": "v1.34.1"}}}));
        store
    }

    fn put(&mut self, group: &str, resource: &str, namespace: Option<&str>, name: &str, object: Value) {
        let mut all = json!({"apiVersion": "v1", "kind": "Any", "metadata": {"name": name}});
        if let Some(namespace) = namespace {
            all["metadata"]["namespace"] = namespace.into();
        }
        merge(&mut all, object);
        self.0.insert(key_of("/registry", group, resource, namespace, name), all.to_string().into_bytes());
    }

    fn remove(&mut self, group: &str, resource: &str, name: &str) {
        self.0.remove(&key_of("/registry", group, resource, None, name));
    }

    fn webhook(&mut self, name: &str, changes: Value) {
        let mut webhook = json!({
            "name": "validate.kyverno.svc-fail",
            "clientConfig": {"service": {"namespace": "kyverno", "name": "kyverno-svc", "path": "/validate/fail"}},
            "failurePolicy": "Fail",
            "rules": [{"operations": ["CREATE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}],
        });
        merge(&mut webhook, changes);
        let object = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "webhooks": [webhook],
        });
        self.put("admissionregistration.k8s.io", "validatingwebhookconfigurations", None, name, object);
    }

    fn found(&mut self, from: Option<u32>, to: Option<u32>) -> Vec<(&'static str, Severity)> {
        let facts = collect(self, "/registry").expect("memory can be read");
        // Facts outlive the store that they came from.
        let json = serde_json::to_string(&facts).expect("facts can be written");
        let facts: BootFacts = serde_json::from_str(&json).expect("facts can be read");
        let found = findings(&facts, Releases::of(&facts, from, to));
        for finding in &found {
            assert!(explain(finding.id).is_some(), "{} is explained", finding.id);
        }
        found.into_iter().map(|finding| (finding.id, finding.severity)).collect()
    }
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

impl Source for Memory {
    fn info(&self) -> SourceInfo {
        SourceInfo { kind: SourceKind::Snapshot, place: "memory".to_owned(), version: None, blind: Vec::new() }
    }

    fn range(&mut self, prefix: &[u8], visit: Visit<'_, Entry>) -> Result<()> {
        for (key, value) in self.0.iter().filter(|(key, _)| key.starts_with(prefix)) {
            let entry = Entry {
                key: Bytes::copy_from_slice(key),
                value: Bytes::copy_from_slice(value),
                create_revision: 2,
                mod_revision: 2,
                version: 1,
                lease: 0,
            };
            if visit(&entry).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn keys(&mut self, prefix: &[u8], visit: Visit<'_, Entry>) -> Result<()> {
        self.range(prefix, visit)
    }

    fn history(&mut self, _: Visit<'_, Version>) -> Result<bool> {
        Ok(false)
    }

    fn leases(&mut self, _: Visit<'_, Lease>) -> Result<()> {
        Ok(())
    }

    fn status(&mut self) -> Result<Status> {
        Ok(Status::default())
    }
}

fn ids(found: &[(&'static str, Severity)]) -> Vec<&'static str> {
    found.iter().map(|(id, _)| *id).collect()
}

#[test]
fn a_cluster_without_webhooks_is_clean() {
    assert_eq!(Memory::cluster().found(None, None), []);
}

#[test]
fn the_night_of_the_service_cidr() {
    let mut store = Memory::cluster();
    store.put("", "nodes", None, "one", json!({"status": {"nodeInfo": {"kubeletVersion": "v1.32.9"}}}));
    store.remove("networking.k8s.io", "servicecidrs", "kubernetes");
    store.remove("networking.k8s.io", "ipaddresses", "10.96.0.1");
    let selector = json!({"namespaceSelector": {"matchExpressions": [
        {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "kyverno"]}
    ]}});
    store.webhook("kyverno-resource-validating-webhook-cfg", selector);
    let found = store.found(None, Some(34));
    assert_eq!(found[0], ("webhook-blocks-boot", Severity::Blocking));
    assert!(ids(&found).contains(&"servicecidr-missing") && ids(&found).contains(&"ipaddress-missing"));
    // Before 1.33 nothing of it is written.
    assert!(!ids(&store.found(None, None)).contains(&"webhook-blocks-boot"));
}

#[test]
fn what_is_there_already_is_not_written_at_a_mere_restart() {
    let mut store = Memory::cluster();
    store.webhook("a", json!({"rules": [{"operations": ["*"], "apiGroups": ["networking.k8s.io"], "apiVersions": ["*"], "resources": ["*"]}]}));
    assert_eq!(store.found(None, None), []);
    // Default roles may differ in the next release.
    store.webhook("b", json!({"rules": [{"operations": ["*"], "apiGroups": ["rbac.authorization.k8s.io"], "apiVersions": ["*"], "resources": ["*"]}]}));
    assert_eq!(store.found(None, None), []);
    assert_eq!(store.found(None, Some(35)), [("webhook-may-block", Severity::Warning)]);
}

#[test]
fn healing_delays_and_webhooks_behind_themselves() {
    let mut store = Memory::cluster();
    let pods = json!([{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]);
    store.webhook("a", json!({"rules": pods}));
    assert_eq!(
        store.found(None, None),
        [("webhook-blocks-healing", Severity::Critical), ("webhook-behind-itself", Severity::Warning)]
    );
    store.webhook("a", json!({"rules": pods, "failurePolicy": "Ignore"}));
    assert_eq!(store.found(None, None), []);
    let outside = json!({"rules": pods, "clientConfig": {"service": null, "url": "https://10.0.0.1/validate"}});
    store.webhook("a", outside);
    assert_eq!(store.found(None, None), [("webhook-blocks-healing", Severity::Warning)]);
    store.webhook("a", json!({"failurePolicy": "Ignore", "timeoutSeconds": 30}));
    assert_eq!(store.found(None, None), []);
    assert_eq!(store.found(None, Some(35)), [("webhook-delays-boot", Severity::Info)]);
}

#[test]
fn a_policy_of_its_own_content() {
    let mut store = Memory::cluster();
    store.remove("scheduling.k8s.io", "priorityclasses", "system-node-critical");
    let group = "admissionregistration.k8s.io";
    let policy = json!({
        "kind": "ValidatingAdmissionPolicy",
        "spec": {
            "matchConstraints": {"resourceRules": [
                {"operations": ["CREATE"], "apiGroups": ["scheduling.k8s.io"], "apiVersions": ["*"], "resources": ["priorityclasses"]}
            ]},
            "validations": [{"expression": "request.userInfo.username == 'alice'"}],
        },
    });
    store.put(group, "validatingadmissionpolicies", None, "only-alice", policy);
    assert_eq!(store.found(None, None), []);
    let binding = |actions: Value| json!({"kind": "ValidatingAdmissionPolicyBinding", "spec": {"policyName": "only-alice", "validationActions": actions}});
    store.put(group, "validatingadmissionpolicybindings", None, "b", binding(json!(["Audit"])));
    assert_eq!(store.found(None, None), []);
    store.put(group, "validatingadmissionpolicybindings", None, "b", binding(json!(["Deny"])));
    assert_eq!(store.found(None, None), [("policy-blocks-boot", Severity::Blocking)]);
}

#[test]
fn what_cannot_be_read_is_said() {
    let mut store = Memory::cluster();
    let webhooks = b"/registry/validatingwebhookconfigurations/";
    store.0.insert([&webhooks[..], b"a"].concat(), b"k8s:enc:aescbc:v1:key1:xxxx".to_vec());
    let facts = collect(&mut store, "/registry").expect("memory can be read");
    let found = findings(&facts, Releases::of(&facts, None, None));
    assert_eq!(Outcome::of(&found), Outcome::CannotTell);
    assert_eq!(ids(&store.found(None, None)), ["value-encrypted"]);
    store.0.insert([&webhooks[..], b"a"].concat(), b"k8s\0\x0a\xff".to_vec());
    assert_eq!(ids(&store.found(None, None)), ["value-damaged"]);
    store.0.insert(
        [&webhooks[..], b"a"].concat(),
        br#"{"apiVersion":"v1","kind":"ValidatingWebhookConfiguration","webhooks":[{"rules":7}]}"#.to_vec(),
    );
    assert_eq!(ids(&store.found(None, None)), ["value-damaged"]);
}

#[test]
fn the_key_that_nothing_reads() {
    let mut store = Memory::cluster();
    let key = b"/registry/admissionregistration.k8s.io/validatingwebhookconfigurations/kyverno";
    store.0.insert(key.to_vec(), b"{}".to_vec());
    assert_eq!(store.found(None, None), [("wrong-webhook-key", Severity::Warning)]);
}
