package metrics_test

import (
	"maps"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"refundd/cmd/internal/metrics"
	"refundd/notifyhttp"
)

// recorder is what package consumer wants of a Metrics.
type recorder interface {
	Command(kind, outcome string, born time.Time)
	Inflight(delta int)
	Call(method, class string, took time.Duration)
	Published(eventType string)
	PublishFailed(topic string)
	Retried(reason string)
	Parked(reason string)
	Contradiction()
}

var _ recorder = (*metrics.Metrics)(nil)

func newMetrics(t *testing.T) *metrics.Metrics {
	t.Helper()
	m, err := metrics.NewMetrics()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// scrape returns every series and its value as the handler tells them.
func scrape(t *testing.T, m *metrics.Metrics) map[string]float64 {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("status %d", w.Code)
	}
	series := map[string]float64{}
	for line := range strings.Lines(w.Body.String()) {
		line = strings.TrimSpace(line)
		i := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || i < 0 {
			continue
		}
		value, err := strconv.ParseFloat(line[i+1:], 64)
		if err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		series[line[:i]] = value
	}
	return series
}

func TestMethodsMoveTheContractsSeries(t *testing.T) {
	tests := map[string]struct {
		act  func(*metrics.Metrics)
		want map[string]float64
	}{
		"command": {
			func(m *metrics.Metrics) { m.Command("refund", "succeeded", time.Now().Add(-time.Hour)) },
			map[string]float64{
				`refundd_commands_total{kind="refund",outcome="succeeded"}`:                    1,
				`refundd_command_seconds_count{kind="refund",outcome="succeeded"}`:             1,
				`refundd_command_seconds_bucket{kind="refund",outcome="succeeded",le="900"}`:   0,
				`refundd_command_seconds_bucket{kind="refund",outcome="succeeded",le="14400"}`: 1,
			},
		},
		"command from the future": {
			func(m *metrics.Metrics) { m.Command("refund", "failed", time.Now().Add(time.Hour)) },
			map[string]float64{`refundd_command_seconds_sum{kind="refund",outcome="failed"}`: 0},
		},
		"retried command": {
			func(m *metrics.Metrics) { m.Command("refund", "retried", time.Time{}) },
			map[string]float64{`refundd_commands_total{kind="refund",outcome="retried"}`: 1},
		},
		"inflight": {
			func(m *metrics.Metrics) { m.Inflight(3); m.Inflight(-1) },
			map[string]float64{`refundd_inflight`: 2},
		},
		"call": {
			func(m *metrics.Metrics) { m.Call("alipay.trade.refund", "unknown", 4*time.Second) },
			map[string]float64{
				`refundd_alipay_call_seconds_count{class="unknown",method="alipay.trade.refund"}`: 1,
				`refundd_alipay_call_seconds_sum{class="unknown",method="alipay.trade.refund"}`:   4,
			},
		},
		"published": {
			func(m *metrics.Metrics) { m.Published("refund.succeeded.v1") },
			map[string]float64{`refundd_events_published_total{type="refund.succeeded.v1"}`: 1},
		},
		"publish failed": {
			func(m *metrics.Metrics) { m.PublishFailed("refund-event") },
			map[string]float64{`refundd_publish_failures_total{topic="refund-event"}`: 1},
		},
		"ends": {
			func(m *metrics.Metrics) { m.Retried("held"); m.Parked("too_large"); m.Contradiction() },
			map[string]float64{
				`refundd_retries_total{reason="held"}`:     1,
				`refundd_parked_total{reason="too_large"}`: 1,
				`refundd_contradictions_total`:             1,
			},
		},
		"notification": {
			func(m *metrics.Metrics) { m.Notification(notifyhttp.BadSignature) },
			map[string]float64{
				`refundd_notifications_total{result="bad_signature"}`: 1,
				`refundd_notifications_total{result="published"}`:     0,
			},
		},
		"redis": {
			func(m *metrics.Metrics) { m.RedisCall("claim", 2*time.Millisecond) },
			map[string]float64{`refundd_redis_call_seconds_count{op="claim"}`: 1},
		},
		"lag": {
			func(m *metrics.Metrics) { m.SetLag(map[string]int64{"refund-command": 17}) },
			map[string]float64{`refundd_consumer_lag{topic="refund-command"}`: 17},
		},
		"undecided": {
			func(m *metrics.Metrics) { m.SetUndecided(12345, time.Time{}) },
			map[string]float64{`refundd_undecided_amount_yuan`: 123.45, `refundd_oldest_undecided_seconds`: 0},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := newMetrics(t)
			tt.act(m)
			got := scrape(t, m)
			for series, want := range tt.want {
				if v, ok := got[series]; !ok || v != want {
					t.Errorf("%s = %v (there: %t), want %v", series, v, ok, want)
				}
			}
		})
	}
}

func TestARetriedCommandHasNoTime(t *testing.T) {
	m := newMetrics(t)
	m.Command("refund", "retried", time.Time{})
	for series := range scrape(t, m) {
		if strings.HasPrefix(series, "refundd_command_seconds") {
			t.Errorf("there is %s", series)
		}
	}
}

// TestAQueueThatWentElsewhereIsNotCountedHere: after a rebalance another process
// tells the lag of its queues.
func TestAQueueThatWentElsewhereIsNotCountedHere(t *testing.T) {
	m := newMetrics(t)
	m.SetLag(map[string]int64{"refund-command": 17, "refund-retry": 1})
	m.SetLag(map[string]int64{"refund-retry": 0})
	got := scrape(t, m)
	if n, there := got[`refundd_consumer_lag{topic="refund-command"}`]; there {
		t.Errorf("the topic without a queue here has lag %v", n)
	}
	if n, there := got[`refundd_consumer_lag{topic="refund-retry"}`]; !there || n != 0 {
		t.Errorf("refund-retry has lag %v (there: %t)", n, there)
	}
}

func TestAgeOfTheOldestUndecidedGrowsByItself(t *testing.T) {
	m := newMetrics(t)
	m.SetUndecided(1, time.Now().Add(-time.Hour))
	first := scrape(t, m)["refundd_oldest_undecided_seconds"]
	if first < 3600 {
		t.Fatalf("age is %v s, want at least 3600", first)
	}
	deadline := time.Now().Add(5 * time.Second)
	for scrape(t, m)["refundd_oldest_undecided_seconds"] <= first {
		if time.Now().After(deadline) {
			t.Fatal("age does not grow between two SetUndecided")
		}
	}
	m.SetUndecided(0, time.Time{})
	if age := scrape(t, m)["refundd_oldest_undecided_seconds"]; age != 0 {
		t.Errorf("age is %v without anything undecided", age)
	}
}

func TestKnownCountersStartAtZero(t *testing.T) {
	got := scrape(t, newMetrics(t))
	for _, series := range []string{
		`refundd_commands_total{kind="refund",outcome="duplicate"}`,
		`refundd_commands_total{kind="coupon_refund",outcome="unresolved"}`,
		`refundd_events_published_total{type="coupon_refund.failed.v1"}`,
		`refundd_alipay_call_seconds_count{class="not_sent",method="alipay.trade.refund"}`,
		`refundd_parked_total{reason="contradiction"}`,
		`refundd_parked_total{reason="unreadable"}`,
		`refundd_retries_total{reason="unknown_outcome"}`,
		`refundd_retries_total{reason="unknown_merchant"}`,
		`refundd_redis_call_seconds_count{op="settle"}`,
		`refundd_contradictions_total`,
		`refundd_inflight`,
	} {
		if v, ok := got[series]; !ok || v != 0 {
			t.Errorf("%s = %v (there: %t), want 0", series, v, ok)
		}
	}
	names := slices.Collect(maps.Keys(got))
	for _, prefix := range []string{"go_goroutines", "process_"} {
		if !slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, prefix) }) {
			t.Errorf("no %s metric", prefix)
		}
	}
}

func TestTwoMetricsDoNotMeet(t *testing.T) {
	a, b := newMetrics(t), newMetrics(t)
	a.Contradiction()
	if v := scrape(t, b)["refundd_contradictions_total"]; v != 0 {
		t.Errorf("the other one counts %v", v)
	}
}
