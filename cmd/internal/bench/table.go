package main

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unicode/utf8"

	"refundd/alipay/alipaytest"
)

// signature is the CPU time of one crypto/rsa signature with every core at work,
// as in a run.
func signature(keys *alipaytest.Keys) time.Duration {
	sum := sha256.Sum256([]byte("refund"))
	var made atomic.Int64
	var wg sync.WaitGroup
	begin, end := ownCPU(), time.Now().Add(400*time.Millisecond)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for time.Now().Before(end) {
				if _, err := rsa.SignPKCS1v15(nil, keys.AppPrivate, crypto.SHA256, sum[:]); err == nil {
					made.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return (ownCPU() - begin) / time.Duration(made.Load())
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// printTable prints medians, and the range of what was measured most carefully.
func printTable(out io.Writer, l load, contenders []contender, results map[string][]result) {
	fmt.Fprintf(out, "\n%s; medians of the runs; load average %s\n\n", l.name, loadAverage())
	heads := []string{"contender", "signatures of CPU (range)", "CPU ms"}
	if l.rate == 0 {
		heads = append(heads, "refunds/s", "first event s")
	} else {
		heads = append(heads, "p50 ms", "p90", "p99", "max")
	}
	heads = append(heads, "allocs", "KiB", "RSS MiB", "Redis reads", "its traffic B", "kept B", "conns Alipay", "Redis", "verdict")
	rows := [][]string{heads}
	for _, c := range contenders {
		rs := results[c.name]
		m := func(of func(result) float64) float64 { return median(rs, of) }
		low, high := math.Inf(1), math.Inf(-1)
		verdict := clean
		for _, r := range rs {
			low, high = min(low, r.signatures), max(high, r.signatures)
			if r.verdict != clean {
				verdict = "WRONG"
			}
		}
		cells := []string{
			c.name, fmt.Sprintf("%.2f (%.2f–%.2f)", m(func(r result) float64 { return r.signatures }), low, high),
			fmt.Sprintf("%.2f", m(func(r result) float64 { return r.cpu.Seconds() * 1000 })),
		}
		if l.rate == 0 {
			cells = append(cells,
				fmt.Sprintf("%.0f", m(func(r result) float64 { return r.perSecond })),
				fmt.Sprintf("%.1f", m(func(r result) float64 { return r.first.Seconds() })))
		} else {
			for _, q := range []float64{0.5, 0.9, 0.99, 1} {
				cells = append(cells, fmt.Sprintf("%.0f", m(func(r result) float64 { return quantile(r.latencies, q).Seconds() * 1000 })))
			}
		}
		for _, f := range []struct {
			format string
			of     func(result) float64
		}{
			{"%.0f", func(r result) float64 { return r.objects }},
			{"%.1f", func(r result) float64 { return r.size }},
			{"%.0f", func(r result) float64 { return r.rss }},
			{"%.2f", func(r result) float64 { return r.trips }},
			{"%.0f", func(r result) float64 { return r.traffic }},
			{"%.0f", func(r result) float64 { return r.kept }},
			{"%.0f", func(r result) float64 { return float64(r.alipayConns) }},
			{"%.0f", func(r result) float64 { return float64(r.redisConns) }},
		} {
			cells = append(cells, fmt.Sprintf(f.format, m(f.of)))
		}
		rows = append(rows, append(cells, verdict))
	}
	printRows(out, rows)
	var all []float64
	for _, rs := range results {
		for _, r := range rs {
			all = append(all, r.signature.Seconds()*1000)
		}
	}
	fmt.Fprintf(out, "\none crypto/rsa signature: %.2f to %.2f ms of CPU\n", slices.Min(all), slices.Max(all))
}

// printRows prints a table in Markdown that a person can read as well.
func printRows(out io.Writer, rows [][]string) {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell), 3)
		}
	}
	for n, row := range rows {
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				fmt.Fprint(out, "| "+cell+pad+" |")
			} else {
				fmt.Fprint(out, " "+pad+cell+" |")
			}
		}
		fmt.Fprintln(out)
		if n > 0 {
			continue
		}
		for i := range row {
			if i == 0 {
				fmt.Fprint(out, "|"+strings.Repeat("-", width[i]+2)+"|")
			} else {
				fmt.Fprint(out, strings.Repeat("-", width[i]+1)+":|")
			}
		}
		fmt.Fprintln(out)
	}
}

func median(rs []result, of func(result) float64) float64 {
	values := make([]float64, 0, len(rs))
	for _, r := range rs {
		values = append(values, of(r))
	}
	slices.Sort(values)
	if n := len(values); n%2 == 0 {
		return (values[n/2-1] + values[n/2]) / 2
	}
	return values[len(values)/2]
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(int(math.Ceil(q*float64(len(sorted))))-1, 0)]
}

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}
