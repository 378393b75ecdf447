//! A request as admission sees it: reads never get here.

use crate::labels::Labels;
use serde_json::{Value, json};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// Group, version and plural.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gvr {
    pub group: String,
    pub version: String,
    pub resource: String,
}

impl Gvr {
    pub fn new(group: &str, version: &str, resource: &str) -> Gvr {
        Gvr { group: group.to_owned(), version: version.to_owned(), resource: resource.to_owned() }
    }
}

impl std::fmt::Display for Gvr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.group.is_empty() {
            write!(f, "{} {}", self.version, self.resource)
        } else {
            write!(f, "{}/{} {}", self.group, self.version, self.resource)
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    pub name: String,
    pub groups: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub resource: Gvr,
    /// Empty: the object itself.
    pub subresource: String,
    /// Of the object in the request, whose group and version may differ for a subresource.
    pub kind: String,
    /// Empty for what belongs to no namespace; for a namespace, its own name.
    pub namespace: String,
    pub name: String,
    pub operation: Operation,
    pub user: User,
    /// Null if there is none.
    pub object: Value,
    /// Null if there is none.
    pub old_object: Value,
    /// False: of the objects only the metadata is as it will be, so that a condition on anything else cannot be
    /// answered.
    pub object_known: bool,
}

impl Request {
    pub(crate) fn is_namespace(&self) -> bool {
        self.resource.group.is_empty() && self.resource.resource == "namespaces"
    }

    /// `CREATE networking.k8s.io/v1 servicecidrs "kubernetes"`.
    pub fn describe(&self) -> String {
        let subresource = if self.subresource.is_empty() { String::new() } else { format!("/{}", self.subresource) };
        let place = if self.namespace.is_empty() || self.is_namespace() {
            String::new()
        } else {
            format!(" in namespace {:?}", self.namespace)
        };
        format!("{} {}{subresource} {:?}{place}", self.operation.as_str(), self.resource, self.name)
    }

    /// What CEL calls `request`, if a rule matched it as `matched`: only the kind follows that, the resource stays as
    /// it was asked for.
    pub fn for_cel(&self, matched: &Gvr) -> Value {
        let kind = |gvr: &Gvr| {
            // Objects of some subresources are of another group.
            let (group, version) = match self.kind.as_str() {
                "Eviction" => ("policy", "v1"),
                "Scale" => ("autoscaling", "v1"),
                "TokenRequest" => ("authentication.k8s.io", "v1"),
                _ => (gvr.group.as_str(), gvr.version.as_str()),
            };
            json!({"group": group, "version": version, "kind": self.kind})
        };
        let resource = |gvr: &Gvr| json!({"group": gvr.group, "version": gvr.version, "resource": gvr.resource});
        let mut request = json!({
            "kind": kind(matched),
            "resource": resource(&self.resource),
            "requestKind": kind(&self.resource),
            "requestResource": resource(&self.resource),
            "operation": self.operation.as_str(),
            "userInfo": {},
            "dryRun": false,
        });
        // What is empty is not there, and asking for it is an error.
        for (name, text) in [
            ("subResource", &self.subresource),
            ("requestSubResource", &self.subresource),
            ("name", &self.name),
            ("namespace", &self.namespace),
        ] {
            if !text.is_empty() {
                request[name] = text.as_str().into();
            }
        }
        if !self.user.name.is_empty() {
            request["userInfo"]["username"] = self.user.name.as_str().into();
        }
        if !self.user.groups.is_empty() {
            request["userInfo"]["groups"] = json!(self.user.groups);
        }
        request
    }
}

/// Labels in an object's metadata; none if there is no object.
pub(crate) fn labels_of(object: &Value) -> Labels {
    let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
    labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}
