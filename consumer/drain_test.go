//go:build !race

// See adapter_test.go for the reason of the build constraint.

package consumer

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2"

	"refundd/consumer/rocketmqtest"
	"refundd/producer"
)

// checkAcknowledged: whatever the broker would not deliver again has its event.
func (r *rig) checkAcknowledged() {
	r.t.Helper()
	finals := r.finals()
	done, left := r.acknowledged(refundTopic)
	for _, m := range done {
		cmd, err := DecodeCommand(KindRefund, m.Body)
		check(r.t, err)
		if len(finals[cmd.OutRequestNo]) == 0 {
			r.t.Errorf("%s is acknowledged without an event", cmd.OutRequestNo)
		}
	}
	if len(left) == 0 {
		r.t.Error("nothing was left for another process, so nothing is proven")
	}
}

// TestStopUnderLoad (R11): those in flight finish, those at the gate are not
// acknowledged, no call begins any more, and another process does the rest.
func TestStopUnderLoad(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.gateway.pause.Store(int64(300 * time.Millisecond))
	numbers, bodies := refunds("S", 60)
	p := r.start(8)
	r.post(bodies...)
	await(t, "some calls", func() bool { return r.gateway.calls() >= 12 })
	begin := time.Now()
	r.stop(p)
	if n := r.gateway.after(begin.Add(time.Second)); n != 0 {
		t.Errorf("%d calls began after the stop", n)
	}
	called := r.gateway.calls()
	if done := len(r.finals()); done != called {
		t.Errorf("%d calls but %d events: a call in flight was not finished", called, done)
	}
	r.checkAcknowledged()
	r.gateway.pause.Store(0)
	r.start(8)
	r.awaitFinals(numbers)
	if n := r.gateway.calls(); n != len(numbers) {
		t.Errorf("%d calls for %d refunds", n, len(numbers))
	}
}

// TestStopCutsCalls (R11): at the soft deadline calls are cut and claims
// released, so that another process need not wait for leases.
func TestStopCutsCalls(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.gateway.pause.Store(int64(time.Hour))
	numbers, bodies := refunds("C", 20)
	p := r.start(4)
	r.post(bodies...)
	await(t, "calls in flight", func() bool { return r.gateway.calls() == 4 })
	r.gateway.pause.Store(0)
	// Far less than a call's time-out: only a cut can end them within it.
	ctx, cancel := context.WithTimeout(t.Context(), r.cfg.AlipayTimeout*2/3)
	defer cancel()
	check(t, p.Stop(ctx, 100*time.Millisecond))
	if n := r.gateway.calls(); n != 4 {
		t.Errorf("%d calls, want none after the stop", n)
	}
	claimed := 0
	for _, number := range numbers {
		rec, err := r.store.Read(t.Context(), identityOf(number))
		check(t, err)
		if !rec.Exists {
			continue
		}
		claimed++
		n, err := decodeNote(rec.Note)
		check(t, err)
		if rec.HeldFor != 0 || rec.Decided || n.Ended != endedUnknown || n.Try != 0 {
			t.Errorf("%s: held for %v, decided %v, call ended %q, try %d", number, rec.HeldFor, rec.Decided, n.Ended, n.Try)
		}
	}
	if claimed != 4 {
		t.Errorf("%d claims, want 4", claimed)
	}
	r.checkAcknowledged()
	r.start(8)
	r.awaitFinals(numbers)
}

// stuck is a publisher whose broker never answers about events.
type stuck struct {
	publisher
	begun atomic.Bool
}

func (s *stuck) Publish(ctx context.Context, _ producer.Encoded) error {
	s.begun.Store(true)
	<-ctx.Done()
	return ctx.Err()
}

// TestStopLeavesTheRest: what cannot end within the budget is left, the stop
// says so, and the stored event is published by another process.
func TestStopLeavesTheRest(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	hanging := &stuck{publisher: r.publish}
	r.tell = hanging
	p := r.start(4)
	numbers, bodies := refunds("L", 1)
	r.post(bodies...)
	await(t, "an event that is not confirmed", hanging.begun.Load)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := p.Stop(ctx, 50*time.Millisecond)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if again := p.Stop(t.Context(), time.Second); !errors.Is(again, err) {
		t.Errorf("the first stop said %v, the second %v", err, again)
	}
	r.tell = r.publish
	r.start(4)
	r.awaitFinals(numbers)
	if n := r.gateway.calls(); n != 1 {
		t.Errorf("%d calls", n)
	}
}

// silentSDK is a client whose broker is silent: it hangs until it is let go.
type silentSDK struct {
	rocketmq.PushConsumer
	resumes chan struct{} // one for each Resume that began
	hangs   chan struct{}
	closed  atomic.Bool
}

func (s *silentSDK) Suspend() {}

func (s *silentSDK) Resume() {
	s.resumes <- struct{}{}
	<-s.hangs
}

func (s *silentSDK) PersistConsumerOffset() error {
	<-s.hangs
	return nil
}

func (s *silentSDK) Shutdown() error {
	<-s.hangs
	s.closed.Store(true)
	return nil
}

// TestStopLeavesASilentClient (R11): a client that hangs does not keep the stop,
// and the gate opens only when it was shut down after all.
func TestStopLeavesASilentClient(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	p := r.process(4)
	sdk := &silentSDK{resumes: make(chan struct{}, 1), hangs: make(chan struct{})}
	if !p.keep(sdk) {
		t.Fatal("it was stopped")
	}
	p.suspend(true)
	resumed := make(chan struct{})
	go func() {
		defer close(resumed)
		p.suspend(false)
	}()
	<-sdk.resumes
	opened := make(chan bool, 1)
	go func() {
		p.gate.Park()
		opened <- sdk.closed.Load()
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- p.Stop(ctx, 100*time.Millisecond) }()
	select {
	case err := <-stopped:
		check(t, err)
	case <-opened:
		t.Error("the gate is open, and the client would send back what waited there")
	case <-time.After(30 * time.Second):
		t.Error("the stop waits for the client")
	}
	close(sdk.hangs)
	<-resumed
	if !t.Failed() && !<-opened {
		t.Error("the gate was opened before the client was shut down")
	}
}

// TestStartIsLeftBehind: a start that hangs on a silent name server keeps neither
// a stop nor the end of its context waiting.
func TestStartIsLeftBehind(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	r.server = silent.Addr().String()
	for name, end := range map[string]func(p *process, cancel func()){
		"stopped":      func(p *process, _ func()) { r.stop(p) },
		"context ends": func(_ *process, cancel func()) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			p := r.process(4)
			ended := make(chan error, 1)
			go func() { ended <- p.Start(ctx) }()
			conn, err := silent.Accept()
			check(t, err)
			defer func() { _ = conn.Close() }()
			end(p, cancel)
			// A start that came to its end would say what it had lacked.
			if err := <-ended; err == nil || strings.Contains(err.Error(), "route info") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestNeverStarted: a consumer that never consumed can be stopped, twice, and
// not started any more.
func TestNeverStarted(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	p := r.process(4)
	if p.Lag() != nil || p.Suspended() {
		t.Errorf("lag %v, suspended %v", p.Lag(), p.Suspended())
	}
	p.suspend(true)
	r.stop(p)
	r.stop(p)
	if err := p.Start(t.Context()); !errors.Is(err, errStopped) {
		t.Errorf("start after the stop: %v", err)
	}
}

// TestStartTwice: the second start is refused and does not hurt the first.
func TestStartTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	p := r.start(4)
	if err := p.Start(t.Context()); !errors.Is(err, errStarted) {
		t.Errorf("got %v", err)
	}
	numbers, bodies := refunds("A", 5)
	r.post(bodies...)
	r.awaitFinals(numbers)
}

// TestStartWaits for a topic that is not there yet, as long as its context and
// the consumer live.
func TestStartWaits(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	begun := func(ctx context.Context, p *process) <-chan error {
		ended := make(chan error, 1)
		before := strings.Count(r.out.String(), "waiting to consume")
		go func() { ended <- p.Start(ctx) }()
		await(t, "a failed try", func() bool { return strings.Count(r.out.String(), "waiting to consume") > before })
		return ended
	}
	t.Run("context ends", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := begun(ctx, r.process(4, "later"))
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "later") {
			t.Errorf("got %v, want the context's error and the topic", err)
		}
	})
	t.Run("stopped", func(t *testing.T) {
		p := r.process(4, "later")
		ended := begun(t.Context(), p)
		r.stop(p)
		if err := <-ended; !errors.Is(err, errStopped) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("topic appears", func(t *testing.T) {
		p := r.process(4, "later")
		ended := begun(t.Context(), p)
		r.broker.CreateTopic("later", 1)
		check(t, <-ended)
		numbers, bodies := refunds("W", 5)
		r.post(bodies...)
		r.awaitFinals(numbers)
	})
}

// moody is a publisher that panics with the events of one number.
type moody struct {
	publisher
	number string
	left   atomic.Int64 // how often it panics yet
}

func (m *moody) Publish(ctx context.Context, e producer.Encoded) error {
	if strings.Contains(string(e.Body), m.number) && m.left.Add(-1) >= 0 {
		panic("canary-of-a-panic " + m.number)
	}
	return m.publisher.Publish(ctx, e)
}

// TestPanics: a delivery that panics is tried again in place and then moved to
// the retry topic; the process lives, the others are not held up, and the end
// is the same.
func TestPanics(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		panics int64
		moves  bool
	}{{"once", 1, false}, {"until it is moved", panicsBeforeRetry, true}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(c *Config) { c.Lease, c.AlipayTimeout = 5*time.Second, 3*time.Second })
			sick := &moody{publisher: r.publish, number: "P0"}
			sick.left.Store(row.panics)
			r.tell = sick
			p := r.start(4)
			numbers, bodies := refunds("P", 10)
			r.post(bodies...)
			await(t, "the healthy ones", func() bool { return len(r.finals()) >= 9 })
			r.awaitFinals(numbers)
			r.stop(p)
			if got := len(r.broker.Messages(retryTopic)) > 0; got != row.moves {
				t.Errorf("moved to the retry topic is %v", got)
			}
			for _, m := range r.broker.Messages(retryTopic) {
				if m.Properties["REFUNDD_TRY"] != "1" || m.Properties["REFUNDD_CLAIMED"] != "1" {
					t.Errorf("moved with %v", m.Properties)
				}
			}
			if log := r.out.String(); !strings.Contains(log, "panicked") || strings.Contains(log, "canary-of-a-panic") {
				t.Error("the log does not tell of the panic, or tells its value")
			}
			r.awaitAcknowledged()
		})
	}
}

// TestRedisInTrouble (R12): intake is suspended, nothing is called without a
// claim, and all goes on by itself.
func TestRedisInTrouble(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	p := r.start(8)
	numbers, bodies := refunds("D", 4)
	r.redis.SetError("LOADING for a test")
	r.post(bodies[:2]...)
	await(t, "suspension", p.Suspended)
	r.post(bodies[2])
	if n := r.gateway.calls(); n != 0 {
		t.Errorf("%d calls without a claim", n)
	}
	r.redis.SetError("")
	await(t, "resumption", func() bool { return !p.Suspended() })
	r.post(bodies[3])
	r.awaitFinals(numbers)
}

// TestPublishingInTrouble (R12): the same when the broker confirms nothing: no
// new command is begun.
func TestPublishingInTrouble(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	p := r.start(8)
	numbers, bodies := refunds("U", 3)
	r.broker.SetHook(func(q rocketmqtest.Request) rocketmqtest.Action {
		if q.Properties["ce_id"] != "" {
			return rocketmqtest.Action{Kind: rocketmqtest.Status, Code: rocketmqtest.FlushDiskTimeout}
		}
		return rocketmqtest.Action{}
	})
	r.post(bodies[0])
	await(t, "suspension", p.Suspended)
	r.post(bodies[1]) // the pull that was pending still brings it
	if n := r.gateway.calls(); n != 1 {
		t.Errorf("%d calls, want only that of the first", n)
	}
	r.broker.SetHook(nil)
	await(t, "resumption", func() bool { return !p.Suspended() })
	r.post(bodies[2])
	r.awaitFinals(numbers)
}
