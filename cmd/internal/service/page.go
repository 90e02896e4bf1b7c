package service

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"refundd/cmd/internal/admin"
	"refundd/cmd/internal/build"
	"refundd/dedupe"
)

// page is what the page for a person shows and nobody else keeps.
type page struct {
	started  time.Time
	inflight atomic.Int64
	outcomes tally // of deliveries
	calls    tally // of Alipay, by class
	waiting  tally // retries, by reason
	parked   tally // by reason
	lines    lastLines
	lookUps  *rate.Limiter

	mu     sync.Mutex // guards all below
	lag    map[string]int64
	totals dedupe.Totals
	read   time.Time // when totals were so
	failed bool      // since then
}

func newPage() *page {
	p := &page{started: time.Now(), lookUps: rate.NewLimiter(lookUpRate, 1)}
	p.outcomes.know("succeeded", "failed", "rejected", "unresolved", "retried", "duplicate")
	return p
}

// measured takes what was found out just now.
func (p *page) measured(lag map[string]int64, totals dedupe.Totals, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lag = lag
	if p.failed = err != nil; !p.failed {
		p.totals, p.read = totals, time.Now()
	}
}

// show is admin.Config's: it asks nobody.
func (s *service) show() admin.Page {
	p, now := s.page, time.Now()
	shown := admin.Page{
		Version: build.Version(), Instance: s.instance, Up: now.Sub(p.started),
		InFlight: int(p.inflight.Load()), Workers: s.cfg.Concurrency,
		Outcomes: p.outcomes.counts(now), Calls: p.calls.counts(now), Waiting: p.waiting.counts(now), Parked: p.parked.counts(now),
		Errors: p.lines.all(),
	}
	brakes, known := s.brakes.On()
	shown.BrakesKnown = known
	for _, b := range brakes {
		shown.Brakes = append(shown.Brakes, admin.Brake{On: braked(b), Reason: b.Reason, By: b.By, Since: b.Since})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	shown.Doubt = admin.Doubt{
		Read: p.read, Failing: p.failed, Count: p.totals.Count, Parked: p.totals.Parked, Fen: p.totals.Fen, Oldest: p.totals.Oldest,
	}
	for _, topic := range []string{s.cfg.TopicRefund, s.cfg.TopicCouponRefund, s.cfg.TopicRetry} {
		if n, consumed := p.lag[topic]; consumed {
			shown.Lag = append(shown.Lag, admin.Lag{Topic: topic, Messages: n})
		}
	}
	return shown
}

// orNone is a text, or a word for its absence.
func orNone(text string) string {
	if strings.TrimSpace(text) == "" {
		return "none"
	}
	return text
}
