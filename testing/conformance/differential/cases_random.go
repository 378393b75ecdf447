package main

import (
	"fmt"
	"math/rand/v2"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Random cases: a seed gives a sequence of requests over a dozen keys and a
// few leases. Watchers record the whole time; at the end the state, the hash
// of the history, and what new watchers see of the past are compared as well.
//
// The generator is steered only by the seed and by the revisions in answers.
// Keys are few enough that etcd's sorting of small lists keeps the order of
// equal elements; for longer lists it does not, and nothing can be compared.

var randomKeys = []string{"a", "a0", "a1", "a1x", "b", "b0", "c", "d", "d\x00", "e", "f", "\xff"}

const randomLeases = 4

// generator holds what the requests are made from.
type generator struct {
	*rand.Rand
	side      *side
	revision  int64
	compacted int64
	values    int
	watches   *watchLog
}

func randomScript(s *side, seed uint64, steps int) {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0x5eed)), side: s, revision: s.start}
	// All watchers of a run want previous values or none does: etcd shares
	// events among watchers and may show them to one that did not ask.
	g.watches = g.openWatches(s.start+1, g.chance(2))
	defer g.watches.stream.close()
	for range steps {
		g.step()
	}
	g.finish()
}

func (g *generator) chance(oneIn int) bool {
	return g.IntN(oneIn) == 0
}

// step sends one request.
func (g *generator) step() {
	s := g.side
	switch n := g.IntN(100); {
	case n < 30:
		if answer := s.Put(g.put()); answer != nil {
			g.revision = answer.Header.Revision
		}
	case n < 40:
		if answer := s.Delete(g.deletion()); answer != nil {
			g.revision = answer.Header.Revision
		}
	case n < 62:
		request := &pb.TxnRequest{}
		g.fillTxn(request, 3)
		if answer := s.Txn(request); answer != nil {
			g.revision = answer.Header.Revision
		}
	case n < 82:
		s.Range(g.read())
	case n < 87:
		s.Stream(g.read())
	case n < 90:
		g.compact()
	case n < 94:
		s.HashKV(g.anyRevision())
	case n < 96:
		s.Grant(g.lease(), 600)
	case n < 98:
		if answer := s.Revoke(g.lease()); answer != nil {
			g.revision = answer.Header.Revision
		}
	default:
		s.TimeToLive(g.lease(), true)
		s.keepAlive(g.lease())
	}
}

// compact removes history, after the watchers have seen it: one that has not
// may or may not be cancelled. The second request waits for the removal.
func (g *generator) compact() {
	g.watches.catchUp(g.revision)
	revision := g.compacted - 1 + g.Int64N(g.revision-g.compacted+3)
	if g.chance(2) {
		// Most of the time keep some history.
		revision = g.compacted + g.Int64N(g.revision-g.compacted+1)/3
	}
	if g.side.Compact(revision, g.chance(2)) != nil {
		g.compacted = revision
	}
	g.side.Compact(max(g.compacted, 0), true)
}

// anyRevision is mostly readable, sometimes compacted, future or negative.
func (g *generator) anyRevision() int64 {
	switch g.IntN(12) {
	case 0, 1, 2:
		return 0
	case 3:
		return g.revision + g.Int64N(3)
	case 4:
		return g.compacted - 2 + g.Int64N(4)
	}
	return g.compacted + g.Int64N(g.revision-g.compacted+1)
}

func (g *generator) key() []byte {
	return g.side.key(randomKeys[g.IntN(len(randomKeys))])
}

// keyRange is one key, everything, from a key on, or between two keys.
func (g *generator) keyRange() (key, end []byte) {
	switch g.IntN(6) {
	case 0, 1:
		return g.key(), nil
	case 2:
		return g.side.key(""), g.side.all()
	case 3:
		return g.key(), g.side.all()
	case 4:
		key = g.key()
		return key, prefixEnd(key)
	}
	return g.key(), g.key()
}

func (g *generator) lease() int64 {
	return 1 + g.Int64N(randomLeases)
}

// value is mostly new, sometimes one of a few so that comparisons succeed.
func (g *generator) value() []byte {
	if g.chance(3) {
		return []byte{byte('p' + g.IntN(3))}
	}
	g.values++
	return fmt.Appendf(nil, "value %d", g.values)
}

func (g *generator) put() *pb.PutRequest {
	r := &pb.PutRequest{Key: g.key(), Value: g.value(), PrevKv: g.chance(3)}
	if g.chance(4) {
		r.Lease = g.lease()
	}
	if g.chance(10) {
		r.IgnoreValue = true
		if !g.chance(5) {
			r.Value = nil
		}
	}
	if g.chance(10) {
		r.IgnoreLease = true
		if !g.chance(5) {
			r.Lease = 0
		}
	}
	return r
}

func (g *generator) deletion() *pb.DeleteRangeRequest {
	r := &pb.DeleteRangeRequest{PrevKv: g.chance(2)}
	r.Key, r.RangeEnd = g.keyRange()
	if g.chance(2) {
		// Single keys more often, or nothing would live long.
		r.RangeEnd = nil
	}
	return r
}

func (g *generator) read() *pb.RangeRequest {
	r := &pb.RangeRequest{Serializable: g.chance(3)}
	r.Key, r.RangeEnd = g.keyRange()
	if g.chance(2) {
		r.Revision = g.anyRevision()
	}
	if g.chance(3) {
		r.Limit = g.Int64N(6)
	}
	if g.chance(3) {
		r.SortOrder = pb.RangeRequest_SortOrder(g.IntN(3))
		r.SortTarget = pb.RangeRequest_SortTarget(g.IntN(5))
	}
	r.KeysOnly, r.CountOnly = g.chance(5), g.chance(8)
	for _, bound := range []*int64{&r.MinModRevision, &r.MaxModRevision, &r.MinCreateRevision, &r.MaxCreateRevision} {
		if g.chance(12) {
			*bound = g.Int64N(g.revision + 2)
		}
	}
	return r
}

// fillTxn makes a transaction with nested ones down to depth.
func (g *generator) fillTxn(r *pb.TxnRequest, depth int) {
	for range g.IntN(3) {
		r.Compare = append(r.Compare, g.compare())
	}
	for _, branch := range []*[]*pb.RequestOp{&r.Success, &r.Failure} {
		for range g.IntN(4) {
			*branch = append(*branch, g.op(depth))
		}
	}
}

func (g *generator) op(depth int) *pb.RequestOp {
	switch n := g.IntN(20); {
	case n < 7:
		r := g.put()
		if !g.chance(4) {
			// Most of what a put may ask for fails; keep that rare.
			r.IgnoreLease, r.IgnoreValue, r.Lease = false, false, 0
		}
		return opPut(r)
	case n < 14:
		r := g.read()
		if r.Revision > g.revision || !g.chance(3) {
			r.Revision = 0
		}
		return opRange(r)
	case n < 17:
		return opDelete(g.deletion())
	case n < 19 && depth > 0:
		inner := &pb.TxnRequest{}
		g.fillTxn(inner, depth-1)
		return opTxn(inner)
	case n == 19 && g.chance(15):
		return &pb.RequestOp{}
	}
	return opRange(&pb.RangeRequest{Key: g.key()})
}

func (g *generator) compare() *pb.Compare {
	key, end := g.keyRange()
	if g.chance(2) {
		end = nil
	}
	result := compareResult(g.IntN(4))
	near := func(n int64) int64 { return max(0, n-g.Int64N(6)) }
	var c *pb.Compare
	switch g.IntN(5) {
	case 0:
		c = compareVersion(key, result, g.Int64N(3))
	case 1:
		c = compareCreate(key, result, near(g.revision)*g.Int64N(2))
	case 2:
		c = compareMod(key, result, near(g.revision)*g.Int64N(2))
	case 3:
		c = compareValue(key, result, string(g.value()))
	default:
		c = compareLease(key, result, g.Int64N(randomLeases+1))
	}
	return withEnd(c, end)
}

// finish compares what is left.
func (g *generator) finish() {
	s := g.side
	g.watches.catchUp(g.revision)
	g.watches.record("live")
	s.list()
	s.HashKV(0)
	for id := int64(1); id <= randomLeases; id++ {
		s.TimeToLive(id, true)
	}
	for _, from := range []int64{max(g.compacted, 1), g.compacted + (g.revision-g.compacted)/2, g.revision} {
		past := g.openWatches(from, g.watches.prevKV)
		past.catchUp(g.revision)
		past.record(fmt.Sprintf("from revision %d", from))
		past.stream.close()
	}
	s.Compact(g.revision, true)
	s.HashKV(0)
	s.list()
}
