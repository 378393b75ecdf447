//! From facts to findings. Each rule has an id of its own; `explain` says what it means at length.

use super::backend::{Namespaces, describe, is_behind_itself};
use super::facts::{BootFacts, Stored};
use crate::finding::{Finding, Severity};
use admission::bootstrap::{BootRequest, BootState, Consequence, requests};
use admission::verdict::{NOT_THE_API_SERVER, RowVerdict, Verdict, condition_against, of_policy, of_webhook};
use admission::{Binding, FailurePolicy, Policy, PolicyKind, Webhook, WebhookConfiguration, WebhookKind};

/// ServiceCIDR and IPAddress are written by the API server itself since this release.
const SERVICE_CIDR_MINOR: u32 = 33;
/// What is assumed if neither nodes nor flags say which release is run.
pub(crate) const NEWEST_MINOR: u32 = 36;
/// Parts of names, and what is known of their makers.
const VENDORS: &[(&str, &str)] = &[
    (
        "kyverno",
        "Kyverno makes this configuration again whenever it runs and its policies change; --excludeBootstrapResources (1.19, off by \
         default) leaves out nodes and certificatesigningrequests only, not what the API server writes",
    ),
    (
        "gatekeeper",
        "Gatekeeper's check-ignore-label webhook on namespaces fails closed by default; its validation webhook fails open",
    ),
    (
        "cert-manager",
        "cert-manager's webhook fails closed on its own kinds; on others its rules were changed by somebody",
    ),
    ("istio", "Istio's injector fails closed on pods: leave out kube-system, and where istiod runs"),
    ("linkerd", "Linkerd's injector must leave out its own namespace and kube-system; in its HA mode it fails closed"),
];
/// Requests named in one finding.
const EVIDENCE_MAX: usize = 6;

/// Which release left the store, and which is to boot on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Releases {
    pub from: Option<u32>,
    pub to: u32,
}

impl Releases {
    /// As given, or else what kubelets run: an API server is not older than they are.
    pub fn of(facts: &BootFacts, from: Option<u32>, to: Option<u32>) -> Releases {
        let from = from.or_else(|| facts.newest_kubelet());
        Releases { from, to: to.or(from).unwrap_or(NEWEST_MINOR) }
    }

    fn describe(self) -> String {
        match self.from {
            Some(from) if from == self.to => format!("a boot of 1.{}", self.to),
            Some(from) => format!("an upgrade from 1.{from} to 1.{}", self.to),
            None => format!("a boot of 1.{}", self.to),
        }
    }
}

/// All findings about the boot, the worst first.
pub fn findings(facts: &BootFacts, releases: Releases) -> Vec<Finding> {
    let boots = boot_requests(facts, releases);
    let mut findings = Vec::new();
    if facts.is_a_cluster && facts.is_empty() {
        findings.push(no_cluster(facts));
    }
    for stored in &facts.admission {
        if let Some(kind) = webhook_kind(&stored.kind) {
            of_configuration(kind, stored, facts, releases, &boots, &mut findings);
        }
    }
    policies(facts, releases, &boots, &mut findings);
    missing(facts, releases, &mut findings);
    unreadable(facts, &mut findings);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

/// What the API server and the cluster will ask for, from what is there.
fn boot_requests(facts: &BootFacts, releases: Releases) -> Vec<BootRequest> {
    let state = BootState {
        has_service_cidr: facts.service_cidrs.contains("kubernetes"),
        without_ip_address: facts.without_ip_address(),
        priority_classes: facts.priority_classes.iter().cloned().collect(),
        namespaces: facts.namespaces.keys().cloned().collect(),
        bootstrap_cluster_roles: facts.bootstrap_cluster_roles,
        flow_schemas: facts.flow_schemas,
        api_services: facts.api_services,
    };
    requests(releases.from, releases.to, &state)
}

/// Findings about one stored configuration of webhooks.
pub(crate) fn about_one(facts: &BootFacts, stored: &Stored, releases: Releases) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(kind) = webhook_kind(&stored.kind) {
        of_configuration(kind, stored, facts, releases, &boot_requests(facts, releases), &mut findings);
    }
    findings
}

/// Shows what each request meets in a webhook.
pub fn verdicts(webhook: &Webhook, facts: &BootFacts, releases: Releases, show: &mut dyn FnMut(&RowVerdict<'_>)) {
    for boot in &boot_requests(facts, releases) {
        show(&of_webhook(webhook, boot, &Namespaces(facts), releases.to));
    }
}

pub(crate) fn webhook_kind(kind: &str) -> Option<WebhookKind> {
    match kind {
        "ValidatingWebhookConfiguration" => Some(WebhookKind::Validating),
        "MutatingWebhookConfiguration" => Some(WebhookKind::Mutating),
        _ => None,
    }
}

/// Each stored configuration with what could be read of it.
pub(crate) fn readable_webhooks(facts: &BootFacts) -> impl Iterator<Item = (&Stored, WebhookConfiguration)> {
    facts.admission.iter().filter_map(|stored| {
        let kind = webhook_kind(&stored.kind)?;
        Some((stored, WebhookConfiguration::from_json(kind, &stored.object).ok()?))
    })
}

fn of_configuration(
    kind: WebhookKind,
    stored: &Stored,
    facts: &BootFacts,
    releases: Releases,
    boots: &[BootRequest],
    findings: &mut Vec<Finding>,
) {
    let configuration = match WebhookConfiguration::from_json(kind, &stored.object) {
        Ok(configuration) => configuration,
        Err(error) => return findings.push(damaged(&stored.key, &error)),
    };
    for webhook in &configuration.webhooks {
        let verdicts: Vec<_> =
            boots.iter().map(|boot| of_webhook(webhook, boot, &Namespaces(facts), releases.to)).collect();
        let subject = Subject { stored, configuration: &configuration, webhook, facts, releases };
        subject.report(&verdicts, findings);
        if webhook.failure_policy == FailurePolicy::Fail && is_behind_itself(webhook, facts, releases.to) {
            findings.push(subject.behind_itself());
        }
    }
}

/// A webhook in its configuration.
struct Subject<'a> {
    stored: &'a Stored,
    configuration: &'a WebhookConfiguration,
    webhook: &'a Webhook,
    facts: &'a BootFacts,
    releases: Releases,
}

impl Subject<'_> {
    /// One finding for each degree of trouble, so that the worst is not hidden in a list.
    fn report(&self, verdicts: &[RowVerdict<'_>], findings: &mut Vec<Finding>) {
        let of = |wanted: fn(&Verdict) -> bool| -> Vec<&RowVerdict<'_>> {
            verdicts.iter().filter(|row| wanted(&row.verdict)).collect()
        };
        let boot = of(|verdict| *verdict == Verdict::BlocksBoot);
        if let Some(worst) = boot.first() {
            findings.push(self.blocks_boot(&boot, worst));
        }
        let healing = of(|verdict| *verdict == Verdict::BlocksHealing);
        if !healing.is_empty() {
            findings.push(self.blocks_healing(&healing));
        }
        let may = of(|verdict| matches!(verdict, Verdict::MayBlock(_)));
        if !may.is_empty() {
            findings.push(self.may_block(&may));
        }
        let delays = of(|verdict| matches!(verdict, Verdict::Delays { .. }));
        let boot_delays = delays.iter().filter(|row| is_boot(row)).count();
        if boot_delays > 0 {
            findings.push(self.delays(&delays, boot_delays));
        }
    }

    fn name(&self) -> String {
        format!("{}/{}", self.configuration.name, self.webhook.name)
    }

    fn evidence(&self, rows: &[&RowVerdict<'_>]) -> Vec<String> {
        let mut evidence = vec![
            format!("key {} at revision {}", self.stored.key, self.stored.mod_revision),
            describe(self.webhook, self.facts),
        ];
        evidence.extend(rows.iter().take(EVIDENCE_MAX).map(|row| {
            let rule = row.rule.and_then(|rule| Some((rule, self.webhook.rules.get(rule)?)));
            let rule = rule.map_or(String::new(), |(place, rule)| format!("; rule {}: {}", place + 1, rule.describe()));
            format!("{} by {}{rule}", row.boot.request.describe(), row.boot.row.writer)
        }));
        if rows.len() > EVIDENCE_MAX {
            evidence.push(format!("and {} more requests", rows.len() - EVIDENCE_MAX));
        }
        evidence
    }

    fn blocks_boot(&self, rows: &[&RowVerdict<'_>], worst: &RowVerdict<'_>) -> Finding {
        let writer = worst.boot.row.writer;
        let dies = match worst.boot.row.consequence {
            Consequence::BlocksBoot { dies_after_s: Some(0) } => "ends at once".to_owned(),
            Consequence::BlocksBoot { dies_after_s: Some(seconds) } => format!("ends after {seconds} s"),
            _ => "is never ready, and its startup probe ends it after minutes, again and again".to_owned(),
        };
        let mut evidence = self.evidence(rows);
        evidence.extend(self.vendor().map(str::to_owned));
        evidence.push(format!("the API server will log: {}…", self.webhook.failure_text()));
        evidence.push(format!("and /readyz?verbose: [-]poststarthook/{writer} failed"));
        let name = self.name();
        Finding {
            id: "webhook-blocks-boot",
            severity: Severity::Blocking,
            title: format!("webhook {name} blocks the boot of the API server"),
            subject: Some(name.clone()),
            what: format!(
                "In {} the API server sends {} to this webhook before it is ready, and the webhook fails closed. The API server {dies}.",
                self.releases.describe(),
                worst.boot.request.describe(),
            ),
            evidence,
            why: format!(
                "{}. kubectl cannot help: the API server that would take the change is the one that does not boot.",
                capital(worst.boot.row.why)
            ),
            fix: self.fixes(rows),
        }
    }

    /// What is known of who makes configurations of this name.
    fn vendor(&self) -> Option<&'static str> {
        let service = self.webhook.client_config.service.as_ref().map_or("", |service| service.name.as_str());
        let names = [self.configuration.name.as_str(), self.webhook.name.as_str(), service];
        let made_by = |vendor: &&(&str, &str)| names.iter().any(|name| name.contains(vendor.0));
        VENDORS.iter().find(made_by).map(|(_, known)| *known)
    }

    /// What the command that does it is called with.
    fn command(&self, verb: &str, name: &str) -> String {
        let name_of = |stored: &&Stored| BootFacts::name_of(&stored.object) == self.configuration.name;
        let named_so =
            self.facts.admission.iter().filter(|stored| webhook_kind(&stored.kind).is_some()).filter(name_of);
        let kind = match webhook_kind(&self.stored.kind) {
            Some(WebhookKind::Mutating) => " --kind mutating",
            _ => " --kind validating",
        };
        let kind = if named_so.count() > 1 { kind } else { "" };
        format!("bowline doctor webhooks {verb} {name}{kind} --yes")
    }

    fn fixes(&self, rows: &[&RowVerdict<'_>]) -> Vec<String> {
        let name = self.name();
        let mut fix = vec![
            self.command("patch", &name),
            self.command("disable", &name),
            self.command("delete", &self.configuration.name),
        ];
        if let Some(condition) = condition_against(rows.iter().map(|row| row.boot)) {
            fix.push(format!("for good, in the webhook's own configuration, a match condition: {condition}"));
            fix.push(format!("or the one line for all of a boot: {NOT_THE_API_SERVER}"));
        }
        fix
    }

    fn blocks_healing(&self, rows: &[&RowVerdict<'_>]) -> Finding {
        let name = self.name();
        let external = self.webhook.client_config.service.is_none();
        let (severity, whose) = if external {
            (Severity::Warning, "Its backend is outside the cluster; if that is down, nothing comes back.")
        } else {
            (Severity::Critical, "Its backend is inside the cluster, so after a full stop it waits for what it blocks.")
        };
        let mut reasons: Vec<&str> = rows.iter().map(|row| row.boot.row.why).collect();
        reasons.dedup();
        let mut evidence = self.evidence(rows);
        evidence.extend(self.vendor().map(str::to_owned));
        Finding {
            id: "webhook-blocks-healing",
            severity,
            title: format!("webhook {name} blocks nodes and pods from coming back"),
            subject: Some(name.clone()),
            what: format!("{} requests that nodes and controllers must make after a full stop go to this webhook, and it fails closed. {whose}", rows.len()),
            evidence,
            why: format!("{}.", capital(&reasons.into_iter().take(3).collect::<Vec<_>>().join("; "))),
            fix: vec![
                "leave kube-system, and the webhook's own namespace, out by its namespaceSelector".to_owned(),
                "leave nodes, leases and certificatesigningrequests out of its rules: no namespaceSelector applies to nodes".to_owned(),
                format!("if the cluster is down now: {}", self.command("disable", &name)),
            ],
        }
    }

    fn may_block(&self, rows: &[&RowVerdict<'_>]) -> Finding {
        let name = self.name();
        let why = rows.iter().find_map(|row| match &row.verdict {
            Verdict::MayBlock(why) => Some(why.as_str()),
            _ => None,
        });
        let blocks_boot = rows.iter().any(|row| is_boot(row));
        Finding {
            id: "webhook-may-block",
            severity: Severity::Warning,
            title: format!("webhook {name} may block {}", if blocks_boot { "the boot" } else { "healing" }),
            subject: Some(name.clone()),
            what: format!(
                "Requests of {} may go to this webhook, which fails closed. Not certain: {}.",
                self.releases.describe(),
                why.unwrap_or_default()
            ),
            evidence: self.evidence(rows),
            why: "if it is certain in your case, the API server does not boot; look before the upgrade, not after it"
                .to_owned(),
            fix: self.fixes(rows),
        }
    }

    fn delays(&self, rows: &[&RowVerdict<'_>], boot: usize) -> Finding {
        let name = self.name();
        let seconds = self.webhook.timeout_seconds.unwrap_or(admission::TIMEOUT_SECONDS);
        Finding {
            id: "webhook-delays-boot",
            severity: Severity::Info,
            title: format!("webhook {name} can delay a boot"),
            subject: Some(name.clone()),
            what: format!(
                "{boot} kinds of requests of a boot go to this webhook. It fails open, but if its backend hangs, each waits {seconds} s."
            ),
            evidence: self.evidence(rows),
            why: "hooks that end after 30 or 60 seconds may not get through; a backend that answers \"no\" refuses all the same".to_owned(),
            fix: vec![format!("a match condition: {NOT_THE_API_SERVER}")],
        }
    }

    fn behind_itself(&self) -> Finding {
        let name = self.name();
        Finding {
            id: "webhook-behind-itself",
            severity: Severity::Warning,
            title: format!("webhook {name} must approve its own pods"),
            subject: Some(name.clone()),
            what: "The pods that answer it are made by requests that go to it, and it fails closed.".to_owned(),
            evidence: self.evidence(&[]),
            why: "once all its pods are gone, no new one can be made: the webhook waits for itself".to_owned(),
            fix: vec!["leave its own namespace out by its namespaceSelector".to_owned()],
        }
    }
}

fn is_boot(row: &RowVerdict<'_>) -> bool {
    matches!(row.boot.row.consequence, Consequence::BlocksBoot { .. })
}

fn policies(facts: &BootFacts, releases: Releases, boots: &[BootRequest], findings: &mut Vec<Finding>) {
    for (kind, of_policies, of_bindings) in [
        (PolicyKind::Validating, "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"),
        (PolicyKind::Mutating, "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"),
    ] {
        for stored in facts.admission.iter().filter(|stored| stored.kind == of_policies) {
            let policy = match Policy::from_json(kind, &stored.object) {
                Ok(policy) => policy,
                Err(error) => {
                    findings.push(damaged(&stored.key, &error));
                    continue;
                }
            };
            let bindings = facts.admission.iter().filter(|stored| stored.kind == of_bindings);
            let bindings = bindings.filter_map(|stored| Binding::from_json(kind, &stored.object).ok());
            for binding in bindings.filter(|binding| binding.spec.policy_name == policy.name) {
                let verdicts: Vec<_> = boots
                    .iter()
                    .map(|boot| of_policy(&policy, &binding, boot, &Namespaces(facts), releases.to, None))
                    .collect();
                findings.extend(of_binding(stored, &policy, &binding, &verdicts));
            }
        }
    }
}

fn of_binding(stored: &Stored, policy: &Policy, binding: &Binding, verdicts: &[RowVerdict<'_>]) -> Option<Finding> {
    let worst = verdicts.iter().map(|row| &row.verdict).min()?;
    let kind = if stored.kind.starts_with("Mutating") { "mutating" } else { "validating" };
    let (id, severity, how) = match worst {
        Verdict::BlocksBoot => {
            ("policy-blocks-boot", Severity::Blocking, "refuses what the API server must write to boot")
        }
        Verdict::BlocksHealing => {
            ("policy-blocks-healing", Severity::Critical, "refuses what nodes and controllers must write to come back")
        }
        Verdict::MayBlock(_) => ("policy-may-block", Severity::Warning, "may refuse what a boot or healing must write"),
        Verdict::Delays { .. } | Verdict::Degrades | Verdict::Safe(_) => return None,
    };
    let rows = verdicts.iter().filter(|row| row.verdict == *worst);
    let mut evidence =
        vec![format!("key {} at revision {}", stored.key, stored.mod_revision), format!("bound by {}", binding.name)];
    evidence.extend(
        rows.take(EVIDENCE_MAX).map(|row| format!("{} by {}", row.boot.request.describe(), row.boot.row.writer)),
    );
    if let Verdict::MayBlock(why) = worst {
        evidence.push(format!("not certain: {why}"));
    }
    Some(Finding {
        id,
        severity,
        title: format!("admission policy {} {how}", policy.name),
        subject: Some(policy.name.clone()),
        what: format!(
            "The policy's rules cover these requests, its binding {} denies, and it needs no backend to do so.",
            binding.name
        ),
        evidence,
        why: "it is evaluated in the API server itself, before that is ready".to_owned(),
        fix: vec![
            format!(
                "if the API server does not boot: bowline doctor webhooks delete {} --kind {kind}-policy-binding --yes",
                binding.name
            ),
            format!("exclude the API server by a match condition of the policy: {NOT_THE_API_SERVER}"),
            "or change validationActions of the binding to [\"Warn\", \"Audit\"]".to_owned(),
        ],
    })
}

/// Objects that an API server of the release to boot will write, and that are not there.
fn missing(facts: &BootFacts, releases: Releases, findings: &mut Vec<Finding>) {
    // A store without namespaces is no cluster's, or not yet.
    if !facts.is_a_cluster || facts.namespaces.is_empty() || releases.to < SERVICE_CIDR_MINOR {
        return;
    }
    let was = releases.from.is_some_and(|from| from >= SERVICE_CIDR_MINOR);
    let severity = if was { Severity::Warning } else { Severity::Info };
    if !facts.service_cidrs.contains("kubernetes") {
        findings.push(Finding {
            id: "servicecidr-missing",
            severity,
            title: "the ServiceCIDR \"kubernetes\" is missing: the next boot must create it".to_owned(),
            subject: None,
            what: format!(
                "In {} the API server creates networking.k8s.io/v1 servicecidrs \"kubernetes\" before it is ready.",
                releases.describe()
            ),
            evidence: vec![format!("no key {}/servicecidrs/kubernetes", facts.prefix)],
            why: "this is the first write that a webhook can refuse for ever; webhooks that do are separate findings"
                .to_owned(),
            fix: vec!["nothing, if no webhook or policy is found to block it".to_owned()],
        });
    }
    let without = facts.without_ip_address();
    if let Some(first) = without.first() {
        findings.push(Finding {
            id: "ipaddress-missing",
            severity,
            title: format!("{} service addresses have no IPAddress: the next boot must create them", without.len()),
            subject: None,
            what: "The API server repairs them within 60 seconds of its start, or ends itself.".to_owned(),
            evidence: vec![format!("for one, no key {}/ipaddresses/{first}", facts.prefix)],
            why: "a webhook that refuses one of them ends the API server".to_owned(),
            fix: vec!["nothing, if no webhook or policy is found to block it".to_owned()],
        });
    }
}

/// Without this, a wrong prefix would look like a healthy cluster.
fn no_cluster(facts: &BootFacts) -> Finding {
    Finding {
        id: "no-cluster",
        severity: Severity::Critical,
        title: format!("no Kubernetes cluster below {}", facts.prefix),
        subject: None,
        what: format!("There are no namespaces, nodes, services or webhook configurations below {}.", facts.prefix),
        evidence: vec![format!("no key begins with {}/namespaces/", facts.prefix)],
        why: "nothing can be said about a control plane whose objects are not seen".to_owned(),
        fix: vec![
            "give kube-apiserver's --etcd-prefix: bowline doctor --prefix /kubernetes.io".to_owned(),
            "look whether this is the store that kube-apiserver's --etcd-servers names".to_owned(),
        ],
    }
}

fn unreadable(facts: &BootFacts, findings: &mut Vec<Finding>) {
    for encrypted in &facts.encrypted {
        let hides = encrypted.resource.contains("webhook") || encrypted.resource.contains("admissionpolic");
        findings.push(Finding {
            id: "value-encrypted",
            severity: if hides { Severity::Critical } else { Severity::Info },
            title: format!("{} {} are encrypted and cannot be judged", encrypted.keys, encrypted.resource),
            subject: Some(encrypted.resource.clone()),
            what: format!("Encrypted by {} with key {:?}: only kube-apiserver can read them.", encrypted.provider, encrypted.key_name),
            evidence: vec![format!("for one, key {}", encrypted.example)],
            why: if hides {
                "a webhook or policy in there may block the boot, and nobody can tell from here".to_owned()
            } else {
                "what depends on them is judged without them".to_owned()
            },
            fix: vec![
                "a value can be deleted by its key, but not read or edited, without the key of the EncryptionConfiguration".to_owned(),
            ],
        });
    }
    findings.extend(facts.damaged.iter().map(|damaged_value| damaged(&damaged_value.key, &damaged_value.error)));
    for (key, meant) in &facts.wrong_keys {
        findings.push(Finding {
            id: "wrong-webhook-key",
            severity: Severity::Warning,
            title: format!("{key} is a key that nothing reads"),
            subject: Some(key.clone()),
            what: "Keys of built-in kinds do not name their API group. Somebody wrote here by hand.".to_owned(),
            evidence: vec![format!("kube-apiserver reads {meant}")],
            why: "deleting or changing this key does nothing at all".to_owned(),
            fix: vec![format!("look at {meant} instead")],
        });
    }
}

fn damaged(key: &str, error: &str) -> Finding {
    Finding {
        id: "value-damaged",
        severity: Severity::Critical,
        title: format!("the value of {key} cannot be read"),
        subject: Some(key.to_owned()),
        what: format!("{}.", capital(error)),
        evidence: vec![format!("key {key}")],
        why: "kube-apiserver cannot read it either: lists of this resource fail, and with them what watches it"
            .to_owned(),
        fix: vec!["restore the key from a snapshot, or delete it if it can be made again".to_owned()],
    }
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or(String::new(), |first| first.to_uppercase().chain(characters).collect())
}
