package main

import (
	"fmt"
	"io"
	"math"
	"time"
)

// goal is one that refundd set itself, beside what these runs showed.
type goal struct{ what, want, seen, verdict string }

const (
	met         = "met"
	notMet      = "NOT MET"
	notMeasured = "not measured"
)

// The goals, of one refund where nothing else is said.
const (
	mostGo            = 1.20 // signatures of CPU
	mostOpenSSL       = 0.65
	mostAgain         = 0.15
	mostOverHops      = 4.0 // ms
	mostMemory        = 40  // MiB
	mostMemoryWaiting = 64
	mostExchanges     = 2
	mostKept          = 420 // bytes
	mostScript        = 30  // µs
	mostFirst         = 1.0 // s
	wantInFlight      = 10_000
	waiting           = 100_000
	// mostGrowth is what "constant memory" leaves to chance: the heap breathes by
	// as much between two collections.
	mostGrowth = 1.15
)

// judgeGoals compares medians, as they are printed. What a goal needs and was not
// run is not measured; nothing is taken from elsewhere.
func judgeGoals(all []measured, again []toldAgain) []goal {
	backlog := func(name string) (measured, bool) {
		return find(all, func(m measured) bool {
			return m.kind == kindBacklog && m.c.name == name && m.l.latency == 0 && m.l.instances == 1
		})
	}
	rate := func(name string) (measured, bool) {
		return find(all, func(m measured) bool {
			return m.kind == kindRate && m.c.name == name && m.l.rate == 100 && m.l.instances == 1
		})
	}
	var goals []goal
	// add judges a figure that must not be above a limit.
	add := func(what, want string, ok bool, figure, limit float64, format, more string) {
		g := goal{what, want, "", notMeasured}
		if ok {
			g.seen, g.verdict = fmt.Sprintf(format, figure)+more, notMet
			if atMost(figure, limit, format) {
				g.verdict = met
			}
		}
		goals = append(goals, g)
	}

	plain, havePlain := backlog(contenderGo)
	fast, haveFast := backlog(contenderOpenSSL)
	// libraries tells what a refund costs with refundd's libraries and without refundd.
	libraries := func(m measured, ok bool) string {
		if !ok {
			return ""
		}
		return fmt.Sprintf("; its libraries alone take %.2f", m.median(cpuOfRun))
	}
	add("CPU of the backlog, signer go", "≤ 1.20 signatures", havePlain, plain.median(cpuOfRun), mostGo, "%.2f", libraries(backlog(contenderBare)))
	add("CPU of the backlog, signer openssl", "≤ 0.65 signatures", haveFast, fast.median(cpuOfRun), mostOpenSSL, "%.2f", libraries(backlog(contenderBareOpenSSL)))

	paced, havePaced := rate(contenderGo)
	peer, havePeer := rate(contenderPeer)
	add("CPU at 100/s, signer go", "less than the peer's", havePaced && havePeer,
		paced.median(cpuOfRun), math.Round(100*peer.median(cpuOfRun))/100-0.005, "%.2f", fmt.Sprintf(" and %.2f", peer.median(cpuOfRun))+libraries(rate(contenderBare)))
	over := paced.median(func(r result) float64 { return overHops(r, paced.l.latency) })
	add("p99 at 100/s, signer go", "≤ Alipay's time, two hops' p99 and 4 ms", havePaced, over, mostOverHops, "%.1f ms", fmt.Sprintf(
		" more: p99 %.1f, Alipay %d, two hops p50 %.1f p99 %.1f", paced.median(func(r result) float64 { return milliseconds(quantile(r.latencies, 0.99)) }),
		paced.l.latency.Milliseconds(), paced.median(func(r result) float64 { return milliseconds(quantile(r.twoHops, 0.5)) }),
		paced.median(func(r result) float64 { return milliseconds(quantile(r.twoHops, 0.99)) })))

	rss := func(r result) float64 { return r.rss }
	add("memory at 128 workers, signer go", "≤ 40 MiB", havePlain && plain.l.workersOf() == defaultWorkers, plain.median(rss), mostMemory, "%.0f MiB", "")
	long, haveLong := find(all, func(m measured) bool {
		return m.c.isRefundd() && m.l.rate == 0 && m.l.refunds >= waiting && m.l.workersOf() == defaultWorkers && m.l.instances == 1
	})
	add("memory with 100,000 waiting", "≤ 64 MiB", haveLong, long.median(rss), mostMemoryWaiting, "%.0f MiB",
		fmt.Sprintf(", %d waiting, %s", long.l.refunds, long.c.name))

	anyRun, haveAny := find(all, func(m measured) bool {
		return m.c.isRefundd() && m.l.rate == 0 && m.l.latency == 0 && m.l.instances == 1 && m.kind != kindRedis && m.kind != kindFlush
	})
	add("Redis round trips", "≤ 2", haveAny, anyRun.median(func(r result) float64 { return r.exchanges }), mostExchanges, "%.2f",
		fmt.Sprintf("; %.2f with those that watch", anyRun.median(func(r result) float64 { return r.trips })))
	add("Redis memory of a settled refund", "≤ 420 bytes", haveAny, anyRun.median(func(r result) float64 { return r.kept }), mostKept, "%.0f",
		fmt.Sprintf(", over %d", anyRun.l.refunds))
	add("time of a script at Redis", "≤ 30 µs", haveAny, anyRun.median(func(r result) float64 { return r.scriptMicros }), mostScript, "%.0f µs",
		fmt.Sprintf(", a bare SET %.1f", anyRun.median(func(r result) float64 { return r.bareSetMicros })))
	add("start to first event", "≤ 1 s", haveAny, anyRun.median(func(r result) float64 { return r.first.Seconds() }), mostFirst, "%.1f s", "")
	add("a decided refund again, backlog", "≤ 0.15 signatures", havePlain, plain.median(func(r result) float64 { return r.again }), mostAgain, "%.2f", "")
	for _, a := range again {
		add("the same one at a time, signer "+a.signer, "≤ 0.15 signatures", true, a.signatures, mostAgain, "%.2f", "")
	}

	held, haveHeld := find(all, func(m measured) bool { return m.kind == kindInFlight && m.l.workers >= wantInFlight })
	g := goal{"in flight in one process, Alipay takes 5 s", "10,000", "", notMeasured}
	if haveHeld {
		g.verdict = notMet
		if held.median(result.inFlight) >= wantInFlight {
			g.verdict = met
		}
		g.seen = fmt.Sprintf("%.0f with %s: %.0f MiB, %.0f goroutines", held.median(result.inFlight), held.name, held.median(rss), held.median(result.goroutines))
	}
	goals = append(goals, g)

	drain, haveDrain := find(all, func(m measured) bool { return m.kind == kindDrain && m.l.refunds >= waiting })
	add("memory while a backlog drains", "constant: at its end ≤ 1.15 of at its tenth", haveDrain,
		drain.median(func(r result) float64 { return r.rssAt(1) / r.rssAt(0.1) }), mostGrowth, "%.2f", fmt.Sprintf(": %.0f, %.0f, %.0f MiB of %d",
			drain.median(func(r result) float64 { return r.rssAt(0.1) }), drain.median(func(r result) float64 { return r.rssAt(0.5) }),
			drain.median(func(r result) float64 { return r.rssAt(1) }), drain.l.refunds))
	return append(goals, verdicts(all))
}

func verdicts(all []measured) goal {
	runs, wrong := 0, 0
	for _, m := range all {
		for _, r := range m.results {
			runs++
			if r.verdict != clean {
				wrong++
			}
		}
	}
	g := goal{"verdict of every run", clean, fmt.Sprintf("%d of %d", runs-wrong, runs), met}
	if wrong > 0 {
		g.verdict = notMet
	}
	return g
}

// find returns the first that fits.
func find(all []measured, fits func(measured) bool) (measured, bool) {
	for _, m := range all {
		if fits(m) {
			return m, true
		}
	}
	return measured{}, false
}

// overHops is how many ms the p99 is above what Alipay and the broker alone take.
func overHops(r result, latency time.Duration) float64 {
	return milliseconds(quantile(r.latencies, 0.99) - latency - quantile(r.twoHops, 0.99))
}

// atMost compares a figure as it is printed, so that nobody reads "1.20, not met".
func atMost(figure, limit float64, format string) bool {
	var printed float64
	if _, err := fmt.Sscan(fmt.Sprintf(format, figure), &printed); err != nil {
		return false
	}
	return printed <= limit
}

func printGoals(out io.Writer, goals []goal) {
	fmt.Fprint(out, "\nThe goals, of one refund, beside the medians above\n\n")
	rows := [][]string{{"goal", "wanted", "seen", "verdict"}}
	for _, g := range goals {
		rows = append(rows, []string{g.what, g.want, g.seen, g.verdict})
	}
	printRows(out, rows)
}
