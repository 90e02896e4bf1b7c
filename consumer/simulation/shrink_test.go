package simulation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"refundd/consumer/history"
)

// shrink looks for a run that is smaller and wrong in the same way: only the given
// commands, and only the given faults, which then happen more often; then without one
// of them after the other. What is left out changes everything that follows, so each
// attempt is made in several orders of things. It returns false if no smaller run was
// found.
func shrink(t *testing.T, opts options, commands, faults []string, wrong func(result) bool) (options, result, bool) {
	t.Helper()
	var last result
	attempt := func(commands, faults []string, orders int) bool {
		next := opts
		next.keep, next.only = map[int]bool{}, setOf(faults)
		for i := range opts.refunds {
			next.keep[i] = slices.Contains(commands, number(i))
		}
		for salt := range uint64(orders) {
			next.salt = salt
			if r := run(t, next); wrong(r) {
				opts, last = next, r
				return true
			}
		}
		return false
	}
	if !attempt(commands, faults, 2000) {
		return opts, last, false
	}
	less := func(all []string, attempt func(fewer []string) bool) []string {
		for i := 0; i < len(all); {
			if fewer := slices.Delete(slices.Clone(all), i, i+1); attempt(fewer) {
				all = fewer
			} else {
				i++
			}
		}
		return all
	}
	commands = less(commands, func(fewer []string) bool { return len(fewer) > 0 && attempt(fewer, faults, 200) })
	less(faults, func(fewer []string) bool { return attempt(commands, fewer, 200) })
	return opts, last, true
}

func setOf(names []string) map[string]bool {
	set := map[string]bool{}
	for _, name := range names {
		set[name] = true
	}
	return set
}

// met are the faults that happened to a refund's deliveries, or to everybody.
func met(r result, refund string) []string {
	deliveries := map[string]bool{"": true}
	for _, f := range r.facts {
		if f.Number != "" && strings.Contains(refund, f.Number) {
			deliveries[f.Delivery] = true
		}
	}
	var names []string
	for _, f := range r.facts {
		if f.What == history.Fault && deliveries[f.Delivery] && !slices.Contains(names, f.Name) {
			names = append(names, f.Name)
		}
	}
	return names
}

// story tells a wrong run to a person: a smaller one that is wrong alike, if one is
// found.
func story(t *testing.T, opts options, r result, small bool) string {
	t.Helper()
	first := verdict(r).Violations[0]
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "seed %d breaks %s; again: go test ./consumer/simulation -run 'TestSimulation$' -from=%d -seeds=1\n",
		opts.seed, first.Invariant, opts.seed)
	if small {
		alike := func(v history.Violation) bool { return v.Invariant == first.Invariant && v.Text == first.Text }
		var concerned []string
		for i := range opts.refunds {
			if slices.Contains(strings.Fields(first.Refund), number(i)) {
				concerned = append(concerned, number(i))
			}
		}
		least, smaller, found := shrink(t, opts, concerned, met(r, first.Refund), func(r result) bool {
			return slices.ContainsFunc(verdict(r).Violations, alike)
		})
		if found {
			violations := verdict(smaller).Violations
			first = violations[slices.IndexFunc(violations, alike)]
			_, _ = fmt.Fprintf(&b, "It does alike with one refund and no other faults than these: %s (in order %d).\n",
				strings.Join(slices.Sorted(maps.Keys(least.only)), ", "), least.salt)
		}
	}
	_, _ = fmt.Fprintf(&b, "%s: %s\n  fact %d, %s: %s\n", first.Invariant, first.Says, first.Fact, first.Refund, first.Text)
	for _, line := range first.Story {
		b.WriteString("    " + line + "\n")
	}
	return b.String()
}

// TestShrink: a run with many commands and faults comes down to what matters. What
// counts as wrong here is rare, and takes two faults.
func TestShrink(t *testing.T) {
	if raced {
		t.Skip("hundreds of runs: without the race detector only")
	}
	wrong := func(r result) bool {
		again, lost := false, false
		for _, f := range r.facts {
			lost = lost || f.What == history.Fault && f.Name == "answer lost" && f.Reason == "refund"
			again = again || lost && f.What == history.Fault && f.Name == "502" && f.Reason == "query"
		}
		return again
	}
	opts := options{seed: 1, refunds: refundsPerRun}
	r := run(t, opts)
	for !wrong(r) {
		opts.seed++
		r = run(t, opts)
	}
	before := []string{"502", "10003", "SYSTEM_ERROR after", "answer lost", "kill after", "query lag"}
	least, r, found := shrink(t, opts, []string{number(1), number(2), number(3)}, before, wrong)
	if !found || !wrong(r) || len(least.only) > 2 || r.refunds > 1 {
		t.Errorf("of %d kinds of faults these are left: %v, with %d refunds", len(before), slices.Sorted(maps.Keys(least.only)), r.refunds)
	}
}
