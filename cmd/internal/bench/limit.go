package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// -limit asks how much of what Alipay lets through is used, and how many calls it
// has to refuse for that. The backlog is too large to be worked off; from the
// first call on Alipay lets so many calls through in each second of its clock for
// limitedFor, and then three times as many for as long again.
const (
	limitedFor = 30 * time.Second
	// foundAfter is by when a limit should be known.
	foundAfter = 15 * time.Second
	lifted     = 3
)

// allowance is how many calls a second Alipay lets through.
type allowance struct {
	perSecond int

	mu      sync.Mutex // guards all below
	begin   time.Time  // of the first call
	through map[int]int
	// passed and refused are when calls arrived, from begin on, in order.
	passed, refused []time.Duration
}

// takes reports whether a call is within the limit. Nil limits nothing.
func (a *allowance) takes() bool {
	if a == nil {
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.begin.IsZero() {
		a.begin = time.Now()
	}
	now, limit := time.Since(a.begin), a.perSecond
	if now >= limitedFor {
		limit *= lifted
	}
	if a.through[int(now/time.Second)] >= limit {
		a.refused = append(a.refused, now)
		return false
	}
	a.through[int(now/time.Second)]++
	a.passed = append(a.passed, now)
	return true
}

// over reports whether all has been seen.
func (a *allowance) over() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.begin.IsZero() && time.Since(a.begin) >= 2*limitedFor
}

// cells say for a time from the first call on how many calls a second passed,
// what part of the limit that is, and what part of all calls was refused.
func (a *allowance) cells(from, to time.Duration, limit int) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	passed, refused := within(a.passed, from, to), within(a.refused, from, to)
	rate := float64(passed) / (to - from).Seconds()
	return []string{
		fmt.Sprintf("%.0f/s", rate), fmt.Sprintf("%.0f %%", 100*rate/float64(limit)),
		fmt.Sprintf("%.1f %%", 100*float64(refused)/float64(max(1, passed+refused))),
	}
}

// doubled is how long after the limit was lifted a whole second's calls were
// twice the former limit.
func (a *allowance) doubled() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	for at := limitedFor; at+time.Second <= 2*limitedFor; at += 100 * time.Millisecond {
		if within(a.passed, at, at+time.Second) >= 2*a.perSecond {
			return fmt.Sprintf("%.0f s", (at + time.Second - limitedFor).Seconds())
		}
	}
	return "–"
}

// within counts the times from one until before another.
func within(times []time.Duration, from, to time.Duration) int {
	first, _ := slices.BinarySearch(times, from)
	last, _ := slices.BinarySearch(times, to)
	return last - first
}

// limits measures refundd and the peer under two limits, and prints the table.
func (b *bench) limits(ctx context.Context, out io.Writer) error {
	b.contender = contenderOpenSSL
	fast, err := b.contenders()
	if err != nil {
		return err
	}
	b.contender = contenderPeer
	plain, err := b.contenders()
	if err != nil {
		return err
	}
	rows := [][]string{{
		"limit", "contender", "at first", "of the limit", "refused", "found", "of the limit", "refused",
		"lifted", "of the limit", "refused", "doubled after", "verdict",
	}}
	var wrong error
	for _, limit := range []int{30, 300} {
		for _, e := range []entrant{
			{"refundd", fast[0], load{instances: 1}}, {"2 of refundd", fast[0], load{instances: 2}}, {"peer", plain[0], load{instances: 1}},
		} {
			e.l.refunds, e.l.latency, e.l.queues, e.l.in = (1+lifted)*limit*int(limitedFor.Seconds())*11/10, b.latency, b.queues, b.home
			a := &allowance{perSecond: limit, through: map[int]int{}}
			verdict, err := b.underLimit(ctx, e.c, e.l, a)
			if err != nil {
				return fmt.Errorf("limit %d, %s: %w", limit, e.name, err)
			}
			row := append([]string{fmt.Sprintf("%d/s", limit), e.name}, a.cells(0, foundAfter, limit)...)
			row = append(row, a.cells(foundAfter, limitedFor, limit)...)
			row = append(row, a.cells(limitedFor+foundAfter, 2*limitedFor, lifted*limit)...)
			rows = append(rows, append(row, a.doubled(), verdict))
			fmt.Fprintln(os.Stderr, "bench:", rows[len(rows)-1])
			if e.c.isRefundd() && verdict != clean {
				wrong = errors.Join(wrong, fmt.Errorf("limit %d, %s: %s", limit, e.name, verdict))
			}
		}
	}
	fmt.Fprintf(out, "\nAlipay takes %v and lets so many calls a second through, %d times as many after %v; "+
		"at first: %v from the first call on; found: from then on; lifted: from %v behind it on; load average %s\n\n",
		b.latency, lifted, limitedFor, foundAfter, foundAfter, loadAverage())
	printRows(out, rows)
	return wrong
}

// underLimit lets a contender work until all has been seen, and holds its events
// against the ledger.
func (b *bench) underLimit(ctx context.Context, c contender, l load, a *allowance) (verdict string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	b.runs++
	folder := filepath.Join(b.folder, fmt.Sprintf("%d-%s", b.runs, c.name))
	if err := os.Mkdir(folder, 0o700); err != nil {
		return "", err
	}
	t, err := l.in.createTopics(ctx, fmt.Sprintf("bench-%d-%d", os.Getpid(), b.runs), l.queues)
	if err != nil {
		return "", err
	}
	defer l.in.deleteTopics(t)
	if err := l.in.emptyRedis(ctx); err != nil {
		return "", err
	}
	g, err := startGateway(ctx, b.keys, l.latency)
	if err != nil {
		return "", err
	}
	defer g.close()
	g.limit = a
	seen, stop, err := follow(ctx, l.in, t.event)
	if err != nil {
		return "", err
	}
	defer stop()
	sent := &commands{sender: l.in.sender, topic: t.command, run: b.runs}
	if err := sent.atOnce(ctx, l.refunds); err != nil {
		return "", err
	}
	p, err := b.startAll(ctx, c, l, t, g.url, folder)
	if err != nil {
		return "", err
	}
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for !a.over() && ctx.Err() == nil {
		if err := p.ended(); err != nil {
			return "", errors.Join(err, p.stop())
		}
		select {
		case <-ctx.Done():
		case <-look.C:
		}
	}
	if err := errors.Join(ctx.Err(), p.stop()); err != nil {
		return "", err
	}
	return judgeSome(ctx, g, seen)
}

// judgeSome holds the events to the ledger where not all commands were worked
// off: what moved has one event, which says so, and nothing else has one.
func judgeSome(ctx context.Context, g *gateway, e *events) (string, error) {
	g.mu.Lock()
	moved := len(g.moved)
	g.mu.Unlock()
	switch err := e.wait(ctx, nil, moved); {
	case errors.Is(err, errStalled):
		return fmt.Sprintf("%d moved, %d have events", moved, e.count()), nil
	case err != nil:
		return "", err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	ids := map[string]string{}
	for _, seen := range e.all() {
		m := g.moved[seen.number]
		if m.times != 1 || m.trade != seen.trade || m.amount != seen.amount || seen.outcome != "succeeded" {
			return fmt.Sprintf("the ledger has %+v for %s of %s, its event %s", m, seen.number, seen.trade, seen.outcome), nil
		}
		if id, known := ids[seen.number]; known && id != seen.id {
			return seen.number + " has two events", nil
		}
		ids[seen.number] = seen.id
	}
	return clean, nil
}
