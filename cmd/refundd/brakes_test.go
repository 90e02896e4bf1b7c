//go:build !race

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"refundd/alipay/alipaytest"
	"refundd/producer"
)

// The contract's numbers, and what a busy machine may add to the first: a call
// that was let go in time may have its turn on the processor later.
const (
	stopsWithin = time.Second
	flowsWithin = 2 * time.Minute
	busyMachine = time.Second
)

// TestBrakes: refundctl pauses and resumes while refunds come in at two
// instances. A second after the pause neither makes a refund call, while queries
// go on and decide what was in doubt; waiting spends no try, and what waited is
// carried out after the resume.
func TestBrakes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, alipaytest.Config{KeepCalls: 1_000_000})
	ctl := w.refundctl()
	change := map[string]string{
		"REFUNDD_MERCHANTS_FILE": w.merchantsFile("doubtful"),
		"REFUNDD_RETRY_DELAYS":   strings.Repeat("1s,", 200) + "1s",
	}
	processes := []*process{w.start(change), w.start(change)}
	for _, p := range processes {
		p.waitReady()
	}
	retries := newTopicReader(t, w.nameServer, w.topic("retry"))

	var inDoubt, bodies []string
	for n := range 20 {
		inDoubt = append(inDoubt, nameOf("refund", "doubtful", fmt.Sprintf("D%05d", n)))
		bodies = append(bodies, fmt.Sprintf(`{"out_request_no":"D%05d","out_trade_no":"D%05d","refund_amount":"1.00","merchant":"doubtful"}`, n, n))
	}
	check(t, w.alipay.SetFaults(map[string]float64{"answer-lost-after": 1, "query-lost": 1}))
	w.send(bodies...)
	w.wait("a call for each refund in doubt", time.Minute, func() bool { return len(w.refundCalls("D")) >= len(inDoubt) })
	check(t, w.alipay.SpoilMerchant(tokenOf("doubtful"), "query-lost"))
	check(t, w.alipay.SetFaults(nil))

	stream := w.stream()
	w.wait("calls by both instances", time.Minute, func() bool {
		return processes[0].metric(`refundd_alipay_call_seconds_count{class="ok",method="alipay.trade.refund"}`) > 5 &&
			processes[1].metric(`refundd_alipay_call_seconds_count{class="ok",method="alipay.trade.refund"}`) > 5
	})

	ctl("pause", "--reason", "a test")
	paused := time.Now()
	for i, p := range processes {
		w.wait(fmt.Sprintf("paused commands at instance %d", i), time.Minute, func() bool {
			_, says := p.readiness()
			return p.metric(`refundd_retries_total{reason="paused"}`) > 10 && strings.Contains(says, "every kind every merchant (a test")
		})
	}
	queries := len(w.alipay.Calls()) - len(w.refundCalls(""))
	w.wait("the contract's second, and some more", time.Minute, func() bool { return time.Since(paused) > 2*(stopsWithin+busyMachine) })
	w.wait("queries that go on", time.Minute, func() bool { return len(w.alipay.Calls())-len(w.refundCalls("")) > queries })
	check(t, w.alipay.SpoilMerchant(tokenOf("doubtful"), ""))
	w.wait("what was in doubt, by queries", time.Minute, func() bool { return len(w.judge(inDoubt).missing) == 0 })

	resuming := time.Now()
	ctl("resume")
	resumed := time.Now()
	numbers := stream()
	w.wait("what was paused", flowsWithin, func() bool { return len(w.judge(numbers).missing) == 0 })
	took := time.Since(resumed)

	called := map[string]bool{} // before the pause
	for _, c := range w.refundCalls("") {
		called[c.OutRequestNo] = called[c.OutRequestNo] || c.Start.Before(paused.Add(stopsWithin+busyMachine))
		if c.Start.After(paused.Add(stopsWithin+busyMachine)) && c.Start.Before(resuming) {
			t.Errorf("a refund call of %s began %v after the pause", c.OutRequestNo, c.Start.Sub(paused))
		}
	}
	waited := map[string]int{}
	for _, m := range retries.read(w.topic("retry")) {
		c, err := producer.CopyFromProperties(m.Properties, m.Body)
		check(t, err)
		var command struct {
			Number string `json:"out_request_no"`
		}
		check(t, json.Unmarshal(m.Body, &command))
		if c.Reason != string(producer.ReasonPaused) || called[command.Number] {
			continue
		}
		waited[command.Number]++
		if c.Try != 0 {
			t.Errorf("%s has spent %d tries by waiting", command.Number, c.Try)
		}
	}
	if len(waited) == 0 {
		t.Error("no command waited")
	}
	t.Logf("paused for %v: %d of %d commands waited, and flowed within %v of the resume; %d refunds in doubt were decided by queries meanwhile",
		resuming.Sub(paused).Round(time.Millisecond), len(waited), len(numbers), took.Round(time.Millisecond), len(inDoubt))
	for _, p := range processes {
		w.stop(p)
	}
}

// stream sends refunds all the time, until the function it returns is called,
// which tells their numbers.
func (w *world) stream() (end func() []string) {
	ctx, cancel := context.WithCancel(w.t.Context())
	numbers := make(chan []string, 1)
	go func() {
		var sent []string
		for tick := time.NewTicker(20 * time.Millisecond); ctx.Err() == nil; <-tick.C {
			w.send(refundOf(len(sent)))
			sent = append(sent, fmt.Sprintf("R%05d", len(sent)))
		}
		numbers <- sent
	}()
	w.t.Cleanup(cancel)
	return func() []string {
		cancel()
		return <-numbers
	}
}

// refundCalls are the calls, without the queries, for numbers that begin so.
func (w *world) refundCalls(prefix string) []alipaytest.Call {
	var calls []alipaytest.Call
	for _, c := range w.alipay.Calls() {
		if c.Method == "alipay.trade.refund" && strings.HasPrefix(c.OutRequestNo, prefix) {
			calls = append(calls, c)
		}
	}
	return calls
}

// refundctl runs the operator's tool against the world's Redis.
func (w *world) refundctl() func(args ...string) {
	w.t.Helper()
	path := filepath.Join(w.t.TempDir(), "refundctl")
	out, err := exec.CommandContext(w.t.Context(), "go", "build", "-o", path, "../refundctl").CombinedOutput()
	if err != nil {
		w.t.Fatalf("build: %v: %s", err, out)
	}
	return func(args ...string) {
		w.t.Helper()
		cmd := exec.CommandContext(w.t.Context(), path, args...)
		cmd.Env = w.environment(nil)
		if out, err := cmd.CombinedOutput(); err != nil {
			w.t.Fatalf("refundctl %v: %v: %s", args, err, out)
		}
	}
}

// metric is the value of one series, 0 if there is none.
func (p *process) metric(series string) float64 {
	req, err := http.NewRequestWithContext(p.w.t.Context(), http.MethodGet, "http://"+p.admin+"/metrics", nil)
	check(p.w.t, err)
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return 0
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	check(p.w.t, err)
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			check(p.w.t, err)
			return n
		}
	}
	return 0
}
