package main

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// watchLog keeps what a set of watchers on one stream saw, per watcher, no
// matter how the server cut it into messages.
type watchLog struct {
	stream *watchStream
	prevKV bool
	events map[int64]*eventList
	// last is the highest revision each watcher was told of.
	last     map[int64]int64
	breaches []leaf
}

// openWatches starts watchers of several kinds on one stream.
func (g *generator) openWatches(from int64, prevKV bool) *watchLog {
	s := g.side
	w := &watchLog{stream: s.Watch("watchers"), prevKV: prevKV, events: map[int64]*eventList{}, last: map[int64]int64{}}
	noPut := []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}
	noDelete := []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NODELETE}
	for _, r := range []*pb.WatchCreateRequest{
		{Key: s.key(""), RangeEnd: s.all()},
		{Key: s.key(""), RangeEnd: s.all(), Filters: noPut},
		{Key: s.key("a"), RangeEnd: s.key("c"), Filters: noDelete},
		{Key: s.key("a1")},
		{Key: s.key("d"), RangeEnd: []byte{0}, Fragment: true},
		{Key: s.key("nothing")},
	} {
		r.StartRevision, r.PrevKv = from, prevKV
		w.stream.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}})
	}
	return w
}

func (w *watchLog) collect(message *pb.WatchResponse) {
	id := message.WatchId
	if len(message.Events) > 0 {
		w.check(message)
	}
	if message.Created && !message.Canceled {
		// Its header tells when it was created, which is a race here.
		message.Header.Revision = 0
	}
	collectEvents(w.stream.side, w.events, message)
	for _, event := range message.Events {
		w.last[id] = event.Kv.ModRevision
	}
}

// check notes breaches of the rules that hold however events are grouped.
func (w *watchLog) check(message *pb.WatchResponse) {
	last, started := w.last[message.WatchId]
	if first := message.Events[0].Kv.ModRevision; started && first <= last && !message.Fragment {
		w.breach("watcher %d: revision %d after %d", message.WatchId, first, last)
	}
	for i, event := range message.Events {
		if i > 0 && event.Kv.ModRevision < message.Events[i-1].Kv.ModRevision {
			w.breach("watcher %d: revisions go back within a message", message.WatchId)
		}
		if message.Header.GetRevision() < event.Kv.ModRevision {
			w.breach("watcher %d: header revision below the event's", message.WatchId)
		}
	}
}

func (w *watchLog) breach(format string, arguments ...any) {
	w.breaches = append(w.breaches, leaf{
		path: fmt.Sprintf("breach[%d]", len(w.breaches)), text: fmt.Sprintf(format, arguments...),
	})
}

// catchUp reads until the server says that everything up to the revision has
// been delivered. An answer to an earlier, repeated question may come first.
func (w *watchLog) catchUp(revision int64) {
	for range progressAnswersMax {
		reached := w.stream.progressSilently(w.collect).Header.GetRevision()
		if reached == revision {
			return
		}
		if reached > revision {
			break
		}
	}
	w.breach("progress never said revision %d", revision)
}

const progressAnswersMax = 10

// record puts all that was seen into the transcript.
func (w *watchLog) record(what string) {
	s := w.stream.side
	for id, leaves := range sortedEvents(w.events) {
		s.record(fmt.Sprintf("events of watcher %d, %s", id, what), leaves)
	}
	s.record("watch rules, "+what, w.breaches)
}
