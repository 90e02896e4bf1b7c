package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// table is what is compared with each other: its rows run in turns.
type table struct {
	name, title, goals string
	columns            []column
	rounds             int
	rows               []row
}

// row is a contender under a load, with what its runs showed.
type row struct {
	name    string
	c       contender
	l       load
	results []result
}

// column is a figure of a run.
type column struct {
	head, format string
	of           func(result) float64
	// beside, if set, compares it with the peer's of the same round.
	beside func(own, peer float64) float64
}

// cell is the median, and its range where it is compared.
func (c column) cell(results, peer []result) string {
	var values []float64
	for round, r := range results {
		value := c.of(r)
		if c.beside != nil && round < len(peer) {
			value = c.beside(value, c.of(peer[round]))
		}
		values = append(values, value)
	}
	middle := quantile(values, 0.5)
	switch {
	case math.IsNaN(middle), c.beside != nil && len(peer) == 0:
		return "–"
	case c.beside != nil && len(values) > 1:
		return fmt.Sprintf(c.format+" ("+c.format+" to "+c.format+")", middle, slices.Min(values), slices.Max(values))
	}
	return fmt.Sprintf(c.format, middle)
}

func costs() []column {
	signatures := func(r result) float64 { return float64(r.cpu) / float64(r.signature) }
	return []column{
		{"CPU, signatures", "%.2f", signatures, nil},
		{"× peer's", "%.2f", signatures, func(own, peer float64) float64 { return own / peer }},
		{"memory MiB", "%.0f", func(r result) float64 { return r.peak }, nil},
	}
}

func backlogColumns() []column {
	again := func(r result) float64 {
		if r.again == 0 {
			return math.NaN()
		}
		return float64(r.again) / float64(r.signature)
	}
	return append(costs(), column{"again, signatures", "%.2f", again, nil},
		column{"refunds/s", "%.0f", func(r result) float64 { return r.perSecond }, nil},
		column{"Redis bytes", "%.0f", func(r result) float64 { return r.redisBytes }, nil})
}

func rateColumns() []column {
	p99 := func(r result) float64 { return quantile(r.latencies, 0.99) }
	return append(costs(), column{"p50 ms", "%.0f", func(r result) float64 { return quantile(r.latencies, 0.5) }, nil},
		column{"p99 ms", "%.0f", p99, nil}, column{"p99 − peer's", "%+.0f", p99, func(own, peer float64) float64 { return own - peer }})
}

func limitColumns() (columns []column) {
	add := func(head, format string, of func(throttled) float64) {
		columns = append(columns, column{head, format, func(r result) float64 { return of(r.throttled) }, nil})
	}
	for _, span := range []struct {
		name     string
		from, to time.Duration
		of       int // limits
	}{{"at first", 0, foundAfter, 1}, {"found", foundAfter, limitedFor, 1}, {"lifted", limitedFor + foundAfter, 2 * limitedFor, lifted}} {
		add(span.name+"/s", "%.0f", func(t throttled) float64 { return t.perSecond(span.from, span.to) })
		add("% of limit", "%.0f", func(t throttled) float64 {
			return 100 * t.perSecond(span.from, span.to) / float64(span.of*t.limit)
		})
		add("% refused", "%.1f", func(t throttled) float64 { return 100 * t.refusedShare(span.from, span.to) })
	}
	add("doubled after s", "%.0f", throttled.doubled)
	return append(columns, costs()...)
}

// print prints medians of the runs, as Markdown that a person can read as well.
func (t table) print(out io.Writer) {
	lines := [][]string{{t.name}, {"---"}}
	for _, c := range t.columns {
		lines[0], lines[1] = append(lines[0], c.head), append(lines[1], "---")
	}
	lines[0], lines[1] = append(lines[0], "verdict"), append(lines[1], "---")
	var signatures []float64
	for _, r := range t.rows {
		peer := slices.IndexFunc(t.rows, func(other row) bool { return !other.c.isRefundd() && other.l == r.l })
		var besides []result
		if peer >= 0 {
			besides = t.rows[peer].results
		}
		cells := []string{r.name}
		for _, c := range t.columns {
			cells = append(cells, c.cell(r.results, besides))
		}
		verdict := clean
		for _, one := range r.results {
			signatures = append(signatures, one.signature.Seconds()*1000)
			if one.verdict != clean {
				verdict = one.verdict
			}
		}
		lines = append(lines, append(cells, verdict))
	}
	text, _ := os.ReadFile("/proc/loadavg")
	load, _, _ := strings.Cut(string(text), " ")
	fmt.Fprintf(out, "\n%s; medians of %d; a signature takes %.2f to %.2f ms of CPU; load average %s\n\n",
		t.title, t.rounds, slices.Min(signatures), slices.Max(signatures), load)
	aligned := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	for _, line := range lines {
		fmt.Fprintln(aligned, "| "+strings.Join(line, "\t| ")+"\t|")
	}
	_ = aligned.Flush()
	fmt.Fprintln(out, "\nGoals: "+t.goals)
}
