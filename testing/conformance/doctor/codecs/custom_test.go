package codecs

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"bowline/testing/conformance/doctor/drive"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Custom resources have no schema here: whatever they say must be shown.
func TestCustomResourcesAreShownAsTheyAre(t *testing.T) {
	d := drive.Start(t)
	for _, codec := range []codec{storedJSON, indentedJSON, storedCBOR} {
		random := rand.New(rand.NewSource(1))
		for number := range 300 {
			content := randomMap(random, 0)
			content["apiVersion"], content["kind"] = "example.com/v1", "Anything"
			content["metadata"] = map[string]any{"name": fmt.Sprintf("a-%d", number)}
			value := codec.encode(t, &unstructured.Unstructured{Object: content})
			answer := decode(t, d, value)
			if !answer.Whole {
				t.Fatal("some of its fields are not known")
			}
			real := &unstructured.Unstructured{}
			if _, _, err := codec.Decode(value, nil, real); err != nil {
				t.Fatal(err)
			}
			text, err := real.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			if diff := differences("", parsed(t, text), answer.Content, everything); len(diff) > 0 {
				t.Fatalf("%s\n%x", strings.Join(diff, "\n"), value)
			}
		}
	}
}

func randomMap(random *rand.Rand, depth int) map[string]any {
	content := map[string]any{}
	for range random.Intn(6) {
		content[randomText(random)] = randomValue(random, depth+1)
	}
	return content
}

func randomValue(random *rand.Rand, depth int) any {
	kinds := 9
	if depth > 6 {
		kinds = 7
	}
	switch random.Intn(kinds) {
	case 0:
		return nil
	case 1:
		return random.Intn(2) == 0
	case 2:
		return int64(random.Intn(2000) - 1000)
	case 3:
		return int64(random.Uint64())
	case 4:
		return random.NormFloat64() * 1e10
	case 5:
		// Fits in 16 bits.
		return float64(random.Intn(2000)-1000) / 8
	case 6:
		return randomText(random)
	case 7:
		list := make([]any, random.Intn(40))
		for i := range list {
			list[i] = randomValue(random, depth+2)
		}
		return list
	default:
		return randomMap(random, depth)
	}
}

func randomText(random *rand.Rand) string {
	letters := []rune("ab\"\\/\n\u0000é\u2028<&>😀{}[],:")
	text := make([]rune, random.Intn(40))
	for i := range text {
		text[i] = letters[random.Intn(len(letters))]
	}
	return string(text)
}
