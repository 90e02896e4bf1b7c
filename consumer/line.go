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
func (l *line) learn(t dedupe.Turns) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next, l.every = t.Next, t.Every
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
	if left = l.take(); left <= 0 || claimed && left > patience {
		return left, left <= 0
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

// lines are the app's own, and one of each merchant whose authorisation Alipay is
// known to limit: by a refusal of this process, since there are few, and others'
// calls shall cost nothing. What the pace is, all instances learn together.
type lines struct {
	app *line

	mu        sync.Mutex // guards merchants
	merchants map[string]*line
}

func newLines() *lines { return &lines{app: newLine(), merchants: map[string]*line{}} }

// limit begins a line of the merchant, unless there is one.
func (l *lines) limit(merchant string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.merchants[merchant] == nil {
		l.merchants[merchant] = newLine()
	}
}

// of is the merchant's own line; nil: it is not limited.
func (l *lines) of(merchant string) *line {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.merchants[merchant]
}

// learn takes over what an exchange with Redis says of a slot's turns. A merchant
// that is not limited any more has no line.
func (l *lines) learn(slot dedupe.Slot, g dedupe.Grant) {
	l.app.learn(g.Turns)
	own := l.of(slot.Merchant)
	if slot.Merchant == "" || own == nil {
		return
	}
	own.learn(g.Merchant)
	if g.Merchant.Every == 0 {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.merchants, slot.Merchant)
	}
}
