package consumer

import (
	"context"
	"hash/crc32"
	"slices"
	"strings"
	"sync"
	"time"

	"refundd/alipay"
	"refundd/producer"
)

// share divides the workers between merchants, so that one whose calls are slow
// or refused does not hold up the others. While several merchants have commands,
// each may take another worker only if it has no more than so many times as many
// as are free: one busy merchant gets eight ninths of them, two get eight
// seventeenths each, and some are always left for the next one, which grows as the
// others' calls end. A merchant that is alone may take all.
type share struct {
	workers int

	mu    sync.Mutex // guards all below
	total int
	busy  map[string]int       // merchant -> workers
	seen  map[string]time.Time // merchant -> its newest command
	queue []*waiter            // oldest first
}

// waiter is a delivery that waits for a worker.
type waiter struct {
	merchant string
	granted  chan struct{} // closed when it has one
}

// perFree is how many workers a merchant may have for each that is free.
const perFree = 8

// aloneAfter is how long the others must have been silent.
const aloneAfter = time.Minute

func newShare(workers int) *share {
	return &share{workers: workers, busy: map[string]int{}, seen: map[string]time.Time{}}
}

// enter waits for a worker, at most for the given time, behind the merchant's
// earlier deliveries. Every enter that was true needs one leave.
func (s *share) enter(ctx context.Context, merchant string, patience time.Duration) bool {
	if s == nil {
		return true
	}
	w := &waiter{merchant: merchant, granted: make(chan struct{})}
	s.mu.Lock()
	s.seen[merchant] = time.Now()
	s.queue = append(s.queue, w)
	s.grant()
	s.mu.Unlock()

	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	select {
	case <-w.granted:
		return true
	case <-deadline.C:
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.queue, w)
	if i < 0 {
		return true // granted in this very moment
	}
	s.queue = slices.Delete(s.queue, i, i+1)
	return false
}

// grant gives workers to those that wait longest and may have one.
func (s *share) grant() {
	now := time.Now()
	s.queue = slices.DeleteFunc(s.queue, func(w *waiter) bool {
		free := s.workers - s.total
		if free <= 0 || s.busy[w.merchant] > perFree*(free-1) && !s.alone(w.merchant, now) {
			return false
		}
		s.total++
		s.busy[w.merchant]++
		close(w.granted)
		return true
	})
}

// alone tells whether no other merchant had a command lately.
func (s *share) alone(merchant string, now time.Time) bool {
	for other, at := range s.seen {
		switch {
		case other == merchant:
		case now.Sub(at) < aloneAfter || s.busy[other] > 0:
			return false
		default:
			delete(s.seen, other)
		}
	}
	return true
}

func (s *share) leave(merchant string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.busy[merchant]--; s.busy[merchant] == 0 {
		delete(s.busy, merchant)
	}
	s.grant()
}

// backoff makes one merchant's calls wait whose authorisation Alipay limits or
// does not accept, so that no worker asks in vain for each of its commands. It is
// of this process alone: the others learn it by their own calls.
type backoff struct {
	shortest, longest time.Duration

	mu        sync.Mutex // guards all below
	merchants map[string]silence
}

type silence struct {
	length time.Duration
	until  time.Time
	reason producer.Reason
}

// ofAuthorisation tells by Alipay's sub_code whether an answer is about this
// merchant's authorisation, and not about the app or the one command.
func ofAuthorisation(class alipay.Class, subCode string) bool {
	switch class {
	case alipay.ClassLimited:
		return strings.HasSuffix(subCode, "app-auth-invoke-limit")
	case alipay.ClassBlockedConfiguration:
		return strings.Contains(subCode, "auth-token") || strings.HasSuffix(subCode, "invalid-auth-relations")
	case alipay.ClassUnknown, alipay.ClassOK, alipay.ClassNotSent, alipay.ClassRefused, alipay.ClassNotFound,
		alipay.ClassConflict, alipay.ClassBlockedMerchant:
	}
	return false
}

// The shortest and the longest pause of a merchant.
const (
	shortestPause = 5 * time.Second
	longestPause  = time.Minute
)

// begin starts a pause, unless one runs: many calls are limited at once. It is
// twice as long as the one before it, unless a call succeeded in between or that
// one ended longer ago than it lasted.
func (b *backoff) begin(merchant string, reason producer.Reason) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, p := time.Now(), b.merchants[merchant]
	if now.Before(p.until) {
		return
	}
	length := b.shortest
	if now.Sub(p.until) < p.length {
		length = min(2*p.length, b.longest)
	}
	if b.merchants == nil {
		b.merchants = map[string]silence{}
	}
	b.merchants[merchant] = silence{length: length, until: now.Add(length), reason: reason}
}

// worked tells of a call for the merchant that succeeded.
func (b *backoff) worked(merchant string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p, paused := b.merchants[merchant]; paused {
		p.length = 0
		b.merchants[merchant] = p
	}
}

// left is how long a command of the merchant should wait, 0 or less if no pause
// runs, and why. Commands come back at different moments, up to half a pause
// behind its end, so that the first of them learns for the others; which moment
// follows from the command's number, so that a simulation can repeat it.
func (b *backoff) left(merchant, number string) (time.Duration, producer.Reason) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.merchants[merchant]
	left := time.Until(p.until)
	if left > 0 {
		left += p.length / 2 * time.Duration(crc32.ChecksumIEEE([]byte(number))%1000) / 1000
	}
	return left, p.reason
}
