package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Leases: grant, revoke, keep-alive, time to live, listing, expiry.

func init() {
	registerGrants()
	registerLeaseKeys()
	registerKeepAlives()
	registerExpiry()
}

func registerGrants() {
	for name, seconds := range map[string]int64{
		"zero": 0, "negative": -5, "min": math.MinInt64, "one": 1, "two": 2, "three": 3, "ten-minutes": 600,
		"max": 9_000_000_000, "above-max": 9_000_000_001, "far-above-max": math.MaxInt64,
	} {
		shared("lease/grant-ttl-"+name, func(s *side) {
			const id = 7400
			s.Grant(id, seconds)
			s.TimeToLive(id, true)
			s.Revoke(id)
		})
	}
	for _, id := range []int64{1, -1, math.MaxInt64, math.MinInt64} {
		shared(fmt.Sprintf("lease/grant-id%+d", id), func(s *side) {
			s.Grant(id, 600)
			s.Grant(id, 600)
			s.Grant(id, math.MaxInt64)
			s.putLeased("k", "v", id)
			s.get("k")
			s.TimeToLive(id, true)
			s.Revoke(id)
			s.get("k")
			s.Revoke(id)
			s.Grant(id, 600)
			s.Revoke(id)
		})
	}
	shared("lease/grant-by-server", func(s *side) {
		one, two := s.Grant(0, 600), s.Grant(0, 600)
		if one == nil || two == nil {
			return
		}
		s.note("ids are positive and differ", fmt.Sprint(one.ID > 0 && two.ID > 0 && one.ID != two.ID))
		s.putLeased("k", "v", one.ID)
		s.TimeToLive(one.ID, true)
		s.TimeToLive(two.ID, true)
		s.Revoke(one.ID)
		s.Revoke(two.ID)
	})
	shared("lease/unknown", func(s *side) {
		for _, id := range []int64{0, 4711, -4711} {
			s.Revoke(id)
			s.TimeToLive(id, false)
			s.TimeToLive(id, true)
		}
	})
	fresh("lease/listing", func(s *side) {
		s.Leases()
		// Listed by remaining time, so each gets one of its own.
		for i, id := range []int64{5, 3, -4, 1, 2} {
			s.Grant(id, 500+100*int64(i*3%5))
		}
		s.Leases()
		s.Revoke(3)
		s.Leases()
	})
	fresh("lease/header-revisions", func(s *side) {
		s.put("a", "v")
		s.Grant(1, 600)
		s.TimeToLive(1, false)
		s.Leases()
		s.Revoke(1)
		s.Grant(1, 600)
		s.putLeased("a", "v", 1)
		s.Revoke(1)
		s.put("a", "v")
	})
}

func registerLeaseKeys() {
	shared("lease/revoke-deletes-in-one-revision", func(s *side) {
		const id = 7410
		w := s.Watch("w")
		defer w.close()
		w.create(&pb.WatchCreateRequest{Key: s.key(""), RangeEnd: s.all(), PrevKv: true})
		s.Grant(id, 600)
		for i := range 12 {
			s.putLeased(fmt.Sprint("k", i*5%12), fmt.Sprint(i), id)
		}
		w.events(12)
		s.Revoke(id)
		w.receive(1)
		s.list()
		s.put("k", "next revision")
	})
	shared("lease/key-moves-between-leases", func(s *side) {
		const one, two = 7411, 7412
		s.Grant(one, 600)
		s.Grant(two, 600)
		s.putLeased("k", "1", one)
		s.putLeased("k", "2", two)
		s.TimeToLive(one, true)
		s.TimeToLive(two, true)
		s.Revoke(one)
		s.get("k")
		s.Revoke(two)
		s.get("k")
	})
	shared("lease/key-rewritten-with-the-same-lease", func(s *side) {
		const id = 7413
		s.Grant(id, 600)
		s.putLeased("k", "1", id)
		s.putLeased("k", "2", id)
		s.TimeToLive(id, true)
		s.remove("k")
		s.TimeToLive(id, true)
		s.putLeased("k", "3", id)
		s.Revoke(id)
		s.get("k")
	})
	shared("lease/revoke-without-keys-uses-no-revision", func(s *side) {
		s.Grant(7414, 600)
		s.Revoke(7414)
		s.put("k", "v")
	})
	shared("lease/put-after-revoke", func(s *side) {
		s.Grant(7415, 600)
		s.Revoke(7415)
		s.putLeased("k", "v", 7415)
		s.get("k")
	})
	shared("lease/range-delete-detaches", func(s *side) {
		const id = 7416
		s.Grant(id, 600)
		for _, name := range []string{"a", "b", "c"} {
			s.putLeased(name, "v", id)
		}
		s.Delete(&pb.DeleteRangeRequest{Key: s.key("a"), RangeEnd: s.key("c"), PrevKv: true})
		s.TimeToLive(id, true)
		s.Revoke(id)
		s.list()
	})
}

// keepAlive sends the ids on one stream and records an answer for each, then
// half-closes and records how the stream ends.
func (s *side) keepAlive(ids ...int64) {
	ctx, cancel := s.deadline()
	defer cancel()
	stream, err := s.lease.LeaseKeepAlive(ctx)
	if err != nil {
		s.record("open keep-alive stream", failure(err))
		return
	}
	for _, id := range ids {
		request := &pb.LeaseKeepAliveRequest{ID: id}
		if err := stream.Send(request); err != nil {
			s.giveUp("send keep-alive: %v", err)
		}
		answer, err := stream.Recv()
		if err != nil {
			s.record(s.text(request), failure(err))
			return
		}
		s.record(s.text(request), s.message(answer))
	}
	if err := stream.CloseSend(); err != nil {
		s.giveUp("half-close: %v", err)
	}
	_, err = stream.Recv()
	if errors.Is(err, io.EOF) {
		s.note("keep-alive stream after half-close", "ended")
		return
	}
	s.record("keep-alive stream after half-close", failure(err))
}

func registerKeepAlives() {
	shared("lease/keep-alive", func(s *side) {
		const id = 7420
		s.Grant(id, 600)
		s.keepAlive(id, id, 1234567, 0, -3, id)
		s.put("k", "v")
		s.keepAlive(id)
		s.Revoke(id)
		s.keepAlive(id)
	})
	shared("lease/keep-alive-no-requests", func(s *side) {
		s.keepAlive()
	})
	shared("lease/keep-alive-min-ttl", func(s *side) {
		s.Grant(7421, 1)
		s.keepAlive(7421)
		s.Revoke(7421)
	})
}

func registerExpiry() {
	gone := func(s *side, id int64) {
		s.eventually(fmt.Sprintf("lease %d is gone", id), 20*time.Second, func() bool {
			ctx, cancel := s.deadline()
			defer cancel()
			answer, err := s.lease.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: id})
			// An expired lease not yet revoked shows a negative TTL, too.
			return err == nil && answer.TTL == -1 && answer.GrantedTTL == 0
		})
	}
	waiting("lease/expiry-deletes-keys", false, func(s *side) {
		const id = 7430
		w := s.Watch("w")
		defer w.close()
		w.create(&pb.WatchCreateRequest{Key: s.key(""), RangeEnd: s.all(), PrevKv: true})
		s.Grant(id, 2)
		s.putLeased("b", "1", id)
		s.putLeased("a", "1", id)
		s.put("c", "1")
		w.events(3)
		gone(s, id)
		w.receive(1)
		s.list()
		s.keepAlive(id)
		s.Revoke(id)
		s.TimeToLive(id, true)
		s.putLeased("d", "v", id)
	})
	waiting("lease/expiry-not-before-its-time", false, func(s *side) {
		const short, long = 7431, 7432
		began := time.Now()
		s.Grant(short, 3)
		s.Grant(long, 600)
		gone(s, short)
		s.note("it lived at least its time", fmt.Sprint(time.Since(began) >= 3*time.Second))
		s.note("it lived at most twice its time and a second", fmt.Sprint(time.Since(began) <= 7*time.Second))
		s.TimeToLive(long, false)
		s.Revoke(long)
	})
	waiting("lease/keep-alive-prolongs", false, func(s *side) {
		const id = 7433
		s.Grant(id, 3)
		s.putLeased("k", "v", id)
		end := time.Now().Add(5 * time.Second)
		lost := false
		for time.Now().Before(end) && !lost {
			s.quietly("keep alive", func(ctx context.Context) error {
				stream, err := s.lease.LeaseKeepAlive(ctx)
				if err != nil {
					return err
				}
				defer stream.CloseSend()
				if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil {
					return err
				}
				answer, err := stream.Recv()
				lost = err == nil && answer.TTL <= 0
				return err
			})
			time.Sleep(200 * time.Millisecond)
		}
		s.note("lost while kept alive", fmt.Sprint(lost))
		s.get("k")
		gone(s, id)
		s.get("k")
	})
	waiting("lease/time-to-live-counts-down", false, func(s *side) {
		const id = 7434
		s.Grant(id, 30)
		s.eventually("a second and more has passed", 10*time.Second, func() bool {
			ctx, cancel := s.deadline()
			defer cancel()
			answer, err := s.lease.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: id})
			return err == nil && answer.TTL == 28 && answer.GrantedTTL == 30
		})
		s.keepAlive(id)
		s.TimeToLive(id, false)
		s.Revoke(id)
	})
	waiting("lease/many-expire-together", false, func(s *side) {
		const first, n = 75000, 100
		for id := int64(first); id < first+n; id++ {
			s.Grant(id, 4)
			s.putLeased(fmt.Sprint(id), "v", id)
		}
		for id := int64(first); id < first+n; id++ {
			gone(s, id)
		}
		s.list()
	})
}
