package codecs

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"bowline/testing/conformance/doctor/drive"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// How many random objects of each kind are tried.
const seeds = 60

// decoded is what kubedrive says of a value.
type decoded struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Encoding   string         `json:"encoding"`
	Whole      bool           `json:"whole"`
	Content    map[string]any `json:"content"`
}

func decode(t testing.TB, d *drive.Drive, value []byte) decoded {
	t.Helper()
	var answer decoded
	if err := d.Ask(t, "decode", map[string]any{"value": hex.EncodeToString(value)}, &answer); err != nil {
		t.Fatalf("%v: %x", err, value)
	}
	return answer
}

func TestWholeKindsAreShownAsKubernetesShowsThem(t *testing.T) {
	d := drive.Start(t)
	for _, kind := range wholeKinds {
		for _, codec := range codecs {
			t.Run(title(kind)+"/"+codec.name, func(t *testing.T) {
				for seed := range int64(seeds) {
					value := codec.encode(t, filled(t, kind, seed))
					answer := decode(t, d, value)
					expectHead(t, answer, kind, codec.name)
					if !answer.Whole {
						t.Fatal("some of its fields are not known")
					}
					if diff := differences("", shown(t, codec.decode(t, value)), answer.Content, everything); len(diff) > 0 {
						t.Fatalf("seed %d:\n%s", seed, strings.Join(diff, "\n"))
					}
				}
			})
		}
	}
}

func TestOtherKindsAreShownTruthfully(t *testing.T) {
	d := drive.Start(t)
	for _, part := range partKinds {
		t.Run(title(part.kind), func(t *testing.T) {
			for seed := range int64(seeds) {
				value := storedProtobuf.encode(t, filled(t, part.kind, seed))
				answer := decode(t, d, value)
				expectHead(t, answer, part.kind, storedProtobuf.name)
				expectPart(t, shown(t, storedProtobuf.decode(t, value)), answer, append(part.fields, "metadata", "apiVersion", "kind"))
			}
		})
	}
}

func expectHead(t testing.TB, answer decoded, kind schema.GroupVersionKind, encoding string) {
	t.Helper()
	if answer.APIVersion != kind.GroupVersion().String() || answer.Kind != kind.Kind || answer.Encoding != encoding {
		t.Fatalf("%s %s in %s", answer.APIVersion, answer.Kind, answer.Encoding)
	}
}

// expectPart checks that nothing is shown that Kubernetes would not show, that the fields named are there if Kubernetes
// shows them, and that what claims to be whole is.
func expectPart(t testing.TB, real map[string]any, answer decoded, fields []string) {
	t.Helper()
	known := parts
	if answer.Whole {
		known = everything
	}
	diff := differences("", real, answer.Content, known)
	for _, field := range fields {
		ours, theirs := at(answer.Content, field), at(real, field)
		diff = append(diff, differences(field, theirs, ours, everything)...)
	}
	if len(diff) > 0 {
		t.Fatal(strings.Join(diff, "\n"))
	}
}

// at follows a path of member names; through a list it collects what it finds in every item.
func at(value any, path string) any {
	if path == "" {
		return value
	}
	name, rest, _ := strings.Cut(path, ".")
	switch value := value.(type) {
	case map[string]any:
		return at(value[name], rest)
	case []any:
		found := []any{}
		for _, item := range value {
			found = append(found, at(item, path))
		}
		return found
	}
	return nil
}

type knowledge bool

const (
	everything knowledge = true
	parts      knowledge = false
)

// differences lists where ours is not the real form. With parts, what is only in the real one is none. A member that is null
// is the same as no member: Go reads both alike, and writes the one or the other by how a type is declared, not by what it
// means.
func differences(path string, real, ours any, known knowledge) []string {
	switch real := real.(type) {
	case map[string]any:
		ours, ok := ours.(map[string]any)
		if !ok {
			break
		}
		var found []string
		for name, value := range real {
			if mine := ours[name]; mine != nil {
				found = append(found, differences(path+"."+name, value, mine, known)...)
			} else if known == everything && value != nil {
				found = append(found, fmt.Sprintf("%s.%s: %#v is missing", path, name, value))
			}
		}
		for name, value := range ours {
			if _, ok := real[name]; !ok && value != nil {
				found = append(found, fmt.Sprintf("%s.%s: %#v is too much", path, name, value))
			}
		}
		return found
	case []any:
		ours, ok := ours.([]any)
		if !ok || len(ours) != len(real) {
			break
		}
		var found []string
		for i, value := range real {
			found = append(found, differences(fmt.Sprintf("%s[%d]", path, i), value, ours[i], known)...)
		}
		return found
	default:
		if real == ours {
			return nil
		}
	}
	return []string{fmt.Sprintf("%s: %#v instead of %#v", path, ours, real)}
}
