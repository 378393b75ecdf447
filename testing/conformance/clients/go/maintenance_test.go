package goclient_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

func TestStatus(t *testing.T) {
	ctx, client := start(t, "--quota-backend-bytes=1073741824")
	put(t, client, "k", strings.Repeat("x", 100_000))
	before, err := client.Status(ctx, client.Endpoints()[0])
	require.NoError(t, err)
	require.Regexp(t, `^3\.7\.\d+$`, before.Version)
	require.Regexp(t, `^3\.7\.\d+$`, before.StorageVersion)
	require.Equal(t, before.Header.MemberId, before.Leader)
	require.False(t, before.IsLearner)
	require.Empty(t, before.Errors)
	require.EqualValues(t, 1<<30, before.DbSizeQuota)
	require.Positive(t, before.DbSize)
	require.Positive(t, before.DbSizeInUse)
	// What the quota counts: no free space is in it.
	require.Equal(t, before.DbSizeInUse, before.DbSize)
	require.Less(t, before.DbSize, int64(105_120))
	require.NotNil(t, before.DowngradeInfo)
	require.False(t, before.DowngradeInfo.Enabled)
	put(t, client, "k", "y")
	after, err := client.Status(ctx, client.Endpoints()[0])
	require.NoError(t, err)
	require.Equal(t, before.RaftIndex+1, after.RaftIndex)
	require.Equal(t, before.RaftTerm, after.RaftTerm)
	require.Equal(t, after.RaftIndex, after.RaftAppliedIndex)
}

func TestMemberList(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	ctx, client := within(t), connect(t, s)
	list, err := client.MemberList(ctx)
	require.NoError(t, err)
	require.Len(t, list.Members, 1)
	member := list.Members[0]
	require.Equal(t, list.Header.MemberId, member.ID)
	require.Equal(t, "default", member.Name)
	require.Equal(t, []string{s.Endpoint()}, member.ClientURLs)
	require.Equal(t, []string{s.PeerURL()}, member.PeerURLs)
	require.NoError(t, client.Sync(ctx))
	require.Equal(t, []string{s.Endpoint()}, client.Endpoints())
}

func TestHashOfTheSameHistoryIsTheSame(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	hashes := []uint32{}
	for range 2 {
		client := connect(t, startServer(t))
		for i := range 20 {
			put(t, client, fmt.Sprint("k", i%7), fmt.Sprint(i))
		}
		_, err := client.Delete(ctx, "k3")
		require.NoError(t, err)
		_, err = client.Compact(ctx, 10, clientv3.WithCompactPhysical())
		require.NoError(t, err)
		hash, err := client.HashKV(ctx, client.Endpoints()[0], 15)
		require.NoError(t, err)
		require.EqualValues(t, 15, hash.HashRevision)
		require.EqualValues(t, 10, hash.CompactRevision)
		_, err = client.HashKV(ctx, client.Endpoints()[0], 9)
		require.ErrorIs(t, err, rpctypes.ErrCompacted)
		_, err = client.HashKV(ctx, client.Endpoints()[0], 1000)
		require.ErrorIs(t, err, rpctypes.ErrFutureRev)
		hashes = append(hashes, hash.Hash)
	}
	require.Equal(t, hashes[0], hashes[1])
}

func TestDefragmentSucceeds(t *testing.T) {
	ctx, client := start(t)
	put(t, client, "k", "v")
	_, err := client.Defragment(ctx, client.Endpoints()[0])
	require.NoError(t, err)
	require.Equal(t, "v", value(t, client, "k"))
}

func TestAlarmsAreNoneAndDisarmingNoneIsFine(t *testing.T) {
	ctx, client := start(t)
	alarms, err := client.AlarmList(ctx)
	require.NoError(t, err)
	require.Empty(t, alarms.Alarms)
	disarmed, err := client.AlarmDisarm(ctx, &clientv3.AlarmMember{})
	require.NoError(t, err)
	require.Empty(t, disarmed.Alarms)
}

func TestHealthService(t *testing.T) {
	ctx, client := start(t)
	health := grpc_health_v1.NewHealthClient(client.ActiveConnection())
	answer, err := health.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	require.NoError(t, err)
	require.Equal(t, grpc_health_v1.HealthCheckResponse_SERVING, answer.Status)
	_, err = health.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "unknown"})
	require.Equal(t, codes.NotFound, status.Code(err))
	stream, err := health.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	require.NoError(t, err)
	first, err := stream.Recv()
	require.NoError(t, err)
	require.Equal(t, grpc_health_v1.HealthCheckResponse_SERVING, first.Status)
}
