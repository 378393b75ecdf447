package goclient_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	recipe "go.etcd.io/etcd/client/v3/experimental/recipes"
)

func session(t *testing.T, client *clientv3.Client, options ...concurrency.SessionOption) *concurrency.Session {
	t.Helper()
	s, err := concurrency.NewSession(client, options...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestSessionEndsWithItsKeys(t *testing.T) {
	ctx, client := start(t)
	s := session(t, client, concurrency.WithTTL(5))
	put(t, client, "k", "v", clientv3.WithLease(s.Lease()))
	require.NoError(t, s.Close())
	<-s.Done()
	require.Equal(t, "<none>", value(t, client, "k"))
	left, err := client.TimeToLive(ctx, s.Lease())
	require.NoError(t, err)
	require.EqualValues(t, -1, left.TTL)
}

func TestSessionNoticesThatItsLeaseWasRevoked(t *testing.T) {
	ctx, client := start(t)
	s := session(t, client, concurrency.WithTTL(3))
	_, err := client.Revoke(ctx, s.Lease())
	require.NoError(t, err)
	<-s.Done()
	require.Error(t, s.Ctx().Err())
}

func TestOrphanedSessionExpires(t *testing.T) {
	ctx, client := start(t)
	s := session(t, client, concurrency.WithTTL(2))
	put(t, client, "k", "v", clientv3.WithLease(s.Lease()))
	s.Orphan()
	require.Len(t, collect(t, client.Watch(ctx, "k", clientv3.WithRev(3)), 1), 1)
}

func TestSessionCanTakeOverALease(t *testing.T) {
	ctx, client := start(t)
	lease, err := client.Grant(ctx, 60)
	require.NoError(t, err)
	s := session(t, client, concurrency.WithLease(lease.ID), concurrency.WithContext(ctx))
	require.Equal(t, lease.ID, s.Lease())
}

func TestMutexExcludes(t *testing.T) {
	ctx, client := start(t)
	const workers, each = 6, 5
	counter := 0 // guarded by the mutex in the store only
	var inside atomic.Int32
	var done sync.WaitGroup
	for range workers {
		s := session(t, client)
		done.Go(func() {
			mutex := concurrency.NewMutex(s, "lock")
			for range each {
				if err := mutex.Lock(ctx); err != nil {
					t.Error(err)
					return
				}
				if inside.Add(1) != 1 {
					t.Error("two holders at once")
				}
				counter++
				inside.Add(-1)
				if err := mutex.Unlock(ctx); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	done.Wait()
	require.Equal(t, workers*each, counter)
}

func TestMutexTryLockAndOwnership(t *testing.T) {
	ctx, client := start(t)
	one := concurrency.NewMutex(session(t, client), "lock")
	two := concurrency.NewMutex(session(t, client), "lock")
	require.NoError(t, one.TryLock(ctx))
	require.ErrorIs(t, two.TryLock(ctx), concurrency.ErrLocked)
	owned, err := client.Txn(ctx).If(one.IsOwner()).Then(clientv3.OpPut("guarded", "1")).Commit()
	require.NoError(t, err)
	require.True(t, owned.Succeeded)
	require.NoError(t, one.Unlock(ctx))
	require.NoError(t, two.TryLock(ctx))
	owned, err = client.Txn(ctx).If(two.IsOwner()).Commit()
	require.NoError(t, err)
	require.True(t, owned.Succeeded)
}

func TestMutexPassesOnWhenTheHolderDies(t *testing.T) {
	ctx, client := start(t)
	holder := session(t, client, concurrency.WithTTL(2))
	require.NoError(t, concurrency.NewMutex(holder, "lock").Lock(ctx))
	holder.Orphan()
	require.NoError(t, concurrency.NewMutex(session(t, client), "lock").Lock(ctx))
}

func TestMutexWaitCanBeGivenUp(t *testing.T) {
	ctx, client := start(t)
	require.NoError(t, concurrency.NewMutex(session(t, client), "lock").Lock(ctx))
	waiting, giveUp := context.WithCancel(ctx)
	waiter := concurrency.NewMutex(session(t, client), "lock")
	result := make(chan error, 1)
	go func() { result <- waiter.Lock(waiting) }()
	eventually(t, "the waiter queues", func() bool {
		queue, err := client.Get(ctx, "lock/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		return err == nil && queue.Count == 2
	})
	giveUp()
	require.ErrorIs(t, <-result, context.Canceled)
	eventually(t, "the waiter leaves the queue", func() bool {
		queue, err := client.Get(ctx, "lock/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		return err == nil && queue.Count == 1
	})
}

func TestLocker(t *testing.T) {
	_, client := start(t)
	locker := concurrency.NewLocker(session(t, client), "locker")
	for range 3 {
		locker.Lock()
		locker.Unlock()
	}
}

func TestElection(t *testing.T) {
	ctx, client := start(t)
	one := concurrency.NewElection(session(t, client), "vote")
	_, err := one.Leader(ctx)
	require.ErrorIs(t, err, concurrency.ErrElectionNoLeader)
	require.NoError(t, one.Campaign(ctx, "one"))
	observed := concurrency.NewElection(session(t, client), "vote").Observe(ctx)
	require.Equal(t, "one", string((<-observed).Kvs[0].Value))

	two := concurrency.NewElection(session(t, client), "vote")
	won := make(chan error, 1)
	go func() { won <- two.Campaign(ctx, "two") }()

	require.NoError(t, one.Proclaim(ctx, "one again"))
	require.Equal(t, "one again", string((<-observed).Kvs[0].Value))
	leader, err := two.Leader(ctx)
	require.NoError(t, err)
	require.Equal(t, "one again", string(leader.Kvs[0].Value))

	require.NoError(t, one.Resign(ctx))
	require.NoError(t, <-won)
	for string((<-observed).Kvs[0].Value) != "two" {
	}
	require.ErrorIs(t, one.Proclaim(ctx, "no more"), concurrency.ErrElectionNotLeader)

	resumed := concurrency.ResumeElection(session(t, client), "vote", two.Key(), two.Rev())
	require.NoError(t, resumed.Resign(ctx))
	_, err = two.Leader(ctx)
	require.ErrorIs(t, err, concurrency.ErrElectionNoLeader)
}

func TestElectionOfManyHasOneWinnerAtATime(t *testing.T) {
	ctx, client := start(t)
	const n = 5
	var leading atomic.Int32
	var done sync.WaitGroup
	for i := range n {
		s := session(t, client)
		done.Go(func() {
			election := concurrency.NewElection(s, "many")
			if err := election.Campaign(ctx, fmt.Sprint(i)); err != nil {
				t.Error(err)
				return
			}
			if leading.Add(1) != 1 {
				t.Error("two leaders at once")
			}
			leading.Add(-1)
			if err := election.Resign(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
}

func TestSTMMovesMoneyWithoutLosingAny(t *testing.T) {
	const accounts, transfers = 5, 40
	for name, level := range map[string]concurrency.Isolation{
		"serializable snapshot": concurrency.SerializableSnapshot,
		"serializable":          concurrency.Serializable,
		"repeatable reads":      concurrency.RepeatableReads,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, client := start(t)
			for i := range accounts {
				put(t, client, fmt.Sprint("account/", i), "100")
			}
			var done sync.WaitGroup
			for worker := range 4 {
				done.Go(func() {
					for i := range transfers / 4 {
						from, to := fmt.Sprint("account/", (worker+i)%accounts), fmt.Sprint("account/", (worker+2*i+1)%accounts)
						if from == to {
							continue
						}
						if err := transfer(ctx, client, level, from, to); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			done.Wait()
			all, err := client.Get(ctx, "account/", clientv3.WithPrefix())
			require.NoError(t, err)
			sum := 0
			for _, kv := range all.Kvs {
				n, err := strconv.Atoi(string(kv.Value))
				require.NoError(t, err)
				sum += n
			}
			require.Equal(t, accounts*100, sum)
		})
	}
}

func transfer(ctx context.Context, client *clientv3.Client, level concurrency.Isolation, from, to string) error {
	_, err := concurrency.NewSTM(client, func(stm concurrency.STM) error {
		have, err := strconv.Atoi(stm.Get(from))
		if err != nil {
			return err
		}
		other, err := strconv.Atoi(stm.Get(to))
		if err != nil {
			return err
		}
		stm.Put(from, strconv.Itoa(have-1))
		stm.Put(to, strconv.Itoa(other+1))
		return nil
	}, concurrency.WithIsolation(level), concurrency.WithAbortContext(ctx), concurrency.WithPrefetch(from, to))
	return err
}

func TestSTMReadCommittedDeletesAndAborts(t *testing.T) {
	ctx, client := start(t)
	put(t, client, "k", "v")
	_, err := concurrency.NewSTM(client, func(stm concurrency.STM) error {
		if stm.Get("k") != "v" || stm.Rev("k") != 2 {
			return errors.New("the key reads wrong")
		}
		stm.Del("k")
		return nil
	}, concurrency.WithIsolation(concurrency.ReadCommitted), concurrency.WithAbortContext(ctx))
	require.NoError(t, err)
	require.Equal(t, "<none>", value(t, client, "k"))
	refused := errors.New("refused")
	_, err = concurrency.NewSTM(client, func(stm concurrency.STM) error {
		stm.Put("k", "never")
		return refused
	})
	require.ErrorIs(t, err, refused)
	require.Equal(t, "<none>", value(t, client, "k"))
}

func TestBarrier(t *testing.T) {
	_, client := start(t)
	barrier := recipe.NewBarrier(client, "barrier")
	require.NoError(t, barrier.Hold())
	require.Error(t, recipe.NewBarrier(client, "barrier").Hold())
	const n = 5
	passed := make(chan error, n)
	for range n {
		go func() { passed <- recipe.NewBarrier(client, "barrier").Wait() }()
	}
	require.Empty(t, passed)
	require.NoError(t, barrier.Release())
	for range n {
		require.NoError(t, <-passed)
	}
}

func TestDoubleBarrier(t *testing.T) {
	_, client := start(t)
	const n = 4
	var inside atomic.Int32
	var done sync.WaitGroup
	for range n {
		s := session(t, client)
		done.Go(func() {
			barrier := recipe.NewDoubleBarrier(s, "double", n)
			inside.Add(1)
			if err := barrier.Enter(); err != nil {
				t.Error(err)
				return
			}
			if inside.Load() != n {
				t.Error("entered before everybody was there")
			}
			if err := barrier.Leave(); err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
}

func TestQueueHandsOutEachItemOnce(t *testing.T) {
	_, client := start(t)
	const n = 30
	taken := make(chan string, n)
	var done sync.WaitGroup
	for range 3 {
		done.Go(func() {
			queue := recipe.NewQueue(client, "queue")
			for range n / 3 {
				item, err := queue.Dequeue()
				if err != nil {
					t.Error(err)
					return
				}
				taken <- item
			}
		})
	}
	queue := recipe.NewQueue(client, "queue")
	for i := range n {
		require.NoError(t, queue.Enqueue(fmt.Sprint(i)))
	}
	done.Wait()
	close(taken)
	seen := map[string]bool{}
	for item := range taken {
		require.False(t, seen[item], item)
		seen[item] = true
	}
	require.Len(t, seen, n)
}

func TestPriorityQueue(t *testing.T) {
	_, client := start(t)
	queue := recipe.NewPriorityQueue(client, "priority")
	for _, item := range []struct {
		name     string
		priority uint16
	}{{"last", 9}, {"first", 1}, {"second", 2}, {"also last", 9}} {
		require.NoError(t, queue.Enqueue(item.name, item.priority))
	}
	for _, want := range []string{"first", "second", "last", "also last"} {
		item, err := queue.Dequeue()
		require.NoError(t, err)
		require.Equal(t, want, item)
	}
}

func TestRWMutex(t *testing.T) {
	ctx, client := start(t)
	readers := []*recipe.RWMutex{}
	for range 3 {
		reader := recipe.NewRWMutex(session(t, client), "rw")
		require.NoError(t, reader.RLock())
		readers = append(readers, reader)
	}
	writer := recipe.NewRWMutex(session(t, client), "rw")
	locked := make(chan error, 1)
	go func() { locked <- writer.Lock() }()
	eventually(t, "the writer queues", func() bool {
		queue, err := client.Get(ctx, "rw/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		return err == nil && queue.Count == 4
	})
	require.Empty(t, locked)
	for _, reader := range readers {
		require.NoError(t, reader.RUnlock())
	}
	require.NoError(t, <-locked)
	require.NoError(t, writer.Unlock())
}

func TestWaitEvents(t *testing.T) {
	ctx, client := start(t)
	put(t, client, "k", "v")
	_, err := client.Delete(ctx, "k")
	require.NoError(t, err)
	event, err := recipe.WaitEvents(client, "k", 2, []mvccpb.Event_EventType{mvccpb.DELETE})
	require.NoError(t, err)
	require.EqualValues(t, 3, event.Kv.ModRevision)
	event, err = recipe.WaitPrefixEvents(client, "", 2, []mvccpb.Event_EventType{mvccpb.PUT, mvccpb.DELETE})
	require.NoError(t, err)
	require.EqualValues(t, 3, event.Kv.ModRevision)
}
