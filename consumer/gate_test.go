package consumer

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestGateLetsInSoMany: at most n are inside at once, and all get their turn.
func TestGateLetsInSoMany(t *testing.T) {
	g := NewGate(3)
	var inside, most atomic.Int64
	var deliveries sync.WaitGroup
	for range 50 {
		deliveries.Go(func() {
			if !g.Enter() {
				t.Error("refused by an open gate")
				return
			}
			defer g.Leave()
			n := inside.Add(1)
			defer inside.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
		})
	}
	deliveries.Wait()
	if most.Load() > 3 {
		t.Errorf("%d inside at once", most.Load())
	}
}

// TestGateStop is a stop from start to end: who is inside is waited for, who
// waits for a place or comes later is refused and parked until the gate opens.
func TestGateStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(1)
		if g.Stopping() || !g.Enter() || !g.Sleep(time.Second) {
			t.Fatal("an open gate refuses")
		}
		var parked sync.WaitGroup
		var let atomic.Int64
		wait := func() {
			if g.Enter() {
				t.Error("let in")
			}
			g.Park()
			let.Add(1)
		}
		parked.Go(wait) // waits for the place
		synctest.Wait()

		begin := time.Now()
		slept := make(chan bool)
		go func() { slept <- g.Sleep(time.Hour) }()
		synctest.Wait()
		g.Close()
		g.Close()
		parked.Go(wait) // comes when it is closed
		if <-slept || time.Since(begin) != 0 {
			t.Errorf("a sleep of the stopping process ended after %v", time.Since(begin))
		}
		if !g.Stopping() {
			t.Error("a closed gate does not stop")
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := g.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waited for one inside: %v", err)
		}
		left := make(chan error)
		go func() { left <- g.Wait(t.Context()) }()
		synctest.Wait()
		g.Leave()
		if err := <-left; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if let.Load() != 0 {
			t.Errorf("%d left the gate before it opened", let.Load())
		}
		g.Open()
		g.Open()
		parked.Wait()
	})
}

// TestGateEmptyBeatsDeadline: a deadline that passed at the same time does not
// make a drained process look as if it had left something.
func TestGateEmptyBeatsDeadline(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		g := NewGate(1)
		g.Close()
		if err := g.Wait(ctx); err != nil {
			t.Fatalf("nobody is inside, but: %v", err)
		}
	}
}

// TestGateCloseAgainstEnter: nobody is inside unseen, whatever the order.
func TestGateCloseAgainstEnter(t *testing.T) {
	for range 200 {
		g := NewGate(4)
		var inside atomic.Int64
		var deliveries sync.WaitGroup
		for range 8 {
			deliveries.Go(func() {
				for g.Enter() {
					inside.Add(1)
					inside.Add(-1)
					g.Leave()
				}
			})
		}
		g.Close()
		if err := g.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := inside.Load(); n != 0 {
			t.Fatalf("%d inside after the wait", n)
		}
		deliveries.Wait()
	}
}
