//! Which requests the rules of a webhook or policy name, and which other names of the same objects count.

use crate::request::{Gvr, Request};
use serde::Deserialize;

/// `RuleWithOperations`, or a policy's `NamedRuleWithOperations`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Rule {
    #[serde(deserialize_with = "crate::null_is_default")]
    pub operations: Vec<String>,
    #[serde(deserialize_with = "crate::null_is_default")]
    pub api_groups: Vec<String>,
    #[serde(deserialize_with = "crate::null_is_default")]
    pub api_versions: Vec<String>,
    #[serde(deserialize_with = "crate::null_is_default")]
    pub resources: Vec<String>,
    /// None is `*`.
    pub scope: Option<String>,
    /// Of a policy's rule; empty is all.
    #[serde(deserialize_with = "crate::null_is_default")]
    pub resource_names: Vec<String>,
}

impl Rule {
    /// The request as if it had named its objects by `resource`.
    pub fn matches(&self, request: &Request, resource: &Gvr) -> bool {
        self.scope_matches(request, resource)
            && has(&self.operations, request.operation.as_str())
            && has(&self.api_groups, &resource.group)
            && has(&self.api_versions, &resource.version)
            && self.resources.iter().any(|wanted| resource_matches(wanted, &resource.resource, &request.subresource))
            && (self.resource_names.is_empty() || self.resource_names.contains(&request.name))
    }

    /// Namespaces belong to no namespace, though requests about them name one.
    fn scope_matches(&self, request: &Request, resource: &Gvr) -> bool {
        let is_namespace = *resource == Gvr::new("", "v1", "namespaces");
        let is_namespaced = !is_namespace && !request.namespace.is_empty();
        match self.scope.as_deref() {
            None | Some("*") => true,
            Some("Namespaced") => is_namespaced,
            Some("Cluster") => !is_namespaced,
            Some(_) => false,
        }
    }

    /// As in a message: `CREATE,UPDATE on */* of groups *`.
    pub fn describe(&self) -> String {
        let groups: Vec<&str> =
            self.api_groups.iter().map(|group| if group.is_empty() { "core" } else { group.as_str() }).collect();
        format!("{} on {} of groups {}", self.operations.join(","), self.resources.join(","), groups.join(","))
    }
}

fn has(wanted: &[String], given: &str) -> bool {
    wanted.iter().any(|wanted| wanted == "*" || wanted == given)
}

/// `pods` is pods without a subresource, `pods/*` with any or none, `*/*` everything.
fn resource_matches(wanted: &str, resource: &str, subresource: &str) -> bool {
    let (wanted, wanted_sub) = wanted.split_once('/').unwrap_or((wanted, ""));
    (wanted == "*" || wanted == resource) && (wanted_sub == "*" || wanted_sub == subresource)
}

/// A rule that names a request, and under which name of its objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleMatch {
    /// Its place in the list.
    pub rule: usize,
    /// The request's own resource, unless only an equivalent one matched.
    pub resource: Gvr,
}

/// The first rule that matches: the request's own resource by any rule, before an equivalent one (`equivalents`, in
/// order) by any.
pub(crate) fn first_match(rules: &[Rule], request: &Request, equivalents: &[Gvr]) -> Option<RuleMatch> {
    let own = rules.iter().position(|rule| rule.matches(request, &request.resource));
    if let Some(rule) = own {
        return Some(RuleMatch { rule, resource: request.resource.clone() });
    }
    rules.iter().enumerate().find_map(|(rule, candidate)| {
        let resource = equivalents.iter().find(|other| candidate.matches(request, other))?;
        Some(RuleMatch { rule, resource: resource.clone() })
    })
}

/// Versions under which an API server serves a resource, if they are more than one, or its objects have two names.
/// (group, resource, versions, first minor of 1.x, last one).
const SERVED: &[(&str, &str, &[&str], u32, u32)] = &[
    ("", "events", &["v1"], 0, u32::MAX),
    ("events.k8s.io", "events", &["v1"], 19, u32::MAX),
    ("autoscaling", "horizontalpodautoscalers", &["v1", "v2"], 23, u32::MAX),
    ("networking.k8s.io", "servicecidrs", &["v1beta1"], 31, 36),
    ("networking.k8s.io", "servicecidrs", &["v1"], 33, u32::MAX),
    ("networking.k8s.io", "ipaddresses", &["v1beta1"], 31, 36),
    ("networking.k8s.io", "ipaddresses", &["v1"], 33, u32::MAX),
    ("flowcontrol.apiserver.k8s.io", "flowschemas", &["v1beta3"], 26, 31),
    ("flowcontrol.apiserver.k8s.io", "flowschemas", &["v1"], 29, u32::MAX),
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations", &["v1beta3"], 26, 31),
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations", &["v1"], 29, u32::MAX),
];

/// The other names of a resource on an API server of release 1.`minor`: those that have the same storage.
pub(crate) fn equivalents(resource: &Gvr, minor: u32) -> Vec<Gvr> {
    let storage = kube::key::storage(&resource.group, &resource.resource);
    let served = SERVED.iter().filter(|(group, plural, _, first, last)| {
        kube::key::storage(group, plural) == storage && (*first..=*last).contains(&minor)
    });
    let all = served.flat_map(|(group, plural, versions, ..)| versions.iter().map(|v| Gvr::new(group, v, plural)));
    all.filter(|other| other != resource).collect()
}
