//! Kubernetes objects as they lie in the store: real fields with real repetition between objects of the same owner,
//! because how well values compress and how much neighbours share decides how a storage engine does.
//!
//! Custom resources are JSON, as the API server stores them. Built-in kinds have its `k8s\0` envelope with a protobuf
//! body in which every field is there with its length, but fields are numbered by their place, not by Kubernetes'
//! schema: a store cannot tell. Sizes follow what clusters hold (tests keep them): pods 3.5 KB growing to 5, events
//! 0.75 to 1 KB, reports of 19 results 6 KB.

use crate::random::Random;
use bytes::Bytes;
use serde_json::{Value, json};

/// What names an object and its owner; everything else about it follows from the seed.
#[derive(Debug, Clone)]
pub struct Identity {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub node: u64,
    /// Seconds since the run began, as the objects' timestamps say it.
    pub born: u64,
}

/// The stored form of a custom resource.
pub fn as_json(object: &Value) -> Bytes {
    serde_json::to_vec(object).expect("a value with string keys can be written").into()
}

/// The stored form of an object that was made with `kubectl apply` or by a controller that does alike: its
/// specification once more, as an annotation.
fn applied(mut object: Value) -> Bytes {
    let text = object["spec"].to_string();
    object["metadata"]["annotations"] = json!({ "kubectl.kubernetes.io/last-applied-configuration": text });
    as_protobuf(&object)
}

/// The stored form of a built-in kind.
pub fn as_protobuf(object: &Value) -> Bytes {
    let mut body = Vec::with_capacity(8 * 1024);
    field(object, 2, &mut body);
    let mut stored = b"k8s\0".to_vec();
    let kind = json!({ "apiVersion": object["apiVersion"], "kind": object["kind"] });
    field(&kind, 1, &mut stored);
    stored.extend_from_slice(&body);
    stored.into()
}

/// One field in protobuf's framing; what is absent there (null, zero lists) is absent here.
fn field(value: &Value, number: u64, out: &mut Vec<u8>) {
    match value {
        Value::Null => {}
        Value::Bool(value) => scalar(number, u64::from(*value), out),
        Value::Number(value) => scalar(number, value.as_u64().unwrap_or_default(), out),
        Value::String(text) => delimited(number, text.as_bytes(), out),
        Value::Array(items) => items.iter().for_each(|item| field(item, number, out)),
        Value::Object(fields) => {
            let mut inner = Vec::with_capacity(256);
            for (at, (_, value)) in fields.iter().enumerate() {
                field(value, at as u64 + 1, &mut inner);
            }
            delimited(number, &inner, out);
        }
    }
}

fn scalar(number: u64, value: u64, out: &mut Vec<u8>) {
    varint(number << 3, out);
    varint(value, out);
}

fn delimited(number: u64, bytes: &[u8], out: &mut Vec<u8>) {
    varint(number << 3 | 2, out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn time(seconds: u64) -> String {
    let (day, rest) = (seconds / 86_400, seconds % 86_400);
    format!("2026-02-{:02}T{:02}:{:02}:{:02}Z", 1 + day % 28, rest / 3600, rest / 60 % 60, rest % 60)
}

fn metadata(id: &Identity, owner_kind: &str, owner: &str, labels: &Value, managed: &[(&str, Value)]) -> Value {
    let managed: Vec<Value> = managed
        .iter()
        .map(|(manager, fields)| {
            json!({ "manager": manager, "operation": "Update", "apiVersion": "v1", "time": time(id.born),
                "fieldsType": "FieldsV1", "fieldsV1": fields.to_string() })
        })
        .collect();
    json!({
        "name": id.name, "namespace": id.namespace, "uid": id.uid, "creationTimestamp": time(id.born), "labels": labels,
        "ownerReferences": [{ "apiVersion": "batch/v1", "kind": owner_kind, "name": owner, "uid": id.uid,
            "controller": true, "blockOwnerDeletion": true }],
        "managedFields": managed,
    })
}

fn pod_fields() -> Value {
    json!({"f:metadata":{"f:finalizers":{".":{},"v:\"batch.kubernetes.io/job-tracking\"":{}},"f:labels":{".":{},
        "f:batch.kubernetes.io/controller-uid":{},"f:batch.kubernetes.io/job-name":{},"f:app.kubernetes.io/name":{}},
        "f:ownerReferences":{".":{},"k:{\"uid\":\"\"}":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"main\"}":{".":{},
        "f:command":{},"f:env":{".":{},"k:{\"name\":\"BATCH\"}":{".":{},"f:name":{},"f:value":{}}},"f:image":{},
        "f:imagePullPolicy":{},"f:name":{},"f:resources":{".":{},"f:limits":{},"f:requests":{}},
        "f:securityContext":{},"f:terminationMessagePath":{},"f:terminationMessagePolicy":{}}},"f:dnsPolicy":{},
        "f:enableServiceLinks":{},"f:restartPolicy":{},"f:schedulerName":{},"f:securityContext":{}}})
}

fn pod_status_fields() -> Value {
    json!({"f:status":{"f:conditions":{"k:{\"type\":\"ContainersReady\"}":{".":{},"f:lastProbeTime":{},
        "f:lastTransitionTime":{},"f:message":{},"f:reason":{},"f:status":{},"f:type":{}},
        "k:{\"type\":\"Initialized\"}":{".":{},"f:lastProbeTime":{},"f:status":{},"f:type":{}},
        "k:{\"type\":\"Ready\"}":{".":{},"f:lastProbeTime":{},"f:lastTransitionTime":{},"f:reason":{},"f:status":{}}},
        "f:containerStatuses":{},"f:hostIP":{},"f:phase":{},"f:podIP":{},"f:podIPs":{".":{},
        "k:{\"ip\":\"10.1.2.3\"}":{".":{},"f:ip":{}}},"f:startTime":{}}})
}

/// A pod of a job after `updates` of its 7 updates: bound, four reports of its kubelet, finalizer gone, marked for
/// deletion.
pub fn pod(id: &Identity, job: &str, updates: u64) -> Bytes {
    let (node, born) = (format!("worker-{:03}", id.node), id.born);
    let labels = json!({ "batch.kubernetes.io/controller-uid": id.uid, "batch.kubernetes.io/job-name": job,
        "app.kubernetes.io/name": "transcode", "app.kubernetes.io/part-of": "pipeline", "team": "media" });
    let mut managed = vec![("kube-controller-manager", pod_fields())];
    if updates > 1 {
        managed.push(("kubelet", pod_status_fields()));
    }
    let env: Vec<Value> = ["BATCH", "REGION", "SOURCE", "TARGET", "LOG_LEVEL", "TIMEOUT"]
        .iter()
        .map(|name| json!({ "name": name, "value": format!("{name}-{}", &id.uid[..8]).to_lowercase() }))
        .collect();
    let conditions: Vec<Value> =
        ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
            .iter()
            .take(if updates == 0 { 0 } else { 1 + updates as usize })
            .map(|kind| {
                json!({ "type": kind, "status": if updates > 4 { "False" } else { "True" },
                "lastTransitionTime": time(born + updates), "reason": "PodCompleted",
                "message": "containers with unready status: [main]" })
            })
            .collect();
    let container_statuses = (updates > 1).then(|| {
        json!([{ "name": "main", "image": "registry.example.com/media/transcode:2026.2.14", "started": updates > 2, "ready": updates == 3,
            "imageID": "registry.example.com/media/transcode@sha256:8f0b2a6c51d3e4972f8a60b7c4d59e1f2a3b4c5d6e7f8091a2b3c4d5e6f70819",
            "containerID": format!("containerd://{}{}", id.uid.replace('-', ""), id.uid.replace('-', "")),
            "state": { "terminated": { "exitCode": 0, "reason": "Completed", "startedAt": time(born + 3), "finishedAt": time(born + 40),
                "containerID": format!("containerd://{}{}", id.uid.replace('-', ""), id.uid.replace('-', "")) } },
            "volumeMounts": [{ "name": "kube-api-access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true,
                "recursiveReadOnly": "Disabled" }] }])
    });
    applied(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": metadata(id, "Job", job, &labels, &managed),
        "spec": {
            "volumes": [{ "name": format!("kube-api-access-{}", &id.uid[..5]), "projected": { "sources": [
                { "serviceAccountToken": { "expirationSeconds": 3607, "path": "token" } },
                { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
                { "downwardAPI": { "items": [{ "path": "namespace", "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" } }] } }],
                "defaultMode": 420 } }],
            "containers": [{ "name": "main", "image": "registry.example.com/media/transcode:2026.2.14",
                "command": ["/bin/transcode", "--input", "$(SOURCE)", "--output", "$(TARGET)", "--batch", "$(BATCH)"], "env": env,
                "resources": { "limits": { "cpu": "500m", "memory": "512Mi" }, "requests": { "cpu": "250m", "memory": "256Mi" } },
                "volumeMounts": [{ "name": format!("kube-api-access-{}", &id.uid[..5]), "readOnly": true,
                    "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount" }],
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "imagePullPolicy": "IfNotPresent",
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] }, "runAsNonRoot": true,
                    "seccompProfile": { "type": "RuntimeDefault" } } }],
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
            "serviceAccountName": "pipeline", "nodeName": if updates > 0 { node.as_str() } else { "" }, "schedulerName": "default-scheduler",
            "tolerations": [
                { "key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 },
                { "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 }],
            "priority": 0, "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority" },
        "status": { "phase": if updates > 4 { "Succeeded" } else { "Pending" }, "conditions": conditions,
            "hostIP": format!("10.0.0.{}", id.node), "podIP": format!("10.1.{}.{}", id.node, born % 250),
            "startTime": time(born + 1), "containerStatuses": container_statuses, "qosClass": "Burstable" },
    }))
}

/// A job after `updates` of its 5 updates.
pub fn job(id: &Identity, updates: u64) -> Bytes {
    let labels =
        json!({ "app.kubernetes.io/name": "transcode", "app.kubernetes.io/part-of": "pipeline", "team": "media" });
    let mut managed = vec![("kube-controller-manager", pod_fields())];
    if updates > 1 {
        managed.push((
            "job-controller",
            json!({"f:status":{"f:active":{},"f:ready":{},"f:startTime":{},"f:conditions":{},
            "f:uncountedTerminatedPods":{},"f:completionTime":{},"f:succeeded":{},"f:terminating":{}}}),
        ));
    }
    applied(json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": metadata(id, "CronJob", "transcode", &labels, &managed),
        "spec": { "parallelism": 1, "completions": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": false,
            "selector": { "matchLabels": { "batch.kubernetes.io/controller-uid": id.uid } },
            "template": { "metadata": { "labels": { "batch.kubernetes.io/job-name": id.name, "app.kubernetes.io/name": "transcode" } },
                "spec": { "containers": [{ "name": "main", "image": "registry.example.com/media/transcode:2026.2.14",
                    "command": ["/bin/transcode", "--input", "$(SOURCE)", "--output", "$(TARGET)", "--batch", "$(BATCH)"],
                    "resources": { "limits": { "cpu": "500m", "memory": "512Mi" } }, "imagePullPolicy": "IfNotPresent" }],
                    "restartPolicy": "Never", "schedulerName": "default-scheduler", "dnsPolicy": "ClusterFirst" } } },
        "status": { "active": u64::from(updates < 4), "succeeded": u64::from(updates >= 4), "startTime": time(id.born),
            "conditions": (updates >= 4).then(|| json!([{ "type": "Complete", "status": "True", "reason": "CompletionsReached",
                "message": "Reached expected number of succeeded pods", "lastTransitionTime": time(id.born + 50) }])) },
    }))
}

/// An event about `id`, the `number`th.
pub fn event(id: &Identity, number: u64, component: &str) -> Bytes {
    const REASONS: [(&str, &str); 4] = [
        ("Scheduled", "Successfully assigned the pod to its node"),
        ("Pulled", "Container image \"registry.example.com/media/transcode:2026.2.14\" already present on machine"),
        ("Created", "Created container: main"),
        (
            "PolicyViolation",
            "policy require-requests-limits/validate-resources fail: validation error: CPU and memory requests and \
          limits are required; rule validate-resources failed at path /spec/containers/0/resources/limits/ephemeral-storage/",
        ),
    ];
    let (reason, message) = REASONS[number as usize % REASONS.len()];
    let fields = json!({"f:count":{},"f:firstTimestamp":{},"f:involvedObject":{},"f:lastTimestamp":{},"f:message":{},"f:reason":{},
        "f:reportingComponent":{},"f:source":{"f:component":{}},"f:type":{}});
    let managed = [(component, fields)];
    as_protobuf(&json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": metadata(id, "Pod", &id.name, &Value::Null, &managed),
        "involvedObject": { "kind": "Pod", "namespace": id.namespace, "name": id.name, "uid": id.uid, "apiVersion": "v1",
            "fieldPath": "spec.containers{main}" },
        "reason": reason, "message": format!("{message} ({}/{})", id.namespace, id.name), "source": { "component": component },
        "firstTimestamp": time(id.born + number), "lastTimestamp": time(id.born + number), "count": 1, "type": "Normal",
        "reportingComponent": component, "reportingInstance": format!("{component}-7d9c6b5f4-{}", &id.uid[..5]),
    }))
}

const RULES: [(&str, &str); 19] = [
    ("disallow-capabilities", "adding-capabilities"),
    ("disallow-capabilities-strict", "require-drop-all"),
    ("disallow-host-namespaces", "host-namespaces"),
    ("disallow-host-path", "host-path"),
    ("disallow-host-ports", "host-ports-none"),
    ("disallow-host-process", "host-process-containers"),
    ("disallow-privilege-escalation", "privilege-escalation"),
    ("disallow-privileged-containers", "privileged-containers"),
    ("disallow-proc-mount", "check-proc-mount"),
    ("disallow-selinux", "selinux-type"),
    ("disallow-selinux", "selinux-user-role"),
    ("require-run-as-non-root-user", "run-as-non-root-user"),
    ("require-run-as-nonroot", "run-as-non-root"),
    ("restrict-apparmor-profiles", "app-armor"),
    ("restrict-seccomp", "check-seccomp"),
    ("restrict-seccomp-strict", "check-seccomp-strict"),
    ("restrict-sysctls", "check-sysctls"),
    ("restrict-volume-types", "restricted-volumes"),
    ("require-requests-limits", "validate-resources"),
];

fn results(scanned: u64) -> Vec<Value> {
    RULES
        .iter()
        .map(|(policy, rule)| {
            json!({ "message": format!("validation rule '{rule}' passed."), "policy": policy, "result": "pass", "rule": rule,
                "category": "Pod Security Standards (Restricted)", "scored": true, "severity": "medium", "source": "kyverno",
                "timestamp": { "nanos": 0, "seconds": 1_770_000_000 + scanned } })
        })
        .collect()
}

/// What an admission request leaves for the controller that sums reports up.
pub fn ephemeral_report(id: &Identity) -> Bytes {
    as_json(&json!({
        "apiVersion": "reports.kyverno.io/v1", "kind": "EphemeralReport",
        "metadata": { "name": id.name, "generateName": format!("{}-", id.uid), "namespace": id.namespace, "uid": id.uid, "generation": 1,
            "creationTimestamp": time(id.born), "annotations": { "audit.kyverno.io/resource.name": id.name,
                "audit.kyverno.io/resource.namespace": id.namespace },
            "labels": { "app.kubernetes.io/managed-by": "kyverno", "audit.kyverno.io/resource.uid": id.uid, "audit.kyverno.io/source": "admission",
                "audit.kyverno.io/resource.gvr": "pods.v1", "audit.kyverno.io/resource.hash": id.uid.replace('-', "") } },
        "spec": { "owner": { "apiVersion": "v1", "kind": "Pod", "name": id.name, "uid": id.uid }, "results": results(id.born),
            "summary": { "error": 0, "fail": 0, "pass": RULES.len(), "skip": 0, "warn": 0 } },
    }))
}

/// The lasting report of one resource; a later scan changes nothing but its timestamps.
pub fn policy_report(id: &Identity, kind: &str, scanned: u64) -> Bytes {
    as_json(&json!({
        "apiVersion": "wgpolicyk8s.io/v1alpha2", "kind": "PolicyReport",
        "metadata": { "name": id.uid, "namespace": id.namespace, "uid": id.uid, "generation": 2, "creationTimestamp": time(id.born),
            "labels": { "app.kubernetes.io/managed-by": "kyverno" },
            "managedFields": [{ "manager": "reports-controller", "operation": "Update", "apiVersion": "wgpolicyk8s.io/v1alpha2",
                "time": time(scanned), "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata":{"f:labels":{".":{},
                "f:app.kubernetes.io/managed-by":{}},"f:ownerReferences":{".":{}}},"f:results":{},"f:scope":{},"f:summary":{".":{},"f:error":{},
                "f:fail":{},"f:pass":{},"f:skip":{},"f:warn":{}}} }],
            "ownerReferences": [{ "apiVersion": "v1", "kind": kind, "name": id.name, "uid": id.uid }] },
        "results": results(scanned),
        "scope": { "apiVersion": "v1", "kind": kind, "name": id.name, "namespace": id.namespace, "uid": id.uid },
        "summary": { "error": 0, "fail": 0, "pass": RULES.len(), "skip": 0, "warn": 0 },
    }))
}

/// A lease by which a node says that it lives.
pub fn node_lease(id: &Identity, renewed: u64) -> Bytes {
    let fields = json!({"f:metadata":{"f:ownerReferences":{".":{}}},"f:spec":{"f:holderIdentity":{},"f:leaseDurationSeconds":{},"f:renewTime":{}}});
    as_protobuf(&json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": metadata(id, "Node", &id.name, &Value::Null, &[("kubelet", fields)]),
        "spec": { "holderIdentity": id.name, "leaseDurationSeconds": 40, "renewTime": time(renewed) } }))
}

/// Any other object (nodes, config maps, definitions of custom resources) of about `bytes`: lines of text that share
/// their beginnings. `changed` is what an update alters.
pub fn document(kind: &str, id: &Identity, bytes: usize, changed: u64) -> Bytes {
    let mut random = Random::of(changed, id.born ^ bytes as u64);
    let mut text = format!("# changed {changed}\n");
    while text.len() < bytes {
        let number = random.below(1 << 20);
        text.push_str(&format!(
            "spec.template.properties.field-{:03}.description: value {number:05x} of {}\n",
            number % 400,
            id.name
        ));
    }
    as_protobuf(&json!({ "apiVersion": "v1", "kind": kind,
        "metadata": { "name": id.name, "namespace": id.namespace, "uid": id.uid, "creationTimestamp": time(id.born) }, "data": text }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            namespace: "pipeline-07".to_owned(),
            name: "transcode-28437120-xk2vq".to_owned(),
            uid: Random::new(1).uid(),
            node: 7,
            born: 1000,
        }
    }

    #[test]
    fn sizes_are_those_of_a_cluster() {
        let id = identity();
        for (what, value, low, high) in [
            ("new pod", pod(&id, "job", 0), 3000, 4200),
            ("last pod", pod(&id, "job", 7), 5000, 7000),
            ("new job", job(&id, 0), 1700, 2700),
            ("last job", job(&id, 5), 2200, 3300),
            ("event", event(&id, 0, "kubelet"), 700, 1300),
            ("violation", event(&id, 3, "kyverno-admission"), 900, 1600),
            ("ephemeral report", ephemeral_report(&id), 5500, 7000),
            ("policy report", policy_report(&id, "Pod", 5), 6000, 8000),
            ("node lease", node_lease(&id, 5), 400, 800),
            ("document", document("ConfigMap", &id, 15_000, 0), 15_000, 15_600),
        ] {
            let bytes = value.len();
            assert!((low..=high).contains(&bytes), "{what}: {bytes} bytes, not {low} to {high}");
        }
    }

    #[test]
    fn rewriting_a_report_changes_timestamps_only() {
        let (one, two) = (policy_report(&identity(), "Pod", 5), policy_report(&identity(), "Pod", 9));
        assert_eq!(one.len(), two.len());
        assert_ne!(one, two);
    }
}
