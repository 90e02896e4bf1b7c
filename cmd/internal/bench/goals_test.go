package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func of(kind, name string, l load, results ...result) measured {
	if l.instances == 0 {
		l.instances = 1
	}
	for i := range results {
		results[i].refunds = l.refunds
		if results[i].verdict == "" {
			results[i].verdict = clean
		}
	}
	return measured{entrant{name, contender{name: name}, l}, kind, results}
}

// verdictOf returns what the goals say of one that begins so.
func verdictOf(t *testing.T, goals []goal, what string) goal {
	t.Helper()
	i := slices.IndexFunc(goals, func(g goal) bool { return strings.HasPrefix(g.what, what) })
	if i < 0 {
		t.Fatalf("no goal begins with %q", what)
	}
	return goals[i]
}

func TestNothingMeasured(t *testing.T) {
	for _, g := range judgeGoals(nil, nil) {
		if g.verdict != notMeasured && g.what != "verdict of every run" {
			t.Errorf("%s is %q without a run", g.what, g.verdict)
		}
	}
}

func TestGoals(t *testing.T) {
	ms := func(n ...float64) (all []time.Duration) {
		for _, one := range n {
			all = append(all, time.Duration(one*float64(time.Millisecond)))
		}
		return all
	}
	paced := load{rate: 100, latency: 20 * time.Millisecond}
	drained := []sample{{done: 20_000, rss: 50}, {done: 100_000, rss: 51}, {done: 200_000, rss: 57}}
	all := []measured{
		of(kindBacklog, contenderGo, load{refunds: 5000},
			result{signatures: 1.1, rss: 41, exchanges: 2.001, kept: 264, scriptMicros: 31, again: 0.15, first: 900 * time.Millisecond},
			result{signatures: 1.2, rss: 41, exchanges: 2.001, kept: 264, scriptMicros: 31, again: 0.15, first: 900 * time.Millisecond},
			result{signatures: 9.9, rss: 41, exchanges: 2.001, kept: 264, scriptMicros: 31, again: 0.15, first: 900 * time.Millisecond}),
		of(kindBacklog, contenderOpenSSL, load{refunds: 5000}, result{signatures: 0.66}),
		of(kindRate, contenderGo, paced, result{signatures: 2.10, latencies: ms(20, 26.9), twoHops: ms(2, 3)}),
		of(kindRate, contenderPeer, paced, result{signatures: 2.101}),
		of(kindInFlight, contenderOpenSSL, load{workers: 10_000, latency: inFlightLatency}, result{samples: []sample{{inFlight: 9_999}}}),
		of(kindDrain, contenderOpenSSL, load{refunds: 200_000}, result{rss: 64.4, samples: drained}),
	}
	goals := judgeGoals(all, []toldAgain{{"go", 0.154}, {"openssl", 0.16}})
	for what, want := range map[string]string{
		"CPU of the backlog, signer go":          met,    // the median is the limit itself
		"CPU of the backlog, signer openssl":     notMet, // 0.66
		"CPU at 100/s":                           notMet, // as much as the peer, as it is printed
		"p99 at 100/s":                           met,    // 26.9 - 20 - 3
		"memory at 128 workers":                  notMet,
		"memory with 100,000 waiting":            met, // 64.4 is printed as 64
		"Redis round trips":                      met, // 2.001 is printed as 2.00
		"Redis memory":                           met,
		"time of a script":                       notMet,
		"start to first event":                   met,
		"a decided refund again":                 met,
		"the same one at a time, signer go":      met,
		"the same one at a time, signer openssl": notMet,
		"in flight":                              notMet, // one is missing
		"memory while":                           met,    // 57 / 50
		"verdict":                                met,
	} {
		if g := verdictOf(t, goals, what); g.verdict != want {
			t.Errorf("%s: seen %q, judged %q, want %q", what, g.seen, g.verdict, want)
		}
	}

	// What was run in another way does not count, and a wrong run is told.
	all[0].l.latency = time.Second
	all[2].l.rate = 500
	all[5].results[0].samples[2].rss = 58
	all[5].results[0].verdict = "money moved twice"
	goals = judgeGoals(all, nil)
	for what, want := range map[string]string{
		"CPU of the backlog, signer go": notMeasured, "CPU at 100/s": notMeasured, "a decided": notMeasured, "memory while": notMet, "verdict": notMet,
	} {
		if g := verdictOf(t, goals, what); g.verdict != want {
			t.Errorf("%s: seen %q, judged %q, want %q", what, g.seen, g.verdict, want)
		}
	}
	if g := verdictOf(t, goals, "verdict"); g.seen != "7 of 8" {
		t.Errorf("clean runs are %q, want 7 of 8", g.seen)
	}
}

// TestTables is for the forms: every row has as many cells as the heads.
func TestTables(t *testing.T) {
	for kind, columns := range map[string][]column{kindBacklog: backlogColumns(), kindRate: rateColumns(), kindDrain: scaleColumns()} {
		var out strings.Builder
		rows := []measured{
			of(kind, contenderGo, load{refunds: 10, instances: 2}, result{signatures: 1.25}, result{signatures: 1.5, verdict: "told twice"}),
			of(kind, contenderPeer, load{refunds: 10, instances: 2}, result{signatures: 2}),
		}
		printTable(&out, group{kind: kind, title: "title", columns: columns}, rows)
		printGoals(&out, judgeGoals(rows, nil))
		text := out.String()
		for _, want := range []string{"1.38 (1.25–1.50)", "WRONG", "of the largest"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: the table lacks %q:\n%s", kind, want, text)
			}
		}
		bars := 0
		for line := range strings.Lines(text) {
			switch n := strings.Count(line, "|"); {
			case n == 0:
				bars = 0
			case bars == 0:
				bars = n
			case n != bars:
				t.Errorf("%s: %d bars, want %d: %s", kind, n, bars, line)
			}
		}
	}
}
