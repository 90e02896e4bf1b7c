package alipay

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"time"
)

func TestAttempt(t *testing.T) {
	later := time.Now().Add(time.Hour)
	t.Run("closed before the first byte", func(t *testing.T) {
		a := &attempt{deadline: later}
		if !a.close() || a.write() || !a.close() {
			t.Error("bytes may be written after it was closed unused")
		}
	})
	t.Run("written", func(t *testing.T) {
		a := &attempt{deadline: later}
		first, second := a.write(), a.write()
		if !first || !second || a.close() {
			t.Error("a used attempt counts as unused")
		}
	})
	t.Run("begun in time, written on after the deadline", func(t *testing.T) {
		a := &attempt{deadline: later}
		first := a.write()
		a.deadline = time.Now().Add(-time.Second)
		if !first || !a.write() || a.close() {
			t.Error("a request is cut in the middle by its own gate")
		}
	})
	t.Run("deadline passed before the first byte", func(t *testing.T) {
		a := &attempt{deadline: time.Now().Add(-time.Second)}
		if a.write() || !a.close() {
			t.Error("a call begins after its deadline")
		}
	})
}

func TestGatedConn(t *testing.T) {
	near, far := net.Pipe()
	defer func() { _, _ = near.Close(), far.Close() }()
	c := &gatedConn{Conn: near}
	a := &attempt{deadline: time.Now().Add(time.Hour)}
	a.close()
	c.current.Store(a)
	if n, err := c.Write([]byte("x")); n != 0 || !errors.Is(err, errAttemptOver) {
		t.Errorf("%d, %v", n, err)
	}
	if gateOf(near) != nil || gateOf(c) != c {
		t.Error("the gate is not found where it is, or found where it is not")
	}
}

// TestFrozen: a process that sleeps between signing and writing, past its
// deadline, sends nothing.
func TestFrozen(t *testing.T) {
	requests := make(chan struct{}, 1)
	addr := rawServer(t, func(c net.Conn) {
		if readRequest(c) {
			requests <- struct{}{}
		}
	})
	c := testClient(t, testConfig(t, "http://"+addr))
	ctx := expired{t.Context(), time.Now().Add(-time.Second)}
	_, sent, err := roundTrip(ctx, c.transport, c.gateway, http.Header{}, []byte("x"))
	if sent || !errors.Is(err, errAttemptOver) {
		t.Errorf("sent %v, %v", sent, err)
	}
	c.CloseIdleConnections()
	select {
	case <-requests:
		t.Error("a request arrived")
	default:
	}
	if _, sent, err := roundTrip(context.Background(), c.transport, c.gateway, http.Header{}, nil); sent || err == nil {
		t.Error("a call without a deadline is made")
	}
}

// expired is a context whose deadline is over and whose timer has not fired
// yet, as right after a freeze.
type expired struct {
	context.Context
	deadline time.Time
}

func (e expired) Deadline() (time.Time, bool) { return e.deadline, true }
