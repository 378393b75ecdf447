//! Conditions of webhooks, as whoever may write a configuration writes them. What is said of an object of which only
//! the metadata is known must hold once the rest is known, and the opposite of a condition must come out as the
//! opposite.

use admission::cel::{self, Truth, Variables};
use admission::{Gvr, Operation, Request, User};
use serde_json::{Value, json};

/// Expressions that between them use every part of the language that is evaluated.
pub fn expressions() -> Vec<Vec<u8>> {
    [
        "!(request.resource.group == \"networking.k8s.io\" && request.resource.resource in ['servicecidrs', 'ipaddresses'])",
        "request.userInfo.username != \"system:apiserver\" || 'system:nodes' in request.userInfo.groups",
        "!has(object.metadata.labels) || object.metadata.labels.exists(k, k.startsWith('a') && object.metadata.labels[k] != '')",
        "object.spec.cidrs.all(c, c.matches('^[0-9./]+$')) && size(object.spec.cidrs) > 0",
        "request.userInfo.groups.filter(g, g != r'x').map(g, g + \"!\").exists_one(g, g.contains('masters'))",
        "object.?status.?conditions[?0].orValue({'type': 'None'}).type == 'None' ? true : oldObject == null",
        "authorizer.group('').resource('pods').check('get').allowed() || -1 + 2 * 3 / 4 % 5 >= 1u || 1.5e3 < double(2)",
        "b'\\x01'.size() == 1 && type(1) == int && dyn([1, 'a', null][0]) == 1 && {'a': {1: true}}.a[1]",
        "'a-b'.split('-').join('+').replace('+', '').substring(0, 1).upperAscii().trim() == 'A' && '\\u00e9'.size() == 1",
        "object.metadata.name.format([1]) == quantity('1Gi') || [[1], [2]].all(x, x.all(y, y in [1, 2]))",
        "(((((true))))) // and so on",
    ]
    .map(|expression| expression.as_bytes().to_vec())
    .to_vec()
}

fn metadata() -> Value {
    json!({"metadata": {"name": "kubernetes", "labels": {"a": "b", "c": ""}, "uid": "1"}})
}

fn whole() -> Value {
    let mut object = metadata();
    object["spec"] = json!({"cidrs": ["10.0.0.0/16", "fd00::/108"]});
    object["status"] = json!({"conditions": [{"type": "Ready", "observedGeneration": 3}]});
    object
}

fn request(object: Value, object_known: bool) -> Request {
    Request {
        resource: Gvr::new("networking.k8s.io", "v1", "servicecidrs"),
        subresource: String::new(),
        kind: "ServiceCIDR".to_owned(),
        namespace: String::new(),
        name: "kubernetes".to_owned(),
        operation: Operation::Create,
        user: User { name: "system:apiserver".to_owned(), groups: vec!["system:masters".to_owned()] },
        object,
        old_object: Value::Null,
        object_known,
    }
}

fn evaluate(expression: &str, request: &Request) -> Truth {
    let for_cel = request.for_cel(&request.resource);
    cel::evaluate(expression, &Variables::new(request, &for_cel))
}

/// True or false; what is an error or cannot be known says nothing.
fn decided(truth: &Truth) -> Option<bool> {
    match truth {
        Truth::True => Some(true),
        Truth::False => Some(false),
        Truth::Error(_) | Truth::Unknown(_) => None,
    }
}

pub fn expression(input: &[u8]) {
    let Ok(expression) = std::str::from_utf8(input) else { return };
    let whole = request(whole(), true);
    let known = evaluate(expression, &whole);
    if let Some(guessed) = decided(&evaluate(expression, &request(metadata(), false))) {
        // The whole object may take too long to look at; it may not be an error.
        let agrees = matches!(known, Truth::Unknown(_)) || decided(&known) == Some(guessed);
        assert!(agrees, "{expression:?} was {guessed} before the object was known, then {known:?}");
    }
    if let Some(truth) = decided(&known) {
        let opposite = evaluate(&format!("!(\n{expression}\n)"), &whole);
        let agrees = matches!(opposite, Truth::Unknown(_)) || decided(&opposite) == Some(!truth);
        assert!(agrees, "{expression:?} is {truth}, its opposite {opposite:?}");
    }
}
