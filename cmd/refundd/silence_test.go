//go:build !race

package main

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"refundd/alipay/alipaytest"
	"refundd/consumer/remoting"
)

// hole is a network between clients and a server. Silenced, it drops whatever is
// sent: connections hear nothing more, and whoever connects waits.
type hole struct {
	t        *testing.T
	listener *net.TCPListener
	mu       sync.Mutex
	silent   bool
	conns    []net.Conn
}

func newHole(t *testing.T, server string) *hole {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	h := &hole{t: t, listener: listener.(*net.TCPListener)}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = listener.Close()
		h.cut()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server)
			if err != nil {
				_ = near.Close()
				continue
			}
			h.keep(near, far)
			wg.Go(func() { h.pass(near, far) })
			wg.Go(func() { h.pass(far, near) })
		}
	})
	return h
}

func (h *hole) addr() string { return h.listener.Addr().String() }

func (h *hole) keep(conns ...net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conns = append(h.conns, conns...)
}

func (h *hole) isSilent() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.silent
}

// pass carries bytes one way. Of a silenced hole it reads on, and nothing comes
// out of it, not even the end.
func (h *hole) pass(from, to net.Conn) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			break
		}
		if h.isSilent() {
			continue
		}
		if _, err := to.Write(b[:n]); err != nil {
			break
		}
	}
	if !h.isSilent() {
		_ = to.Close()
	}
}

// silence begins to drop. With cut, what was connected is gone, as behind a
// firewall that has forgotten it.
func (h *hole) silence(cut bool) {
	h.t.Helper()
	h.mu.Lock()
	h.silent = true
	h.mu.Unlock()
	check(h.t, h.listener.SetDeadline(time.Unix(1, 0))) // nobody accepts
	raw, err := h.listener.SyscallConn()
	check(h.t, err)
	check(h.t, raw.Control(func(fd uintptr) { err = syscall.Listen(int(fd), 0) }))
	check(h.t, err)
	if cut {
		h.cut()
	}
	for { // until the system drops what asks to connect
		ctx, cancel := context.WithTimeout(h.t.Context(), 300*time.Millisecond)
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", h.addr())
		cancel()
		if err != nil {
			return
		}
		h.keep(conn)
	}
}

func (h *hole) cut() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.conns {
		_ = c.Close()
	}
	h.conns = nil
}

// TestStopsInSilence (R11): a network that drops whatever is sent does not keep a
// process from ending within its budget, whatever the clients of the silent part do.
func TestStopsInSilence(t *testing.T) {
	t.Parallel()
	const drain = 8 * time.Second
	for _, cut := range []bool{false, true} {
		for _, part := range []string{"broker", "redis", "alipay", "spans"} {
			name := part
			if cut {
				name += ", connections cut"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, alipaytest.Config{})
				silent, env := w.behindHole(part)
				env["REFUNDD_DRAIN"] = drain.String()
				p := w.start(env)
				p.waitReady()
				w.send(refundOf(1), refundOf(2), refundOf(3), refundOf(4))
				numbers := []string{"R00001", "R00002", "R00003", "R00004"}
				w.wait("the refunds", time.Minute, func() bool { return len(w.judge(numbers).missing) == 0 })
				silent.silence(cut)
				if part == "alipay" { // some calls are in flight
					w.send(refundOf(11), refundOf(12))
				}
				w.stopWithin(p, drain)
				if !contains(p.log, "stopped cleanly") {
					t.Error("it did not stop cleanly")
				}
			})
		}
	}
}

// TestStopsInSilenceWhileItStarts: the same for a process that has not begun to
// consume.
func TestStopsInSilenceWhileItStarts(t *testing.T) {
	t.Parallel()
	for part, sign := range map[string]string{
		"name server": "waiting for rocketmq", "redis": "waiting for redis", "broker": "the topic route info changed",
	} {
		t.Run(part, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, alipaytest.Config{})
			silent, env := w.behindHole(part)
			silent.silence(true)
			env["REFUNDD_DRAIN"] = "2s"
			p := w.start(env)
			w.wait(sign, time.Minute, func() bool { return contains(p.log, sign) })
			w.stopWithin(p, 2*time.Second)
			if contains(p.log, "refundd consumes") {
				t.Error("it had begun to consume")
			}
		})
	}
}

// behindHole puts the network to one part into the environment of a process.
func (w *world) behindHole(part string) (*hole, map[string]string) {
	w.t.Helper()
	switch part {
	case "broker":
		h := newHole(w.t, w.broker())
		names := rewriteRoutes(w.t, w.nameServer, map[string]string{w.broker(): h.addr()})
		return h, map[string]string{"REFUNDD_ROCKETMQ_NAMESERVERS": names}
	case "name server":
		h := newHole(w.t, w.nameServer)
		return h, map[string]string{"REFUNDD_ROCKETMQ_NAMESERVERS": h.addr()}
	case "redis":
		at := strings.TrimSuffix(strings.TrimPrefix(w.redisURL, "redis://"), "/0")
		h := newHole(w.t, at)
		return h, map[string]string{"REFUNDD_REDIS_URL": "redis://" + h.addr() + "/0"}
	case "alipay":
		h := newHole(w.t, strings.TrimSuffix(strings.TrimPrefix(w.gateway, "http://"), "/gateway.do"))
		return h, map[string]string{"REFUNDD_ALIPAY_GATEWAY": "http://" + h.addr() + "/gateway.do"}
	}
	spans, err := (&net.ListenConfig{}).Listen(w.t.Context(), "tcp", "127.0.0.1:0") // takes spans and says nothing
	check(w.t, err)
	w.t.Cleanup(func() { _ = spans.Close() })
	go func() {
		for conn, err := spans.Accept(); err == nil; conn, err = spans.Accept() {
			go func() { _, _ = io.Copy(io.Discard, conn) }()
		}
	}()
	h := newHole(w.t, spans.Addr().String())
	return h, map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + h.addr()}
}

// broker is the address of the broker itself; the embedded one is its own name
// server.
func (w *world) broker() string {
	w.t.Helper()
	addr, err := remoting.WaitBroker(w.t.Context(), w.nameServer)
	check(w.t, err)
	return addr
}

// stopWithin asks a process to stop and wants it to have ended, as asked, within
// its budget. A second more is the machine's.
func (w *world) stopWithin(p *process, budget time.Duration) {
	w.t.Helper()
	check(w.t, p.cmd.Process.Signal(syscall.SIGTERM))
	asked := time.Now()
	select {
	case <-p.exited:
		w.t.Logf("ended after %v", time.Since(asked).Round(time.Millisecond))
	case <-time.After(budget + time.Second):
		w.t.Fatalf("it goes on %v after the signal, and was given %v", time.Since(asked).Round(time.Millisecond), budget)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		w.t.Errorf("exit code %d, want 0", code)
	}
}
