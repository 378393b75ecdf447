package goclient_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.uber.org/zap"
)

// The few calls that Kubernetes makes, in the order in which an object lives.
func TestKubernetesClient(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	ctx := within(t)
	client, err := kubernetes.New(clientv3.Config{Endpoints: []string{s.Endpoint()}, DialTimeout: patience, Logger: zap.NewNop()})
	require.NoError(t, err)
	defer client.Close()
	store := client.Kubernetes
	const key = "/registry/pods/ns/a"

	missing, err := store.Get(ctx, key, kubernetes.GetOptions{})
	require.NoError(t, err)
	require.Nil(t, missing.KV)
	require.EqualValues(t, 1, missing.Revision)

	created, err := store.OptimisticPut(ctx, key, []byte("1"), 0, kubernetes.PutOptions{})
	require.NoError(t, err)
	require.True(t, created.Succeeded)
	require.EqualValues(t, 2, created.Revision)

	again, err := store.OptimisticPut(ctx, key, []byte("x"), 0, kubernetes.PutOptions{GetOnFailure: true})
	require.NoError(t, err)
	require.False(t, again.Succeeded)
	require.Equal(t, "1", string(again.KV.Value))

	updated, err := store.OptimisticPut(ctx, key, []byte("2"), 2, kubernetes.PutOptions{GetOnFailure: true})
	require.NoError(t, err)
	require.True(t, updated.Succeeded)

	old, err := store.Get(ctx, key, kubernetes.GetOptions{Revision: 2})
	require.NoError(t, err)
	require.Equal(t, "1", string(old.KV.Value))
	require.EqualValues(t, 3, old.Revision)

	conflict, err := store.OptimisticDelete(ctx, key, 2, kubernetes.DeleteOptions{GetOnFailure: true})
	require.NoError(t, err)
	require.False(t, conflict.Succeeded)
	require.Equal(t, "2", string(conflict.KV.Value))

	deleted, err := store.OptimisticDelete(ctx, key, 3, kubernetes.DeleteOptions{})
	require.NoError(t, err)
	require.True(t, deleted.Succeeded)
	require.EqualValues(t, 4, deleted.Revision)

	gone, err := store.OptimisticDelete(ctx, key, 3, kubernetes.DeleteOptions{GetOnFailure: true})
	require.NoError(t, err)
	require.False(t, gone.Succeeded)
	require.Nil(t, gone.KV)
}

func TestKubernetesPages(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	ctx := within(t)
	client, err := kubernetes.New(clientv3.Config{Endpoints: []string{s.Endpoint()}, DialTimeout: patience, Logger: zap.NewNop()})
	require.NoError(t, err)
	defer client.Close()
	store := client.Kubernetes
	const prefix = "/registry/pods/"
	for i := range 10 {
		_, err := store.OptimisticPut(ctx, fmt.Sprintf("%sns/%02d", prefix, i), []byte("v"), 0, kubernetes.PutOptions{})
		require.NoError(t, err)
	}
	_, err = store.OptimisticPut(ctx, "/registry/podsecurity", []byte("v"), 0, kubernetes.PutOptions{})
	require.NoError(t, err)
	count, err := store.Count(ctx, prefix, kubernetes.CountOptions{})
	require.NoError(t, err)
	require.EqualValues(t, 10, count)

	first, err := store.List(ctx, prefix, kubernetes.ListOptions{Limit: 4})
	require.NoError(t, err)
	require.EqualValues(t, 10, first.Count)
	// A later write must not show in the pages that follow.
	_, err = store.OptimisticPut(ctx, prefix+"ns/05x", []byte("late"), 0, kubernetes.PutOptions{})
	require.NoError(t, err)
	got := keys(first.Kvs)
	for {
		page, err := store.List(ctx, prefix, kubernetes.ListOptions{Limit: 4, Revision: first.Revision, Continue: got[len(got)-1] + "\x00"})
		require.NoError(t, err)
		require.EqualValues(t, 10-len(got), page.Count)
		got = append(got, keys(page.Kvs)...)
		if int64(len(page.Kvs)) == page.Count {
			break
		}
	}
	require.Len(t, got, 10)
	require.NotContains(t, got, prefix+"ns/05x")

	_, err = client.Compact(ctx, first.Revision+1)
	require.NoError(t, err)
	_, err = store.List(ctx, prefix, kubernetes.ListOptions{Limit: 4, Revision: first.Revision})
	require.ErrorIs(t, err, rpctypes.ErrCompacted)
}
