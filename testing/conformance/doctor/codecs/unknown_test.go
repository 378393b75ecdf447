package codecs

import (
	"bytes"
	"math/rand"
	"reflect"
	"slices"
	"testing"

	"bowline/testing/conformance/doctor/drive"

	"google.golang.org/protobuf/encoding/protowire"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

const (
	envelopeRaw       = 2
	objectWebhooks    = 2
	webhookClient     = 2
	webhookPolicy     = 4
	magicBytes        = 4
	unknownFieldFirst = 100
)

// A piece is one field of a message with all its bytes.
type piece struct {
	number protowire.Number
	raw    []byte
	// Of a length-delimited field.
	content []byte
}

func pieces(t testing.TB, message []byte) []piece {
	t.Helper()
	var found []piece
	for len(message) > 0 {
		number, kind, head := protowire.ConsumeTag(message)
		length := protowire.ConsumeFieldValue(number, kind, message[max(head, 0):])
		if head < 0 || length < 0 {
			t.Fatalf("no message: %x", message)
		}
		p := piece{number: number, raw: message[:head+length]}
		if kind == protowire.BytesType {
			p.content, _ = protowire.ConsumeBytes(message[head:])
		}
		found, message = append(found, p), message[head+length:]
	}
	return found
}

// withUnknown puts fields of the future into a message, of every wire type, at random places, and changes those of the number
// given.
func withUnknown(t testing.TB, random *rand.Rand, message []byte, number protowire.Number, change func([]byte) []byte) []byte {
	parts := [][]byte{}
	for _, p := range pieces(t, message) {
		if p.number == number && change != nil {
			p.raw = spelled(random, number, change(p.content))
		}
		parts = append(parts, p.raw)
	}
	for range 1 + random.Intn(3) {
		unknown := unknownField(random)
		parts = slices.Insert(parts, random.Intn(len(parts)+1), unknown)
	}
	return bytes.Join(parts, nil)
}

func unknownField(random *rand.Rand) []byte {
	number := protowire.Number(unknownFieldFirst + random.Intn(1<<20))
	switch random.Intn(5) {
	case 0:
		return protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), random.Uint64())
	case 1:
		return protowire.AppendFixed32(protowire.AppendTag(nil, number, protowire.Fixed32Type), random.Uint32())
	case 2:
		return protowire.AppendFixed64(protowire.AppendTag(nil, number, protowire.Fixed64Type), random.Uint64())
	case 3:
		return spelled(random, number, []byte("ab"))
	default:
		content := make([]byte, random.Intn(300))
		random.Read(content)
		return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), content)
	}
}

// spelled is a field whose length is now and then written longer than it has to be.
func spelled(random *rand.Rand, number protowire.Number, content []byte) []byte {
	field := protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.BytesType), uint64(len(content)))
	if random.Intn(2) == 0 {
		field[len(field)-1] |= 0x80
		field = append(field, 0x80, 0x00)
	}
	return append(field, content...)
}

func TestFieldsOfTheFutureSurviveInProtobuf(t *testing.T) {
	d := drive.Start(t)
	random := rand.New(rand.NewSource(1))
	eachConfiguration(t, []codec{storedProtobuf}, func(t *testing.T, codec codec, value []byte, edits []edit) {
		strange := func(message []byte, number protowire.Number, change func([]byte) []byte) []byte {
			return withUnknown(t, random, message, number, change)
		}
		envelope := strange(value[magicBytes:], envelopeRaw, func(object []byte) []byte {
			return strange(object, objectWebhooks, func(webhook []byte) []byte {
				return strange(webhook, webhookClient, func(client []byte) []byte { return strange(client, 0, nil) })
			})
		})
		value = append(slices.Clone(value[:magicBytes]), envelope...)
		object := codec.decode(t, value)
		expected := object.DeepCopyObject()
		editObject(expected, edits...)
		changed := edited(t, d, value, edits...)
		if found := codec.decode(t, changed); !reflect.DeepEqual(found, expected) {
			t.Fatalf("%#v\nbecame\n%#v", expected, found)
		}
		expectKept(t, value[magicBytes:], changed[magicBytes:], !isConflict(edits))
	})
}

// expectKept compares two envelopes field by field: apart from what edits may touch, the same bytes in the same order.
// With spelling, a webhook that came out as it was has its length as it was, too; edits that undo each other may write it anew.
func expectKept(t *testing.T, before, after []byte, spelling bool) {
	t.Helper()
	before = expectOthersKept(t, before, after, envelopeRaw)[0]
	after = only(t, after, envelopeRaw)[0]
	expectOthersKept(t, before, after, objectWebhooks)
	old, changed := webhookPieces(t, before), webhookPieces(t, after)
	if len(old) != len(changed) {
		t.Fatalf("%d webhooks became %d", len(old), len(changed))
	}
	for i := range old {
		expectWebhookKept(t, old[i].content, changed[i].content)
		if spelling && bytes.Equal(old[i].content, changed[i].content) && !bytes.Equal(old[i].raw, changed[i].raw) {
			t.Fatalf("a webhook that did not change is spelled %x, not %x", changed[i].raw, old[i].raw)
		}
	}
}

// expectOthersKept compares the fields that do not have this number, and returns the contents of those that have.
func expectOthersKept(t *testing.T, before, after []byte, number protowire.Number) [][]byte {
	t.Helper()
	if old, changed := without(t, before, number), without(t, after, number); !bytes.Equal(old, changed) {
		t.Fatalf("%x\nbecame\n%x", old, changed)
	}
	return only(t, before, number)
}

// Policies may be replaced, conditions may be added behind those there are.
func expectWebhookKept(t *testing.T, before, after []byte) {
	t.Helper()
	for _, conditions := range []protowire.Number{11, 12} {
		old, changed := only(t, before, conditions), only(t, after, conditions)
		if len(changed) < len(old) || !slices.EqualFunc(old, changed[:len(old)], bytes.Equal) {
			t.Fatalf("%x\nbecame\n%x", old, changed)
		}
	}
	old := without(t, before, webhookPolicy, 11, 12)
	if changed := without(t, after, webhookPolicy, 11, 12); !bytes.Equal(old, changed) {
		t.Fatalf("%x\nbecame\n%x", old, changed)
	}
}

func webhookPieces(t testing.TB, object []byte) []piece {
	all := pieces(t, object)
	return slices.DeleteFunc(all, func(p piece) bool { return p.number != objectWebhooks })
}

func without(t testing.TB, message []byte, numbers ...protowire.Number) []byte {
	var rest []byte
	for _, p := range pieces(t, message) {
		if !slices.Contains(numbers, p.number) {
			rest = append(rest, p.raw...)
		}
	}
	return rest
}

func only(t testing.TB, message []byte, number protowire.Number) [][]byte {
	var contents [][]byte
	for _, p := range pieces(t, message) {
		if p.number == number {
			contents = append(contents, p.content)
		}
	}
	return contents
}

func TestMembersOfTheFutureSurviveInJSONAndCBOR(t *testing.T) {
	d := drive.Start(t)
	eachConfiguration(t, []codec{storedJSON, indentedJSON, storedCBOR}, func(t *testing.T, codec codec, value []byte, edits []edit) {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(codec.decode(t, value))
		if err != nil {
			t.Fatal(err)
		}
		content["futureField"] = map[string]any{"a": []any{int64(1), 1.5, nil, true, "}]"}}
		for _, webhook := range content["webhooks"].([]any) {
			webhook.(map[string]any)["futureField"] = []any{map[string]any{"b": int64(-1 << 40)}}
			webhook.(map[string]any)["clientConfig"].(map[string]any)["futureField"] = ""
		}
		object := &unstructured.Unstructured{Object: content}
		value = codec.encode(t, object)
		changed := edited(t, d, value, edits...)
		found := &unstructured.Unstructured{}
		if _, _, err := codec.Decode(changed, nil, found); err != nil {
			t.Fatalf("%v: %x", err, changed)
		}
		editContent(content, edits...)
		if diff := differences("", content, found.Object, everything); len(diff) > 0 {
			t.Fatal(diff)
		}
	})
}
