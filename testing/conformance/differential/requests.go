package main

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Short builders for the parts of transactions.

func opRange(r *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
}

func opPut(r *pb.PutRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
}

func opDelete(r *pb.DeleteRangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r}}
}

func opTxn(r *pb.TxnRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: r}}
}

// opGet, opSet, opRemove and opList are the plain forms on this case's keys.

func (s *side) opGet(name string) *pb.RequestOp {
	return opRange(&pb.RangeRequest{Key: s.key(name)})
}

func (s *side) opSet(name, value string) *pb.RequestOp {
	return opPut(&pb.PutRequest{Key: s.key(name), Value: []byte(value)})
}

func (s *side) opRemove(name string) *pb.RequestOp {
	return opDelete(&pb.DeleteRangeRequest{Key: s.key(name)})
}

func (s *side) opList() *pb.RequestOp {
	return opRange(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all()})
}

type compareResult = pb.Compare_CompareResult

const (
	equal    = pb.Compare_EQUAL
	greater  = pb.Compare_GREATER
	less     = pb.Compare_LESS
	notEqual = pb.Compare_NOT_EQUAL
)

func compareVersion(key []byte, result compareResult, version int64) *pb.Compare {
	return &pb.Compare{Key: key, Result: result, Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{Version: version}}
}

func compareCreate(key []byte, result compareResult, revision int64) *pb.Compare {
	return &pb.Compare{Key: key, Result: result, Target: pb.Compare_CREATE, TargetUnion: &pb.Compare_CreateRevision{CreateRevision: revision}}
}

func compareMod(key []byte, result compareResult, revision int64) *pb.Compare {
	return &pb.Compare{Key: key, Result: result, Target: pb.Compare_MOD, TargetUnion: &pb.Compare_ModRevision{ModRevision: revision}}
}

func compareValue(key []byte, result compareResult, value string) *pb.Compare {
	return &pb.Compare{Key: key, Result: result, Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: []byte(value)}}
}

func compareLease(key []byte, result compareResult, lease int64) *pb.Compare {
	return &pb.Compare{Key: key, Result: result, Target: pb.Compare_LEASE, TargetUnion: &pb.Compare_Lease{Lease: lease}}
}

// withEnd widens a comparison to a range.
func withEnd(c *pb.Compare, end []byte) *pb.Compare {
	c.RangeEnd = end
	return c
}

// when is a transaction that tells which branch was taken and changes nothing.
func (s *side) when(compares ...*pb.Compare) *pb.TxnResponse {
	return s.Txn(&pb.TxnRequest{Compare: compares})
}
