package codecs

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
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
