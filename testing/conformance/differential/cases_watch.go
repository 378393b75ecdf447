package main

import (
	"bytes"
	"context"
	"fmt"
	"math"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// Watch: creation, ids, cancellation, and the shape of events.

func init() {
	registerWatchCreation()
	registerWatchIDs()
	registerWatchEvents()
	registerWatchFilters()
	registerWatchCompaction()
	registerWatchFragments()
	registerWatchOddMessages()
}

func registerWatchCreation() {
	type create = pb.WatchCreateRequest
	row := func(name string, request func(*side, *create)) {
		shared("watch/create-"+name, func(s *side) {
			s.put("a", "1")
			s.put("b", "2")
			w := s.Watch("w")
			defer w.close()
			r := &create{Key: s.key("a")}
			request(s, r)
			answer := w.create(r)
			if answer.Canceled {
				// The stream must live on.
				w.createOn(s.at(1))
				w.events(2)
				return
			}
			s.put("a", "3")
			s.put("b", "4")
			s.remove("a")
			// The sentinel's event shows that all before it has been sent.
			sentinel := s.Watch("sentinel")
			defer sentinel.close()
			sentinel.createOn(s.at(5))
			sentinel.events(1)
		})
	}
	row("now", func(s *side, r *create) {})
	row("future", func(s *side, r *create) { r.StartRevision = s.at(4) })
	row("far-future", func(s *side, r *create) { r.StartRevision = math.MaxInt64 })
	row("negative", func(s *side, r *create) { r.StartRevision = -1 })
	row("very-negative", func(s *side, r *create) { r.StartRevision = math.MinInt64 })
	row("negative-empty-range", func(s *side, r *create) { r.StartRevision, r.RangeEnd = -1, s.key("a") })
	row("range-end-equals-key", func(s *side, r *create) { r.RangeEnd = s.key("a") })
	row("range-end-below-key", func(s *side, r *create) { r.RangeEnd = s.key("A") })
	row("range-end-below-key-with-id", func(s *side, r *create) { r.RangeEnd, r.WatchId = s.key("A"), 9 })
	row("negative-id", func(s *side, r *create) { r.WatchId = -7 })
	row("minus-one-id", func(s *side, r *create) { r.WatchId = -1 })
	row("max-id", func(s *side, r *create) { r.WatchId = math.MaxInt64 })
	row("unknown-filter", func(s *side, r *create) { r.Filters = []pb.WatchCreateRequest_FilterType{5} })

	for n := int64(1); n <= 4; n++ {
		shared(fmt.Sprintf("watch/create-past-%d", n), func(s *side) {
			s.put("a", "1")
			s.put("b", "2")
			s.remove("a")
			s.put("a", "3")
			w := s.Watch("w")
			defer w.close()
			w.createOn(s.at(n))
			w.receive(1)
			s.put("a", "4")
			w.receive(1)
		})
	}
	shared("watch/create-whole-store", func(s *side) {
		for _, r := range []*create{
			{Key: nil, RangeEnd: []byte{0}}, {Key: []byte{0}, RangeEnd: []byte{0}}, {Key: s.key("b"), RangeEnd: []byte{0}},
			{Key: nil, RangeEnd: s.all()},
		} {
			w := s.Watch("w")
			w.create(r)
			s.put("b", "v")
			w.receive(1)
			w.close()
		}
	})
	shared("watch/create-empty-key", func(s *side) {
		w := s.Watch("w")
		defer w.close()
		// An empty key means the key of one zero byte, which nobody writes here.
		w.create(&create{})
		w.createOn(0)
		s.put("a", "v")
		w.receive(1)
	})
}

func registerWatchIDs() {
	shared("watch/ids-assigned-in-order", func(s *side) {
		w := s.Watch("w")
		defer w.close()
		for i := range 4 {
			w.create(&pb.WatchCreateRequest{Key: s.key(fmt.Sprint(i))})
		}
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{s.opSet("3", "v"), s.opSet("0", "v"), s.opSet("2", "v")}})
		w.receive(3)
	})
	shared("watch/ids-chosen-and-skipped", func(s *side) {
		w := s.Watch("w")
		defer w.close()
		for _, id := range []int64{2, 1, 0, 0, 0, 100, 0, -5, 0} {
			w.create(&pb.WatchCreateRequest{Key: s.key("k"), WatchId: id})
		}
		s.put("k", "v")
		w.receive(9)
	})
	shared("watch/ids-duplicate", func(s *side) {
		w := s.Watch("w")
		defer w.close()
		w.create(&pb.WatchCreateRequest{Key: s.key("k"), WatchId: 5})
		w.create(&pb.WatchCreateRequest{Key: s.key("other"), WatchId: 5})
		s.put("other", "v")
		s.put("k", "v")
		w.receive(1)
	})
	shared("watch/ids-reused-after-cancel", func(s *side) {
		w := s.Watch("w")
		defer w.close()
		w.create(&pb.WatchCreateRequest{Key: s.key("k"), WatchId: 5})
		w.create(&pb.WatchCreateRequest{Key: s.key("k")})
		w.cancelWatcher(5)
		w.receive(1)
		w.cancelWatcher(0)
		w.receive(1)
		w.create(&pb.WatchCreateRequest{Key: s.key("k"), WatchId: 5})
		w.create(&pb.WatchCreateRequest{Key: s.key("k")})
		s.put("k", "v")
		w.receive(2)
	})
	shared("watch/cancel", func(s *side) {
		w := s.Watch("w")
		defer w.close()
		w.createOn(0)
		w.create(&pb.WatchCreateRequest{Key: s.key("k"), WatchId: 8})
		s.put("k", "1")
		w.receive(2)
		w.cancelWatcher(0)
		w.receive(1)
		// No answer to what does not exist (any more), and to a wrong id.
		w.cancelWatcher(0)
		w.cancelWatcher(77)
		w.cancelWatcher(-1)
		s.put("k", "2")
		w.receive(1)
		w.cancelWatcher(8)
		w.receive(1)
	})
	shared("watch/cancel-while-waiting-for-the-future", func(s *side) {
		w := s.Watch("w")
		defer w.close()
		w.createOn(s.at(1000))
		w.cancelWatcher(0)
		w.receive(1)
		w.createOn(s.at(2))
		s.put("a", "1")
		s.put("a", "2")
		w.receive(1)
	})
	shared("watch/many-streams", func(s *side) {
		var streams []*watchStream
		for i := range 8 {
			w := s.Watch(fmt.Sprint("stream ", i))
			defer w.close()
			for range 3 {
				w.createOn(0)
			}
			streams = append(streams, w)
		}
		for i := range 5 {
			s.put("k", fmt.Sprint(i))
		}
		for _, w := range streams {
			w.receive(15)
		}
	})
}

func registerWatchEvents() {
	for _, prev := range []bool{false, true} {
		for _, live := range []bool{false, true} {
			shared(fmt.Sprintf("watch/events-prev-%v-live-%v", prev, live), func(s *side) {
				s.put("a", "0")
				s.put("z", "0")
				w := s.Watch("w")
				defer w.close()
				request := &pb.WatchCreateRequest{Key: s.key(""), RangeEnd: s.all(), PrevKv: prev}
				if live {
					w.create(request)
				}
				s.put("a", "1")
				s.remove("a")
				s.put("a", "2")
				s.remove("missing")
				s.Put(&pb.PutRequest{Key: s.key("a"), IgnoreValue: true})
				s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{
					s.opSet("c", "1"), s.opRemove("a"), s.opSet("b", ""), s.opSet("z", "1"),
				}})
				s.Delete(&pb.DeleteRangeRequest{Key: s.key(""), RangeEnd: s.all()})
				if !live {
					request.StartRevision = s.at(3)
					w.create(request)
				}
				w.events(11)
			})
		}
	}
	shared("watch/events-of-a-txn-with-nested", func(s *side) {
		s.put("a", "0")
		w := s.Watch("w")
		defer w.close()
		w.create(&pb.WatchCreateRequest{Key: s.key(""), RangeEnd: s.all(), PrevKv: true})
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{
			s.opSet("c", "1"),
			opTxn(&pb.TxnRequest{Success: []*pb.RequestOp{s.opSet("b", "1"), s.opRemove("a")}}),
			s.opSet("d", "1"),
		}})
		w.receive(1)
		// Deleted and written in one revision: through two nested siblings.
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{
			opTxn(&pb.TxnRequest{Success: []*pb.RequestOp{s.opSet("b", "2")}}),
			opTxn(&pb.TxnRequest{Success: []*pb.RequestOp{s.opRemove("b")}}),
		}})
		w.receive(1)
		s.list()
	})
	shared("watch/events-with-lease", func(s *side) {
		const id = 7301
		w := s.Watch("w")
		defer w.close()
		w.create(&pb.WatchCreateRequest{Key: s.key(""), RangeEnd: s.all(), PrevKv: true})
		s.Grant(id, 600)
		for _, name := range []string{"c", "a", "b"} {
			s.putLeased(name, "v", id)
			w.receive(1)
		}
		s.Revoke(id)
		w.receive(1)
	})
	shared("watch/events-only-in-range", func(s *side) {
		w := s.Watch("w")
		defer w.close()
		w.create(&pb.WatchCreateRequest{Key: s.key("b"), RangeEnd: s.key("d")})
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{s.opSet("a", "1"), s.opSet("b", "1"), s.opSet("c", "1"), s.opSet("d", "1")}})
		s.put("a", "2")
		s.put("d", "2")
		s.put("cc", "2")
		w.receive(2)
	})
	shared("watch/events-long-history", func(s *side) {
		for i := range 1500 {
			s.quietly("put", func(ctx context.Context) error {
				_, err := s.kv.Put(ctx, &pb.PutRequest{Key: s.key(fmt.Sprint(i % 50)), Value: []byte(fmt.Sprint(i))})
				return err
			})
		}
		for _, prev := range []bool{false, true} {
			w := s.Watch(fmt.Sprint("prev ", prev))
			w.create(&pb.WatchCreateRequest{Key: s.key(""), RangeEnd: s.all(), StartRevision: s.at(100), PrevKv: prev})
			w.events(1401)
			w.close()
		}
		w := s.Watch("one key")
		defer w.close()
		w.create(&pb.WatchCreateRequest{Key: s.key("7"), StartRevision: s.at(1)})
		w.events(30)
	})
	shared("watch/events-follow-without-gap", func(s *side) {
		w := s.Watch("w")
		defer w.close()
		s.put("k", "before")
		w.createOn(s.at(1))
		for i := range 300 {
			s.put("k", fmt.Sprint(i))
		}
		w.events(301)
	})
}

func registerWatchFilters() {
	filters := map[string][]pb.WatchCreateRequest_FilterType{
		"noput":         {pb.WatchCreateRequest_NOPUT},
		"nodelete":      {pb.WatchCreateRequest_NODELETE},
		"both":          {pb.WatchCreateRequest_NOPUT, pb.WatchCreateRequest_NODELETE},
		"noput-twice":   {pb.WatchCreateRequest_NOPUT, pb.WatchCreateRequest_NOPUT},
		"noput-unknown": {pb.WatchCreateRequest_NOPUT, 9},
		"only-unknown":  {9},
	}
	for name, filter := range filters {
		for _, live := range []bool{false, true} {
			shared(fmt.Sprintf("watch/filter-%s-live-%v", name, live), func(s *side) {
				w := s.Watch("w")
				defer w.close()
				request := &pb.WatchCreateRequest{Key: s.key(""), RangeEnd: s.key("y"), Filters: filter, PrevKv: true}
				if live {
					w.create(request)
				}
				s.put("a", "1")
				s.remove("a")
				s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{s.opSet("b", "1"), s.opRemove("a"), s.opSet("c", "1")}})
				s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{s.opSet("d", "1"), s.opRemove("b")}})
				if !live {
					request.StartRevision = s.at(1)
					w.create(request)
				}
				w.recordUntilSentinel()
			})
		}
	}
}

// recordUntilSentinel reads what the stream has to say up to now: it adds a
// watcher on a key of its own, writes that key and collects everything that
// comes until its event does.
func (w *watchStream) recordUntilSentinel() {
	const id = 999
	s := w.side
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
		CreateRequest: &pb.WatchCreateRequest{Key: s.key("z-sentinel"), WatchId: id},
	}})
	written := false
	events := map[int64]*eventList{}
	for {
		message := w.mustNext()
		switch {
		case message.WatchId == id && message.Created:
			// Watchers that catch up do so before a progress answer comes.
			if !written {
				w.progressSilently(func(other *pb.WatchResponse) { collectEvents(s, events, other) })
				s.put("z-sentinel", "now")
				written = true
			}
		case message.WatchId == id && len(message.Events) > 0:
			w.cancelWatcher(id)
			for {
				if m := w.mustNext(); m.WatchId == id && m.Canceled {
					break
				}
			}
			for watcher, leaves := range sortedEvents(events) {
				s.record(fmt.Sprintf("%s: all events of watcher %d", w.name, watcher), leaves)
			}
			return
		default:
			collectEvents(s, events, message)
		}
	}
}

func registerWatchCompaction() {
	fresh("watch/compacted-start", func(s *side) {
		rangeHistory(s)
		s.Compact(s.at(6), true)
		for n := int64(1); n <= 8; n++ {
			w := s.Watch(fmt.Sprint("from ", n))
			w.createOn(s.at(n))
			w.receive(1)
			if n >= 6 {
				s.put("a", fmt.Sprint("after ", n))
				w.receive(1)
			}
			w.close()
		}
	})
	fresh("watch/compacted-start-stream-lives-on", func(s *side) {
		rangeHistory(s)
		s.Compact(s.at(6), true)
		w := s.Watch("w")
		defer w.close()
		w.createOn(s.at(2))
		w.receive(1)
		// The id is still taken until the client cancels it.
		w.create(&pb.WatchCreateRequest{Key: s.key("a"), WatchId: 40, StartRevision: s.at(2)})
		w.receive(1)
		w.create(&pb.WatchCreateRequest{Key: s.key("a"), WatchId: 40})
		w.cancelWatcher(40)
		w.receive(1)
		w.create(&pb.WatchCreateRequest{Key: s.key("a"), WatchId: 40})
		w.createOn(0)
		s.put("a", "v")
		w.receive(2)
	})
	fresh("watch/compacted-prev-kv", func(s *side) {
		rangeHistory(s)
		s.Compact(s.at(6), true)
		w := s.Watch("w")
		defer w.close()
		w.create(&pb.WatchCreateRequest{Key: s.key(""), RangeEnd: s.all(), StartRevision: s.at(6), PrevKv: true})
		w.events(6)
	})
	fresh("watch/compaction-behind-live-watchers", func(s *side) {
		w := s.Watch("w")
		defer w.close()
		w.createOn(0)
		w.createOn(s.at(50))
		rangeHistory(s)
		w.events(11)
		s.Compact(s.at(11), true)
		s.put("a", "v")
		w.receive(1)
	})
	fresh("watch/compaction-at-the-deletion", func(s *side) {
		s.put("a", "1")
		s.remove("a")
		s.put("b", "1")
		s.Compact(s.at(2), true)
		for n := int64(1); n <= 4; n++ {
			w := s.Watch(fmt.Sprint("from ", n))
			w.createOn(s.at(n))
			if n < 4 {
				w.receive(1)
			}
			w.close()
		}
	})
}

func registerWatchFragments() {
	// Four events of 700 KB exceed the two megabytes of one message.
	for _, fragment := range []bool{false, true} {
		for _, prev := range []bool{false, true} {
			shared(fmt.Sprintf("watch/fragment-%v-prev-%v", fragment, prev), func(s *side) {
				for i := range 4 {
					s.Put(&pb.PutRequest{Key: s.key("k"), Value: bytes.Repeat([]byte{byte('a' + i)}, 700<<10)})
				}
				w := s.Watch("w")
				defer w.close()
				w.create(&pb.WatchCreateRequest{
					Key: s.key(""), RangeEnd: s.all(), StartRevision: s.at(1), Fragment: fragment, PrevKv: prev,
				})
				if fragment {
					// etcd sends whole what its watcher had read before the
					// answer to the create request went out, which is a race.
					w.events(4)
				} else {
					w.receiveUntilWhole()
				}
				s.Put(&pb.PutRequest{Key: s.key("k"), Value: bytes.Repeat([]byte("z"), 1400<<10)})
				w.receiveUntilWhole()
				s.put("k", "small")
				w.receiveUntilWhole()
			})
		}
	}
	shared("watch/fragment-one-revision", func(s *side) {
		ops := func(fill string) (ops []*pb.RequestOp) {
			for i := range 14 {
				ops = append(ops, s.opSet(fmt.Sprintf("%02d", i), string(bytes.Repeat([]byte(fill), 100<<10))))
			}
			return ops
		}
		w := s.Watch("w")
		defer w.close()
		w.create(&pb.WatchCreateRequest{Key: s.key(""), RangeEnd: s.all(), Fragment: true, PrevKv: true})
		s.Txn(&pb.TxnRequest{Success: ops("a")})
		w.receiveUntilWhole()
		s.Txn(&pb.TxnRequest{Success: ops("b")})
		w.receiveUntilWhole()
	})
}

// receiveUntilWhole records messages up to the first that is not marked as
// having more to come.
func (w *watchStream) receiveUntilWhole() {
	for {
		message := w.mustNext()
		w.recordMessages([]*pb.WatchResponse{message})
		w.side.note("size of the message above is at most 2 MiB or one event",
			fmt.Sprint(proto.Size(message) <= 2<<20 || len(message.Events) == 1))
		if !message.Fragment {
			return
		}
	}
}

func registerWatchOddMessages() {
	shared("watch/odd-messages-are-ignored", func(s *side) {
		w := s.Watch("w")
		defer w.close()
		w.send(&pb.WatchRequest{})
		w.askProgress()
		w.cancelWatcher(0)
		w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{}}})
		w.createOn(0)
		s.put("a", "v")
		w.receive(1)
	})
	shared("watch/half-close-keeps-streaming", func(s *side) {
		w := s.Watch("w")
		defer w.close()
		w.createOn(0)
		if err := w.stream.CloseSend(); err != nil {
			s.giveUp("half-close: %v", err)
		}
		for i := range 3 {
			s.put("a", fmt.Sprint(i))
			w.receive(1)
		}
	})
	shared("watch/several-creates-at-once", func(s *side) {
		s.put("a", "0")
		w := s.Watch("w")
		defer w.close()
		for i := range 5 {
			w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
				Key: s.key("a"), StartRevision: s.at(1), WatchId: int64(i) * 3,
			}}})
		}
		w.receive(10)
	})
}
