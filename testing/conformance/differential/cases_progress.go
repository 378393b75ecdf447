package main

import (
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Progress notifications of a watch stream: on request and by time.

func init() {
	shared("progress/one-watcher", func(s *side) {
		w := s.Watch("w")
		defer w.close()
		w.createOn(0)
		w.progress()
		s.put("a", "v")
		w.receive(1)
		w.progress()
		s.remove("a")
		s.remove("a")
		w.receive(1)
		w.progress()
	})
	shared("progress/after-catching-up", func(s *side) {
		rangeHistory(s)
		w := s.Watch("w")
		defer w.close()
		w.createOn(s.at(3))
		w.events(9)
		w.progress()
	})
	shared("progress/catching-up-with-nothing", func(s *side) {
		rangeHistory(s)
		w := s.Watch("w")
		defer w.close()
		w.create(&pb.WatchCreateRequest{Key: s.key("nothing here"), StartRevision: s.at(1)})
		w.progress()
		s.put("a", "v")
		w.progress()
	})
	shared("progress/several-watchers", func(s *side) {
		w := s.Watch("w")
		defer w.close()
		w.createOn(0)
		w.create(&pb.WatchCreateRequest{Key: s.key("a"), WatchId: 30, ProgressNotify: true})
		w.create(&pb.WatchCreateRequest{Key: s.key("b"), Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}})
		w.progress()
		s.put("a", "v")
		w.receive(2)
		w.progress()
		w.cancelWatcher(30)
		w.receive(1)
		w.progress()
	})
	shared("progress/silence-while-one-waits-for-the-future", func(s *side) {
		w := s.Watch("w")
		defer w.close()
		w.createOn(0)
		w.createOn(s.at(4))
		w.askProgress()
		s.put("a", "1")
		// The event comes and no answer before it.
		w.receive(1)
		w.askProgress()
		s.put("a", "2")
		w.receive(1)
		s.put("a", "3")
		w.receive(1)
		w.askProgress()
		s.put("a", "4")
		w.receive(2)
		w.progress()
	})
	shared("progress/start-at-next-revision", func(s *side) {
		w := s.Watch("w")
		defer w.close()
		w.createOn(s.at(1))
		w.askProgress()
		s.put("a", "1")
		w.receive(1)
		w.progress()
	})
	shared("progress/silence-without-watchers", func(s *side) {
		w := s.Watch("w")
		defer w.close()
		w.askProgress()
		w.createOn(0)
		w.cancelWatcher(0)
		w.receive(1)
		w.askProgress()
		w.createOn(0)
		s.put("a", "v")
		w.receive(1)
	})
	fresh("progress/compacted-watcher-still-counts", func(s *side) {
		rangeHistory(s)
		s.Compact(s.at(6), true)
		w := s.Watch("w")
		defer w.close()
		w.createOn(s.at(2))
		w.receive(1)
		w.createOn(0)
		w.askProgress()
		s.put("a", "1")
		w.receive(1)
		w.cancelWatcher(0)
		w.receive(1)
		w.progress()
	})
	waiting("progress/by-time", true, func(s *side) {
		s.put("a", "0")
		quiet := s.Watch("quiet")
		defer quiet.close()
		quiet.createOn(0)
		w := s.Watch("w")
		defer w.close()
		w.create(&pb.WatchCreateRequest{Key: s.key(""), RangeEnd: s.all(), ProgressNotify: true})
		w.create(&pb.WatchCreateRequest{Key: s.key("b"), ProgressNotify: true, WatchId: 20})
		w.timed(0)
		w.timed(20)
		s.put("other", "v")
		w.receiveEvent()
		w.timed(0)
		w.timed(20)
		// Nothing comes by time for who has not asked: only the event does.
		quiet.receive(1)
		late := s.Watch("late")
		defer late.close()
		late.create(&pb.WatchCreateRequest{Key: s.key(""), RangeEnd: s.all(), ProgressNotify: true, StartRevision: s.at(1)})
		late.receiveEvent()
		late.timed(0)
	}, "--watch-progress-notify-interval", "200ms")
	waiting("progress/by-time-not-for-the-future", true, func(s *side) {
		w := s.Watch("w")
		defer w.close()
		w.create(&pb.WatchCreateRequest{Key: s.key("a"), ProgressNotify: true})
		w.create(&pb.WatchCreateRequest{Key: s.key("a"), ProgressNotify: true, StartRevision: s.at(5)})
		w.timed(0)
		w.timed(0)
		w.timed(0)
		heard := 0
		end := time.Now().Add(time.Second)
		for time.Now().Before(end) {
			if message, arrived := w.next(100 * time.Millisecond); arrived && message.WatchId != 0 {
				heard++
			}
		}
		s.note("notifications in a second for a watcher of the future", map[bool]string{true: "none", false: "some"}[heard == 0])
	}, "--watch-progress-notify-interval", "200ms")
}

// timed waits for the next notification by time for a watcher and records
// it. Those for other watchers in between are skipped: whose turn it is
// first is open.
func (w *watchStream) timed(id int64) {
	for {
		message := w.mustNext()
		if len(message.Events) > 0 || message.Created {
			w.side.giveUp("expected a notification by time, got %s", w.side.text(message))
		}
		if message.WatchId == id {
			w.recordMessages([]*pb.WatchResponse{message})
			return
		}
	}
}

// receiveEvent records the next message that has events, skipping
// notifications by time.
func (w *watchStream) receiveEvent() {
	for {
		if message := w.mustNext(); len(message.Events) > 0 {
			w.recordMessages([]*pb.WatchResponse{message})
			return
		}
	}
}
