package consumer

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"refundd/alipay"
	"refundd/producer"
)

// overtaking is a gateway whose answer to a refund call is here only when somebody
// else has had the time to work on the same refund.
type overtaking struct {
	*alipay.Client
	meanwhile func()
}

func (o overtaking) Refund(ctx context.Context, req *alipay.RefundRequest) (*alipay.RefundResponse, error) {
	resp, err := o.Client.Refund(ctx, req)
	o.meanwhile()
	return resp, err
}

// TestDecidedElsewhereIsPublished (R6): a worker that proves what another has
// decided in the meantime publishes what is stored, not what it would have said.
func TestDecidedElsewhereIsPublished(t *testing.T) {
	b := newBench(t, nil)
	d := b.command(refundBody("R1", "T1", "3.00"))
	other := b.handler
	b.reopen()
	b.handler.alipay = overtaking{b.client, func() {
		b.redis.SetTime(time.Now().Add(b.cfg.Lease + time.Second))
		if !other.Handle(context.Background(), d).Acknowledged() {
			t.Error("the other worker did not acknowledge")
		}
	}}
	b.handle(d)
	stored, err := b.store.Read(t.Context(), identityOf("R1"))
	check(t, err)
	e, err := producer.DecodeEncoded(stored.Event)
	check(t, err)
	m := b.broker.Messages(eventTopic)
	if len(m) != 2 || !bytes.Equal(m[0].Body, e.Body) || !bytes.Equal(m[1].Body, e.Body) {
		t.Fatalf("%d events, want the stored one twice: %+v", len(m), b.events())
	}
	if first := b.final("R1"); first.ConfirmedBy != producer.ByQuery || b.moved("R1") != 1 {
		t.Errorf("decided by %s, moved %d times", first.ConfirmedBy, b.moved("R1"))
	}
}

// TestDecidedElsewhereLeavesTheIndex: once the stored event is out, nobody has to
// look for it any more, although its worker would have written another.
func TestDecidedElsewhereLeavesTheIndex(t *testing.T) {
	b := newBench(t, func(c *Config) { c.QueryAfter = 10 * time.Millisecond })
	check(t, b.alipay.SetFaults(map[string]float64{"gw-20000-before": 1}))
	b.handle(b.command(refundBody("R1", "T1", "3.00")))
	b.alipay.Heal()
	check(t, b.alipay.SetFaults(nil))
	waitFor(t, "the copy", func() bool { return len(b.broker.Messages(retryTopic)) == 1 })
	m := b.broker.Messages(retryTopic)[0]
	d := Delivery{Topic: m.Topic, MsgID: m.MsgID, Body: m.Body, Born: time.UnixMilli(m.BornTimestamp), Properties: m.Properties}
	other := b.handler
	b.reopen()
	b.handler.alipay = overtaking{b.client, func() {
		b.redis.SetTime(time.Now().Add(b.cfg.Lease + time.Second))
		if !other.Handle(context.Background(), d).Acknowledged() {
			t.Error("the other worker did not acknowledge")
		}
	}}
	b.handle(d)
	if b.final("R1"); len(b.broker.Messages(eventTopic)) != 2 {
		t.Errorf("%d events, want one of each worker", len(b.broker.Messages(eventTopic)))
	}
	if totals, err := b.store.Totals(t.Context(), testApp); err != nil || totals.Count != 0 {
		t.Errorf("index %+v, %v", totals, err)
	}
}

// inRetry is a delivery of a command that was claimed before, from the retry topic.
func (b *bench) inRetry(body string, c producer.Copy) Delivery {
	c.Claimed, c.Topic, c.MsgID = true, refundTopic, "MSG-FIRST"
	if c.Born.IsZero() {
		c.Born = time.Now()
	}
	if c.First.IsZero() {
		c.First = time.Now()
	}
	return Delivery{Topic: retryTopic, MsgID: "MSG-COPY", Body: []byte(body), Properties: c.Properties(), Born: time.Now()}
}

// delays are the delays of all copies that went to the retry topic, in their order.
func (b *bench) delays() []time.Duration {
	b.t.Helper()
	levels := strings.Fields("1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h")
	var delays []time.Duration
	for _, m := range append(b.broker.Messages(retryTopic), b.broker.Scheduled(retryTopic)...) {
		level, err := strconv.Atoi(m.Properties["DELAY"])
		check(b.t, err)
		delay, err := time.ParseDuration(levels[level-1])
		check(b.t, err)
		delays = append(delays, delay)
	}
	return delays
}

func (b *bench) wantDelays(want ...time.Duration) {
	b.t.Helper()
	got := b.delays()
	if len(got) != len(want) {
		b.t.Fatalf("delays %v, want %v; log:\n%s", got, want, b.log)
	}
	for i := range got {
		if got[i] != want[i] {
			b.t.Errorf("delays %v, want %v", got, want)
			return
		}
	}
}

// TestDelaysFollowTheTries: each try has its own delay, and one that is spent more
// than there are delays is parked.
func TestDelaysFollowTheTries(t *testing.T) {
	b := newBench(t, func(c *Config) { c.RetryDelays = []time.Duration{5 * time.Second, time.Second, 10 * time.Second} })
	b.handle(b.command(refundBody("fault-frozen-1", "T1", "3.00")))
	b.settleAll()
	b.wantDelays(5*time.Second, time.Second, 10*time.Second)
	if p := b.parked(); len(p) != 1 || p[0].Try != 4 {
		t.Errorf("parked %+v", p)
	}
}

// TestDelayCoversQueryAfter (R3): it does not come back before asking can help.
func TestDelayCoversQueryAfter(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.QueryAfter, c.RetryDelays = 20*time.Second, []time.Duration{time.Second, time.Second}
	})
	b.handle(b.command(refundBody("fault-timeout-before-1", "T1", "3.00")))
	b.wantDelays(30 * time.Second)
}

// TestFreeDelay: what only waits comes back within a minute, however long the
// delays between tries are, and spends none.
func TestFreeDelay(t *testing.T) {
	b := newPatientBench(t, nil)
	b.handle(b.command(refundBody("fault-limited-1", "T1", "3.00")))
	b.wantDelays(time.Minute)
	if m := b.broker.Scheduled(retryTopic)[0]; m.Properties["REFUNDD_TRY"] != "0" {
		t.Errorf("properties %v", m.Properties)
	}
}

// TestPostponeWaitsForTheLease (R7): what panicked may still be claimed, so it comes
// back when the lease is over, or later if its try says so.
func TestPostponeWaitsForTheLease(t *testing.T) {
	for _, row := range []struct {
		name        string
		lease, next time.Duration
		want        time.Duration
	}{
		{"a long lease", 30 * time.Second, time.Second, 30 * time.Second},
		{"a long delay", 5 * time.Second, time.Minute, time.Minute},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := newBench(t, func(c *Config) { c.Lease, c.RetryDelays = row.lease, []time.Duration{row.next, time.Hour} })
			if !b.handler.Postpone(t.Context(), b.command(refundBody("R1", "T1", "3.00"))).Acknowledged() {
				t.Fatal("not acknowledged")
			}
			b.wantDelays(row.want)
			m := b.broker.Scheduled(retryTopic)[0]
			if m.Properties["REFUNDD_CLAIMED"] != "1" || m.Properties["REFUNDD_TRY"] != "1" || m.Properties["REFUNDD_REASON"] != "unknown_outcome" {
				t.Errorf("properties %v", m.Properties)
			}
		})
	}
}

// TestCallsOfAnEvent: `calls` is everything that Alipay was asked for this refund.
func TestCallsOfAnEvent(t *testing.T) {
	for _, number := range []string{"R1", "fault-gw-20000-after-1", "fault-gw-20000-before-1", "fault-refused-TRADE_HAS_CLOSE-1"} {
		t.Run(number, func(t *testing.T) {
			b := newBench(t, nil)
			b.handle(b.command(refundBody(number, "T1", "3.00")))
			b.settleAll()
			if e := b.final(number); e.Calls != len(b.alipay.Calls()) {
				t.Errorf("the event says %d calls, Alipay had %d", e.Calls, len(b.alipay.Calls()))
			}
		})
	}
	b := newBench(t, func(c *Config) { c.RetryDelays = []time.Duration{time.Second} })
	b.handle(b.command(refundBody("fault-frozen-1", "T1", "3.00")))
	b.settleAll()
	if e := b.onlyEvent("fault-frozen-1"); e.Outcome != producer.Unresolved || e.Calls != len(b.alipay.Calls()) {
		t.Errorf("%s with %d calls, Alipay had %d", e.Outcome, e.Calls, len(b.alipay.Calls()))
	}
}

// TestBirthOfWhatRedisForgot: the entry in the index, by which people see how old a
// refund is, counts from its first message, not from the copy that brought it back.
func TestBirthOfWhatRedisForgot(t *testing.T) {
	b := newPatientBench(t, nil)
	born := time.Now().Add(-30 * time.Minute).Truncate(time.Millisecond)
	check(t, b.alipay.SetFaults(map[string]float64{"answer-lost-after": 1, "query-lost": 1}))
	b.handle(b.inRetry(refundBody("R1", "T1", "3.00"), producer.Copy{Born: born, Generation: 3}))
	check(t, b.alipay.SetFaults(nil))
	u, there, err := b.store.Entered(t.Context(), testApp, b.store.Entry(born, 300, identityOf("R1")))
	if err != nil || !there || !u.FirstBorn.Equal(born) {
		t.Errorf("entry %+v, there %t, %v", u, there, err)
	}
	r, err := b.store.Read(t.Context(), identityOf("R1"))
	check(t, err)
	is, err := Summarize(KindRefund, r.Note, time.Now(), b.cfg.QueryAfter)
	if err != nil || !is.Born.Equal(born) || is.MsgID != "MSG-FIRST" || is.Topic != refundTopic || r.Generation != 4 {
		t.Errorf("remembered %+v of generation %d, %v", is, r.Generation, err)
	}
}

// TestIndexNamesWhen: an undecided command is due in the index when its copy should
// be back, and never once it is parked.
func TestIndexNamesWhen(t *testing.T) {
	b := newBench(t, func(c *Config) { c.RetryDelays = []time.Duration{time.Hour, time.Second} })
	before := time.Now().Truncate(time.Millisecond)
	d := b.command(refundBody("fault-frozen-1", "T1", "3.00"))
	b.handle(d)
	entry := b.store.Entry(d.Born, 300, identityOf("fault-frozen-1"))
	u, there, err := b.store.Entered(t.Context(), testApp, entry)
	if err != nil || !there || u.Due.Before(before.Add(time.Hour)) || u.Due.After(time.Now().Add(time.Hour)) {
		t.Errorf("entry %+v, there %t, %v", u, there, err)
	}
	c := producer.Copy{Try: 2, Generation: 1, Born: d.Born}
	b.handle(b.inRetry(string(d.Body), c))
	if u, there, err := b.store.Entered(t.Context(), testApp, entry); err != nil || !there || !u.Parked {
		t.Errorf("parked: entry %+v, there %t, %v; log:\n%s", u, there, err, b.log)
	}
	if p := b.parked(); len(p) != 1 || p[0].Generation != 2 {
		t.Errorf("parked %+v", p)
	}
}

// TestOldCopiesAreDropped (R7): what was parked or retried with a newer generation
// makes older copies superseded, and they are told to nobody.
func TestOldCopiesAreDropped(t *testing.T) {
	for _, row := range []struct {
		name  string
		tries int // spent already; one delay is two tries
	}{{"retried", 0}, {"parked", 1}} {
		t.Run(row.name, func(t *testing.T) {
			b := newBench(t, func(c *Config) { c.RetryDelays = []time.Duration{time.Hour} })
			d := b.inRetry(refundBody("fault-frozen-1", "T1", "3.00"), producer.Copy{Try: row.tries, Generation: 1})
			b.handle(d)
			calls, events := len(b.alipay.Calls()), len(b.events())
			b.handle(d)
			if b.metrics.count(outcomeDuplicate) != 1 || b.metrics.count(outcomeRetried) != 1-row.tries || len(b.alipay.Calls()) != calls || len(b.events()) != events {
				t.Errorf("an old copy was worked on; %d dropped, log:\n%s", b.metrics.count(outcomeDuplicate), b.log)
			}
		})
	}
}
