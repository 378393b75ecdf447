package goclient_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Messages that a client sends on one stream before it reads an answer, each in a frame of its own.
const many = 10_000

func TestManyKeepAlivesAreSentBeforeAnAnswerIsRead(t *testing.T) {
	ctx, client := start(t)
	stream, err := pb.NewLeaseClient(client.ActiveConnection()).LeaseKeepAlive(ctx)
	require.NoError(t, err)
	for id := range int64(many) {
		require.NoError(t, stream.Send(&pb.LeaseKeepAliveRequest{ID: id + 1}))
	}
	for id := range int64(many) {
		answer, err := stream.Recv()
		require.NoError(t, err)
		require.Equal(t, id+1, answer.ID)
	}
	put(t, client, "on the same", "connection")
}

func TestManyWatchesAreCreatedBeforeAnAnswerIsRead(t *testing.T) {
	ctx, client := start(t)
	stream, err := pb.NewWatchClient(client.ActiveConnection()).Watch(ctx)
	require.NoError(t, err)
	for id := range int64(many) {
		create := &pb.WatchCreateRequest{Key: []byte("key"), WatchId: id + 1}
		union := &pb.WatchRequest_CreateRequest{CreateRequest: create}
		require.NoError(t, stream.Send(&pb.WatchRequest{RequestUnion: union}))
	}
	for id := range int64(many) {
		answer, err := stream.Recv()
		require.NoError(t, err)
		require.True(t, answer.Created)
		require.Equal(t, id+1, answer.WatchId)
	}
	put(t, client, "on the same", "connection")
}
