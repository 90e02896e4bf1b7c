package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"
	"testing"
	"time"
)

// A contender is one way to do the same work.
type contender struct {
	name string
	work func(context.Context) error
}

// table measures all contenders in turn, again and again, and writes medians.
// The first one is what the others are divided by, within the same round: the
// load of a shared machine then hits both sides of a ratio. Each round begins
// with another contender, so that none always has the same neighbour in time.
func table(ctx context.Context, w io.Writer, title string, contenders []contender, rounds int) error {
	n := len(contenders)
	results := make([][]testing.BenchmarkResult, n)
	for round := range rounds {
		for i := range contenders {
			c := (round + i) % n
			r, err := measure(ctx, contenders[c])
			if err != nil {
				return err
			}
			results[c] = append(results[c], r)
		}
	}
	column := func(c int, value func(r, bare testing.BenchmarkResult) float64) []float64 {
		values := make([]float64, rounds)
		for round, r := range results[c] {
			values[round] = value(r, results[0][round])
		}
		slices.Sort(values)
		return values
	}
	_, _ = fmt.Fprintf(w, "\n| %s | µs/op, best | median | ratio to bare (quartiles) | CPU µs/op, median | ratio to bare (quartiles) | allocs/op |\n"+
		"|---|--:|--:|--:|--:|--:|--:|\n", title)
	for c, contender := range contenders {
		wall := column(c, func(r, _ testing.BenchmarkResult) float64 { return wallMicros(r) })
		wallRatio := column(c, func(r, bare testing.BenchmarkResult) float64 { return wallMicros(r) / wallMicros(bare) })
		cpu := column(c, func(r, _ testing.BenchmarkResult) float64 { return r.Extra[cpuMicros] })
		cpuRatio := column(c, func(r, bare testing.BenchmarkResult) float64 { return r.Extra[cpuMicros] / bare.Extra[cpuMicros] })
		allocs := column(c, func(r, _ testing.BenchmarkResult) float64 { return float64(r.AllocsPerOp()) })
		_, _ = fmt.Fprintf(w, "| %s | %.0f | %.0f | %s | %.0f | %s | %.0f |\n", contender.name,
			wall[0], quartile(wall, 2), spread(wallRatio), quartile(cpu, 2), spread(cpuRatio), quartile(allocs, 2))
	}
	return nil
}

// cpuMicros is the metric for this process's own CPU time, user and system, in
// microseconds per operation. Other processes and waiting do not show in it.
const cpuMicros = "cpu-µs/op"

func measure(ctx context.Context, c contender) (testing.BenchmarkResult, error) {
	var failed error
	r := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		begin, err := cpuTime()
		for b.Loop() {
			if failed = c.work(ctx); failed != nil {
				b.FailNow()
			}
		}
		end, errEnd := cpuTime()
		if failed = errors.Join(err, errEnd); failed != nil {
			b.FailNow()
		}
		b.ReportMetric(float64((end-begin).Nanoseconds())/1e3/float64(b.N), cpuMicros)
	})
	if failed != nil {
		return r, fmt.Errorf("%s: %w", c.name, failed)
	}
	return r, nil
}

// cpuTime returns the CPU time that this process has used so far.
func cpuTime() (time.Duration, error) {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0, fmt.Errorf("read CPU time: %w", err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()), nil
}

func wallMicros(r testing.BenchmarkResult) float64 {
	return float64(r.T.Nanoseconds()) / 1e3 / float64(r.N)
}

// quartile of sorted values; 2 is the median.
func quartile(sorted []float64, number int) float64 { return sorted[(len(sorted)-1)*number/4] }

// spread is the median with the first and third quartile.
func spread(sorted []float64) string {
	return fmt.Sprintf("%.2f (%.2f–%.2f)", quartile(sorted, 2), quartile(sorted, 1), quartile(sorted, 3))
}
