// Package suites names the packages of k8s.io/apiserver whose tests ./run runs. The imports
// make `go mod tidy` record in go.sum all that those tests need; nothing here is executed.
package suites

import (
	_ "k8s.io/apiserver/pkg/reconcilers"
	_ "k8s.io/apiserver/pkg/registry/generic/registry"
	_ "k8s.io/apiserver/pkg/storage/cacher"
	_ "k8s.io/apiserver/pkg/storage/etcd3"
	_ "k8s.io/apiserver/pkg/storage/storagebackend/factory"
	_ "k8s.io/apiserver/pkg/util/peerproxy"
)
