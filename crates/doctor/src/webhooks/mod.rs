//! Webhook configurations by their names: which key is meant, what they are, and what each request of a boot meets in
//! them.
//!
//! A validating and a mutating configuration may have the same name; where the name does not say which is meant,
//! nothing is done.

mod plan;
#[cfg(test)]
mod tests;

pub use plan::{AFTERWARDS, Action, Patch, diff, plan};

use crate::boot::{BootFacts, Releases, Stored, about_one, readable_webhooks, verdicts};
use crate::finding::{Finding, Severity};
use admission::verdict::{RowVerdict, Verdict};
use admission::{FailurePolicy, Webhook};
use bytes::Bytes;
use kube::key::{DEFAULT_PREFIX, key_of, likely_meant};
use serde_json::{Value, json};
use std::fmt::Write as _;

const GROUP: &str = "admissionregistration.k8s.io";

/// What can be named. Bindings of policies can only be deleted: they have no backend that could be passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Validating,
    Mutating,
    ValidatingPolicyBinding,
    MutatingPolicyBinding,
}

impl Kind {
    pub const ALL: [Kind; 4] =
        [Kind::Validating, Kind::Mutating, Kind::ValidatingPolicyBinding, Kind::MutatingPolicyBinding];
    /// What a name means that comes without a kind.
    const WEBHOOKS: [Kind; 2] = [Kind::Validating, Kind::Mutating];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Validating => "validating",
            Kind::Mutating => "mutating",
            Kind::ValidatingPolicyBinding => "validating-policy-binding",
            Kind::MutatingPolicyBinding => "mutating-policy-binding",
        }
    }

    pub fn find(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    fn resource(self) -> &'static str {
        match self {
            Kind::Validating => "validatingwebhookconfigurations",
            Kind::Mutating => "mutatingwebhookconfigurations",
            Kind::ValidatingPolicyBinding => "validatingadmissionpolicybindings",
            Kind::MutatingPolicyBinding => "mutatingadmissionpolicybindings",
        }
    }

    fn of_stored(stored: &Stored) -> Kind {
        if stored.kind.starts_with("Mutating") { Kind::Mutating } else { Kind::Validating }
    }
}

/// `CONFIGURATION`, or one webhook of it: `CONFIGURATION/WEBHOOK`; of one kind, if that is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub configuration: String,
    /// None: all of them.
    pub webhook: Option<String>,
    pub kind: Option<Kind>,
}

impl Target {
    pub fn parse(text: &str) -> Target {
        let (configuration, webhook) = match text.split_once('/') {
            Some((configuration, webhook)) => (configuration, Some(webhook.to_owned())),
            None => (text, None),
        };
        Target { configuration: configuration.to_owned(), webhook, kind: None }
    }

    pub fn of_kind(self, kind: Option<Kind>) -> Target {
        Target { kind, ..self }
    }

    /// Where it may lie.
    pub fn keys(&self, prefix: &str) -> Vec<Vec<u8>> {
        let one: Vec<Kind> = self.kind.into_iter().collect();
        let kinds = if one.is_empty() { &Kind::WEBHOOKS[..] } else { &one };
        kinds.iter().map(|kind| key_of(prefix, GROUP, kind.resource(), None, &self.configuration)).collect()
    }

    /// The one that is meant of all that lie at these keys.
    pub fn choose(&self, mut found: Vec<Found>) -> Result<Option<Found>, String> {
        if found.len() > 1 && self.webhook.is_some() && found.iter().any(|one| self.is_in(one)) {
            found.retain(|one| self.is_in(one));
        }
        if found.len() < 2 {
            return Ok(found.pop());
        }
        let keys: Vec<_> = found.iter().map(|one| String::from_utf8_lossy(&one.key).into_owned()).collect();
        Err(format!(
            "{} names {}: say which one by --kind validating or --kind mutating, or do both, one after the other",
            self.configuration,
            keys.join(" and ")
        ))
    }

    fn is_in(&self, found: &Found) -> bool {
        let Ok(object) = kube::decode(&found.value) else { return false };
        let mut webhooks = object.content["webhooks"].as_array().into_iter().flatten();
        webhooks.any(|webhook| webhook["name"].as_str() == self.webhook.as_deref())
    }

    fn is_meant(&self, webhook: &Webhook) -> bool {
        self.webhook.as_ref().is_none_or(|name| *name == webhook.name)
    }

    fn is_about(&self, stored: &Stored) -> bool {
        let of_kind = self.kind.is_none_or(|kind| kind == Kind::of_stored(stored));
        of_kind && BootFacts::name_of(&stored.object) == self.configuration
    }
}

/// A key as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub key: Bytes,
    pub value: Bytes,
    pub mod_revision: i64,
    pub lease: i64,
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

/// One webhook, in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub configuration: String,
    pub webhook: String,
    pub kind: Kind,
    pub fails_closed: bool,
    pub backend: String,
    /// The worst finding about it; none: it is safe.
    pub finding: Option<(&'static str, Severity)>,
    pub key: String,
    pub mod_revision: i64,
}

pub fn listed(facts: &BootFacts, releases: Releases) -> Vec<Listed> {
    let mut all = Vec::new();
    for (stored, configuration) in readable_webhooks(facts) {
        let findings = about_one(facts, stored, releases);
        for webhook in &configuration.webhooks {
            let name = format!("{}/{}", configuration.name, webhook.name);
            let about = findings.iter().filter(|finding| finding.subject.as_deref() == Some(&name));
            let worst = about.max_by_key(|finding| finding.severity);
            let backend = match (&webhook.client_config.service, &webhook.client_config.url) {
                (Some(service), _) => format!("{}/{}", service.namespace, service.name),
                (None, url) => url.clone().unwrap_or_default(),
            };
            all.push(Listed {
                configuration: configuration.name.clone(),
                webhook: webhook.name.clone(),
                kind: Kind::of_stored(stored),
                fails_closed: webhook.failure_policy == FailurePolicy::Fail,
                backend,
                finding: worst.map(|finding| (finding.id, finding.severity)),
                key: stored.key.clone(),
                mod_revision: stored.mod_revision,
            });
        }
    }
    all
}

/// A line for each webhook with what it means for a boot, and one for each configuration that cannot be read.
pub fn list(facts: &BootFacts, releases: Releases) -> String {
    let mut rows = vec![["CONFIGURATION/WEBHOOK", "KIND", "FAILS", "BACKEND", "BOOT"].map(str::to_owned)];
    rows.extend(listed(facts, releases).into_iter().map(|webhook| {
        [
            format!("{}/{}", webhook.configuration, webhook.webhook),
            webhook.kind.name().to_owned(),
            if webhook.fails_closed { "closed" } else { "open" }.to_owned(),
            webhook.backend,
            webhook.finding.map_or("safe", verdict_word).to_owned(),
        ]
    }));
    table(&rows) + &unreadable(facts).iter().map(|line| format!("{line}\n")).collect::<String>()
}

/// The list for programs; `docs/doctor.md` says what the fields are.
pub fn list_json(facts: &BootFacts, releases: Releases) -> Value {
    let webhooks: Vec<Value> = listed(facts, releases)
        .into_iter()
        .map(|webhook| {
            json!({
                "configuration": webhook.configuration,
                "webhook": webhook.webhook,
                "kind": webhook.kind.name(),
                "failurePolicy": if webhook.fails_closed { "Fail" } else { "Ignore" },
                "backend": webhook.backend,
                "finding": webhook.finding.map(|(id, _)| id),
                "severity": webhook.finding.map(|(_, severity)| crate::report::severity_name(severity)),
                "key": webhook.key,
                "modRevision": webhook.mod_revision,
            })
        })
        .collect();
    json!({"schema": crate::report::SCHEMA, "webhooks": webhooks, "unreadable": unreadable(facts)})
}

/// Configurations that nobody can judge from here: a list that left them out would look clean.
fn unreadable(facts: &BootFacts) -> Vec<String> {
    let encrypted =
        facts.encrypted.iter().filter(|encrypted| encrypted.resource.contains("webhook")).map(|encrypted| {
            format!(
                "not judged: {} {} encrypted by {} with key {:?}, for one {}",
                encrypted.keys, encrypted.resource, encrypted.provider, encrypted.key_name, encrypted.example
            )
        });
    let damaged = facts.damaged.iter().filter(|damaged| damaged.key.contains("webhookconfigurations/"));
    encrypted.chain(damaged.map(|damaged| format!("not judged: {}: {}", damaged.key, damaged.error))).collect()
}

fn verdict_word((id, severity): (&'static str, Severity)) -> &'static str {
    match (id, severity) {
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
pub fn about(facts: &BootFacts, releases: Releases, target: &Target) -> Vec<Finding> {
    let wanted = target.webhook.as_ref().map(|webhook| format!("{}/{webhook}", target.configuration));
    let stored = facts.admission.iter().filter(|stored| target.is_about(stored));
    let mut findings: Vec<Finding> = stored.flat_map(|stored| about_one(facts, stored, releases)).collect();
    findings.retain(|finding| wanted.is_none() || finding.subject == wanted);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

/// What each request of a boot meets in the webhooks that are meant, the harmless ones too, with the reason.
pub fn explain(facts: &BootFacts, releases: Releases, target: &Target) -> String {
    let mut out = String::new();
    for (stored, configuration) in readable_webhooks(facts).filter(|(stored, _)| target.is_about(stored)) {
        for webhook in configuration.webhooks.iter().filter(|webhook| target.is_meant(webhook)) {
            let kind = Kind::of_stored(stored).name();
            let _ = writeln!(out, "{kind} {}/{}, request by request:", configuration.name, webhook.name);
            verdicts(webhook, facts, releases, &mut |row| {
                let (word, why) = in_words(row);
                let _ = writeln!(out, "  {word:<14}  {}{why}", row.boot.request.describe());
            });
        }
    }
    out
}

fn in_words(row: &RowVerdict<'_>) -> (&'static str, String) {
    let by = format!(" by {}", row.boot.row.writer);
    match &row.verdict {
        Verdict::BlocksBoot => ("BLOCKS BOOT", by),
        Verdict::BlocksHealing => ("blocks healing", by),
        Verdict::MayBlock(why) => ("may block", format!("{by}: {why}")),
        Verdict::Delays { seconds } => ("delays", format!("{by}: up to {seconds} s")),
        Verdict::Degrades => ("degrades", format!("{by}: refused, logged and tried again")),
        Verdict::Safe(why) => ("safe", format!(": {why}")),
    }
}
