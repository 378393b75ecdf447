//! The change that frees a control plane from a configuration, made of the bytes that were found; nothing is sent from
//! here.

use super::{Found, Target};
use crate::boot::{NEWEST_MINOR, Releases};
use crate::change::Plan;
use admission::bootstrap::{BootRequest, BootState, Consequence, requests};
use admission::verdict::{NOT_THE_API_SERVER, Verdict, condition_against, of_webhook};
use admission::{Cluster, Labels, WebhookConfiguration, WebhookKind};
use bytes::Bytes;
use kube::{Edit, Encoding};

/// Name of the match condition that `patch` adds.
pub(crate) const CONDITION_NAME: &str = "bowline-keep-bootstrap-out";
/// Match conditions are served by default since this release; before, the API server drops them unread.
const MATCH_CONDITIONS_MINOR: u32 = 28;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patch {
    /// Only what the webhook would block of a boot.
    Minimal,
    /// Everything that the API server itself writes.
    ApiServer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// `failurePolicy: Ignore`.
    Disable,
    Patch(Patch),
    Delete,
}

/// The change of a configuration that was found. `releases` decide what of a boot is blocked.
pub fn plan(found: &Found, target: &Target, action: Action, releases: Releases) -> Result<Plan, String> {
    let name = String::from_utf8_lossy(&found.key).into_owned();
    let after = match action {
        // Deleting needs no reading: it is the way out for what cannot be read.
        Action::Delete if target.webhook.is_some() => {
            return Err(format!(
                "delete removes a whole configuration, not one webhook of it; for that: disable {}/{}",
                target.configuration,
                target.webhook.as_deref().unwrap_or_default()
            ));
        }
        Action::Delete => None,
        Action::Disable | Action::Patch(_) => {
            refuse_encrypted(found, &name)?;
            let edits = match action {
                Action::Patch(patch) => {
                    refuse_unread(target, releases)?;
                    let expression = expression(found, target, patch, releases)?;
                    edits(target, |webhook| Edit::AddMatchCondition {
                        webhook,
                        name: CONDITION_NAME.to_owned(),
                        expression: expression.clone(),
                    })
                }
                _ => edits(target, |webhook| Edit::SetFailurePolicy { webhook, policy: kube::FailurePolicy::Ignore }),
            };
            let after = kube::edit::apply(&found.value, &edits).map_err(|error| format!("{name}: {error}"))?;
            if after == found.value {
                return Err(format!("{name} is already so; nothing is to be changed"));
            }
            Some(Bytes::from(after))
        }
    };
    let verb = match action {
        Action::Disable => "disable",
        Action::Patch(_) => "patch",
        Action::Delete => "delete",
    };
    let webhook = target.webhook.as_ref().map_or(String::new(), |webhook| format!("/{webhook}"));
    Ok(Plan {
        what: format!("{verb} {}{webhook}", target.configuration),
        key: found.key.clone(),
        mod_revision: found.mod_revision,
        lease: found.lease,
        before: Some(found.value.clone()),
        after,
    })
}

fn edits(target: &Target, edit: impl Fn(String) -> Edit) -> Vec<Edit> {
    vec![edit(target.webhook.clone().unwrap_or_else(|| kube::edit::ALL_WEBHOOKS.to_owned()))]
}

fn refuse_encrypted(found: &Found, name: &str) -> Result<(), String> {
    match kube::encoding(&found.value) {
        Encoding::Encrypted { provider, key_name } => Err(format!(
            "{name} is encrypted by {provider} with key {key_name:?} and cannot be edited from here. The ways out: delete it \
             (bowline doctor webhooks delete NAME --yes; its owner makes it again, and undo brings it back), or start the API server \
             with --disable-admission-plugins=ValidatingAdmissionWebhook,MutatingAdmissionWebhook and change it there"
        )),
        _ => Ok(()),
    }
}

/// Before that release the API server would drop the condition unread.
fn refuse_unread(target: &Target, releases: Releases) -> Result<(), String> {
    if releases.to >= MATCH_CONDITIONS_MINOR {
        return Ok(());
    }
    Err(format!(
        "Kubernetes 1.{} does not know match conditions (1.{MATCH_CONDITIONS_MINOR} does): bowline doctor webhooks disable {}",
        releases.to, target.configuration
    ))
}

struct OnlyNames;
impl Cluster for OnlyNames {
    fn namespace_labels(&self, name: &str) -> Labels {
        [("kubernetes.io/metadata.name".to_owned(), name.to_owned())].into()
    }
}

/// The condition that `patch` adds. Written or not now, a request that would be blocked is kept out: another boot may
/// make it, also that of a later release, for which the patch will still be there.
fn expression(found: &Found, target: &Target, patch: Patch, releases: Releases) -> Result<String, String> {
    if patch == Patch::ApiServer {
        return Ok(NOT_THE_API_SERVER.to_owned());
    }
    let object = kube::decode(&found.value).map_err(|error| error.to_string())?;
    let kind = if object.kind.starts_with("Mutating") { WebhookKind::Mutating } else { WebhookKind::Validating };
    let configuration = WebhookConfiguration::from_json(kind, &object.content)?;
    let everything = BootState { without_ip_address: vec!["10.96.0.1".to_owned()], ..BootState::default() };
    let minors = [releases.to, NEWEST_MINOR.max(releases.to)];
    let boots: Vec<_> = minors
        .iter()
        .flat_map(|minor| requests(None, *minor, &everything).into_iter().map(move |boot| (*minor, boot)))
        .collect();
    let is_blocked = |minor: u32, boot: &BootRequest| {
        matches!(boot.row.consequence, Consequence::BlocksBoot { .. })
            && configuration.webhooks.iter().filter(|webhook| target.is_meant(webhook)).any(|webhook| {
                let verdict = of_webhook(webhook, boot, &OnlyNames, minor).verdict;
                matches!(verdict, Verdict::BlocksBoot | Verdict::MayBlock(_))
            })
    };
    let blocked = boots.iter().filter(|(minor, boot)| is_blocked(*minor, boot)).map(|(_, boot)| boot);
    condition_against(blocked).ok_or_else(|| {
        format!(
            "{} blocks nothing that the API server writes to boot; there is nothing to keep out (--rule system-apiserver adds the \
             condition all the same)",
            target.configuration
        )
    })
}

/// What changes, line by line, in the JSON form of the object.
pub fn diff(plan: &Plan) -> String {
    let shown = |value: &Option<Bytes>| -> String {
        let Some(value) = value else { return String::new() };
        match kube::decode(value) {
            Ok(object) => format!("{:#}\n", without_noise(object.content)),
            Err(error) => format!("({} bytes: {error})\n", value.len()),
        }
    };
    let (before, after) = (shown(&plan.before), shown(&plan.after));
    let seen = format!("{} at revision {}", String::from_utf8_lossy(&plan.key), plan.mod_revision);
    let then = if plan.after.is_some() { "after the change" } else { "deleted" };
    similar::TextDiff::from_lines(&before, &after).unified_diff().context_radius(AROUND).header(&seen, then).to_string()
}

/// Lines shown around a difference.
const AROUND: usize = 3;

/// Who wrote which field when is kept, and not worth reading.
fn without_noise(mut object: serde_json::Value) -> serde_json::Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    for webhook in object["webhooks"].as_array_mut().into_iter().flatten() {
        if let Some(config) = webhook["clientConfig"].as_object_mut()
            && config.contains_key("caBundle")
        {
            config.insert("caBundle".to_owned(), "…".into());
        }
    }
    object
}

/// What to expect after a change.
pub const AFTERWARDS: &str = "An API server that loops in its boot learns of it through its watch and goes on within about a second; it need not be \
restarted. One that died of a hook (30, 60 or 300 s) boots at its next restart. The configuration's owner may write its own version again once it \
runs: change it there, too.";
