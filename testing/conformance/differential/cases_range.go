package main

import (
	"fmt"
	"math"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Range with every option, on a small history in which each key differs from
// the others in version, creation, modification and value.

// rangeHistory writes, in 11 revisions: a (1 version), b (3 versions), c
// (deleted and made again), d (deleted), e, f with lease, and neighbours just
// outside the prefix.
func rangeHistory(s *side) {
	s.put("a", "v5")
	s.put("b", "v1")
	s.put("c", "v0")
	s.put("b", "v2")
	s.put("d", "gone")
	s.remove("c")
	s.put("c", "v1")
	s.put("b", "v4")
	s.remove("d")
	s.put("e", "")
	s.put("ee", "v3")
}

type rangeRow struct {
	name    string
	request func(*side, *pb.RangeRequest)
}

func init() {
	for _, row := range rangeRows() {
		shared("range/"+row.name, func(s *side) {
			rangeHistory(s)
			request := &pb.RangeRequest{Key: s.key(""), RangeEnd: s.all()}
			row.request(s, request)
			s.Range(request)
		})
	}
	registerRangeProducts()
	registerRangeScripts()
}

func rangeRows() []rangeRow {
	type r = pb.RangeRequest
	return []rangeRow{
		{"whole-prefix", func(s *side, q *r) {}},
		{"single-key", func(s *side, q *r) { q.Key, q.RangeEnd = s.key("b"), nil }},
		{"single-key-serializable", func(s *side, q *r) { q.Key, q.RangeEnd, q.Serializable = s.key("b"), nil, true }},
		{"missing-key", func(s *side, q *r) { q.Key, q.RangeEnd = s.key("zzz"), nil }},
		{"deleted-key", func(s *side, q *r) { q.Key, q.RangeEnd = s.key("d"), nil }},
		{"empty-key", func(s *side, q *r) { q.Key, q.RangeEnd = nil, nil }},
		{"empty-key-with-end", func(s *side, q *r) { q.Key = nil }},
		{"empty-key-zero-end", func(s *side, q *r) { q.Key, q.RangeEnd = nil, []byte{0} }},
		{"half-open", func(s *side, q *r) { q.Key, q.RangeEnd = s.key("b"), s.key("e") }},
		{"end-equals-key", func(s *side, q *r) { q.Key, q.RangeEnd = s.key("b"), s.key("b") }},
		{"end-below-key", func(s *side, q *r) { q.Key, q.RangeEnd = s.key("c"), s.key("a") }},
		{"end-just-above-key", func(s *side, q *r) { q.Key, q.RangeEnd = s.key("e"), append(s.key("e"), 0) }},
		{"end-two-zero-bytes", func(s *side, q *r) { q.RangeEnd = []byte{0, 0} }},
		{"end-all-ff", func(s *side, q *r) { q.Key, q.RangeEnd = s.key("b"), []byte{0xff} }},
		{"limit-1", func(s *side, q *r) { q.Limit = 1 }},
		{"limit-exact", func(s *side, q *r) { q.Limit = 5 }},
		{"limit-above", func(s *side, q *r) { q.Limit = 6 }},
		{"limit-below", func(s *side, q *r) { q.Limit = 4 }},
		{"limit-negative", func(s *side, q *r) { q.Limit = -1 }},
		{"limit-max", func(s *side, q *r) { q.Limit = math.MaxInt64 }},
		{"limit-min", func(s *side, q *r) { q.Limit = math.MinInt64 }},
		{"limit-1-single-key", func(s *side, q *r) { q.Key, q.RangeEnd, q.Limit = s.key("b"), nil, 1 }},
		{"count-only", func(s *side, q *r) { q.CountOnly = true }},
		{"count-only-limit", func(s *side, q *r) { q.CountOnly, q.Limit = true, 2 }},
		{"count-only-keys-only", func(s *side, q *r) { q.CountOnly, q.KeysOnly = true, true }},
		{"count-only-sorted", func(s *side, q *r) { q.CountOnly, q.SortTarget, q.SortOrder = true, 1, 2 }},
		{"count-only-filtered", func(s *side, q *r) { q.CountOnly, q.MinModRevision = true, s.at(7) }},
		{"count-only-single", func(s *side, q *r) { q.Key, q.RangeEnd, q.CountOnly = s.key("a"), nil, true }},
		{"count-only-missing", func(s *side, q *r) { q.Key, q.RangeEnd, q.CountOnly = s.key("nope"), nil, true }},
		{"count-only-past", func(s *side, q *r) { q.CountOnly, q.Revision = true, s.at(5) }},
		{"keys-only", func(s *side, q *r) { q.KeysOnly = true }},
		{"keys-only-limit", func(s *side, q *r) { q.KeysOnly, q.Limit = true, 2 }},
		{"keys-only-past", func(s *side, q *r) { q.KeysOnly, q.Revision = true, s.at(5) }},
		{"keys-only-by-value", func(s *side, q *r) { q.KeysOnly, q.SortTarget, q.SortOrder = true, 4, 1 }},
		{"keys-only-by-value-unordered", func(s *side, q *r) { q.KeysOnly, q.SortTarget = true, 4 }},
		{"revision-negative", func(s *side, q *r) { q.Revision = -1 }},
		{"revision-min", func(s *side, q *r) { q.Revision = math.MinInt64 }},
		{"revision-current", func(s *side, q *r) { q.Revision = s.at(11) }},
		{"revision-future", func(s *side, q *r) { q.Revision = s.at(12) }},
		{"revision-far-future", func(s *side, q *r) { q.Revision = math.MaxInt64 }},
		{"revision-future-single", func(s *side, q *r) { q.Key, q.RangeEnd, q.Revision = s.key("a"), nil, s.at(100) }},
		{"revision-before-deletion", func(s *side, q *r) { q.Revision = s.at(5) }},
		{"revision-at-deletion", func(s *side, q *r) { q.Revision = s.at(6) }},
		{"revision-between-generations", func(s *side, q *r) { q.Key, q.RangeEnd, q.Revision = s.key("c"), nil, s.at(6) }},
		{"revision-second-generation", func(s *side, q *r) { q.Key, q.RangeEnd, q.Revision = s.key("c"), nil, s.at(7) }},
		{"revision-before-case", func(s *side, q *r) { q.Revision = s.at(0) }},
		{"revision-limit", func(s *side, q *r) { q.Revision, q.Limit = s.at(8), 2 }},
		{"min-mod", func(s *side, q *r) { q.MinModRevision = s.at(7) }},
		{"max-mod", func(s *side, q *r) { q.MaxModRevision = s.at(8) }},
		{"min-create", func(s *side, q *r) { q.MinCreateRevision = s.at(3) }},
		{"max-create", func(s *side, q *r) { q.MaxCreateRevision = s.at(7) }},
		{"mod-window", func(s *side, q *r) { q.MinModRevision, q.MaxModRevision = s.at(2), s.at(8) }},
		{"mod-window-limit", func(s *side, q *r) { q.MinModRevision, q.MaxModRevision, q.Limit = s.at(2), s.at(8), 1 }},
		{"mod-window-empty", func(s *side, q *r) { q.MinModRevision, q.MaxModRevision = s.at(9), s.at(3) }},
		{"filters-all", func(s *side, q *r) {
			q.MinModRevision, q.MaxModRevision = s.at(2), s.at(10)
			q.MinCreateRevision, q.MaxCreateRevision = s.at(2), s.at(9)
		}},
		{"filter-negative-min", func(s *side, q *r) { q.MinModRevision = -5 }},
		{"filter-negative-max", func(s *side, q *r) { q.MaxModRevision = -5 }},
		{"filter-limit-zero-left", func(s *side, q *r) { q.MinModRevision, q.Limit = s.at(11), 3 }},
		{"filter-keys-only", func(s *side, q *r) { q.MinModRevision, q.KeysOnly = s.at(7), true }},
		{"filter-past", func(s *side, q *r) { q.MinModRevision, q.Revision = s.at(3), s.at(5) }},
		{"sort-order-unknown", func(s *side, q *r) { q.SortOrder = 3 }},
		{"sort-order-negative", func(s *side, q *r) { q.SortOrder = -1 }},
		{"sort-target-unknown", func(s *side, q *r) { q.SortTarget = 5 }},
		{"sort-target-unknown-empty-key", func(s *side, q *r) { q.Key, q.SortTarget = nil, 5 }},
		{"sort-unordered-limit", func(s *side, q *r) { q.SortTarget, q.Limit = pb.RangeRequest_VERSION, 2 }},
		{"sort-unordered-mod-limit", func(s *side, q *r) { q.SortTarget, q.Limit = pb.RangeRequest_MOD, 2 }},
		{"sort-unordered-value-limit", func(s *side, q *r) { q.SortTarget, q.Limit = pb.RangeRequest_VALUE, 1 }},
		{"sort-key-descend-limit", func(s *side, q *r) { q.SortOrder, q.Limit = pb.RangeRequest_DESCEND, 2 }},
		{"sort-single-key", func(s *side, q *r) { q.Key, q.RangeEnd, q.SortOrder, q.SortTarget = s.key("a"), nil, 2, 3 }},
		{"sort-past", func(s *side, q *r) { q.SortOrder, q.SortTarget, q.Revision = 2, 3, s.at(5) }},
		{"serializable-past", func(s *side, q *r) { q.Serializable, q.Revision = true, s.at(5) }},
		{"serializable-future", func(s *side, q *r) { q.Serializable, q.Revision = true, s.at(12) }},
		{"future-and-count-only", func(s *side, q *r) { q.CountOnly, q.Revision = true, s.at(12) }},
		{"future-and-empty-range", func(s *side, q *r) { q.RangeEnd, q.Revision = s.key(""), s.at(12) }},
	}
}

// registerRangeProducts pairs every sort with limits and filters.
func registerRangeProducts() {
	for order := range pb.RangeRequest_SortOrder(3) {
		for target := range pb.RangeRequest_SortTarget(5) {
			name := fmt.Sprintf("range/sort-%s-%s", target, order)
			shared(name, func(s *side) {
				rangeHistory(s)
				for _, limit := range []int64{0, 1, 3, 5, 9} {
					for _, minMod := range []int64{0, s.at(4)} {
						for _, keysOnly := range []bool{false, true} {
							s.Range(&pb.RangeRequest{
								Key: s.key(""), RangeEnd: s.all(), SortOrder: order, SortTarget: target,
								Limit: limit, MinModRevision: minMod, KeysOnly: keysOnly,
							})
						}
					}
				}
			})
		}
	}
}

func registerRangeScripts() {
	shared("range/every-past-revision", func(s *side) {
		rangeHistory(s)
		for n := int64(0); n <= 12; n++ {
			s.Range(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all(), Revision: s.at(n)})
			s.Range(&pb.RangeRequest{Key: s.key("c"), Revision: s.at(n)})
			s.Range(&pb.RangeRequest{Key: s.key("b"), RangeEnd: s.key("d"), Revision: s.at(n), CountOnly: true})
		}
	})
	shared("range/pages", func(s *side) {
		for i := range 25 {
			s.put(fmt.Sprintf("%02d", i), fmt.Sprint(i))
		}
		revision := s.at(25)
		s.put("10", "changed after the first page")
		s.remove("11")
		from := s.key("")
		for range 10 {
			page := s.Range(&pb.RangeRequest{Key: from, RangeEnd: s.all(), Limit: 7, Revision: revision})
			if page == nil || !page.More {
				break
			}
			from = append(page.Kvs[len(page.Kvs)-1].Key, 0)
		}
	})
	shared("range/lease-in-answers", func(s *side) {
		lease := s.Grant(0, 600)
		if lease == nil {
			return
		}
		s.putLeased("a", "v", lease.ID)
		s.put("b", "v")
		for _, keysOnly := range []bool{false, true} {
			for _, target := range []pb.RangeRequest_SortTarget{pb.RangeRequest_KEY, pb.RangeRequest_MOD, pb.RangeRequest_VALUE} {
				s.Range(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all(), KeysOnly: keysOnly, SortTarget: target})
			}
		}
		s.Range(&pb.RangeRequest{Key: s.key("a"), KeysOnly: true})
		s.Range(&pb.RangeRequest{Key: s.key("a"), KeysOnly: true, Revision: s.at(1)})
		s.Revoke(lease.ID)
		s.Range(&pb.RangeRequest{Key: s.key("a"), Revision: s.at(2)})
	})
	shared("range/binary-keys-and-values", func(s *side) {
		for _, name := range []string{"\x00", "\x00\x00", "\x7f", "\xff", "\xff\xff", "a\x00b", "ü", "\xc3\x28"} {
			s.put(name, name+"\x00\xff")
			s.get(name)
		}
		s.list()
		s.Range(&pb.RangeRequest{Key: s.key("\xff"), RangeEnd: s.all()})
		s.Range(&pb.RangeRequest{Key: s.key("\x00"), RangeEnd: s.key("\x00\x00")})
	})
	fresh("range/whole-store", func(s *side) {
		s.Range(&pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
		rangeHistory(s)
		for _, end := range [][]byte{{0}, {0xff}, {1}, []byte("z")} {
			for _, key := range [][]byte{{0}, {1}, s.key("b"), {0xff}, []byte("zz")} {
				s.Range(&pb.RangeRequest{Key: key, RangeEnd: end})
				s.Range(&pb.RangeRequest{Key: key, RangeEnd: end, CountOnly: true})
				s.Range(&pb.RangeRequest{Key: key, RangeEnd: end, Limit: 2, KeysOnly: true})
			}
		}
		s.Range(&pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: 1})
		s.Range(&pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: 2})
	})
	fresh("range/compacted", func(s *side) {
		rangeHistory(s)
		s.Compact(s.at(7), true)
		for n := int64(0); n <= 12; n++ {
			for _, serializable := range []bool{false, true} {
				s.Range(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all(), Revision: s.at(n), Serializable: serializable})
				s.Range(&pb.RangeRequest{Key: s.key("c"), Revision: s.at(n), CountOnly: true, Serializable: serializable})
			}
		}
	})
	shared("range/large-values", func(s *side) {
		value := make([]byte, 300<<10)
		for i := range 8 {
			s.Put(&pb.PutRequest{Key: s.key(fmt.Sprint(i)), Value: value})
		}
		s.list()
		s.Range(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all(), SortOrder: pb.RangeRequest_DESCEND})
		s.Range(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all(), Limit: 7})
	})
}
