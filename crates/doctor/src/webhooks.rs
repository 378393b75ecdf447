//! Webhook configurations by their names: what they are, and the changes that free a control plane from them.

use crate::boot::{BootFacts, Releases, findings, readable_webhooks};
use crate::change::Plan;
use crate::finding::{Finding, Severity};
use admission::bootstrap::{BootState, requests};
use admission::verdict::{NOT_THE_API_SERVER, Verdict, condition_against, of_webhook};
use admission::{Cluster, FailurePolicy, Labels, Webhook, WebhookConfiguration, WebhookKind};
use bytes::Bytes;
use kube::key::{DEFAULT_PREFIX, key_of, likely_meant};
use kube::{Edit, Encoding};
use std::fmt::Write as _;

const GROUP: &str = "admissionregistration.k8s.io";
/// Name of the match condition that `patch` adds.
pub const CONDITION_NAME: &str = "bowline-keep-bootstrap-out";

/// `CONFIGURATION`, or one webhook of it: `CONFIGURATION/WEBHOOK`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub configuration: String,
    /// None: all of them.
    pub webhook: Option<String>,
}

impl Target {
    pub fn parse(text: &str) -> Target {
        match text.split_once('/') {
            Some((configuration, webhook)) => {
                Target { configuration: configuration.to_owned(), webhook: Some(webhook.to_owned()) }
            }
            None => Target { configuration: text.to_owned(), webhook: None },
        }
    }

    fn is_meant(&self, webhook: &Webhook) -> bool {
        self.webhook.as_ref().is_none_or(|name| *name == webhook.name)
    }

    fn edits(&self, edit: impl Fn(String) -> Edit) -> Vec<Edit> {
        vec![edit(self.webhook.clone().unwrap_or_else(|| kube::edit::ALL_WEBHOOKS.to_owned()))]
    }
}

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

/// Where a configuration of this name may lie, validating ones first.
pub fn keys(prefix: &str, configuration: &str) -> [Vec<u8>; 2] {
    ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"]
        .map(|resource| key_of(prefix, GROUP, resource, None, configuration))
}

/// A key as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub key: Bytes,
    pub value: Bytes,
    pub mod_revision: i64,
    pub lease: i64,
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
                    let expression = expression(found, target, patch, releases)?;
                    target.edits(|webhook| Edit::AddMatchCondition {
                        webhook,
                        name: CONDITION_NAME.to_owned(),
                        expression: expression.clone(),
                    })
                }
                _ => target.edits(|webhook| Edit::SetFailurePolicy { webhook, policy: kube::FailurePolicy::Ignore }),
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

struct OnlyNames;
impl Cluster for OnlyNames {
    fn namespace_labels(&self, name: &str) -> Labels {
        [("kubernetes.io/metadata.name".to_owned(), name.to_owned())].into()
    }
}

/// The condition that `patch` adds. Written or not now, a request that would be blocked is kept out: another boot may make it.
fn expression(found: &Found, target: &Target, patch: Patch, releases: Releases) -> Result<String, String> {
    if patch == Patch::ApiServer {
        return Ok(NOT_THE_API_SERVER.to_owned());
    }
    let object = kube::decode(&found.value).map_err(|error| error.to_string())?;
    let kind = if object.kind.starts_with("Mutating") { WebhookKind::Mutating } else { WebhookKind::Validating };
    let configuration = WebhookConfiguration::from_json(kind, &object.content)?;
    let everything = BootState { without_ip_address: vec!["10.96.0.1".to_owned()], ..BootState::default() };
    let boots = requests(None, releases.to, &everything);
    let blocked = boots.iter().filter(|boot| {
        configuration.webhooks.iter().filter(|webhook| target.is_meant(webhook)).any(|webhook| {
            let verdict = of_webhook(webhook, boot, &OnlyNames, releases.to).verdict;
            matches!(boot.row.consequence, admission::bootstrap::Consequence::BlocksBoot { .. })
                && matches!(verdict, Verdict::BlocksBoot | Verdict::MayBlock(_))
        })
    });
    condition_against(blocked).ok_or_else(|| {
        format!(
            "{} blocks nothing that the API server writes to boot; there is nothing to keep out (--rule system-apiserver adds the \
             condition all the same)",
            target.configuration
        )
    })
}

/// That no configuration has this name, and what was meant if the name is a key.
pub fn not_found(prefix: &str, name: &str, facts: &BootFacts) -> String {
    let mut text = format!("no webhook configuration {name:?} below {prefix}");
    let wrong = facts.wrong_keys.iter().find(|(key, _)| key.ends_with(&format!("/{name}")));
    if let Some((key, meant)) = wrong {
        let _ = write!(
            text,
            "; {key} exists, but nothing reads it: deleting it deletes nothing. The API server reads {meant}"
        );
    } else if let Some(meant) = likely_meant(DEFAULT_PREFIX, name.as_bytes()) {
        let meant = String::from_utf8_lossy(&meant).into_owned();
        let _ = write!(text, "; that key is never used, the API server reads {meant}: give the name alone");
    }
    let known: Vec<&str> = facts
        .admission
        .iter()
        .filter(|stored| stored.kind.contains("Webhook"))
        .map(|stored| BootFacts::name_of(&stored.object))
        .collect();
    if !known.is_empty() {
        let _ = write!(text, "; there are {}", known.join(", "));
    }
    text
}

/// A line for each webhook, with what it means for a boot.
pub fn list(facts: &BootFacts, releases: Releases) -> String {
    let found = findings(facts, releases);
    let mut rows = vec![["CONFIGURATION/WEBHOOK", "KIND", "FAILS", "BACKEND", "BOOT"].map(str::to_owned)];
    for (stored, configuration) in readable_webhooks(facts) {
        for webhook in &configuration.webhooks {
            let name = format!("{}/{}", configuration.name, webhook.name);
            let worst = found
                .iter()
                .filter(|finding| finding.subject.as_deref() == Some(&name))
                .max_by_key(|finding| finding.severity);
            let backend = match (&webhook.client_config.service, &webhook.client_config.url) {
                (Some(service), _) => format!("{}/{}", service.namespace, service.name),
                (None, url) => url.clone().unwrap_or_default(),
            };
            rows.push([
                name,
                stored.kind.trim_end_matches("WebhookConfiguration").to_lowercase(),
                if webhook.failure_policy == FailurePolicy::Fail { "closed" } else { "open" }.to_owned(),
                backend,
                worst.map_or("safe", |finding| verdict_word(finding)).to_owned(),
            ]);
        }
    }
    table(&rows)
}

fn verdict_word(finding: &Finding) -> &'static str {
    match (finding.id, finding.severity) {
        ("webhook-blocks-boot", _) => "BLOCKS THE BOOT",
        ("webhook-blocks-healing", _) => "blocks healing",
        ("webhook-may-block", _) => "may block",
        (_, Severity::Info) => "may delay",
        _ => "see explain",
    }
}

fn table(rows: &[[String; 5]]) -> String {
    let mut out = String::new();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; 5] = std::array::from_fn(width);
    for row in rows {
        let line: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(out, "{}", line.join("  ").trim_end());
    }
    out
}

/// Findings about one configuration, or one webhook of it.
pub fn about<'a>(findings: &'a [Finding], target: &Target) -> Vec<&'a Finding> {
    let is_meant = |subject: &str| match &target.webhook {
        Some(webhook) => subject == format!("{}/{webhook}", target.configuration),
        None => subject.strip_prefix(&target.configuration).is_some_and(|rest| rest.starts_with('/')),
    };
    findings.iter().filter(|finding| finding.subject.as_deref().is_some_and(is_meant)).collect()
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
