//! Labels and selectors, with Kubernetes' rules for what is missing.

use serde::Deserialize;
use std::collections::BTreeMap;

pub type Labels = BTreeMap<String, String>;

/// `metav1.LabelSelector`. Empty selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LabelSelector {
    #[serde(deserialize_with = "crate::null_is_default")]
    pub match_labels: Labels,
    #[serde(deserialize_with = "crate::null_is_default")]
    pub match_expressions: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Requirement {
    pub key: String,
    pub operator: String,
    #[serde(default, deserialize_with = "crate::null_is_default")]
    pub values: Vec<String>,
}

impl LabelSelector {
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    /// Fails with what Kubernetes would refuse to use, whatever the labels.
    pub fn matches(&self, labels: &Labels) -> Result<bool, String> {
        let mut all = self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value));
        for requirement in &self.match_expressions {
            all &= requirement.matches(labels)?;
        }
        Ok(all)
    }
}

impl Requirement {
    fn matches(&self, labels: &Labels) -> Result<bool, String> {
        let value = labels.get(&self.key);
        let is_in = value.is_some_and(|value| self.values.contains(value));
        let takes_values = matches!(self.operator.as_str(), "In" | "NotIn");
        if takes_values == self.values.is_empty() {
            let rule = if takes_values { "needs values" } else { "takes no values" };
            return Err(format!("label selector: {:?} {} {rule}", self.key, self.operator));
        }
        match self.operator.as_str() {
            "In" => Ok(is_in),
            // Also what has no such label.
            "NotIn" => Ok(!is_in),
            "Exists" => Ok(value.is_some()),
            "DoesNotExist" => Ok(value.is_none()),
            other => Err(format!("label selector: {other:?} is not an operator")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_follow_kubernetes() {
        let labels: Labels = [("a", "1"), ("b", "2")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        for (selector, expected) in [
            (json!({}), Ok(true)),
            (json!({"matchLabels": {"a": "1"}, "matchExpressions": null}), Ok(true)),
            (json!({"matchLabels": {"a": "2"}}), Ok(false)),
            (json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}), Ok(true)),
            (json!({"matchExpressions": [{"key": "c", "operator": "NotIn", "values": ["1"]}]}), Ok(true)),
            (json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}), Ok(false)),
            (json!({"matchExpressions": [{"key": "c", "operator": "Exists"}]}), Ok(false)),
            (json!({"matchExpressions": [{"key": "c", "operator": "DoesNotExist"}]}), Ok(true)),
            (json!({"matchExpressions": [{"key": "c", "operator": "In"}]}), Err(())),
            (json!({"matchExpressions": [{"key": "c", "operator": "Exists", "values": ["1"]}]}), Err(())),
            (json!({"matchExpressions": [{"key": "c", "operator": "Like"}]}), Err(())),
        ] {
            let selector: LabelSelector = serde_json::from_value(selector).expect("a selector");
            assert_eq!(selector.matches(&labels).map_err(|_| ()), expected, "{selector:?}");
        }
    }
}
