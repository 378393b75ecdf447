package codecs

import (
	"encoding/hex"
	"fmt"
	"math/rand"
	"reflect"
	"testing"

	"bowline/testing/conformance/doctor/drive"

	"k8s.io/apimachinery/pkg/runtime"
)

// An edit as kubedrive takes it: one of the two is set.
type edit struct {
	SetFailurePolicy  *setFailurePolicy  `json:"setFailurePolicy,omitempty"`
	AddMatchCondition *addMatchCondition `json:"addMatchCondition,omitempty"`
}

type setFailurePolicy struct {
	Webhook string `json:"webhook"`
	Policy  string `json:"policy"`
}

type addMatchCondition struct {
	Webhook    string `json:"webhook"`
	Name       string `json:"name"`
	Expression string `json:"expression"`
}

const allWebhooks = "*"

func setPolicy(webhook, policy string) edit {
	return edit{SetFailurePolicy: &setFailurePolicy{webhook, policy}}
}

func addCondition(webhook, name, expression string) edit {
	return edit{AddMatchCondition: &addMatchCondition{webhook, name, expression}}
}

func (e edit) meant(webhook string) bool {
	wanted := allWebhooks
	if e.SetFailurePolicy != nil {
		wanted = e.SetFailurePolicy.Webhook
	} else {
		wanted = e.AddMatchCondition.Webhook
	}
	return wanted == allWebhooks || wanted == webhook
}

// tryEdits asks kubedrive for the value with the edits.
func tryEdits(t testing.TB, d *drive.Drive, value []byte, edits ...edit) ([]byte, error) {
	t.Helper()
	var answer string
	err := d.Ask(t, "edit", map[string]any{"value": hex.EncodeToString(value), "edits": edits}, &answer)
	if err != nil {
		return nil, err
	}
	changed, err := hex.DecodeString(answer)
	if err != nil {
		t.Fatal(err)
	}
	return changed, nil
}

func edited(t testing.TB, d *drive.Drive, value []byte, edits ...edit) []byte {
	t.Helper()
	changed, err := tryEdits(t, d, value, edits...)
	if err != nil {
		t.Fatalf("%v: %x", err, value)
	}
	return changed
}

// webhooks is the list in a webhook configuration of any version.
func webhooks(object runtime.Object) reflect.Value {
	return reflect.ValueOf(object).Elem().FieldByName("Webhooks")
}

func nameOf(webhook reflect.Value) string { return webhook.FieldByName("Name").String() }

// policyOf is empty if it is not set.
func policyOf(webhook reflect.Value) string {
	policy := webhook.FieldByName("FailurePolicy")
	if policy.IsNil() {
		return ""
	}
	return policy.Elem().String()
}

// editObject does to the Go object what the edits do to its bytes.
func editObject(object runtime.Object, edits ...edit) {
	all := webhooks(object)
	for _, edit := range edits {
		for i := range all.Len() {
			if webhook := all.Index(i); edit.meant(nameOf(webhook)) {
				editWebhook(webhook, edit)
			}
		}
	}
}

func editWebhook(webhook reflect.Value, edit edit) {
	if set := edit.SetFailurePolicy; set != nil {
		field := webhook.FieldByName("FailurePolicy")
		policy := reflect.New(field.Type().Elem())
		policy.Elem().SetString(set.Policy)
		field.Set(policy)
		return
	}
	list := webhook.FieldByName("MatchConditions")
	condition := reflect.New(list.Type().Elem()).Elem()
	condition.FieldByName("Name").SetString(edit.AddMatchCondition.Name)
	condition.FieldByName("Expression").SetString(edit.AddMatchCondition.Expression)
	list.Set(reflect.Append(list, condition))
}

// editContent does the same to the JSON form of a configuration.
func editContent(content map[string]any, edits ...edit) {
	all, _ := content["webhooks"].([]any)
	for _, edit := range edits {
		for _, webhook := range all {
			webhook := webhook.(map[string]any)
			if !edit.meant(webhook["name"].(string)) {
				continue
			}
			if set := edit.SetFailurePolicy; set != nil {
				webhook["failurePolicy"] = set.Policy
				continue
			}
			list, _ := webhook["matchConditions"].([]any)
			add := edit.AddMatchCondition
			webhook["matchConditions"] = append(list, map[string]any{"name": add.Name, "expression": add.Expression})
		}
	}
}

// randomEdits are one to three about webhooks that the object has.
func randomEdits(random *rand.Rand, object runtime.Object) []edit {
	all := webhooks(object)
	edits := make([]edit, 1+random.Intn(3))
	for i := range edits {
		edits[i] = randomEdit(random, nameOf(all.Index(random.Intn(all.Len()))), i)
	}
	return edits
}

func randomEdit(random *rand.Rand, webhook string, number int) edit {
	if random.Intn(3) == 0 {
		webhook = allWebhooks
	}
	if random.Intn(2) == 0 {
		return setPolicy(webhook, []string{"Fail", "Ignore"}[random.Intn(2)])
	}
	expressions := []string{
		`!(request.resource.group == "networking.k8s.io" && request.resource.resource in ["servicecidrs", "ipaddresses"])`,
		`request.userInfo.username != 'system:apiserver'`,
		"'\\u00e4' != \"ä\\t\n\"",
		"",
	}
	return addCondition(webhook, fmt.Sprintf("bowline-%d", number), expressions[random.Intn(len(expressions))])
}
