// Package metrics counts what refundd does, for Prometheus, under the names of the contract. A [Metrics] has its own
// registry: two services in one process do not meet.
//
// Every label value comes from a fixed set of words or from the configuration, never from a command, so the number of
// series is bounded and no number of a refund, a trade or a buyer can leak into them. Counters whose words are known
// exist from the start with 0, so that the first increase of a rare one is seen as an increase.
package metrics

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"refundd/alipay"
	"refundd/notifyhttp"
)

// Metrics is safe for use by several goroutines. None of its methods fails or blocks.
type Metrics struct {
	registry *prometheus.Registry

	commands       *prometheus.CounterVec
	commandSeconds *prometheus.HistogramVec
	inflight       prometheus.Gauge
	calls          *prometheus.HistogramVec
	published      *prometheus.CounterVec
	publishFailed  *prometheus.CounterVec
	notifications  *prometheus.CounterVec
	retries        *prometheus.CounterVec
	parked         *prometheus.CounterVec
	contradictions prometheus.Counter
	fundsCut       prometheus.Counter
	lag            *prometheus.GaugeVec
	lagged         sync.Mutex // guards lags
	lags           map[string]int64
	redis          *prometheus.HistogramVec
	undecided      prometheus.Gauge
	ready          atomic.Pointer[func() bool]
	allowed        atomic.Uint64 // what Alipay lets through, as the bits of a float64
	allowedAt      atomic.Int64  // when that was said, in Unix nanoseconds
	oldest         atomic.Int64  // when the oldest undecided refund was first seen, in Unix nanoseconds; 0 = none
}

// NewMetrics returns metrics at zero, with the go_* and process_* ones beside them. It fails only if two of the names
// clash, which is a mistake of this package.
func NewMetrics() (*Metrics, error) {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		commands: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "refundd_commands_total",
			Help: "Commands that came to an end of a delivery, by kind and outcome.",
		}, []string{"kind", "outcome"}),
		commandSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "refundd_command_seconds",
			Help:    "Time from the birth of a command's first message to its event being stored.",
			Buckets: []float64{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600, 72 * 3600},
		}, []string{"kind", "outcome"}),
		inflight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "refundd_inflight",
			Help: "Commands being worked on in this process.",
		}),
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "refundd_alipay_call_seconds",
			Help:    "Time of one call of Alipay, by method and by what the answer proves.",
			Buckets: []float64{0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 3, 5, 10, 15, 30},
		}, []string{"method", "class"}),
		published: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "refundd_events_published_total",
			Help: "Events that the broker confirmed, by type, repeats included.",
		}, []string{"type"}),
		publishFailed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "refundd_publish_failures_total",
			Help: "Messages that the broker did not confirm, by topic. They may have been stored.",
		}, []string{"topic"}),
		notifications: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "refundd_notifications_total",
			Help: "Requests at the notification receiver, by how they ended.",
		}, []string{"result"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "refundd_retries_total",
			Help: "Commands sent to the retry topic, by reason.",
		}, []string{"reason"}),
		parked: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "refundd_parked_total",
			Help: "Commands sent to the parked topic, by reason.",
		}, []string{"reason"}),
		contradictions: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "refundd_contradictions_total",
			Help: "Refunds proven to have succeeded after they had been published as failed.",
		}),
		fundsCut: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "refundd_funds_cut_total",
			Help: "Succeeded events with funds_cut: something of where the money went was malformed or too long, and is left out.",
		}),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "refundd_consumer_lag",
			Help: "Messages that wait in those queues of a topic that this process consumes; the sum over all processes is the group's.",
		}, []string{"topic"}),
		redis: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "refundd_redis_call_seconds",
			Help:    "Time of one exchange with Redis, by operation.",
			Buckets: []float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 3},
		}, []string{"op"}),
		undecided: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "refundd_undecided_amount_yuan",
			Help: "Sum of the refunds of the whole group whose outcome is not known.",
		}),
	}
	oldest := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "refundd_oldest_undecided_seconds",
		Help: "Age of the oldest refund of the whole group whose outcome is not known; 0 = none.",
	}, m.oldestSeconds)
	allowed := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "refundd_alipay_allowed_rate",
		Help: "Calls per second that Alipay is believed to let through of the whole group; 0 = nothing shows that it limits them.",
	}, m.allowedRate)
	ready := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "refundd_ready",
		Help: "Whether the instance is ready, as /readyz says: 1 or 0.",
	}, m.readiness)
	for _, c := range []prometheus.Collector{
		m.commands, m.commandSeconds, m.inflight, m.calls, m.published, m.publishFailed, m.notifications, m.retries, m.parked,
		m.contradictions, m.fundsCut, m.lag, m.redis, m.undecided, oldest, ready, allowed,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := m.registry.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	m.createFixed()
	return m, nil
}

// createFixed makes the series whose label values the contract fixes.
func (m *Metrics) createFixed() {
	for _, kind := range []string{"refund", "coupon_refund"} {
		for _, outcome := range []string{"succeeded", "failed", "rejected", "unresolved"} {
			m.commands.WithLabelValues(kind, outcome)
			m.published.WithLabelValues(kind + "." + outcome + ".v1")
		}
		m.published.WithLabelValues(kind + ".notified.v1")
		m.commands.WithLabelValues(kind, "retried")
		m.commands.WithLabelValues(kind, "duplicate")
	}
	for _, method := range []string{
		alipay.MethodRefund, alipay.MethodQueryRefund, alipay.MethodRefundCoupon, alipay.MethodQueryCouponOperation,
	} {
		for _, class := range []string{"ok", "unknown", "blocked", "refused", "limited", "not_sent"} {
			m.calls.WithLabelValues(method, class)
		}
	}
	m.published.WithLabelValues("refund.deposit_back.v1")
	for _, result := range notifyhttp.Results() {
		m.notifications.WithLabelValues(string(result))
	}
	for _, reason := range []string{
		"unknown_outcome", "blocked_merchant", "blocked_configuration", "conflict_at_alipay", "rate_limited",
		"gateway_unavailable", "paused", "held", "too_old", "contradiction",
	} {
		m.retries.WithLabelValues(reason)
		m.parked.WithLabelValues(reason)
	}
	m.retries.WithLabelValues("unknown_merchant")
	m.parked.WithLabelValues("unreadable")
	m.parked.WithLabelValues("too_large")
	for _, op := range []string{
		"claim", "settle", "release", "confirm", "amend", "read", "reject", "probe", "probe_failed", "index", "lock", "limit", "brake",
	} {
		m.redis.WithLabelValues(op)
	}
}

// KnowReadiness gives what is asked at each scrape, from any goroutine; until then the instance is not ready.
func (m *Metrics) KnowReadiness(ready func() bool) { m.ready.Store(&ready) }

func (m *Metrics) readiness() float64 {
	if ready := m.ready.Load(); ready != nil && (*ready)() {
		return 1
	}
	return 0
}

// KnowTopics makes the series of the topics that are published to.
func (m *Metrics) KnowTopics(topics ...string) {
	for _, topic := range topics {
		m.publishFailed.WithLabelValues(topic)
	}
}

// Command counts one delivery's end. outcome is that of the event, or "retried" or "duplicate". If an event was stored
// for a command that was born at born, the time since then is observed; a zero born observes nothing, and one in the
// future, which clocks of two machines can bring about, observes 0.
func (m *Metrics) Command(kind, outcome string, born time.Time) {
	m.commands.WithLabelValues(kind, outcome).Inc()
	if !born.IsZero() {
		m.commandSeconds.WithLabelValues(kind, outcome).Observe(max(0, time.Since(born)).Seconds())
	}
}

// Inflight adds delta to the number of commands being worked on.
func (m *Metrics) Inflight(delta int) { m.inflight.Add(float64(delta)) }

// Call observes one call of Alipay. method is its full name, class one of ok, unknown, blocked, refused, limited and
// not_sent.
func (m *Metrics) Call(method, class string, took time.Duration) {
	m.calls.WithLabelValues(method, class).Observe(took.Seconds())
}

// Published counts an event that the broker confirmed. eventType has its version: refund.succeeded.v1.
func (m *Metrics) Published(eventType string) { m.published.WithLabelValues(eventType).Inc() }

// PublishFailed counts a message to topic that the broker did not confirm.
func (m *Metrics) PublishFailed(topic string) { m.publishFailed.WithLabelValues(topic).Inc() }

// Notification counts a request at the notification receiver.
func (m *Metrics) Notification(result notifyhttp.Result) {
	m.notifications.WithLabelValues(string(result)).Inc()
}

// Retried counts a command that was sent to the retry topic.
func (m *Metrics) Retried(reason string) { m.retries.WithLabelValues(reason).Inc() }

// Parked counts a command that was sent to the parked topic.
func (m *Metrics) Parked(reason string) { m.parked.WithLabelValues(reason).Inc() }

// FundsCut counts a succeeded event that does not tell in full where the money went.
func (m *Metrics) FundsCut() { m.fundsCut.Inc() }

// Contradiction counts a refund that is proven to have succeeded after failed was published.
func (m *Metrics) Contradiction() { m.contradictions.Inc() }

// RedisCall observes one exchange with Redis.
func (m *Metrics) RedisCall(op string, took time.Duration) {
	m.redis.WithLabelValues(op).Observe(took.Seconds())
}

// SetUndecided reports the sum of the group's undecided refunds in fen, and when the oldest of them was first seen; zero =
// none. The age goes on growing between two calls, so a caller that has stopped looking cannot hide it.
//
// The gauge is in yuan and a float because Prometheus has nothing else; it is for graphs, not for accounts.
func (m *Metrics) SetUndecided(fen int64, oldest time.Time) {
	m.undecided.Set(float64(fen) / 100)
	if oldest.IsZero() {
		m.oldest.Store(0)
		return
	}
	m.oldest.Store(oldest.UnixNano())
}

// SetAllowedRate notes how many calls per second Alipay is believed to let through, 0 if it does not limit them. Ten
// minutes later, when nothing was called since, it counts as not limited: the group has forgotten it, too.
func (m *Metrics) SetAllowedRate(perSecond float64) {
	m.allowed.Store(math.Float64bits(perSecond))
	m.allowedAt.Store(time.Now().UnixNano())
}

func (m *Metrics) allowedRate() float64 {
	if time.Since(time.Unix(0, m.allowedAt.Load())) > 10*time.Minute {
		return 0
	}
	return math.Float64frombits(m.allowed.Load())
}

// SetLag reports how many messages wait in this process's queues, by topic. A topic that is not named any more has no
// queue here: another process reports it, and two would count its messages twice.
func (m *Metrics) SetLag(lag map[string]int64) {
	m.lagged.Lock()
	defer m.lagged.Unlock()
	for topic := range m.lags {
		if _, still := lag[topic]; !still {
			m.lag.DeleteLabelValues(topic)
		}
	}
	for topic, n := range lag {
		m.lag.WithLabelValues(topic).Set(float64(n))
	}
	m.lags = maps.Clone(lag)
}

// Handler serves the metrics in the formats that Prometheus reads.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		Registry:            m.registry,
		MaxRequestsInFlight: 4,
	})
}

func (m *Metrics) oldestSeconds() float64 {
	nanos := m.oldest.Load()
	if nanos == 0 {
		return 0
	}
	return max(0, time.Since(time.Unix(0, nanos))).Seconds()
}
