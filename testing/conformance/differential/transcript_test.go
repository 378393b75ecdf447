package main

import (
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// The comparison itself is tested here: it must see every kind of difference
// that matters and none that does not.

func testRenderer(id uint64, base int64) *renderer {
	return &renderer{
		server: &server{clusterID: id, memberID: id + 1, clientURL: "http://127.0.0.1:1", peerURL: "http://127.0.0.1:2"},
		base:   base,
		leases: map[int64]string{},
	}
}

func differences(a, b proto.Message) string {
	return strings.Join(compareLeaves(testRenderer(10, 0).message(a), testRenderer(20, 0).message(b)), "\n")
}

func TestOwnIdentityIsAlike(t *testing.T) {
	a := &pb.ResponseHeader{ClusterId: 10, MemberId: 11, RaftTerm: 2, Revision: 5}
	b := &pb.ResponseHeader{ClusterId: 20, MemberId: 21, RaftTerm: 7, Revision: 5}
	if got := differences(a, b); got != "" {
		t.Fatal(got)
	}
	b.MemberId = 22
	if got := differences(a, b); got != "member_id: A=own member B=22" {
		t.Fatal(got)
	}
}

func TestAbsentAndPresentDiffer(t *testing.T) {
	with := &pb.RangeResponse{Header: &pb.ResponseHeader{}}
	if got := differences(with, &pb.RangeResponse{}); got != "header: A=present B=<absent>" {
		t.Fatal(got)
	}
	if got := differences(&pb.RangeResponse{}, with); got != "header: A=<absent> B=present" {
		t.Fatal(got)
	}
	if got := differences(&pb.StatusResponse{DbSize: 7}, &pb.StatusResponse{DbSize: 900}); got != "" {
		t.Fatal(got)
	}
	if got := differences(&pb.StatusResponse{DbSize: 7}, &pb.StatusResponse{}); got == "" {
		t.Fatal("an unset size went unnoticed")
	}
}

func TestUnknownFieldsAreSeen(t *testing.T) {
	with := &pb.PutResponse{}
	with.ProtoReflect().SetUnknown(protoreflect.RawFields{0xf8, 0x7f, 5})
	if got := differences(&pb.PutResponse{}, with); !strings.Contains(got, "unknown fields") {
		t.Fatal(got)
	}
}

func TestRemainingTimeHasATolerance(t *testing.T) {
	ttl := func(n int64) *pb.LeaseTimeToLiveResponse { return &pb.LeaseTimeToLiveResponse{TTL: n} }
	if got := differences(ttl(100), ttl(98)); got != "" {
		t.Fatal(got)
	}
	if got := differences(ttl(1), ttl(0)); got != "" {
		t.Fatal(got)
	}
	if differences(ttl(0), ttl(-1)) == "" {
		t.Fatal("a lease that is gone went unnoticed")
	}
	for _, n := range []int64{97, 0, -1} {
		if differences(ttl(100), ttl(n)) == "" {
			t.Fatalf("a time of %d went unnoticed", n)
		}
	}
}

func TestUnorderedListsAreSorted(t *testing.T) {
	keys := func(names ...string) *pb.LeaseTimeToLiveResponse {
		r := &pb.LeaseTimeToLiveResponse{}
		for _, name := range names {
			r.Keys = append(r.Keys, []byte(name))
		}
		return r
	}
	if got := differences(keys("a", "b"), keys("b", "a")); got != "" {
		t.Fatal(got)
	}
	kvs := func(names ...string) *pb.RangeResponse {
		r := &pb.RangeResponse{}
		for _, name := range names {
			r.Kvs = append(r.Kvs, &mvccpb.KeyValue{Key: []byte(name)})
		}
		return r
	}
	if differences(kvs("a", "b"), kvs("b", "a")) == "" {
		t.Fatal("a wrong order of keys went unnoticed")
	}
}

func TestRevisionsCountFromTheBase(t *testing.T) {
	a := testRenderer(10, 100).message(&mvccpb.KeyValue{ModRevision: 103, CreateRevision: 99})
	b := testRenderer(20, 700).message(&mvccpb.KeyValue{ModRevision: 703, CreateRevision: 699})
	if got := compareLeaves(a, b); got != nil {
		t.Fatal(got)
	}
	c := testRenderer(20, 700).message(&mvccpb.KeyValue{ModRevision: 704, CreateRevision: 699})
	if got := compareLeaves(a, c); len(got) != 1 {
		t.Fatal(got)
	}
	// Zero and negative numbers are values of the protocol, not positions.
	if got := testRenderer(10, 100).revision(-1); got != "-1" {
		t.Fatal(got)
	}
}

func TestLongValuesAreCompared(t *testing.T) {
	value := func(last byte) *mvccpb.KeyValue {
		return &mvccpb.KeyValue{Value: append(make([]byte, 1000), last)}
	}
	if differences(value(1), value(2)) == "" {
		t.Fatal("a difference at the end of a long value went unnoticed")
	}
}

func TestTranscriptsPartAtTheFirstOtherRequest(t *testing.T) {
	entries := func(requests ...string) (list []entry) {
		for _, r := range requests {
			list = append(list, entry{r, []leaf{{path: "p", text: r}}})
		}
		return list
	}
	if got := compareTranscripts(entries("1", "2"), entries("1", "2")); got != nil {
		t.Fatal(got)
	}
	if got := compareTranscripts(entries("1", "2", "3"), entries("1", "x", "y")); len(got) != 1 || got[0].entry != 1 {
		t.Fatal(got)
	}
	if got := compareTranscripts(entries("1", "2"), entries("1")); len(got) != 1 {
		t.Fatal(got)
	}
}
