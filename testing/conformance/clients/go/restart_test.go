package goclient_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"bowline/testing/conformance/clients/server"
)

// restarts are the two ways a server goes down and comes back.
var restarts = map[string]func(*testing.T, *server.Server){
	"kill": func(t *testing.T, s *server.Server) {
		s.Kill()
		require.NoError(t, s.Restart())
	},
	"stop": func(t *testing.T, s *server.Server) {
		require.NoError(t, s.Stop())
		require.NoError(t, s.Restart())
	},
}

func eachRestart(t *testing.T, test func(t *testing.T, s *server.Server, restart func())) {
	t.Parallel()
	for name, restart := range restarts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			test(t, s, func() { restart(t, s) })
		})
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	eachRestart(t, func(t *testing.T, s *server.Server, restart func()) {
		ctx, client := within(t), connect(t, s)
		for i := range 10 {
			put(t, client, fmt.Sprint("k", i%4), fmt.Sprint(i)) // 2..11
		}
		_, err := client.Delete(ctx, "k1") // 12
		require.NoError(t, err)
		_, err = client.Compact(ctx, 6)
		require.NoError(t, err)
		lease, err := client.Grant(ctx, 600)
		require.NoError(t, err)
		put(t, client, "leased", "v", clientv3.WithLease(lease.ID)) // 13
		before, err := client.Get(ctx, "", clientv3.WithPrefix())
		require.NoError(t, err)
		old, err := client.Get(ctx, "", clientv3.WithPrefix(), clientv3.WithRev(8))
		require.NoError(t, err)
		hash, err := client.HashKV(ctx, s.Endpoint(), 13)
		require.NoError(t, err)

		restart()

		after, err := client.Get(ctx, "", clientv3.WithPrefix())
		require.NoError(t, err)
		require.Equal(t, before.Header.Revision, after.Header.Revision)
		require.Equal(t, before.Header.ClusterId, after.Header.ClusterId)
		require.Equal(t, before.Header.MemberId, after.Header.MemberId)
		require.Equal(t, fmt.Sprint(before.Kvs), fmt.Sprint(after.Kvs))
		oldAfter, err := client.Get(ctx, "", clientv3.WithPrefix(), clientv3.WithRev(8))
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(old.Kvs), fmt.Sprint(oldAfter.Kvs))
		_, err = client.Get(ctx, "k0", clientv3.WithRev(5))
		require.ErrorContains(t, err, "compacted")
		hashAfter, err := client.HashKV(ctx, s.Endpoint(), 13)
		require.NoError(t, err)
		require.Equal(t, hash.Hash, hashAfter.Hash)
		left, err := client.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys())
		require.NoError(t, err)
		require.EqualValues(t, 600, left.GrantedTTL)
		require.Equal(t, "leased", string(left.Keys[0]))
		_, err = client.Revoke(ctx, lease.ID)
		require.NoError(t, err)
		require.Equal(t, "<none>", value(t, client, "leased"))
	})
}

// A writer counts up one key while the server goes down again and again. What was acknowledged
// is there, and a watch from the first revision on sees each revision once, in order.
func TestWatchGoesOnAcrossRestarts(t *testing.T) {
	eachRestart(t, func(t *testing.T, s *server.Server, restart func()) {
		ctx, client := within(t), connect(t, s)
		watch := client.Watch(ctx, "counter", clientv3.WithRev(1), clientv3.WithPrevKV())
		acknowledged := make(chan int)
		stop := make(chan struct{})
		go writeCounter(ctx, connect(t, s), stop, acknowledged)
		for range 3 {
			seen := readRevisions(t, client, "counter")
			eventually(t, "writes go on", func() bool { return readRevisions(t, client, "counter") > seen+20 })
			restart()
		}
		close(stop)
		last := <-acknowledged
		require.Positive(t, last)

		final := getOne(t, client, "counter")
		n, err := strconv.Atoi(string(final.Value))
		require.NoError(t, err)
		require.GreaterOrEqual(t, n, last)
		revision, value := int64(1), ""
		for revision < final.ModRevision {
			response := next(t, watch)
			require.NoError(t, response.Err())
			for _, event := range response.Events {
				require.Equal(t, revision+1, event.Kv.ModRevision, "without gap or duplicate")
				if event.PrevKv != nil {
					require.Equal(t, value, string(event.PrevKv.Value))
				}
				revision, value = event.Kv.ModRevision, string(event.Kv.Value)
			}
		}
		require.Equal(t, string(final.Value), value)
	})
}

// writeCounter puts 1, 2, 3 … until stop, skipping nothing, and sends the last acknowledged.
// A put whose fate is unknown is tried again with the same number.
func writeCounter(ctx context.Context, client *clientv3.Client, stop <-chan struct{}, acknowledged chan<- int) {
	last := 0
	for {
		select {
		case <-stop:
			acknowledged <- last
			return
		default:
		}
		if _, err := client.Put(ctx, "counter", strconv.Itoa(last+1)); err == nil {
			last++
		} else if ctx.Err() != nil {
			acknowledged <- 0
			return
		}
	}
}

func readRevisions(t *testing.T, client *clientv3.Client, key string) int64 {
	t.Helper()
	response, err := client.Get(within(t), key)
	require.NoError(t, err)
	if len(response.Kvs) == 0 {
		return 0
	}
	return response.Kvs[0].Version
}

func TestAcknowledgedWritesSurviveAKillUnderLoad(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	client := connect(t, s)
	ctx := within(t)
	const writers, rounds = 10, 3
	acknowledged := make([]map[string]int64, writers) // key to revision
	for writer := range acknowledged {
		acknowledged[writer] = map[string]int64{}
	}
	for round := range rounds {
		var done sync.WaitGroup
		reached := make(chan struct{}, writers)
		// The client may let a put wait until it has a connection again: without an end of its own it
		// would wait for the restart that waits for it.
		up, down := context.WithCancel(ctx)
		for writer := range writers {
			done.Go(func() {
				for i, written := 0, 0; up.Err() == nil; i++ {
					key := fmt.Sprintf("w%d/%d/%d", writer, round, i)
					response, err := client.Put(up, key, key)
					if err != nil {
						continue // nothing is known of this key
					}
					acknowledged[writer][key] = response.Header.Revision
					if written++; written == 20 {
						reached <- struct{}{}
					}
				}
			})
		}
		for range writers {
			select {
			case <-reached:
			case <-up.Done():
			}
		}
		require.NoError(t, up.Err(), "writes go on")
		s.Kill()
		down()
		done.Wait()
		require.NoError(t, s.Restart())
	}
	for _, written := range acknowledged {
		require.GreaterOrEqual(t, len(written), 20*rounds)
		for key, revision := range written {
			kv := getOne(t, client, key)
			require.Equal(t, revision, kv.ModRevision)
			require.Equal(t, key, string(kv.Value))
		}
	}
}

func TestSessionOutlivesARestart(t *testing.T) {
	eachRestart(t, func(t *testing.T, s *server.Server, restart func()) {
		ctx, client := within(t), connect(t, s)
		holder := session(t, client, concurrency.WithTTL(20))
		mutex := concurrency.NewMutex(holder, "lock")
		require.NoError(t, mutex.Lock(ctx))
		restart()
		owned, err := client.Txn(ctx).If(mutex.IsOwner()).Then(clientv3.OpPut("guarded", "1")).Commit()
		require.NoError(t, err)
		require.True(t, owned.Succeeded)
		require.NoError(t, holder.Ctx().Err())
		require.NoError(t, mutex.Unlock(ctx))
		require.NoError(t, concurrency.NewMutex(session(t, client), "lock").Lock(ctx))
	})
}

func TestLeaseStillExpiresAfterARestart(t *testing.T) {
	eachRestart(t, func(t *testing.T, s *server.Server, restart func()) {
		ctx, client := within(t), connect(t, s)
		lease, err := client.Grant(ctx, 2)
		require.NoError(t, err)
		put(t, client, "k", "v", clientv3.WithLease(lease.ID))
		restart()
		require.Equal(t, []string{"DELETE k= mod=3 create=0 version=0"}, collect(t, client.Watch(ctx, "k", clientv3.WithRev(3)), 1))
	})
}
