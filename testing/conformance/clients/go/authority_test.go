package goclient_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

// Authorities that are none by HTTP's book: the first is what clientv3 3.5.0 sends, which old API servers carry.
func TestOddAuthoritiesAreServed(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for _, authority := range []string{
		"#initially=[127.0.0.1:2379;http://127.0.0.1:2379]",
		"/tmp/x.sock",
		"%2Ftmp%2Fx.sock",
		"with a space",
	} {
		client := connect(t, s, func(config *clientv3.Config) {
			config.DialOptions = append(config.DialOptions, grpc.WithAuthority(authority))
		})
		watch := client.Watch(within(t), authority)
		put(t, client, authority, "v")
		require.Len(t, collect(t, watch, 1), 1)
		require.Equal(t, "v", value(t, client, authority))
	}
}
