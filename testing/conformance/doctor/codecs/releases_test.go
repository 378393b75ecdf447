package codecs

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bowline/testing/conformance/doctor/drive"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The values that Kubernetes keeps of each of its releases, to prove to itself that it can still read them: every kind,
// every field set, in protobuf and in JSON.
func TestWhatOtherReleasesWroteIsRead(t *testing.T) {
	d := drive.Start(t)
	releases, err := filepath.Glob(filepath.Join(moduleDirectory(t, "k8s.io/api"), "testdata", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, release := range releases {
		values, err := filepath.Glob(filepath.Join(release, "*.pb"))
		if err != nil {
			t.Fatal(err)
		}
		if len(values) == 0 {
			continue
		}
		t.Run(filepath.Base(release), func(t *testing.T) {
			for _, value := range values {
				if strings.Contains(filepath.Base(value), "after_roundtrip") {
					continue
				}
				expectGolden(t, d, value)
			}
		})
	}
}

func expectGolden(t *testing.T, d *drive.Drive, file string) {
	t.Helper()
	text := strings.TrimSuffix(file, ".pb") + ".json"
	real := parsed(t, read(t, text))
	metadata, ok := real["metadata"].(map[string]any)
	if _, isObject := metadata["uid"]; !ok || !isObject {
		return // a list, or options: never stored
	}
	t.Run(strings.TrimSuffix(filepath.Base(file), ".pb"), func(t *testing.T) {
		answer := decode(t, d, read(t, file))
		kind := schema.FromAPIVersionAndKind(real["apiVersion"].(string), real["kind"].(string))
		expectHead(t, answer, kind, storedProtobuf.name)
		if slices.Contains(wholeKinds, kind) && !answer.Whole {
			t.Error("some of its fields are not known")
		}
		expectPart(t, real, answer, []string{"metadata"})
		if diff := differences("", real, decode(t, d, read(t, text)).Content, everything); len(diff) > 0 {
			t.Errorf("as JSON:\n%s", strings.Join(diff, "\n"))
		}
	})
}

func read(t testing.TB, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func moduleDirectory(t testing.TB, module string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
