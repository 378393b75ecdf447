// Differential sends the same cases, written ones and random ones, to two
// servers and compares every answer field by field: A is the real etcd, B is
// Bowline (or etcd again, to show that the comparison itself is sound).
//
// Requests go through the generated stubs or as raw frames, not through
// etcd's client library, so that malformed ones can be sent too. Each case is
// a script that runs once per server and yields a transcript; render.go says
// what is left out of the comparison, and nothing else is.
//
// The last line is "N passed, M failed", counting cases. The exit status is 0
// only when none failed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"
)

type options struct {
	binaries    [2]string
	seed        uint64
	randomRuns  int
	randomSteps int
	workers     int
	pattern     *regexp.Regexp
	list        bool
	dump        bool
}

func main() {
	o, err := parseOptions()
	if err != nil {
		fmt.Fprintln(os.Stderr, "differential:", err)
		os.Exit(2)
	}
	if !run(context.Background(), o) {
		os.Exit(1)
	}
}

func parseOptions() (*options, error) {
	o := &options{}
	flag.StringVar(&o.binaries[0], "bin-a", os.Getenv("ETCD_BIN"), "the real etcd `program` (default $ETCD_BIN)")
	flag.StringVar(&o.binaries[1], "bin-b", os.Getenv("BOWLINE_BIN"), "the `program` to compare with it (default $BOWLINE_BIN)")
	flag.Uint64Var(&o.seed, "seed", 1, "first seed of the random cases")
	flag.IntVar(&o.randomRuns, "random", 24, "`number` of random cases, with consecutive seeds")
	flag.IntVar(&o.randomSteps, "random-steps", 400, "requests in each random case")
	flag.IntVar(&o.workers, "workers", 4, "cases run at the same time")
	pattern := flag.String("run", "", "run only the cases whose name matches this regular `expression`")
	flag.BoolVar(&o.list, "list", false, "print the names of the cases and exit")
	flag.BoolVar(&o.dump, "dump", false, "print what A answered in each case")
	flag.Parse()
	var err error
	if o.pattern, err = regexp.Compile(*pattern); err != nil {
		return nil, err
	}
	if o.list {
		return o, nil
	}
	for i, binary := range o.binaries {
		if _, err := os.Stat(binary); err != nil {
			return nil, fmt.Errorf("program %s: %w; name it with -bin-%s", sideNames[i], err, strings.ToLower(sideNames[i]))
		}
	}
	return o, nil
}

// run executes the chosen cases and reports whether all passed.
func run(ctx context.Context, o *options) bool {
	var chosen []testCase
	for _, c := range orderedCases(o.seed, o.randomRuns, o.randomSteps) {
		if o.pattern.MatchString(c.name) {
			chosen = append(chosen, c)
		}
	}
	if o.list {
		for _, c := range chosen {
			fmt.Println(c.name)
		}
		return true
	}
	began := time.Now()
	r := &report{dump: o.dump}
	queue := make(chan testCase)
	var workers sync.WaitGroup
	for range o.workers {
		w := &worker{binaries: o.binaries, report: r}
		workers.Go(func() { w.work(ctx, queue) })
	}
	for _, c := range chosen {
		queue <- c
	}
	close(queue)
	workers.Wait()
	return r.summary(time.Since(began))
}
