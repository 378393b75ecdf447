package main

import (
	"context"
	"fmt"
	"sort"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	messageDeadline = 10 * time.Second
	// progressPatience is how long an unanswered progress request waits
	// before it is asked again: a server says nothing while one of the
	// stream's watchers still catches up.
	progressPatience = 300 * time.Millisecond
)

// watchStream is one Watch stream. Messages for different watchers have no
// order among themselves, so what is read is recorded per watcher.
type watchStream struct {
	side     *side
	name     string
	stream   pb.Watch_WatchClient
	messages chan *pb.WatchResponse
	failure  error
	cancel   context.CancelFunc
}

// Watch opens a stream; name tells it apart in the transcript.
func (s *side) Watch(name string) *watchStream {
	ctx, cancel := context.WithCancel(s.ctx)
	stream, err := s.watch.Watch(ctx)
	if err != nil {
		cancel()
		s.record("open watch stream "+name, failure(err))
		s.giveUp("no watch stream")
	}
	w := &watchStream{side: s, name: name, stream: stream, messages: make(chan *pb.WatchResponse, 1<<14), cancel: cancel}
	go func() {
		defer close(w.messages)
		for {
			message, err := stream.Recv()
			if err != nil {
				w.failure = err
				return
			}
			w.messages <- message
		}
	}()
	return w
}

func (w *watchStream) close() {
	w.cancel()
}

func (w *watchStream) send(request *pb.WatchRequest) {
	w.side.record("send on "+w.name+" "+w.side.text(request), nil)
	if err := w.stream.Send(request); err != nil {
		w.side.giveUp("send on %s: %v", w.name, err)
	}
}

// next takes the next message without recording it.
func (w *watchStream) next(patience time.Duration) (*pb.WatchResponse, bool) {
	select {
	case message, open := <-w.messages:
		if !open {
			w.side.record("stream "+w.name+" ended", failure(w.failure))
			w.side.giveUp("stream %s ended", w.name)
		}
		return message, true
	case <-time.After(patience):
		return nil, false
	}
}

func (w *watchStream) mustNext() *pb.WatchResponse {
	message, arrived := w.next(messageDeadline)
	if !arrived {
		w.side.giveUp("no message on %s in %v", w.name, messageDeadline)
	}
	return message
}

// receive reads n messages and records them, grouped by watcher.
func (w *watchStream) receive(n int) []*pb.WatchResponse {
	var messages []*pb.WatchResponse
	for range n {
		message, arrived := w.next(messageDeadline)
		if !arrived {
			w.recordMessages(messages)
			w.side.giveUp("message %d of %d on %s did not come in %v", len(messages)+1, n, w.name, messageDeadline)
		}
		messages = append(messages, message)
	}
	w.recordMessages(messages)
	return messages
}

func (w *watchStream) recordMessages(messages []*pb.WatchResponse) {
	sort.SliceStable(messages, func(i, j int) bool { return messages[i].WatchId < messages[j].WatchId })
	for _, message := range messages {
		w.side.record(fmt.Sprintf("%s received for watcher %d", w.name, message.WatchId), w.side.message(message))
	}
}

// create asks for a watcher and records the answer. Events of other watchers
// that come first are recorded, too, so use it while the others are quiet.
func (w *watchStream) create(request *pb.WatchCreateRequest) *pb.WatchResponse {
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: request}})
	return w.receive(1)[0]
}

// createOn is create for the whole range of the case from a revision on.
func (w *watchStream) createOn(start int64) *pb.WatchResponse {
	return w.create(&pb.WatchCreateRequest{Key: w.side.key(""), RangeEnd: w.side.all(), StartRevision: start})
}

func (w *watchStream) cancelWatcher(id int64) {
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}})
}

func (w *watchStream) askProgress() {
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
}

// progress asks until the server answers and records the answer only.
func (w *watchStream) progress() *pb.WatchResponse {
	w.askProgress()
	for range int(messageDeadline / progressPatience) {
		if message, arrived := w.next(progressPatience); arrived {
			w.recordMessages([]*pb.WatchResponse{message})
			return message
		}
		err := w.stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
		if err != nil {
			break
		}
	}
	w.side.giveUp("no progress answer on %s in %v", w.name, messageDeadline)
	return nil
}

// events reads until n events have come and records them as one flat list:
// how a server cuts a history into messages is its own choice. Rules that
// hold for every cut are checked and breaches recorded.
func (w *watchStream) events(n int) []*mvccpb.Event {
	var all []*mvccpb.Event
	var leaves []leaf
	breach := func(format string, arguments ...any) {
		leaves = append(leaves, leaf{path: fmt.Sprintf("breach[%d]", len(leaves)), text: fmt.Sprintf(format, arguments...)})
	}
	lastRevision, lastFragment := int64(0), false
	for len(all) < n {
		message, arrived := w.next(messageDeadline)
		if !arrived {
			breach("only %d of %d events came", len(all), n)
			break
		}
		if message.Canceled || message.Created || len(message.Events) == 0 {
			w.recordMessages([]*pb.WatchResponse{message})
			if message.Canceled {
				break
			}
			continue
		}
		if first := message.Events[0].Kv.ModRevision; first == lastRevision && !lastFragment {
			breach("revision %s is split over two messages", w.side.revision(first))
		}
		for _, event := range message.Events {
			if event.Kv.ModRevision < lastRevision {
				breach("revisions go back from %s to %s", w.side.revision(lastRevision), w.side.revision(event.Kv.ModRevision))
			}
			lastRevision = event.Kv.ModRevision
		}
		lastFragment = message.Fragment
		if message.Header.GetRevision() < lastRevision {
			breach("header revision %s below the event's %s", w.side.revision(message.Header.GetRevision()), w.side.revision(lastRevision))
		}
		all = append(all, message.Events...)
	}
	for i, event := range all {
		for _, l := range w.side.message(event) {
			l.path = fmt.Sprintf("events[%d].%s", i, l.path)
			leaves = append(leaves, l)
		}
		// A put of the empty event type has no leaf of its own.
		leaves = append(leaves, leaf{path: fmt.Sprintf("events[%d].kind", i), text: event.Type.String()})
	}
	w.side.record(fmt.Sprintf("%s: %d events", w.name, n), leaves)
	return all
}

// end half-closes or cancels nothing; it records how the server ended the
// stream by itself.
func (w *watchStream) end() {
	for {
		select {
		case _, open := <-w.messages:
			if !open {
				w.side.record("stream "+w.name+" ended", failure(w.failure))
				return
			}
		case <-time.After(messageDeadline):
			w.side.record("stream "+w.name+" ended", failure(status.Error(codes.DeadlineExceeded, "it did not end")))
			return
		}
	}
}
