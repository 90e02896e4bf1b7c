package consumer

import (
	"context"
	"sync"
	"time"
)

// Gate is where deliveries wait when the process stops (R11). Deliveries pass
// it one by one; once it is closed none gets in, and those inside are waited
// for. Those at the gate stay there, unacknowledged, until it is opened after
// the consumer's shutdown: then their queues are dropped and whatever they
// return is ignored.
type Gate struct {
	stopping chan struct{}
	idle     chan struct{} // closed and empty
	opened   chan struct{}
	slots    chan struct{}

	mu     sync.Mutex // guards all below, and the closing of the first three
	closed bool
	open   bool
	inside int
}

// NewGate lets at most n deliveries in at once.
func NewGate(n int) *Gate {
	return &Gate{
		stopping: make(chan struct{}), idle: make(chan struct{}), opened: make(chan struct{}),
		slots: make(chan struct{}, n),
	}
}

// Enter waits for a place. False: the gate is closed.
func (g *Gate) Enter() bool {
	select {
	case <-g.stopping:
		return false
	case g.slots <- struct{}{}:
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		<-g.slots
		return false
	}
	g.inside++
	return true
}

// Leave gives the place back.
func (g *Gate) Leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	<-g.slots
	g.inside--
	if g.closed && g.inside == 0 {
		close(g.idle)
	}
}

// Close begins the stop: no delivery gets in any more, and those inside begin
// no new call. Closing again does nothing.
func (g *Gate) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return
	}
	g.closed = true
	close(g.stopping)
	if g.inside == 0 {
		close(g.idle)
	}
}

// Stopping reports whether the gate is closed.
func (g *Gate) Stopping() bool {
	select {
	case <-g.stopping:
		return true
	default:
		return false
	}
}

// Sleep waits for d. False: the gate was closed meanwhile.
func (g *Gate) Sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-g.stopping:
		return false
	case <-t.C:
		return true
	}
}

// Wait returns when the gate is closed and all deliveries inside have left, or
// with ctx's error.
func (g *Gate) Wait(ctx context.Context) error {
	select {
	case <-g.idle:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-g.idle: // both: what counts is that they have left
		return nil
	default:
		return ctx.Err()
	}
}

// Park blocks a delivery that was not let in, or that ended without an
// acknowledgement, until Open.
func (g *Gate) Park() { <-g.opened }

// Open lets those who wait in Park go. Only after the consumer's shutdown.
// Opening again does nothing.
func (g *Gate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.open {
		g.open = true
		close(g.opened)
	}
}
