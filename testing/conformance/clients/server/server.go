// Package server runs the program under test, named by BOWLINE_BIN, as a process of its own:
// etcd, or Bowline's sub-command `server`, both with etcd's flags.
//
// Invariants:
//   - Ports are free loopback ports, the data directory is the caller's and outlives the process.
//   - Start returns when the server accepts connections; it never waits for a fixed time.
//   - The process does not outlive the one that started it.
//
// Not here: more than one member; when the server answers is for its client to see.
package server

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// BinaryEnv names the program under test.
	BinaryEnv = "BOWLINE_BIN"

	// Below the kernel's range for outgoing connections and above the ports of etcd's own tests, so
	// that none of those takes a chosen one.
	portMin, portMax = 24000, 32000

	startAttempts   = 3
	startTimeout    = 30 * time.Second
	stopTimeout     = 30 * time.Second
	connectInterval = 2 * time.Millisecond
	outputBytesMax  = 256 << 10
)

// Config says how to start a server. The zero value, but for Dir, is a plain one.
type Config struct {
	// Program replaces the program that BinaryEnv names.
	Program string
	// Dir is the data directory; it is made when missing.
	Dir string
	// TLS makes the client URL an https one; the files are named in Args.
	TLS bool
	// Args are etcd flags that come after those for addresses and directory.
	Args []string
}

// Server is one member whose process can be killed and started again on the same data and ports.
type Server struct {
	config     Config
	program    string
	clientPort int
	peerPort   int
	process    *process
}

// Start starts a server and waits until it listens.
func Start(config Config) (*Server, error) {
	program := config.Program
	if program == "" {
		program = os.Getenv(BinaryEnv)
	}
	if program == "" {
		return nil, fmt.Errorf("%s is not set: it names the server to test", BinaryEnv)
	}
	s := &Server{config: config, program: program}
	for attempt := 1; ; attempt++ {
		if err := s.choosePorts(); err != nil {
			return nil, err
		}
		err := s.Restart()
		if err == nil {
			return s, nil
		}
		if attempt == startAttempts || !strings.Contains(strings.ToLower(err.Error()), "address already in use") {
			return nil, err
		}
	}
}

// Address is the host and port for clients.
func (s *Server) Address() string { return address(s.clientPort) }

// Endpoint is the client URL.
func (s *Server) Endpoint() string {
	if s.config.TLS {
		return "https://" + s.Address()
	}
	return "http://" + s.Address()
}

// PeerURL is the URL for other members.
func (s *Server) PeerURL() string { return "http://" + address(s.peerPort) }

// Output is the end of what the running or last process printed.
func (s *Server) Output() string { return s.process.output.String() }

// Exited is closed once the process has ended.
func (s *Server) Exited() <-chan struct{} { return s.process.exited }

// Restart starts the process after Kill or Stop and waits until it listens.
func (s *Server) Restart() error {
	process, err := spawn(s.program, s.arguments())
	if err != nil {
		return err
	}
	s.process = process
	if err := process.waitListening(s.Address()); err != nil {
		process.kill()
		return fmt.Errorf("start %s: %w\n%s", s.program, err, process.output.String())
	}
	return nil
}

// Kill ends the process with SIGKILL.
func (s *Server) Kill() { s.process.kill() }

// Stop ends the process with SIGTERM and waits for it.
func (s *Server) Stop() error {
	if err := s.process.command.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-s.process.exited:
		return nil
	case <-time.After(stopTimeout):
		return fmt.Errorf("still running %v after SIGTERM\n%s", stopTimeout, s.Output())
	}
}

func (s *Server) arguments() []string {
	args := []string{
		"--name=default",
		"--data-dir=" + s.config.Dir,
		"--listen-client-urls=" + s.Endpoint(),
		"--advertise-client-urls=" + s.Endpoint(),
		"--listen-peer-urls=" + s.PeerURL(),
		"--initial-advertise-peer-urls=" + s.PeerURL(),
		"--initial-cluster=default=" + s.PeerURL(),
	}
	if filepath.Base(s.program) != "etcd" {
		args = append([]string{"server"}, args...)
	}
	return append(args, s.config.Args...)
}

func (s *Server) choosePorts() error {
	var err error
	if s.clientPort, err = FreePort(); err != nil {
		return err
	}
	s.peerPort, err = FreePort()
	return err
}

var portsTaken atomic.Int32

// FreePort is a loopback port on which nobody listened a moment ago.
func FreePort() (int, error) {
	for range portMax - portMin {
		// Counted up, so that no two servers of this process get the same; processes begin at different places.
		port := portMin + (os.Getpid()*97+int(portsTaken.Add(1)))%(portMax-portMin)
		listener, err := net.Listen("tcp", address(port))
		if err == nil {
			return port, listener.Close()
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return 0, err
		}
	}
	return 0, fmt.Errorf("no free port between %d and %d", portMin, portMax)
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// process is one run of the program; exited is closed once it has been waited for.
type process struct {
	command *exec.Cmd
	output  *tail
	exited  chan struct{}
}

func spawn(program string, args []string) (*process, error) {
	p := &process{command: exec.Command(program, args...), output: &tail{}, exited: make(chan struct{})}
	p.command.Env = []string{"PATH=" + os.Getenv("PATH")}
	p.command.Stdout, p.command.Stderr = p.output, p.output
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	go func() {
		_ = p.command.Wait() // how it ended is in ProcessState
		close(p.exited)
	}()
	return p, nil
}

func (p *process) kill() {
	_ = p.command.Process.Kill() // fails only if it has ended already
	<-p.exited
}

func (p *process) waitListening(address string) error {
	retry := time.NewTicker(connectInterval)
	defer retry.Stop()
	deadline := time.After(startTimeout)
	for {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			return connection.Close()
		}
		select {
		case <-p.exited:
			return fmt.Errorf("it ended before it listened: %v", p.command.ProcessState)
		case <-deadline:
			return fmt.Errorf("nothing listens on %s after %v", address, startTimeout)
		case <-retry.C:
		}
	}
}

// tail keeps the last outputBytesMax bytes written to it.
type tail struct {
	mutex sync.Mutex
	bytes bytes.Buffer
}

func (t *tail) Write(p []byte) (int, error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.bytes.Write(p)
	if excess := t.bytes.Len() - outputBytesMax; excess > 0 {
		t.bytes.Next(excess)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return t.bytes.String()
}
