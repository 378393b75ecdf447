//! Reads the resources that a boot depends on. What cannot be read becomes a fact, too.

use super::facts::{BootFacts, Damaged, Encrypted, Service, Stored};
use crate::source::{Entry, Result, Source, SourceKind};
use kube::key::{BuiltIn, key_of, keys_of, likely_meant};
use kube::{DecodeError, Object};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

const ADMISSION: &str = "admissionregistration.k8s.io";
/// Kinds of the admission group, by their plurals.
const KINDS: &[&str] = &[
    "validatingwebhookconfigurations",
    "mutatingwebhookconfigurations",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
];

pub fn collect(source: &mut dyn Source, prefix: &str) -> Result<BootFacts> {
    let is_a_cluster = source.info().kind != SourceKind::Manifests;
    let mut collector =
        Collector { facts: BootFacts { prefix: prefix.to_owned(), is_a_cluster, ..BootFacts::default() }, source };
    for resource in KINDS {
        let kind = BuiltIn::find(ADMISSION, resource).map_or("", |known| known.kind);
        collector.objects(ADMISSION, resource, |facts, entry, object| {
            // What is of no kind that is judged must not look like nothing at all.
            if object.kind != kind {
                let error = format!("the value is a {:?}, not a {kind}", object.kind);
                return facts.damaged.push(Damaged { key: text(&entry.key), error });
            }
            facts.admission.push(Stored {
                kind: object.kind.clone(),
                key: text(&entry.key),
                mod_revision: entry.mod_revision,
                object: object.content,
            });
        })?;
    }
    collector.cluster()?;
    collector.counts()?;
    collector.wrong_keys()?;
    Ok(collector.facts)
}

struct Collector<'a> {
    source: &'a mut dyn Source,
    facts: BootFacts,
}

impl Collector<'_> {
    /// Every readable object of a resource; the others are noted.
    fn objects(
        &mut self,
        group: &str,
        resource: &str,
        mut take: impl FnMut(&mut BootFacts, &Entry, Object),
    ) -> Result<()> {
        let Collector { source, facts } = self;
        source.range(&keys_of(&facts.prefix, group, resource), &mut |entry| {
            match kube::decode(&entry.value) {
                Ok(object) => take(facts, entry, object),
                Err(error) => note_unreadable(facts, resource, entry, error),
            }
            ControlFlow::Continue(())
        })
    }

    fn cluster(&mut self) -> Result<()> {
        self.objects("", "namespaces", |facts, _, object| {
            let mut labels: BTreeMap<_, _> =
                object.labels().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            // The API server sets it on whatever it serves.
            labels.insert("kubernetes.io/metadata.name".to_owned(), object.name().to_owned());
            facts.namespaces.insert(object.name().to_owned(), labels);
        })?;
        self.objects("", "services", |facts, _, object| {
            let spec = &object.content["spec"];
            let mut cluster_ips = texts(&spec["clusterIPs"]);
            if cluster_ips.is_empty() {
                cluster_ips.extend(spec["clusterIP"].as_str().map(str::to_owned));
            }
            let selector = spec["selector"].as_object().into_iter().flatten();
            let selector = selector.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
            facts.services.push(Service {
                namespace: object.namespace().to_owned(),
                name: object.name().to_owned(),
                cluster_ips,
                selector: selector.collect(),
            });
        })?;
        self.objects("discovery.k8s.io", "endpointslices", |facts, _, object| {
            let Some((_, service)) = object.labels().find(|(name, _)| *name == "kubernetes.io/service-name") else {
                return;
            };
            let endpoints = object.content["endpoints"].as_array().into_iter().flatten();
            // Not said is ready.
            let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] != Value::Bool(false)).count();
            *facts.ready_endpoints.entry(format!("{}/{service}", object.namespace())).or_default() += ready;
        })?;
        self.objects("", "nodes", |facts, _, object| {
            if let Some(version) = object.content["status"]["nodeInfo"]["kubeletVersion"].as_str() {
                facts.kubelet_versions.insert(version.to_owned());
            }
        })?;
        self.objects("rbac.authorization.k8s.io", "clusterroles", |facts, _, object| {
            let bootstrapped = object.labels().any(|label| label == ("kubernetes.io/bootstrapping", "rbac-defaults"));
            facts.bootstrap_cluster_roles += usize::from(bootstrapped);
        })
    }

    /// Resources of which it matters only whether they are there.
    fn counts(&mut self) -> Result<()> {
        self.names("networking.k8s.io", "servicecidrs", |facts, name| {
            facts.service_cidrs.insert(name);
        })?;
        self.names("networking.k8s.io", "ipaddresses", |facts, name| {
            facts.ip_addresses.insert(name);
        })?;
        self.names("scheduling.k8s.io", "priorityclasses", |facts, name| {
            facts.priority_classes.insert(name);
        })?;
        self.names("flowcontrol.apiserver.k8s.io", "flowschemas", |facts, _| facts.flow_schemas += 1)?;
        self.names("apiregistration.k8s.io", "apiservices", |facts, _| facts.api_services += 1)
    }

    fn names(&mut self, group: &str, resource: &str, mut take: impl FnMut(&mut BootFacts, String)) -> Result<()> {
        let Collector { source, facts } = self;
        let begin = keys_of(&facts.prefix, group, resource);
        source.keys(&begin, &mut |entry| {
            take(facts, text(entry.key.get(begin.len()..).unwrap_or_default()));
            ControlFlow::Continue(())
        })
    }

    /// Where many texts say that webhook configurations are.
    fn wrong_keys(&mut self) -> Result<()> {
        let Collector { source, facts } = self;
        let begin = key_of(&facts.prefix, "", ADMISSION, None, "");
        source.keys(&begin, &mut |entry| {
            if let Some(meant) = likely_meant(&facts.prefix, &entry.key) {
                facts.wrong_keys.push((text(&entry.key), text(&meant)));
            }
            ControlFlow::Continue(())
        })
    }
}

fn note_unreadable(facts: &mut BootFacts, resource: &str, entry: &Entry, error: DecodeError) {
    let key = text(&entry.key);
    let DecodeError::Encrypted { provider, key_name } = error else {
        facts.damaged.push(Damaged { key, error: error.to_string() });
        return;
    };
    let known = facts
        .encrypted
        .iter_mut()
        .find(|known| known.resource == resource && known.provider == provider && known.key_name == key_name);
    match known {
        Some(known) => known.keys += 1,
        None => {
            let resource = resource.to_owned();
            facts.encrypted.push(Encrypted { resource, provider, key_name, keys: 1, example: key });
        }
    }
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
