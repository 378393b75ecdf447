// Command with runs another command while a fresh server is up: `with COMMAND ARGUMENT…`.
// The command finds the server in ETCD_HOST and ETCD_PORT. When it sends SIGUSR1 to its parent,
// the server is killed with SIGKILL and started again on the same data; SIGUSR2 comes back once
// the server listens. Ends as the command ends.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"bowline/testing/conformance/clients/server"
)

func main() {
	code, err := with(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "with:", err)
	}
	os.Exit(code)
}

func with(args []string) (int, error) {
	if len(args) == 0 {
		return 2, errors.New("no command given")
	}
	dir, err := os.MkdirTemp("", "with-server-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	s, err := server.Start(server.Config{Dir: filepath.Join(dir, "data")})
	if err != nil {
		return 1, err
	}
	defer func() { s.Kill() }()
	host, port, err := net.SplitHostPort(s.Address())
	if err != nil {
		return 1, err
	}
	command := exec.Command(args[0], args[1:]...)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.Env = append(os.Environ(), "ETCD_HOST="+host, "ETCD_PORT="+port)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	restarts := make(chan os.Signal, 1)
	signal.Notify(restarts, syscall.SIGUSR1)
	if err := command.Start(); err != nil {
		return 1, err
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	for {
		select {
		case <-restarts:
			s.Kill()
			if err := s.Restart(); err != nil {
				_ = command.Process.Kill()
				return 1, err
			}
			if err := command.Process.Signal(syscall.SIGUSR2); err != nil {
				return 1, err
			}
		case err := <-ended:
			if err != nil {
				fmt.Fprintf(os.Stderr, "the server's last output:\n%s\n", s.Output())
			}
			return command.ProcessState.ExitCode(), nil
		}
	}
}
