package main

import (
	"bytes"
	"fmt"
	"math"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Put and DeleteRange.

func init() {
	registerPuts()
	registerPutErrors()
	registerDeletes()
	registerSizes()
}

func registerPuts() {
	shared("put/versions", func(s *side) {
		for _, value := range []string{"1", "2", "", "2"} {
			s.put("k", value)
			s.get("k")
		}
		s.remove("k")
		s.put("k", "again")
		s.get("k")
	})
	shared("put/prev-kv", func(s *side) {
		put := func(value string) {
			s.Put(&pb.PutRequest{Key: s.key("k"), Value: []byte(value), PrevKv: true})
		}
		put("first")
		put("second")
		put("")
		put("after empty")
		s.remove("k")
		put("after deletion")
	})
	shared("put/ignore-value", func(s *side) {
		s.put("k", "kept")
		s.Put(&pb.PutRequest{Key: s.key("k"), IgnoreValue: true})
		s.get("k")
		s.Put(&pb.PutRequest{Key: s.key("k"), IgnoreValue: true, PrevKv: true})
		s.get("k")
	})
	shared("put/ignore-lease", func(s *side) {
		const id = 7001
		s.Grant(id, 600)
		s.putLeased("k", "v", id)
		s.Put(&pb.PutRequest{Key: s.key("k"), Value: []byte("w"), IgnoreLease: true, PrevKv: true})
		s.get("k")
		s.Put(&pb.PutRequest{Key: s.key("k"), IgnoreLease: true, IgnoreValue: true})
		s.get("k")
		s.TimeToLive(id, true)
		s.put("k", "detached")
		s.get("k")
		s.TimeToLive(id, true)
		s.Revoke(id)
		s.get("k")
	})
	shared("put/same-key-many-times", func(s *side) {
		for i := range 50 {
			s.put("k", fmt.Sprint(i))
		}
		s.get("k")
		for n := int64(1); n <= 50; n += 7 {
			s.Range(&pb.RangeRequest{Key: s.key("k"), Revision: s.at(n)})
		}
	})
}

func registerPutErrors() {
	row := func(name string, request func(*side) *pb.PutRequest) {
		shared("put/"+name, func(s *side) {
			s.put("present", "v")
			s.Put(request(s))
			s.list()
		})
	}
	row("empty-key", func(s *side) *pb.PutRequest { return &pb.PutRequest{Value: []byte("v")} })
	row("empty-request", func(s *side) *pb.PutRequest { return &pb.PutRequest{} })
	row("empty-value", func(s *side) *pb.PutRequest { return &pb.PutRequest{Key: s.key("k")} })
	row("ignore-value-absent", func(s *side) *pb.PutRequest { return &pb.PutRequest{Key: s.key("k"), IgnoreValue: true} })
	row("ignore-lease-absent", func(s *side) *pb.PutRequest {
		return &pb.PutRequest{Key: s.key("k"), Value: []byte("v"), IgnoreLease: true}
	})
	row("ignore-value-with-value", func(s *side) *pb.PutRequest {
		return &pb.PutRequest{Key: s.key("present"), Value: []byte("v"), IgnoreValue: true}
	})
	row("ignore-lease-with-lease", func(s *side) *pb.PutRequest {
		return &pb.PutRequest{Key: s.key("present"), Lease: 5, IgnoreLease: true}
	})
	row("ignore-both-wrong", func(s *side) *pb.PutRequest {
		return &pb.PutRequest{Key: s.key("present"), Value: []byte("v"), Lease: 5, IgnoreValue: true, IgnoreLease: true}
	})
	row("empty-key-and-ignore-value", func(s *side) *pb.PutRequest {
		return &pb.PutRequest{Value: []byte("v"), IgnoreValue: true}
	})
	for name, id := range map[string]int64{"unknown": 424242, "negative": -1, "min": math.MinInt64, "max": math.MaxInt64} {
		row("lease-"+name, func(s *side) *pb.PutRequest {
			return &pb.PutRequest{Key: s.key("k"), Value: []byte("v"), Lease: id}
		})
	}
	row("lease-unknown-and-ignore-value-absent", func(s *side) *pb.PutRequest {
		return &pb.PutRequest{Key: s.key("k"), Lease: 424242, IgnoreValue: true}
	})
}

func registerDeletes() {
	row := func(name string, request func(*side, *pb.DeleteRangeRequest)) {
		for _, prev := range []bool{false, true} {
			shared(fmt.Sprintf("delete/%s-prev-%v", name, prev), func(s *side) {
				rangeHistory(s)
				r := &pb.DeleteRangeRequest{Key: s.key(""), RangeEnd: s.all(), PrevKv: prev}
				request(s, r)
				s.Delete(r)
				s.list()
				s.Delete(r)
			})
		}
	}
	type r = pb.DeleteRangeRequest
	row("all", func(s *side, q *r) {})
	row("one", func(s *side, q *r) { q.Key, q.RangeEnd = s.key("b"), nil })
	row("missing", func(s *side, q *r) { q.Key, q.RangeEnd = s.key("nope"), nil })
	row("already-deleted", func(s *side, q *r) { q.Key, q.RangeEnd = s.key("d"), nil })
	row("empty-key", func(s *side, q *r) { q.Key, q.RangeEnd = nil, nil })
	row("empty-key-with-end", func(s *side, q *r) { q.Key = nil })
	row("half-open", func(s *side, q *r) { q.Key, q.RangeEnd = s.key("b"), s.key("e") })
	row("empty-range", func(s *side, q *r) { q.RangeEnd = s.key("") })
	row("reversed-range", func(s *side, q *r) { q.Key, q.RangeEnd = s.key("e"), s.key("a") })
	fresh("delete/to-the-end", func(s *side) {
		rangeHistory(s)
		s.Delete(&pb.DeleteRangeRequest{Key: s.key("c"), RangeEnd: []byte{0}, PrevKv: true})
		s.list()
		s.Delete(&pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
		s.Range(&pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
		s.Delete(&pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, PrevKv: true})
		s.put("a", "new life")
		s.get("a")
	})
	shared("delete/many-in-one-revision", func(s *side) {
		for i := range 100 {
			s.put(fmt.Sprintf("%03d", i), "v")
		}
		s.Delete(&pb.DeleteRangeRequest{Key: s.key("010"), RangeEnd: s.key("090"), PrevKv: true})
		s.put("050", "v")
		s.list()
		s.Range(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all(), Revision: s.at(100), CountOnly: true})
	})
	shared("delete/leased-keys", func(s *side) {
		const id = 7101
		s.Grant(id, 600)
		s.putLeased("a", "v", id)
		s.putLeased("b", "v", id)
		s.TimeToLive(id, true)
		s.remove("a")
		s.TimeToLive(id, true)
		s.put("a", "without lease")
		s.Revoke(id)
		s.list()
	})
}

// registerSizes checks the limits on the size of a request. The exact border
// depends on the width of numbers that the server adds, so sizes keep away
// from it by a kilobyte.
func registerSizes() {
	const limit, kilobyte = 1536 << 10, 1 << 10
	for name, size := range map[string]int{
		"below-limit":           limit - kilobyte,
		"above-limit":           limit + kilobyte,
		"below-transport-limit": 2048<<10 - kilobyte,
		"above-transport-limit": 2048<<10 + 10*kilobyte,
		"far-above":             8 << 20,
	} {
		shared("size/put-"+name, func(s *side) {
			s.Put(&pb.PutRequest{Key: s.key("k"), Value: bytes.Repeat([]byte("x"), size)})
			s.Range(&pb.RangeRequest{Key: s.key("k"), KeysOnly: true})
		})
		shared("size/txn-"+name, func(s *side) {
			s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{
				opPut(&pb.PutRequest{Key: s.key("a"), Value: bytes.Repeat([]byte("x"), size/2)}),
				opPut(&pb.PutRequest{Key: s.key("b"), Value: bytes.Repeat([]byte("x"), size/2)}),
			}})
			s.Range(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all(), KeysOnly: true})
		})
		shared("size/key-"+name, func(s *side) {
			key := append(s.key(""), bytes.Repeat([]byte("k"), size)...)
			s.Range(&pb.RangeRequest{Key: key})
			s.Delete(&pb.DeleteRangeRequest{Key: key})
			s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{opRange(&pb.RangeRequest{Key: key})}})
		})
	}
	fresh("size/small-limit", func(s *side) {
		for _, size := range []int{1 << 10, 3 << 10, 5 << 10, 500 << 10, 600 << 10} {
			s.Put(&pb.PutRequest{Key: s.key("k"), Value: bytes.Repeat([]byte("x"), size)})
		}
	}, "--max-request-bytes", "4096")
}
