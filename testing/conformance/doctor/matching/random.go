package matching

import (
	"fmt"
	"math/rand"

	registration "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// namespaces of the cluster in which requests are made.
var namespaces = map[string]map[string]string{
	"kube-system": {"kubernetes.io/metadata.name": "kube-system"},
	"kyverno":     {"kubernetes.io/metadata.name": "kyverno", "team": "security"},
	"shop":        {"kubernetes.io/metadata.name": "shop", "team": "web", "env": "prod"},
}

// conditions in the manner of Kyverno, Gatekeeper and others, and some that fail.
var conditions = []string{
	`true`, `false`, `1`, `'text'`, `null`,
	`!(request.kind.kind == "ServiceCIDR")`,
	`!(request.resource.group == "networking.k8s.io" && request.resource.resource in ["servicecidrs", "ipaddresses"])`,
	`request.userInfo.username != "system:apiserver"`,
	`!request.userInfo.username.startsWith("system:node:")`,
	`!('system:nodes' in request.userInfo.groups)`,
	`request.userInfo.groups.exists(g, g == 'system:masters')`,
	`request.userInfo.groups.all(g, g.startsWith('system:'))`,
	`request.userInfo.groups.exists_one(g, g.endsWith(':masters'))`,
	`request.userInfo.groups.filter(g, g.contains('node')).size() == 0`,
	`request.userInfo.groups.map(g, g.size()).exists(n, n > 12)`,
	`has(request.userInfo.groups) && size(request.userInfo.groups) > 1`,
	`has(request.userInfo.uid)`, `has(request.userInfo.extra)`,
	`request.namespace == 'shop'`,
	`has(request.namespace) && request.namespace == 'shop'`,
	`!has(request.namespace) || request.namespace in ['kube-system', 'kyverno']`,
	`request.namespace.startsWith('kube-') || request.operation == 'DELETE'`,
	`request.operation in ['CREATE', 'UPDATE']`, `request.operation != 'CONNECT'`,
	`has(request.subResource)`, `request.subResource == 'status'`,
	`!has(request.subResource) || request.subResource != 'status'`,
	`request.resource.version == 'v1'`, `request.requestResource.version == request.resource.version`,
	`request.requestKind.group == request.kind.group`, `request.requestKind.kind == 'Pod'`,
	`request.dryRun == false`, `request.dryRun`, `has(request.dryRun)`,
	`request.name.matches('^[a-z]+-[0-9]+$')`, `request.name != ''`, `request.name.size() < 20`,
	`object != null`, `oldObject == null`, `object == null || has(object.metadata)`,
	`object.metadata.name == request.name`,
	`has(object.metadata.labels) && 'app' in object.metadata.labels`,
	`has(object.metadata.labels) && object.metadata.labels['app'] == 'web'`,
	`object.metadata.labels.app == 'web'`,
	`object.metadata.?labels.?app.orValue('none') == 'web'`,
	`object.metadata.?annotations['x/y'].hasValue()`,
	`object.?spec.?replicas.orValue(1) > 1`,
	`object.spec.replicas > 2`, `object.spec.replicas == 3 || object.spec.paused`,
	`has(object.spec) && has(object.spec.replicas) ? object.spec.replicas <= 3 : true`,
	`object.spec.containers.all(c, c.image.startsWith('registry.local/'))`,
	`object.spec.containers.exists(c, !has(c.resources))`,
	`object.spec.containers.map(c, c.name).join(',') == 'a,b'`,
	`size(object.spec.containers) > 0 && object.spec.containers[0].name == 'a'`,
	`object.spec.containers[5].name == 'a'`,
	`oldObject.metadata.name == object.metadata.name`,
	`oldObject != null && oldObject.spec == object.spec`,
	`object.spec == {'replicas': 3}`, `object.metadata == oldObject.metadata`,
	`request.name.lowerAscii() == request.name`, `request.name.split('-').size() == 2`,
	`request.name.replace('-', '').size() > 2`, `request.name.substring(0, 1) == 'w'`,
	`request.name.substring(0, 100) == 'w'`, `request.name.upperAscii().contains('WEB')`,
	`int('12') + 3 == 15`, `int('x') == 1`, `string(object.spec.replicas) == '3'`, `1 / 0 == 1`,
	`[1, 2, 3].exists(x, x > 2) && {'a': 1}.a == 1`, `'a' in {'a': 1}`, `type(1) == int`, `dyn(1) == 1.0`,
	`5 % 3 == 2 && -1 < 0 && 2.5 > 2.0`, `b'abc' == b'abc'`, `object.nothing == 1 || true`,
	`object.nothing == 1 && false`, `object.nothing == 1`, `request.nothing == 1`, `unheard == 1`, `nonsense(`,
	`object.nothing.at.all || request.operation == 'CREATE'`,
	`true || unheard`, `true || request.nothing == 1`, `has(request.object)`, `has(request.name.x)`, `bool('T')`,
	`request.name.matches('a{1001}')`, `request.resource.group == request.requestResource.group`,
	`namespaceObject == null`, `authorizer.group('').resource('pods').check('get').allowed()`,
	`quantity('1Gi').isGreaterThan(quantity('1Mi'))`, `url('https://a.b/c').getHost() == 'a.b'`,
	`object.metadata.labels.all(k, k.startsWith('a'))`, `object.metadata.labels.exists(k, k == 'app')`,
	`[1, 2].map(x, x * 2) == [2, 4]`, `[[1], [2]].all(l, l.size() == 1)`, `"a\u00e9".size() == 2`,
	`request.kind == request.requestKind`, `request.resource == request.requestResource`,
	`timestamp('2024-01-01T00:00:00Z') < timestamp('2025-01-01T00:00:00Z')`,
}

// everything is matched by these rules and this selector.
var (
	everything = []registration.RuleWithOperations{{
		Operations: []registration.OperationType{"*"},
		Rule:       registration.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*/*"}},
	}}
	noSelector = &metav1.LabelSelector{}
)

type generator struct{ *rand.Rand }

func oneOf[T any](g generator, choices ...T) T { return choices[g.Intn(len(choices))] }

// some draws up to n of the choices.
func some(g generator, n int, choices ...string) []string {
	var drawn []string
	for range 1 + g.Intn(n) {
		drawn = append(drawn, oneOf(g, choices...))
	}
	return drawn
}

func (g generator) webhook() *registration.ValidatingWebhook {
	hook := &registration.ValidatingWebhook{
		Name:              "judged.example.com",
		FailurePolicy:     pointer(oneOf(g, registration.Fail, registration.Ignore)),
		MatchPolicy:       pointer(oneOf(g, registration.Equivalent, registration.Exact)),
		NamespaceSelector: g.selector("kubernetes.io/metadata.name", "team", "env"),
		ObjectSelector:    g.selector("app", "tier"),
	}
	for range 1 + g.Intn(3) {
		hook.Rules = append(hook.Rules, g.rule())
	}
	if g.Intn(2) == 0 {
		// Else few requests would get as far as the conditions.
		hook.Rules, hook.NamespaceSelector, hook.ObjectSelector = everything, noSelector, noSelector
	}
	for n := range g.Intn(4) {
		condition := registration.MatchCondition{Name: fmt.Sprintf("c%d", n), Expression: oneOf(g, conditions...)}
		hook.MatchConditions = append(hook.MatchConditions, condition)
	}
	return hook
}

func (g generator) rule() registration.RuleWithOperations {
	rule := registration.RuleWithOperations{Rule: registration.Rule{
		APIGroups:   some(g, 2, "*", "*", "", "apps", "networking.k8s.io", "events.k8s.io", "autoscaling"),
		APIVersions: some(g, 2, "*", "*", "v1", "v1beta1", "v2"),
		Resources: some(g, 3, "*", "*/*", "pods", "pods/*", "*/status", "deployments", "servicecidrs", "servicecidrs/status",
			"ipaddresses", "namespaces", "events", "horizontalpodautoscalers", "validatingwebhookconfigurations", "pods/exec"),
	}}
	for _, operation := range some(g, 3, "*", "CREATE", "UPDATE", "DELETE", "CONNECT") {
		rule.Operations = append(rule.Operations, registration.OperationType(operation))
	}
	if g.Intn(3) == 0 {
		rule.Scope = pointer(oneOf(g, registration.AllScopes, registration.ClusterScope, registration.NamespacedScope))
	}
	return rule
}

func (g generator) selector(keys ...string) *metav1.LabelSelector {
	selector := &metav1.LabelSelector{}
	values := []string{"kube-system", "kyverno", "shop", "web", "prod", "security"}
	switch g.Intn(5) {
	case 0:
		selector.MatchLabels = map[string]string{oneOf(g, keys...): oneOf(g, values...)}
	case 1:
		requirement := metav1.LabelSelectorRequirement{Key: oneOf(g, keys...)}
		requirement.Operator = oneOf(g, metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn,
			metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist)
		if requirement.Operator == metav1.LabelSelectorOpIn || requirement.Operator == metav1.LabelSelectorOpNotIn {
			requirement.Values = some(g, 2, values...)
		}
		if g.Intn(20) == 0 {
			// No API server stores it; whoever writes to the store might.
			requirement.Operator = "Like"
		}
		selector.MatchExpressions = []metav1.LabelSelectorRequirement{requirement}
	}
	return selector
}

func (g generator) request() Request {
	request := oneOf(g,
		Request{Version: "v1", Resource: "pods", Kind: "Pod", Namespace: "shop"},
		Request{Version: "v1", Resource: "pods", Kind: "Pod", Namespace: "kube-system", Subresource: "status"},
		Request{Version: "v1", Resource: "pods", Kind: "PodExecOptions", Namespace: "shop", Subresource: "exec"},
		Request{Group: "apps", Version: "v1", Resource: "deployments", Kind: "Deployment", Namespace: "kyverno"},
		Request{Group: "networking.k8s.io", Version: "v1", Resource: "servicecidrs", Kind: "ServiceCIDR"},
		Request{Group: "networking.k8s.io", Version: "v1", Resource: "servicecidrs", Kind: "ServiceCIDR", Subresource: "status"},
		Request{Group: "networking.k8s.io", Version: "v1", Resource: "ipaddresses", Kind: "IPAddress"},
		Request{Version: "v1", Resource: "namespaces", Kind: "Namespace", Namespace: "shop", Name: "shop"},
		Request{Version: "v1", Resource: "events", Kind: "Event", Namespace: "shop"},
		Request{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers", Kind: "HorizontalPodAutoscaler", Namespace: "shop"},
		Request{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingwebhookconfigurations", Kind: "ValidatingWebhookConfiguration"},
	)
	request.Operation = oneOf(g, "CREATE", "UPDATE", "DELETE")
	if request.Subresource == "exec" {
		request.Operation = "CONNECT"
	}
	if request.Name == "" {
		request.Name = oneOf(g, "web-1", "kubernetes", "10.96.0.1")
	}
	request.User = oneOf(g, "system:apiserver", "system:node:one", "alice")
	request.Groups = oneOf(g, []string{"system:masters", "system:authenticated"}, []string{"system:nodes"}, nil)
	if request.Operation != "DELETE" && request.Operation != "CONNECT" {
		request.Object = g.object(request)
	}
	if request.Operation == "UPDATE" || request.Operation == "DELETE" {
		request.OldObject = g.object(request)
	}
	return request
}

func (g generator) object(request Request) map[string]any {
	metadata := map[string]any{"name": request.Name}
	if g.Intn(2) == 0 {
		metadata["labels"] = map[string]any{"app": oneOf(g, "web", "shop"), "team": oneOf(g, "web", "security")}
	}
	object := map[string]any{"apiVersion": request.Group + "/" + request.Version, "kind": request.Kind, "metadata": metadata}
	switch g.Intn(3) {
	case 0:
		object["spec"] = map[string]any{"replicas": int64(1 + g.Intn(4))}
	case 1:
		object["spec"] = map[string]any{"containers": []any{
			map[string]any{"name": "a", "image": oneOf(g, "registry.local/x:1", "docker.io/x:1")},
			map[string]any{"name": "b", "image": "registry.local/y:2", "resources": map[string]any{}},
		}}
	}
	return object
}

func pointer[T any](value T) *T { return &value }
