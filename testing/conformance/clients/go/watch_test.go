package goclient_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// watchCreated opens a watch and waits until the server has it.
func watchCreated(t *testing.T, ctx context.Context, client clientv3.Watcher, key string, options ...clientv3.OpOption) clientv3.WatchChan {
	t.Helper()
	watch := client.Watch(ctx, key, append(options, clientv3.WithCreatedNotify())...)
	require.True(t, next(t, watch).Created)
	return watch
}

func TestWatchSeesEveryChangeInOrder(t *testing.T) {
	ctx, client := start(t)
	watch := watchCreated(t, ctx, client, "k")
	put(t, client, "k", "1")
	put(t, client, "other", "x")
	put(t, client, "k", "2")
	_, err := client.Delete(ctx, "k")
	require.NoError(t, err)
	put(t, client, "k", "3")
	require.Equal(t, []string{
		"PUT k=1 mod=2 create=2 version=1",
		"PUT k=2 mod=4 create=2 version=2",
		"DELETE k= mod=5 create=0 version=0",
		"PUT k=3 mod=6 create=6 version=1",
	}, collect(t, watch, 4))
}

func TestWatchRanges(t *testing.T) {
	ctx, client := start(t)
	watches := map[string]clientv3.WatchChan{
		"key":    watchCreated(t, ctx, client, "b/1"),
		"prefix": watchCreated(t, ctx, client, "b/", clientv3.WithPrefix()),
		"range":  watchCreated(t, ctx, client, "b/2", clientv3.WithRange("c")),
		"from":   watchCreated(t, ctx, client, "b/3", clientv3.WithFromKey()),
		"all":    watchCreated(t, ctx, client, "", clientv3.WithPrefix()),
	}
	for _, key := range []string{"a", "b/1", "b/2", "b/3", "c", "end"} {
		put(t, client, key, "")
	}
	for name, want := range map[string]string{
		"key": "b/1", "prefix": "b/1 b/2 b/3", "range": "b/2 b/3", "from": "b/3 c end", "all": "a b/1 b/2 b/3 c end",
	} {
		t.Run(name, func(t *testing.T) {
			seen := []string{}
			for range strings.Fields(want) {
				response := next(t, watches[name])
				for _, event := range response.Events {
					seen = append(seen, string(event.Kv.Key))
				}
			}
			require.Equal(t, strings.Fields(want), seen)
		})
	}
}

func TestWatchFromThePast(t *testing.T) {
	ctx, client := start(t)
	for i := range 3 {
		put(t, client, "k", fmt.Sprint(i))
	}
	_, err := client.Delete(ctx, "k")
	require.NoError(t, err)
	watch := client.Watch(ctx, "k", clientv3.WithRev(3), clientv3.WithPrevKV())
	require.Equal(t, []string{
		"PUT k=1 mod=3 create=2 version=2 prev=0@2",
		"PUT k=2 mod=4 create=2 version=3 prev=1@3",
		"DELETE k= mod=5 create=0 version=0 prev=2@4",
	}, collect(t, watch, 3))
	put(t, client, "k", "live")
	require.Equal(t, []string{"PUT k=live mod=6 create=6 version=1"}, collect(t, watch, 1))
}

func TestWatchFromTheFuture(t *testing.T) {
	ctx, client := start(t)
	watch := watchCreated(t, ctx, client, "k", clientv3.WithRev(4))
	for i := range 3 {
		put(t, client, "k", fmt.Sprint(i))
	}
	require.Equal(t, []string{"PUT k=2 mod=4 create=2 version=3"}, collect(t, watch, 1))
}

func TestWatchFilters(t *testing.T) {
	ctx, client := start(t)
	noPut := watchCreated(t, ctx, client, "k", clientv3.WithFilterPut())
	noDelete := watchCreated(t, ctx, client, "k", clientv3.WithFilterDelete())
	put(t, client, "k", "1")
	_, err := client.Delete(ctx, "k")
	require.NoError(t, err)
	put(t, client, "k", "2")
	_, err = client.Delete(ctx, "k")
	require.NoError(t, err)
	require.Equal(t, []string{"DELETE k= mod=3 create=0 version=0", "DELETE k= mod=5 create=0 version=0"}, collect(t, noPut, 2))
	require.Equal(t, []string{"PUT k=1 mod=2 create=2 version=1", "PUT k=2 mod=4 create=4 version=1"}, collect(t, noDelete, 2))
}

func TestWatchDeliversATxnInOneResponse(t *testing.T) {
	ctx, client := start(t)
	put(t, client, "t/old", "x")
	live := watchCreated(t, ctx, client, "t/", clientv3.WithPrefix(), clientv3.WithPrevKV())
	_, err := client.Txn(ctx).Then(clientv3.OpPut("t/b", "1"), clientv3.OpDelete("t/old"), clientv3.OpPut("t/a", "2")).Commit()
	require.NoError(t, err)
	want := []string{
		"PUT t/b=1 mod=3 create=3 version=1",
		"DELETE t/old= mod=3 create=0 version=0 prev=x@2",
		"PUT t/a=2 mod=3 create=3 version=1",
	}
	past := client.Watch(ctx, "t/", clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithRev(3))
	for name, watch := range map[string]clientv3.WatchChan{"live": live, "past": past} {
		response := next(t, watch)
		lines := []string{}
		for _, event := range response.Events {
			lines = append(lines, describe(event))
		}
		require.Equal(t, want, lines, name)
		require.EqualValues(t, 3, response.Header.Revision, name)
	}
}

func TestWatchOfCompactedHistoryIsCancelled(t *testing.T) {
	ctx, client := start(t)
	for i := range 5 {
		put(t, client, "k", fmt.Sprint(i))
	}
	_, err := client.Compact(ctx, 4)
	require.NoError(t, err)
	response := next(t, client.Watch(ctx, "k", clientv3.WithRev(3)))
	require.ErrorIs(t, response.Err(), rpctypes.ErrCompacted)
	require.EqualValues(t, 4, response.CompactRevision)
	require.True(t, response.Canceled)
	// The compacted revision itself can still be watched.
	require.Len(t, collect(t, client.Watch(ctx, "k", clientv3.WithRev(4)), 3), 3)
}

func TestWatchProgressOnRequest(t *testing.T) {
	ctx, client := start(t)
	watch := watchCreated(t, ctx, client, "k")
	put(t, client, "k", "1")
	put(t, client, "elsewhere", "1")
	require.Len(t, collect(t, watch, 1), 1)
	require.NoError(t, client.RequestProgress(ctx))
	response := next(t, watch)
	require.True(t, response.IsProgressNotify())
	require.EqualValues(t, 3, response.Header.Revision)
}

func TestWatchProgressByTime(t *testing.T) {
	ctx, client := start(t, "--watch-progress-notify-interval=300ms")
	watch := watchCreated(t, ctx, client, "k", clientv3.WithProgressNotify())
	put(t, client, "elsewhere", "1")
	// The first may have been on its way before the put.
	for {
		response := next(t, watch)
		require.True(t, response.IsProgressNotify())
		if response.Header.Revision == 2 {
			break
		}
	}
}

func TestWatchProgressNeverOvertakesEvents(t *testing.T) {
	ctx, client := start(t)
	watch := watchCreated(t, ctx, client, "p/", clientv3.WithPrefix())
	const n = 500
	failed := make(chan error, 1)
	go func() {
		for i := range n {
			_, err := client.Put(ctx, fmt.Sprint("p/", i%7), "v")
			if err == nil && i%5 == 0 {
				err = client.RequestProgress(ctx)
			}
			if err != nil {
				failed <- err
				return
			}
		}
		failed <- nil
	}()
	last := int64(1)
	for last < n+1 {
		response := next(t, watch)
		require.NoError(t, response.Err())
		if response.IsProgressNotify() {
			require.LessOrEqual(t, response.Header.Revision, last, "progress says that events up to it were delivered")
			continue
		}
		for _, event := range response.Events {
			require.Equal(t, last+1, event.Kv.ModRevision)
			last = event.Kv.ModRevision
		}
	}
	require.NoError(t, <-failed)
}

func TestWatchFragments(t *testing.T) {
	ctx, client := start(t, "--max-request-bytes=100000")
	// More than one message may hold, since a message may hold max-request-bytes and 512 KiB.
	const n = 12
	text := strings.Repeat("x", 90_000)
	for i := range n {
		put(t, client, fmt.Sprintf("f/%02d", i), text)
	}
	_, err := client.Delete(ctx, "f/", clientv3.WithPrefix())
	require.NoError(t, err)
	watch := client.Watch(ctx, "f/", clientv3.WithPrefix(), clientv3.WithRev(2+n), clientv3.WithPrevKV(), clientv3.WithFragment())
	response := next(t, watch)
	require.NoError(t, response.Err())
	require.Len(t, response.Events, n, "the client puts the fragments together again")
	for _, event := range response.Events {
		require.Len(t, event.PrevKv.Value, len(text))
	}
}

func TestManyWatchesOnOneStream(t *testing.T) {
	ctx, client := start(t)
	const n = 200
	watches := []clientv3.WatchChan{}
	for i := range n {
		watches = append(watches, watchCreated(t, ctx, client, fmt.Sprint("m/", i)))
	}
	everything := watchCreated(t, ctx, client, "m/", clientv3.WithPrefix())
	for i := range n {
		put(t, client, fmt.Sprint("m/", i), "v")
	}
	for i, watch := range watches {
		require.Equal(t, []string{fmt.Sprintf("PUT m/%d=v mod=%d create=%d version=1", i, i+2, i+2)}, collect(t, watch, 1))
	}
	require.Len(t, collect(t, everything, n), n)
}

func TestCancelledWatchClosesAndTheOthersGoOn(t *testing.T) {
	ctx, client := start(t)
	first, cancel := context.WithCancel(ctx)
	gone := watchCreated(t, first, client, "k")
	stays := watchCreated(t, ctx, client, "k")
	cancel()
	for response := range gone {
		require.Empty(t, response.Events)
	}
	put(t, client, "k", "1")
	require.Equal(t, []string{"PUT k=1 mod=2 create=2 version=1"}, collect(t, stays, 1))
}

func TestWatchSeesALeaseEnd(t *testing.T) {
	ctx, client := start(t)
	lease, err := client.Grant(ctx, 600)
	require.NoError(t, err)
	for _, key := range []string{"l/a", "l/b", "l/c"} {
		put(t, client, key, "v", clientv3.WithLease(lease.ID))
	}
	watch := watchCreated(t, ctx, client, "l/", clientv3.WithPrefix())
	_, err = client.Revoke(ctx, lease.ID)
	require.NoError(t, err)
	response := next(t, watch)
	require.Len(t, response.Events, 3)
	for i, key := range []string{"l/a", "l/b", "l/c"} {
		require.Equal(t, fmt.Sprintf("DELETE %s= mod=5 create=0 version=0", key), describe(response.Events[i]))
	}
}

func TestWatchWithRequireLeader(t *testing.T) {
	ctx, client := start(t)
	watch := watchCreated(t, clientv3.WithRequireLeader(ctx), client, "k")
	put(t, client, "k", "1")
	require.Len(t, collect(t, watch, 1), 1)
}

func TestCatchUpReplaysALongHistory(t *testing.T) {
	ctx, client := start(t)
	const n = 3000
	for i := 0; i < n; i += 100 {
		ops := []clientv3.Op{}
		for j := range 100 {
			ops = append(ops, clientv3.OpPut(fmt.Sprint("h/", j), fmt.Sprint(i+j)))
		}
		_, err := client.Txn(ctx).Then(ops...).Commit()
		require.NoError(t, err)
	}
	watch := client.Watch(ctx, "h/", clientv3.WithPrefix(), clientv3.WithRev(2))
	seen, revision := 0, int64(0)
	for seen < n {
		response := next(t, watch)
		require.NoError(t, response.Err())
		for _, event := range response.Events {
			require.Equal(t, fmt.Sprint(seen), string(event.Kv.Value))
			require.GreaterOrEqual(t, event.Kv.ModRevision, revision)
			revision = event.Kv.ModRevision
			seen++
		}
		require.Zero(t, seen%100, "a revision is never split")
	}
}
