package service

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"refundd/cmd/internal/admin"
	"refundd/cmd/internal/metrics"
	"refundd/consumer"
	"refundd/dedupe"
)

// state is what readiness shows.
type state struct {
	mu        sync.Mutex
	waits     map[string]string // part -> why it is waited for
	seen      map[string]bool
	consuming bool
	draining  bool
	alipay    string
	alipayAt  time.Time
}

func newState() *state {
	return &state{waits: map[string]string{"redis": "not asked yet", "rocketmq": "not asked yet"}, seen: map[string]bool{}}
}

func (s *state) set(flag *bool, to bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*flag = to
}

func (s *state) waiting(part string, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waits[part] = why.Error()
}

func (s *state) there(part string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waits, part)
}

// again reports whether it was asked with this name before.
func (s *state) again(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.seen[name]
	s.seen[name] = true
	return before
}

// consumes notes that a broker knows our consumer, and reports whether that was
// known before.
func (s *state) consumes() (before bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, s.consuming = s.consuming, true
	return before
}

func (s *state) called(class string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alipay, s.alipayAt = class, time.Now()
}

// status is GET /readyz.
func (s *service) status() admin.Readiness {
	st := s.state
	st.mu.Lock()
	defer st.mu.Unlock()
	part := func(name string, p consumer.Part) admin.Part {
		switch {
		case st.waits[name] != "":
			return admin.Part{Name: name, State: "waiting: " + st.waits[name]}
		case p == consumer.PartRocketMQ && !st.consuming:
			if words, ready := s.health.State(p); !ready {
				return admin.Part{Name: name, State: words}
			}
			return admin.Part{Name: name, State: "starting"}
		}
		words, ready := s.health.State(p)
		return admin.Part{Name: name, State: words, OK: ready}
	}
	calls := admin.Part{Name: admin.PartAlipay, State: "unknown", OK: true}
	if st.alipay != "" {
		calls.State = fmt.Sprintf("%s (%s ago)", st.alipay, time.Since(st.alipayAt).Round(time.Second))
		calls.OK = st.alipay == "ok" || st.alipay == "refused"
	}
	draining := admin.Part{Name: "draining", State: "no", OK: true}
	if st.draining {
		draining = admin.Part{Name: "draining", State: "yes"}
	}
	return admin.Readiness{Parts: []admin.Part{
		part("rocketmq", consumer.PartRocketMQ), part("redis", consumer.PartRedis), calls, draining,
		s.paused(),
	}}
}

// paused says which brakes are on. They are an operator's will and make the
// service no less ready: queries and notifications go on.
func (s *service) paused() admin.Part {
	brakes, known := s.brakes.On()
	switch {
	case !known:
		return admin.Part{Name: "paused", State: "not known yet", OK: true}
	case len(brakes) == 0:
		return admin.Part{Name: "paused", State: "no", OK: true}
	}
	var on []string
	for _, b := range brakes {
		on = append(on, fmt.Sprintf("%s (%s, by %s)", braked(b), b.Reason, b.By))
	}
	slices.Sort(on)
	return admin.Part{Name: "paused", State: strings.Join(on, "; "), OK: true}
}

// braked is what a brake is on.
func braked(b dedupe.Brake) string {
	return cmp.Or(b.Kind, "every kind") + " " + cmp.Or(b.Merchant, "every merchant")
}

// observed is the metrics, with an ear for what the page shows.
type observed struct {
	*metrics.Metrics
	state *state
	page  *page
}

func (o observed) Call(method, class string, took time.Duration) {
	o.Metrics.Call(method, class, took)
	o.state.called(class)
	o.page.calls.add(class, time.Now())
}

func (o observed) Command(kind, outcome string, born time.Time) {
	o.Metrics.Command(kind, outcome, born)
	o.page.outcomes.add(outcome, time.Now())
}

func (o observed) Inflight(delta int) {
	o.Metrics.Inflight(delta)
	o.page.inflight.Add(int64(delta))
}

func (o observed) Retried(reason string) {
	o.Metrics.Retried(reason)
	o.page.waiting.add(reason, time.Now())
}

func (o observed) Parked(reason string) {
	o.Metrics.Parked(reason)
	o.page.parked.add(reason, time.Now())
}
