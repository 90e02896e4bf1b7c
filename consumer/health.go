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

// Health learns from those who use a part whether it works. It is safe for
// concurrent use.
type Health struct {
	log logrus.FieldLogger

	mu     sync.Mutex
	failed map[Part]time.Time // since when, without a break
	told   map[Part]bool
}

// NewHealth starts with every part assumed to work.
func NewHealth(log logrus.FieldLogger) *Health {
	return &Health{log: log, failed: map[Part]time.Time{}, told: map[Part]bool{}}
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
	if h.failed[p].IsZero() {
		h.failed[p] = time.Now()
	}
	if !h.told[p] && time.Since(h.failed[p]) >= troubleAfter {
		h.told[p] = true
		h.log.WithError(err).WithField("part", string(p)).Error("in trouble: intake is suspended and resumes by itself")
	}
}

// Failing tells whether the part's last use failed.
func (h *Health) Failing(p Part) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.failed[p].IsZero()
}

// Trouble tells whether the part has failed for long enough to suspend intake.
func (h *Health) Trouble(p Part) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	since := h.failed[p]
	return !since.IsZero() && time.Since(since) >= troubleAfter
}
