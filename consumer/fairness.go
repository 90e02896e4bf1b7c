package consumer

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"refundd/alipay"
)

// share divides the workers between merchants, so that one whose calls are slow or
// limited does not hold up the others. While several have commands, none gets more
// than its cap, and a worker that is free goes to the one that has fewest. A
// merchant that is alone may take all.
type share struct {
	workers int
	// cap is of a merchant that is not alone, capLimited of one that waits for turns as
	// well: who waits has a worker, and the others' commands need them.
	cap, capLimited int

	mu    sync.Mutex // guards all below
	total int
	busy  map[string]int       // merchant -> workers
	seen  map[string]time.Time // merchant -> its newest command
	queue []*waiter            // oldest first
}

// waiter is a delivery that waits for a worker.
type waiter struct {
	merchant string
	cap      int           // of its merchant, unless it is alone
	granted  chan struct{} // closed when it has one
}

// aloneAfter is how long the others must have been silent.
const aloneAfter = time.Minute

func newShare(workers int) *share {
	return &share{workers: workers, cap: max(1, workers*3/4), capLimited: max(1, workers/6), busy: map[string]int{}, seen: map[string]time.Time{}}
}

// enter waits for a worker, at most for the given time, behind the merchant's
// earlier deliveries. A merchant whose calls wait for turns is limited. Every enter
// that was true needs one leave.
func (s *share) enter(ctx context.Context, merchant string, limited bool, patience time.Duration) bool {
	if s == nil {
		return true
	}
	w := &waiter{merchant: merchant, cap: s.cap, granted: make(chan struct{})}
	if limited {
		w.cap = s.capLimited
	}
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

// grant gives free workers to those that may have one: first to the merchant that
// has fewest, and there to the delivery that waits longest.
func (s *share) grant() {
	now := time.Now()
	for s.total < s.workers {
		next := -1
		for i, w := range s.queue {
			busy := s.busy[w.merchant]
			if next >= 0 && busy >= s.busy[s.queue[next].merchant] || busy >= w.cap && !s.alone(w.merchant, now) {
				continue
			}
			next = i
		}
		if next < 0 {
			return
		}
		w := s.queue[next]
		s.queue = slices.Delete(s.queue, next, next+1)
		s.total++
		s.busy[w.merchant]++
		close(w.granted)
	}
}

// alone reports whether no other merchant had a command lately.
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

// unaccepted are the merchants whose authorisation Alipay does not accept. Their
// calls wait, but for one in a pause that asks whether it does again, so that no
// worker asks in vain for each of their commands. They are of this process alone:
// the others learn them by their own calls.
type unaccepted struct {
	pause time.Duration

	mu    sync.Mutex           // guards until
	until map[string]time.Time // merchant -> when the next call asks
}

// ofAuthorisation reports by Alipay's sub_code whether an answer is about this
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

// learn takes over whether Alipay accepts the merchant's authorisation.
func (u *unaccepted) learn(merchant string, accepted bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if accepted {
		delete(u.until, merchant)
	} else {
		u.until[merchant] = time.Now().Add(u.pause)
	}
}

// left is how long the merchant's commands should wait, 0 or less if they need not.
func (u *unaccepted) left(merchant string) time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	return time.Until(u.until[merchant])
}

// call is left for one that is about to be called: if it may be, it asks for the
// others, which wait meanwhile.
func (u *unaccepted) call(merchant string) time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	until, known := u.until[merchant]
	left := time.Until(until)
	if known && left <= 0 {
		u.until[merchant] = time.Now().Add(u.pause)
	}
	return left
}
