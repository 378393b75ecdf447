package main

import (
	"crypto/sha256"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A message is compared as a list of leaves: one per field that is present,
// with the path that leads to it. Absent fields have no leaf, so "unset" and
// "set to something" differ by themselves.
//
// What may legitimately differ between two correct servers is rewritten here
// and nowhere else: the server's own ids and URLs become the word "own",
// revisions are counted from where the case began, sizes and raft positions
// only say whether they are set, ids of leases chosen by the server become
// names, remaining times carry a tolerance.

// leaf is one rendered field.
type leaf struct {
	path string
	text string
	// approximate leaves compare number within tolerance instead of text.
	approximate bool
	number      int64
	tolerance   int64
}

// The time that a lease has left passes through zero, so it has a leaf even
// then. Negative numbers mean that it is gone and are compared exactly.
const (
	remainingSecondsField     = "etcdserverpb.LeaseTimeToLiveResponse.TTL"
	remainingSecondsTolerance = 2
)

// revisionFields are the integers that count from the beginning of the case.
var revisionFields = map[protoreflect.Name]bool{
	"revision": true, "create_revision": true, "mod_revision": true,
	"compact_revision": true, "hash_revision": true, "start_revision": true,
	"min_mod_revision": true, "max_mod_revision": true,
	"min_create_revision": true, "max_create_revision": true,
}

// presenceFields say only whether they are set: sizes and raft positions
// depend on the implementation.
var presenceFields = map[protoreflect.FullName]bool{
	"etcdserverpb.ResponseHeader.raft_term":   true,
	"etcdserverpb.StatusResponse.dbSize":      true,
	"etcdserverpb.StatusResponse.dbSizeInUse": true,
	"etcdserverpb.StatusResponse.raftIndex":   true,
	// etcd shows 3.5.0 until its monitor has run once.
	"etcdserverpb.StatusResponse.storageVersion":   true,
	"etcdserverpb.StatusResponse.raftTerm":         true,
	"etcdserverpb.StatusResponse.raftAppliedIndex": true,
	"etcdserverpb.HashResponse.hash":               true,
}

// identityFields must name the answering server itself.
var identityFields = map[protoreflect.Name]bool{
	"cluster_id": true, "member_id": true, "leader": true, "memberID": true,
}

// unorderedFields have no defined order.
var unorderedFields = map[protoreflect.FullName]bool{
	"etcdserverpb.LeaseTimeToLiveResponse.keys": true,
	"etcdserverpb.AlarmResponse.alarms":         true,
	"etcdserverpb.StatusResponse.errors":        true,
}

// renderer turns one side's messages into leaves.
type renderer struct {
	server *server
	// base is subtracted from revisions; 0 leaves them absolute.
	base int64
	// leases names the ids that the server chose.
	leases map[int64]string
	// hideRevisions is for cases whose number of writes may differ.
	hideRevisions bool
}

func (r *renderer) message(m proto.Message) []leaf {
	var leaves []leaf
	r.fields(&leaves, "", m.ProtoReflect())
	return leaves
}

// text is a message on one line, for showing requests.
func (r *renderer) text(m proto.Message) string {
	var parts []string
	leaves := r.message(m)
	for i, l := range leaves {
		if i+1 < len(leaves) && strings.HasPrefix(leaves[i+1].path, l.path+".") {
			// Its fields follow and show that it is there.
			continue
		}
		parts = append(parts, l.path+"="+l.text)
	}
	return string(m.ProtoReflect().Descriptor().Name()) + "{" + strings.Join(parts, " ") + "}"
}

func (r *renderer) fields(leaves *[]leaf, prefix string, m protoreflect.Message) {
	descriptors := m.Descriptor().Fields()
	for i := range descriptors.Len() {
		field := descriptors.Get(i)
		if !m.Has(field) && field.FullName() != remainingSecondsField {
			continue
		}
		path := prefix + string(field.Name())
		if !field.IsList() {
			r.value(leaves, path, field, m.Get(field))
			continue
		}
		r.list(leaves, path, field, m.Get(field).List())
	}
	if unknown := m.GetUnknown(); len(unknown) > 0 {
		*leaves = append(*leaves, leaf{path: prefix + "<unknown fields>", text: fmt.Sprintf("%x", []byte(unknown))})
	}
}

func (r *renderer) list(leaves *[]leaf, path string, field protoreflect.FieldDescriptor, list protoreflect.List) {
	elements := make([][]leaf, list.Len())
	for i := range elements {
		r.value(&elements[i], "", field, list.Get(i))
	}
	if unorderedFields[field.FullName()] {
		sort.Slice(elements, func(i, j int) bool { return fmt.Sprint(elements[i]) < fmt.Sprint(elements[j]) })
	}
	for i, element := range elements {
		for _, l := range element {
			l.path = fmt.Sprintf("%s[%d]%s", path, i, l.path)
			*leaves = append(*leaves, l)
		}
	}
}

func (r *renderer) value(leaves *[]leaf, path string, field protoreflect.FieldDescriptor, v protoreflect.Value) {
	if field.Kind() != protoreflect.MessageKind {
		*leaves = append(*leaves, r.scalar(path, field, v))
		return
	}
	*leaves = append(*leaves, leaf{path: path, text: "present"})
	r.fields(leaves, path+".", v.Message())
}

func (r *renderer) scalar(path string, field protoreflect.FieldDescriptor, v protoreflect.Value) leaf {
	name := field.Name()
	switch {
	case presenceFields[field.FullName()]:
		return leaf{path: path, text: "set"}
	case identityFields[name]:
		return leaf{path: path, text: r.identity(v.Uint())}
	case field.FullName() == "etcdserverpb.Member.ID":
		return leaf{path: path, text: r.identity(v.Uint())}
	case field.FullName() == remainingSecondsField && v.Int() >= 0:
		return leaf{path: path, text: strconv.FormatInt(v.Int(), 10), approximate: true, number: v.Int(), tolerance: remainingSecondsTolerance}
	case field.Kind() == protoreflect.Int64Kind && revisionFields[name]:
		return leaf{path: path, text: r.revision(v.Int())}
	case field.Kind() == protoreflect.Int64Kind && (name == "ID" || name == "lease"):
		if alias, known := r.leases[v.Int()]; known {
			return leaf{path: path, text: alias}
		}
		return leaf{path: path, text: strconv.FormatInt(v.Int(), 10)}
	case field.FullName() == "etcdserverpb.StatusResponse.version":
		return leaf{path: path, text: majorMinor(v.String())}
	case field.Kind() == protoreflect.BytesKind:
		return leaf{path: path, text: quoteBytes(v.Bytes())}
	case field.Kind() == protoreflect.StringKind:
		return leaf{path: path, text: strconv.Quote(r.own(v.String()))}
	case field.Kind() == protoreflect.EnumKind:
		return leaf{path: path, text: enumText(field, v.Enum())}
	}
	return leaf{path: path, text: v.String()}
}

func (r *renderer) identity(id uint64) string {
	switch id {
	case r.server.clusterID:
		return "own cluster"
	case r.server.memberID:
		return "own member"
	}
	return strconv.FormatUint(id, 10)
}

// revision counts from the case's base; 0 and negative numbers are special
// values of the protocol and stay as they are.
func (r *renderer) revision(revision int64) string {
	switch {
	case r.hideRevisions && revision > 0:
		return "some revision"
	case r.base == 0 || revision <= 0:
		return strconv.FormatInt(revision, 10)
	}
	return fmt.Sprintf("base%+d", revision-r.base)
}

// own replaces what names this server inside a text. Runs of blanks become
// one: the library that prints messages inside error texts varies them.
func (r *renderer) own(text string) string {
	text = strings.NewReplacer(
		r.server.clientURL, "<client url>",
		r.server.peerURL, "<peer url>",
		strconv.FormatUint(r.server.memberID, 10), "<member id>",
	).Replace(text)
	for strings.Contains(text, "  ") {
		text = strings.ReplaceAll(text, "  ", " ")
	}
	return text
}

// majorMinor drops the patch release: both sides are of one minor release,
// nothing more is promised.
func majorMinor(version string) string {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) != 3 {
		return strconv.Quote(version)
	}
	return parts[0] + "." + parts[1] + ".x"
}

func enumText(field protoreflect.FieldDescriptor, number protoreflect.EnumNumber) string {
	if value := field.Enum().Values().ByNumber(number); value != nil {
		return string(value.Name())
	}
	return strconv.Itoa(int(number))
}

const quotedBytesMax = 64

// quoteBytes shows short values as they are and long ones by length and hash.
func quoteBytes(b []byte) string {
	if len(b) <= quotedBytesMax {
		return strconv.Quote(string(b))
	}
	return fmt.Sprintf("<%d bytes, sha256 %x>", len(b), sha256.Sum256(b))
}
