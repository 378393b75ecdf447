// Package codecs lets Kubernetes' own code judge what Bowline reads from and writes into stored objects.
package codecs

import (
	"context"
	"path"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/server/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/client-go/kubernetes/scheme"
)

// What kube-apiserver hands to its storage factory: the resources whose keys are not named as they are.
var specialPrefixes = map[schema.GroupResource]string{
	{Resource: "replicationcontrollers"}:                "controllers",
	{Resource: "endpoints"}:                             "services/endpoints",
	{Resource: "services"}:                              "services/specs",
	{Resource: "nodes"}:                                 "minions",
	{Group: "extensions", Resource: "ingresses"}:        "ingress",
	{Group: "networking.k8s.io", Resource: "ingresses"}: "ingress",
}

// factory is a storage factory as kube-apiserver makes it.
func factory(prefix string) *storage.DefaultStorageFactory {
	return storage.NewDefaultStorageFactory(
		*storagebackend.NewDefaultConfig(prefix, nil), runtime.ContentTypeProtobuf, scheme.Codecs,
		storage.NewDefaultResourceEncodingConfig(scheme.Scheme),
		storage.NewResourceConfig(), specialPrefixes)
}

// keyOf is the key under which an API server keeps an object; namespace is empty for one that has none.
func keyOf(prefix string, resource schema.GroupResource, namespace, name string) (string, error) {
	f := factory(prefix)
	// The store puts the slash before what --etcd-prefix says.
	root := path.Join("/", f.StorageConfig.Prefix, f.ResourcePrefix(resource))
	if namespace == "" {
		return registry.NoNamespaceKeyFunc(context.Background(), root, name)
	}
	return registry.NamespaceKeyFunc(request.WithNamespace(context.Background(), namespace), root, name)
}
