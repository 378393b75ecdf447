package codecs

import (
	"bytes"
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"bowline/testing/conformance/doctor/drive"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// eachConfiguration calls the test with stored webhook configurations of every version, in every encoding, that have at
// least one webhook, and with edits for each.
func eachConfiguration(t *testing.T, codecs []codec, test func(*testing.T, codec, []byte, []edit)) {
	for _, kind := range webhookKinds {
		for i, codec := range codecs {
			t.Run(fmt.Sprintf("%s/%s-%d", title(kind), codec.name, i), func(t *testing.T) {
				for seed := range int64(seeds) {
					object := configuration(t, kind, seed)
					edits := randomEdits(rand.New(rand.NewSource(seed)), object)
					test(t, codec, codec.encode(t, object), edits)
				}
			})
		}
	}
}

// configuration is a random one with webhooks, whose names are distinct, as Kubernetes demands.
func configuration(t testing.TB, kind schema.GroupVersionKind, seed int64) runtime.Object {
	object := filled(t, kind, seed)
	for webhooks(object).Len() == 0 {
		seed += 10_000
		object = filled(t, kind, seed)
	}
	for i := range webhooks(object).Len() {
		name := webhooks(object).Index(i).FieldByName("Name")
		name.SetString(fmt.Sprintf("%d%s", i, name.String()))
	}
	return object
}

func TestAnEditIsTheSameEditOfTheObject(t *testing.T) {
	d := drive.Start(t)
	eachConfiguration(t, codecs, func(t *testing.T, codec codec, value []byte, edits []edit) {
		expected := codec.decode(t, value)
		editObject(expected, edits...)
		changed := edited(t, d, value, edits...)
		if found := codec.decode(t, changed); !equality.Semantic.DeepEqual(found, expected) {
			t.Fatalf("%s\nbecame\n%s", codec.encode(t, expected), codec.encode(t, found))
		}
		answer := decode(t, d, changed)
		if diff := differences("", shown(t, expected), answer.Content, everything); len(diff) > 0 {
			t.Fatal(strings.Join(diff, "\n"))
		}
		if again := edited(t, d, changed, edits...); !isConflict(edits) && !bytes.Equal(again, changed) {
			t.Fatalf("done twice it is %x\nonce %x", again, changed)
		}
	})
}

// isConflict tells whether edits undo each other, so that doing all of them twice is not doing them once at every step.
func isConflict(edits []edit) bool {
	policies := map[string]bool{}
	for _, edit := range edits {
		if edit.SetFailurePolicy != nil {
			policies[edit.SetFailurePolicy.Policy] = true
		}
	}
	return len(policies) > 1
}

// Kubernetes writes fields in ascending order, so an edit that does too gives the very bytes that Kubernetes would write.
func TestAnEditInProtobufGivesTheBytesOfKubernetes(t *testing.T) {
	d := drive.Start(t)
	eachConfiguration(t, []codec{storedProtobuf}, func(t *testing.T, codec codec, value []byte, edits []edit) {
		expected := codec.decode(t, value)
		editObject(expected, edits...)
		if changed, wanted := edited(t, d, value, edits...), codec.encode(t, expected); !bytes.Equal(changed, wanted) {
			t.Fatalf("%x\ninstead of\n%x", changed, wanted)
		}
	})
}

func TestAnEditAndItsInverseGiveTheSameBytes(t *testing.T) {
	d := drive.Start(t)
	eachConfiguration(t, codecs, func(t *testing.T, codec codec, value []byte, _ []edit) {
		webhook := webhooks(codec.decode(t, value)).Index(0)
		name, policy := nameOf(webhook), policyOf(webhook)
		if policy == "" {
			return
		}
		other := map[string]string{"Fail": "Ignore", "Ignore": "Fail"}[policy]
		changed := edited(t, d, value, setPolicy(name, other))
		if bytes.Equal(changed, value) {
			t.Fatal("the edit changed nothing")
		}
		if back := edited(t, d, changed, setPolicy(name, policy)); !bytes.Equal(back, value) {
			t.Fatalf("%x\ncame back as\n%x", value, back)
		}
	})
}

// Text is changed at one place, and what was there is at most the old policy.
func TestAnEditInJSONKeepsTheOtherText(t *testing.T) {
	d := drive.Start(t)
	eachConfiguration(t, []codec{storedJSON, indentedJSON}, func(t *testing.T, codec codec, value []byte, _ []edit) {
		name := nameOf(webhooks(codec.decode(t, value)).Index(0))
		for _, edit := range []edit{setPolicy(name, "Ignore"), addCondition(name, "boot", "a \"quoted\" one")} {
			changed := edited(t, d, value, edit)
			old := value
			for len(old) > 0 && len(changed) > 0 && old[0] == changed[0] {
				old, changed = old[1:], changed[1:]
			}
			for len(old) > 0 && len(changed) > 0 && old[len(old)-1] == changed[len(changed)-1] {
				old, changed = old[:len(old)-1], changed[:len(changed)-1]
			}
			if replaced := string(old); !strings.Contains("Fail", replaced) && replaced != "null" && replaced != "nul" {
				t.Fatalf("%q was replaced by %q", old, changed)
			}
		}
	})
}

func TestWhatIsRefusedIsNamed(t *testing.T) {
	d := drive.Start(t)
	for _, codec := range codecs {
		object := configuration(t, webhookKinds[0], 1)
		first := webhooks(object).Index(0)
		first.FieldByName("Name").SetString("first.example.com")
		value := codec.encode(t, object)
		expectRefusal(t, d, value, "first.example.com", setPolicy("second.example.com", "Ignore"))

		added := edited(t, d, value, addCondition("first.example.com", "boot", "true"))
		expectRefusal(t, d, added, "boot", addCondition("first.example.com", "boot", "false"))

		for i := first.FieldByName("MatchConditions").Len(); i < 64; i++ {
			added := addCondition("first.example.com", fmt.Sprintf("c-%d", i), "true")
			editObject(object, added)
		}
		expectRefusal(t, d, codec.encode(t, object), "64", addCondition("first.example.com", "boot", "true"))

		pod := filled(t, kindOf("", "v1", "Pod"), 1)
		expectRefusal(t, d, codec.encode(t, pod), "Pod", setPolicy(allWebhooks, "Ignore"))
	}
}

func expectRefusal(t *testing.T, d *drive.Drive, value []byte, word string, edit edit) {
	t.Helper()
	changed, err := tryEdits(t, d, value, edit)
	if err == nil {
		t.Fatalf("the value became %x", changed)
	}
	if !strings.Contains(err.Error(), word) {
		t.Fatalf("the message does not name %q: %v", word, err)
	}
}
