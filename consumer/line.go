package consumer

import (
	"sync"
	"time"

	"refundd/dedupe"
)

// line lets calls ask for their turns in the order in which they came, shortly
// before there is one: where calls are limited, one asks at a time, and the others
// sleep. So most calls need no exchange of their own for it, and a command that
// waits is not claimed yet. The other instances have lines of their own; what one
// learns of the next free turn, it learns from Redis' answers.
type line struct {
	head chan struct{} // of one: who waits for the next turn
	tail chan struct{} // of one: the next of those that are not claimed

	mu    sync.Mutex // guards all below
	next  time.Time  // the next turn; zero: nothing is limited
	every time.Duration
}

// ahead is how long before a turn it is asked for: a part of the time that turns
// are given ahead, so that what other instances take meanwhile does not matter.
const ahead = 200 * time.Millisecond

func newLine() *line {
	return &line{head: make(chan struct{}, 1), tail: make(chan struct{}, 1)}
}

// learn takes over what Redis says about the next turn.
func (l *line) learn(g dedupe.Grant) {
	if g.Asked.IsZero() {
		return // no answer
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next, l.every = g.Next, g.Every
}

// limited reports whether calls have to ask for turns at all.
func (l *line) limited() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.every > 0
}

// take reports whether a turn may be asked for now, or in how long.
func (l *line) take() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.every == 0 {
		return 0
	}
	if left := time.Until(l.next.Add(-ahead)); left > 0 {
		return left
	}
	l.next = l.next.Add(l.every)
	return 0
}

// wait returns when a turn may be asked for. False: the gate was closed, or it
// would take longer than patience; left is then how long until the next turn.
// Claimed calls are served before those that are not: their leases run.
func (l *line) wait(gate *Gate, claimed bool, patience time.Duration) (left time.Duration, ok bool) {
	if left = l.take(); left <= 0 {
		return 0, true
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	enter := func(c chan struct{}) bool {
		select {
		case c <- struct{}{}:
			return true
		case <-gate.stopping:
		case <-late.C:
		}
		return false
	}
	end := time.Now().Add(patience)
	if !claimed {
		if !enter(l.tail) {
			return left, false
		}
		defer func() { <-l.tail }()
	}
	if !enter(l.head) {
		return left, false
	}
	defer func() { <-l.head }()
	for {
		left = l.take()
		switch {
		case left <= 0:
			return 0, true
		case left > time.Until(end), !gate.Sleep(left):
			return left, false
		}
	}
}
