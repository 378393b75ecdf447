//go:build tools

// Package peers pins the real etcd whose programs the conformance suites run
// beside Bowline. It holds no code: the blank imports keep the three main
// packages, and so everything they are built from, in go.mod and go.sum.
package peers

import (
	_ "go.etcd.io/etcd/etcdctl/v3"
	_ "go.etcd.io/etcd/etcdutl/v3"
	_ "go.etcd.io/etcd/server/v3"
)
