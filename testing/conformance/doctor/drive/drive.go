// Package drive talks to kubedrive, the program that puts Bowline's pure Kubernetes crates behind a pipe: one JSON
// object a line in either direction. Bytes travel as hexadecimal strings.
package drive

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
)

// Variable names the environment variable that holds the path of kubedrive.
const Variable = "KUBEDRIVE_BIN"

// Drive is one running kubedrive. Requests are answered one after another.
type Drive struct {
	command *exec.Cmd
	lock    sync.Mutex
	input   io.WriteCloser
	output  *bufio.Reader
}

// Start runs the program for the length of a test. That it ends well is part of the test.
func Start(t testing.TB) *Drive {
	t.Helper()
	program := os.Getenv(Variable)
	if program == "" {
		t.Fatalf("%s names no program; use the script `run`", Variable)
	}
	d := &Drive{command: exec.Command(program)}
	d.command.Stderr = os.Stderr
	input, err := d.command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := d.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	d.input, d.output = input, bufio.NewReader(output)
	if err := d.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.input.Close()
		if err := d.command.Wait(); err != nil {
			t.Errorf("%s: %v", program, err)
		}
	})
	return d
}

// Refusal is the error that the program answered with, as opposed to one of the pipe.
type Refusal struct{ Message string }

func (r Refusal) Error() string { return r.Message }

// Ask sends a request with the verb and the members given, and decodes the answer into result, keeping numbers as they
// are written. A refusal comes back as an error of type Refusal; anything that breaks the conversation fails the test.
func (d *Drive) Ask(t testing.TB, verb string, members map[string]any, result any) error {
	t.Helper()
	line, err := d.exchange(verb, members)
	if err != nil {
		t.Fatalf("kubedrive %s: %v", verb, err)
	}
	var answer struct {
		OK    json.RawMessage `json:"ok"`
		Error *string         `json:"error"`
	}
	if err := json.Unmarshal(line, &answer); err != nil {
		t.Fatalf("kubedrive %s: %v in %s", verb, err, line)
	}
	if answer.Error != nil {
		return Refusal{*answer.Error}
	}
	decoder := json.NewDecoder(bytes.NewReader(answer.OK))
	decoder.UseNumber()
	if err := decoder.Decode(result); err != nil {
		t.Fatalf("kubedrive %s: %v in %s", verb, err, line)
	}
	return nil
}

func (d *Drive) exchange(verb string, members map[string]any) ([]byte, error) {
	request := map[string]any{"verb": verb}
	for name, member := range members {
		request[name] = member
	}
	line, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	d.lock.Lock()
	defer d.lock.Unlock()
	if _, err := d.input.Write(append(line, '\n')); err != nil {
		return nil, err
	}
	answer, err := d.output.ReadBytes('\n')
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("it ended instead of answering %.200s", line)
	}
	return answer, err
}
