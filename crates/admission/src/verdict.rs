//! What a webhook or a policy means for a boot: a verdict for each request of the table, and the condition that would
//! keep those requests out.
//!
//! A webhook that fails closed on a request of the boot is a finding whatever its backend does now: running pods do not
//! clear it, because they may be unreachable from a control plane that is not up, or refuse because it is not up.

use crate::bootstrap::{BootRequest, Consequence, Written};
use crate::policy::{Binding, Judgement, Policy};
use crate::webhook::{Call, Cluster, FailurePolicy, TIMEOUT_SECONDS, Webhook};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The API server's own user, with which it writes what it needs to boot.
pub(crate) const API_SERVER_USER: &str = "system:apiserver";
/// The one-line condition that keeps every request of a boot out.
pub const NOT_THE_API_SERVER: &str = r#"request.userInfo.username != "system:apiserver""#;

/// From the worst.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    BlocksBoot,
    BlocksHealing,
    /// Why it is not certain.
    MayBlock(String),
    /// The request waits for a webhook that hangs, up to so many seconds, and goes on.
    Delays {
        seconds: u32,
    },
    /// What is refused is only logged and tried again.
    Degrades,
    Safe(String),
}

#[derive(Debug, Clone, PartialEq)]
pub struct RowVerdict<'a> {
    pub boot: &'a BootRequest,
    pub verdict: Verdict,
    /// The place of the rule that matched.
    pub rule: Option<usize>,
}

/// On an API server of release 1.`minor`.
pub fn of_webhook<'a>(webhook: &Webhook, boot: &'a BootRequest, cluster: &dyn Cluster, minor: u32) -> RowVerdict<'a> {
    let (verdict, rule) = match webhook.call(&boot.request, cluster, minor) {
        Call::No(why) => (Verdict::Safe(why), None),
        Call::Rejected(matched, _) => (worst(boot), Some(matched.rule)),
        Call::Yes(matched) => (called(webhook, worst(boot)), Some(matched.rule)),
        Call::Maybe(matched, why) => (called(webhook, uncertain(boot, why)), Some(matched.rule)),
    };
    RowVerdict { boot, verdict, rule }
}

/// Ignored failures are waited for, not fatal.
fn called(webhook: &Webhook, verdict: Verdict) -> Verdict {
    if webhook.failure_policy == FailurePolicy::Fail || matches!(verdict, Verdict::Safe(_)) {
        return verdict;
    }
    Verdict::Delays { seconds: webhook.timeout_seconds.unwrap_or(TIMEOUT_SECONDS) }
}

/// Of a policy with one of its bindings; `params` as for `Policy::judge`.
pub fn of_policy<'a>(
    policy: &Policy,
    binding: &Binding,
    boot: &'a BootRequest,
    cluster: &dyn Cluster,
    minor: u32,
    params: Option<&Value>,
) -> RowVerdict<'a> {
    let verdict = match policy.judge(binding, &boot.request, cluster, minor, params) {
        Judgement::Admits(why) => Verdict::Safe(why),
        Judgement::Denies(_) => worst(boot),
        Judgement::MayDeny(why) => uncertain(boot, why),
    };
    RowVerdict { boot, verdict, rule: None }
}

/// If the request is refused.
fn worst(boot: &BootRequest) -> Verdict {
    match (&boot.written, boot.row.consequence) {
        (Written::No(why), _) => Verdict::Safe(format!("nothing is written: {why}")),
        (_, Consequence::Degrades) => Verdict::Degrades,
        (_, Consequence::BlocksHealing) => Verdict::BlocksHealing,
        (Written::Yes(_), Consequence::BlocksBoot { .. }) => Verdict::BlocksBoot,
        (Written::OnUpgrade, Consequence::BlocksBoot { .. }) => {
            Verdict::MayBlock("it is written if the release to boot changes it, as most upgrades do".to_owned())
        }
    }
}

fn uncertain(boot: &BootRequest, why: String) -> Verdict {
    match worst(boot) {
        Verdict::BlocksBoot | Verdict::BlocksHealing | Verdict::MayBlock(_) => Verdict::MayBlock(why),
        other => other,
    }
}

/// The least condition that keeps these requests out of a webhook: what the API server itself writes of their
/// resources, and of others' requests the resources alone. None if there are no requests.
pub fn condition_against<'a>(requests: impl IntoIterator<Item = &'a BootRequest>) -> Option<String> {
    let (mut own, mut others) = (BTreeMap::new(), BTreeMap::new());
    for boot in requests {
        let request = &boot.request;
        let by_group: &mut BTreeMap<&str, BTreeSet<&str>> =
            if request.user.name == API_SERVER_USER { &mut own } else { &mut others };
        by_group.entry(&request.resource.group).or_default().insert(&request.resource.resource);
    }
    let mut parts = Vec::new();
    if !own.is_empty() {
        parts.push(format!("request.userInfo.username == {} && {}", json!(API_SERVER_USER), resources(&own)));
    }
    if !others.is_empty() {
        parts.push(resources(&others));
    }
    let all: Vec<String> = parts.into_iter().map(|part| format!("!({part})")).collect();
    (!all.is_empty()).then(|| all.join(" && "))
}

fn resources(by_group: &BTreeMap<&str, BTreeSet<&str>>) -> String {
    let groups: Vec<String> = by_group
        .iter()
        .map(|(group, names)| {
            let group = format!("request.resource.group == {}", json!(group));
            match names.iter().collect::<Vec<_>>()[..] {
                [name] => format!("{group} && request.resource.resource == {}", json!(name)),
                _ => format!("{group} && request.resource.resource in {}", json!(names)),
            }
        })
        .collect();
    match &groups[..] {
        [group] => group.clone(),
        _ => format!("({})", groups.iter().map(|group| format!("({group})")).collect::<Vec<_>>().join(" || ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::{BootState, ROWS, requests};
    use crate::labels::Labels;
    use crate::webhook::{MatchCondition, WebhookConfiguration, WebhookKind};

    struct Nothing;
    impl Cluster for Nothing {
        fn namespace_labels(&self, name: &str) -> Labels {
            [("kubernetes.io/metadata.name".to_owned(), name.to_owned())].into()
        }
    }

    fn webhook(changes: &[(&str, Value)]) -> Webhook {
        let mut webhook = json!({
            "name": "validate.kyverno.svc-fail",
            "clientConfig": {"service": {"namespace": "kyverno", "name": "kyverno-svc", "path": "/validate/fail"}},
            "failurePolicy": "Fail",
            "rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}],
        });
        for (name, value) in changes {
            webhook[name] = value.clone();
        }
        let configuration = json!({"metadata": {"name": "kyverno"}, "webhooks": [webhook]});
        WebhookConfiguration::from_json(WebhookKind::Validating, &configuration).expect("valid").webhooks.remove(0)
    }

    fn rule(group: &str, version: &str, resource: &str) -> (&'static str, Value) {
        (
            "rules",
            json!([{"operations": ["CREATE", "UPDATE"], "apiGroups": [group], "apiVersions": [version], "resources": [resource]}]),
        )
    }

    fn verdicts(webhook: &Webhook, from: u32, to: u32) -> Vec<(&'static str, Verdict)> {
        let boots = requests(
            Some(from),
            to,
            &BootState { without_ip_address: vec!["10.1.0.10".to_owned()], ..BootState::default() },
        );
        boots.iter().map(|boot| (boot.row.id, of_webhook(webhook, boot, &Nothing, to).verdict)).collect()
    }

    fn verdict(webhook: &Webhook, id: &str, from: u32, to: u32) -> Verdict {
        verdicts(webhook, from, to).into_iter().find(|(row, _)| *row == id).expect("the row is there").1
    }

    #[test]
    fn a_webhook_on_everything_blocks_every_row_and_either_condition_frees_the_boot() {
        let everything = webhook(&[]);
        for (id, verdict) in verdicts(&everything, 32, 34) {
            let consequence = ROWS.iter().find(|row| row.id == id).expect("a row").consequence;
            match consequence {
                Consequence::BlocksBoot { .. } => assert_eq!(verdict, Verdict::BlocksBoot, "{id}"),
                Consequence::BlocksHealing => assert_eq!(verdict, Verdict::BlocksHealing, "{id}"),
                Consequence::Degrades => assert!(matches!(verdict, Verdict::Degrades | Verdict::MayBlock(_)), "{id}"),
            }
        }
        let state = BootState::default();
        let boots = requests(Some(32), 34, &state);
        let blocked: Vec<_> = boots
            .iter()
            .filter(|boot| of_webhook(&everything, boot, &Nothing, 34).verdict == Verdict::BlocksBoot)
            .collect();
        let minimal = condition_against(blocked.iter().copied()).expect("something is blocked");
        for expression in [minimal.as_str(), NOT_THE_API_SERVER] {
            let mut patched = everything.clone();
            patched.match_conditions =
                vec![MatchCondition { name: "boot".to_owned(), expression: expression.to_owned() }];
            for boot in &blocked {
                assert_eq!(
                    of_webhook(&patched, boot, &Nothing, 34).verdict,
                    Verdict::Safe("match condition \"boot\" is false".to_owned()),
                    "{expression} for {}",
                    boot.request.describe()
                );
            }
            // Nobody else is let past.
            let pods = boots.iter().find(|boot| boot.row.id == "pods").expect("a row");
            assert_eq!(of_webhook(&patched, pods, &Nothing, 34).verdict, Verdict::BlocksHealing);
        }
    }

    #[test]
    fn the_incident_kyverno_and_the_first_service_cidr() {
        let kyverno = webhook(&[
            rule("*", "*", "*"),
            (
                "namespaceSelector",
                json!({"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "kyverno"]}]}),
            ),
        ]);
        // A selector of namespaces leaves out nothing that has none.
        assert_eq!(verdict(&kyverno, "servicecidr-create", 32, 34), Verdict::BlocksBoot);
        assert_eq!(verdict(&kyverno, "ipaddress-create", 32, 34), Verdict::BlocksBoot);
        assert!(matches!(verdict(&kyverno, "pods", 32, 34), Verdict::Safe(_)));
        let patched = webhook(&[
            rule("*", "*", "*"),
            (
                "matchConditions",
                json!([{"name": "no-service-cidr", "expression": "!(request.kind.kind == \"ServiceCIDR\")"}]),
            ),
        ]);
        assert!(matches!(verdict(&patched, "servicecidr-create", 32, 34), Verdict::Safe(_)));
        assert_eq!(verdict(&patched, "ipaddress-create", 32, 34), Verdict::BlocksBoot);
    }

    #[test]
    fn each_row_fires_on_its_own_resource_and_on_no_other() {
        let state = BootState::default();
        let boots = requests(Some(32), 34, &state);
        for boot in &boots {
            let resource = &boot.request.resource;
            let named = match boot.request.subresource.as_str() {
                "" => resource.resource.clone(),
                subresource => format!("{}/{subresource}", resource.resource),
            };
            let own = webhook(&[rule(&resource.group, &resource.version, &named)]);
            let call = own.call(&boot.request, &Nothing, 34);
            assert!(matches!(call, Call::Yes(_)), "{}", boot.request.describe());
            for (group, version, other) in [
                ("example.com", resource.version.as_str(), named.as_str()),
                (resource.group.as_str(), "v9", named.as_str()),
                (resource.group.as_str(), resource.version.as_str(), "others"),
            ] {
                let other = webhook(&[rule(group, version, other)]);
                assert!(matches!(other.call(&boot.request, &Nothing, 34), Call::No(_)), "{}", boot.request.describe());
            }
        }
    }

    #[test]
    fn ignored_failures_delay_and_unknown_conditions_may_block() {
        let ignored = webhook(&[("failurePolicy", json!("Ignore")), ("timeoutSeconds", json!(7))]);
        assert_eq!(verdict(&ignored, "servicecidr-create", 32, 34), Verdict::Delays { seconds: 7 });
        let unknown =
            webhook(&[("matchConditions", json!([{"name": "a", "expression": "authorizer.group('x').allowed()"}]))]);
        assert!(matches!(verdict(&unknown, "servicecidr-create", 32, 34), Verdict::MayBlock(_)));
        let broken = webhook(&[("matchConditions", json!([{"name": "a", "expression": "nonsense("}]))]);
        assert_eq!(verdict(&broken, "servicecidr-create", 32, 34), Verdict::BlocksBoot);
        assert!(matches!(verdict(&webhook(&[]), "token-reviews", 36, 37), Verdict::Safe(_)));
        assert_eq!(verdict(&webhook(&[]), "token-reviews", 35, 36), Verdict::BlocksHealing);
    }

    #[test]
    fn another_version_of_the_same_objects_is_matched_unless_exactly() {
        let beta = webhook(&[rule("networking.k8s.io", "v1beta1", "servicecidrs")]);
        assert_eq!(verdict(&beta, "servicecidr-create", 32, 34), Verdict::BlocksBoot);
        let exact = webhook(&[rule("networking.k8s.io", "v1beta1", "servicecidrs"), ("matchPolicy", json!("Exact"))]);
        assert!(matches!(verdict(&exact, "servicecidr-create", 32, 34), Verdict::Safe(_)));
    }
}
