// Package etcdctl_test runs stock etcdctl against etcd itself and against the program under
// test, the same command lines in the same order, and compares what each prints and how it ends.
//
// Invariants:
//   - Both servers advertise the same peer URL, so cluster and member ids are the same and are
//     compared as they are. Revisions and terms are compared too.
//   - What may differ is replaced before the comparison and nothing else: the address, lease ids,
//     how long something took or will live, sizes, the raft index, the patch release, and
//     etcdctl's own log lines.
//
// Not here: commands whose calls the server does not have yet (auth, user, role, member changes,
// move-leader, downgrade, snapshot).
package etcdctl_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"bowline/testing/conformance/clients/server"
)

const (
	// peersEnv names the directory with the real etcd and etcdctl.
	peersEnv = "ETCD_PEERS"

	patience = 60 * time.Second
	// linesAll lets a command run until it ends by itself.
	linesAll = 0
)

// step is one command line for both servers.
type step struct {
	// args is split at spaces; `'…'` keeps spaces, $EP is the endpoint.
	args  string
	stdin string
	// lines, if not linesAll, is how many lines to wait for before SIGINT: for commands that go on forever.
	lines int
	// lease, if set, makes no command but a lease with this id and a TTL of 1000 s.
	lease int64
}

func run(args ...string) []step {
	steps := []step{}
	for _, a := range args {
		steps = append(steps, step{args: a})
	}
	return steps
}

// inFormats repeats every command for every output format, with and without --hex.
func inFormats(args ...string) []step {
	steps := []step{}
	for _, a := range args {
		for _, format := range []string{"simple", "fields", "json", "protobuf", "table"} {
			steps = append(steps, step{args: a + " -w " + format}, step{args: a + " --hex -w " + format})
		}
	}
	return steps
}

// compare runs steps on a fresh etcd and a fresh program under test.
func compare(t *testing.T, steps ...[]step) {
	t.Helper()
	t.Parallel()
	want, got := newSubject(t, peer("etcd")), newSubject(t, os.Getenv(server.BinaryEnv))
	for i, s := range slices.Concat(steps...) {
		if s.lease != 0 {
			want.grant(t, s.lease)
			got.grant(t, s.lease)
			continue
		}
		t.Run(fmt.Sprintf("%02d %s", i+1, s.args), func(t *testing.T) {
			require.Equal(t, want.run(t, s), got.run(t, s))
		})
	}
}

func peer(program string) string { return filepath.Join(os.Getenv(peersEnv), program) }

// subject is one of the two servers.
type subject struct {
	server *server.Server
	client *clientv3.Client
	leases map[clientv3.LeaseID]string
}

func newSubject(t *testing.T, program string) *subject {
	t.Helper()
	s, err := server.Start(server.Config{
		Program: program,
		Dir:     filepath.Join(t.TempDir(), "data"),
		Args: []string{
			"--initial-advertise-peer-urls=http://127.0.0.1:2380",
			"--initial-cluster=default=http://127.0.0.1:2380",
		},
	})
	require.NoError(t, err)
	t.Cleanup(s.Kill)
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{s.Endpoint()}, DialTimeout: patience, Logger: zap.NewNop()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err = client.Get(ctx, "ready")
	require.NoError(t, err)
	return &subject{server: s, client: client, leases: map[clientv3.LeaseID]string{}}
}

func (s *subject) grant(t *testing.T, id int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := pb.NewLeaseClient(s.client.ActiveConnection()).LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: id, TTL: 1000})
	require.NoError(t, err)
	s.leases[clientv3.LeaseID(id)] = "" // the same on both: compared as it is
}

// run runs one command to its end and returns all that a user sees of it, comparable.
func (s *subject) run(t *testing.T, step step) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	command := s.command(ctx, step.args)
	output, errorOutput := bytes.Buffer{}, bytes.Buffer{}
	command.Stderr = &errorOutput
	var err error
	if step.lines == linesAll {
		command.Stdin, command.Stdout = strings.NewReader(step.stdin), &output
		err = command.Run()
	} else {
		err = runForLines(command, step.stdin, step.lines, &output)
	}
	require.NoError(t, ctx.Err(), "%s\n%s%s", step.args, output.String(), errorOutput.String())
	exit := 0
	var status *exec.ExitError
	switch {
	case errors.As(err, &status):
		exit = status.ExitCode()
	case err != nil:
		require.NoError(t, err)
	}
	s.learnLeases(t)
	return fmt.Sprintf("exit %d\n--- stdout\n%s--- stderr\n%s", exit,
		s.comparable(step.args, output.String()), s.comparable(step.args, withoutLogs(errorOutput.String())))
}

func (s *subject) command(ctx context.Context, args string) *exec.Cmd {
	fields := []string{}
	for _, field := range split(args) {
		fields = append(fields, strings.ReplaceAll(field, "$EP", s.server.Endpoint()))
	}
	command := exec.CommandContext(ctx, peer("etcdctl"), fields...)
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "ETCDCTL_ENDPOINTS=" + s.server.Endpoint()}
	return command
}

// runForLines interrupts the command once it has printed so many lines. Its input stays open.
func runForLines(command *exec.Cmd, stdin string, lines int, output *bytes.Buffer) error {
	input, err := command.StdinPipe()
	if err != nil {
		return err
	}
	pipe, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	if _, err := io.WriteString(input, stdin); err != nil {
		return err
	}
	reader := bufio.NewScanner(pipe)
	for seen := 1; reader.Scan(); seen++ {
		output.WriteString(reader.Text() + "\n")
		if seen == lines {
			if err := command.Process.Signal(syscall.SIGINT); err != nil {
				return err
			}
		}
	}
	return errors.Join(reader.Err(), command.Wait())
}

// learnLeases gives the leases of this server names, in the order in which they were seen.
func (s *subject) learnLeases(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	list, err := s.client.Leases(ctx)
	require.NoError(t, err)
	for _, lease := range list.Leases {
		if _, known := s.leases[lease.ID]; !known {
			s.leases[lease.ID] = fmt.Sprintf("<lease %d>", len(s.leases))
		}
	}
}

// rules replace what may differ; where is a prefix of the command lines they apply to.
var rules = []struct {
	where   string
	pattern *regexp.Regexp
	with    string
}{
	{"", regexp.MustCompile(`\b3\.7\.\d+\b`), "3.7.x"},
	{"", regexp.MustCompile(`took:? ?=? ?[0-9.]+[mµn]?s`), "took <time>"},
	{"", regexp.MustCompile(`\b0xc?[0-9a-f]{6,}\b`), "<pointer>"},
	{"", regexp.MustCompile(`remaining\(\d+s\)`), "remaining(<time>)"},
	{"lease timetolive", regexp.MustCompile(`("ttl":|"TTL" : )\d+`), "$1<time>"},
	{"endpoint health", regexp.MustCompile(`("took":"|"Took" : )[0-9.]+[mµn]?s`), "$1<time>"},
	{"endpoint health -w table", regexp.MustCompile(`[0-9.]+[mµn]?s`), "<time>"},
	{"endpoint health --hex -w table", regexp.MustCompile(`[0-9.]+[mµn]?s`), "<time>"},
	{"endpoint status", regexp.MustCompile(`("dbSize":|"dbSizeInUse":|"raftIndex":|"raftAppliedIndex":)\d+`), "$1<n>"},
	{"endpoint status", regexp.MustCompile(`("DBSize" : |"DBSizeInUse" : |"RaftIndex" : |"RaftAppliedIndex" : )\d+`), "$1<n>"},
	{"endpoint status", regexp.MustCompile(`\d+(\.\d+)? [kM]?B(,? \W? *)\d+(\.\d+)? [kM]?B(,? \W? *)\d+%`), "<size>$2<size>$4<percent>"},
	{"endpoint status", regexp.MustCompile(`((?:true|false),? \W? *(?:true|false),? \W? *\d+,? \W? *)\d+(,? \W? *)\d+`), "$1<index>$2<index>"},
	{"lock", regexp.MustCompile(`(lock-\w+)/[0-9a-f]+`), "$1/<lease>"},
	{"elect", regexp.MustCompile(`(elect-\w+)/[0-9a-f]+`), "$1/<lease>"},
	{"lock", regexp.MustCompile(`"key":"[^"]*"`), `"key":"<key>"`},
	{"lock", regexp.MustCompile(`"lease":\d+`), `"lease":<lease>`},
	{"elect", regexp.MustCompile(`"key":"[^"]*"`), `"key":"<key>"`},
	{"elect", regexp.MustCompile(`"lease":\d+`), `"lease":<lease>`},
	{"check datascale", regexp.MustCompile(`\d+ / \d+ \[.*`), "<progress>"},
	{"check datascale", regexp.MustCompile(`\d+\.\d+ MB`), "<size>"},
}

// Widths of tables follow what is in them.
var (
	tableRule    = regexp.MustCompile(`[─]+`)
	tablePadding = regexp.MustCompile(` +`)
)

func (s *subject) comparable(args, text string) string {
	text = strings.ReplaceAll(text, s.server.Address(), "<address>")
	for id, name := range s.leases {
		if name == "" {
			continue
		}
		text = strings.ReplaceAll(text, fmt.Sprintf("%016x", int64(id)), name)
		text = strings.ReplaceAll(text, fmt.Sprintf("%x", int64(id)), name)
		text = strings.ReplaceAll(text, fmt.Sprintf("%d", int64(id)), name)
	}
	for _, rule := range rules {
		if strings.HasPrefix(args, rule.where) {
			text = rule.pattern.ReplaceAllString(text, rule.with)
		}
	}
	if strings.Contains(text, "─") {
		text = tablePadding.ReplaceAllString(tableRule.ReplaceAllString(text, "─"), " ")
	}
	return text
}

func withoutLogs(text string) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, `{"level":`) }), "")
}

// split cuts a command line at spaces, except between single quotes.
func split(line string) []string {
	fields, current, quoted, open := []string{}, strings.Builder{}, false, false
	for _, char := range line {
		switch {
		case char == '\'':
			quoted, open = !quoted, true
		case char == ' ' && !quoted:
			if open {
				fields = append(fields, current.String())
			}
			current.Reset()
			open = false
		default:
			current.WriteRune(char)
			open = true
		}
	}
	if open {
		fields = append(fields, current.String())
	}
	return fields
}
