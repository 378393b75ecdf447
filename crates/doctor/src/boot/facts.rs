//! What the boot of a control plane depends on, as plain facts: they can be written to a file, and judged again from
//! it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BootFacts {
    /// Where kube-apiserver keeps its keys.
    pub prefix: String,
    /// Configurations of webhooks, policies and their bindings.
    pub admission: Vec<Stored>,
    /// Labels by namespace.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    pub services: Vec<Service>,
    /// Ready addresses, by namespace and name of the service.
    pub ready_endpoints: BTreeMap<String, usize>,
    /// Names.
    pub service_cidrs: BTreeSet<String>,
    pub ip_addresses: BTreeSet<String>,
    pub priority_classes: BTreeSet<String>,
    pub bootstrap_cluster_roles: usize,
    pub flow_schemas: usize,
    pub api_services: usize,
    /// Of kubelets: `v1.34.2`.
    pub kubelet_versions: BTreeSet<String>,
    /// Values that only kube-apiserver can read, of the resources above: how many by resource, provider and key name.
    pub encrypted: Vec<Encrypted>,
    /// Values of the resources above that are damaged.
    pub damaged: Vec<Damaged>,
    /// Keys that nothing reads, and the ones that are meant.
    pub wrong_keys: Vec<(String, String)>,
    /// Whether the source has the whole cluster, and not a few objects that somebody is going to apply.
    pub is_a_cluster: bool,
}

/// An object of admission as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    pub kind: String,
    pub key: String,
    pub mod_revision: i64,
    /// In its JSON form.
    pub object: Value,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Service {
    pub namespace: String,
    pub name: String,
    pub cluster_ips: Vec<String>,
    pub selector: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encrypted {
    pub resource: String,
    pub provider: String,
    pub key_name: String,
    pub keys: u64,
    pub example: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damaged {
    pub key: String,
    pub error: String,
}

impl BootFacts {
    /// Nothing of a cluster was there.
    pub fn is_empty(&self) -> bool {
        let unreadable = self.encrypted.is_empty() && self.damaged.is_empty();
        unreadable
            && self.namespaces.is_empty()
            && self.services.is_empty()
            && self.admission.is_empty()
            && self.kubelet_versions.is_empty()
    }

    pub fn name_of(object: &Value) -> &str {
        object["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// Cluster IPs of services that have no IPAddress.
    pub fn without_ip_address(&self) -> Vec<String> {
        let addresses = self.services.iter().flat_map(|service| &service.cluster_ips);
        addresses
            .filter(|address| !address.is_empty() && *address != "None" && !self.ip_addresses.contains(*address))
            .cloned()
            .collect()
    }

    /// Newest minor release of 1.x among kubelets.
    pub(crate) fn newest_kubelet(&self) -> Option<u32> {
        self.kubelet_versions.iter().filter_map(|version| minor(version)).max()
    }
}

/// N of `v1.N…` or `1.N…`.
pub fn minor(version: &str) -> Option<u32> {
    let rest = version.trim_start_matches('v').strip_prefix("1.")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
