package codecs

import (
	"encoding/hex"
	"path"
	"reflect"
	"testing"

	"bowline/testing/conformance/doctor/drive"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/kubernetes/scheme"
)

func TestRealKeysAreThoseThatClustersHave(t *testing.T) {
	for _, c := range []struct{ prefix, group, resource, namespace, name, key string }{
		{"/registry", "", "pods", "default", "web", "/registry/pods/default/web"},
		{"/registry", "", "nodes", "", "n1", "/registry/minions/n1"},
		{"/registry", "networking.k8s.io", "servicecidrs", "", "kubernetes", "/registry/servicecidrs/kubernetes"},
		{"kubernetes.io", "", "services", "a", "b", "/kubernetes.io/services/specs/a/b"},
	} {
		key, err := keyOf(c.prefix, schema.GroupResource{Group: c.group, Resource: c.resource}, c.namespace, c.name)
		if err != nil || key != c.key {
			t.Errorf("%s, not %s: %v", key, c.key, err)
		}
	}
}

// Kinds of built-in groups that are answers or parts of requests, never stored.
var virtual = sets.New(
	"Binding", "Eviction", "LocalSubjectAccessReview", "PodProxyOptions", "PodStatusResult", "RangeAllocation", "Scale",
	"SelfSubjectAccessReview", "SelfSubjectReview", "SelfSubjectRulesReview", "SerializedReference", "SubjectAccessReview",
	"TokenRequest", "TokenReview", "DeploymentRollback", "AdmissionReview", "ImageReview",
)

// Groups that no longer are served by any release.
var gone = sets.New("extensions", "imagepolicy.k8s.io", "lifecycle.k8s.io")

// stored are the resources of which an API server keeps objects, by the kinds that its clients know.
func stored() []schema.GroupResource {
	resources := sets.New[schema.GroupResource]()
	for kind, object := range scheme.Scheme.AllKnownTypes() {
		isObject := reflect.PointerTo(object).Implements(reflect.TypeFor[metav1.ObjectMetaAccessor]())
		if kind.Version == runtime.APIVersionInternal || !isObject || virtual.Has(kind.Kind) || gone.Has(kind.Group) {
			continue
		}
		plural, _ := meta.UnsafeGuessKindToResource(kind)
		resources.Insert(plural.GroupResource())
	}
	return resources.UnsortedList()
}

func TestKeysAreThoseOfTheAPIServer(t *testing.T) {
	d := drive.Start(t)
	for _, prefix := range []string{"/registry", "/registry/", "kubernetes.io", "/a/b"} {
		for _, resource := range stored() {
			for _, namespace := range []string{"", "kube-system"} {
				t.Run(prefix+"/"+resource.String()+"/"+namespace, func(t *testing.T) { expectKey(t, d, prefix, resource, namespace) })
			}
		}
	}
}

type resourceKey struct {
	Group     string  `json:"group"`
	Resource  string  `json:"resource"`
	Namespace *string `json:"namespace"`
	Name      string  `json:"name"`
}

func expectKey(t *testing.T, d *drive.Drive, prefix string, resource schema.GroupResource, namespace string) {
	const name = "10.96.0.1"
	real, err := keyOf(prefix, resource, namespace, name)
	if err != nil {
		t.Fatal(err)
	}
	wanted := resourceKey{Group: resource.Group, Resource: resource.Resource, Name: name}
	if namespace != "" {
		wanted.Namespace = &namespace
	}
	members := map[string]any{
		"prefix": prefix, "group": resource.Group, "resource": resource.Resource, "namespace": wanted.Namespace, "name": name,
	}
	if key := askKey(t, d, "key_of", members); key == nil || *key != real {
		t.Fatalf("key_of says %s, not %s", show(key), real)
	}
	members = map[string]any{"prefix": prefix, "key": hex.EncodeToString([]byte(real))}
	var found *resourceKey
	if err := d.Ask(t, "key", members, &found); err != nil {
		t.Fatal(err)
	}
	// Events of both groups are the same objects.
	if wanted.Resource == "events" {
		wanted.Group = ""
	}
	if !reflect.DeepEqual(found, &wanted) {
		t.Fatalf("%s is read as %+v", real, found)
	}
	if meant := askKey(t, d, "likely_meant", members); meant != nil {
		t.Fatalf("for %s, %s is said to be meant", real, *meant)
	}
	expectMeant(t, d, prefix, wanted, real)
}

// expectMeant asks with the group in the key, as it is often written.
func expectMeant(t *testing.T, d *drive.Drive, prefix string, resource resourceKey, real string) {
	if resource.Group == "" {
		return
	}
	parts := []string{"/", prefix, resource.Group, resource.Resource}
	if resource.Namespace != nil {
		parts = append(parts, *resource.Namespace)
	}
	wrong := path.Join(append(parts, resource.Name)...)
	if wrong == real {
		return
	}
	members := map[string]any{"prefix": prefix, "key": hex.EncodeToString([]byte(wrong))}
	if meant := askKey(t, d, "likely_meant", members); meant == nil || *meant != real {
		t.Fatalf("for %s, %s is said to be meant", wrong, show(meant))
	}
}

// askKey returns the key that a verb answers with, nil for none.
func askKey(t *testing.T, d *drive.Drive, verb string, members map[string]any) *string {
	t.Helper()
	var answer *string
	if err := d.Ask(t, verb, members, &answer); err != nil {
		t.Fatal(err)
	}
	if answer == nil {
		return nil
	}
	key, err := hex.DecodeString(*answer)
	if err != nil {
		t.Fatal(err)
	}
	text := string(key)
	return &text
}

func show(key *string) string {
	if key == nil {
		return "none"
	}
	return *key
}
