//! Whether a webhook is called for a request, for comparison with the API server's own matcher.

use crate::verbs::text;
use admission::{Call, Cluster, Gvr, Labels, Operation, Request, User, WebhookConfiguration, WebhookKind};
use serde_json::{Value, json};

struct Namespaces<'a>(&'a Value);

impl Cluster for Namespaces<'_> {
    fn namespace_labels(&self, name: &str) -> Labels {
        let labels = self.0[name].as_object().into_iter().flatten();
        labels.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
    }
}

/// `webhook`: one entry of a configuration; `request`: see below; `namespaces`: labels by name; `minor`: N of 1.N.
/// Answers `call` (yes, no, maybe or rejected), `why`, and the group, version and resource that a rule matched.
pub fn matches(asked: &Value) -> Result<Value, String> {
    let configuration = json!({"metadata": {"name": "judged"}, "webhooks": [asked["webhook"]]});
    let configuration = WebhookConfiguration::from_json(WebhookKind::Validating, &configuration)?;
    let webhook = configuration.webhooks.first().ok_or("no webhook")?;
    let request = request(&asked["request"])?;
    let minor = asked["minor"].as_u64().and_then(|minor| u32::try_from(minor).ok()).ok_or("no minor")?;
    let (call, why, matched) = match webhook.call(&request, &Namespaces(&asked["namespaces"]), minor) {
        Call::No(why) => ("no", why, None),
        Call::Yes(matched) => ("yes", String::new(), Some(matched.resource)),
        Call::Maybe(matched, why) => ("maybe", why, Some(matched.resource)),
        Call::Rejected(matched, why) => ("rejected", why, Some(matched.resource)),
    };
    let matched = matched.map(|matched| matched.to_string());
    Ok(json!({"call": call, "why": why, "matched": matched}))
}

fn request(asked: &Value) -> Result<Request, String> {
    let operation = match text(asked, "operation")? {
        "CREATE" => Operation::Create,
        "UPDATE" => Operation::Update,
        "DELETE" => Operation::Delete,
        "CONNECT" => Operation::Connect,
        other => return Err(format!("no operation {other}")),
    };
    let groups = asked["groups"].as_array().into_iter().flatten();
    Ok(Request {
        resource: Gvr::new(text(asked, "group")?, text(asked, "version")?, text(asked, "resource")?),
        subresource: text(asked, "subresource")?.to_owned(),
        kind: text(asked, "kind")?.to_owned(),
        namespace: text(asked, "namespace")?.to_owned(),
        name: text(asked, "name")?.to_owned(),
        operation,
        user: User {
            name: text(asked, "user")?.to_owned(),
            groups: groups.filter_map(Value::as_str).map(str::to_owned).collect(),
        },
        object: asked["object"].clone(),
        old_object: asked["oldObject"].clone(),
        object_known: true,
    })
}
