package simulation

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"refundd/consumer/history"
)

// elsewhere are the invariants that no run of this package can show, and who does.
func elsewhere() map[string]string {
	return map[string]string{
		"I12": "notifications come in over HTTP: the tests of notifyhttp and the chaos run; here they only nudge",
		"I18": "there are no secrets here: the tests of cmd/refundd and of alipay plant canaries",
		"I19": "a single run cannot show it: TestSameSeedSameHistory",
	}
}

// verdict is what the checker says of a run, with what it cannot see.
func verdict(r result) history.Report {
	report := history.Check(r.facts, history.Options{})
	for _, panicked := range r.panics {
		report.Violations = append(report.Violations, history.Violation{
			Invariant: "panic", Says: "the service does not panic", Text: panicked,
		})
	}
	return report
}

// tally sums runs up.
type tally struct {
	runs, refunds, acts int
	hours               float64
	ends                map[string]int
	held                map[string]int
	met, states         map[string]map[string]int
}

func newTally() *tally {
	return &tally{ends: map[string]int{}, held: map[string]int{}, met: map[string]map[string]int{}, states: map[string]map[string]int{}}
}

func (t *tally) add(r result, report history.Report) {
	t.runs++
	t.refunds += r.refunds
	t.acts += r.acts
	t.hours += r.virtual.Hours()
	for outcome, n := range r.ends {
		t.ends[outcome] += n
	}
	for _, name := range report.Held {
		t.held[name]++
	}
	addTo(t.met, r.met)
	addTo(t.states, r.states)
}

func addTo(to, from map[string]map[string]int) {
	for name, row := range from {
		if to[name] == nil {
			to[name] = map[string]int{}
		}
		for on, n := range row {
			to[name][on] += n
		}
	}
}

// states of a record, as columns of the coverage.
func states() []string {
	return []string{"none", "held", "lapsed", "released", "parked", "succeeded", "failed", "contradiction"}
}

// coverage is how often each fault met a command in each state of its record, and
// what it met.
func (t *tally) coverage() string {
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "%-34s", "fault, by the record's state")
	for _, s := range states() {
		_, _ = fmt.Fprintf(&b, "%14s", s)
	}
	for _, name := range slices.Sorted(maps.Keys(t.met)) {
		_, _ = fmt.Fprintf(&b, "\n%-34s", name)
		for _, s := range states() {
			if n := t.states[name][s]; n > 0 {
				_, _ = fmt.Fprintf(&b, "%14d", n)
			} else {
				_, _ = fmt.Fprintf(&b, "%14s", ".")
			}
		}
	}
	b.WriteString("\n\nfault: what it met\n")
	for _, name := range slices.Sorted(maps.Keys(t.met)) {
		var met []string
		for _, on := range slices.Sorted(maps.Keys(t.met[name])) {
			met = append(met, fmt.Sprintf("%s %d", on, t.met[name][on]))
		}
		_, _ = fmt.Fprintf(&b, "%s: %s\n", name, strings.Join(met, ", "))
	}
	return b.String()
}
