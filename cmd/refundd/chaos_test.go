//go:build !race

package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"refundd/alipay/alipaytest"
	"refundd/dedupe/dedupetest"
)

// TestKilled: refunds go through two processes with the whole fault menu on,
// and each is killed again and again, while something else breaks as well. In the
// end the ledger and the events agree: one movement, one final truth per refund,
// nothing missing. TestMixed does the same with nothing else broken.
func TestKilled(t *testing.T) {
	rows := []struct {
		name  string
		spoil func(w *world) // once, half way
	}{
		{"Redis loses everything half way", func(w *world) { check(w.t, w.redis.FlushAll(w.t.Context()).Err()) }},
		{"the broker is restarted half way", func(w *world) {
			if w.real() {
				w.breakPart("/broker/restart")
				return
			}
			check(w.t, w.embedded.Restart(time.Second))
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			aloneOnStack(t)
			w := newWorld(t, alipaytest.Config{Latency: 5 * time.Millisecond})
			faults, err := alipaytest.ParseFaults("all=0.6")
			check(t, err)
			check(t, w.alipay.SetFaults(faults))
			count, kills := 1000, 5
			if !w.real() {
				count, kills = 200, 2
			}
			w.run(chaos{count: count, kills: kills, spoil: row.spoil})
		})
	}
}

// chaos is what happens to two processes while commands come in.
type chaos struct {
	count, kills int
	spoil        func(w *world)                         // half way
	command      func(n int) (name, topic, body string) // nil: refunds of the app itself
	environment  func(process int) map[string]string    // of each of the two; nil: nothing special
	after        func(w *world)                         // when every refund has its end; may be nil
}

func (w *world) run(c chaos) {
	w.t.Helper()
	random := randomly(w.seed)
	if c.command == nil {
		c.command = func(n int) (string, string, string) { return fmt.Sprintf("R%05d", n), w.topic("refund"), refundOf(n) }
	}
	if c.environment == nil {
		c.environment = func(int) map[string]string { return nil }
	}
	processes := []*process{w.start(c.environment(0)), w.start(c.environment(1))}
	for _, p := range processes {
		p.waitReady()
	}
	var names []string
	bodies := map[string][]string{} // by topic
	for n := range c.count {
		name, topic, body := c.command(n)
		names = append(names, name)
		bodies[topic] = append(bodies[topic], body)
	}
	var sending sync.WaitGroup
	for topic, bodies := range bodies {
		pauses := randomly(w.seed + uint64(len(topic)))
		sending.Go(func() {
			for i := 0; i < len(bodies); i += 20 {
				w.sendTo(topic, bodies[i:min(i+20, len(bodies))]...)
				<-time.After(time.Duration(pauses.IntN(200)) * time.Millisecond)
			}
		})
	}
	killed := 0
	for round := range 2 * c.kills {
		<-time.After(time.Duration(500+random.IntN(1500)) * time.Millisecond)
		if round == c.kills {
			c.spoil(w)
		}
		processes[round%2].kill()
		killed++
		processes[round%2] = w.start(c.environment(round % 2))
	}
	sending.Wait()
	// The faults stop; from here on everything must come to its end.
	check(w.t, w.alipay.SetFaults(nil))
	w.alipay.Heal()
	requeued := 0
	var v verdict
	w.wait("the end of every refund", 4*time.Minute, func() bool {
		requeued = w.requeue(requeued)
		v = w.judge(names)
		if len(v.missing) > 0 {
			<-time.After(200 * time.Millisecond)
		}
		return len(v.missing) == 0
	})
	happened := 0
	for _, n := range w.alipay.FaultCounts() {
		happened += n
	}
	w.t.Logf("%d refunds: %d succeeded, %d failed, %d taken by somebody else, %d not provable and with a person, %d events; %d kills, %d faults of %d kinds, %d requeued by hand, %d calls",
		c.count, v.succeeded, v.failed, v.conflicts, v.unprovable, v.events, killed, happened, len(w.alipay.FaultCounts()), requeued, len(w.alipay.Calls()))
	if happened == 0 {
		w.t.Error("no fault ever happened")
	}
	if c.after != nil {
		c.after(w)
	}
	for _, p := range processes {
		if strings.Contains(p.log.String(), "panic") {
			w.t.Error("a process panicked")
		}
		w.stop(p)
	}
}

// stop ends a process as an orchestrator does, and wants exit code 0.
func (w *world) stop(p *process) {
	w.t.Helper()
	check(w.t, p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-p.exited:
	case <-time.After(60 * time.Second):
		w.t.Fatal("the process did not end")
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		w.t.Errorf("exit code %d, want 0", code)
	}
}

// TestSigterm: under load with a slow Alipay no new call begins after the
// signal, the process ends with 0, and nothing is lost after a restart.
func TestSigterm(t *testing.T) {
	w := newWorld(t, alipaytest.Config{Latency: 400 * time.Millisecond})
	p := w.start(nil)
	p.waitReady()
	var numbers, bodies []string
	for n := range 300 {
		numbers = append(numbers, fmt.Sprintf("R%05d", n))
		bodies = append(bodies, refundOf(n))
	}
	w.send(bodies...)
	w.wait("the first calls", time.Minute, func() bool { return len(w.alipay.Calls()) > 30 })
	check(t, p.cmd.Process.Signal(syscall.SIGTERM))
	signalled := time.Now()
	w.wait("readiness off", 10*time.Second, func() bool {
		status, body := p.readiness()
		return status == 0 || status == http.StatusServiceUnavailable && strings.Contains(body, "draining")
	})
	<-p.exited
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	for _, c := range w.alipay.Calls() {
		if c.Start.After(signalled.Add(time.Second)) {
			t.Errorf("a call of %s began %v after the signal", c.OutRequestNo, c.Start.Sub(signalled))
		}
	}
	atStop := w.judge(numbers)
	t.Logf("stopped after %v with %d of 300 decided", time.Since(signalled).Round(time.Millisecond), atStop.succeeded)
	if atStop.succeeded == 0 || atStop.succeeded == 300 {
		t.Errorf("the stop did not come under load: %d decided", atStop.succeeded)
	}
	p = w.start(nil)
	w.wait("the rest", 2*time.Minute, func() bool { return len(w.judge(numbers).missing) == 0 })
	w.stop(p)
}

// TestPartsDown: Redis, then the broker, are not there at the start and go
// away in the middle. The process waits, says for what, suspends intake,
// resumes by itself, and nothing is called without a claim.
func TestPartsDown(t *testing.T) {
	aloneOnStack(t)
	w := newWorld(t, alipaytest.Config{})
	nobody := dedupetest.FreeAddr(t)
	waiting := w.start(map[string]string{"REFUNDD_REDIS_URL": "redis://" + nobody})
	w.wait("readiness to name redis", time.Minute, func() bool {
		status, body := waiting.readiness()
		return status == http.StatusServiceUnavailable && strings.Contains(body, "waiting") && contains(waiting.log, "waiting for redis")
	})
	w.stop(waiting)
	waiting = w.start(map[string]string{"REFUNDD_ROCKETMQ_NAMESERVERS": nobody})
	w.wait("readiness to name rocketmq", time.Minute, func() bool {
		status, _ := waiting.readiness()
		return status == http.StatusServiceUnavailable && contains(waiting.log, "waiting for rocketmq")
	})
	w.stop(waiting)

	p := w.start(nil)
	p.waitReady()
	w.send(refundOf(1))
	w.wait("the first refund", time.Minute, func() bool { return len(w.judge([]string{"R00001"}).missing) == 0 })
	w.redisOff()
	calls := len(w.alipay.Calls())
	w.send(refundOf(2), refundOf(3), refundOf(4))
	w.wait("readiness to name redis", time.Minute, func() bool {
		status, body := p.readiness()
		return status == http.StatusServiceUnavailable && strings.Contains(body, "in trouble")
	})
	if n := len(w.alipay.Calls()); n != calls {
		t.Errorf("%d calls without a claim", n-calls)
	}
	w.redisOn()
	all := []string{"R00001", "R00002", "R00003", "R00004"}
	w.wait("the refunds of the trouble", 3*time.Minute, func() bool { return len(w.judge(all).missing) == 0 })
	p.waitReady()
	w.stop(p)
}

func (w *world) redisOff() {
	if w.real() {
		w.breakPart("/redis/stop")
		return
	}
	w.mini.SetError("LOADING for a test")
}

func (w *world) redisOn() {
	if w.real() {
		w.breakPart("/redis/start")
		return
	}
	w.mini.SetError("")
}

// TestMissingTopic: exit 2, and the topic and its variable are named.
func TestMissingTopic(t *testing.T) {
	t.Parallel()
	w := newWorld(t, alipaytest.Config{})
	p := w.start(map[string]string{"REFUNDD_TOPIC_PARKED": "no-such-topic"})
	select {
	case <-p.exited:
	case <-time.After(time.Minute):
		t.Fatal("it did not end")
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	if log := p.log.String(); !strings.Contains(log, "no-such-topic") || !strings.Contains(log, "REFUNDD_TOPIC_PARKED") {
		t.Errorf("it says: %s", log)
	}
}

// TestSpacing: two partial refunds of one trade, sent at once to two
// instances, are the spacing apart at Alipay, and both succeed.
func TestSpacing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, alipaytest.Config{})
	spaced := map[string]string{"REFUNDD_TRADE_SPACING": "3s", "REFUNDD_LEASE": "10s"}
	processes := []*process{w.start(spaced), w.start(spaced)}
	for _, p := range processes {
		p.waitReady()
	}
	numbers := []string{"R00000", "R00001", "R00002"} // of one trade
	w.send(refundOf(0), refundOf(1), refundOf(2))
	w.wait("three refunds", 2*time.Minute, func() bool { return len(w.judge(numbers).missing) == 0 })
	calls := w.alipay.Calls()
	for i := 1; i < len(calls); i++ {
		if gap := calls[i].Start.Sub(calls[i-1].Start); gap < 3*time.Second {
			t.Errorf("calls %d and %d began %v apart", i-1, i, gap)
		}
	}
	for _, p := range processes {
		w.stop(p)
	}
}
