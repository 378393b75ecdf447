package main

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/emptypb"
)

// The standard health service, and calls to what does not exist.

func init() {
	for name, service := range map[string]string{
		"whole-server": "", "kv": "etcdserverpb.KV", "unknown": "nothing", "health": "grpc.health.v1.Health",
	} {
		shared("health/check-"+name, func(s *side) {
			client := healthpb.NewHealthClient(s.server.conn)
			unary(s, "Health/Check", client.Check, &healthpb.HealthCheckRequest{Service: service})
		})
		shared("health/watch-"+name, func(s *side) {
			client := healthpb.NewHealthClient(s.server.conn)
			ctx, cancel := s.deadline()
			defer cancel()
			stream, err := client.Watch(ctx, &healthpb.HealthCheckRequest{Service: service})
			if err != nil {
				s.record("Health/Watch", failure(err))
				return
			}
			first, err := stream.Recv()
			if err != nil {
				s.record("Health/Watch", failure(err))
				return
			}
			s.record("Health/Watch", s.message(first))
		})
	}
	shared("health/list", func(s *side) {
		client := healthpb.NewHealthClient(s.server.conn)
		ctx, cancel := s.deadline()
		defer cancel()
		answer, err := client.List(ctx, &healthpb.HealthListRequest{})
		if err != nil {
			s.record("Health/List", failure(err))
			return
		}
		leaves := []leaf{}
		for service, status := range answer.Statuses {
			leaves = append(leaves, leaf{path: "statuses[" + service + "]", text: status.String()})
		}
		s.record("Health/List", leaves)
	})
	for _, method := range []string{
		"/etcdserverpb.KV/Nothing", "/etcdserverpb.KV/range", "/etcdserverpb.KV/", "/etcdserverpb.Nothing/Range",
		"/nothing.Service/Method", "/Range", "/a/b/c", "/etcdserverpb.KV/Range/", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
		"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "/etcdserverpb.Watch/Nothing", "/etcdserverpb.Lease/LeaseCheckpoint",
	} {
		shared("unknown-method"+method, func(s *side) {
			ctx, cancel := s.deadline()
			defer cancel()
			err := s.server.conn.Invoke(ctx, method, &emptypb.Empty{}, &emptypb.Empty{})
			s.record("call "+method, failure(err))
			s.record("stream "+method, failure(s.openStream(ctx, method)))
		})
	}
}

// openStream starts a bidirectional stream and returns how it ended.
func (s *side) openStream(ctx context.Context, method string) error {
	stream, err := s.server.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(&emptypb.Empty{}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	return stream.RecvMsg(&emptypb.Empty{})
}
