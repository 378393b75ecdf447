package main

import (
	"fmt"
	"math"
	"syscall"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Compaction and the hash of the history, which must be bit-equal.

func init() {
	registerCompactions()
	registerHashes()
	registerHashVectors()
	registerRestarts()
}

// compactions are physical where a hash or a read of the removed follows,
// because when a scheduled one is done is the server's own affair.
func registerCompactions() {
	for name, revision := range map[string]int64{
		"zero": 0, "minus-one": -1, "minus-two": -2, "min": math.MinInt64, "max": math.MaxInt64, "one": 1, "two": 2,
		"current": 12, "future": 13,
	} {
		for _, physical := range []bool{false, true} {
			fresh(fmt.Sprintf("compact/%s-physical-%v", name, physical), func(s *side) {
				rangeHistory(s)
				s.Compact(revision, physical)
				s.Compact(revision, physical)
				s.list()
				for n := int64(1); n <= 12; n++ {
					s.Range(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all(), Revision: n})
				}
			})
		}
	}
	fresh("compact/empty-store", func(s *side) {
		s.Compact(1, true)
		s.Compact(1, true)
		s.Compact(2, true)
		s.put("a", "v")
		s.Range(&pb.RangeRequest{Key: s.key("a"), Revision: 1})
		s.Compact(2, true)
		s.get("a")
	})
	fresh("compact/again-and-again", func(s *side) {
		rangeHistory(s)
		for n := int64(1); n <= 12; n++ {
			s.Compact(n, true)
			s.Compact(n-1, true)
			s.list()
			s.Range(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all(), Revision: n})
			s.Range(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all(), Revision: n - 1})
		}
	})
	fresh("compact/all-deleted", func(s *side) {
		rangeHistory(s)
		s.Delete(&pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
		s.Compact(s.at(12), true)
		s.Range(&pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
		s.Range(&pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: s.at(11)})
		s.HashKV(0)
		s.put("a", "v")
		s.get("a")
		s.HashKV(0)
	})
	fresh("compact/key-after-deletion-and-compaction", func(s *side) {
		s.put("a", "1")
		s.remove("a")
		s.Compact(s.at(2), true)
		s.Put(&pb.PutRequest{Key: s.key("a"), Value: []byte("2"), PrevKv: true})
		s.get("a")
		s.Compact(s.at(3), true)
		s.get("a")
		s.Range(&pb.RangeRequest{Key: s.key("a"), Revision: s.at(3)})
	})
}

// mixedHistory writes a history with txns, deletions, and keys of several
// generations, of about 70 revisions.
func mixedHistory(s *side) {
	for i := range 60 {
		name := fmt.Sprint("k", i*7%11)
		switch i % 10 {
		case 3:
			s.remove(name)
		case 7:
			s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{
				s.opSet(name, fmt.Sprint("txn", i)), s.opSet("x"+name, "1"), s.opRemove("y"),
			}})
		case 9:
			s.Delete(&pb.DeleteRangeRequest{Key: s.key("k1"), RangeEnd: s.key("k3")})
		default:
			s.put(name, fmt.Sprint("value ", i))
		}
	}
}

func registerHashes() {
	fresh("hash/every-revision", func(s *side) {
		s.HashKV(0)
		s.HashKV(1)
		mixedHistory(s)
		for n := int64(-2); n <= 66; n++ {
			s.HashKV(n)
		}
		s.HashKV(math.MaxInt64)
		s.HashKV(math.MinInt64)
	})
	for _, at := range []int64{1, 5, 14, 20, 33, 50, 61} {
		fresh(fmt.Sprintf("hash/compacted-at-%d", at), func(s *side) {
			mixedHistory(s)
			s.HashKV(at)
			s.Compact(at, true)
			for n := int64(0); n <= 64; n++ {
				s.HashKV(n)
			}
			s.put("k1", "after")
			s.remove("k2")
			for _, n := range []int64{0, at, at + 1, at + 3} {
				s.HashKV(n)
			}
		})
	}
	fresh("hash/compaction-hashes-are-kept", func(s *side) {
		// Twelve compactions: more than the ten that are remembered.
		mixedHistory(s)
		for n := int64(4); n <= 48; n += 4 {
			s.Compact(n, true)
			for back := int64(0); back <= n; back += 4 {
				s.HashKV(back)
			}
		}
		s.HashKV(0)
	})
	fresh("hash/leases-and-values", func(s *side) {
		s.Grant(11, 600)
		s.Grant(-12, 600)
		s.putLeased("a", "v", 11)
		s.putLeased("b", "", -12)
		s.Put(&pb.PutRequest{Key: s.key("a"), IgnoreValue: true})
		s.Put(&pb.PutRequest{Key: []byte{0xff, 0}, Value: make([]byte, 70000)})
		s.HashKV(0)
		s.Revoke(11)
		s.Revoke(-12)
		s.HashKV(0)
		s.Compact(s.at(5), true)
		s.HashKV(0)
	})
}

// registerHashVectors repeats the histories whose hashes etcd's own tests fix.
func registerHashVectors() {
	key := func(i int) []byte {
		switch {
		case i%142 == 30:
			return []byte("zenek")
		case i%71 == 30:
			return []byte("xavery")
		}
		return []byte([]string{"alice", "bob", "celine", "dominik", "eve", "frederica", "gorge"}[i%7])
	}
	for name, offset := range map[string]int64{"compact-behind": 35, "compact-current": 73} {
		fresh("hash/vectors-"+name, func(s *side) {
			base := 0
			for range 3 {
				for i := base; i < base+72; i++ {
					s.Put(&pb.PutRequest{Key: key(i), Value: []byte(fmt.Sprint(i))})
				}
				at := int64(base) + offset
				s.HashKV(at)
				s.Compact(at, true)
				s.HashKV(at)
				base += 71
				if offset == 73 {
					base++
				}
			}
			s.HashKV(0)
		})
	}
}

func registerRestarts() {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		waiting("restart/"+signal.String(), true, func(s *side) {
			mixedHistory(s)
			s.Grant(31, 600)
			s.putLeased("leased", "v", 31)
			s.Compact(s.at(30), true)
			s.HashKV(30)
			s.Restart(signal)
			s.list()
			s.Leases()
			s.TimeToLive(31, true)
			for n := int64(28); n <= 64; n++ {
				s.Range(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all(), Revision: s.at(n)})
			}
			for _, n := range []int64{0, s.at(30) + 1, 60} {
				s.HashKV(n)
			}
			s.put("k1", "after the restart")
			s.Revoke(31)
			s.Status()
			s.HashKV(0)
			s.Restart(signal)
			s.list()
			s.HashKV(0)
		})
	}
	waiting("restart/empty-store", true, func(s *side) {
		s.Restart(syscall.SIGTERM)
		s.Range(&pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
		s.HashKV(0)
		s.put("a", "v")
	})
}
