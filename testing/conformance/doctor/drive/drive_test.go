package drive

import (
	"errors"
	"slices"
	"testing"
)

func TestTheProgramAnswersAndRefuses(t *testing.T) {
	d := Start(t)
	var verbs []string
	if err := d.Ask(t, "verbs", nil, &verbs); err != nil || !slices.Contains(verbs, "verbs") {
		t.Fatalf("verbs: %v, %v", verbs, err)
	}
	var refusal Refusal
	if err := d.Ask(t, "guess", nil, &verbs); !errors.As(err, &refusal) {
		t.Fatalf("an unknown verb was answered with %v, %v", verbs, err)
	}
}
