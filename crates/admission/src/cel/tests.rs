//! Expressions and what they come to.

use super::*;
use crate::request::{Gvr, Operation, User};
use serde_json::json;

fn request(object_known: bool) -> Request {
    Request {
        resource: Gvr::new("networking.k8s.io", "v1", "servicecidrs"),
        subresource: String::new(),
        kind: "ServiceCIDR".to_owned(),
        namespace: String::new(),
        name: "kubernetes".to_owned(),
        operation: Operation::Create,
        user: User { name: "system:apiserver".to_owned(), groups: vec!["system:masters".to_owned()] },
        object: json!({"metadata": {"name": "kubernetes", "labels": {"a": "b"}}, "spec": {"cidrs": ["10.0.0.0/16"]}}),
        old_object: Json::Null,
        object_known,
    }
}

fn all(expressions: &[(&str, &str)], object_known: bool) {
    let request = request(object_known);
    let for_cel = request.for_cel(&request.resource);
    for (expression, expected) in expressions {
        let seen = match evaluate(expression, &Variables::new(&request, &for_cel)) {
            Truth::True => "true",
            Truth::False => "false",
            Truth::Error(_) => "error",
            Truth::Unknown(_) => "unknown",
        };
        assert_eq!(seen, *expected, "{expression}");
    }
}

#[test]
fn conditions_on_the_request() {
    all(
        &[
            ("true", "true"),
            ("!(request.kind.kind == \"ServiceCIDR\")", "false"),
            (
                "!(request.resource.group == \"networking.k8s.io\" && request.resource.resource in [\"servicecidrs\", \"ipaddresses\"])",
                "false",
            ),
            ("request.userInfo.username != \"system:apiserver\"", "false"),
            ("'system:nodes' in request.userInfo.groups", "false"),
            ("request.userInfo.groups.exists(g, g.startsWith('system:'))", "true"),
            ("request.userInfo.groups.all(g, g == 'system:masters')", "true"),
            ("request.userInfo.groups.filter(g, g == 'x').size() == 0", "true"),
            ("request.userInfo.groups.map(g, g + '!') == ['system:masters!']", "true"),
            ("request.operation in ['CREATE', 'UPDATE'] ? true : false", "true"),
            ("request.dryRun == false", "true"),
            ("has(request.namespace) && request.namespace != ''", "false"),
            ("has(request.subResource)", "false"),
            ("request.name.matches('^kube.*s$')", "true"),
            ("request.?namespace.orValue('none') == 'none'", "true"),
            ("{'a': 1}.a == 1 && {'a': 1}['a'] == 1.0 && 'a' in {'a': 1}", "true"),
            ("oldObject == null", "true"),
            ("has(oldObject.spec)", "false"),
            ("request.resource.version == 'v1' && bool('T')", "true"),
            ("size(object.spec.cidrs) == 1 && object.spec.cidrs[0].contains('/')", "true"),
            ("object.metadata.labels.a == 'b' && !has(object.metadata.annotations)", "true"),
            ("1 + 2 * 3 - 4 / 2 == 5 && 7 % 4 == 3 && -1 < 0", "true"),
            ("string(12) == '12' && int('12') == 12 && 'a-b'.split('-').join('+') == 'a+b'", "true"),
            ("object.metadata.name.substring(0, 4).upperAscii() == 'KUBE'", "true"),
            ("[1, 2, 3].exists_one(x, x > 2) && type(1) == int", "true"),
        ],
        true,
    );
}

#[test]
fn errors_are_errors_unless_the_other_side_decides() {
    all(
        &[
            ("request.namespace == 'a'", "error"),
            ("object.spec.none == 1", "error"),
            ("oldObject.metadata.name == 'a'", "error"),
            ("1", "error"),
            ("this is not CEL", "error"),
            ("", "error"),
            ("unheard == 1", "error"),
            ("true || unheard", "error"),
            ("true || request.none == 1", "error"),
            ("has(request.object)", "error"),
            ("has(request.name.x)", "error"),
            ("1 / 0 == 1", "error"),
            ("9223372036854775807 + 1 > 0", "error"),
            ("[1][1] == 1", "error"),
            ("object.spec.none == 1 || true", "true"),
            ("object.spec.none == 1 && false", "false"),
            ("object.spec.none == 1 || false", "error"),
            ("[1, 2].exists(x, object.none == x || x == 2)", "true"),
        ],
        true,
    );
}

#[test]
fn what_is_not_known_is_unknown_unless_the_other_side_decides() {
    all(
        &[
            ("object.spec.cidrs.size() == 1 && false", "false"),
            ("has(object.spec)", "true"),
            ("has(object.status)", "unknown"),
            ("object.metadata.labels.a == 'b'", "true"),
            ("has(object.metadata.namespace)", "false"),
            ("object.metadata.uid == 'x'", "unknown"),
            ("object == oldObject", "false"),
            ("authorizer.group('').resource('pods').check('get').allowed()", "unknown"),
            ("authorizer.group('').resource('pods').check('get').allowed() && request.name == 'x'", "false"),
            ("authorizer.group('').allowed() || object.metadata.labels.none == 1", "unknown"),
            ("has(request.options)", "unknown"),
            ("has(request.userInfo.uid)", "unknown"),
            ("request.userInfo.extra.size() == 0 || true", "true"),
            ("request.userInfo.groups.exists(i, v, v == 'x')", "unknown"),
            ("'\u{e4}'.matches('^\\\\w$')", "unknown"),
            ("'aa'.matches('[a&&b]') || 'a'.matches('a{1001}')", "unknown"),
            ("request.options.kind == 'a' ? true : true", "unknown"),
            ("ip.isCanonical('127.0.0.1')", "unknown"),
            ("quantity('1Gi').isGreaterThan(quantity('1Mi'))", "unknown"),
            ("request.name.somethingNew()", "unknown"),
        ],
        false,
    );
}

#[test]
fn hostile_expressions_end() {
    let nested = format!("{}true{}", "(".repeat(2000), ")".repeat(2000));
    let long = format!("{}true", "true && ".repeat(480));
    let sum = format!("{}1 == 1", "1 + ".repeat(1000));
    let huge = "x".repeat(EXPRESSION_BYTES_MAX + 1);
    let product = "[1,2,3,4,5,6,7,8,9].all(a, [1,2,3,4,5,6,7,8,9].all(b, [1,2,3,4,5,6,7,8,9].all(c, \
                   [1,2,3,4,5,6,7,8,9].all(d, [1,2,3,4,5,6,7,8,9].all(e, [1,2,3,4,5,6,7,8,9].all(f, f > 0))))))";
    let pattern = "request.name.matches('((a{1000}){1000}){1000}')";
    let request = request(true);
    let for_cel = request.for_cel(&request.resource);
    for expression in [&nested, &sum, &huge, product, pattern] {
        let seen = evaluate(expression, &Variables::new(&request, &for_cel));
        assert!(matches!(seen, Truth::Unknown(_) | Truth::Error(_)), "{seen:?}");
    }
    assert_eq!(evaluate(&long, &Variables::new(&request, &for_cel)), Truth::True);
}
