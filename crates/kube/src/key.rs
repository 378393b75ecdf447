//! Which key an object has: `PREFIX/RESOURCE/[NAMESPACE/]NAME`.
//!
//! The resource of a built-in kind is its plural without the API group, with five exceptions from the first releases;
//! that of custom resources, of their definitions and of API services is `GROUP/PLURAL`.

/// Where kube-apiserver keeps its keys, by default (`--etcd-prefix`).
pub const DEFAULT_PREFIX: &str = "/registry";

/// What a key says about the object under it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceKey {
    /// Empty for the core group, and for a built-in resource that the table does not know.
    pub group: String,
    /// The plural, as in a URL.
    pub resource: String,
    pub namespace: Option<String>,
    pub name: String,
}

/// A resource that kube-apiserver itself has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuiltIn {
    pub group: &'static str,
    pub resource: &'static str,
    pub kind: &'static str,
    pub is_namespaced: bool,
    /// What its keys begin with, below the prefix.
    pub storage: &'static str,
}

const fn cluster(group: &'static str, resource: &'static str, kind: &'static str) -> BuiltIn {
    BuiltIn { group, resource, kind, is_namespaced: false, storage: resource }
}

const fn namespaced(group: &'static str, resource: &'static str, kind: &'static str) -> BuiltIn {
    BuiltIn { group, resource, kind, is_namespaced: true, storage: resource }
}

const fn stored(built_in: BuiltIn, storage: &'static str) -> BuiltIn {
    BuiltIn { storage, ..built_in }
}

const ADMISSION: &str = "admissionregistration.k8s.io";
const AUTOSCALING: &str = "autoscaling";
const BATCH: &str = "batch";
const DRA: &str = "resource.k8s.io";
const NETWORKING: &str = "networking.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";
const SCHEDULING: &str = "scheduling.k8s.io";
const STORAGE: &str = "storage.k8s.io";

/// In the order of groups; of two that share their storage the newer one first.
pub(crate) const BUILT_IN: &[BuiltIn] = &[
    cluster("", "componentstatuses", "ComponentStatus"),
    namespaced("", "configmaps", "ConfigMap"),
    stored(namespaced("", "endpoints", "Endpoints"), "services/endpoints"),
    namespaced("", "events", "Event"),
    namespaced("", "limitranges", "LimitRange"),
    cluster("", "namespaces", "Namespace"),
    stored(cluster("", "nodes", "Node"), "minions"),
    namespaced("", "persistentvolumeclaims", "PersistentVolumeClaim"),
    cluster("", "persistentvolumes", "PersistentVolume"),
    namespaced("", "pods", "Pod"),
    namespaced("", "podtemplates", "PodTemplate"),
    stored(namespaced("", "replicationcontrollers", "ReplicationController"), "controllers"),
    namespaced("", "resourcequotas", "ResourceQuota"),
    namespaced("", "secrets", "Secret"),
    namespaced("", "serviceaccounts", "ServiceAccount"),
    stored(namespaced("", "services", "Service"), "services/specs"),
    cluster(ADMISSION, "mutatingadmissionpolicies", "MutatingAdmissionPolicy"),
    cluster(ADMISSION, "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding"),
    cluster(ADMISSION, "mutatingwebhookconfigurations", "MutatingWebhookConfiguration"),
    cluster(ADMISSION, "validatingadmissionpolicies", "ValidatingAdmissionPolicy"),
    cluster(ADMISSION, "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding"),
    cluster(ADMISSION, "validatingwebhookconfigurations", "ValidatingWebhookConfiguration"),
    stored(
        cluster("apiextensions.k8s.io", "customresourcedefinitions", "CustomResourceDefinition"),
        "apiextensions.k8s.io/customresourcedefinitions",
    ),
    stored(cluster("apiregistration.k8s.io", "apiservices", "APIService"), "apiregistration.k8s.io/apiservices"),
    namespaced("apps", "controllerrevisions", "ControllerRevision"),
    namespaced("apps", "daemonsets", "DaemonSet"),
    namespaced("apps", "deployments", "Deployment"),
    namespaced("apps", "replicasets", "ReplicaSet"),
    namespaced("apps", "statefulsets", "StatefulSet"),
    namespaced(AUTOSCALING, "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
    namespaced(BATCH, "cronjobs", "CronJob"),
    namespaced(BATCH, "jobs", "Job"),
    cluster("certificates.k8s.io", "certificatesigningrequests", "CertificateSigningRequest"),
    cluster("certificates.k8s.io", "clustertrustbundles", "ClusterTrustBundle"),
    namespaced("certificates.k8s.io", "podcertificaterequests", "PodCertificateRequest"),
    namespaced("coordination.k8s.io", "leasecandidates", "LeaseCandidate"),
    namespaced("coordination.k8s.io", "leases", "Lease"),
    namespaced("discovery.k8s.io", "endpointslices", "EndpointSlice"),
    namespaced("events.k8s.io", "events", "Event"),
    cluster("flowcontrol.apiserver.k8s.io", "flowschemas", "FlowSchema"),
    cluster("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations", "PriorityLevelConfiguration"),
    cluster("internal.apiserver.k8s.io", "storageversions", "StorageVersion"),
    cluster(NETWORKING, "ingressclasses", "IngressClass"),
    stored(namespaced(NETWORKING, "ingresses", "Ingress"), "ingress"),
    cluster(NETWORKING, "ipaddresses", "IPAddress"),
    namespaced(NETWORKING, "networkpolicies", "NetworkPolicy"),
    cluster(NETWORKING, "servicecidrs", "ServiceCIDR"),
    cluster("node.k8s.io", "runtimeclasses", "RuntimeClass"),
    namespaced("policy", "poddisruptionbudgets", "PodDisruptionBudget"),
    cluster(RBAC, "clusterrolebindings", "ClusterRoleBinding"),
    cluster(RBAC, "clusterroles", "ClusterRole"),
    namespaced(RBAC, "rolebindings", "RoleBinding"),
    namespaced(RBAC, "roles", "Role"),
    cluster(DRA, "deviceclasses", "DeviceClass"),
    cluster(DRA, "devicetaintrules", "DeviceTaintRule"),
    namespaced(DRA, "resourceclaims", "ResourceClaim"),
    namespaced(DRA, "resourceclaimtemplates", "ResourceClaimTemplate"),
    cluster(DRA, "resourcepoolstatusrequests", "ResourcePoolStatusRequest"),
    cluster(DRA, "resourceslices", "ResourceSlice"),
    namespaced(SCHEDULING, "compositepodgroups", "CompositePodGroup"),
    namespaced(SCHEDULING, "podgroups", "PodGroup"),
    cluster(SCHEDULING, "priorityclasses", "PriorityClass"),
    namespaced(SCHEDULING, "workloads", "Workload"),
    cluster(STORAGE, "csidrivers", "CSIDriver"),
    cluster(STORAGE, "csinodes", "CSINode"),
    namespaced(STORAGE, "csistoragecapacities", "CSIStorageCapacity"),
    cluster(STORAGE, "storageclasses", "StorageClass"),
    cluster(STORAGE, "volumeattachments", "VolumeAttachment"),
    cluster(STORAGE, "volumeattributesclasses", "VolumeAttributesClass"),
    cluster("storagemigration.k8s.io", "storageversionmigrations", "StorageVersionMigration"),
];

/// Below the prefix, and no objects of a resource.
const NO_OBJECTS: &[&str] = &["health", "masterleases", "peerserverleases", "ranges"];

impl BuiltIn {
    pub fn find(group: &str, resource: &str) -> Option<&'static BuiltIn> {
        BUILT_IN.iter().find(|known| known.group == group && known.resource == resource)
    }

    /// By the first part of an `apiVersion` and the kind.
    pub fn of_kind(group: &str, kind: &str) -> Option<&'static BuiltIn> {
        BUILT_IN.iter().find(|known| known.group == group && known.kind == kind)
    }
}

/// What the keys of a resource begin with, below the prefix. Two resources with the same one are the same objects.
pub fn storage(group: &str, resource: &str) -> String {
    match BuiltIn::find(group, resource) {
        Some(known) => known.storage.to_owned(),
        None if group.is_empty() => resource.to_owned(),
        None => format!("{group}/{resource}"),
    }
}

/// The key of an object. `prefix` as `--etcd-prefix` has it: with or without slashes around it.
pub fn key_of(prefix: &str, group: &str, resource: &str, namespace: Option<&str>, name: &str) -> Vec<u8> {
    let mut key = format!("{}{}/", all_of(prefix), storage(group, resource));
    if let Some(namespace) = namespace {
        key.push_str(namespace);
        key.push('/');
    }
    key.push_str(name);
    key.into_bytes()
}

/// What the keys of all objects of a resource begin with.
pub fn keys_of(prefix: &str, group: &str, resource: &str) -> Vec<u8> {
    format!("{}{}/", all_of(prefix), storage(group, resource)).into_bytes()
}

/// kube-apiserver puts the slash before its prefix itself.
fn all_of(prefix: &str) -> String {
    match prefix.trim_matches('/') {
        "" => "/".to_owned(),
        prefix => format!("/{prefix}/"),
    }
}

/// Reads a key. `None` if it is not below the prefix, not text, or not an object's.
pub fn parse(prefix: &str, key: &[u8]) -> Option<ResourceKey> {
    let path = std::str::from_utf8(key).ok()?.strip_prefix(&all_of(prefix))?;
    let (group, resource, rest) = resource_of(path)?;
    let (namespace, name) = match rest.split_once('/') {
        Some((namespace, name)) => (Some(namespace.to_owned()), name),
        None => (None, rest),
    };
    let complete = !name.is_empty() && namespace.as_deref() != Some("");
    complete.then(|| ResourceKey { group, resource, namespace, name: name.to_owned() })
}

/// Group, resource and what follows.
fn resource_of(path: &str) -> Option<(String, String, &str)> {
    let known = BUILT_IN.iter().find_map(|known| {
        let rest = path.strip_prefix(known.storage)?.strip_prefix('/')?;
        Some((known.group.to_owned(), known.resource.to_owned(), rest))
    });
    if known.is_some() {
        return known;
    }
    let (first, rest) = path.split_once('/')?;
    if NO_OBJECTS.contains(&first) {
        return None;
    }
    let below = rest.split_once('/');
    // Groups of others have a dot; of built-in ones some have none, and nothing lies below them.
    let is_group = first.contains('.') || below.is_some_and(|(plural, _)| BuiltIn::find(first, plural).is_some());
    if is_group {
        let (plural, rest) = below?;
        return Some((first.to_owned(), plural.to_owned(), rest));
    }
    Some((String::new(), first.to_owned(), rest))
}

/// The key that is meant by one which names a built-in resource with its group, as many texts do: nothing lies there,
/// and deleting it deletes nothing. `None` for a key that may be right.
pub fn likely_meant(prefix: &str, key: &[u8]) -> Option<Vec<u8>> {
    let given = parse(prefix, key)?;
    let known = BuiltIn::find(&given.group, &given.resource)?;
    let meant = key_of(prefix, known.group, known.resource, given.namespace.as_deref(), &given.name);
    (meant != key).then_some(meant)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(key: &str) -> Option<(String, String, Option<String>, String)> {
        let ResourceKey { group, resource, namespace, name } = parse(DEFAULT_PREFIX, key.as_bytes())?;
        Some((group, resource, namespace, name))
    }

    fn found(
        group: &str,
        resource: &str,
        namespace: Option<&str>,
        name: &str,
    ) -> Option<(String, String, Option<String>, String)> {
        Some((group.to_owned(), resource.to_owned(), namespace.map(str::to_owned), name.to_owned()))
    }

    #[test]
    fn keys_are_read() {
        for (key, expected) in [
            ("/registry/pods/default/web-1", found("", "pods", Some("default"), "web-1")),
            ("/registry/minions/node-1", found("", "nodes", None, "node-1")),
            ("/registry/services/specs/default/kubernetes", found("", "services", Some("default"), "kubernetes")),
            ("/registry/services/endpoints/a/b", found("", "endpoints", Some("a"), "b")),
            ("/registry/ipaddresses/fd00::1", found("networking.k8s.io", "ipaddresses", None, "fd00::1")),
            (
                "/registry/apiextensions.k8s.io/customresourcedefinitions/a.b.c",
                found("apiextensions.k8s.io", "customresourcedefinitions", None, "a.b.c"),
            ),
            (
                "/registry/reports.kyverno.io/ephemeralreports/default/x",
                found("reports.kyverno.io", "ephemeralreports", Some("default"), "x"),
            ),
            ("/registry/newthings/x", found("", "newthings", None, "x")),
            (
                "/registry/clusterroles/system:node",
                found("rbac.authorization.k8s.io", "clusterroles", None, "system:node"),
            ),
            ("/registry/ranges/serviceips", None),
            ("/registry/masterleases/10.0.0.1", None),
            ("/registry/pods", None),
            ("/registry/pods/", None),
            ("/registry/pods//x", None),
            ("/registryx/pods/a/b", None),
            ("compact_rev_key", None),
        ] {
            assert_eq!(parsed(key), expected, "{key}");
        }
        assert_eq!(parse("/", b"\xff/pods/a/b"), None);
        // As kube-apiserver does, whoever leaves the slash out.
        assert_eq!(key_of("kubernetes.io", "", "pods", Some("a"), "b"), b"/kubernetes.io/pods/a/b");
    }

    #[test]
    fn what_is_read_is_what_was_made() {
        for known in BUILT_IN.iter().filter(|known| known.group != "events.k8s.io") {
            let namespace = known.is_namespaced.then_some("ns");
            for prefix in ["/registry", "/registry/", "kubernetes.io", "", "/"] {
                let key = key_of(prefix, known.group, known.resource, namespace, "name");
                let expected = ResourceKey {
                    group: known.group.to_owned(),
                    resource: known.resource.to_owned(),
                    namespace: namespace.map(str::to_owned),
                    name: "name".to_owned(),
                };
                assert_eq!(parse(prefix, &key), Some(expected));
                assert_eq!(likely_meant(prefix, &key), None);
            }
        }
    }

    #[test]
    fn the_key_of_many_texts_is_recognised() {
        let wrong = b"/registry/admissionregistration.k8s.io/validatingwebhookconfigurations/kyverno";
        let right = b"/registry/validatingwebhookconfigurations/kyverno";
        assert_eq!(likely_meant(DEFAULT_PREFIX, wrong).as_deref(), Some(&right[..]));
        assert_eq!(likely_meant(DEFAULT_PREFIX, b"/registry/kyverno.io/policies/a/b"), None);
        for (wrong, right) in [
            ("/registry/apps/deployments/a/b", "/registry/deployments/a/b"),
            ("/registry/nodes/a", "/registry/minions/a"),
            ("/registry/services/a/b", "/registry/services/specs/a/b"),
        ] {
            assert_eq!(likely_meant(DEFAULT_PREFIX, wrong.as_bytes()), Some(right.into()), "{wrong}");
        }
    }
}
