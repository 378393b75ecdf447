//! What admission does with a request, decided from objects alone: which webhooks see it, which policies judge it, and
//! what an API server that boots must be able to write.
//!
//! The rules are Kubernetes', release by release where they differ; real Kubernetes code is the judge in the
//! conformance tests. Everything is a pure function of JSON objects, which are hostile. What cannot be known is said,
//! never guessed. Not here: where objects come from (`kube`, `doctor`), and asking a webhook, which nobody does while
//! the API server is down.
#![forbid(unsafe_code)]

pub mod bootstrap;
pub mod cel;
mod labels;
mod policy;
mod request;
mod rules;
pub mod verdict;
mod webhook;

pub use labels::{LabelSelector, Labels, Requirement};
pub use policy::{Binding, BindingSpec, Judgement, Policy, PolicyKind, PolicySpec};
pub use request::{Gvr, Operation, Request, User};
pub use rules::{Rule, RuleMatch};
pub use webhook::{
    Call, ClientConfig, Cluster, FailurePolicy, MatchCondition, ServiceReference, TIMEOUT_SECONDS, Webhook,
    WebhookConfiguration, WebhookKind,
};

use serde::{Deserialize, Deserializer};

/// Kubernetes takes null for what is not there.
fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}
