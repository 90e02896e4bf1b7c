package consumer

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"refundd/consumer/rocketmqtest"
	"refundd/dedupe"
)

// series keeps everything that is counted, a line each.
type series struct {
	mu             sync.Mutex
	lines          []string
	inflight, most int
}

func (s *series) count(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

func (s *series) Command(kind, outcome string, born time.Time) {
	if !born.IsZero() {
		s.count("%s %s, born %d", kind, outcome, born.UnixMilli())
		return
	}
	s.count("%s %s", kind, outcome)
}

func (s *series) Inflight(delta int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inflight += delta
	s.most = max(s.most, s.inflight)
}

func (s *series) Call(method, class string, _ time.Duration) { s.count("call %s %s", method, class) }
func (s *series) Published(eventType string)                 { s.count("published %s", eventType) }
func (s *series) PublishFailed(topic string)                 { s.count("failed to publish to %s", topic) }
func (s *series) Retried(reason string)                      { s.count("retried %s", reason) }
func (s *series) Parked(reason string)                       { s.count("parked %s", reason) }
func (s *series) FundsCut()                                  { s.count("funds_cut") }
func (s *series) Contradiction()                             { s.count("contradiction") }

// measured makes the bench count into a new series.
func (b *bench) measured() *series {
	s := &series{}
	b.handler.metrics = s
	return s
}

// want compares what was counted, in any order, and begins anew.
func (s *series) want(t *testing.T, lines ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.Sort(s.lines)
	slices.Sort(lines)
	if !slices.Equal(s.lines, lines) {
		t.Errorf("counted\n\t%s\nwant\n\t%s", strings.Join(s.lines, "\n\t"), strings.Join(lines, "\n\t"))
	}
	s.lines = nil
}

// refuseFirst makes the broker refuse the next publish to the topic, as one in
// trouble does.
func (b *bench) refuseFirst(topic string) {
	var once sync.Once
	b.broker.SetHook(func(r rocketmqtest.Request) (action rocketmqtest.Action) {
		if r.Properties != nil && r.Topic == topic {
			once.Do(func() { action = rocketmqtest.Action{Kind: rocketmqtest.Refuse, Code: rocketmqtest.SystemError} })
		}
		return action
	})
}

// TestEndsAreCounted: what the series say of each end of a delivery.
func TestEndsAreCounted(t *testing.T) {
	const call, query = "call alipay.trade.refund ", "call alipay.trade.fastpay.refund.query "
	b := newBench(t, func(c *Config) { c.RetryDelays = []time.Duration{time.Second} })
	s := b.measured()

	d := b.command(refundBody("R1", "T1", "3.00"))
	born := fmt.Sprintf(", born %d", d.Born.UnixMilli())
	b.refuseFirst(eventTopic)
	b.handle(d)
	s.want(t, call+"ok", "failed to publish to refund-event", "published refund.succeeded.v1", "refund succeeded"+born)
	b.handle(d)
	s.want(t, "published refund.succeeded.v1", "refund duplicate")

	d = b.command(refundBody("R1", "T1", "4.00"))
	b.handle(d)
	s.want(t, "published refund.rejected.v1", fmt.Sprintf("refund rejected, born %d", d.Born.UnixMilli()))

	d = b.command("no JSON")
	b.refuseFirst(parkedTopic)
	b.handle(d)
	s.want(t, "failed to publish to refund-parked", "parked unreadable",
		"published refund.rejected.v1", fmt.Sprintf("refund rejected, born %d", d.Born.UnixMilli()))

	d = b.command(refundBody("fault-frozen-1", "T1", "3.00"))
	b.refuseFirst(retryTopic)
	b.handle(d)
	s.want(t, call+"blocked", "failed to publish to refund-retry", "retried blocked_merchant", "refund retried")
	b.settleAll()
	s.want(t, call+"blocked", "parked blocked_merchant", "published refund.unresolved.v1", fmt.Sprintf("refund unresolved, born %d", d.Born.UnixMilli()))

	if s.inflight != 0 || s.most != 1 {
		t.Errorf("in flight: %d at the end, at most %d", s.inflight, s.most)
	}
}

// TestRepublishingIsCounted: the same of what is made from a record.
func TestRepublishingIsCounted(t *testing.T) {
	b := newPatientBench(t, nil)
	b.inDoubt(b.command(refundBody("R1", "T1", "1.00")))
	s := b.measured()
	record := func() (string, dedupe.Record) {
		r, err := b.store.Read(t.Context(), identityOf("R1"))
		check(t, err)
		return b.store.Key(identityOf("R1")), r
	}
	republish := func(topic string) {
		t.Helper()
		key, r := record()
		b.refuseFirst(topic)
		if err := b.handler.Republish(t.Context(), key, r); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("the broker refused, and the error is %v", err)
		}
		check(t, b.handler.Republish(t.Context(), key, r))
	}
	republish(retryTopic)
	s.want(t, "failed to publish to refund-retry", "retried held")

	check(t, b.alipay.SetFaults(map[string]float64{"query-lost": 1}))
	b.cfg.RetryDelays = nil
	b.reopen()
	b.handle(b.waiting())
	s = b.measured()
	republish(parkedTopic)
	s.want(t, "failed to publish to refund-parked", "parked unknown_outcome", "published refund.unresolved.v1")
	republish(eventTopic)
	s.want(t, "parked unknown_outcome", "failed to publish to refund-event", "parked unknown_outcome", "published refund.unresolved.v1")

	b.alipay.Heal()
	check(t, b.alipay.SetFaults(nil))
	b.nudge(Notified{OutRequestNo: "R1", OutTradeNo: "T1"})
	s.want(t, "retried held")
	m := b.broker.Messages(retryTopic)
	nudged := m[len(m)-1]
	b.handle(Delivery{Topic: retryTopic, MsgID: nudged.MsgID, Body: nudged.Body, Born: time.Now(), Properties: nudged.Properties})
	s = b.measured()
	republish(eventTopic)
	s.want(t, "failed to publish to refund-event", "published refund.succeeded.v1")
}
