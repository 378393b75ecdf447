package goclient_test

import (
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func getOne(t *testing.T, client clientv3.KV, key string) *mvccpb.KeyValue {
	t.Helper()
	response, err := client.Get(within(t), key)
	require.NoError(t, err)
	require.Len(t, response.Kvs, 1)
	return response.Kvs[0]
}

func TestTxnCompares(t *testing.T) {
	ctx, client := start(t)
	lease, err := client.Grant(ctx, 600)
	require.NoError(t, err)
	put(t, client, "k", "a")
	put(t, client, "k", "b", clientv3.WithLease(lease.ID)) // create 2, mod 3, version 2
	put(t, client, "l", "z")                               // create 4, mod 4, version 1
	cases := []struct {
		name    string
		compare []clientv3.Cmp
		want    bool
	}{
		{"nothing", nil, true},
		{"value equal", []clientv3.Cmp{clientv3.Compare(clientv3.Value("k"), "=", "b")}, true},
		{"value not equal", []clientv3.Cmp{clientv3.Compare(clientv3.Value("k"), "!=", "b")}, false},
		{"value greater", []clientv3.Cmp{clientv3.Compare(clientv3.Value("k"), ">", "a")}, true},
		{"value less", []clientv3.Cmp{clientv3.Compare(clientv3.Value("k"), "<", "b")}, false},
		{"version equal", []clientv3.Cmp{clientv3.Compare(clientv3.Version("k"), "=", 2)}, true},
		{"version greater", []clientv3.Cmp{clientv3.Compare(clientv3.Version("k"), ">", 2)}, false},
		{"create less", []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision("k"), "<", 3)}, true},
		{"mod equal", []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision("k"), "=", 3)}, true},
		{"mod not equal", []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision("k"), "!=", 3)}, false},
		{"lease equal", []clientv3.Cmp{clientv3.Compare(clientv3.LeaseValue("k"), "=", int64(lease.ID))}, true},
		{"no lease", []clientv3.Cmp{clientv3.Compare(clientv3.LeaseValue("l"), "=", 0)}, true},
		{"missing key has version 0", []clientv3.Cmp{clientv3.Compare(clientv3.Version("none"), "=", 0)}, true},
		{"missing key was never created", []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision("none"), "=", 0)}, true},
		{"missing key has no value", []clientv3.Cmp{clientv3.Compare(clientv3.Value("none"), "=", "")}, false},
		{"both hold", []clientv3.Cmp{clientv3.Compare(clientv3.Version("k"), "=", 2), clientv3.Compare(clientv3.Version("l"), "=", 1)}, true},
		{"one fails", []clientv3.Cmp{clientv3.Compare(clientv3.Version("k"), "=", 2), clientv3.Compare(clientv3.Version("l"), "=", 2)}, false},
		{"every key of a range", []clientv3.Cmp{clientv3.Compare(clientv3.Version("k"), ">", 0).WithRange("m")}, true},
		{"not every key of a range", []clientv3.Cmp{clientv3.Compare(clientv3.Version("k"), ">", 1).WithRange("m")}, false},
		{"every key of a prefix", []clientv3.Cmp{clientv3.Compare(clientv3.Value("k"), "=", "b").WithPrefix()}, true},
		{"empty range", []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision("x"), "=", 0).WithPrefix()}, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			response, err := client.Txn(ctx).If(c.compare...).Then(clientv3.OpGet("k")).Else(clientv3.OpGet("none"), clientv3.OpGet("l")).Commit()
			require.NoError(t, err)
			require.Equal(t, c.want, response.Succeeded)
			require.EqualValues(t, 4, response.Header.Revision, "a txn that only reads makes no revision")
			if c.want {
				require.Len(t, response.Responses, 1)
				require.Equal(t, "b", string(response.Responses[0].GetResponseRange().Kvs[0].Value))
			} else {
				require.Len(t, response.Responses, 2)
				require.Empty(t, response.Responses[0].GetResponseRange().Kvs)
				require.Equal(t, "z", string(response.Responses[1].GetResponseRange().Kvs[0].Value))
			}
		})
	}
}

func TestTxnWritesInOneRevisionAndSeesItself(t *testing.T) {
	ctx, client := start(t)
	put(t, client, "old", "1")
	response, err := client.Txn(ctx).Then(
		clientv3.OpPut("a", "1"),
		clientv3.OpGet("a"),
		clientv3.OpDelete("old", clientv3.WithPrevKV()),
		clientv3.OpGet("", clientv3.WithPrefix(), clientv3.WithCountOnly()),
		clientv3.OpPut("b", "2", clientv3.WithPrevKV()),
	).Commit()
	require.NoError(t, err)
	require.EqualValues(t, 3, response.Header.Revision)
	require.Len(t, response.Responses, 5)
	seen := response.Responses[1].GetResponseRange()
	require.EqualValues(t, 3, seen.Kvs[0].ModRevision)
	deleted := response.Responses[2].GetResponseDeleteRange()
	require.EqualValues(t, 1, deleted.Deleted)
	require.Equal(t, "1", string(deleted.PrevKvs[0].Value))
	require.EqualValues(t, 1, response.Responses[3].GetResponseRange().Count)
	require.Nil(t, response.Responses[4].GetResponsePut().PrevKv)
	require.Equal(t, getOne(t, client, "a").ModRevision, getOne(t, client, "b").ModRevision)
}

func TestTxnNests(t *testing.T) {
	ctx, client := start(t)
	put(t, client, "k", "v")
	response, err := client.Txn(ctx).Then(
		clientv3.OpPut("outer", "1"),
		clientv3.OpTxn(
			// Compares see the state before the whole txn.
			[]clientv3.Cmp{clientv3.Compare(clientv3.Version("outer"), "=", 0)},
			[]clientv3.Op{clientv3.OpPut("inner", "yes"), clientv3.OpGet("outer")},
			[]clientv3.Op{clientv3.OpPut("inner", "no")},
		),
	).Commit()
	require.NoError(t, err)
	inner := response.Responses[1].GetResponseTxn()
	require.True(t, inner.Succeeded)
	require.Equal(t, "1", string(inner.Responses[1].GetResponseRange().Kvs[0].Value))
	require.Equal(t, "yes", value(t, client, "inner"))
	require.EqualValues(t, 3, getOne(t, client, "inner").ModRevision)
}

func TestTxnThatFailsOnOneOperationWritesNothing(t *testing.T) {
	ctx, client := start(t)
	_, err := client.Txn(ctx).Then(clientv3.OpPut("a", "1"), clientv3.OpPut("b", "1", clientv3.WithLease(4711))).Commit()
	require.Error(t, err)
	require.Equal(t, "<none>", value(t, client, "a"))
	require.EqualValues(t, 2, put(t, client, "c", "1"))
}

func TestGuardedIncrementsLoseNothing(t *testing.T) {
	ctx, client := start(t)
	put(t, client, "counter", "0")
	const workers, each = 8, 25
	var done sync.WaitGroup
	for range workers {
		done.Go(func() {
			for i := 0; i < each; {
				got, err := client.Get(ctx, "counter")
				if err != nil {
					t.Error(err)
					return
				}
				n, _ := strconv.Atoi(string(got.Kvs[0].Value))
				response, err := client.Txn(ctx).
					If(clientv3.Compare(clientv3.ModRevision("counter"), "=", got.Kvs[0].ModRevision)).
					Then(clientv3.OpPut("counter", strconv.Itoa(n+1))).
					Commit()
				if err != nil {
					t.Error(err)
					return
				}
				if response.Succeeded {
					i++
				}
			}
		})
	}
	done.Wait()
	require.Equal(t, fmt.Sprint(workers*each), value(t, client, "counter"))
	require.EqualValues(t, workers*each+1, getOne(t, client, "counter").Version)
}
