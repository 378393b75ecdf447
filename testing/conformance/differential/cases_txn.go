package main

import (
	"fmt"
	"math"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Transactions: comparisons, results, order of effects, what is refused.

func init() {
	registerCompares()
	registerTxnEffects()
	registerTxnReads()
	registerTxnNested()
	registerTxnRefused()
	registerTxnDuplicates()
	registerTxnLimits()
}

// compareHistory leaves a (created at 1, changed once), b (lease), c (deleted).
func compareHistory(s *side, lease int64) {
	s.Grant(lease, 600)
	s.put("a", "v1")
	s.putLeased("b", "bb", lease)
	s.put("a", "v2")
	s.put("c", "gone")
	s.remove("c")
}

func registerCompares() {
	const lease = 7201
	results := []compareResult{equal, greater, less, notEqual, 4, -1}
	registerTarget := func(name string, compares func(*side, []byte, compareResult) []*pb.Compare) {
		for _, result := range results {
			shared(fmt.Sprintf("txn/compare-%s-%v", name, result), func(s *side) {
				compareHistory(s, lease)
				for _, key := range []string{"a", "b", "c", "missing"} {
					for _, c := range compares(s, s.key(key), result) {
						s.when(c)
					}
				}
				for _, c := range compares(s, s.key("a"), result) {
					s.when(withEnd(c, s.key("c")))
				}
				for _, c := range compares(s, s.key("x"), result) {
					s.when(withEnd(c, s.key("z")))
				}
				for _, c := range compares(s, s.key("a"), result) {
					s.when(withEnd(c, s.key("a")))
				}
				s.Revoke(lease)
			})
		}
	}
	registerTarget("version", func(s *side, key []byte, result compareResult) (cs []*pb.Compare) {
		for _, n := range []int64{-1, 0, 1, 2, 3, math.MaxInt64, math.MinInt64} {
			cs = append(cs, compareVersion(key, result, n))
		}
		return cs
	})
	registerTarget("create", func(s *side, key []byte, result compareResult) (cs []*pb.Compare) {
		for _, n := range []int64{-1, 0, s.at(1), s.at(2), s.at(3), math.MaxInt64} {
			cs = append(cs, compareCreate(key, result, n))
		}
		return cs
	})
	registerTarget("mod", func(s *side, key []byte, result compareResult) (cs []*pb.Compare) {
		for _, n := range []int64{-1, 0, s.at(1), s.at(2), s.at(3), s.at(5)} {
			cs = append(cs, compareMod(key, result, n))
		}
		return cs
	})
	registerTarget("value", func(s *side, key []byte, result compareResult) (cs []*pb.Compare) {
		for _, v := range []string{"", "v1", "v2", "v3", "bb", "b"} {
			cs = append(cs, compareValue(key, result, v))
		}
		return cs
	})
	registerTarget("lease", func(s *side, key []byte, result compareResult) (cs []*pb.Compare) {
		for _, n := range []int64{-1, 0, lease, lease + 1} {
			cs = append(cs, compareLease(key, result, n))
		}
		return cs
	})
	registerTarget("without-value", func(s *side, key []byte, result compareResult) (cs []*pb.Compare) {
		for target := range pb.Compare_CompareTarget(6) {
			cs = append(cs, &pb.Compare{Key: key, Result: result, Target: target})
		}
		return cs
	})
	registerTarget("other-value", func(s *side, key []byte, result compareResult) (cs []*pb.Compare) {
		for target := range pb.Compare_CompareTarget(6) {
			cs = append(cs, &pb.Compare{Key: key, Result: result, Target: target, TargetUnion: &pb.Compare_Version{Version: 2}},
				&pb.Compare{Key: key, Result: result, Target: target, TargetUnion: &pb.Compare_Value{Value: []byte("v2")}})
		}
		return cs
	})
	shared("txn/compare-conjunction", func(s *side) {
		s.put("a", "1")
		s.put("b", "2")
		a, b := compareValue(s.key("a"), equal, "1"), compareValue(s.key("b"), equal, "2")
		wrong := compareValue(s.key("b"), equal, "3")
		s.when()
		s.when(a)
		s.when(a, b)
		s.when(a, wrong)
		s.when(wrong, a)
		s.when(a, a)
		s.when(wrong, wrong)
	})
	fresh("txn/compare-open-ranges", func(s *side) {
		s.when(withEnd(compareVersion([]byte{0}, equal, 0), []byte{0}))
		s.when(withEnd(compareValue([]byte{0}, notEqual, "x"), []byte{0}))
		s.put("a", "x")
		s.put("b", "x")
		s.when(withEnd(compareValue([]byte{0}, equal, "x"), []byte{0}))
		s.when(withEnd(compareValue(s.key("b"), equal, "x"), []byte{0}))
		s.put("b", "y")
		s.when(withEnd(compareValue([]byte{0}, equal, "x"), []byte{0}))
		s.when(withEnd(compareVersion([]byte{0}, greater, 0), []byte{0}))
		s.when(withEnd(compareMod(s.key("a"), less, s.at(3)), s.key("b")))
	})
}

func registerTxnEffects() {
	shared("txn/branches", func(s *side) {
		request := func(value string) *pb.TxnRequest {
			return &pb.TxnRequest{
				Compare: []*pb.Compare{compareValue(s.key("k"), equal, value)},
				Success: []*pb.RequestOp{s.opSet("k", value+"+")},
				Failure: []*pb.RequestOp{s.opGet("k"), s.opSet("k", "first")},
			}
		}
		s.Txn(request("first"))
		s.Txn(request("first"))
		s.Txn(request("first"))
		s.get("k")
	})
	shared("txn/empty", func(s *side) {
		s.Txn(&pb.TxnRequest{})
		s.Txn(&pb.TxnRequest{Compare: []*pb.Compare{compareVersion(s.key("k"), greater, 0)}})
		s.put("k", "v")
		s.get("k")
	})
	shared("txn/several-writes-one-revision", func(s *side) {
		s.put("a", "0")
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{
			s.opSet("a", "1"), s.opSet("b", "1"), s.opRemove("missing"), s.opSet("c", "1"),
		}})
		s.list()
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{s.opRemove("a"), s.opRemove("b"), s.opSet("d", "1")}})
		s.list()
		s.Range(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all(), Revision: s.at(2)})
	})
	shared("txn/writes-nothing", func(s *side) {
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{s.opRemove("missing")}})
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{s.opRemove("missing"), s.opGet("missing"), s.opTxnEmpty()}})
		s.put("k", "v")
	})
	shared("txn/prev-kv", func(s *side) {
		s.put("a", "0")
		s.put("b", "0")
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{
			opPut(&pb.PutRequest{Key: s.key("a"), Value: []byte("1"), PrevKv: true}),
			opPut(&pb.PutRequest{Key: s.key("new"), Value: []byte("1"), PrevKv: true}),
			opDelete(&pb.DeleteRangeRequest{Key: s.key("b"), RangeEnd: s.key("c"), PrevKv: true}),
		}})
		s.list()
	})
	shared("txn/ignore-value-and-lease", func(s *side) {
		const id = 7202
		s.Grant(id, 600)
		s.putLeased("a", "kept", id)
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{
			opPut(&pb.PutRequest{Key: s.key("a"), IgnoreValue: true, IgnoreLease: true, PrevKv: true}),
		}})
		s.get("a")
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{
			opPut(&pb.PutRequest{Key: s.key("a"), IgnoreValue: true}),
		}})
		s.get("a")
		s.TimeToLive(id, true)
		s.Revoke(id)
	})
	shared("txn/lease-attach-and-detach", func(s *side) {
		const one, two = 7203, 7204
		s.Grant(one, 600)
		s.Grant(two, 600)
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{
			opPut(&pb.PutRequest{Key: s.key("a"), Lease: one}),
			opPut(&pb.PutRequest{Key: s.key("b"), Lease: two}),
			opPut(&pb.PutRequest{Key: s.key("c"), Lease: one}),
		}})
		s.TimeToLive(one, true)
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{
			opPut(&pb.PutRequest{Key: s.key("a"), Lease: two}),
			opPut(&pb.PutRequest{Key: s.key("b")}),
			s.opRemove("c"),
		}})
		s.TimeToLive(one, true)
		s.TimeToLive(two, true)
		s.Revoke(two)
		s.list()
		s.Revoke(one)
	})
}

// opTxnEmpty is a nested transaction that does nothing.
func (s *side) opTxnEmpty() *pb.RequestOp {
	return opTxn(&pb.TxnRequest{})
}

func registerTxnReads() {
	shared("txn/reads-own-writes", func(s *side) {
		s.put("a", "0")
		s.put("b", "0")
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{
			s.opList(), s.opSet("a", "1"), s.opGet("a"), s.opList(), s.opRemove("b"), s.opGet("b"),
			s.opSet("c", "1"), s.opList(),
			opRange(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all(), CountOnly: true}),
			opRange(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all(), KeysOnly: true, SortTarget: 3, SortOrder: 2}),
		}})
		s.list()
	})
	shared("txn/delete-then-put-in-nested", func(s *side) {
		s.put("a", "0")
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{
			s.opGet("a"), s.opRemove("a"), s.opGet("a"),
			opTxn(&pb.TxnRequest{Success: []*pb.RequestOp{s.opGet("a"), s.opSet("b", "1"), s.opList()}}),
		}})
		s.list()
	})
	shared("txn/past-revisions-inside", func(s *side) {
		rangeHistory(s)
		at := func(n int64) *pb.RequestOp {
			return opRange(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all(), Revision: s.at(n)})
		}
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{at(1), at(5), at(11)}})
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{s.opSet("a", "new"), at(5), at(11), s.opList()}})
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{at(13)}})
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{s.opSet("a", "lost"), at(13)}})
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{s.opSet("a", "lost"), at(14)}})
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{opTxn(&pb.TxnRequest{Success: []*pb.RequestOp{at(14)}})}})
		s.list()
	})
	for _, revision := range []int64{-1, -2, math.MinInt64} {
		shared(fmt.Sprintf("txn/negative-revision-inside%d", revision), func(s *side) {
			s.put("a", "0")
			read := opRange(&pb.RangeRequest{Key: s.key("a"), Revision: revision})
			s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{read}})
			s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{s.opSet("a", "1"), read}})
			s.list()
		})
	}
	fresh("txn/compacted-revisions-inside", func(s *side) {
		rangeHistory(s)
		s.Compact(s.at(6), true)
		for n := int64(4); n <= 13; n++ {
			read := opRange(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all(), Revision: s.at(n)})
			s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{read}})
			s.Txn(&pb.TxnRequest{
				Compare: []*pb.Compare{compareVersion(s.key("a"), equal, 99)},
				Success: []*pb.RequestOp{read},
				Failure: []*pb.RequestOp{s.opGet("a")},
			})
		}
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{s.opSet("a", "lost"),
			opRange(&pb.RangeRequest{Key: s.key("a"), Revision: s.at(3)})}})
		s.list()
	})
	shared("txn/read-only", func(s *side) {
		rangeHistory(s)
		for _, serializable := range []bool{false, true} {
			s.Txn(&pb.TxnRequest{
				Compare: []*pb.Compare{compareVersion(s.key("b"), equal, 3)},
				Success: []*pb.RequestOp{
					opRange(&pb.RangeRequest{Key: s.key("a"), Serializable: serializable}),
					opRange(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all(), Limit: 2, Serializable: serializable}),
				},
				Failure: []*pb.RequestOp{opRange(&pb.RangeRequest{Key: s.key("b"), Serializable: true})},
			})
		}
	})
	shared("txn/reads-with-options", func(s *side) {
		rangeHistory(s)
		var ops []*pb.RequestOp
		for _, row := range rangeRows() {
			request := &pb.RangeRequest{Key: s.key(""), RangeEnd: s.all()}
			row.request(s, request)
			s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{opRange(request)}})
			if len(request.Key) > 0 && request.SortOrder >= 0 && request.SortOrder < 3 && request.SortTarget < 5 &&
				request.Revision >= 0 && request.Revision <= s.at(11) && len(ops) < 100 {
				ops = append(ops, opRange(request))
			}
		}
		s.Txn(&pb.TxnRequest{Success: append(ops, s.opSet("a", "new"))})
	})
}

func registerTxnNested() {
	shared("txn/nested-compares-see-the-state-before", func(s *side) {
		s.put("a", "0")
		inner := func(value string) *pb.RequestOp {
			return opTxn(&pb.TxnRequest{
				Compare: []*pb.Compare{compareValue(s.key("a"), equal, value)},
				Success: []*pb.RequestOp{s.opSet("then-"+value, "1")},
				Failure: []*pb.RequestOp{s.opSet("else-"+value, "1")},
			})
		}
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{s.opSet("a", "1"), inner("0"), inner("1")}})
		s.list()
	})
	shared("txn/nested-deep", func(s *side) {
		op := s.opSet("deepest", "1")
		for depth := range 30 {
			op = opTxn(&pb.TxnRequest{
				Success: []*pb.RequestOp{op, s.opSet(fmt.Sprintf("depth-%02d", depth), "1"), s.opList()},
			})
		}
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{op}})
		s.list()
	})
	shared("txn/nested-in-both-branches", func(s *side) {
		s.put("a", "0")
		branch := func(tag string) []*pb.RequestOp {
			return []*pb.RequestOp{
				s.opSet(tag, "1"),
				opTxn(&pb.TxnRequest{
					Compare: []*pb.Compare{compareVersion(s.key("a"), equal, 1)},
					Success: []*pb.RequestOp{s.opGet(tag), opTxn(&pb.TxnRequest{
						Compare: []*pb.Compare{compareVersion(s.key("a"), equal, 2)},
						Success: []*pb.RequestOp{s.opSet(tag+"-no", "1")},
						Failure: []*pb.RequestOp{s.opSet(tag+"-yes", "1"), s.opTxnEmpty(), s.opGet("a")},
					}), s.opTxnEmpty()},
					Failure: []*pb.RequestOp{s.opRemove("a")},
				}),
				s.opTxnEmpty(),
				s.opList(),
			}
		}
		for _, version := range []int64{1, 5} {
			s.Txn(&pb.TxnRequest{
				Compare: []*pb.Compare{compareVersion(s.key("a"), equal, version)},
				Success: branch(fmt.Sprint("then", version)),
				Failure: branch(fmt.Sprint("else", version)),
			})
		}
		s.list()
	})
	shared("txn/nested-read-only", func(s *side) {
		s.put("a", "0")
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{opTxn(&pb.TxnRequest{Success: []*pb.RequestOp{s.opGet("a")}})}})
		s.put("a", "1")
	})
	shared("txn/nested-failure-changes-nothing", func(s *side) {
		s.put("a", "0")
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{
			s.opSet("b", "1"),
			opTxn(&pb.TxnRequest{Success: []*pb.RequestOp{opPut(&pb.PutRequest{Key: s.key("c"), Lease: 99})}}),
		}})
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{
			s.opSet("b", "1"),
			opTxn(&pb.TxnRequest{Success: []*pb.RequestOp{opPut(&pb.PutRequest{Key: s.key("c"), IgnoreValue: true})}}),
		}})
		s.list()
	})
}

func registerTxnRefused() {
	row := func(name string, request func(*side) *pb.TxnRequest) {
		shared("txn/refused-"+name, func(s *side) {
			s.put("present", "v")
			s.Txn(request(s))
			s.list()
		})
	}
	ops := func(list ...*pb.RequestOp) *pb.TxnRequest { return &pb.TxnRequest{Success: list} }
	row("empty-op", func(s *side) *pb.TxnRequest { return ops(&pb.RequestOp{}) })
	row("empty-op-second", func(s *side) *pb.TxnRequest { return ops(s.opSet("a", "1"), &pb.RequestOp{}) })
	row("empty-op-in-failure", func(s *side) *pb.TxnRequest {
		return &pb.TxnRequest{Success: []*pb.RequestOp{s.opSet("a", "1")}, Failure: []*pb.RequestOp{{}}}
	})
	row("empty-op-nested", func(s *side) *pb.TxnRequest { return ops(opTxn(ops(&pb.RequestOp{}))) })
	row("compare-empty-key", func(s *side) *pb.TxnRequest {
		return &pb.TxnRequest{Compare: []*pb.Compare{{Target: pb.Compare_VERSION}}}
	})
	row("compare-empty-key-with-end", func(s *side) *pb.TxnRequest {
		return &pb.TxnRequest{Compare: []*pb.Compare{{Target: pb.Compare_VERSION, RangeEnd: []byte{0}}}}
	})
	row("put-empty-key", func(s *side) *pb.TxnRequest { return ops(opPut(&pb.PutRequest{})) })
	row("range-empty-key", func(s *side) *pb.TxnRequest { return ops(opRange(&pb.RangeRequest{})) })
	row("delete-empty-key", func(s *side) *pb.TxnRequest { return ops(opDelete(&pb.DeleteRangeRequest{})) })
	row("put-empty-key-in-failure", func(s *side) *pb.TxnRequest {
		return &pb.TxnRequest{Failure: []*pb.RequestOp{opPut(&pb.PutRequest{})}}
	})
	row("put-value-provided", func(s *side) *pb.TxnRequest {
		return ops(opPut(&pb.PutRequest{Key: s.key("present"), Value: []byte("x"), IgnoreValue: true}))
	})
	row("put-lease-provided", func(s *side) *pb.TxnRequest {
		return ops(opPut(&pb.PutRequest{Key: s.key("present"), Lease: 4, IgnoreLease: true}))
	})
	row("put-lease-unknown", func(s *side) *pb.TxnRequest {
		return ops(s.opSet("a", "1"), opPut(&pb.PutRequest{Key: s.key("b"), Lease: 424242}))
	})
	row("put-lease-unknown-not-taken", func(s *side) *pb.TxnRequest {
		return &pb.TxnRequest{
			Success: []*pb.RequestOp{s.opSet("a", "1")},
			Failure: []*pb.RequestOp{opPut(&pb.PutRequest{Key: s.key("b"), Lease: 424242})},
		}
	})
	row("ignore-value-absent", func(s *side) *pb.TxnRequest {
		return ops(s.opSet("a", "1"), opPut(&pb.PutRequest{Key: s.key("b"), IgnoreValue: true}))
	})
	row("ignore-value-made-in-outer", func(s *side) *pb.TxnRequest {
		return ops(s.opSet("b", "1"), opTxn(ops(opPut(&pb.PutRequest{Key: s.key("c"), IgnoreLease: true}))))
	})
	row("sort-option", func(s *side) *pb.TxnRequest {
		return ops(opRange(&pb.RangeRequest{Key: s.key("a"), SortOrder: 7}))
	})
	row("first-error-wins", func(s *side) *pb.TxnRequest {
		return ops(opPut(&pb.PutRequest{Key: s.key("a"), Lease: 424242}),
			opRange(&pb.RangeRequest{Key: s.key("a"), Revision: s.at(50)}))
	})
	row("first-error-wins-reversed", func(s *side) *pb.TxnRequest {
		return ops(opRange(&pb.RangeRequest{Key: s.key("a"), Revision: s.at(50)}),
			opPut(&pb.PutRequest{Key: s.key("a"), Lease: 424242}))
	})
	row("future-revision-not-taken", func(s *side) *pb.TxnRequest {
		return &pb.TxnRequest{
			Success: []*pb.RequestOp{s.opSet("a", "1")},
			Failure: []*pb.RequestOp{opRange(&pb.RangeRequest{Key: s.key("a"), Revision: s.at(50)})},
		}
	})
	row("bad-request-and-duplicate", func(s *side) *pb.TxnRequest {
		return ops(s.opSet("a", "1"), s.opSet("a", "2"), &pb.RequestOp{})
	})
}

func registerTxnDuplicates() {
	row := func(name string, request func(*side) *pb.TxnRequest) {
		shared("txn/duplicate-"+name, func(s *side) {
			s.put("a", "0")
			s.Txn(request(s))
			s.list()
		})
	}
	ops := func(list ...*pb.RequestOp) *pb.TxnRequest { return &pb.TxnRequest{Success: list} }
	deletes := func(s *side, from, to string) *pb.RequestOp {
		return opDelete(&pb.DeleteRangeRequest{Key: s.key(from), RangeEnd: s.key(to)})
	}
	row("two-puts", func(s *side) *pb.TxnRequest { return ops(s.opSet("a", "1"), s.opSet("a", "2")) })
	row("two-puts-in-failure", func(s *side) *pb.TxnRequest {
		return &pb.TxnRequest{Failure: []*pb.RequestOp{s.opSet("a", "1"), s.opSet("a", "2")}}
	})
	row("one-put-in-each-branch", func(s *side) *pb.TxnRequest {
		return &pb.TxnRequest{Success: []*pb.RequestOp{s.opSet("a", "1")}, Failure: []*pb.RequestOp{s.opSet("a", "2")}}
	})
	row("put-and-delete", func(s *side) *pb.TxnRequest { return ops(s.opSet("a", "1"), s.opRemove("a")) })
	row("delete-and-put", func(s *side) *pb.TxnRequest { return ops(s.opRemove("a"), s.opSet("a", "1")) })
	row("put-in-deleted-range", func(s *side) *pb.TxnRequest { return ops(deletes(s, "a", "c"), s.opSet("b", "1")) })
	row("put-at-end-of-deleted-range", func(s *side) *pb.TxnRequest { return ops(deletes(s, "a", "c"), s.opSet("c", "1")) })
	row("put-above-open-delete", func(s *side) *pb.TxnRequest {
		return ops(opDelete(&pb.DeleteRangeRequest{Key: s.key("zz"), RangeEnd: []byte{0}}), s.opSet("zzz", "1"))
	})
	row("put-below-reversed-delete", func(s *side) *pb.TxnRequest { return ops(deletes(s, "c", "b"), s.opSet("a", "1")) })
	row("two-deletes", func(s *side) *pb.TxnRequest { return ops(s.opRemove("a"), s.opRemove("a"), deletes(s, "a", "b")) })
	row("nested-put", func(s *side) *pb.TxnRequest { return ops(s.opSet("a", "1"), opTxn(ops(s.opSet("a", "2")))) })
	row("nested-put-first", func(s *side) *pb.TxnRequest { return ops(opTxn(ops(s.opSet("a", "2"))), s.opSet("a", "1")) })
	row("nested-branches", func(s *side) *pb.TxnRequest {
		return ops(opTxn(&pb.TxnRequest{Success: []*pb.RequestOp{s.opSet("a", "1")}, Failure: []*pb.RequestOp{s.opSet("a", "2")}}))
	})
	row("nested-siblings", func(s *side) *pb.TxnRequest {
		return ops(opTxn(ops(s.opSet("a", "1"))), opTxn(ops(s.opSet("a", "2"))))
	})
	row("nested-sibling-branches", func(s *side) *pb.TxnRequest {
		return ops(
			opTxn(&pb.TxnRequest{Success: []*pb.RequestOp{s.opSet("a", "1")}}),
			opTxn(&pb.TxnRequest{Failure: []*pb.RequestOp{s.opSet("a", "2")}}))
	})
	row("nested-delete-outer-put", func(s *side) *pb.TxnRequest { return ops(s.opSet("a", "1"), opTxn(ops(s.opRemove("a")))) })
	row("nested-put-outer-delete", func(s *side) *pb.TxnRequest { return ops(s.opRemove("a"), opTxn(ops(s.opSet("a", "1")))) })
	row("nested-sibling-delete-and-put", func(s *side) *pb.TxnRequest {
		return ops(opTxn(ops(s.opRemove("a"))), opTxn(ops(s.opSet("a", "1"))))
	})
	row("nested-sibling-put-and-delete", func(s *side) *pb.TxnRequest {
		return ops(opTxn(ops(s.opSet("a", "1"))), opTxn(ops(s.opRemove("a"))))
	})
	row("nested-branch-delete-and-put", func(s *side) *pb.TxnRequest {
		return ops(opTxn(&pb.TxnRequest{Success: []*pb.RequestOp{s.opRemove("a")}, Failure: []*pb.RequestOp{s.opSet("a", "1")}}))
	})
	row("nested-deep", func(s *side) *pb.TxnRequest {
		return ops(s.opSet("a", "1"), opTxn(ops(opTxn(ops(opTxn(ops(s.opSet("a", "2"))))))))
	})
}

func registerTxnLimits() {
	many := func(s *side, n int) (ops []*pb.RequestOp) {
		for i := range n {
			ops = append(ops, s.opSet(fmt.Sprintf("%03d", i), "v"))
		}
		return ops
	}
	for _, n := range []int{127, 128, 129, 500} {
		shared(fmt.Sprintf("txn/ops-%d", n), func(s *side) {
			s.Txn(&pb.TxnRequest{Success: many(s, n)})
			s.Txn(&pb.TxnRequest{Failure: many(s, n)})
			var compares []*pb.Compare
			for range n {
				compares = append(compares, compareVersion(s.key("x"), equal, 0))
			}
			s.when(compares...)
			s.Range(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all(), CountOnly: true})
		})
	}
	for _, inner := range []int{100, 118, 119, 128} {
		shared(fmt.Sprintf("txn/ops-nested-%d", inner), func(s *side) {
			outer := []*pb.RequestOp{opTxn(&pb.TxnRequest{Success: many(s, inner)})}
			for i := range 9 {
				outer = append(outer, s.opSet(fmt.Sprint("outer", i), "v"))
			}
			s.Txn(&pb.TxnRequest{Success: outer})
			s.Range(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all(), CountOnly: true})
		})
	}
	nested := func(s *side, txns int) {
		op := s.opSet("k", "v")
		for range txns - 1 {
			op = opTxn(&pb.TxnRequest{Success: []*pb.RequestOp{op}})
		}
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{op}})
	}
	shared("txn/ops-deep", func(s *side) {
		for _, txns := range []int{1, 2, 10, 49, 50} {
			nested(s, txns)
		}
	})
	shared("txn/ops-too-deep", func(s *side) {
		for _, txns := range []int{51, 64, 127, 128, 129, 130} {
			nested(s, txns)
		}
	})
	fresh("txn/ops-limit-from-flag", func(s *side) {
		for _, n := range []int{1, 3, 4} {
			s.Txn(&pb.TxnRequest{Success: many(s, n)})
		}
		s.Txn(&pb.TxnRequest{Success: append(many(s, 1), opTxn(&pb.TxnRequest{Success: many(s, 1)}))})
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{opTxn(&pb.TxnRequest{Success: many(s, 3)})}})
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{opTxn(&pb.TxnRequest{Success: many(s, 2)})}})
	}, "--max-txn-ops", "3")
}
