package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// RangeStream: the answer is compared after merging its chunks, for the
// sizes of the chunks are the server's own choice; the rules that hold for
// every chunking are checked on each side and their breaches recorded.

// Stream reads a whole RangeStream answer and records it as one.
func (s *side) Stream(request *pb.RangeRequest) *pb.RangeResponse {
	ctx, cancel := s.deadline()
	defer cancel()
	text := "RangeStream " + s.text(request)
	stream, err := s.kv.RangeStream(ctx, request)
	if err != nil {
		s.record(text, failure(err))
		return nil
	}
	merged := &pb.RangeResponse{}
	var breaches []string
	for chunks := 0; ; chunks++ {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			breaches = append(breaches, checkMerged(merged, chunks)...)
			break
		}
		if err != nil {
			s.record(text, append(s.message(merged), failure(err)...))
			return nil
		}
		breaches = append(breaches, mergeChunk(merged, chunk)...)
	}
	leaves := s.message(merged)
	for i, breach := range breaches {
		leaves = append(leaves, leaf{path: fmt.Sprintf("breach[%d]", i), text: breach})
	}
	s.record(text, leaves)
	return merged
}

// mergeChunk appends a chunk and names the rules that it breaks: chunks hold
// ascending keys, and only the last one has header, more and count.
func mergeChunk(merged *pb.RangeResponse, chunk *pb.RangeStreamResponse) []string {
	part := chunk.RangeResponse
	if part == nil {
		return []string{"a message without range_response"}
	}
	var breaches []string
	if merged.Header != nil {
		breaches = append(breaches, "a chunk after the one with the header")
	}
	if part.Header == nil && (part.More || part.Count != 0) {
		breaches = append(breaches, "more or count on a chunk without header")
	}
	if part.Header == nil && len(part.Kvs) == 0 {
		breaches = append(breaches, "an empty chunk before the last")
	}
	var last *mvccpb.KeyValue
	if len(merged.Kvs) > 0 {
		last = merged.Kvs[len(merged.Kvs)-1]
	}
	for _, kv := range part.Kvs {
		if last != nil && bytes.Compare(last.Key, kv.Key) >= 0 {
			breaches = append(breaches, "keys not ascending")
		}
		last = kv
	}
	merged.Header = part.Header
	merged.Kvs = append(merged.Kvs, part.Kvs...)
	merged.More = part.More
	merged.Count = part.Count
	return breaches
}

func checkMerged(merged *pb.RangeResponse, chunks int) []string {
	if chunks == 0 {
		return []string{"no chunk at all"}
	}
	if merged.Header == nil {
		return []string{"no header on the last chunk"}
	}
	return nil
}

func init() {
	for _, row := range rangeRows() {
		shared("rangestream/"+row.name, func(s *side) {
			rangeHistory(s)
			request := &pb.RangeRequest{Key: s.key(""), RangeEnd: s.all()}
			row.request(s, request)
			s.Stream(request)
		})
	}
	shared("rangestream/sorts", func(s *side) {
		rangeHistory(s)
		for order := range pb.RangeRequest_SortOrder(3) {
			for target := range pb.RangeRequest_SortTarget(5) {
				for _, limit := range []int64{0, 2} {
					s.Stream(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all(), SortOrder: order, SortTarget: target, Limit: limit})
				}
			}
		}
	})
	shared("rangestream/many-chunks", func(s *side) {
		for i := range 200 {
			s.put(fmt.Sprintf("%03d", i), fmt.Sprint(i))
		}
		for _, limit := range []int64{0, 1, 9, 10, 11, 30, 31, 199, 200, 201, math.MaxInt64} {
			s.Stream(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all(), Limit: limit})
			s.Stream(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all(), Limit: limit, KeysOnly: true})
			s.Stream(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all(), Limit: limit, Revision: s.at(150)})
			s.Stream(&pb.RangeRequest{Key: s.key("050"), RangeEnd: s.key("070"), Limit: limit, Serializable: true})
		}
	})
	shared("rangestream/large-values", func(s *side) {
		value := bytes.Repeat([]byte("0123456789abcdef"), 20<<10)
		for i := range 24 {
			s.Put(&pb.PutRequest{Key: s.key(fmt.Sprintf("%02d", i)), Value: value})
		}
		s.Stream(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all()})
		s.Stream(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all(), Limit: 13})
	})
	fresh("rangestream/whole-store", func(s *side) {
		s.Stream(&pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
		rangeHistory(s)
		s.Stream(&pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
		s.Stream(&pb.RangeRequest{Key: s.key("b"), RangeEnd: []byte{0}, Limit: 2})
		s.Compact(s.at(6), true)
		for n := int64(0); n <= 12; n++ {
			s.Stream(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all(), Revision: s.at(n)})
		}
	})
}
