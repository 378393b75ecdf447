// Package suites names the packages with etcd's own end-to-end tests that ./run runs. The imports
// make `go mod tidy` record in go.sum all that those tests need; nothing here is executed.
package suites

import (
	_ "go.etcd.io/etcd/tests/v3/common"
	_ "go.etcd.io/etcd/tests/v3/e2e"
)
