package goclient_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.etcd.io/etcd/client/v3/naming/resolver"
	"go.etcd.io/etcd/client/v3/ordering"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

func TestNamespace(t *testing.T) {
	ctx, client := start(t)
	kv := namespace.NewKV(client, "tenant/")
	watcher := namespace.NewWatcher(client, "tenant/")
	lease := namespace.NewLease(client, "tenant/")
	watch := watchCreated(t, ctx, watcher, "", clientv3.WithPrefix())

	granted, err := lease.Grant(ctx, 600)
	require.NoError(t, err)
	put(t, client, "outside", "x")
	put(t, kv, "a", "1", clientv3.WithLease(granted.ID))
	put(t, kv, "b", "2")
	require.Equal(t, "1", value(t, client, "tenant/a"))
	all, err := kv.Get(ctx, "", clientv3.WithPrefix())
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, keys(all.Kvs))
	from, err := kv.Get(ctx, "b", clientv3.WithFromKey())
	require.NoError(t, err)
	require.Equal(t, []string{"b"}, keys(from.Kvs))
	left, err := lease.TimeToLive(ctx, granted.ID, clientv3.WithAttachedKeys())
	require.NoError(t, err)
	require.Equal(t, [][]byte{[]byte("a")}, left.Keys)

	txn, err := kv.Txn(ctx).If(clientv3.Compare(clientv3.Value("a"), "=", "1")).
		Then(clientv3.OpDelete("", clientv3.WithPrefix(), clientv3.WithPrevKV())).Commit()
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, keys(txn.Responses[0].GetResponseDeleteRange().PrevKvs))
	require.Equal(t, []string{
		"PUT a=1 mod=3 create=3 version=1",
		"PUT b=2 mod=4 create=4 version=1",
		"DELETE a= mod=5 create=0 version=0",
		"DELETE b= mod=5 create=0 version=0",
	}, collect(t, watch, 4))
	require.Equal(t, "x", value(t, client, "outside"))
}

func TestOrderingNeverGoesBack(t *testing.T) {
	ctx, client := start(t)
	violation := errors.New("an older revision")
	kv := ordering.NewKV(client.KV, func(clientv3.Op, clientv3.OpResponse, int64) error { return violation })
	for i := range 20 {
		put(t, kv, "k", fmt.Sprint(i))
		_, err := kv.Get(ctx, "k", clientv3.WithSerializable())
		require.NoError(t, err)
		_, err = kv.Txn(ctx).Then(clientv3.OpGet("k")).Commit()
		require.NoError(t, err)
	}
}

func TestLeasingCacheSeesForeignWrites(t *testing.T) {
	ctx, client := start(t)
	one, closeOne, err := leasing.NewKV(client, "leasing/")
	require.NoError(t, err)
	defer closeOne()
	two, closeTwo, err := leasing.NewKV(client, "leasing/")
	require.NoError(t, err)
	defer closeTwo()
	for i := range 5 {
		put(t, one, "k", fmt.Sprint(i))
		require.Equal(t, fmt.Sprint(i), value(t, two, "k"))
		put(t, two, "k", "two"+fmt.Sprint(i))
		require.Equal(t, "two"+fmt.Sprint(i), value(t, one, "k"))
	}
	_, err = one.Delete(ctx, "k")
	require.NoError(t, err)
	require.Equal(t, "<none>", value(t, two, "k"))
}

func TestMirror(t *testing.T) {
	ctx, client := start(t)
	const n = 2500 // more than two of the syncer's pages
	for i := 0; i < n; i += 100 {
		ops := []clientv3.Op{}
		for j := range 100 {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("src/%05d", i+j), "v"))
		}
		_, err := client.Txn(ctx).Then(ops...).Commit()
		require.NoError(t, err)
	}
	syncer := mirror.NewSyncer(client, "src/", 0)
	base, failures := syncer.SyncBase(ctx)
	copied := map[string]bool{}
	for page := range base {
		for _, key := range keys(page.Kvs) {
			require.False(t, copied[key], key)
			copied[key] = true
		}
	}
	require.NoError(t, <-failures)
	require.Len(t, copied, n)

	updates := syncer.SyncUpdates(ctx)
	put(t, client, "src/new", "1")
	_, err := client.Delete(ctx, "src/00000")
	require.NoError(t, err)
	require.Equal(t, []string{
		"PUT src/new=1 mod=27 create=27 version=1",
		"DELETE src/00000= mod=28 create=0 version=0",
	}, collect(t, updates, 2))
}

func TestEndpointManager(t *testing.T) {
	ctx, client := start(t)
	manager, err := endpoints.NewManager(client, "service")
	require.NoError(t, err)
	updates, err := manager.NewWatchChannel(ctx)
	require.NoError(t, err)
	require.NoError(t, manager.AddEndpoint(ctx, "service/a", endpoints.Endpoint{Addr: "127.0.0.1:1", Metadata: "m"}))
	seen := (<-updates)[0]
	require.Equal(t, endpoints.Add, seen.Op)
	require.Equal(t, endpoints.Endpoint{Addr: "127.0.0.1:1", Metadata: "m"}, seen.Endpoint)
	list, err := manager.List(ctx)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.NoError(t, manager.Update(ctx, []*endpoints.UpdateWithOpts{
		endpoints.NewAddUpdateOpts("service/b", endpoints.Endpoint{Addr: "127.0.0.1:2"}),
		endpoints.NewDeleteUpdateOpts("service/a"),
	}))
	list, err = manager.List(ctx)
	require.NoError(t, err)
	require.Equal(t, endpoints.Key2EndpointMap{"service/b": {Addr: "127.0.0.1:2"}}, list)
}

// The service that is found through the store is the store's own health service.
func TestResolverFindsAService(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	ctx, client := within(t), connect(t, s)
	manager, err := endpoints.NewManager(client, "health")
	require.NoError(t, err)
	require.NoError(t, manager.AddEndpoint(ctx, "health/one", endpoints.Endpoint{Addr: s.Address()}))
	builder, err := resolver.NewBuilder(client)
	require.NoError(t, err)
	connection, err := grpc.NewClient("etcd:///health", grpc.WithResolvers(builder), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer connection.Close()
	answer, err := grpc_health_v1.NewHealthClient(connection).Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true))
	require.NoError(t, err)
	require.Equal(t, grpc_health_v1.HealthCheckResponse_SERVING, answer.Status)
}

func TestRequestsEndWithTheirContext(t *testing.T) {
	_, client := start(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := client.Get(ctx, "k")
	require.ErrorIs(t, err, context.Canceled)
	_, err = client.Put(ctx, "k", "v")
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, "<none>", value(t, client, "k"))
}
