package main

import (
	"fmt"
	"iter"
	"maps"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// eventList is what one watcher was sent, event by event.
type eventList struct {
	leaves []leaf
	items  int
}

// collectEvents appends a message's events to its watcher's list. Messages
// without events are kept as they are.
func collectEvents(s *side, events map[int64]*eventList, message *pb.WatchResponse) {
	if isProgress(message) {
		// A late answer to a question that was repeated.
		return
	}
	list := events[message.WatchId]
	if list == nil {
		list = &eventList{}
		events[message.WatchId] = list
	}
	if len(message.Events) == 0 {
		list.add("message", s.message(message))
	}
	for _, event := range message.Events {
		list.add(event.Type.String(), s.message(event))
	}
}

func (l *eventList) add(kind string, leaves []leaf) {
	l.leaves = append(l.leaves, leaf{path: fmt.Sprintf("[%d]", l.items), text: kind})
	for _, part := range leaves {
		part.path = fmt.Sprintf("[%d].%s", l.items, part.path)
		l.leaves = append(l.leaves, part)
	}
	l.items++
}

// isProgress tells an answer to a progress request, which names no watcher.
func isProgress(message *pb.WatchResponse) bool {
	return message.WatchId == -1 && len(message.Events) == 0 && !message.Created && !message.Canceled
}

// sortedEvents goes through the watchers in the order of their ids.
func sortedEvents(events map[int64]*eventList) iter.Seq2[int64, []leaf] {
	return func(yield func(int64, []leaf) bool) {
		for _, id := range slices.Sorted(maps.Keys(events)) {
			if !yield(id, events[id].leaves) {
				return
			}
		}
	}
}

// progressSilently asks for progress until it is answered, without recording
// the tries; other messages that come meanwhile go to the collector.
func (w *watchStream) progressSilently(collect func(*pb.WatchResponse)) *pb.WatchResponse {
	request := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}
	for range int(messageDeadline / progressPatience) {
		if err := w.stream.Send(request); err != nil {
			break
		}
		for {
			message, arrived := w.next(progressPatience)
			if !arrived {
				break
			}
			if isProgress(message) {
				return message
			}
			collect(message)
		}
	}
	w.side.giveUp("no progress answer on %s in %v", w.name, messageDeadline)
	return nil
}
