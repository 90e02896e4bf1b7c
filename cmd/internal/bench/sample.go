package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"
)

// sample is how things stood once during a run.
type sample struct {
	done       int     // refunds that had an event
	rss        float64 // MiB, of the largest process
	goroutines float64 // of the process that has most
	inFlight   float64 // of all processes
}

const sampleEvery = 500 * time.Millisecond

// watch samples until its result is called. Reading the metrics costs the
// processes a little CPU time, so where that is what counts, closely is false
// and only what the kernel knows is sampled.
func watch(ctx context.Context, p processes, seen *events, refunds int, closely bool) (samples func() []sample) {
	ctx, cancel := context.WithCancel(ctx)
	var all []sample
	tenth := 1
	take := func() {
		s := sample{done: seen.count()}
		s.rss, _ = p.rss("VmRSS") // one that has ended is found by whoever waits for its events
		if closely && ctx.Err() == nil {
			s.goroutines, s.inFlight = p.gauges(ctx)
		}
		all = append(all, s)
		if refunds >= manyRefunds && s.done >= tenth*refunds/10 {
			fmt.Fprintf(os.Stderr, "bench: %d of %d, %.0f MiB\n", s.done, refunds, s.rss)
			tenth = s.done*10/refunds + 1
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		ticker := time.NewTicker(sampleEvery)
		defer ticker.Stop()
		for ctx.Err() == nil {
			take()
			select {
			case <-ctx.Done():
			case <-ticker.C:
			}
		}
	})
	return func() []sample {
		cancel()
		wg.Wait()
		take()
		return all
	}
}

// manyRefunds are so many that a person wants to see that something goes on.
const manyRefunds = 50_000

// rssAt is the memory when this share of the refunds was done, and 0 if nobody
// looked from then on.
func rssAt(samples []sample, refunds int, share float64) float64 {
	for _, s := range samples {
		if float64(s.done) >= share*float64(refunds) {
			return s.rss
		}
	}
	return 0
}

func peak(samples []sample, of func(sample) float64) (most float64) {
	for _, s := range samples {
		most = max(most, of(s))
	}
	return most
}
