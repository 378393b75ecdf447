package goclient_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestLeaseGrantAndTimeToLive(t *testing.T) {
	ctx, client := start(t)
	lease, err := client.Grant(ctx, 600)
	require.NoError(t, err)
	require.Positive(t, int64(lease.ID))
	require.EqualValues(t, 600, lease.TTL)
	put(t, client, "a", "", clientv3.WithLease(lease.ID))
	put(t, client, "b", "", clientv3.WithLease(lease.ID))

	left, err := client.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys())
	require.NoError(t, err)
	require.EqualValues(t, 600, left.GrantedTTL)
	require.InDelta(t, 599, left.TTL, 10)
	attached := []string{}
	for _, key := range left.Keys {
		attached = append(attached, string(key))
	}
	slices.Sort(attached)
	require.Equal(t, []string{"a", "b"}, attached)

	unknown, err := client.TimeToLive(ctx, 4711)
	require.NoError(t, err)
	require.EqualValues(t, -1, unknown.TTL)
	require.Zero(t, unknown.GrantedTTL)
}

func TestLeaseOwnIDAndLimits(t *testing.T) {
	ctx, client := start(t)
	leases := pb.NewLeaseClient(client.ActiveConnection())
	granted, err := leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: 77, TTL: 100})
	require.NoError(t, err)
	require.EqualValues(t, 77, granted.ID)
	_, err = leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: 77, TTL: 100})
	require.ErrorIs(t, rpctypes.Error(err), rpctypes.ErrLeaseExist)
	_, err = client.Grant(ctx, 9_000_000_001)
	require.ErrorIs(t, err, rpctypes.ErrLeaseTTLTooLarge)
	short, err := client.Grant(ctx, 1)
	require.NoError(t, err)
	require.EqualValues(t, 2, short.TTL, "never shorter than one and a half election timeouts")
	_, err = client.Revoke(ctx, 4711)
	require.ErrorIs(t, err, rpctypes.ErrLeaseNotFound)
}

func TestLeaseRevokeDeletesItsKeysInOneRevision(t *testing.T) {
	ctx, client := start(t)
	lease, err := client.Grant(ctx, 600)
	require.NoError(t, err)
	for i := range 3 {
		put(t, client, fmt.Sprint("l/", i), "v", clientv3.WithLease(lease.ID)) // 2..4
	}
	put(t, client, "l/0", "detached")
	revoked, err := client.Revoke(ctx, lease.ID)
	require.NoError(t, err)
	require.EqualValues(t, 6, revoked.Header.Revision)
	left, err := client.Get(ctx, "l/", clientv3.WithPrefix())
	require.NoError(t, err)
	require.Equal(t, []string{"l/0"}, keys(left.Kvs))
	empty, err := client.Grant(ctx, 600)
	require.NoError(t, err)
	revoked, err = client.Revoke(ctx, empty.ID)
	require.NoError(t, err)
	require.EqualValues(t, 6, revoked.Header.Revision, "a lease without keys goes without a revision")
}

func TestLeaseMovesWithTheKey(t *testing.T) {
	ctx, client := start(t)
	first, err := client.Grant(ctx, 600)
	require.NoError(t, err)
	second, err := client.Grant(ctx, 600)
	require.NoError(t, err)
	put(t, client, "k", "v", clientv3.WithLease(first.ID))
	put(t, client, "k", "v", clientv3.WithLease(second.ID))
	_, err = client.Revoke(ctx, first.ID)
	require.NoError(t, err)
	require.Equal(t, "v", value(t, client, "k"))
	_, err = client.Revoke(ctx, second.ID)
	require.NoError(t, err)
	require.Equal(t, "<none>", value(t, client, "k"))
}

func TestLeasesAreListed(t *testing.T) {
	ctx, client := start(t)
	granted := []clientv3.LeaseID{}
	for range 5 {
		lease, err := client.Grant(ctx, 600)
		require.NoError(t, err)
		granted = append(granted, lease.ID)
	}
	list, err := client.Leases(ctx)
	require.NoError(t, err)
	listed := []clientv3.LeaseID{}
	for _, lease := range list.Leases {
		listed = append(listed, lease.ID)
	}
	require.ElementsMatch(t, granted, listed)
}

func TestLeaseExpires(t *testing.T) {
	ctx, client := start(t)
	lease, err := client.Grant(ctx, 2)
	require.NoError(t, err)
	put(t, client, "k", "v", clientv3.WithLease(lease.ID))
	watch := client.Watch(ctx, "k", clientv3.WithRev(3))
	require.Equal(t, []string{"DELETE k= mod=3 create=0 version=0"}, collect(t, watch, 1))
	_, err = client.KeepAliveOnce(ctx, lease.ID)
	require.ErrorIs(t, err, rpctypes.ErrLeaseNotFound)
}

func TestLeaseLivesAsLongAsItIsKeptAlive(t *testing.T) {
	ctx, client := start(t)
	kept, err := client.Grant(ctx, 3)
	require.NoError(t, err)
	left, err := client.Grant(ctx, 4)
	require.NoError(t, err)
	put(t, client, "kept", "v", clientv3.WithLease(kept.ID))
	put(t, client, "left", "v", clientv3.WithLease(left.ID))
	alive, stop := context.WithCancel(ctx)
	defer stop()
	answers, err := client.KeepAlive(alive, kept.ID)
	require.NoError(t, err)
	answer := <-answers
	require.Equal(t, kept.ID, answer.ID)
	require.EqualValues(t, 3, answer.TTL)
	// The longer lease ends by itself, the shorter one outlives it.
	require.Len(t, collect(t, client.Watch(ctx, "left", clientv3.WithRev(4)), 1), 1)
	require.Equal(t, "v", value(t, client, "kept"))
	stop()
	require.Len(t, collect(t, client.Watch(ctx, "kept", clientv3.WithRev(4)), 1), 1)
}

func TestKeepAliveOnce(t *testing.T) {
	ctx, client := start(t)
	lease, err := client.Grant(ctx, 600)
	require.NoError(t, err)
	answer, err := client.KeepAliveOnce(ctx, lease.ID)
	require.NoError(t, err)
	require.EqualValues(t, 600, answer.TTL)
	require.Equal(t, lease.ID, answer.ID)
}

func TestKeepAliveEndsWhenTheLeaseIsRevoked(t *testing.T) {
	ctx, client := start(t)
	lease, err := client.Grant(ctx, 3)
	require.NoError(t, err)
	answers, err := client.KeepAlive(ctx, lease.ID)
	require.NoError(t, err)
	<-answers
	_, err = client.Revoke(ctx, lease.ID)
	require.NoError(t, err)
	for range answers {
	}
}

func TestManyLeasesOfferedOnOneStream(t *testing.T) {
	ctx, client := start(t)
	const n = 100
	channels := map[clientv3.LeaseID]<-chan *clientv3.LeaseKeepAliveResponse{}
	for range n {
		lease, err := client.Grant(ctx, 600)
		require.NoError(t, err)
		channels[lease.ID], err = client.KeepAlive(ctx, lease.ID)
		require.NoError(t, err)
	}
	for id, answers := range channels {
		require.Equal(t, id, (<-answers).ID)
	}
}
