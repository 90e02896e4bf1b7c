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

// column is a figure of a run.
type column struct {
	head   string
	format string
	of     func(result) float64
}

// cell leaves open what cannot be told.
func (c column) cell(value float64) string {
	if math.IsNaN(value) {
		return "–"
	}
	return fmt.Sprintf(c.format, value)
}

func backlogColumns() []column {
	return append([]column{
		{"refunds/s", "%.0f", func(r result) float64 { return r.perSecond }},
		{"first event s", "%.1f", func(r result) float64 { return r.first.Seconds() }},
		{"again, signatures", "%.2f", func(r result) float64 { return r.again }},
	}, costColumns()...)
}

func rateColumns() []column {
	took := func(q float64) func(result) float64 {
		return func(r result) float64 { return milliseconds(quantile(r.latencies, q)) }
	}
	return append([]column{
		{"p50 ms", "%.0f", took(0.5)},
		{"p90", "%.0f", took(0.9)},
		{"p99", "%.0f", took(0.99)},
		{"max", "%.0f", took(1)},
		{"hop p50", "%.1f", func(r result) float64 { return milliseconds(quantile(r.hop, 0.5)) }},
		{"p99", "%.1f", func(r result) float64 { return milliseconds(quantile(r.hop, 0.99)) }},
		{"two hops p50", "%.1f", func(r result) float64 { return milliseconds(quantile(r.twoHops, 0.5)) }},
		{"p99", "%.1f", func(r result) float64 { return milliseconds(quantile(r.twoHops, 0.99)) }},
	}, costColumns()...)
}

func costColumns() []column {
	return []column{
		{"allocs", "%.0f", func(r result) float64 { return r.objects }},
		{"KiB", "%.1f", func(r result) float64 { return r.size }},
		{"RSS MiB", "%.0f", func(r result) float64 { return r.rss }},
		{"Redis trips", "%.2f", func(r result) float64 { return r.exchanges }},
		{"reads", "%.2f", func(r result) float64 { return r.trips }},
		{"its traffic B", "%.0f", func(r result) float64 { return r.traffic }},
		{"script µs", "%.0f", func(r result) float64 { return r.scriptMicros }},
		{"kept B", "%.0f", func(r result) float64 { return r.kept }},
		{"conns Alipay", "%.0f", func(r result) float64 { return float64(r.alipayConns) }},
		{"Redis", "%.0f", func(r result) float64 { return float64(r.redisConns) }},
	}
}

// printTable prints medians, and the range of what was measured most carefully.
func printTable(out io.Writer, g group, rows []measured) {
	fmt.Fprintf(out, "\n%s; medians of the runs; load average %s\n\n", g.title, loadAverage())
	heads := []string{g.kind, "signatures of CPU (range)", "CPU ms"}
	for _, c := range g.columns {
		heads = append(heads, c.head)
	}
	lines := [][]string{append(heads, "verdict")}
	var signatures []float64
	for _, m := range rows {
		low, high := math.Inf(1), math.Inf(-1)
		verdict := clean
		for _, r := range m.results {
			low, high = min(low, r.signatures), max(high, r.signatures)
			signatures = append(signatures, milliseconds(r.signature))
			if r.verdict != clean {
				verdict = "WRONG"
			}
		}
		cells := []string{
			m.name, fmt.Sprintf("%.2f (%.2f–%.2f)", m.median(cpuOfRun), low, high),
			fmt.Sprintf("%.2f", m.median(func(r result) float64 { return milliseconds(r.cpu) })),
		}
		for _, c := range g.columns {
			cells = append(cells, c.cell(m.median(c.of)))
		}
		lines = append(lines, append(cells, verdict))
	}
	printRows(out, lines)
	fmt.Fprintf(out, "\none crypto/rsa signature: %.2f to %.2f ms of CPU", slices.Min(signatures), slices.Max(signatures))
	if slices.ContainsFunc(rows, func(m measured) bool { return m.l.instances > 1 }) {
		fmt.Fprint(out, "; of several instances RSS and goroutines are those of the largest, all else is of all together")
	}
	fmt.Fprintln(out)
}

func cpuOfRun(r result) float64 { return r.signatures }

// median of a figure over the runs.
func (m measured) median(of func(result) float64) float64 {
	values := make([]float64, 0, len(m.results))
	for _, r := range m.results {
		values = append(values, of(r))
	}
	return median(values)
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

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}
