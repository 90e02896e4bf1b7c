package main

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 3, 2}, 2.5},
	} {
		if got := median(c.values); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.values, got, c.want)
		}
	}
}

func TestQuantile(t *testing.T) {
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(i+1))
	}
	for _, c := range []struct {
		sorted []time.Duration
		q      float64
		want   time.Duration
	}{
		{nil, 0.5, 0}, {hundred, 0, 1}, {hundred, 0.5, 50}, {hundred, 0.99, 99}, {hundred, 1, 100}, {hundred[:1], 0.99, 1},
	} {
		if got := quantile(c.sorted, c.q); got != c.want {
			t.Errorf("quantile of %d at %v = %d, want %d", len(c.sorted), c.q, got, c.want)
		}
	}
}

func TestSteady(t *testing.T) {
	var times []time.Time
	at := time.Unix(1_800_000_000, 0)
	for i := range 100 { // a slow start and a slow end around 100 a second
		step := 10 * time.Millisecond
		if i < 10 || i > 90 {
			step = time.Second
		}
		at = at.Add(step)
		times = append(times, at)
	}
	if got := steady(times); math.Abs(got-100) > 0.01 {
		t.Errorf("steady = %v a second, want 100", got)
	}
	for _, few := range [][]time.Time{nil, times[:1], {at, at, at}} {
		if got := steady(few); got != 0 {
			t.Errorf("steady of %d = %v, want 0", len(few), got)
		}
	}
}

func TestLeastShare(t *testing.T) {
	for _, c := range []struct {
		each []time.Duration
		want float64
	}{
		{[]time.Duration{7}, 1}, {[]time.Duration{30, 10}, 0.5}, {[]time.Duration{5, 5, 5, 0}, 0}, {[]time.Duration{0, 0}, 0},
	} {
		if got := leastShare(c.each); got != c.want {
			t.Errorf("leastShare(%v) = %v, want %v", c.each, got, c.want)
		}
	}
}

func TestSamples(t *testing.T) {
	samples := []sample{{done: 0, rss: 10}, {done: 9, rss: 20, inFlight: 7}, {done: 11, rss: 30, goroutines: 5}, {done: 60, rss: 25}, {done: 100, rss: 28}}
	for share, want := range map[float64]float64{0.1: 30, 0.5: 25, 1: 28} {
		if got := rssAt(samples, 100, share); got != want {
			t.Errorf("memory at %v = %v, want %v", share, got, want)
		}
	}
	if got := rssAt(samples[:3], 100, 1); got != 0 {
		t.Errorf("memory at an end that nobody saw = %v, want 0", got)
	}
	if got := peak(samples, func(s sample) float64 { return s.inFlight }); got != 7 {
		t.Errorf("peak = %v, want 7", got)
	}
}

func TestRedisState(t *testing.T) {
	node := "# Stats\r\ntotal_connections_received:5\r\ntotal_net_input_bytes:100\r\ntotal_net_output_bytes:20\r\ntotal_reads_processed:40\r\n" +
		"# Commandstats\r\ncmdstat_set:calls=10,usec=15,usec_per_call=1.50\r\ncmdstat_evalsha:calls=2,usec=60,usec_per_call=30.00\r\n" +
		"cmdstat_evalsha_ro:calls=9,usec=9,usec_per_call=1.00\r\n# Memory\r\nused_memory:1000\r\nused_memory_rss:7777\r\n"
	var s redisState
	for range 2 {
		if err := s.add(node); err != nil {
			t.Fatal(err)
		}
	}
	want := redisState{reads: 80, traffic: 240, connections: 10, scripts: 4, scriptMicros: 120, sets: 20, setMicros: 30, memory: 2000}
	if s != want {
		t.Errorf("two nodes counted %+v, want %+v", s, want)
	}
	if err := s.add("used_memory:1\r\n"); err == nil {
		t.Error("a Redis that counts nothing is no error")
	}
}

func TestMetrics(t *testing.T) {
	m := parseMetrics("# HELP go_goroutines Number.\n# TYPE go_goroutines gauge\ngo_goroutines 12\n" +
		"refundd_redis_call_seconds_count{op=\"claim\"} 10\nrefundd_redis_call_seconds_count{op=\"settle\"} 1.1e+01\n\nnonsense\n")
	if m["go_goroutines"] != 12 || len(m) != 3 {
		t.Errorf("metrics are %v", m)
	}
	if got := m.exchanges(); !math.IsNaN(got) {
		t.Errorf("%v exchanges of who does not tell all, want NaN", got)
	}
	for _, op := range []string{"release", "confirm", "amend", "limit"} {
		m[`refundd_redis_call_seconds_count{op="`+op+`"}`] = 1
	}
	if got := m.exchanges(); got != 25 {
		t.Errorf("%v exchanges, want 25", got)
	}
}

func TestExported(t *testing.T) {
	text := "export REFUNDD_TEST_NAMESERVERS=127.0.0.1:1\nexport REFUNDD_TEST_REDIS=redis://127.0.0.1:2/0\nexport REFUNDD_TEST_STACK=http://127.0.0.1:3\n"
	got, err := exported(strings.NewReader(text))
	if err != nil || got["REFUNDD_TEST_NAMESERVERS"] != "127.0.0.1:1" || got["REFUNDD_TEST_REDIS"] != "redis://127.0.0.1:2/0" {
		t.Errorf("exported %v, %v", got, err)
	}
	if _, err := exported(strings.NewReader(text[:60])); err == nil {
		t.Error("a stack that ended before it was up is no error")
	}
}

func TestLimit(t *testing.T) {
	for name, c := range map[string]struct {
		l    load
		want time.Duration
	}{
		"backlog":   {load{refunds: 5000, instances: 1}, 5*time.Minute + 50*time.Second},
		"slow":      {load{refunds: 1000, instances: 2, workers: 10, latency: time.Second}, 5*time.Minute + 110*time.Second},
		"at a rate": {load{refunds: 2000, instances: 1, rate: 100}, 5*time.Minute + 40*time.Second},
	} {
		if got := c.l.limit(); got != c.want {
			t.Errorf("%s: limit %v, want %v", name, got, c.want)
		}
	}
}

func TestCheckOptions(t *testing.T) {
	good := func() options {
		return options{rounds: 1, instances: 1, queues: 8, inFlight: 1, seconds: 1, backlog: 10, rate: 10}
	}
	o := good()
	o.scale = "all"
	if err := o.check(); err != nil || o.scale != "redis,flush,instances,inflight,drain" {
		t.Errorf("-scale all is %q, %v", o.scale, err)
	}
	for want, spoil := range map[string]func(*options){
		"-queues 0":       func(o *options) { o.queues = 0 },
		"-workers -1":     func(o *options) { o.workers = -1 },
		"-scale sentinel": func(o *options) { o.scale = "redis,sentinel" },
		"peer":            func(o *options) { o.scale, o.contender = "redis", contenderPeer },
		"-backlog":        func(o *options) { o.scale, o.backlog = "redis", 0 },
	} {
		o := good()
		spoil(&o)
		if err := o.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error that names %q, got %v", want, err)
		}
	}
}
