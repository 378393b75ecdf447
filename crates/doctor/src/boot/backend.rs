//! Who answers a webhook: it grades a finding and never clears it, because pods that run now are not pods that answer
//! at a boot.

use super::facts::BootFacts;
use admission::{Call, Cluster, Labels, Webhook};
use serde_json::json;

pub(super) struct Namespaces<'a>(pub(super) &'a BootFacts);

impl Cluster for Namespaces<'_> {
    fn namespace_labels(&self, name: &str) -> Labels {
        let known = self.0.namespaces.get(name).cloned();
        known.unwrap_or_else(|| [("kubernetes.io/metadata.name".to_owned(), name.to_owned())].into())
    }
}

/// One sentence on where the webhook's requests go.
pub(super) fn describe(webhook: &Webhook, facts: &BootFacts) -> String {
    let Some(service) = &webhook.client_config.service else {
        let url = webhook.client_config.url.as_deref().unwrap_or("nowhere");
        return format!("backend: {url}, outside of what the store knows");
    };
    let name = format!("{}/{}", service.namespace, service.name);
    let known = facts.services.iter().any(|known| known.namespace == service.namespace && known.name == service.name);
    if !facts.is_a_cluster {
        return format!("backend: service {name}, inside the cluster");
    }
    if !known {
        return format!("backend: service {name}, which does not exist: every call fails");
    }
    match facts.ready_endpoints.get(&name) {
        None | Some(0) => format!("backend: service {name}, which has no ready endpoint: every call fails"),
        Some(ready) => {
            format!(
                "backend: service {name} with {ready} ready endpoints now; they may not answer while the API server boots"
            )
        }
    }
}

/// The webhook's own pods cannot be made again without it.
pub(super) fn is_behind_itself(webhook: &Webhook, facts: &BootFacts, minor: u32) -> bool {
    let Some(service) = &webhook.client_config.service else { return false };
    let known = facts.services.iter().find(|known| known.namespace == service.namespace && known.name == service.name);
    let labels = known.map(|known| json!(known.selector)).unwrap_or_else(|| json!({}));
    let boot = admission::bootstrap::requests(None, minor, &admission::bootstrap::BootState::default());
    let Some(pods) = boot.into_iter().find(|boot| boot.row.id == "pods") else { return false };
    let mut request = pods.request;
    request.namespace.clone_from(&service.namespace);
    request.object = json!({"metadata": {"name": "POD", "namespace": service.namespace, "labels": labels}});
    matches!(webhook.call(&request, &Namespaces(facts), minor), Call::Yes(_) | Call::Rejected(..))
}
