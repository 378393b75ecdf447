//! Webhook configurations, and whether one of their webhooks is called for a request.
//!
//! The order is Kubernetes': selectors, rules, conditions. An error in a selector counts only if a rule matched.

use crate::cel::{self, Truth, Variables};
use crate::labels::{LabelSelector, Labels};
use crate::request::{Gvr, Operation, Request, labels_of};
use crate::rules::{Rule, RuleMatch, equivalents, first_match};
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookKind {
    Validating,
    Mutating,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum FailurePolicy {
    #[default]
    Fail,
    Ignore,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookConfiguration {
    pub kind: WebhookKind,
    pub name: String,
    pub webhooks: Vec<Webhook>,
}

/// One entry of a configuration, with the defaults of v1 for what is not there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    #[serde(default)]
    pub name: String,
    #[serde(default, deserialize_with = "crate::null_is_default")]
    pub client_config: ClientConfig,
    #[serde(default, deserialize_with = "crate::null_is_default")]
    pub rules: Vec<Rule>,
    #[serde(default, deserialize_with = "crate::null_is_default")]
    pub failure_policy: FailurePolicy,
    /// `Exact`, or else `Equivalent`.
    pub match_policy: Option<String>,
    #[serde(default, deserialize_with = "crate::null_is_default")]
    pub namespace_selector: LabelSelector,
    #[serde(default, deserialize_with = "crate::null_is_default")]
    pub object_selector: LabelSelector,
    pub timeout_seconds: Option<u32>,
    #[serde(default, deserialize_with = "crate::null_is_default")]
    pub match_conditions: Vec<MatchCondition>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ClientConfig {
    pub url: Option<String>,
    pub service: Option<ServiceReference>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ServiceReference {
    pub namespace: String,
    pub name: String,
    pub path: Option<String>,
    pub port: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MatchCondition {
    pub name: String,
    pub expression: String,
}

/// What matching needs to know of the cluster.
pub trait Cluster {
    /// Of a namespace that does not exist: what it would get, its name.
    fn namespace_labels(&self, name: &str) -> Labels;
}

/// Whether a webhook is called for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Why not.
    No(String),
    Yes(RuleMatch),
    /// What cannot be known.
    Maybe(RuleMatch, String),
    /// The request fails without a call.
    Rejected(RuleMatch, String),
}

impl WebhookConfiguration {
    /// From the JSON form of an object of either kind. Fails with what is missing or of another type.
    pub fn from_json(kind: WebhookKind, object: &Value) -> Result<WebhookConfiguration, String> {
        let webhooks = match &object["webhooks"] {
            Value::Null => Vec::new(),
            list => Vec::deserialize(list).map_err(|error| format!("webhooks: {error}"))?,
        };
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        Ok(WebhookConfiguration { kind, name, webhooks })
    }
}

/// Requests that no webhook of the API ever sees, on an API server of release 1.`minor`.
pub(crate) fn exemption(request: &Request, minor: u32) -> Option<&'static str> {
    const CONFIGURATIONS: &[&str] = &["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"];
    const POLICIES: &[&str] = &["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"];
    const MUTATING: &[&str] = &["MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"];
    let (group, kind) = (request.resource.group.as_str(), request.kind.as_str());
    let own = CONFIGURATIONS.contains(&kind)
        || minor >= 30 && POLICIES.contains(&kind)
        || minor >= 32 && MUTATING.contains(&kind);
    if group == "admissionregistration.k8s.io" && own {
        return Some("admission configuration itself is never sent to webhooks");
    }
    let is_review = matches!(group, "authentication.k8s.io" | "authorization.k8s.io");
    (minor >= 37 && is_review).then_some("reviews of tokens and access are not sent to webhooks since 1.37")
}

impl Webhook {
    /// Whether an API server of release 1.`minor` calls it for this request.
    pub fn call(&self, request: &Request, cluster: &dyn Cluster, minor: u32) -> Call {
        match self.matched(request, cluster, minor) {
            Ok(matched) => self.judge_conditions(request, matched),
            Err(call) => call,
        }
    }

    /// Selectors and rules, without the conditions.
    fn matched(&self, request: &Request, cluster: &dyn Cluster, minor: u32) -> Result<RuleMatch, Call> {
        if let Some(why) = exemption(request, minor) {
            return Err(Call::No(why.to_owned()));
        }
        let namespace = namespace_selected(&self.namespace_selector, request, cluster);
        if namespace == Ok(false) {
            return Err(Call::No("the namespaceSelector leaves it out".to_owned()));
        }
        let object = object_selected(&self.object_selector, request);
        if object == Ok(false) {
            return Err(Call::No("the objectSelector leaves it out".to_owned()));
        }
        let others = if self.is_exact() { Vec::new() } else { equivalents(&request.resource, minor) };
        let Some(matched) = first_match(&self.rules, request, &others) else {
            return Err(Call::No("no rule matches it".to_owned()));
        };
        if let Err(error) = namespace.and(object) {
            return Err(Call::Rejected(matched, error));
        }
        Ok(matched)
    }

    fn is_exact(&self) -> bool {
        self.match_policy.as_deref() == Some("Exact")
    }

    /// Any false: not called. Otherwise an error fails the request, or skips the webhook if failures are ignored.
    fn judge_conditions(&self, request: &Request, matched: RuleMatch) -> Call {
        match judge(&self.match_conditions, request, &matched.resource) {
            Conditions::Hold => Call::Yes(matched),
            Conditions::False(name) => Call::No(format!("match condition {name:?} is false")),
            Conditions::Unknown(why) => Call::Maybe(matched, why),
            Conditions::Error(error) => match self.failure_policy {
                FailurePolicy::Fail => Call::Rejected(matched, error),
                FailurePolicy::Ignore => Call::No(format!("{error}, and failures are ignored")),
            },
        }
    }

    /// The beginning of what the API server logs if the call fails; the cause follows.
    pub fn failure_text(&self) -> String {
        let timeout = self.timeout_seconds.unwrap_or(TIMEOUT_SECONDS);
        let url = match (&self.client_config.service, &self.client_config.url) {
            (Some(service), _) => {
                let (port, path) = (service.port.unwrap_or(443), service.path.as_deref().unwrap_or("/"));
                let slash = if path.starts_with('/') { "" } else { "/" };
                format!("https://{}.{}.svc:{port}{slash}{path}", service.name, service.namespace)
            }
            (None, url) => url.clone().unwrap_or_default(),
        };
        format!(
            "Internal error occurred: failed calling webhook {:?}: failed to call webhook: Post \"{url}?timeout={timeout}s\": ",
            self.name
        )
    }
}

/// Of v1.
pub const TIMEOUT_SECONDS: u32 = 10;

pub(crate) enum Conditions {
    Hold,
    /// The name of the first one.
    False(String),
    Error(String),
    Unknown(String),
}

pub(crate) fn judge(conditions: &[MatchCondition], request: &Request, matched: &Gvr) -> Conditions {
    let for_cel = request.for_cel(matched);
    let variables = Variables::new(request, &for_cel);
    let (mut error, mut unknown) = (None, None);
    for MatchCondition { name, expression } in conditions {
        match cel::evaluate(expression, &variables) {
            Truth::True => {}
            Truth::False => return Conditions::False(name.clone()),
            Truth::Error(why) => error = error.or_else(|| Some(format!("match condition {name:?}: {why}"))),
            Truth::Unknown(why) => unknown = unknown.or_else(|| Some(format!("match condition {name:?}: {why}"))),
        }
    }
    match (unknown, error) {
        // If it turned out false, the error would not count.
        (Some(unknown), _) => Conditions::Unknown(unknown),
        (None, Some(error)) => Conditions::Error(error),
        (None, None) => Conditions::Hold,
    }
}

/// What belongs to no namespace is selected whatever the selector says, but for namespaces.
pub(crate) fn namespace_selected(
    selector: &LabelSelector,
    request: &Request,
    cluster: &dyn Cluster,
) -> Result<bool, String> {
    if request.namespace.is_empty() && request.resource.resource != "namespaces" {
        return Ok(true);
    }
    let is_written = matches!(request.operation, Operation::Create | Operation::Update);
    if request.resource.resource == "namespaces" && request.subresource.is_empty() && is_written {
        return selector.matches(&labels_of(&request.object));
    }
    selector.matches(&cluster.namespace_labels(&request.namespace))
}

/// The object or the one before it; without an object only an empty selector selects.
pub(crate) fn object_selected(selector: &LabelSelector, request: &Request) -> Result<bool, String> {
    if selector.is_empty() {
        return Ok(true);
    }
    let mut selected = false;
    for object in [&request.object, &request.old_object] {
        // Its rules are checked even if there is nothing to check them on.
        let matches = selector.matches(&labels_of(object))?;
        // What has no metadata, as the options of an exec, is never selected.
        selected |= object["metadata"].is_object() && matches;
    }
    Ok(selected)
}
