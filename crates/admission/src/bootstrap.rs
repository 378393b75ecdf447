//! What a control plane writes by itself when it boots, and what nodes and workloads must write to come back: through
//! admission, before anybody could ask for help.
//!
//! A table of rows, each with the hook that writes, what happens if it cannot, and the requests that it makes. What a
//! row would write depends on what is there already (`BootState`) and on the release.

use crate::request::{Gvr, Operation, Request, User};
use serde_json::{Value, json};

/// What is known of the store when the API server starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootState {
    /// The ServiceCIDR `kubernetes` is there.
    pub has_service_cidr: bool,
    /// Cluster IPs of services that have no IPAddress.
    pub without_ip_address: Vec<String>,
    /// Names of those that are there.
    pub priority_classes: Vec<String>,
    pub namespaces: Vec<String>,
    /// ClusterRoles with `kubernetes.io/bootstrapping=rbac-defaults`.
    pub bootstrap_cluster_roles: usize,
    pub flow_schemas: usize,
    pub api_services: usize,
}

/// What happens if a row's request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consequence {
    /// The API server is never ready, or dies. Seconds until it dies by itself; none: it tries for ever, until its
    /// probes kill it.
    BlocksBoot { dies_after_s: Option<u32> },
    /// The API server runs, but nodes, or the webhook's own pods, do not come back.
    BlocksHealing,
    /// Logged and tried again; something smaller is missing.
    Degrades,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// For ever the same.
    pub id: &'static str,
    /// The API server's hook, or who else writes.
    pub writer: &'static str,
    pub consequence: Consequence,
    /// What is refused means in the cluster.
    pub why: &'static str,
    /// First release 1.N that does it.
    pub since: u32,
}

/// Whether the request will be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    Yes(String),
    /// Only if the new release's own objects differ from those that are there.
    OnUpgrade,
    No(String),
}

#[derive(Debug, Clone, PartialEq)]
pub struct BootRequest {
    pub row: &'static Row,
    pub request: Request,
    pub written: Written,
}

const FOR_EVER: Consequence = Consequence::BlocksBoot { dies_after_s: None };

const fn dies(seconds: u32) -> Consequence {
    Consequence::BlocksBoot { dies_after_s: Some(seconds) }
}

/// All rows; the boot's first, in the order of their hooks.
pub const ROWS: &[Row] = &[
    Row {
        id: "servicecidr-create",
        writer: "start-kubernetes-service-cidr-controller",
        consequence: FOR_EVER,
        why: "the hook tries again every 100 ms without end, /readyz never succeeds, and the startup probe kills the API server",
        since: 33,
    },
    Row {
        id: "servicecidr-status",
        writer: "start-kubernetes-service-cidr-controller",
        consequence: Consequence::Degrades,
        why: "the default ServiceCIDR is not marked ready; it is only logged",
        since: 33,
    },
    Row {
        id: "ipaddress-create",
        writer: "start-service-ip-repair-controllers",
        consequence: dies(60),
        why: "the first check of service addresses must succeed within a minute, or the API server ends itself",
        since: 33,
    },
    Row {
        id: "rbac-clusterroles",
        writer: "rbac/bootstrap-roles",
        consequence: dies(30),
        why: "default roles that cannot be written within 30 seconds end the API server",
        since: 0,
    },
    Row {
        id: "rbac-clusterrolebindings",
        writer: "rbac/bootstrap-roles",
        consequence: dies(30),
        why: "default bindings that cannot be written within 30 seconds end the API server",
        since: 0,
    },
    Row {
        id: "rbac-roles",
        writer: "rbac/bootstrap-roles",
        consequence: dies(30),
        why: "default roles of kube-system and kube-public that cannot be written within 30 seconds end the API server",
        since: 0,
    },
    Row {
        id: "rbac-rolebindings",
        writer: "rbac/bootstrap-roles",
        consequence: dies(30),
        why: "default bindings of kube-system and kube-public that cannot be written within 30 seconds end the API server",
        since: 0,
    },
    Row {
        id: "priorityclasses",
        writer: "scheduling/bootstrap-system-priority-classes",
        consequence: dies(0),
        why: "the first refusal ends the API server",
        since: 0,
    },
    Row {
        id: "flowschemas",
        writer: "priority-and-fairness-config-producer",
        consequence: dies(300),
        why: "the suggested configuration must be written within five minutes, or the API server ends itself",
        since: 20,
    },
    Row {
        id: "prioritylevels",
        writer: "priority-and-fairness-config-producer",
        consequence: dies(300),
        why: "the suggested configuration must be written within five minutes, or the API server ends itself",
        since: 20,
    },
    Row {
        id: "apiservices",
        writer: "autoregister-completion",
        consequence: FOR_EVER,
        why: "the API server is not ready until every group version of its own is registered",
        since: 0,
    },
    Row {
        id: "system-namespaces",
        writer: "start-system-namespaces-controller",
        consequence: Consequence::Degrades,
        why: "logged and tried again; but default roles need kube-system and kube-public",
        since: 0,
    },
    Row {
        id: "kubernetes-endpoints",
        writer: "bootstrap-controller",
        consequence: Consequence::Degrades,
        why: "the service default/kubernetes stays without endpoints, and pods do not reach the API",
        since: 0,
    },
    Row {
        id: "authentication-configmap",
        writer: "start-cluster-authentication-info-controller",
        consequence: Consequence::Degrades,
        why: "logged and tried again; aggregated API servers do not learn of new certificates",
        since: 0,
    },
    Row {
        id: "identity-lease",
        writer: "start-kube-apiserver-identity-lease-controller",
        consequence: Consequence::Degrades,
        why: "logged and tried again; other API servers do not know of this one",
        since: 20,
    },
    Row {
        id: "nodes",
        writer: "kubelet",
        consequence: Consequence::BlocksHealing,
        why: "nodes do not register, so nothing is scheduled",
        since: 0,
    },
    Row {
        id: "node-status",
        writer: "kubelet",
        consequence: Consequence::BlocksHealing,
        why: "nodes do not become ready, so nothing is scheduled on them",
        since: 0,
    },
    Row {
        id: "node-leases",
        writer: "kubelet",
        consequence: Consequence::BlocksHealing,
        why: "nodes count as lost after 40 seconds",
        since: 14,
    },
    Row {
        id: "certificate-requests",
        writer: "kubelet",
        consequence: Consequence::BlocksHealing,
        why: "nodes do not get certificates, and do not join",
        since: 0,
    },
    Row {
        id: "leader-election",
        writer: "kube-controller-manager",
        consequence: Consequence::BlocksHealing,
        why: "controllers do not start: nothing makes pods",
        since: 0,
    },
    Row {
        id: "scheduler-leader-election",
        writer: "kube-scheduler",
        consequence: Consequence::BlocksHealing,
        why: "the scheduler does not start: no pod gets a node",
        since: 0,
    },
    Row {
        id: "service-account-tokens",
        writer: "kubelet",
        consequence: Consequence::BlocksHealing,
        why: "pods do not start without their tokens",
        since: 0,
    },
    Row {
        id: "pods",
        writer: "replicaset-controller",
        consequence: Consequence::BlocksHealing,
        why: "pods are not made again, the webhook's own among them",
        since: 0,
    },
    Row {
        id: "mirror-pods",
        writer: "kubelet",
        consequence: Consequence::BlocksHealing,
        why: "static pods are not seen by the API; they run all the same",
        since: 0,
    },
    Row {
        id: "pod-bindings",
        writer: "kube-scheduler",
        consequence: Consequence::BlocksHealing,
        why: "no pod gets a node",
        since: 0,
    },
    Row {
        id: "pod-status",
        writer: "kubelet",
        consequence: Consequence::BlocksHealing,
        why: "pods do not become ready, so services have no endpoints",
        since: 0,
    },
    Row {
        id: "root-ca-configmaps",
        writer: "root-ca-cert-publisher",
        consequence: Consequence::BlocksHealing,
        why: "pods of new namespaces do not start without kube-root-ca.crt",
        since: 20,
    },
    Row {
        id: "endpointslices",
        writer: "endpointslice-controller",
        consequence: Consequence::BlocksHealing,
        why: "services, the webhook's own among them, do not get endpoints",
        since: 17,
    },
    Row {
        id: "replicaset-status",
        writer: "replicaset-controller",
        consequence: Consequence::BlocksHealing,
        why: "rollouts do not go on",
        since: 0,
    },
    Row {
        id: "csinodes",
        writer: "kubelet",
        consequence: Consequence::BlocksHealing,
        why: "volumes of drivers are not attached",
        since: 0,
    },
    Row {
        id: "volume-attachments",
        writer: "attachdetach-controller",
        consequence: Consequence::BlocksHealing,
        why: "pods with volumes do not start",
        since: 0,
    },
    Row {
        id: "token-reviews",
        writer: "kubelet",
        consequence: Consequence::BlocksHealing,
        why: "kubelets and aggregated API servers cannot tell who asks",
        since: 0,
    },
];

/// What is asked for, before the state says whether it will be.
struct Asked {
    resource: (&'static str, &'static str, &'static str),
    subresource: &'static str,
    kind: &'static str,
    namespace: &'static str,
    name: String,
    operation: Operation,
    user: User,
    labels: Value,
    written: Written,
}

/// Requests of a boot of release 1.`to` on a store that was left by 1.`from`, and of what must heal after it; in the
/// order of `ROWS`, those of releases before a row left out.
pub fn requests(from: Option<u32>, to: u32, state: &BootState) -> Vec<BootRequest> {
    let upgrade = from.is_none_or(|from| from != to);
    ROWS.iter().filter(|row| row.since <= to).flat_map(|row| of_row(row, upgrade, to, state)).collect()
}

fn of_row(row: &'static Row, upgrade: bool, to: u32, state: &BootState) -> Vec<BootRequest> {
    let asked = boot_row(row.id, upgrade, to, state).unwrap_or_else(|| vec![healing_row(row.id)]);
    asked
        .into_iter()
        .map(|asked| BootRequest { row, written: asked.written.clone(), request: asked.request() })
        .collect()
}

impl Asked {
    fn request(self) -> Request {
        let (group, version, resource) = self.resource;
        let mut metadata = json!({"name": self.name});
        if !self.namespace.is_empty() {
            metadata["namespace"] = self.namespace.into();
        }
        if self.labels != json!({}) {
            metadata["labels"] = self.labels;
        }
        let object = json!({"metadata": metadata});
        let is_update = self.operation == Operation::Update;
        // A namespace's requests name it as their namespace, too.
        let namespace = if resource == "namespaces" { self.name.clone() } else { self.namespace.to_owned() };
        Request {
            resource: Gvr::new(group, version, resource),
            subresource: self.subresource.to_owned(),
            kind: self.kind.to_owned(),
            namespace,
            name: self.name,
            operation: self.operation,
            user: self.user,
            old_object: if is_update { object.clone() } else { Value::Null },
            object,
            object_known: false,
        }
    }
}

fn api_server() -> User {
    user("system:apiserver", &["system:masters", "system:authenticated"])
}

fn user(name: &str, groups: &[&str]) -> User {
    User { name: name.to_owned(), groups: groups.iter().map(|group| (*group).to_owned()).collect() }
}

fn kubelet() -> User {
    user("system:node:NODE", &["system:nodes", "system:authenticated"])
}

fn controller(name: &str) -> User {
    let name = format!("system:serviceaccount:kube-system:{name}");
    user(&name, &["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"])
}

fn create(resource: (&'static str, &'static str, &'static str), kind: &'static str, name: &str) -> Asked {
    Asked {
        resource,
        subresource: "",
        kind,
        namespace: "",
        name: name.to_owned(),
        operation: Operation::Create,
        user: api_server(),
        labels: json!({}),
        written: Written::Yes("always".to_owned()),
    }
}

impl Asked {
    fn update(self) -> Asked {
        Asked { operation: Operation::Update, ..self }
    }

    fn namespace(self, namespace: &'static str) -> Asked {
        Asked { namespace, ..self }
    }

    fn subresource(self, subresource: &'static str) -> Asked {
        Asked { subresource, ..self }
    }

    fn by(self, user: User) -> Asked {
        Asked { user, ..self }
    }

    fn labels(self, labels: Value) -> Asked {
        Asked { labels, ..self }
    }

    fn written(self, written: Written) -> Asked {
        Asked { written, ..self }
    }
}

const NETWORKING: &str = "networking.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";
const FLOW: &str = "flowcontrol.apiserver.k8s.io";
const COORDINATION: &str = "coordination.k8s.io";

/// Of a row of the boot; none for the others.
fn boot_row(id: &str, upgrade: bool, to: u32, state: &BootState) -> Option<Vec<Asked>> {
    let missing_or = |is_missing: bool, what: &str| match (is_missing, upgrade) {
        (true, _) => Written::Yes(format!("{what} are missing")),
        (false, true) => Written::OnUpgrade,
        (false, false) => Written::No(format!("{what} are there")),
    };
    let rbac = |resource, kind, namespace| {
        let written = missing_or(state.bootstrap_cluster_roles == 0, "default roles");
        let labels = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
        let asked = |asked: Asked| asked.namespace(namespace).labels(labels.clone()).written(written.clone());
        let resource = (RBAC, "v1", resource);
        vec![asked(create(resource, kind, "system:NAME")), asked(create(resource, kind, "system:NAME").update())]
    };
    let flow = |resource, kind| {
        let version = if to >= 29 { "v1" } else { "v1beta3" };
        let written = missing_or(state.flow_schemas == 0, "flow schemas");
        let name = "system-nodes";
        vec![
            create((FLOW, version, resource), kind, name).written(written.clone()),
            create((FLOW, version, resource), kind, name).update().written(written),
        ]
    };
    let service_cidr = (NETWORKING, "v1", "servicecidrs");
    Some(match id {
        "servicecidr-create" => {
            let written = match state.has_service_cidr {
                true => Written::No("the ServiceCIDR \"kubernetes\" is there".to_owned()),
                false => Written::Yes("the ServiceCIDR \"kubernetes\" is missing".to_owned()),
            };
            vec![create(service_cidr, "ServiceCIDR", "kubernetes").written(written)]
        }
        "servicecidr-status" => {
            vec![create(service_cidr, "ServiceCIDR", "kubernetes").update().subresource("status")]
        }
        "ipaddress-create" => {
            let address = state.without_ip_address.first();
            let labels = json!({"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"});
            let written = match address {
                Some(_) => {
                    Written::Yes(format!("{} service addresses have no IPAddress", state.without_ip_address.len()))
                }
                None => Written::No("every service address has its IPAddress".to_owned()),
            };
            let name = address.map_or("10.96.0.1", String::as_str);
            vec![create((NETWORKING, "v1", "ipaddresses"), "IPAddress", name).labels(labels).written(written)]
        }
        "rbac-clusterroles" => rbac("clusterroles", "ClusterRole", ""),
        "rbac-clusterrolebindings" => rbac("clusterrolebindings", "ClusterRoleBinding", ""),
        "rbac-roles" => rbac("roles", "Role", "kube-system"),
        "rbac-rolebindings" => rbac("rolebindings", "RoleBinding", "kube-system"),
        "priorityclasses" => ["system-node-critical", "system-cluster-critical"]
            .into_iter()
            .map(|name| {
                let written = match state.priority_classes.iter().any(|there| there == name) {
                    true => Written::No(format!("the PriorityClass {name:?} is there")),
                    false => Written::Yes(format!("the PriorityClass {name:?} is missing")),
                };
                create(("scheduling.k8s.io", "v1", "priorityclasses"), "PriorityClass", name).written(written)
            })
            .collect(),
        "flowschemas" => flow("flowschemas", "FlowSchema"),
        "prioritylevels" => flow("prioritylevelconfigurations", "PriorityLevelConfiguration"),
        "apiservices" => {
            let resource = ("apiregistration.k8s.io", "v1", "apiservices");
            let labels = json!({"kube-aggregator.kubernetes.io/automanaged": "onstart"});
            let written = missing_or(state.api_services == 0, "API services");
            vec![create(resource, "APIService", "v1.GROUP").labels(labels).written(written)]
        }
        "system-namespaces" => ["kube-system", "kube-public", "kube-node-lease", "default"]
            .into_iter()
            .map(|name| {
                let written = match state.namespaces.iter().any(|there| there == name) {
                    true => Written::No(format!("the namespace {name:?} is there")),
                    false => Written::Yes(format!("the namespace {name:?} is missing")),
                };
                let labels = json!({"kubernetes.io/metadata.name": name});
                create(("", "v1", "namespaces"), "Namespace", name).labels(labels).written(written)
            })
            .collect(),
        "kubernetes-endpoints" => {
            let slice = ("discovery.k8s.io", "v1", "endpointslices");
            let labels = json!({"kubernetes.io/service-name": "kubernetes"});
            vec![
                create(("", "v1", "endpoints"), "Endpoints", "kubernetes").namespace("default").update(),
                create(slice, "EndpointSlice", "kubernetes").namespace("default").labels(labels).update(),
            ]
        }
        "authentication-configmap" => vec![
            create(("", "v1", "configmaps"), "ConfigMap", "extension-apiserver-authentication")
                .namespace("kube-system")
                .update()
                .written(Written::OnUpgrade),
        ],
        "identity-lease" => {
            vec![create((COORDINATION, "v1", "leases"), "Lease", "apiserver-HASH").namespace("kube-system").update()]
        }
        _ => return None,
    })
}

/// Names of namespaces and objects stand for any of their like.
fn healing_row(id: &str) -> Asked {
    let system = "kube-system";
    let election = |component: &'static str, name: &str| {
        create((COORDINATION, "v1", "leases"), "Lease", component)
            .namespace(system)
            .update()
            .by(user(name, &["system:authenticated"]))
    };
    match id {
        "nodes" => create(("", "v1", "nodes"), "Node", "NODE").by(kubelet()),
        "node-status" => create(("", "v1", "nodes"), "Node", "NODE").update().subresource("status").by(kubelet()),
        "node-leases" => {
            create((COORDINATION, "v1", "leases"), "Lease", "NODE").namespace("kube-node-lease").update().by(kubelet())
        }
        "certificate-requests" => {
            create(("certificates.k8s.io", "v1", "certificatesigningrequests"), "CertificateSigningRequest", "csr-NAME")
                .by(kubelet())
        }
        "leader-election" => election("kube-controller-manager", "system:kube-controller-manager"),
        "scheduler-leader-election" => election("kube-scheduler", "system:kube-scheduler"),
        "service-account-tokens" => create(("", "v1", "serviceaccounts"), "TokenRequest", "default")
            .namespace(system)
            .subresource("token")
            .by(kubelet()),
        "pods" => create(("", "v1", "pods"), "Pod", "POD").namespace(system).by(controller("replicaset-controller")),
        "mirror-pods" => create(("", "v1", "pods"), "Pod", "kube-apiserver-NODE").namespace(system).by(kubelet()),
        "pod-bindings" => create(("", "v1", "pods"), "Binding", "POD")
            .namespace(system)
            .subresource("binding")
            .by(user("system:kube-scheduler", &["system:authenticated"])),
        "pod-status" => {
            create(("", "v1", "pods"), "Pod", "POD").namespace(system).update().subresource("status").by(kubelet())
        }
        "root-ca-configmaps" => create(("", "v1", "configmaps"), "ConfigMap", "kube-root-ca.crt")
            .namespace(system)
            .by(controller("root-ca-cert-publisher")),
        "endpointslices" => create(("discovery.k8s.io", "v1", "endpointslices"), "EndpointSlice", "SERVICE-NAME")
            .namespace(system)
            .by(controller("endpointslice-controller")),
        "replicaset-status" => create(("apps", "v1", "replicasets"), "ReplicaSet", "NAME")
            .namespace(system)
            .update()
            .subresource("status")
            .by(controller("replicaset-controller")),
        "csinodes" => create(("storage.k8s.io", "v1", "csinodes"), "CSINode", "NODE").by(kubelet()),
        "volume-attachments" => create(("storage.k8s.io", "v1", "volumeattachments"), "VolumeAttachment", "csi-NAME")
            .by(controller("attachdetach-controller")),
        _ => create(("authentication.k8s.io", "v1", "tokenreviews"), "TokenReview", "").by(kubelet()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn written(id: &str, from: Option<u32>, to: u32, state: &BootState) -> Vec<Written> {
        requests(from, to, state).into_iter().filter(|boot| boot.row.id == id).map(|boot| boot.written).collect()
    }

    #[test]
    fn every_row_asks_for_something_of_its_own() {
        let all = requests(Some(32), 36, &BootState::default());
        let rows: BTreeSet<_> = all.iter().map(|boot| boot.row.id).collect();
        assert_eq!(rows.len(), ROWS.len());
        let reviews = all.iter().filter(|boot| boot.request.resource.resource == "tokenreviews").count();
        assert_eq!(reviews, 1, "no row falls through to another's request");
    }

    #[test]
    fn service_cidrs_are_written_by_1_33_if_missing() {
        let empty = BootState::default();
        assert_eq!(written("servicecidr-create", Some(31), 32, &empty), []);
        assert!(matches!(written("servicecidr-create", Some(32), 34, &empty)[..], [Written::Yes(_)]));
        let there = BootState { has_service_cidr: true, ..BootState::default() };
        assert!(matches!(written("servicecidr-create", Some(33), 34, &there)[..], [Written::No(_)]));
    }

    #[test]
    fn default_roles_are_written_on_upgrades_or_if_missing() {
        let there = BootState { bootstrap_cluster_roles: 60, ..BootState::default() };
        assert!(matches!(written("rbac-roles", Some(33), 34, &there)[0], Written::OnUpgrade));
        assert!(matches!(written("rbac-roles", None, 34, &there)[0], Written::OnUpgrade));
        assert!(matches!(written("rbac-roles", Some(34), 34, &there)[0], Written::No(_)));
        assert!(matches!(written("rbac-roles", Some(34), 34, &BootState::default())[0], Written::Yes(_)));
    }
}
