package simulation

import (
	"cmp"
	"flag"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"refundd/consumer/history"
)

//nolint:gochecknoglobals // flags of the test binary
var (
	seeds  = flag.Int("seeds", 0, "how many `runs` TestSimulation makes; 0: some hundreds, fewer with the race detector")
	from   = flag.Uint64("from", 1, "the first run's `seed`")
	small  = flag.Bool("shrink", true, "look for the smallest run that is wrong alike")
	covers = flag.Bool("coverage", false, "tell which fault met what")
)

// refundsPerRun is how many refunds one run commands.
const refundsPerRun = 12

// enough runs reach every fault.
const enough = 300

// TestSimulation makes one run for each seed and holds it to every invariant.
func TestSimulation(t *testing.T) {
	runs := cmp.Or(*seeds, map[bool]int{false: enough, true: 10}[raced])
	var mu sync.Mutex // guards all below
	sum, next, failed := newTally(), 0, false
	begin := time.Now()
	t.Run("runs", func(t *testing.T) {
		for worker := range runtime.GOMAXPROCS(0) {
			t.Run(fmt.Sprint(worker), func(t *testing.T) {
				t.Parallel()
				for {
					mu.Lock()
					opts := options{seed: *from + uint64(next), refunds: refundsPerRun}
					done := next >= runs || failed
					next++
					mu.Unlock()
					if done {
						return
					}
					r := run(t, opts)
					report := verdict(r)
					mu.Lock()
					sum.add(r, report)
					first := !report.Clean() && !failed
					failed = failed || first
					mu.Unlock()
					if first {
						t.Error(story(t, opts, r, *small))
					}
				}
			})
		}
	})
	took := time.Since(begin)
	t.Logf("%d runs of %d refunds in %.1f s (%.0f runs/s, %.0f refunds/s), %d outside acts, %.0f hours of virtual time; events: %v",
		sum.runs, sum.refunds, took.Seconds(), float64(sum.runs)/took.Seconds(), float64(sum.refunds)/took.Seconds(), sum.acts, sum.hours, sum.ends)
	if *covers {
		t.Log("\n" + sum.coverage())
	}
	if sum.runs >= enough && !failed {
		reaches(t, sum)
	}
}

// reaches demands that so many runs show every invariant, and meet every fault.
func reaches(t *testing.T, sum *tally) {
	t.Helper()
	for _, inv := range history.Invariants() {
		if why, is := elsewhere()[inv.Name]; is {
			t.Logf("%s is not checked here: %s", inv.Name, why)
		} else if sum.held[inv.Name] == 0 {
			t.Errorf("no run could show %s", inv.Name)
		}
	}
	for _, name := range menu() {
		if len(sum.met[name]) == 0 {
			t.Errorf("no run met the fault %q", name)
		}
	}
	for name := range sum.met {
		if !slices.Contains(menu(), name) {
			t.Errorf("the fault %q is not on the menu", name)
		}
	}
	for _, outcome := range []string{history.Succeeded, history.Failed, history.Rejected, history.Unresolved} {
		if sum.ends[outcome] == 0 {
			t.Errorf("no run had an event %s", outcome)
		}
	}
}

// menu are all faults.
func menu() []string {
	return []string{
		// processes
		"kill", "kill before", "kill after", "freeze", "freeze after", "stop", "merchant missing", "authorisation changed",
		"delay before", "delay after", "arrives late", "request of the dead", "a member of a later version",
		// the broker
		"broker down", "publish refused", "publish lost", "publish unconfirmed", "flush timeout", "publish illegal", "acknowledged copy lost",
		"delivered again", "an old command delivered again", "notification", "notification meanwhile",
		// Redis
		"redis down", "redis does not write", "redis wiped", "redis rolled back", "clock jump", "clock set back", "request lost", "exchange cut", "sent twice", "answer lost",
		// Alipay
		"not sent", "throttled", "SYSTEM_ERROR before", "SYSTEM_ERROR after", "20000 before", "no permission", "unsigned no permission",
		"authorisation refused", "merchant throttled",
		"an unknown code", "no funds", "an unsigned refusal", "10000 and not done", "somebody else's answer", "502", "bad signature", "10003",
		"refused as done already", "done, and refused as done already", "done, and an unsigned refusal", "fund_change missing", "query lag", "found nothing although there", "the form without a status",
		"another number's answer", "UNIQUE_VIOLATION", "INIT, then CLOSED", "INIT, then SUCCESS", "out_order_no missing",
		"the payment found instead", "Alipay's limit", "beyond Alipay's limit",
		// the operator
		"pause",
	}
}

// TestSameSeedSameHistory (I19).
func TestSameSeedSameHistory(t *testing.T) {
	for seed := range uint64(map[bool]int{false: 60, true: 3}[raced]) {
		opts := options{seed: *from + seed, refunds: refundsPerRun}
		first, second := run(t, opts), run(t, opts)
		report := history.Check(first.facts, history.Options{Repeat: history.Hash(second.facts), Only: []string{"I19"}})
		if report.Clean() {
			continue
		}
		for i := range min(len(first.facts), len(second.facts)) {
			if !reflect.DeepEqual(first.facts[i], second.facts[i]) {
				t.Fatalf("seed %d: fact %d is\n%+v\nand then\n%+v", opts.seed, i+1, first.facts[i], second.facts[i])
			}
		}
		t.Fatalf("seed %d has %d facts, and then %d", opts.seed, len(first.facts), len(second.facts))
	}
}

// TestMoreAtOnce: a few runs with many more commands, which meet in the limits.
func TestMoreAtOnce(t *testing.T) {
	for seed := range uint64(map[bool]int{false: 5, true: 1}[raced]) {
		opts := options{seed: *from + seed, refunds: 10 * refundsPerRun}
		if r := run(t, opts); !verdict(r).Clean() {
			t.Fatal(story(t, opts, r, false))
		}
	}
}
