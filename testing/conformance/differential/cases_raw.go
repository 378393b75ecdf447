package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/net/http2"
	"google.golang.org/protobuf/proto"
)

// Requests that no client library sends: metadata that it would refuse,
// frames that are cut or lie about their length, bodies that are no message.

// rawCall is a gRPC call by hand over HTTP/2.
type rawCall struct {
	method   string
	headers  map[string]string
	body     []byte
	compared comparison
}

// comparison says how much of a refusal the protocol fixes. Where a server's
// library words the error only the code counts, and where gRPC leaves even
// that open, only that the call was refused.
type comparison int

const (
	codeAndText comparison = iota
	codeOnly
	refusalOnly
)

// frame wraps a message as gRPC does.
func frame(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

func marshalled(m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}

// Raw performs the call and records the outcome, then shows by an ordinary
// request that the server is well.
func (s *side) Raw(call rawCall) {
	ctx, cancel := s.deadline()
	defer cancel()
	transport := &http2.Transport{
		AllowHTTP: true,
		DialTLSContext: func(ctx context.Context, network, address string, _ *tls.Config) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.server.clientURL+call.method, bytes.NewReader(call.body))
	if err != nil {
		s.giveUp("%v", err)
	}
	request.Header.Set("content-type", "application/grpc")
	request.Header.Set("te", "trailers")
	for name, value := range call.headers {
		request.Header.Set(name, value)
	}
	text := fmt.Sprintf("raw %s %q", call.method, call.headers)
	response, err := transport.RoundTrip(request)
	if err != nil {
		s.record(text, call.outcome("reset", "", false))
		return
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	trailer := func(name string) string {
		return response.Header.Get(name) + response.Trailer.Get(name)
	}
	leaves := call.outcome(trailer("grpc-status"), trailer("grpc-message"), err == nil && len(answer) >= 5)
	if call.compared != refusalOnly {
		contentType, _, _ := strings.Cut(response.Header.Get("content-type"), "+")
		leaves = append(leaves, leaf{path: "http status", text: response.Status}, leaf{path: "content-type", text: contentType})
	}
	s.record(text, leaves)
}

// outcome renders the end of a call as far as it is compared.
func (c rawCall) outcome(status, message string, answered bool) []leaf {
	leaves := []leaf{{path: "answered a message", text: fmt.Sprint(answered)}}
	if c.compared == refusalOnly {
		return append(leaves, leaf{path: "refused", text: fmt.Sprint(status != "0")})
	}
	leaves = append(leaves, leaf{path: "grpc-status", text: status})
	if c.compared == codeAndText {
		leaves = append(leaves, leaf{path: "grpc-message", text: message})
	}
	return leaves
}

func init() {
	get := frame(marshalled(&pb.RangeRequest{Key: []byte("k")}))
	row := func(name string, calls ...rawCall) {
		shared("raw/"+name, func(s *side) {
			for _, call := range calls {
				if call.method == "" {
					call.method = "/etcdserverpb.KV/Range"
				}
				if call.body == nil {
					call.body = get
				}
				s.Raw(call)
			}
			s.put("k", "the server is well")
			s.get("k")
		})
	}
	headers := func(pairs ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	row("plain", rawCall{})
	row("client-api-version-not-utf8",
		rawCall{headers: headers("client-api-version", "\xff\xfe")},
		rawCall{headers: headers("client-api-version", "3.7\xc3")},
		rawCall{headers: headers("client-api-version", "ü")},
		rawCall{method: "/etcdserverpb.Watch/Watch", headers: headers("client-api-version", "\xff")},
		rawCall{method: "/etcdserverpb.Lease/LeaseKeepAlive", headers: headers("client-api-version", "\xff")},
		rawCall{method: "/etcdserverpb.Maintenance/Status", headers: headers("client-api-version", "\xff")},
		rawCall{method: "/grpc.health.v1.Health/Check", body: frame(nil), headers: headers("client-api-version", "\xff")},
		rawCall{method: "/nothing.Service/Method", headers: headers("client-api-version", "\xff")})
	row("body-not-a-message",
		rawCall{body: frame([]byte{0xff, 0xff, 0xff}), compared: codeOnly},
		rawCall{body: frame([]byte{0x0a, 0x7f, 1}), compared: codeOnly},
		rawCall{body: frame([]byte{0x0b}), compared: codeOnly},
		rawCall{body: frame(bytes.Repeat([]byte{0x80}, 20)), compared: codeOnly},
		rawCall{method: "/etcdserverpb.KV/Txn", body: frame([]byte{0x12, 2, 0x0a, 9}), compared: codeOnly})
	row("body-with-unknown-fields",
		rawCall{body: frame(append(marshalled(&pb.RangeRequest{Key: []byte("k")}), 0xf8, 0x7f, 5))},
		rawCall{body: frame([]byte{0xf8, 0x7f, 5})})
	row("body-empty-message", rawCall{body: frame(nil)})
	row("body-cut", rawCall{body: get[:len(get)-1], compared: refusalOnly}, rawCall{body: get[:3], compared: refusalOnly})
	row("body-says-compressed", rawCall{body: append([]byte{1}, get[1:]...), compared: refusalOnly})
	row("body-unknown-compression",
		rawCall{body: append([]byte{1}, get[1:]...), headers: headers("grpc-encoding", "nonsense"), compared: refusalOnly})
	row("length-beyond-limit",
		rawCall{body: append(binary.BigEndian.AppendUint32([]byte{0}, 3<<20), make([]byte, 100)...)},
		rawCall{body: append(binary.BigEndian.AppendUint32([]byte{0}, 1<<32-1), make([]byte, 100)...)})
	row("content-types",
		rawCall{headers: headers("content-type", "application/grpc+proto")},
		rawCall{headers: headers("content-type", "application/grpc;charset=utf-8")})
	row("unknown-subtype", rawCall{headers: headers("content-type", "application/grpc+json"), compared: refusalOnly})
	row("timeouts",
		rawCall{headers: headers("grpc-timeout", "5S")},
		rawCall{headers: headers("grpc-timeout", "100000000n")},
		rawCall{headers: headers("grpc-timeout", "nonsense"), compared: codeOnly})
	row("long-metadata", rawCall{headers: headers("x-long", strings.Repeat("x", 12<<10))})
	registerMetadata()
}

// registerMetadata is about metadata that ordinary clients can send, too.
func registerMetadata() {
	row := func(name string, pairs ...string) {
		shared("metadata/"+name, func(s *side) {
			with := s.outgoing(pairs...)
			with.put("k", "v")
			with.get("k")
			with.Status()
			with.keepAlive(12345)
			with.Stream(&pb.RangeRequest{Key: s.key("k")})
			w := with.Watch("w")
			defer w.close()
			w.createOn(s.at(1))
			w.receive(1)
		})
	}
	row("has-leader", "hasleader", "true")
	row("has-leader-false", "hasleader", "false")
	row("has-leader-nonsense", "hasleader", "nonsense")
	row("client-api-version", "client-api-version", "3.7.3")
	row("client-api-version-empty", "client-api-version", "")
	row("client-api-version-twice", "client-api-version", "a", "client-api-version", "b")
	row("token-garbage", "token", "garbage.17")
	row("token-empty", "token", "")
	row("token-bearer", "token", "Bearer something")
	row("authorization-garbage", "authorization", "garbage")
	row("gateway-mark", "grpcgateway-accept", "application/json")
	row("unknown", "x-something", "else", "x-binary-bin", string([]byte{0, 1, 2, 255}))
}
