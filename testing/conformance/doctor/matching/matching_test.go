package matching

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"testing"

	registration "k8s.io/api/admissionregistration/v1"

	"bowline/testing/conformance/doctor/drive"
)

const (
	// cases of the test with everything at once.
	cases = 4000
	// minor is the release that the table of equivalent resources is of.
	minor = 36
	// unknownPercentMax bounds how often the answer may be that it cannot be known.
	unknownPercentMax = 10
)

type judge struct {
	drive *drive.Drive
	real  *realPlugin
	// How often which answer was given.
	answers map[string]int
}

func newJudge(t *testing.T) *judge {
	t.Helper()
	plugin, err := newRealPlugin(namespaces)
	if err != nil {
		t.Fatal(err)
	}
	return &judge{drive: drive.Start(t), real: plugin, answers: map[string]int{}}
}

func (j *judge) compare(t *testing.T, hook *registration.ValidatingWebhook, request Request) {
	t.Helper()
	content, err := asJSON(hook)
	if err != nil {
		t.Fatal(err)
	}
	var ours struct{ Call, Why, Matched string }
	members := map[string]any{"webhook": content, "request": request, "namespaces": namespaces, "minor": minor}
	if err := j.drive.Ask(t, "match", members, &ours); err != nil {
		t.Fatal(err)
	}
	call, matched := j.real.call(hook, request)
	j.answers[ours.Call]++
	if ours.Call == "maybe" {
		return
	}
	if ours.Call != call || (call == "yes" && ours.Matched != matched) {
		given, _ := json.Marshal(map[string]any{"webhook": content, "request": request})
		t.Errorf("Kubernetes: %s %s, Bowline: %s %s (%s)\n%s", call, matched, ours.Call, ours.Matched, ours.Why, given)
	}
}

func (j *judge) report(t *testing.T, asked int) {
	t.Helper()
	t.Logf("%d cases: %v", asked, j.answers)
	if unknown := j.answers["maybe"]; unknown*100 > asked*unknownPercentMax {
		t.Errorf("%d of %d cannot be known, more than %d %%", unknown, asked, unknownPercentMax)
	}
}

// Rules, scopes, selectors, equivalent resources and conditions, drawn by chance.
func TestARandomWebhookIsCalledAsByKubernetes(t *testing.T) {
	j := newJudge(t)
	for seed := range cases {
		g := generator{rand.New(rand.NewSource(int64(seed)))}
		j.compare(t, g.webhook(), g.request())
	}
	j.report(t, cases)
	for _, answer := range []string{"yes", "no", "rejected"} {
		if j.answers[answer] < cases/50 {
			t.Errorf("only %d of %d are %s: the cases do not test it", j.answers[answer], cases, answer)
		}
	}
}

// Each expression by itself, on requests of every kind.
func TestAConditionComesToTheSame(t *testing.T) {
	j := newJudge(t)
	asked := 0
	for n, expression := range conditions {
		t.Run(fmt.Sprintf("%03d", n), func(t *testing.T) {
			for seed := range 40 {
				g := generator{rand.New(rand.NewSource(int64(seed)))}
				hook := &registration.ValidatingWebhook{
					Name:            "judged.example.com",
					FailurePolicy:   pointer(registration.Fail),
					Rules:           everything,
					MatchConditions: []registration.MatchCondition{{Name: "c", Expression: expression}},
				}
				hook.NamespaceSelector, hook.ObjectSelector = noSelector, noSelector
				j.compare(t, hook, g.request())
				asked++
			}
		})
	}
	j.report(t, asked)
}
