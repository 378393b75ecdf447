// Package matching compares Bowline's decision whether a webhook is called with that of the API server's own admission
// plugin: its predicates, its rules, its compiler and evaluator of match conditions.
package matching

import (
	"context"
	"encoding/json"
	"fmt"

	registration "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/webhook"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/generic"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/predicates/rules"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
)

// Request is one request, in the form that kubedrive takes.
type Request struct {
	Group       string         `json:"group"`
	Version     string         `json:"version"`
	Resource    string         `json:"resource"`
	Subresource string         `json:"subresource"`
	Kind        string         `json:"kind"`
	Namespace   string         `json:"namespace"`
	Name        string         `json:"name"`
	Operation   string         `json:"operation"`
	User        string         `json:"user"`
	Groups      []string       `json:"groups"`
	Object      map[string]any `json:"object"`
	OldObject   map[string]any `json:"oldObject"`
}

// realPlugin is the generic admission plugin over a cluster with the given namespaces.
type realPlugin struct {
	plugin    *generic.Webhook
	resources runtime.EquivalentResourceRegistry
}

func newRealPlugin(namespaces map[string]map[string]string) (*realPlugin, error) {
	var objects []runtime.Object
	for name, labels := range namespaces {
		objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}})
	}
	client := fake.NewSimpleClientset(objects...)
	source := func(informers.SharedInformerFactory, sets.Set[schema.GroupResource]) generic.Source { return nil }
	dispatcher := func(*webhookutil.ClientManager) generic.Dispatcher { return nil }
	handler := admission.NewHandler(admission.Connect, admission.Create, admission.Delete, admission.Update)
	plugin, err := generic.NewWebhook(handler, nil, source, dispatcher)
	if err != nil {
		return nil, err
	}
	plugin.SetExternalKubeClientSet(client)
	plugin.SetExternalKubeInformerFactory(informers.NewSharedInformerFactory(client, 0))
	plugin.SetUnconditionalAuthorizer(authorizerfactory.NewAlwaysAllowAuthorizer())
	return &realPlugin{plugin: plugin, resources: equivalents()}, nil
}

// equivalents knows the resources that an API server of 1.36 serves under more than one name.
func equivalents() runtime.EquivalentResourceRegistry {
	storage := func(resource schema.GroupResource) string { return resource.Resource }
	registry := runtime.NewEquivalentResourceRegistryWithIdentity(storage)
	for _, served := range []struct{ group, version, resource, kind string }{
		{"", "v1", "events", "Event"},
		{"events.k8s.io", "v1", "events", "Event"},
		{"autoscaling", "v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler"},
		{"autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"},
		{"networking.k8s.io", "v1beta1", "servicecidrs", "ServiceCIDR"},
		{"networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR"},
		{"networking.k8s.io", "v1beta1", "ipaddresses", "IPAddress"},
		{"networking.k8s.io", "v1", "ipaddresses", "IPAddress"},
	} {
		for _, subresource := range []string{"", "status"} {
			resource := schema.GroupVersionResource{Group: served.group, Version: served.version, Resource: served.resource}
			kind := schema.GroupVersionKind{Group: served.group, Version: served.version, Kind: served.kind}
			registry.RegisterKindFor(resource, subresource, kind)
		}
	}
	return registry
}

// interfaces gives the plugin what it asks for: only names of resources.
type interfaces struct {
	admission.ObjectInterfaces
	resources runtime.EquivalentResourceMapper
}

func (i interfaces) GetEquivalentResourceMapper() runtime.EquivalentResourceMapper {
	return i.resources
}

// asItIs converts nothing: the objects here have the same fields in every version.
type asItIs struct{ admission.Attributes }

func (a asItIs) VersionedAttribute(kind schema.GroupVersionKind) (*admission.VersionedAttributes, error) {
	versioned := &admission.VersionedAttributes{Attributes: a.Attributes, VersionedKind: kind}
	if object := a.GetObject(); object != nil {
		versioned.VersionedObject.Set(object)
	}
	if object := a.GetOldObject(); object != nil {
		versioned.VersionedOldObject.Set(object)
	}
	return versioned, nil
}

// call answers yes, no or rejected, and in the first case the resource that matched.
func (p *realPlugin) call(hook *registration.ValidatingWebhook, request Request) (string, string) {
	attributes := request.attributes()
	if rules.IsExemptAdmissionConfigurationResource(attributes) {
		return "no", ""
	}
	accessor := webhook.NewValidatingWebhookAccessor("uid", "judged", hook)
	invocation, err := p.plugin.ShouldCallHook(
		context.Background(), accessor, attributes, interfaces{resources: p.resources}, asItIs{attributes},
	)
	switch {
	case err != nil:
		return "rejected", ""
	case invocation == nil:
		return "no", ""
	}
	resource := invocation.Resource
	if resource.Group == "" {
		return "yes", fmt.Sprintf("%s %s", resource.Version, resource.Resource)
	}
	return "yes", fmt.Sprintf("%s/%s %s", resource.Group, resource.Version, resource.Resource)
}

func (r Request) attributes() admission.Attributes {
	kind := schema.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: r.Kind}
	resource := schema.GroupVersionResource{Group: r.Group, Version: r.Version, Resource: r.Resource}
	who := &user.DefaultInfo{Name: r.User, Groups: r.Groups}
	operation := admission.Operation(r.Operation)
	return admission.NewAttributesRecord(
		object(r.Object), object(r.OldObject), kind, r.Namespace, r.Name, resource, r.Subresource, operation, nil, false, who,
	)
}

// object keeps nil what is none: an interface around a nil pointer is not.
func object(content map[string]any) runtime.Object {
	if content == nil {
		return nil
	}
	return &unstructured.Unstructured{Object: content}
}

// asJSON is the form in which the webhook is stored, defaults not filled in.
func asJSON(hook *registration.ValidatingWebhook) (map[string]any, error) {
	text, err := json.Marshal(hook)
	if err != nil {
		return nil, err
	}
	var content map[string]any
	return content, json.Unmarshal(text, &content)
}
