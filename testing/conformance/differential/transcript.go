package main

import (
	"fmt"
	"strings"
)

// A transcript is what one server answered to one case, in order. The same
// script runs against both servers; then their transcripts are compared
// entry by entry, field by field.

// entry is one request and all that was observed of its answer.
type entry struct {
	request string
	leaves  []leaf
}

// difference is one field, or one whole entry, that is not the same.
type difference struct {
	entry   int
	request string
	lines   []string
}

// compareTranscripts lists what differs. It stops at the first entry whose
// requests are not the same: from there on the scripts have parted, because
// an answer steered them, and that answer is already in the list.
func compareTranscripts(a, b []entry) []difference {
	var differences []difference
	for i := range max(len(a), len(b)) {
		switch {
		case i >= len(a):
			return append(differences, difference{i, b[i].request, []string{"only B came this far"}})
		case i >= len(b):
			return append(differences, difference{i, a[i].request, []string{"only A came this far"}})
		case a[i].request != b[i].request:
			return append(differences, difference{i, a[i].request, []string{"B went on with " + b[i].request}})
		}
		if lines := compareLeaves(a[i].leaves, b[i].leaves); len(lines) > 0 {
			differences = append(differences, difference{i, a[i].request, lines})
		}
	}
	return differences
}

func compareLeaves(a, b []leaf) []string {
	if refusalA, refusalB := refusal(a), refusal(b); (refusalA == "") != (refusalB == "") {
		return []string{fmt.Sprintf("A %s, B %s", orAnswered(refusalA), orAnswered(refusalB))}
	}
	var lines []string
	other := make(map[string]leaf, len(b))
	for _, l := range b {
		other[l.path] = l
	}
	for _, l := range a {
		m, found := other[l.path]
		delete(other, l.path)
		switch {
		case !found:
			lines = append(lines, fmt.Sprintf("%s: A=%s B=<absent>", l.path, l.text))
		case !sameLeaf(l, m):
			lines = append(lines, fmt.Sprintf("%s: A=%s B=%s", l.path, l.text, m.text))
		}
	}
	for _, l := range b {
		if _, left := other[l.path]; left {
			lines = append(lines, fmt.Sprintf("%s: A=<absent> B=%s", l.path, l.text))
		}
	}
	return lines
}

// refusal is the status in the leaves of a failed call, "" if it succeeded.
func refusal(leaves []leaf) string {
	var parts []string
	for _, l := range leaves {
		if strings.HasPrefix(l.path, "error.") {
			parts = append(parts, l.text)
		}
	}
	return strings.Join(parts, ": ")
}

func orAnswered(refusal string) string {
	if refusal == "" {
		return "succeeded"
	}
	return "refused with " + refusal
}

func sameLeaf(a, b leaf) bool {
	if a.approximate && b.approximate {
		distance := a.number - b.number
		return max(distance, -distance) <= max(a.tolerance, b.tolerance)
	}
	return a.text == b.text
}

const (
	shownDifferencesMax = 6
	shownLinesMax       = 12
)

// describe prints the first differences of a case; more of them are usually
// echoes of the first.
func describe(differences []difference) string {
	var out strings.Builder
	for i, d := range differences {
		if i == shownDifferencesMax {
			fmt.Fprintf(&out, "  and %d more\n", len(differences)-i)
			break
		}
		fmt.Fprintf(&out, "  step %d: %s\n", d.entry+1, shorten(d.request))
		for j, line := range d.lines {
			if j == shownLinesMax {
				fmt.Fprintf(&out, "    and %d more fields\n", len(d.lines)-j)
				break
			}
			fmt.Fprintf(&out, "    %s\n", shorten(line))
		}
	}
	return out.String()
}

// dump prints a whole transcript.
func dump(entries []entry) string {
	var out strings.Builder
	for i, e := range entries {
		fmt.Fprintf(&out, "  step %d: %s\n", i+1, shorten(e.request))
		for _, l := range e.leaves {
			fmt.Fprintf(&out, "    %s: %s\n", l.path, shorten(l.text))
		}
	}
	return out.String()
}

const shownTextMax = 600

func shorten(text string) string {
	if len(text) <= shownTextMax {
		return text
	}
	return fmt.Sprintf("%s… (%d bytes)", text[:shownTextMax], len(text))
}
