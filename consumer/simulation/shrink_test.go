package simulation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"refundd/consumer/history"
)

// shrinking tries to find a run that is smaller and wrong in the same way: fewer
// commands, fewer kinds of faults. Leaving something out changes what happens
// afterwards, so each attempt is made in several orders of things.
type shrinking struct {
	t      *testing.T
	opts   options
	wrong  func(result) bool
	orders int // for each attempt
	runs   int
	most   int
}

// shrink returns the smallest run that it finds, and its result.
func shrink(t *testing.T, opts options, wrong func(result) bool) (options, result) {
	t.Helper()
	s := &shrinking{t: t, opts: opts, wrong: wrong, orders: 12, most: 3000}
	last := run(t, opts)
	all := opts.keep
	if all == nil {
		all = map[int]bool{}
		for i := range opts.refunds {
			all[i] = true
		}
	}
	keep := slices.Sorted(maps.Keys(all))
	for size := max(1, len(keep)/2); len(keep) > 1; size = max(1, size/2) {
		smaller := false
		for i := 0; i < len(keep) && len(keep) > 1; {
			fewer := slices.Delete(slices.Clone(keep), i, min(i+size, len(keep)))
			next := s.opts
			next.keep = setOf(fewer)
			if r, ok := s.try(next); len(fewer) > 0 && ok {
				keep, last, smaller = fewer, r, true
				continue
			}
			i += size
		}
		if size == 1 && !smaller {
			break
		}
	}
	for smaller := true; smaller; {
		smaller = false
		for _, name := range slices.Sorted(maps.Keys(last.met)) {
			if s.opts.off[name] {
				continue
			}
			next := s.opts
			next.off = maps.Clone(next.off)
			if next.off == nil {
				next.off = map[string]bool{}
			}
			next.off[name] = true
			if r, ok := s.try(next); ok {
				last, smaller = r, true
			}
		}
	}
	return s.opts, last
}

func setOf(numbers []int) map[int]bool {
	set := map[int]bool{}
	for _, n := range numbers {
		set[n] = true
	}
	return set
}

// try looks for an order in which a smaller run is wrong as well, and takes it.
func (s *shrinking) try(next options) (result, bool) {
	for salt := range uint64(s.orders) {
		if s.runs++; s.runs > s.most {
			break
		}
		next.salt = salt
		if r := run(s.t, next); s.wrong(r) {
			s.opts = next
			return r, true
		}
	}
	return result{}, false
}

// story tells a wrong run to a person: the smallest one that is wrong alike.
func story(t *testing.T, opts options, report history.Report, small bool) string {
	t.Helper()
	first := report.Violations[0]
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "seed %d breaks %s, as does: go test ./consumer/simulation -run 'TestSimulation$' -from=%d -seeds=1\n",
		opts.seed, first.Invariant, opts.seed)
	if small {
		least, r := shrink(t, opts, func(r result) bool {
			return slices.ContainsFunc(verdict(r).Violations, func(v history.Violation) bool { return v.Invariant == first.Invariant })
		})
		_, _ = fmt.Fprintf(&b, "The smallest run that breaks it alike has %d refunds and these faults: %s.\n",
			r.refunds, strings.Join(slices.Sorted(maps.Keys(r.met)), ", "))
		for _, v := range verdict(r).Violations {
			if v.Invariant == first.Invariant {
				first = v
				break
			}
		}
		_, _ = fmt.Fprintf(&b, "(order %d of commands %v)\n", least.salt, slices.Sorted(maps.Keys(least.keep)))
	}
	_, _ = fmt.Fprintf(&b, "%s: %s\n  fact %d, %s: %s\n", first.Invariant, first.Says, first.Fact, first.Refund, first.Text)
	for _, line := range first.Story {
		b.WriteString("    " + line + "\n")
	}
	return b.String()
}

// TestShrink: a run with many commands and faults comes down to what matters. What
// counts as wrong here is only rare.
func TestShrink(t *testing.T) {
	if raced {
		t.Skip("hundreds of runs: without the race detector only")
	}
	wrong := func(r result) bool {
		return slices.ContainsFunc(r.facts, func(f history.Fact) bool {
			return f.What == history.Settle && f.Outcome == history.Succeeded && f.Result == history.Settled
		}) && len(r.met["answer lost"]) > 0
	}
	opts := options{seed: 1, refunds: refundsPerRun}
	for !wrong(run(t, opts)) {
		opts.seed++
	}
	least, r := shrink(t, opts, wrong)
	if !wrong(r) || len(least.keep) != 1 || len(r.met) > 6 {
		t.Errorf("%d commands and %d kinds of faults are left: %v", len(least.keep), len(r.met), r.met)
	}
}
