package main

import (
	"fmt"
	"sort"
)

// testCase is one named script that both servers must answer alike.
type testCase struct {
	name string
	// fresh cases get a pair of servers of their own: their revisions are
	// absolute, and they may change what belongs to the whole server.
	fresh bool
	// arguments are added to both servers' command lines, so the case is fresh.
	arguments []string
	// waits says that the script waits for the clock; such cases start first
	// so that others fill the time.
	waits  bool
	script func(*side)
}

var registry []testCase

// shared registers a script that only touches keys below its own prefix.
func shared(name string, script func(*side)) {
	registry = append(registry, testCase{name: name, script: script})
}

// fresh registers a script that needs servers of its own.
func fresh(name string, script func(*side), arguments ...string) {
	registry = append(registry, testCase{name: name, fresh: true, arguments: arguments, script: script})
}

// waiting registers a script that waits for leases or timers.
func waiting(name string, needsFresh bool, script func(*side), arguments ...string) {
	registry = append(registry, testCase{name: name, fresh: needsFresh || len(arguments) > 0, waits: true, arguments: arguments, script: script})
}

// orderedCases is every registered case plus the random ones, those that wait
// for the clock first, then those with servers of their own.
func orderedCases(seed uint64, randomRuns, randomSteps int) []testCase {
	cases := append([]testCase(nil), registry...)
	for i := range randomRuns {
		run := seed + uint64(i)
		cases = append(cases, testCase{
			name:   fmt.Sprintf("random/seed-%d", run),
			fresh:  true,
			script: func(s *side) { randomScript(s, run, randomSteps) },
		})
	}
	names := map[string]bool{}
	for _, c := range cases {
		if names[c.name] {
			panic("two cases are named " + c.name)
		}
		names[c.name] = true
	}
	rank := func(c testCase) int {
		switch {
		case c.waits:
			return 0
		case c.fresh:
			return 1
		}
		return 2
	}
	sort.SliceStable(cases, func(i, j int) bool { return rank(cases[i]) < rank(cases[j]) })
	return cases
}
