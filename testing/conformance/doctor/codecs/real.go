package codecs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand"
	"reflect"
	"testing"

	apifuzzer "k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	jsonserializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
)

// A codec is one of the forms in which an API server stores objects.
type codec struct {
	name string
	runtime.Serializer
}

var (
	storedProtobuf = codec{"protobuf", protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)}
	storedJSON     = codec{"json", jsonserializer.NewSerializerWithOptions(jsonserializer.DefaultMetaFactory, scheme.Scheme, scheme.Scheme, jsonserializer.SerializerOptions{})}
	indentedJSON   = codec{"json", jsonserializer.NewSerializerWithOptions(jsonserializer.DefaultMetaFactory, scheme.Scheme, scheme.Scheme, jsonserializer.SerializerOptions{Pretty: true})}
	storedCBOR     = codec{"cbor", cbor.NewSerializer(scheme.Scheme, scheme.Scheme)}
	codecs         = []codec{storedProtobuf, storedJSON, indentedJSON, storedCBOR}
)

func (c codec) encode(t testing.TB, object runtime.Object) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := c.Encode(object, &out); err != nil {
		t.Fatalf("%s: encode %T: %v", c.name, object, err)
	}
	return out.Bytes()
}

func (c codec) decode(t testing.TB, value []byte) runtime.Object {
	t.Helper()
	object, _, err := c.Decode(value, nil, nil)
	if err != nil {
		t.Fatalf("%s: decode %x: %v", c.name, value, err)
	}
	return object
}

// filled returns an object of the kind with random content, the same for the same seed.
func filled(t testing.TB, kind schema.GroupVersionKind, seed int64) runtime.Object {
	t.Helper()
	object, err := scheme.Scheme.New(kind)
	if err != nil {
		t.Fatal(err)
	}
	functions := apifuzzer.MergeFuzzerFuncs(metafuzzer.Funcs)
	filler := apifuzzer.FuzzerFor(functions, rand.NewSource(seed), scheme.Codecs)
	filler.NumElements(0, 3).Funcs(kindFunctions...).Fill(object)
	zeroSome(rand.New(rand.NewSource(seed)), reflect.ValueOf(object))
	object.GetObjectKind().SetGroupVersionKind(kind)
	return object
}

// zeroSome makes some strings, numbers and booleans zero, also those behind pointers, where zero is not the same as nil.
func zeroSome(random *rand.Rand, value reflect.Value) {
	switch value.Kind() {
	case reflect.Pointer:
		if !value.IsNil() {
			zeroSome(random, value.Elem())
		}
	case reflect.Struct:
		for i := range value.NumField() {
			zeroSome(random, value.Field(i))
		}
	case reflect.Slice:
		for i := range value.Len() {
			zeroSome(random, value.Index(i))
		}
	case reflect.String, reflect.Bool, reflect.Int32, reflect.Int64:
		if value.CanSet() && random.Intn(5) == 0 {
			value.SetZero()
		}
	}
}

// shown returns an object as the API shows it: decoded JSON whose numbers are as they are written.
func shown(t testing.TB, object runtime.Object) map[string]any {
	t.Helper()
	return parsed(t, storedJSON.encode(t, object))
}

func parsed(t testing.TB, text []byte) map[string]any {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var content map[string]any
	if err := decoder.Decode(&content); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return content
}

func kindOf(group, version, kind string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: group, Version: version, Kind: kind}
}

func title(kind schema.GroupVersionKind) string {
	return fmt.Sprintf("%s.%s.%s", kind.Kind, kind.Version, kind.Group)
}
