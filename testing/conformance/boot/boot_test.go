package boot

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	key = "/registry/validatingwebhookconfigurations/kyverno-resource-validating-webhook-cfg"
	// The API server's own user is stopped by it before the API server is ready.
	webhook = `{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingWebhookConfiguration",
"metadata":{"name":"kyverno-resource-validating-webhook-cfg","uid":"0c2a3a1e-0000-4000-8000-000000000001",
"creationTimestamp":"2026-01-01T00:00:00Z"},"webhooks":[{"name":"validate.kyverno.svc-fail",
"clientConfig":{"service":{"namespace":"kyverno","name":"kyverno-svc","path":"/validate/fail","port":443}},
"rules":[{"operations":["CREATE","UPDATE"],"apiGroups":["networking.k8s.io"],"apiVersions":["*"],"resources":["*"],"scope":"*"}],
"failurePolicy":"Fail","matchPolicy":"Equivalent","namespaceSelector":{},"objectSelector":{},"sideEffects":"None",
"timeoutSeconds":10,"admissionReviewVersions":["v1"]}]}`
	hook = "[-]poststarthook/start-kubernetes-service-cidr-controller failed"
	// patience bounds what a loaded machine may take, not what is promised.
	patience = 3 * time.Minute
)

// TestAControlPlaneThatDoesNotBootIsFreedFromTheStore goes through the night on both stores and by each way out.
func TestAControlPlaneThatDoesNotBootIsFreedFromTheStore(t *testing.T) {
	for _, store := range []string{"bowline", "etcd"} {
		for _, change := range []string{"patch", "delete"} {
			t.Run(store+"/"+change, func(t *testing.T) { night(t, store, change) })
		}
	}
}

func night(t *testing.T, store, change string) {
	folder := t.TempDir()
	endpoint := startStore(t, store, folder)
	put(t, endpoint, key, webhook)
	api := startAPIServer(t, endpoint, folder)

	api.until(t, "the hook fails", func(code int, body string) bool {
		return code == http.StatusInternalServerError && strings.Contains(body, hook)
	})
	report, code := doctor(t, endpoint, folder)
	if code != 3 || !strings.Contains(report, "BLOCKING  webhook kyverno-resource-validating-webhook-cfg/validate.kyverno.svc-fail") {
		t.Fatalf("the doctor ends with %d:\n%s", code, report)
	}
	if said, code := doctor(t, endpoint, folder, "webhooks", change, "kyverno-resource-validating-webhook-cfg", "--yes"); code != 0 {
		t.Fatalf("%s ends with %d:\n%s", change, code, said)
	}
	changed := time.Now()
	api.until(t, "the API server is ready", func(code int, _ string) bool { return code == http.StatusOK })
	t.Logf("ready %v after the change, without a restart", time.Since(changed).Round(10*time.Millisecond))
	if report, code := doctor(t, endpoint, folder); strings.Contains(report, "BLOCKING") || code == 3 {
		t.Fatalf("the doctor ends with %d:\n%s", code, report)
	}
	if change == "patch" {
		condition := "bowline-keep-bootstrap-out"
		api.until(t, "the API server reads what was patched", func(int, string) bool {
			return strings.Contains(get(t, endpoint, key), condition)
		})
	}
	if get(t, endpoint, "/registry/servicecidrs/kubernetes") == "" {
		t.Error("the ServiceCIDR was not written")
	}
}

// start runs a program to the end of the test; what it printed is shown if that fails.
func start(t *testing.T, program string, arguments ...string) *exec.Cmd {
	t.Helper()
	output := &bytes.Buffer{}
	command := exec.Command(program, arguments...)
	command.Stdout, command.Stderr = output, output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Kill()
		command.Wait()
		if t.Failed() {
			text := output.String()
			t.Logf("the end of what %s printed:\n%s", program, text[max(0, len(text)-8000):])
		}
	})
	return command
}

func startStore(t *testing.T, store, folder string) string {
	t.Helper()
	addresses := free(t, 2)
	client, peer := "http://"+addresses[0], "http://"+addresses[1]
	arguments := []string{
		"--data-dir", filepath.Join(folder, "store"), "--log-level", "warn", "--name", "one",
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "one=" + peer,
	}
	if store == "bowline" {
		start(t, program(t, "BOWLINE_BIN"), append([]string{"server"}, arguments...)...)
	} else {
		start(t, program(t, "ETCD_BIN"), arguments...)
	}
	return client
}

// apiServer is a kube-apiserver that runs.
type apiServer struct {
	command *exec.Cmd
	url     string
	http    *http.Client
}

func startAPIServer(t *testing.T, endpoint, folder string) *apiServer {
	t.Helper()
	address := free(t, 1)[0]
	_, port, _ := net.SplitHostPort(address)
	private := filepath.Join(folder, "service-accounts.key")
	writeKey(t, private)
	command := start(t, program(t, "KUBE_APISERVER_BIN"),
		"--etcd-servers="+endpoint, "--cert-dir="+filepath.Join(folder, "certificates"),
		"--secure-port="+port, "--bind-address=127.0.0.1", "--advertise-address=10.255.0.1",
		"--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+private, "--service-account-signing-key-file="+private,
	)
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	return &apiServer{command: command, url: "https://" + address, http: client}
}

// until asks whether the API server is ready until the answer is the one wanted.
func (a *apiServer) until(t *testing.T, what string, wanted func(code int, body string) bool) {
	t.Helper()
	code, body := 0, ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		response, err := a.http.Get(a.url + "/readyz?verbose")
		if err != nil {
			body = err.Error()
			continue
		}
		text, _ := io.ReadAll(response.Body)
		response.Body.Close()
		code, body = response.StatusCode, string(text)
		if wanted(code, body) {
			return
		}
	}
	t.Fatalf("%s: not within %v; last answer %d: %s", what, patience, code, body)
}

func doctor(t *testing.T, endpoint, folder string, arguments ...string) (string, int) {
	t.Helper()
	line := append([]string{"doctor"}, arguments...)
	line = append(line, "--endpoints", endpoint, "--target", "1.37")
	if len(arguments) > 0 {
		line = append(line, "--undo-dir", folder)
	}
	command := exec.Command(program(t, "BOWLINE_BIN"), line...)
	output, err := command.CombinedOutput()
	if command.ProcessState == nil {
		t.Fatal(err)
	}
	return string(output), command.ProcessState.ExitCode()
}

func put(t *testing.T, endpoint, key, value string) {
	t.Helper()
	with(t, endpoint, func(ctx context.Context, client *clientv3.Client) error {
		_, err := client.Put(ctx, key, value)
		return err
	})
}

func get(t *testing.T, endpoint, key string) (value string) {
	t.Helper()
	with(t, endpoint, func(ctx context.Context, client *clientv3.Client) error {
		answer, err := client.Get(ctx, key)
		if err == nil && len(answer.Kvs) > 0 {
			value = string(answer.Kvs[0].Value)
		}
		return err
	})
	return value
}

// with calls the store, which may still be starting.
func with(t *testing.T, endpoint string, call func(context.Context, *clientv3.Client) error) {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(context.Background()), patience)
	defer cancel()
	for {
		if err = call(ctx, client); err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

func program(t *testing.T, variable string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		t.Fatalf("%s names no program; use the script `run`", variable)
	}
	return path
}

// free is some addresses that nobody listens on, no two of them the same.
func free(t *testing.T, count int) (addresses []string) {
	t.Helper()
	for range count {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		// Until all are found, or one could be found twice.
		defer listener.Close()
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses
}

func writeKey(t *testing.T, path string) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)}
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(fmt.Errorf("write the key of service accounts: %w", err))
	}
}
