package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	startDeadline = 30 * time.Second
	stopDeadline  = 10 * time.Second
	startAttempts = 3
)

// server is one running process under test and a connection to it.
type server struct {
	binary    string
	dir       string
	clientURL string
	peerURL   string
	line      []string
	command   *exec.Cmd
	exited    chan struct{}
	conn      *grpc.ClientConn

	// Identity as the server itself states it, so that answers can be checked
	// to name this server without comparing the numbers with the other one's.
	clusterID uint64
	memberID  uint64
}

// startServer runs binary with etcd's command line on free ports of the
// loopback interface and waits until it answers.
func startServer(ctx context.Context, binary string, arguments []string) (*server, error) {
	var err error
	// A port found free can be taken before the server binds it; then the
	// process exits at once and another pair of ports is tried.
	for range startAttempts {
		var s *server
		if s, err = startServerOnce(ctx, binary, arguments); err == nil {
			return s, nil
		}
	}
	return nil, err
}

func startServerOnce(ctx context.Context, binary string, arguments []string) (*server, error) {
	dir, err := os.MkdirTemp("", "differential-")
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	s := &server{
		binary:    binary,
		dir:       dir,
		clientURL: fmt.Sprintf("http://127.0.0.1:%d", ports[0]),
		peerURL:   fmt.Sprintf("http://127.0.0.1:%d", ports[1]),
	}
	s.line = append([]string{
		"--name", memberName,
		"--data-dir", filepath.Join(dir, "data"),
		"--listen-client-urls", s.clientURL,
		"--advertise-client-urls", s.clientURL,
		"--listen-peer-urls", s.peerURL,
		"--initial-advertise-peer-urls", s.peerURL,
		"--initial-cluster", memberName + "=" + s.peerURL,
	}, arguments...)
	if filepath.Base(binary) != "etcd" {
		s.line = append([]string{"server"}, s.line...)
	}
	s.conn, err = grpc.NewClient(strings.TrimPrefix(s.clientURL, "http://"),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1, MaxDelay: 20 * time.Millisecond},
			MinConnectTimeout: time.Second,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(messageBytesMax), grpc.MaxCallSendMsgSize(messageBytesMax)))
	if err != nil {
		return nil, err
	}
	if err := s.launch(ctx); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return s, nil
}

// launch starts the process on the server's directory, new or used before.
func (s *server) launch(ctx context.Context) error {
	output, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer output.Close()
	s.command = exec.Command(s.binary, s.line...)
	s.command.Stdout, s.command.Stderr = output, output
	if err := startBound(s.command); err != nil {
		return fmt.Errorf("start %s: %w", s.binary, err)
	}
	command, exited := s.command, make(chan struct{})
	s.exited = exited
	go func() {
		_ = command.Wait()
		close(exited)
	}()
	if err := s.waitReady(ctx); err != nil {
		s.terminate()
		return fmt.Errorf("%s %s: %w; its last output:\n%s", s.binary, strings.Join(s.line, " "), err, s.logTail())
	}
	return nil
}

// startBound starts a process that the kernel kills when this one ends in
// whatever way. The kernel ties that to the thread that started it, so all
// are started by one thread that lives as long as the program.
func startBound(command *exec.Cmd) error {
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	result := make(chan error)
	starts <- func() { result <- command.Start() }
	return <-result
}

var starts = make(chan func())

func init() {
	go func() {
		runtime.LockOSThread()
		for start := range starts {
			start()
		}
	}()
}

// restart ends the process as told and starts it again on the same data.
func (s *server) restart(ctx context.Context, signal syscall.Signal) error {
	_ = s.command.Process.Signal(signal)
	s.terminate()
	return s.launch(ctx)
}

const (
	memberName      = "alpha"
	messageBytesMax = 1 << 30
)

// waitReady waits until a linearizable read succeeds and /health answers, then learns
// the server's own ids.
func (s *server) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	for {
		err := s.probe(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-s.exited:
			return fmt.Errorf("the process exited before it was ready: %v", s.command.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("not ready in %v: %w", startDeadline, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *server) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	// Any answer will do: with an alarm up a serving member is not healthy.
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.clientURL+"/health", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	response.Body.Close()
	answer, err := pb.NewKVClient(s.conn).Range(ctx, &pb.RangeRequest{Key: []byte("\x00")}, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	members, err := pb.NewClusterClient(s.conn).MemberList(ctx, &pb.MemberListRequest{})
	if err != nil {
		return err
	}
	if len(members.Members) != 1 || !slices.Contains(members.Members[0].PeerURLs, s.peerURL) {
		return fmt.Errorf("another server answers on %s", s.clientURL)
	}
	s.clusterID, s.memberID = answer.Header.ClusterId, answer.Header.MemberId
	return nil
}

// revision is the current revision of the store.
func (s *server) revision(ctx context.Context) (int64, error) {
	answer, err := pb.NewKVClient(s.conn).Range(ctx, &pb.RangeRequest{Key: []byte("\x00")})
	if err != nil {
		return 0, err
	}
	return answer.Header.Revision, nil
}

// stop ends the process and removes its directory.
func (s *server) stop() {
	s.conn.Close()
	s.terminate()
	os.RemoveAll(s.dir)
}

// terminate asks the process to stop and kills it when it does not.
func (s *server) terminate() {
	_ = s.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(stopDeadline):
		_ = s.command.Process.Kill()
		<-s.exited
	}
}

func (s *server) logTail() string {
	text, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}

// Ports are taken from below the range that the kernel gives to outgoing
// connections, and none is handed out twice by one process: a port that was
// found free must still be so when the server binds it.
const (
	portMin = 12_000
	portMax = 30_000
)

var portsTaken atomic.Uint32

// freePorts finds n ports that nobody listens on.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range portMax - portMin {
		// Processes start at different places, so that they seldom meet.
		port := portMin + (os.Getpid()*97+int(portsTaken.Add(1)))%(portMax-portMin)
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		listener.Close()
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("find %d free ports between %d and %d: none left", n, portMin, portMax)
}

// pair is one server of each implementation, holding the same history.
type pair struct {
	servers [2]*server
}

func startPair(ctx context.Context, binaries [2]string, arguments []string) (*pair, error) {
	p := &pair{}
	var failures [2]error
	inParallel(func(i int) {
		p.servers[i], failures[i] = startServer(ctx, binaries[i], arguments)
	})
	for i, err := range failures {
		if err != nil {
			p.stop()
			return nil, fmt.Errorf("start server %s: %w", sideNames[i], err)
		}
	}
	return p, nil
}

func (p *pair) stop() {
	inParallel(func(i int) {
		if p.servers[i] != nil {
			p.servers[i].stop()
		}
	})
}

// alive reports whether both processes still run.
func (p *pair) alive() bool {
	for _, s := range p.servers {
		select {
		case <-s.exited:
			return false
		default:
		}
	}
	return true
}

// inParallel runs work once per side and waits for both.
func inParallel(work func(side int)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		work(1)
	}()
	work(0)
	<-done
}
