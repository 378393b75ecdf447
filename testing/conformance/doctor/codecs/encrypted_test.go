package codecs

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bowline/testing/conformance/doctor/drive"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"
)

const encryptionConfiguration = `
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: ["*.*"]
  providers:
  - %s: {keys: [{name: %q, secret: %s}]}
  - identity: {}
`

func TestEncryptedValuesAreNamedAndLeftAlone(t *testing.T) {
	d := drive.Start(t)
	secret := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))
	object := storedProtobuf.encode(t, configuration(t, webhookKinds[0], 1))
	for _, provider := range []string{"aescbc", "aesgcm", "secretbox"} {
		for _, name := range []string{"key1", "Schlüssel 2026-11", strings.Repeat("long", 50)} {
			t.Run(provider+"/"+name, func(t *testing.T) {
				encrypted := encrypt(t, fmt.Sprintf(encryptionConfiguration, provider, name, secret), object)
				expectEncrypted(t, d, encrypted, provider+":v1", name)
			})
		}
	}
}

// What a KMS plugin encrypts begins with its name; the rest is its own.
func TestValuesOfPluginsAreNamedAndLeftAlone(t *testing.T) {
	d := drive.Start(t)
	for _, version := range []string{"v1", "v2"} {
		expectEncrypted(t, d, []byte("k8s:enc:kms:"+version+":vault:\x0a\x7b\x00:"), "kms:"+version, "vault")
	}
}

func expectEncrypted(t *testing.T, d *drive.Drive, encrypted []byte, provider, name string) {
	t.Helper()
	var answer struct {
		Encrypted struct{ Provider, KeyName string }
	}
	members := map[string]any{"value": hex.EncodeToString(encrypted)}
	if err := d.Ask(t, "encoding", members, &answer); err != nil {
		t.Fatal(err)
	}
	if answer.Encrypted.Provider != provider || answer.Encrypted.KeyName != name {
		t.Fatalf("%.40q is said to be %+v", encrypted, answer)
	}
	expectRefusal(t, d, encrypted, name, setPolicy(allWebhooks, "Ignore"))
	if err := d.Ask(t, "decode", members, &answer); err == nil || !strings.Contains(err.Error(), provider) {
		t.Fatalf("decoding said %v", err)
	}
}

// encrypt does what an API server with this configuration does before it stores the value.
func encrypt(t *testing.T, configuration string, plain []byte) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "encryption.yaml")
	if err := os.WriteFile(file, []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	loaded, err := encryptionconfig.LoadEncryptionConfig(ctx, file, false, "")
	if err != nil {
		t.Fatal(err)
	}
	transformers := encryptionconfig.StaticTransformers(loaded.Transformers)
	transformer := transformers.TransformerForResource(schema.GroupResource{Group: webhookKinds[0].Group, Resource: "validatingwebhookconfigurations"})
	encrypted, err := transformer.TransformToStorage(ctx, plain, value.DefaultContext("/registry/validatingwebhookconfigurations/a"))
	if err != nil {
		t.Fatal(err)
	}
	return encrypted
}
