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
	opened   chan struct{}
	slots    chan struct{}

	mu     sync.Mutex // guards closed, and inside.Add against Wait
	closed bool
	inside sync.WaitGroup
}

// NewGate lets at most n deliveries in at once.
func NewGate(n int) *Gate {
	return &Gate{stopping: make(chan struct{}), opened: make(chan struct{}), slots: make(chan struct{}, n)}
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
	g.inside.Add(1)
	return true
}

// Leave gives the place back.
func (g *Gate) Leave() {
	g.inside.Done()
	<-g.slots
}

// Close begins the stop: no delivery gets in any more, and those inside begin
// no new call.
func (g *Gate) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.closed = true
		close(g.stopping)
	}
}

// Stopping tells whether the gate is closed.
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

// Wait returns when all deliveries inside have left, or with ctx's error.
func (g *Gate) Wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		g.inside.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Park blocks a delivery that was not let in, or that ended without an
// acknowledgement, until Open.
func (g *Gate) Park() { <-g.opened }

// Open lets those who wait in Park go. Only after the consumer's shutdown.
func (g *Gate) Open() { close(g.opened) }
