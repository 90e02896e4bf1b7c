package consumer

import (
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// Part is a part of the service that others can fail.
type Part string

// The parts that suspend intake when they are in trouble (R12).
const (
	PartRedis    Part = "redis"
	PartRocketMQ Part = "rocketmq" // publishing
)

// troubleAfter is how long a part must fail without a break before intake is
// suspended: a blocked puller would drop and re-pull its queue after 120 s.
const troubleAfter = 3 * time.Second

// forgottenAfter is how long a failure counts after it was last reported.
// Whoever meets one repeats at least every 15 s; if nobody does any more (a
// delivery that panicked while it published), nobody would ever report success
// either, and intake has to find out.
const forgottenAfter = 30 * time.Second

// Health learns from those who use a part whether it works. It is safe for
// concurrent use.
type Health struct {
	log logrus.FieldLogger

	mu     sync.Mutex
	failed map[Part]failure // without a break
	told   map[Part]bool
}

// failure is a part's: since when, and when it was last seen.
type failure struct{ since, seen time.Time }

// NewHealth starts with every part assumed to work.
func NewHealth(log logrus.FieldLogger) *Health {
	return &Health{log: log, failed: map[Part]failure{}, told: map[Part]bool{}}
}

// Works says that the part just did what it should.
func (h *Health) Works(p Part) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.failed, p)
	if h.told[p] {
		delete(h.told, p)
		h.log.WithField("part", string(p)).Info("works again")
	}
}

// Fails says that the part just did not.
func (h *Health) Fails(p Part, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	f, failing := h.failing(p)
	if !failing {
		f.since = now
	}
	f.seen = now
	h.failed[p] = f
	if !h.told[p] && now.Sub(f.since) >= troubleAfter {
		h.told[p] = true
		h.log.WithError(err).WithField("part", string(p)).Error("in trouble: intake is suspended and resumes by itself")
	}
}

// failing needs the lock.
func (h *Health) failing(p Part) (failure, bool) {
	f, known := h.failed[p]
	return f, known && time.Since(f.seen) < forgottenAfter
}

// Failing tells whether the part's last use failed.
func (h *Health) Failing(p Part) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, failing := h.failing(p)
	return failing
}

// Trouble tells whether the part has failed for long enough to suspend intake.
func (h *Health) Trouble(p Part) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	f, failing := h.failing(p)
	return failing && time.Since(f.since) >= troubleAfter
}
