// Package testserver stands in for k8s.io/apiserver/pkg/storage/etcd3/testserver while
// Kubernetes' storage suites run: the same two functions, but the server is the program named
// by BOWLINE_BIN, started as a process of its own, instead of an etcd inside the test.
//
// The Go tool lays this file over the original (`go test -overlay`), so every other line of the
// suites is Kubernetes' own.
//
// Invariants:
//   - Every setting of embed.Config that a test changes reaches the server as etcd's flag for it.
//   - Files are synced: the original turns that off for speed, here the shipped path runs.
//   - RunEtcd returns after a linearizable read was answered; the process is gone when the test ends.
//   - A server that dies while its test runs fails that test.
//
// Not here: more than one member.
package testserver

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
)

const (
	// binaryEnv names the program under test: etcd itself, or Bowline.
	binaryEnv = "BOWLINE_BIN"
	// startsEnv names a file that gets one line per started server, so that a run can show
	// that its tests really met the program under test.
	startsEnv = "BOWLINE_STARTS_FILE"

	// Below the kernel's range for outgoing connections and above the ports of etcd's own tests, so
	// that none of those takes a chosen one.
	portMin, portMax = 24000, 32000

	startAttempts   = 3
	startTimeout    = 60 * time.Second
	connectInterval = 2 * time.Millisecond
	logBytesMax     = 64 << 10
)

// NewTestConfig returns a configuration with free loopback ports and a fresh data directory,
// which goes away with the test.
func NewTestConfig(t testing.TB) *embed.Config {
	t.Helper()
	cfg := embed.NewConfig()
	choosePorts(t, cfg)
	cfg.Dir = filepath.Join(t.TempDir(), "data")
	return cfg
}

// RunEtcd starts the program under test with cfg (NewTestConfig's if nil) and returns a client
// connected to it, with the recorders that the suites read.
func RunEtcd(t testing.TB, cfg *embed.Config) *kubernetes.Client {
	t.Helper()
	if cfg == nil {
		cfg = NewTestConfig(t)
	}
	client := start(t, cfg)
	recorder := storagetesting.NewKubernetesRecorder(client.Kubernetes)
	client.KV = storagetesting.NewKVRecorder(client.KV, recorder)
	client.Kubernetes = recorder
	return client
}

// start starts a server, on other ports if somebody else got the chosen ones first.
func start(t testing.TB, cfg *embed.Config) *kubernetes.Client {
	t.Helper()
	for attempt := 1; ; attempt++ {
		server, err := spawn(cfg)
		if err != nil {
			t.Fatal(err)
		}
		client, err := connect(t, cfg, server)
		if err == nil {
			t.Cleanup(func() { server.stop(t) })
			return client
		}
		server.kill()
		if attempt == startAttempts || !strings.Contains(strings.ToLower(server.log.String()), "address already in use") {
			t.Fatalf("start %s: %v\n%s", server.command.Path, err, server.log.String())
		}
		choosePorts(t, cfg)
	}
}

// server is one running process; exited is closed once it has been waited for.
type server struct {
	command *exec.Cmd
	log     *tail
	exited  chan struct{}
}

func spawn(cfg *embed.Config) (*server, error) {
	path := os.Getenv(binaryEnv)
	if path == "" {
		return nil, fmt.Errorf("%s is not set: it names the server to test", binaryEnv)
	}
	args := arguments(cfg)
	if filepath.Base(path) != "etcd" {
		args = append([]string{"server"}, args...)
	}
	s := &server{command: exec.Command(path, args...), log: &tail{}, exited: make(chan struct{})}
	s.command.Env = []string{"PATH=" + os.Getenv("PATH")}
	s.command.Stdout, s.command.Stderr = s.log, s.log
	// A test binary that panics or times out runs no cleanup.
	s.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.command.Start(); err != nil {
		return nil, fmt.Errorf("start the server: %w", err)
	}
	go func() {
		_ = s.command.Wait() // how it ended is in ProcessState
		close(s.exited)
	}()
	return s, countStart(path)
}

// stop ends the server; one that has ended by itself fails the test.
func (s *server) stop(t testing.TB) {
	select {
	case <-s.exited:
		t.Errorf("the server ended by itself: %v\n%s", s.command.ProcessState, s.log.String())
	default:
	}
	s.kill()
	if t.Failed() {
		t.Logf("the server's last output:\n%s", s.log.String())
	}
}

func (s *server) kill() {
	_ = s.command.Process.Kill() // fails only if it has ended already
	<-s.exited
}

// connect waits until the server answers a linearizable read.
func connect(t testing.TB, cfg *embed.Config, s *server) (*kubernetes.Client, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := s.waitListening(ctx, cfg.ListenClientUrls[0].Host); err != nil {
		return nil, err
	}
	tlsConfig, err := cfg.ClientTLSInfo.ClientConfig()
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.New(clientv3.Config{
		TLS:         tlsConfig,
		Endpoints:   urlStrings(cfg.AdvertiseClientUrls),
		DialTimeout: 10 * time.Second,
		Logger:      zaptest.NewLogger(t, zaptest.Level(zapcore.ErrorLevel)).Named("etcd-client"),
	})
	if err != nil {
		return nil, err
	}
	if _, err := client.KV.Get(ctx, "ready"); err != nil {
		_ = client.Close()
		return nil, err
	}
	return client, nil
}

// waitListening returns when a TCP connection to address succeeds. gRPC would also retry, but
// only a second after its first refusal.
func (s *server) waitListening(ctx context.Context, address string) error {
	retry := time.NewTicker(connectInterval)
	defer retry.Stop()
	for {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			return connection.Close()
		}
		select {
		case <-s.exited:
			return fmt.Errorf("the server ended before it listened: %v", s.command.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("nothing listens on %s after %v", address, startTimeout)
		case <-retry.C:
		}
	}
}

// arguments turns cfg into etcd's command line: addresses and files always, every other flag
// when its value differs from the default.
func arguments(cfg *embed.Config) []string {
	args := []string{
		"--listen-client-urls=" + strings.Join(urlStrings(cfg.ListenClientUrls), ","),
		"--advertise-client-urls=" + strings.Join(urlStrings(cfg.AdvertiseClientUrls), ","),
		"--listen-peer-urls=" + strings.Join(urlStrings(cfg.ListenPeerUrls), ","),
		"--initial-advertise-peer-urls=" + strings.Join(urlStrings(cfg.AdvertisePeerUrls), ","),
	}
	// Binding the TLS flags empties their fields, so they are read from cfg itself, the rest
	// through a copy.
	for _, file := range []struct{ flag, path string }{
		{"cert-file", cfg.ClientTLSInfo.CertFile},
		{"key-file", cfg.ClientTLSInfo.KeyFile},
		{"trusted-ca-file", cfg.ClientTLSInfo.TrustedCAFile},
	} {
		if file.path != "" {
			args = append(args, "--"+file.flag+"="+file.path)
		}
	}
	if cfg.ClientTLSInfo.ClientCertAuth {
		args = append(args, "--client-cert-auth=true")
	}
	defaults, chosen := flagSet(*embed.NewConfig()), flagSet(*cfg)
	chosen.VisitAll(func(f *flag.Flag) {
		if value := f.Value.String(); value != defaults.Lookup(f.Name).Value.String() {
			args = append(args, "--"+f.Name+"="+value)
		}
	})
	return args
}

func flagSet(cfg embed.Config) *flag.FlagSet {
	set := flag.NewFlagSet("etcd", flag.ContinueOnError)
	cfg.AddFlags(set)
	return set
}

// choosePorts gives cfg two free ports, keeping the schemes that a test may have set.
func choosePorts(t testing.TB, cfg *embed.Config) {
	t.Helper()
	client, peer := freePort(t), freePort(t)
	cfg.ListenClientUrls = loopback(schemeOf(cfg.ListenClientUrls), client)
	cfg.AdvertiseClientUrls = loopback(schemeOf(cfg.AdvertiseClientUrls), client)
	cfg.ListenPeerUrls = loopback("http", peer)
	cfg.AdvertisePeerUrls = loopback("http", peer)
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
}

var portsTaken atomic.Int32

func freePort(t testing.TB) int {
	t.Helper()
	for range portMax - portMin {
		// Counted up, so that no two servers of this process get the same; processes begin at different places.
		port := portMin + (os.Getpid()*97+int(portsTaken.Add(1)))%(portMax-portMin)
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			_ = listener.Close()
			return port
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	}
	t.Fatalf("no free port between %d and %d", portMin, portMax)
	return 0
}

func schemeOf(urls []url.URL) string {
	if len(urls) == 0 {
		return "http"
	}
	return urls[0].Scheme
}

// loopback names the host: the certificates in the TLS suite are made out to localhost.
func loopback(scheme string, port int) []url.URL {
	return []url.URL{{Scheme: scheme, Host: net.JoinHostPort("localhost", strconv.Itoa(port))}}
}

func urlStrings(urls []url.URL) []string {
	texts := make([]string, 0, len(urls))
	for _, u := range urls {
		texts = append(texts, u.String())
	}
	return texts
}

func countStart(binary string) error {
	path := os.Getenv(startsEnv)
	if path == "" {
		return nil
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(file, binary)
	return errors.Join(err, file.Close())
}

// tail keeps the last logBytesMax bytes of a server's output.
type tail struct {
	mutex sync.Mutex
	bytes bytes.Buffer
}

func (l *tail) Write(p []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.bytes.Write(p)
	if excess := l.bytes.Len() - logBytesMax; excess > 0 {
		l.bytes.Next(excess)
	}
	return len(p), nil
}

func (l *tail) String() string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.bytes.String()
}
