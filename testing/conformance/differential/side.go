package main

import (
	"context"
	"fmt"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const callDeadline = 15 * time.Second

var sideNames = [2]string{"A", "B"}

// side runs one case's script against one server and writes the transcript.
// Scripts must be deterministic: what they send may depend on the seed and on
// earlier answers, never on time or on which side they run.
type side struct {
	renderer
	ctx    context.Context
	prefix string
	// start is the store's revision when the case began.
	start int64
	// entries is shared by the copies that carry other metadata.
	entries *[]entry

	kv          pb.KVClient
	watch       pb.WatchClient
	lease       pb.LeaseClient
	cluster     pb.ClusterClient
	maintenance pb.MaintenanceClient
}

// newSide prepares a side whose case begins at revision start. With relative
// set, revisions are compared as distances from there: on a pair of servers
// used by several cases one divergence must not fail all that follow.
func newSide(ctx context.Context, s *server, prefix string, start int64, relative bool) *side {
	base := int64(0)
	if relative {
		base = start
	}
	return &side{
		renderer:    renderer{server: s, base: base, leases: map[int64]string{}},
		ctx:         ctx,
		prefix:      prefix,
		start:       start,
		entries:     new([]entry),
		kv:          pb.NewKVClient(s.conn),
		watch:       pb.NewWatchClient(s.conn),
		lease:       pb.NewLeaseClient(s.conn),
		cluster:     pb.NewClusterClient(s.conn),
		maintenance: pb.NewMaintenanceClient(s.conn),
	}
}

// giveUp ends a script that cannot go on, with the reason in its transcript.
type giveUp struct{}

func (s *side) giveUp(format string, arguments ...any) {
	s.note("gave up", fmt.Sprintf(format, arguments...))
	panic(giveUp{})
}

// run executes the script; a script that gives up just ends.
func (s *side) run(script func(*side)) {
	defer func() {
		if reason := recover(); reason != nil {
			if _, expected := reason.(giveUp); !expected {
				panic(reason)
			}
		}
	}()
	script(s)
}

func (s *side) record(request string, leaves []leaf) {
	*s.entries = append(*s.entries, entry{request, leaves})
}

// note records an observation that is not the answer to a request.
func (s *side) note(what, observed string) {
	s.record(what, []leaf{{path: "observed", text: observed}})
}

// key is a key of this case alone.
func (s *side) key(name string) []byte {
	return []byte(s.prefix + name)
}

// all is the range end that together with key("") covers every key of the case.
func (s *side) all() []byte {
	return prefixEnd([]byte(s.prefix))
}

// at is the store's revision n writes after the case began.
func (s *side) at(n int64) int64 {
	return s.start + n
}

// prefixEnd is the smallest key above all keys that begin with prefix.
func prefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return []byte{0}
}

func (s *side) deadline() (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.ctx, callDeadline)
}

// outgoing adds metadata to a request: pairs of name and value.
func (s *side) outgoing(pairs ...string) *side {
	with := *s
	with.ctx = metadata.AppendToOutgoingContext(s.ctx, pairs...)
	return &with
}

// failure renders a status: the code and the exact text.
func failure(err error) []leaf {
	st := status.Convert(err)
	leaves := []leaf{{path: "error.code", text: st.Code().String()}, {path: "error.message", text: st.Message()}}
	if details := st.Details(); len(details) > 0 {
		leaves = append(leaves, leaf{path: "error.details", text: fmt.Sprint(details)})
	}
	return leaves
}

// unary performs a call and records request and answer. The answer is nil
// when the call failed.
func unary[Q, A proto.Message](s *side, method string, call func(context.Context, Q, ...grpc.CallOption) (A, error), request Q) A {
	ctx, cancel := s.deadline()
	defer cancel()
	text := method + " " + s.text(request)
	answer, err := call(ctx, request)
	if err != nil {
		s.record(text, failure(err))
		if status.Code(err) == codes.DeadlineExceeded {
			s.giveUp("no answer in %v", callDeadline)
		}
		var none A
		return none
	}
	s.record(text, s.message(answer))
	return answer
}

func (s *side) Range(r *pb.RangeRequest) *pb.RangeResponse {
	return unary(s, "Range", s.kv.Range, r)
}

func (s *side) Put(r *pb.PutRequest) *pb.PutResponse {
	return unary(s, "Put", s.kv.Put, r)
}

func (s *side) Delete(r *pb.DeleteRangeRequest) *pb.DeleteRangeResponse {
	return unary(s, "DeleteRange", s.kv.DeleteRange, r)
}

func (s *side) Txn(r *pb.TxnRequest) *pb.TxnResponse {
	return unary(s, "Txn", s.kv.Txn, r)
}

func (s *side) Compact(revision int64, physical bool) *pb.CompactionResponse {
	return unary(s, "Compact", s.kv.Compact, &pb.CompactionRequest{Revision: revision, Physical: physical})
}

func (s *side) HashKV(revision int64) *pb.HashKVResponse {
	return unary(s, "HashKV", s.maintenance.HashKV, &pb.HashKVRequest{Revision: revision})
}

// Grant asks for a lease. An id chosen by the server gets a name, so that
// both sides show it alike.
func (s *side) Grant(id, seconds int64) *pb.LeaseGrantResponse {
	ctx, cancel := s.deadline()
	defer cancel()
	request := &pb.LeaseGrantRequest{ID: id, TTL: seconds}
	answer, err := s.lease.LeaseGrant(ctx, request)
	text := "LeaseGrant " + s.text(request)
	if err != nil {
		s.record(text, failure(err))
		return nil
	}
	if id == 0 && answer.ID > 0 {
		s.leases[answer.ID] = fmt.Sprintf("<lease %d of the server>", len(s.leases)+1)
	}
	s.record(text, s.message(answer))
	return answer
}

func (s *side) Revoke(id int64) *pb.LeaseRevokeResponse {
	return unary(s, "LeaseRevoke", s.lease.LeaseRevoke, &pb.LeaseRevokeRequest{ID: id})
}

func (s *side) TimeToLive(id int64, keys bool) *pb.LeaseTimeToLiveResponse {
	return unary(s, "LeaseTimeToLive", s.lease.LeaseTimeToLive, &pb.LeaseTimeToLiveRequest{ID: id, Keys: keys})
}

func (s *side) Leases() *pb.LeaseLeasesResponse {
	return unary(s, "LeaseLeases", s.lease.LeaseLeases, &pb.LeaseLeasesRequest{})
}

func (s *side) Status() *pb.StatusResponse {
	return unary(s, "Status", s.maintenance.Status, &pb.StatusRequest{})
}

func (s *side) Alarm(action pb.AlarmRequest_AlarmAction, member uint64, alarm pb.AlarmType) *pb.AlarmResponse {
	return unary(s, "Alarm", s.maintenance.Alarm, &pb.AlarmRequest{Action: action, MemberID: member, Alarm: alarm})
}

// Helpers for the many requests that need nothing special.

func (s *side) put(name, value string) {
	s.Put(&pb.PutRequest{Key: s.key(name), Value: []byte(value)})
}

func (s *side) putLeased(name, value string, lease int64) {
	s.Put(&pb.PutRequest{Key: s.key(name), Value: []byte(value), Lease: lease})
}

func (s *side) get(name string) *pb.RangeResponse {
	return s.Range(&pb.RangeRequest{Key: s.key(name)})
}

func (s *side) list() *pb.RangeResponse {
	return s.Range(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all()})
}

func (s *side) remove(name string) {
	s.Delete(&pb.DeleteRangeRequest{Key: s.key(name)})
}

// quietly runs requests whose answers are of no interest, such as setting up
// many keys; a failure is still recorded and ends the script.
func (s *side) quietly(what string, work func(context.Context) error) {
	if err := work(s.ctx); err != nil {
		s.record(what, failure(err))
		s.giveUp("%s failed", what)
	}
}

// Restart ends the process by the signal and starts it on the same data.
func (s *side) Restart(signal syscall.Signal) {
	if err := s.server.restart(s.ctx, signal); err != nil {
		s.giveUp("restart: %v", err)
	}
	s.note("restart after "+signal.String(), "serving again")
}

// eventually repeats a question until the answer is as hoped, without
// recording the tries. It gives up after the deadline.
func (s *side) eventually(what string, limit time.Duration, ask func() bool) {
	end := time.Now().Add(limit)
	for !ask() {
		if time.Now().After(end) {
			s.giveUp("%s: not within %v", what, limit)
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.note(what, "happened")
}
