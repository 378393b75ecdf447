package main

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const caseDeadline = 3 * time.Minute

// worker takes cases from the queue. It keeps one pair of servers for the
// cases that share; after a failure the pair is replaced, so that a server
// that has gone wrong spoils no later case.
type worker struct {
	binaries [2]string
	report   *report
	pair     *pair
	cases    int
}

func (w *worker) work(ctx context.Context, queue <-chan testCase) {
	defer w.dropPair()
	for c := range queue {
		began := time.Now()
		outcome := w.runCase(ctx, c)
		if outcome.failed() && c.peerMayBreakRules() {
			fmt.Printf("again %s: a difference in a random history counts if it comes twice\n%s", c.name, describe(outcome.differences))
			outcome = w.runCase(ctx, c)
		}
		outcome.took = time.Since(began)
		w.report.add(c, outcome)
	}
}

// peerMayBreakRules is true for random histories: in a few of a thousand etcd
// itself does not answer a progress request in ten tries, or breaks another rule
// of its watches, depending on time. A difference of ours comes again.
func (c testCase) peerMayBreakRules() bool {
	return strings.HasPrefix(c.name, "random/")
}

func (w *worker) dropPair() {
	if w.pair != nil {
		w.pair.stop()
		w.pair = nil
	}
}

const startFailuresMax = 5

// startPair starts servers unless that has failed too often already.
func (w *worker) startPair(ctx context.Context, arguments []string) (*pair, error) {
	if w.report.startFailures.Load() >= startFailuresMax {
		return nil, fmt.Errorf("not run: servers could not be started %d times before", startFailuresMax)
	}
	p, err := startPair(ctx, w.binaries, arguments)
	if err != nil {
		w.report.startFailures.Add(1)
	}
	return p, err
}

func (w *worker) runCase(ctx context.Context, c testCase) outcome {
	ctx, cancel := context.WithTimeout(ctx, caseDeadline)
	defer cancel()
	if c.fresh {
		p, err := w.startPair(ctx, c.arguments)
		if err != nil {
			return outcome{problem: err}
		}
		defer p.stop()
		return w.runScript(ctx, p, c)
	}
	if w.pair != nil && !w.pair.alive() {
		w.dropPair()
	}
	if w.pair == nil {
		p, err := w.startPair(ctx, nil)
		if err != nil {
			return outcome{problem: err}
		}
		w.pair = p
	}
	result := w.runScript(ctx, w.pair, c)
	if result.failed() {
		w.dropPair()
	}
	return result
}

// runScript runs the script against both servers at the same time.
func (w *worker) runScript(ctx context.Context, p *pair, c testCase) outcome {
	w.cases++
	prefix := fmt.Sprintf("case-%06d/", w.cases)
	if c.fresh {
		// Hashes cover keys, so these must not depend on what ran before.
		prefix = "case/"
	}
	var sides [2]*side
	for i, s := range p.servers {
		start, err := s.revision(ctx)
		if err != nil {
			return outcome{problem: fmt.Errorf("read the revision of %s: %w", sideNames[i], err)}
		}
		sides[i] = newSide(ctx, s, prefix, start, !c.fresh)
	}
	inParallel(func(i int) { sides[i].run(c.script) })
	result := outcome{
		differences: compareTranscripts(*sides[0].entries, *sides[1].entries),
		transcript:  *sides[0].entries,
	}
	for i, s := range p.servers {
		select {
		case <-s.exited:
			result.problem = fmt.Errorf("server %s ended during the case: %v; its last output:\n%s",
				sideNames[i], s.command.ProcessState, s.logTail())
		default:
		}
	}
	return result
}

// outcome is what became of one case.
type outcome struct {
	differences []difference
	transcript  []entry
	problem     error
	took        time.Duration
}

func (o outcome) failed() bool {
	return len(o.differences) > 0 || o.problem != nil
}

// report counts and prints, for all workers.
type report struct {
	dump bool

	// startFailures ends the run early: without servers every case fails.
	startFailures atomic.Int32

	mutex          sync.Mutex
	passed, failed int
	deviating      int
	answers        int
	groups         map[string]*[2]int
}

func (r *report) add(c testCase, o outcome) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.groups == nil {
		r.groups = map[string]*[2]int{}
	}
	name, _, _ := strings.Cut(c.name, "/")
	if r.groups[name] == nil {
		r.groups[name] = &[2]int{}
	}
	r.answers += len(o.transcript)
	if why, known := deviations[c.name]; known && o.failed() {
		r.deviating++
		fmt.Printf("deviates as decided: %s: %s\n", c.name, why)
	} else if o.failed() {
		r.failed++
		r.groups[name][1]++
		fmt.Printf("FAIL %s (%d differences, %v)\n", c.name, len(o.differences), o.took.Round(time.Millisecond))
		if o.problem != nil {
			fmt.Printf("  %v\n", o.problem)
		}
		fmt.Print(describe(o.differences))
	} else {
		r.passed++
		r.groups[name][0]++
	}
	if r.dump {
		fmt.Printf("CASE %s (%v)\n%s", c.name, o.took.Round(time.Millisecond), dump(o.transcript))
	}
}

// summary prints the totals, ending with the line that CI reads.
func (r *report) summary(took time.Duration) bool {
	var names []string
	for name := range r.groups {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Printf("%-14s %4d passed %4d failed\n", name, r.groups[name][0], r.groups[name][1])
	}
	fmt.Printf("%d answers compared in %v, %d cases deviate as decided\n", r.answers, took.Round(100*time.Millisecond), r.deviating)
	fmt.Printf("%d passed, %d failed\n", r.passed, r.failed)
	return r.failed == 0 && r.passed > 0
}
