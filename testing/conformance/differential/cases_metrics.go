package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sort"
	"strconv"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// What requests move on /metrics: alerts and dashboards read these series, so
// they must count what etcd's count.

// countedFamilies are compared by how much each of their series moved.
var countedFamilies = []string{
	"etcd_mvcc_put_total",
	"etcd_mvcc_delete_total",
	"etcd_mvcc_range_total",
	"etcd_mvcc_txn_total",
	"etcd_debugging_mvcc_total_put_size_in_bytes",
	"etcd_debugging_mvcc_db_compaction_keys_total",
	"etcd_debugging_mvcc_keys_total",
	"etcd_debugging_mvcc_events_total",
	"etcd_debugging_lease_granted_total",
	"etcd_debugging_lease_revoked_total",
	"etcd_debugging_lease_renewed_total",
	"etcd_debugging_server_lease_expired_total",
	"etcd_server_request_duration_seconds_count",
	"etcd_server_range_duration_seconds_count",
	"etcd_server_apply_duration_seconds_count",
	"etcd_server_proposals_failed_total",
	"etcd_server_proposals_pending",
	"grpc_server_started_total",
	"grpc_server_handled_total",
	"grpc_server_msg_received_total",
	"grpc_server_msg_sent_total",
}

// internalOperations are applied on a server's own account.
var internalOperations = []string{"ClusterMemberAttrSet", "ClusterVersionSet", "SpaceSettle", "LeaseCheckpoint"}

func (s *side) series() map[string]float64 {
	ctx, cancel := s.deadline()
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.server.clientURL+"/metrics", nil)
	if err != nil {
		s.giveUp("metrics: %v", err)
	}
	response, err := httpClient.Do(request)
	if err != nil {
		s.giveUp("metrics: %v", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		s.giveUp("metrics: %v", err)
	}
	series := map[string]float64{}
	for _, line := range strings.Split(string(body), "\n") {
		name, value, found := strings.Cut(line, " ")
		if !found || strings.HasPrefix(line, "#") || !isCounted(name) {
			continue
		}
		if series[name], err = strconv.ParseFloat(value, 64); err != nil {
			s.giveUp("metrics: %q: %v", line, err)
		}
	}
	return series
}

func isCounted(name string) bool {
	family, labels, _ := strings.Cut(name, "{")
	for _, operation := range internalOperations {
		if strings.Contains(labels, `"`+operation+`"`) {
			return false
		}
	}
	for _, counted := range countedFamilies {
		if family == counted {
			return true
		}
	}
	return false
}

// settled scrapes until two scrapes agree: some series move just behind the answer.
func (s *side) settled() map[string]float64 {
	before := s.series()
	for end := time.Now().Add(callDeadline); time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
		now := s.series()
		if fmt.Sprint(now) == fmt.Sprint(before) {
			return now
		}
		before = now
	}
	s.giveUp("metrics do not settle")
	return nil
}

// moves records by how much each series moved while the work was done.
func (s *side) moves(what string, work func()) {
	before := s.settled()
	work()
	after := s.settled()
	var leaves []leaf
	for name, value := range after {
		if moved := value - before[name]; moved != 0 {
			leaves = append(leaves, leaf{path: name, text: fmt.Sprint(moved)})
		}
	}
	sort.Slice(leaves, func(i, j int) bool { return leaves[i].path < leaves[j].path })
	s.record("moved by "+what, leaves)
}

func init() {
	put := func(s *side, name, value string) *pb.PutRequest {
		return &pb.PutRequest{Key: s.key(name), Value: []byte(value)}
	}
	opPut := func(p *pb.PutRequest) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: p}}
	}
	opRange := func(r *pb.RangeRequest) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
	}
	opDelete := func(d *pb.DeleteRangeRequest) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: d}}
	}
	opTxn := func(t *pb.TxnRequest) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: t}}
	}
	version := func(s *side, name string, version int64) *pb.Compare {
		return &pb.Compare{Key: s.key(name), Target: pb.Compare_VERSION, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_Version{Version: version}}
	}
	fresh("metrics/puts", func(s *side) {
		s.moves("a put", func() { s.put("a", "12345") })
		s.moves("a put over it", func() { s.put("a", "123") })
		s.moves("a put that asks for the pair before", func() {
			s.Put(&pb.PutRequest{Key: s.key("a"), Value: []byte("1"), PrevKv: true})
		})
		s.moves("a put that asks for a pair before that is not there", func() {
			s.Put(&pb.PutRequest{Key: s.key("new"), Value: []byte("1"), PrevKv: true})
		})
		s.put("long", strings.Repeat("x", 1000))
		s.moves("a put that keeps the value", func() { s.Put(&pb.PutRequest{Key: s.key("long"), IgnoreValue: true}) })
		s.moves("a put that keeps the lease", func() {
			s.Put(&pb.PutRequest{Key: s.key("long"), Value: []byte("v"), IgnoreLease: true, PrevKv: true})
		})
		s.moves("a put that keeps the value of no key", func() { s.Put(&pb.PutRequest{Key: s.key("none"), IgnoreValue: true}) })
		s.moves("a put on a lease that is not there", func() { s.putLeased("a", "v", 4711) })
		s.moves("a put that is no request", func() { s.Put(&pb.PutRequest{}) })
		s.moves("a put that is too large", func() { s.quietlyRefused(put(s, "large", strings.Repeat("x", 2<<20))) })
	})
	fresh("metrics/ranges-and-deletions", func(s *side) {
		for i := range 5 {
			s.put(fmt.Sprint(i), "v")
		}
		s.moves("a get", func() { s.get("1") })
		s.moves("a list", func() { s.list() })
		s.moves("a serializable list", func() {
			s.Range(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all(), Serializable: true, Limit: 2})
		})
		s.moves("a count", func() { s.Range(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all(), CountOnly: true}) })
		s.moves("a get in the future", func() { s.Range(&pb.RangeRequest{Key: s.key("1"), Revision: 1000}) })
		s.moves("a get of no key", func() { s.Range(&pb.RangeRequest{}) })
		s.moves("a deletion", func() { s.remove("1") })
		s.moves("a deletion of nothing", func() { s.remove("1") })
		s.moves("a deletion that asks for the pairs", func() {
			s.Delete(&pb.DeleteRangeRequest{Key: s.key(""), RangeEnd: s.all(), PrevKv: true})
		})
	})
	fresh("metrics/txns", func(s *side) {
		s.put("a", "1")
		txn := func(what string, t *pb.TxnRequest) { s.moves(what, func() { s.Txn(t) }) }
		get := opRange(&pb.RangeRequest{Key: s.key("a")})
		create := func(name string) *pb.TxnRequest {
			return &pb.TxnRequest{
				Compare: []*pb.Compare{version(s, name, 0)},
				Success: []*pb.RequestOp{opPut(put(s, name, "value"))},
				Failure: []*pb.RequestOp{opRange(&pb.RangeRequest{Key: s.key(name)})},
			}
		}
		txn("an empty one", &pb.TxnRequest{})
		txn("a creation", create("b"))
		txn("a creation that fails", create("b"))
		txn("two compares and a put", &pb.TxnRequest{
			Compare: []*pb.Compare{version(s, "a", 1), version(s, "b", 1)},
			Success: []*pb.RequestOp{opPut(put(s, "c", "v"))},
		})
		txn("compares of which the first fails", &pb.TxnRequest{
			Compare: []*pb.Compare{version(s, "a", 7), version(s, "b", 1), version(s, "c", 1)},
			Success: []*pb.RequestOp{opPut(put(s, "c", "v"))},
			Failure: []*pb.RequestOp{opDelete(&pb.DeleteRangeRequest{Key: s.key("c")}), opPut(put(s, "d", "v"))},
		})
		txn("one of everything", &pb.TxnRequest{Success: []*pb.RequestOp{
			get,
			opPut(&pb.PutRequest{Key: s.key("a"), Value: []byte("2"), PrevKv: true}),
			opPut(&pb.PutRequest{Key: s.key("b"), IgnoreValue: true}),
			opDelete(&pb.DeleteRangeRequest{Key: s.key("d"), PrevKv: true}),
			opDelete(&pb.DeleteRangeRequest{Key: s.key("e")}),
		}})
		txn("a nested one", &pb.TxnRequest{
			Compare: []*pb.Compare{version(s, "none", 0)},
			Success: []*pb.RequestOp{get, opTxn(&pb.TxnRequest{
				Compare: []*pb.Compare{version(s, "a", 1000), version(s, "b", 1)},
				Success: []*pb.RequestOp{opPut(put(s, "in", "v"))},
				Failure: []*pb.RequestOp{opPut(put(s, "in", "failed")), get, opTxn(create("deep"))},
			})},
		})
		txn("only reads", &pb.TxnRequest{Success: []*pb.RequestOp{get}})
		txn("a compare and reads", &pb.TxnRequest{
			Compare: []*pb.Compare{version(s, "a", 1), version(s, "b", 1)},
			Success: []*pb.RequestOp{get},
			Failure: []*pb.RequestOp{get, get},
		})
		txn("reads of which one is in the future", &pb.TxnRequest{
			Compare: []*pb.Compare{version(s, "none", 0)},
			Success: []*pb.RequestOp{get, opRange(&pb.RangeRequest{Key: s.key("a"), Revision: 1000})},
		})
		txn("a write and a read in the future", &pb.TxnRequest{
			Compare: []*pb.Compare{version(s, "none", 0)},
			Success: []*pb.RequestOp{
				opPut(&pb.PutRequest{Key: s.key("a"), Value: []byte("2"), PrevKv: true}),
				opRange(&pb.RangeRequest{Key: s.key("a"), Revision: 1000}),
			},
		})
		txn("a put on a lease that is not there", &pb.TxnRequest{
			Compare: []*pb.Compare{version(s, "none", 0), version(s, "none", 0)},
			Success: []*pb.RequestOp{opPut(&pb.PutRequest{Key: s.key("x"), Value: []byte("v"), Lease: 4711})},
		})
		txn("a put that keeps the value of no key", &pb.TxnRequest{
			Success: []*pb.RequestOp{opPut(&pb.PutRequest{Key: s.key("none"), IgnoreValue: true})},
		})
		txn("a compare over a range", &pb.TxnRequest{
			Compare: []*pb.Compare{{Key: s.key(""), RangeEnd: s.all(), Target: pb.Compare_CREATE, Result: pb.Compare_GREATER, TargetUnion: &pb.Compare_CreateRevision{CreateRevision: 1}}},
			Success: []*pb.RequestOp{opDelete(&pb.DeleteRangeRequest{Key: s.key(""), RangeEnd: s.all()})},
		})
		txn("a key put twice", &pb.TxnRequest{Success: []*pb.RequestOp{opPut(put(s, "a", "1")), opPut(put(s, "a", "2"))}})
	})
	fresh("metrics/compactions", func(s *side) {
		for i := range 6 {
			s.put("a", fmt.Sprint(i))
			s.put(fmt.Sprint("b", i%2), "v")
		}
		s.remove("a")
		s.put("a", "again")
		compact := func(revision int64) {
			s.moves(fmt.Sprint("a compaction to ", revision), func() { s.Compact(revision, true) })
		}
		compact(3)
		compact(3)
		compact(8)
		compact(14) // The deletion's own revision.
		s.remove("b0")
		compact(16)
		compact(1000)
		s.remove("b1")
		s.put("c", "v")
		compact(18)
	})
	fresh("metrics/leases", func(s *side) {
		s.moves("a grant", func() { s.Grant(7, 100) })
		s.moves("a grant of the same", func() { s.Grant(7, 100) })
		s.moves("a grant that is too long", func() { s.Grant(8, 10_000_000_000) })
		for i := range 3 {
			s.putLeased(fmt.Sprint(i), "v", 7)
		}
		s.moves("a revoke with three keys", func() { s.Revoke(7) })
		s.moves("a revoke of nothing", func() { s.Revoke(7) })
		s.Grant(9, 100)
		s.moves("a revoke without keys", func() { s.Revoke(9) })
		s.moves("a time to live", func() { s.TimeToLive(9, true) })
		s.moves("all leases", func() { s.Leases() })
	})
	waiting("metrics/lease-expiry", true, func(s *side) {
		s.moves("a lease that ends", func() {
			s.Grant(7, 1)
			s.putLeased("a", "v", 7)
			s.putLeased("b", "v", 7)
			s.eventually("its keys are gone", callDeadline, func() bool {
				return s.series()["etcd_debugging_lease_revoked_total"] == 1
			})
		})
	})
	fresh("metrics/others", func(s *side) {
		s.put("a", "v")
		s.moves("a status", func() { s.maintenance.Status(s.ctx, &pb.StatusRequest{}) })
		s.moves("an alarm", func() { s.Alarm(pb.AlarmRequest_ACTIVATE, s.server.memberID, pb.AlarmType_NOSPACE) })
		s.moves("a put under it", func() { s.put("a", "v") })
		s.moves("a txn under it", func() {
			s.Txn(&pb.TxnRequest{Compare: []*pb.Compare{version(s, "a", 1)}, Success: []*pb.RequestOp{opPut(put(s, "b", "v"))}})
		})
		s.moves("a grant under it", func() { s.Grant(7, 100) })
		s.moves("its end", func() { s.Alarm(pb.AlarmRequest_DEACTIVATE, s.server.memberID, pb.AlarmType_NOSPACE) })
		s.moves("/health", func() { s.HTTP("GET", "/health") })
		s.moves("/health of this member", func() { s.HTTP("GET", "/health?serializable=true") })
		s.moves("/livez", func() { s.HTTP("GET", "/livez") })
		s.moves("/readyz", func() { s.HTTP("GET", "/readyz") })
		s.moves("hashes", func() {
			s.maintenance.Hash(s.ctx, &pb.HashRequest{})
			s.maintenance.HashKV(s.ctx, &pb.HashKVRequest{})
		})
		s.moves("the members", func() { s.cluster.MemberList(s.ctx, &pb.MemberListRequest{Linearizable: true}) })
	})
	fresh("metrics/streamed-ranges", func(s *side) {
		for i := range 50 {
			s.put(fmt.Sprintf("%02d", i), "v")
		}
		for _, limit := range []int64{0, 5, 30} {
			s.moves(fmt.Sprint("a streamed range of at most ", limit), func() {
				ctx, cancel := s.deadline()
				defer cancel()
				stream, err := s.kv.RangeStream(ctx, &pb.RangeRequest{Key: s.key(""), RangeEnd: s.all(), Limit: limit})
				for err == nil {
					_, err = stream.Recv()
				}
			})
		}
	})
	fresh("metrics/watch-events", func(s *side) {
		s.put("a", "1")
		s.put("a", "2")
		s.remove("a")
		for _, prev := range []bool{false, true} {
			s.moves(fmt.Sprint("a watch with the pairs before: ", prev), func() {
				ctx, cancel := context.WithTimeout(s.ctx, callDeadline)
				defer cancel()
				stream, err := s.watch.Watch(ctx)
				if err == nil {
					err = stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
						CreateRequest: &pb.WatchCreateRequest{Key: s.key(""), RangeEnd: s.all(), StartRevision: 2, PrevKv: prev},
					}})
				}
				for events := 0; err == nil && events < 3; {
					var answer *pb.WatchResponse
					if answer, err = stream.Recv(); err == nil {
						events += len(answer.Events)
					}
				}
			})
		}
	})
}

// quietlyRefused sends a put whose value is too long for a transcript.
func (s *side) quietlyRefused(request *pb.PutRequest) {
	ctx, cancel := s.deadline()
	defer cancel()
	_, err := s.kv.Put(ctx, request)
	s.record("a large put", failure(err))
}
