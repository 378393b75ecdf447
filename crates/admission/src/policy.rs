//! Admission policies: CEL in the API server itself. They need no backend, so they refuse by their content only.
//!
//! A policy judges nothing without a binding; constraints of both must match, and an excluding rule wins over all
//! others.

use crate::cel::{self, Truth, Variables};
use crate::labels::LabelSelector;
use crate::request::Request;
use crate::rules::{Rule, equivalents, first_match};
use crate::webhook::{Cluster, Conditions, FailurePolicy, MatchCondition, judge, namespace_selected, object_selected};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyKind {
    Validating,
    Mutating,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub kind: PolicyKind,
    pub name: String,
    pub spec: PolicySpec,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PolicySpec {
    pub param_kind: Option<ParamKind>,
    pub match_constraints: Option<MatchResources>,
    #[serde(deserialize_with = "crate::null_is_default")]
    pub validations: Vec<Validation>,
    #[serde(deserialize_with = "crate::null_is_default")]
    pub failure_policy: FailurePolicy,
    #[serde(deserialize_with = "crate::null_is_default")]
    pub match_conditions: Vec<MatchCondition>,
    #[serde(deserialize_with = "crate::null_is_default")]
    pub variables: Vec<MatchCondition>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ParamKind {
    pub api_version: String,
    pub kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Validation {
    pub expression: String,
    #[serde(default)]
    pub message: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MatchResources {
    #[serde(deserialize_with = "crate::null_is_default")]
    pub namespace_selector: LabelSelector,
    #[serde(deserialize_with = "crate::null_is_default")]
    pub object_selector: LabelSelector,
    #[serde(deserialize_with = "crate::null_is_default")]
    pub resource_rules: Vec<Rule>,
    #[serde(deserialize_with = "crate::null_is_default")]
    pub exclude_resource_rules: Vec<Rule>,
    pub match_policy: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    pub kind: PolicyKind,
    pub name: String,
    pub spec: BindingSpec,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BindingSpec {
    pub policy_name: String,
    pub param_ref: Option<ParamRef>,
    pub match_resources: Option<MatchResources>,
    #[serde(deserialize_with = "crate::null_is_default")]
    pub validation_actions: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ParamRef {
    #[serde(deserialize_with = "crate::null_is_default")]
    pub name: String,
    pub parameter_not_found_action: Option<String>,
}

/// What a policy with one of its bindings does to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// Why not.
    Admits(String),
    Denies(String),
    /// What cannot be known.
    MayDeny(String),
}

impl Policy {
    /// From the JSON form of an object of either kind.
    pub fn from_json(kind: PolicyKind, object: &Value) -> Result<Policy, String> {
        let spec = Option::deserialize(&object["spec"]).map_err(|error| format!("spec: {error}"))?;
        Ok(Policy { kind, name: name_of(object), spec: spec.unwrap_or_default() })
    }

    /// What becomes of the request under this binding of the policy, on an API server of release 1.`minor`. `params`
    /// finds the object that the binding names, null if there is none; it answers none if it cannot know.
    pub fn judge(
        &self,
        binding: &Binding,
        request: &Request,
        cluster: &dyn Cluster,
        minor: u32,
        params: Option<&Value>,
    ) -> Judgement {
        let admits = |why: &str| Judgement::Admits(why.to_owned());
        if !binding.denies() {
            return admits("the binding does not deny");
        }
        let constraints = [self.spec.match_constraints.as_ref(), binding.spec.match_resources.as_ref()];
        for constraints in constraints.into_iter().flatten() {
            match constraints.matches(request, cluster, minor) {
                Ok(true) => {}
                Ok(false) => return admits("its constraints do not match"),
                Err(error) => return self.fails(error),
            }
        }
        match judge(&self.spec.match_conditions, request, &request.resource) {
            Conditions::Hold => {}
            Conditions::False(name) => return Judgement::Admits(format!("match condition {name:?} is false")),
            Conditions::Error(error) => return self.fails(error),
            Conditions::Unknown(why) => return Judgement::MayDeny(why),
        }
        if self.spec.param_kind.is_some()
            && let Some(Value::Null) = params
        {
            return match binding
                .spec
                .param_ref
                .as_ref()
                .and_then(|reference| reference.parameter_not_found_action.as_deref())
            {
                Some("Allow") => admits("its parameters do not exist, which is allowed"),
                _ => self.fails("its parameters do not exist".to_owned()),
            };
        }
        self.validate(request, if self.spec.param_kind.is_some() { params } else { Some(&Value::Null) })
    }

    fn validate(&self, request: &Request, params: Option<&Value>) -> Judgement {
        if self.kind == PolicyKind::Mutating {
            return Judgement::MayDeny("whether its mutations succeed is not evaluated here".to_owned());
        }
        let for_cel = request.for_cel(&request.resource);
        let named: BTreeMap<&str, &str> =
            self.spec.variables.iter().map(|variable| (variable.name.as_str(), variable.expression.as_str())).collect();
        let variables = Variables::new(request, &for_cel).with_policy(params, named);
        let mut may = None;
        for Validation { expression, message } in &self.spec.validations {
            match cel::evaluate(expression, &variables) {
                Truth::True => {}
                Truth::False => {
                    let said =
                        if message.is_empty() { format!("failed expression: {expression}") } else { message.clone() };
                    return Judgement::Denies(said);
                }
                Truth::Error(error) => {
                    if let denied @ Judgement::Denies(_) = self.fails(format!("expression {expression:?}: {error}")) {
                        return denied;
                    }
                }
                Truth::Unknown(why) => may = may.or_else(|| Some(format!("expression {expression:?}: {why}"))),
            }
        }
        may.map_or_else(|| Judgement::Admits("all its validations hold".to_owned()), Judgement::MayDeny)
    }

    fn fails(&self, error: String) -> Judgement {
        match self.spec.failure_policy {
            FailurePolicy::Fail => Judgement::Denies(error),
            FailurePolicy::Ignore => Judgement::Admits(format!("{error}, and failures are ignored")),
        }
    }
}

impl Binding {
    pub fn from_json(kind: PolicyKind, object: &Value) -> Result<Binding, String> {
        let spec = Option::deserialize(&object["spec"]).map_err(|error| format!("spec: {error}"))?;
        Ok(Binding { kind, name: name_of(object), spec: spec.unwrap_or_default() })
    }

    /// A mutation that fails refuses the request whatever the binding says.
    fn denies(&self) -> bool {
        self.kind == PolicyKind::Mutating || self.spec.validation_actions.iter().any(|action| action == "Deny")
    }
}

impl MatchResources {
    fn matches(&self, request: &Request, cluster: &dyn Cluster, minor: u32) -> Result<bool, String> {
        let namespace = namespace_selected(&self.namespace_selector, request, cluster);
        let object = object_selected(&self.object_selector, request);
        if namespace == Ok(false) || object == Ok(false) {
            return Ok(false);
        }
        let exact = self.match_policy.as_deref() == Some("Exact");
        let others = if exact { Vec::new() } else { equivalents(&request.resource, minor) };
        if first_match(&self.exclude_resource_rules, request, &others).is_some() {
            return Ok(false);
        }
        if !self.resource_rules.is_empty() && first_match(&self.resource_rules, request, &others).is_none() {
            return Ok(false);
        }
        namespace.and(object)
    }
}

fn name_of(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::{BootState, requests};
    use crate::labels::Labels;
    use serde_json::json;

    struct Nothing;
    impl Cluster for Nothing {
        fn namespace_labels(&self, name: &str) -> Labels {
            [("kubernetes.io/metadata.name".to_owned(), name.to_owned())].into()
        }
    }

    fn judged(spec: &Value, binding: &Value, params: Option<&Value>) -> Judgement {
        let policy = Policy::from_json(PolicyKind::Validating, &json!({"metadata": {"name": "p"}, "spec": spec}));
        let binding = Binding::from_json(PolicyKind::Validating, &json!({"metadata": {"name": "b"}, "spec": binding}));
        let state = BootState::default();
        let boot = requests(Some(32), 34, &state).into_iter().find(|boot| boot.row.id == "servicecidr-create");
        let request = boot.expect("the row is there").request;
        policy.expect("valid").judge(&binding.expect("valid"), &request, &Nothing, 34, params)
    }

    fn spec() -> Value {
        json!({
            "matchConstraints": {"resourceRules": [
                {"operations": ["CREATE"], "apiGroups": ["networking.k8s.io"], "apiVersions": ["*"], "resources": ["*"]}
            ]},
            "variables": [{"name": "isOurs", "expression": "request.userInfo.username.startsWith('system:')"}],
            "validations": [{"expression": "!variables.isOurs", "message": "no"}],
        })
    }

    fn with(changes: &[(&str, Value)]) -> Value {
        let mut spec = spec();
        for (path, value) in changes {
            *spec.pointer_mut(path).expect("it is there") = value.clone();
        }
        spec
    }

    #[test]
    fn a_policy_denies_by_what_it_says() {
        let deny = json!({"policyName": "p", "validationActions": ["Deny"]});
        assert_eq!(judged(&spec(), &deny, None), Judgement::Denies("no".to_owned()));
        let warn = json!({"policyName": "p", "validationActions": ["Warn", "Audit"]});
        assert!(matches!(judged(&spec(), &warn, None), Judgement::Admits(_)));
        let other = json!({"matchResources": {"resourceRules": [], "objectSelector": {"matchLabels": {"a": "b"}}}, "validationActions": ["Deny"]});
        assert!(matches!(judged(&spec(), &other, None), Judgement::Admits(_)));
        let holds = with(&[("/validations/0/expression", json!("variables.isOurs"))]);
        assert!(matches!(judged(&holds, &deny, None), Judgement::Admits(_)));
        let unknown = with(&[("/validations/0/expression", json!("authorizer.group('').allowed()"))]);
        assert!(matches!(judged(&unknown, &deny, None), Judgement::MayDeny(_)));
        let mut error = with(&[("/validations/0/expression", json!("request.none == 1"))]);
        assert!(matches!(judged(&error, &deny, None), Judgement::Denies(_)));
        error["failurePolicy"] = json!("Ignore");
        assert!(matches!(judged(&error, &deny, None), Judgement::Admits(_)));
    }

    #[test]
    fn excluding_rules_win_and_names_count() {
        let deny = json!({"validationActions": ["Deny"]});
        let mut excluded = spec();
        excluded["matchConstraints"]["excludeResourceRules"] = json!([
            {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["v1"], "resources": ["servicecidrs"], "resourceNames": ["kubernetes"]}
        ]);
        assert!(matches!(judged(&excluded, &deny, None), Judgement::Admits(_)));
        excluded["matchConstraints"]["excludeResourceRules"][0]["resourceNames"] = json!(["other"]);
        assert!(matches!(judged(&excluded, &deny, None), Judgement::Denies(_)));
    }

    #[test]
    fn missing_parameters_refuse_unless_they_are_allowed_to_be_missing() {
        let mut spec = spec();
        spec["paramKind"] = json!({"apiVersion": "v1", "kind": "ConfigMap"});
        spec["validations"][0]["expression"] = json!("params.data.a == 'b'");
        let binding = |action: &str| json!({"paramRef": {"name": "x", "parameterNotFoundAction": action}, "validationActions": ["Deny"]});
        assert!(matches!(judged(&spec, &binding("Deny"), Some(&Value::Null)), Judgement::Denies(_)));
        assert!(matches!(judged(&spec, &binding("Allow"), Some(&Value::Null)), Judgement::Admits(_)));
        assert!(matches!(judged(&spec, &binding("Deny"), None), Judgement::MayDeny(_)));
        let params = json!({"data": {"a": "c"}});
        assert!(matches!(judged(&spec, &binding("Deny"), Some(&params)), Judgement::Denies(_)));
    }
}
