package codecs

import (
	"time"

	admission "k8s.io/api/admissionregistration/v1"
	admissionbeta "k8s.io/api/admissionregistration/v1beta1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/randfill"
)

// Kinds of which every field must be known: those that the doctor judges or edits.
var wholeKinds = []schema.GroupVersionKind{
	kindOf("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration"),
	kindOf("admissionregistration.k8s.io", "v1beta1", "ValidatingWebhookConfiguration"),
	kindOf("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration"),
	kindOf("admissionregistration.k8s.io", "v1beta1", "MutatingWebhookConfiguration"),
	kindOf("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy"),
	kindOf("admissionregistration.k8s.io", "v1beta1", "ValidatingAdmissionPolicy"),
	kindOf("admissionregistration.k8s.io", "v1alpha1", "ValidatingAdmissionPolicy"),
	kindOf("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyBinding"),
	kindOf("admissionregistration.k8s.io", "v1beta1", "ValidatingAdmissionPolicyBinding"),
	kindOf("admissionregistration.k8s.io", "v1alpha1", "ValidatingAdmissionPolicyBinding"),
	kindOf("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicy"),
	kindOf("admissionregistration.k8s.io", "v1beta1", "MutatingAdmissionPolicy"),
	kindOf("admissionregistration.k8s.io", "v1alpha1", "MutatingAdmissionPolicy"),
	kindOf("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicyBinding"),
	kindOf("admissionregistration.k8s.io", "v1beta1", "MutatingAdmissionPolicyBinding"),
	kindOf("admissionregistration.k8s.io", "v1alpha1", "MutatingAdmissionPolicyBinding"),
	kindOf("networking.k8s.io", "v1", "ServiceCIDR"),
	kindOf("networking.k8s.io", "v1beta1", "ServiceCIDR"),
	kindOf("networking.k8s.io", "v1", "IPAddress"),
	kindOf("networking.k8s.io", "v1beta1", "IPAddress"),
}

// The kinds that edits are about.
var webhookKinds = wholeKinds[:4]

// A partKind is one of which at least the fields named must be known. A field is a path; what it leads through a list
// means every item.
type partKind struct {
	kind   schema.GroupVersionKind
	fields []string
}

var podFields = []string{
	"spec.containers.name", "spec.containers.image", "spec.initContainers.image", "spec.nodeName", "spec.hostNetwork",
}

func templated(fields ...string) []string {
	for _, field := range podFields {
		fields = append(fields, "spec.template."+field)
	}
	return append(fields, "spec.template.metadata", "spec.selector")
}

var partKinds = []partKind{
	{kindOf("", "v1", "Service"), []string{"spec.type", "spec.clusterIP", "spec.clusterIPs", "spec.externalName", "spec.selector", "spec.ports"}},
	{kindOf("", "v1", "Endpoints"), []string{"subsets.addresses.ip", "subsets.notReadyAddresses.ip", "subsets.ports.port"}},
	{kindOf("", "v1", "Namespace"), []string{"spec", "status.phase"}},
	{kindOf("", "v1", "Node"), []string{"status.conditions", "status.addresses", "spec.unschedulable"}},
	{kindOf("", "v1", "Pod"), append(podFields, "status.phase", "status.podIP")},
	{kindOf("", "v1", "Event"), []string{"involvedObject", "reason", "message", "count", "type", "source", "firstTimestamp", "lastTimestamp", "eventTime"}},
	{kindOf("discovery.k8s.io", "v1", "EndpointSlice"), []string{"addressType", "endpoints.addresses", "endpoints.conditions", "endpoints.targetRef", "endpoints.nodeName"}},
	{kindOf("discovery.k8s.io", "v1beta1", "EndpointSlice"), nil},
	{kindOf("coordination.k8s.io", "v1", "Lease"), []string{"spec"}},
	{kindOf("coordination.k8s.io", "v1beta1", "Lease"), []string{"spec"}},
	{kindOf("events.k8s.io", "v1", "Event"), nil},
	{kindOf("scheduling.k8s.io", "v1", "PriorityClass"), []string{"value", "globalDefault"}},
	{kindOf("apps", "v1", "Deployment"), templated("spec.replicas", "status.replicas", "status.readyReplicas")},
	{kindOf("apps", "v1", "ReplicaSet"), templated("spec.replicas", "status.replicas", "status.readyReplicas")},
	{kindOf("apps", "v1", "StatefulSet"), templated("spec.replicas", "status.replicas", "status.readyReplicas")},
	{kindOf("apps", "v1", "DaemonSet"), templated("status.desiredNumberScheduled", "status.numberReady")},
	{kindOf("rbac.authorization.k8s.io", "v1", "ClusterRole"), nil},
	{kindOf("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding"), nil},
	{kindOf("rbac.authorization.k8s.io", "v1", "Role"), nil},
	{kindOf("rbac.authorization.k8s.io", "v1", "RoleBinding"), nil},
	{kindOf("", "v1", "ConfigMap"), nil},
	{kindOf("", "v1", "Secret"), nil},
	{kindOf("batch", "v1", "Job"), nil},
	{kindOf("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema"), nil},
}

// How to fill what Kubernetes itself keeps within bounds that plain random values would leave. A function for a type is called
// for pointers to it as well, which then are never nil, so those have functions of their own.
var kindFunctions = []any{
	orNil[admission.FailurePolicyType],
	orNil[admissionbeta.FailurePolicyType],
	orNil[v1.FieldsV1],
	orNil[v1.MicroTime],
	orNil[v1.Time],
	func(selector **v1.LabelSelector, c randfill.Continue) {
		if *selector = nil; c.Intn(3) > 0 {
			*selector = &v1.LabelSelector{}
		}
		if c.Bool() && *selector != nil {
			c.Fill(*selector)
		}
	},
	func(i *intstr.IntOrString, c randfill.Continue) {
		if c.Bool() {
			*i = intstr.FromString(c.String(0))
		} else {
			*i = intstr.FromInt32(c.Int31())
		}
	},
	func(policy *admission.FailurePolicyType, c randfill.Continue) {
		*policy = []admission.FailurePolicyType{admission.Fail, admission.Ignore}[c.Intn(2)]
	},
	func(policy *admissionbeta.FailurePolicyType, c randfill.Continue) {
		*policy = []admissionbeta.FailurePolicyType{admissionbeta.Fail, admissionbeta.Ignore}[c.Intn(2)]
	},
	func(t *v1.MicroTime, c randfill.Continue) {
		if c.Bool() {
			*t = v1.MicroTime{}
		} else {
			*t = v1.NewMicroTime(time.Unix(c.Int63n(1<<32), c.Int63n(1_000_000)*1000))
		}
	},
	func(entry *v1.ManagedFieldsEntry, c randfill.Continue) { c.FillNoCustom(entry) },
	func(fields *v1.FieldsV1, c randfill.Continue) {
		fields.SetRawString(`{"f:metadata":{"f:labels":{".":{},"f:a":{}}},"f:webhooks":{}}`)
	},
}

func orNil[T any](pointer **T, c randfill.Continue) {
	if *pointer = nil; c.Bool() {
		*pointer = new(T)
		c.Fill(*pointer)
	}
}
