// Package goclient_test uses etcd's Go client, unmodified, against the program under test.
// Each test has a server of its own, so revisions are exact: an empty store is at revision 1.
package goclient_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"bowline/testing/conformance/clients/server"
)

const (
	// patience bounds every wait for something that should happen at once.
	patience       = 60 * time.Second
	outputShownMax = 2048
)

// startServer starts a server with etcd's flags args; it ends with the test.
func startServer(t *testing.T, args ...string) *server.Server {
	t.Helper()
	return startConfigured(t, server.Config{Args: args})
}

func startConfigured(t *testing.T, config server.Config) *server.Server {
	t.Helper()
	config.Dir = filepath.Join(t.TempDir(), "data")
	s, err := server.Start(config)
	require.NoError(t, err)
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			output := s.Output()
			t.Logf("the server's last output:\n%s", output[max(0, len(output)-outputShownMax):])
		}
	})
	return s
}

// connect is a client of s that is closed with the test.
func connect(t *testing.T, s *server.Server, change ...func(*clientv3.Config)) *clientv3.Client {
	t.Helper()
	config := clientv3.Config{
		Endpoints:   []string{s.Endpoint()},
		DialTimeout: patience,
		Logger:      zap.NewNop(),
	}
	for _, c := range change {
		c(&config)
	}
	client, err := clientv3.New(config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// start is a fresh server and a client of it, for a test that runs beside others.
func start(t *testing.T, args ...string) (context.Context, *clientv3.Client) {
	t.Helper()
	t.Parallel()
	return within(t), connect(t, startServer(t, args...))
}

// within is a context that ends with the test, or after patience.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func put(t *testing.T, client clientv3.KV, key, value string, options ...clientv3.OpOption) int64 {
	t.Helper()
	response, err := client.Put(within(t), key, value, options...)
	require.NoError(t, err)
	return response.Header.Revision
}

// value is what key holds now, or "<none>".
func value(t *testing.T, client clientv3.KV, key string) string {
	t.Helper()
	response, err := client.Get(within(t), key)
	require.NoError(t, err)
	if len(response.Kvs) == 0 {
		return "<none>"
	}
	return string(response.Kvs[0].Value)
}

func keys(kvs []*mvccpb.KeyValue) []string {
	names := []string{}
	for _, kv := range kvs {
		names = append(names, string(kv.Key))
	}
	return names
}

// describe puts an event on a line: kind, key, value, revisions, and the value before if sent.
func describe(event *clientv3.Event) string {
	text := fmt.Sprintf("%s %s=%s mod=%d create=%d version=%d", event.Type, event.Kv.Key,
		event.Kv.Value, event.Kv.ModRevision, event.Kv.CreateRevision, event.Kv.Version)
	if event.PrevKv != nil {
		text += fmt.Sprintf(" prev=%s@%d", event.PrevKv.Value, event.PrevKv.ModRevision)
	}
	return text
}

// next is the next response on a watch.
func next(t *testing.T, watch clientv3.WatchChan) clientv3.WatchResponse {
	t.Helper()
	select {
	case response, open := <-watch:
		require.True(t, open, "the watch was closed")
		return response
	case <-time.After(patience):
		require.FailNow(t, "no watch response")
		return clientv3.WatchResponse{}
	}
}

// collect reads a watch until it has n events and describes them.
func collect(t *testing.T, watch clientv3.WatchChan, n int) []string {
	t.Helper()
	lines := []string{}
	for len(lines) < n {
		response := next(t, watch)
		require.NoError(t, response.Err())
		for _, event := range response.Events {
			lines = append(lines, describe(event))
		}
	}
	return lines
}

// eventually waits until condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, patience, 20*time.Millisecond, what)
}
